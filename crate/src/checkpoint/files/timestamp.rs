//! The time of writing, for records that carry one.

use chrono::{DateTime, SecondsFormat, Utc};

/// Returns the current time in UTC as ISO 8601 to the second, such as `2026-03-01T12:00:00+00:00`. The variable
/// `SOURCE_DATE_EPOCH` (seconds since 1970) replaces the clock where equal input must give equal bytes.
pub fn timestamp() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    iso(given.unwrap_or_else(|| Utc::now().timestamp().try_into().unwrap_or(0)))
}

/// Readers of ISO 8601 do not expect years beyond 9999.
const LAST: u64 = 253_402_300_799;

fn iso(seconds: u64) -> String {
    let date = DateTime::from_timestamp(seconds.min(LAST) as i64, 0);
    date.unwrap_or(DateTime::UNIX_EPOCH).to_rfc3339_opts(SecondsFormat::Secs, false)
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
