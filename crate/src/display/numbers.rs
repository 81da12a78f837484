//! How numbers are written: thousands separated, bytes in binary units, parameters in millions and billions.

/// `1234567` → `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `-1234567` → `-1,234,567`.
pub(super) fn signed_thousands(number: i128) -> String {
    match u64::try_from(number.unsigned_abs()) {
        Ok(size) => format!("{}{}", if number < 0 { "-" } else { "" }, thousands(size)),
        Err(_) => number.to_string(),
    }
}

/// A number with as many digits as are useful: `0.8734`, `12,345.7`, `1.3e-9`; `NaN` and `inf` as they are.
pub(super) fn real(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => value.to_string(),
        0.0 => "0".to_owned(),
        _ if !(1e-4..1e9).contains(&size) => format!("{value:.3e}"),
        _ if value.fract() == 0.0 => signed_thousands(value as i128),
        _ => {
            let decimals = (4 - size.log10().floor() as i32 - 1).clamp(1, 7) as usize;
            fixed(value, decimals)
        }
    }
}

/// With so many decimals: `-12,345.70`.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let bare = text.trim_start_matches('-');
    let (whole, fraction) = bare.split_at(bare.find('.').unwrap_or(bare.len()));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), thousands);
    format!("{}{whole}{fraction}", if text.starts_with('-') { "-" } else { "" })
}

/// `2_471_645_184` → `2.30 GiB`.
pub fn binary_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

/// `1_235_814_400` → `1.24 B`, `4_434_176` → `4.43 M`.
pub fn short_count(count: u64) -> String {
    match count {
        0..1_000_000 => thousands(count),
        1_000_000..1_000_000_000 => format!("{:.2} M", count as f64 / 1e6),
        _ => format!("{:.2} B", count as f64 / 1e9),
    }
}

/// A shape as `[128256, 2048]`.
pub(super) fn shape(dims: &[usize]) -> String {
    format!("{dims:?}")
}

/// Two digits, with an exponent where numbers are small; nothing but `0` for equality.
pub(super) fn small(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.01..0.1 => format!("{value:.3}"),
        0.1..1.0 => format!("{value:.2}"),
        1.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1024, 2_471_645_184].map(binary_bytes), ["0 B", "1023 B", "1.00 KiB", "2.30 GiB"]);
        assert_eq!(
            [0.0, 1.3e-5, 0.087, -0.25, 5.04, 12345.0].map(small),
            ["0", "1.3e-5", "0.087", "-0.25", "5.0", "1.2e4"]
        );
        assert_eq!(
            [0.0, 0.873_444, -12_345.678, 1.25e-9, 100.0, 3e12, f64::NAN, f64::NEG_INFINITY].map(real),
            ["0", "0.8734", "-12,345.7", "1.250e-9", "100", "3.000e12", "NaN", "-inf"]
        );
        assert_eq!([fixed(-12_345.678, 2), fixed(-5.0, 0)], ["-12,345.68", "-5"]);
        assert_eq!([-1_234_567, 5].map(signed_thousands), ["-1,234,567", "5"]);
        assert_eq!([999, 4_434_176, 1_235_814_400].map(short_count), ["999", "4.43 M", "1.24 B"]);
    }
}
