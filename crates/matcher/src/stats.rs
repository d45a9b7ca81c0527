//! What a queue says of itself.

use std::collections::BTreeMap;

use mainspring_rt::Timestamp;

/// A moment's view of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tasks in memory.
    pub backlog_count: usize,
    /// Whether shards may hold more tasks than are in memory, so that `backlog_count` is only a lower bound.
    pub backlog_unread: bool,
    /// Since when the oldest task in memory waits, to the millisecond.
    pub oldest: Option<Timestamp>,
    /// The tasks in memory by priority level.
    pub levels: BTreeMap<u8, Level>,
    /// Pollers in the line.
    pub waiting_pollers: usize,
    /// Tasks added per second, those that never saw the backlog included; over 30 seconds.
    pub added_per_second: f64,
    /// Tasks handed to pollers per second, those that never saw the backlog included; over 30 seconds.
    pub dispatched_per_second: f64,
    /// Whether a task waits beside its poller for the rate limit alone.
    pub rate_limited: bool,
}

/// The part of the backlog that has one priority level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Tasks in memory.
    pub count: usize,
    /// Since when the oldest of them waits.
    pub oldest: Timestamp,
}
