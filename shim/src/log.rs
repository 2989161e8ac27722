//! Log lines on stderr, in the text form that containerd's own log has.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For operators.
    Info,
    /// Something is not as it should be, and was dealt with.
    Warning,
    /// Something failed.
    Error,
}

/// Writes one line. A reader that is gone is no error.
pub fn log(level: Level, message: impl Display) {
    let level = match level {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = format!(
        "time=\"{}\" level={level} msg={:?} runtime=io.containerd.chitin.v2\n",
        rfc3339(now),
        message.to_string()
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// UTC time as RFC 3339, from time since the epoch.
#[must_use]
pub fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_nanos()
    )
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
const fn civil(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let date = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(date(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(date(951_827_696), "2000-02-29T12:34:56.000000000Z");
        assert_eq!(date(4_107_542_399), "2100-02-28T23:59:59.000000000Z");
    }
}
