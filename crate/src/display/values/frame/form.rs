//! How the fractions of a column are written: all alike.

use polars::prelude::{AnyValue, Column};

use crate::display::numbers::{fixed, real};
use crate::display::table::Cell;

/// How a column's fractions are written, so that their decimal points are aligned.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// With so many decimals.
    Decimals(usize),
    /// With an exponent.
    Exponents,
    /// Each in its best form, because the column spans too much.
    Each,
}

/// Decimals are counted in the first so many values, and exact to so many digits of each, but not to more of the greatest.
const LOOKED_AT: usize = 1000;
const DIGITS: i32 = 5;
const WHOLE: i32 = 7;

impl Form {
    pub(super) fn of(column: &Column) -> Self {
        if !column.dtype().is_float() {
            return Form::Each;
        }
        let short = |value: AnyValue<'_>| match value {
            AnyValue::Float32(number) => Some((f64::from(number), number.to_string())),
            AnyValue::Float64(number) => Some((number, number.to_string())),
            _ => None,
        };
        let (mut least, mut most, mut decimals) = (f64::INFINITY, 0.0f64, 0);
        for index in 0..column.len().min(LOOKED_AT) {
            let Some((number, exact)) = column.get(index).ok().and_then(short) else { continue };
            if number == 0.0 || !number.is_finite() {
                continue;
            }
            (least, most) = (least.min(number.abs()), most.max(number.abs()));
            // As many as it has, or as its first digits need.
            let own = exact.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let needed = DIGITS - 1 - number.abs().log10().floor() as i32;
            decimals = decimals.max(own.min(needed.max(1) as usize));
        }
        match () {
            () if most == 0.0 => Form::Each,
            () if !(1e-3..1e9).contains(&most) => Form::Exponents,
            () if most / least > 1e5 && least < 0.1 => Form::Each,
            // More digits than these in total do not help.
            () => Form::Decimals(decimals.min((WHOLE - 1 - most.log10().floor() as i32).max(1) as usize)),
        }
    }
}

pub(super) fn float(number: f64, exact: &str, form: Form) -> Cell {
    let text = match form {
        _ if number == 0.0 || !number.is_finite() => number.to_string(),
        Form::Exponents => format!("{number:.3e}"),
        Form::Decimals(decimals) => fixed(number, decimals),
        // polars' own text where that is short: `0.1` and not `0.1000`.
        Form::Each => Some(real(number)).filter(|text| text.len() < exact.len()).unwrap_or_else(|| exact.to_owned()),
    };
    // NaN and infinities are not JSON numbers.
    if number.is_finite() { Cell::from(text).valued(number) } else { Cell::from(text) }
}

#[cfg(test)]
mod tests {
    use crate::display::View;
    use polars::prelude::{NamedFrom, Series};

    #[test]
    fn fractions_of_a_column_have_one_form() {
        let shown = |values: &[f64]| -> Vec<String> {
            let text = Series::new("s".into(), values).view().plain().to_owned();
            text.lines().skip(4).map(|line| line.trim().to_owned()).collect()
        };
        assert_eq!(shown(&[1234.5678, 48148.1, 0.0]), ["1,234.6", "48,148.1", "0"]);
        assert_eq!(shown(&[9_092.974_27, 0.885]), ["9,092.974", "0.885"]);
        assert_eq!(shown(&[0.5, 12.25, f64::NAN]), ["0.50", "12.25", "NaN"]);
        assert_eq!(shown(&[1e-7, 3e-6]), ["1.000e-7", "3.000e-6"]);
        assert_eq!(shown(&[7.6009, 0.262_612]), ["7.60090", "0.26261"]);
        assert_eq!(shown(&[1e-7, 5.0]), ["1.000e-7", "5"]);
    }
}
