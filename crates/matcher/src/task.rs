//! What is queued: a task, its place in the order, and the version it is meant for.

use bytes::Bytes;
use mainspring_rt::Timestamp;

/// A place in the order of one shard's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Priority: smaller goes first.
    pub level: u8,
    /// Unix milliseconds << 20 | counter: rises within a shard.
    pub task_id: u64,
}

impl Position {
    /// Before every row; no row stands here, for no task id is 0.
    pub const START: Position = Position { level: 0, task_id: 0 };

    /// When the task was scheduled, to the millisecond: its id says so.
    pub fn scheduled(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.task_id >> 20).unwrap_or(i64::MAX))
    }

    /// The place just before this one.
    pub(crate) fn before(self) -> Position {
        match (self.level, self.task_id) {
            (0, 0) => Position::START,
            (level, 0) => Position { level: level - 1, task_id: u64::MAX },
            (level, task_id) => Position { level, task_id: task_id - 1 },
        }
    }
}

/// Names a task within its queue, and orders it: by level, then age, then shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    /// See [`Position::level`].
    pub level: u8,
    /// See [`Position::task_id`].
    pub task_id: u64,
    /// The shard that holds the row.
    pub shard: u16,
}

impl TaskKey {
    /// The row's place among the rows of its shard.
    pub fn position(self) -> Position {
        Position { level: self.level, task_id: self.task_id }
    }

    /// See [`Position::scheduled`].
    pub fn scheduled(self) -> Timestamp {
        self.position().scheduled()
    }
}

/// The routing key of a worker's build. A poller takes only tasks of its own version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Option<Bytes>);

impl Version {
    /// Of workers without versioning, and of their tasks.
    pub const UNVERSIONED: Version = Version(None);

    /// Of the workers of one build.
    pub fn build(key: Bytes) -> Version {
        Version(Some(key))
    }

    /// The key given to [`Version::build`].
    pub fn key(&self) -> Option<&Bytes> {
        self.0.as_ref()
    }
}

/// A row of the backlog: enough to ask its shard to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name and place.
    pub key: TaskKey,
    /// The run's number in its shard.
    pub run: u64,
    /// The scheduled event.
    pub event_id: i64,
    /// Tells a schedule of the event from an earlier one.
    pub stamp: u32,
    /// Who may take it.
    pub version: Version,
    /// Its schedule-to-start deadline: from then on nobody gets it.
    pub expires: Option<Timestamp>,
}

impl Task {
    /// What it costs to hold, indexes included.
    pub(crate) fn bytes(&self) -> usize {
        const INDEXES: usize = 3 * size_of::<TaskKey>() + size_of::<Timestamp>();
        size_of::<Task>() + INDEXES + self.version.key().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_by_level_then_age_then_shard() {
        let key = |level, task_id, shard| TaskKey { level, task_id, shard };
        let order = [key(1, 9, 0), key(3, 1, 7), key(3, 2, 0), key(3, 2, 1)];
        assert!(order.is_sorted());
    }

    #[test]
    fn the_place_before_crosses_levels() {
        assert_eq!(Position { level: 3, task_id: 7 }.before(), Position { level: 3, task_id: 6 });
        assert_eq!(Position { level: 3, task_id: 0 }.before(), Position { level: 2, task_id: u64::MAX });
        assert_eq!(Position::START.before(), Position::START);
    }
}
