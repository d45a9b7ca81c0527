//! The ceilings and times of all queues together; those of one queue are [`mainspring_matcher::limits`].

use std::time::Duration;

/// Queues in memory. Past it polls of further queues are refused until idle ones are unloaded.
pub const QUEUES_MAX: usize = 10_000;
/// A queue that nobody polls or adds to leaves memory after this. Answers to `matching.maxTaskQueueIdleTime`.
pub const IDLE: Duration = Duration::from_secs(300);
/// How long after its last poll a queue counts as alive: a sticky task waits for its worker no longer. Answers to the
/// fixed 10 seconds of the original's sticky adds.
pub const STICKY_WINDOW: Duration = Duration::from_secs(10);
/// How often expired tasks, idle queues and unreadable shards are looked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The ceilings and times that tests and small machines change.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Those of each queue.
    pub queue: mainspring_matcher::Limits,
    /// See [`QUEUES_MAX`].
    pub queues_max: usize,
    /// See [`IDLE`].
    pub idle: Duration,
    /// See [`STICKY_WINDOW`].
    pub sticky_window: Duration,
    /// See [`SWEEP_EVERY`].
    pub sweep_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            queue: mainspring_matcher::Limits::default(),
            queues_max: QUEUES_MAX,
            idle: IDLE,
            sticky_window: STICKY_WINDOW,
            sweep_every: SWEEP_EVERY,
        }
    }
}
