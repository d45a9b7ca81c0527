//! One task queue as plain data: tasks meet pollers.
//!
//! A [`Matcher`] knows one queue: the pollers that wait and the first part of its backlog. The tasks themselves are
//! durable rows of the shards; what is in here is a window on them, merged by (level, task id), that may be dropped
//! and read again at any time. It does no I/O, reads no clock and wakes nobody: every call says what changed and
//! answers with a [`Dispatch`], the list of what the caller is to do next.
//!
//! Tasks leave here *at least once*. The shard that owns a row decides, when the task is started, whether it is still
//! wanted; a task found stale there costs its poller a round ([`Matcher::give_back`]), nothing else.
//!
//! Left to the shell (crate `matching`): channels, deadlines of polls, reading rows, partitions, which version a task
//! is routed to. Start reading at [`Matcher`]; the rule of who meets whom is in `lanes`, what is known of the store
//! in `sources`.

mod buffer;
mod lanes;
pub mod limits;
mod matcher;
mod meter;
mod poller;
mod seen;
mod sources;
mod stats;
mod task;
mod throttle;

pub use limits::Limits;
pub use matcher::{Dispatch, Match, Matcher, Refused};
pub use poller::{Poll, Poller, PollerId};
pub use seen::Seen;
pub use sources::Scan;
pub use stats::{Level, Stats};
pub use task::{Position, Task, TaskKey, Version};
