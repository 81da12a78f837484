//! The time of writing, for records that carry one.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now in UTC as ISO 8601 to the second, such as `2026-03-01T12:00:00+00:00`. The variable `SOURCE_DATE_EPOCH` (seconds
/// since 1970) replaces the clock where equal input must give equal bytes.
pub fn timestamp() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    iso(given.unwrap_or_else(now))
}

/// Readers of ISO 8601 expect years up to 9999.
const LAST: u64 = 253_402_300_799;

fn iso(seconds: u64) -> String {
    let seconds = seconds.min(LAST);
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}+00:00", days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_400, "2000-02-29T00:00:00+00:00"),
            (1_709_251_199, "2024-02-29T23:59:59+00:00"),
            (1_709_251_200, "2024-03-01T00:00:00+00:00"),
            (4_107_542_400, "2100-03-01T00:00:00+00:00"),
            (1_798_761_599, "2026-12-31T23:59:59+00:00"),
            (u64::MAX, "9999-12-31T23:59:59+00:00"),
        ] {
            assert_eq!(iso(seconds), date);
        }
    }
}
