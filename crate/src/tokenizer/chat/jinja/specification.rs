//! The specifications of `'{:>5}'.format(x)`.

use super::error::{Error, Outcome, fail};
use super::format::{MAX_WIDTH, exponential, float_digits, general, radix};
use super::text::{python_float, str_of};
use super::value::Value;

/// Returns `format(value, specification)`.
pub(super) fn formatted(value: &Value, specification: &str) -> Outcome<String> {
    if specification.is_empty() {
        return str_of(value);
    }
    let spec = Specification::read(specification, value.kind())?;
    match value {
        Value::Text(text) | Value::Markup(text) => spec.text(text),
        Value::Bool(_) | Value::Int(_) => spec.integer(value.int().unwrap_or(0)),
        Value::Float(number) => spec.float(*number),
        other => fail(format!("unsupported format string passed to {}.__format__", other.kind())),
    }
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`
#[derive(Debug, Default)]
struct Specification {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Specification {
    fn read(text: &str, of: &str) -> Outcome<Self> {
        let invalid = || Error::new(format!("Invalid format specifier '{text}' for object of type '{of}'"));
        let mut spec = Self::default();
        let all: Vec<char> = text.chars().collect();
        let mut at = 0;
        let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
        if is_align(all.get(1)) {
            (spec.fill, spec.align, at) = (Some(all[0]), Some(all[1]), 2);
        } else if is_align(all.first()) {
            (spec.align, at) = (Some(all[0]), 1);
        }
        if let Some(sign) = all.get(at).filter(|c| "+- ".contains(**c)) {
            (spec.sign, at) = (Some(*sign), at + 1);
        }
        if all.get(at) == Some(&'#') {
            (spec.alternate, at) = (true, at + 1);
        }
        if all.get(at) == Some(&'0') {
            spec.fill = spec.fill.or(Some('0'));
            if of != "str" {
                spec.align = spec.align.or(Some('='));
            }
            at += 1;
        }
        let number = |at: &mut usize| -> Outcome<Option<usize>> {
            let begin = *at;
            while all.get(*at).is_some_and(char::is_ascii_digit) {
                *at += 1;
            }
            let digits: String = all[begin..*at].iter().collect();
            if digits.is_empty() {
                return Ok(None);
            }
            digits.parse().ok().filter(|number| *number <= MAX_WIDTH).map(Some).ok_or_else(invalid)
        };
        spec.width = number(&mut at)?.unwrap_or(0);
        if let Some(grouping) = all.get(at).filter(|c| ",_".contains(**c)) {
            (spec.grouping, at) = (Some(*grouping), at + 1);
        }
        if all.get(at) == Some(&'.') {
            at += 1;
            spec.precision = Some(number(&mut at)?.ok_or_else(|| Error::new("Format specifier missing precision"))?);
        }
        if let Some(kind) = all.get(at) {
            (spec.kind, at) = (Some(*kind), at + 1);
        }
        if at < all.len() { Err(invalid()) } else { Ok(spec) }
    }

    fn unknown<T>(&self, of: &str) -> Outcome<T> {
        let kind = self.kind.unwrap_or(' ');
        fail(format!("Unknown format code '{kind}' for object of type '{of}'"))
    }

    fn text(&self, text: &str) -> Outcome<String> {
        if self.kind.is_some_and(|kind| kind != 's') {
            return self.unknown("str");
        }
        if self.sign.is_some() || self.alternate || self.grouping.is_some() || self.align == Some('=') {
            return fail("this format specification is not allowed for a string");
        }
        let text: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        Ok(self.padded("", &text, '<'))
    }

    fn integer(&self, number: i128) -> Outcome<String> {
        let kind = self.kind.unwrap_or('d');
        if "eEfFgG%".contains(kind) {
            return self.float(number as f64);
        }
        if self.precision.is_some() {
            return fail("Precision not allowed in integer format specifier");
        }
        let digits = match kind {
            'd' | 'n' => number.unsigned_abs().to_string(),
            'b' | 'o' | 'x' | 'X' => radix(number.unsigned_abs(), kind),
            'c' => {
                let c = u32::try_from(number).ok().and_then(char::from_u32);
                let c = c.ok_or_else(|| Error::new("%c arg not in range(0x110000)"))?;
                return Ok(self.padded("", &c.to_string(), '<'));
            }
            _ => return self.unknown("int"),
        };
        if self.grouping == Some(',') && kind != 'd' {
            return fail(format!("Cannot specify ',' with '{kind}'."));
        }
        let every = if kind == 'd' || kind == 'n' { 3 } else { 4 };
        let prefix = match (self.alternate, kind) {
            (true, 'b' | 'o' | 'x' | 'X') => format!("0{kind}"),
            _ => String::new(),
        };
        let sign = self.signed(number < 0);
        Ok(self.with_grouping(&format!("{sign}{prefix}"), &digits, "", every))
    }

    fn float(&self, number: f64) -> Outcome<String> {
        let negative = number.is_sign_negative() && !number.is_nan();
        let size = number.abs();
        let digits = match self.kind {
            None => match self.precision {
                None => python_float(size),
                Some(precision) => {
                    let digits = general(size, precision, false);
                    // As `g`, but with a digit behind the point.
                    let exponent = python_float(size).contains('e') || digits.contains('e');
                    if digits.contains('.') || exponent || !size.is_finite() {
                        digits
                    } else {
                        general_with_point(size, precision)
                    }
                }
            },
            Some('%') => float_digits(size * 100.0, 'f', self.precision.unwrap_or(6), self.alternate) + "%",
            Some('n') => float_digits(size, 'g', self.precision.unwrap_or(6), self.alternate),
            Some(kind) if "eEfFgG".contains(kind) => {
                float_digits(size, kind, self.precision.unwrap_or(6), self.alternate)
            }
            _ => return self.unknown("float"),
        };
        let whole = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (whole, rest) = digits.split_at(whole);
        Ok(self.with_grouping(&self.signed(negative), whole, rest, 3))
    }

    fn signed(&self, negative: bool) -> String {
        match (negative, self.sign) {
            (true, _) => "-".to_owned(),
            (false, Some(sign @ ('+' | ' '))) => sign.to_string(),
            _ => String::new(),
        }
    }

    /// Digits with a separator every few of them; zeros that fill the width are digits as well.
    fn with_grouping(&self, sign: &str, digits: &str, rest: &str, every: usize) -> String {
        let grouped = |digits: &str| match self.grouping {
            Some(separator) => {
                let mut out = String::new();
                for (index, digit) in digits.chars().enumerate() {
                    if index > 0 && (digits.len() - index).is_multiple_of(every) {
                        out.push(separator);
                    }
                    out.push(digit);
                }
                out
            }
            None => digits.to_owned(),
        };
        let mut digits = digits.to_owned();
        if self.fill == Some('0') && self.align == Some('=') && self.grouping.is_some() {
            while sign.len() + grouped(&digits).len() + rest.len() < self.width {
                digits.insert(0, '0');
            }
        }
        self.padded(sign, &(grouped(&digits) + rest), '>')
    }

    fn padded(&self, sign: &str, text: &str, usual: char) -> String {
        let missing = self.width.saturating_sub(sign.chars().count() + text.chars().count());
        let fill = |count: usize| self.fill.unwrap_or(' ').to_string().repeat(count);
        match self.align.unwrap_or(usual) {
            '<' => format!("{sign}{text}{}", fill(missing)),
            '^' => format!("{}{sign}{text}{}", fill(missing / 2), fill(missing - missing / 2)),
            '=' => format!("{sign}{}{text}", fill(missing)),
            _ => format!("{}{sign}{text}", fill(missing)),
        }
    }
}

fn general_with_point(number: f64, precision: usize) -> String {
    let digits = general(number, precision, false);
    // As many digits as asked for leave none behind the point: Python then writes an exponent.
    if digits.len() >= precision.max(1) && number != 0.0 { exponential_short(number, precision) } else { digits + ".0" }
}

fn exponential_short(number: f64, precision: usize) -> String {
    let written = exponential(number, precision.max(1) - 1, false);
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "+00"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    format!("{mantissa}e{exponent}")
}
