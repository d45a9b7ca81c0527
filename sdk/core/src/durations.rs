//! Durations as people say them: `secs(30)`, `mins(5)`, `days(3)`.

use std::time::Duration;

/// This many milliseconds.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// This many seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// This many minutes.
pub const fn mins(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

/// This many hours.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(3600))
}

/// This many days of 24 hours.
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(86_400))
}
