//! All task queues of a node: which are in memory, and what their matchers want done.
//!
//! [`Matching`] keeps a [`Matcher`](mainspring_matcher::Matcher) for every queue that somebody polls. It is plain data
//! behind locks: it does no I/O, reads no clock and wakes nobody. Every call answers with [`Directive`]s, which the
//! caller carries out when it has let go of its own locks; many threads may call at once.
//!
//! What is in memory is a window on the rows of the shards. Of a queue that nobody polls only this is known: which
//! shards have rows for it (file `stored`). So a backlog of a million tasks over many queues costs nothing until
//! workers come for it.
//!
//! Left to the caller (crate `history`): deadlines of polls, reading rows, starting tasks, calling
//! [`tick`](Matching::tick). Left to the matcher: who meets whom. Start reading at [`Matching`].

mod directive;
pub mod limits;
mod matching;
mod name;
mod queue;
mod schedule;
mod stored;

pub use directive::{Description, Directive, Refused};
pub use limits::Limits;
pub use mainspring_matcher::{Level, Poll, Poller, PollerId, Position, Scan, Seen, Stats, Task, TaskKey, Version};
pub use matching::Matching;
pub use name::{QueueHash, QueueName};
