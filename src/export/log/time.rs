//! Formats times as RFC 3339 in UTC. Cold.

use std::fmt::Write;

/// Appends a time as `2026-11-25T12:44:55.000123Z`. Nanoseconds in 64 bits end in the year 2554, so years have four
/// digits.
pub(super) fn rfc3339(unix_nanos: u64, into: &mut String) {
    let (seconds, nanos) = (unix_nanos / 1_000_000_000, unix_nanos % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The date of a day: `civil_from_days` from Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms", for
    // days from 1970 on. Its years begin in March, so that the leap day is the last day of a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second, micros) = (second / 3_600, second / 60 % 60, second % 60, nanos / 1_000);
    // Writing to a string cannot fail.
    let _written =
        write!(into, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
}

#[cfg(all(test, not(tellane_loom)))]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // By `date -u -d @SECONDS`.
        let known = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_709_164_800_000_001_000, "2024-02-29T00:00:00.000001Z"),
            (1_735_689_599_000_000_000, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551Z"),
        ];
        for (nanos, expected) in known {
            let mut text = String::new();
            rfc3339(nanos, &mut text);
            assert_eq!(text, expected);
        }
    }
}
