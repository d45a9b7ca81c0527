//! What [`Matching`](crate::Matching) answers.

use mainspring_matcher::{Poller, Position, Scan, Seen, Stats, Task};

use crate::name::QueueName;

/// What the caller is to do next.
#[must_use = "tasks, pages and pollers in here are lost if nobody acts on them"]
#[derive(Debug)]
pub enum Directive<P> {
    /// Start the task for this poller on the task's shard; [`give_back`](crate::Matching::give_back) the poller if that
    /// comes to nothing. Matching has forgotten the task: if its row stays though the shard is not lost (it was too
    /// busy to be asked), [`offer`](crate::Matching::offer) it again.
    Start {
        /// Where they met.
        queue: QueueName,
        /// Its row is still in the store.
        task: Task,
        /// No longer in the line: [`cancel`](crate::Matching::cancel) says false.
        poller: Poller<P>,
    },
    /// Delete the row: past its deadline, nobody gets it.
    Expired {
        /// Where it waited.
        queue: QueueName,
        /// No longer in memory.
        task: Task,
    },
    /// Read this page of rows and answer with [`scanned`](crate::Matching::scanned), always: until then the queue asks
    /// for no other.
    Scan {
        /// Whose rows.
        queue: QueueName,
        /// Which of them.
        scan: Scan,
    },
    /// Answer this poller with nothing.
    End(P),
}

/// Why a poll was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue's line is full.
    #[error("too many pollers wait on this task queue")]
    TooManyPollers,
    /// The queue is not in memory and no other fits in.
    #[error("too many task queues are polled")]
    TooManyQueues,
    /// The server stops.
    #[error("the server is shutting down")]
    Shut,
}

impl From<mainspring_matcher::Refused> for Refused {
    fn from(refused: mainspring_matcher::Refused) -> Refused {
        match refused {
            mainspring_matcher::Refused::TooManyPollers => Refused::TooManyPollers,
            mainspring_matcher::Refused::Shut => Refused::Shut,
        }
    }
}

/// A moment's view of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The workers that polled within the last five minutes, by identity.
    pub pollers: Vec<Seen>,
    /// Counts and rates. Of a queue that is not in memory only `backlog_unread` is known.
    pub stats: Stats,
    /// The limit on dispatch in force, in tasks per second; `None`: unlimited.
    pub rate: Option<f64>,
    /// The shards that may hold rows beyond `stats.backlog_count`, and after which place: what to count in the store
    /// for an exact figure.
    pub unread: Vec<(u16, Position)>,
}
