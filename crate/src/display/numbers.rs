//! How numbers read: thousands separated, bytes in binary units, parameters in millions and billions.

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

/// Two digits and an exponent where numbers are small; nothing but `0` for equality.
pub(super) fn small(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        0.1..1000.0 => format!("{value:.1}"),
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
        assert_eq!([0.0, 1.3e-5, 0.25, 5.04, 12345.0].map(small), ["0", "1.3e-5", "0.2", "5.0", "1.2e4"]);
        assert_eq!([999, 4_434_176, 1_235_814_400].map(short_count), ["999", "4.43 M", "1.24 B"]);
    }
}
