//! How long the shard leaves something alone before it tries again.

use std::time::Duration;

use mainspring_rt::Timestamp;

/// A pause by the machine's clock. [`Shard::clock`](super::Shard) is not for that: it stands still until a clock that was
/// put back has caught up. And a pause that would last longer than it was meant to is over, for the same reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pause {
    until: Timestamp,
    length: Duration,
}

impl Pause {
    /// It never ends.
    pub(super) const FOREVER: Pause = Pause { until: Timestamp::MAX, length: Duration::MAX };

    pub(super) fn begin(now: Timestamp, length: Duration) -> Pause {
        Pause { until: now + length, length }
    }

    /// When to look whether it is over.
    pub(super) fn until(self) -> Timestamp {
        self.until
    }

    pub(super) fn is_over(self, now: Timestamp) -> bool {
        self.until <= now || self.until > now + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_no_longer_for_a_clock_that_was_put_back() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let now = Timestamp::from_millis(1_700_000_000_000);
        let pause = Pause::begin(now, Duration::from_secs(1));
        assert!(!pause.is_over(now));
        assert!(pause.is_over(pause.until()));
        assert!(pause.is_over(now - HOUR));
        assert!(!Pause::FOREVER.is_over(now));
    }
}
