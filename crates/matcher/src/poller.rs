//! Who asks for tasks.

use std::sync::Arc;

use mainspring_rt::Timestamp;

use crate::task::Version;

/// A worker's request for one task. `P` is whatever the caller needs to answer it.
#[derive(Debug)]
pub struct Poll<P> {
    /// Comes out again with the task.
    pub handle: P,
    /// The worker's build.
    pub version: Version,
    /// The worker's name for itself, as the poller history shows it.
    pub identity: Arc<str>,
}

/// A poller's place in the line: smaller arrived earlier and is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollerId(pub(crate) u64);

/// A poller taken out of the line. Whoever holds it owes it a task, or a [`give_back`](crate::Matcher::give_back).
#[derive(Debug)]
#[must_use = "a poller that is dropped waits until its deadline"]
pub struct Poller<P> {
    /// Its place in the line, which it keeps when it is given back.
    pub id: PollerId,
    /// As it came with the poll.
    pub handle: P,
    /// As it came with the poll.
    pub version: Version,
    /// When it arrived.
    pub arrived: Timestamp,
}
