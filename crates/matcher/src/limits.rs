//! The ceilings of one queue. Past them tasks stay in the store and polls are refused.

use std::time::Duration;

/// Tasks in memory. Answers to `matching.getTasksBatchSize`, a page of 1,000.
pub const TASKS_MAX: usize = 1_000;
/// Bytes of tasks in memory, indexes included.
pub const BYTES_MAX: usize = 1 << 20;
/// The store is read again when so few tasks are left that may go. Answers to `matching.getTasksReloadAt`.
pub const REFILL_AT: usize = 100;
/// The smallest page asked of one shard: below it the seek costs more than the rows.
pub const SCAN_ROWS_MIN: usize = 16;
/// Pollers that wait. Those given back are let in above it: they were counted when they came.
pub const POLLERS_MAX: usize = 10_000;
/// Identities remembered by the poller history.
pub const IDENTITIES_MAX: usize = 1_000;
/// How long an identity is remembered. Answers to `matching.PollerHistoryTTL`.
pub const IDENTITY_TTL: Duration = Duration::from_secs(300);
/// The window of add and dispatch rates, in seconds.
pub const RATE_WINDOW_SECONDS: usize = 30;

/// The ceilings that tests and small machines lower.
#[derive(Clone, Debug)]
pub struct Limits {
    /// See [`TASKS_MAX`]; above `refill_at`.
    pub tasks_max: usize,
    /// See [`BYTES_MAX`]. One task is always let in, however large.
    pub bytes_max: usize,
    /// See [`REFILL_AT`].
    pub refill_at: usize,
    /// See [`SCAN_ROWS_MIN`]; at least 1.
    pub scan_rows_min: usize,
    /// See [`POLLERS_MAX`].
    pub pollers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            tasks_max: TASKS_MAX,
            bytes_max: BYTES_MAX,
            refill_at: REFILL_AT,
            scan_rows_min: SCAN_ROWS_MIN,
            pollers_max: POLLERS_MAX,
        }
    }
}

impl Limits {
    /// Rows asked for in one round over all shards.
    pub(crate) fn round_rows(&self) -> usize {
        self.tasks_max.saturating_sub(self.refill_at).max(1)
    }
}
