//! The tasks in memory, in order, and what they weigh.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_rt::Timestamp;

use crate::task::{Task, TaskKey};

/// Tasks by key, with an index of their deadlines.
#[derive(Default)]
pub(crate) struct Buffer {
    tasks: BTreeMap<TaskKey, Task>,
    deadlines: BTreeSet<(Timestamp, TaskKey)>,
    levels: BTreeMap<u8, Load>,
    total: Load,
}

/// How much is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) tasks: usize,
    pub(crate) bytes: usize,
}

impl Buffer {
    pub(crate) fn contains(&self, key: &TaskKey) -> bool {
        self.tasks.contains_key(key)
    }

    /// Adds a task that is not there yet.
    pub(crate) fn insert(&mut self, task: Task) {
        let (key, bytes) = (task.key, task.bytes());
        self.deadlines.extend(task.expires.map(|at| (at, key)));
        let before = self.tasks.insert(key, task);
        debug_assert!(before.is_none(), "a task is in memory once");
        self.levels.entry(key.level).or_default().add(bytes);
        self.total.add(bytes);
    }

    pub(crate) fn remove(&mut self, key: &TaskKey) -> Option<Task> {
        let task = self.tasks.remove(key)?;
        task.expires.map(|at| self.deadlines.remove(&(at, *key)));
        self.total.subtract(task.bytes());
        if let Some(level) = self.levels.get_mut(&key.level) {
            level.subtract(task.bytes());
            if level.tasks == 0 {
                self.levels.remove(&key.level);
            }
        }
        Some(task)
    }

    /// Takes the task that would go last.
    pub(crate) fn pop_last(&mut self) -> Option<Task> {
        let key = *self.tasks.last_key_value()?.0;
        self.remove(&key)
    }

    /// Takes a task whose deadline has come.
    pub(crate) fn pop_expired(&mut self, now: Timestamp) -> Option<Task> {
        let (_, key) = *self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.remove(&key)
    }

    /// Takes all tasks of a shard. Looks at every task: for the rare loss of a shard.
    pub(crate) fn remove_shard(&mut self, shard: u16) -> Vec<Task> {
        let keys: Vec<TaskKey> = self.tasks.keys().filter(|key| key.shard == shard).copied().collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// All that is held.
    pub(crate) fn total(&self) -> Load {
        self.total
    }

    /// What is held at `level` and those that go before it.
    pub(crate) fn up_to(&self, level: u8) -> Load {
        let mut load = Load::default();
        for (_, of) in self.levels.range(..=level) {
            load.tasks += of.tasks;
            load.bytes += of.bytes;
        }
        load
    }

    /// Each level: tasks held, and the oldest of them.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (u8, usize, TaskKey)> {
        self.levels.iter().filter_map(|(&level, load)| {
            let first = TaskKey { level, task_id: 0, shard: 0 };
            let (oldest, _) = self.tasks.range(first..).next()?;
            Some((level, load.tasks, *oldest))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// Whether the sums and indexes are right.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut levels: BTreeMap<u8, Load> = BTreeMap::new();
        let mut deadlines = 0;
        for task in self.tasks.values() {
            levels.entry(task.key.level).or_default().add(task.bytes());
            deadlines += usize::from(task.expires.is_some_and(|at| self.deadlines.contains(&(at, task.key))));
        }
        if levels != self.levels || self.up_to(u8::MAX) != self.total {
            return Err("the sums differ from the tasks in memory".into());
        }
        let expiring = self.tasks.values().filter(|task| task.expires.is_some()).count();
        if (deadlines, expiring) != (self.deadlines.len(), self.deadlines.len()) {
            return Err("the deadlines differ from the tasks in memory".into());
        }
        Ok(())
    }
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.tasks += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: usize) {
        self.tasks -= 1;
        self.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Version;

    fn task(level: u8, task_id: u64, shard: u16, expires: Option<i64>) -> Task {
        let version = Version::UNVERSIONED;
        let expires = expires.map(Timestamp::from_millis);
        Task { key: TaskKey { level, task_id, shard }, run: 1, event_id: 5, stamp: 0, version, expires }
    }

    #[test]
    fn sums_follow_every_way_in_and_out() {
        let mut buffer = Buffer::default();
        for (level, task_id, shard, expires) in
            [(1, 1, 0, None), (1, 2, 1, Some(10)), (3, 3, 0, Some(5)), (3, 4, 1, None), (5, 5, 1, Some(10))]
        {
            buffer.insert(task(level, task_id, shard, expires));
            buffer.check().unwrap();
        }
        assert_eq!((buffer.up_to(1).tasks, buffer.up_to(4).tasks, buffer.total().tasks), (2, 4, 5));
        assert_eq!(buffer.pop_expired(Timestamp::from_millis(5)).unwrap().key.task_id, 3);
        assert_eq!(buffer.pop_expired(Timestamp::from_millis(9)), None);
        assert_eq!(buffer.pop_last().unwrap().key.task_id, 5);
        assert_eq!(buffer.remove_shard(1).len(), 2);
        assert_eq!(buffer.levels().collect::<Vec<_>>(), [(1, 1, TaskKey { level: 1, task_id: 1, shard: 0 })]);
        buffer.check().unwrap();
    }
}
