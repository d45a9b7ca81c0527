//! Who may meet whom: one lane for each version, tasks on one side and pollers on the other.
//!
//! A lane holds names only; the tasks are in the buffer, the pollers with the matcher. Lanes with something on both
//! sides are indexed by their first task, so that the next meeting is found without looking at the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    poller::PollerId,
    task::{TaskKey, Version},
};

/// The lanes that are not empty.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<Version, Lane>,
    /// The first task of each lane that has a poller too.
    heads: BTreeMap<TaskKey, Version>,
    /// How many lanes have a poller.
    polled: usize,
}

#[derive(Default)]
struct Lane {
    tasks: BTreeSet<TaskKey>,
    pollers: BTreeSet<PollerId>,
}

impl Lanes {
    /// The first task that has a poller, and the poller that waited longest for it.
    pub(crate) fn first_pair(&self) -> Option<(TaskKey, PollerId)> {
        let (key, version) = self.heads.first_key_value()?;
        Some((*key, self.first_poller(version)?))
    }

    /// Whether a poller waits that has no task of at most `level`.
    pub(crate) fn hungry(&self, level: u8) -> bool {
        self.polled > self.heads.len() || self.heads.last_key_value().is_some_and(|(head, _)| head.level > level)
    }

    /// The poller of `version` that waited longest.
    pub(crate) fn first_poller(&self, version: &Version) -> Option<PollerId> {
        self.lanes.get(version)?.pollers.first().copied()
    }

    pub(crate) fn add_task(&mut self, version: &Version, key: TaskKey) {
        self.change(version, |lane| lane.tasks.insert(key));
    }

    pub(crate) fn remove_task(&mut self, version: &Version, key: TaskKey) {
        self.change(version, |lane| lane.tasks.remove(&key));
    }

    pub(crate) fn add_poller(&mut self, version: &Version, id: PollerId) {
        self.change(version, |lane| lane.pollers.insert(id));
    }

    pub(crate) fn remove_poller(&mut self, version: &Version, id: PollerId) {
        self.change(version, |lane| lane.pollers.remove(&id));
    }

    fn change(&mut self, version: &Version, change: impl FnOnce(&mut Lane) -> bool) {
        let lane = self.lanes.entry(version.clone()).or_default();
        let head = lane.head();
        self.polled -= usize::from(!lane.pollers.is_empty());
        let changed = change(lane);
        self.polled += usize::from(!lane.pollers.is_empty());
        debug_assert!(changed, "a name enters its lane once and leaves it once");
        if head != lane.head() {
            head.map(|key| self.heads.remove(&key));
            lane.head().map(|key| self.heads.insert(key, version.clone()));
        }
        if lane.tasks.is_empty() && lane.pollers.is_empty() {
            self.lanes.remove(version);
        }
    }

    /// Whether exactly these tasks and pollers are in here, each in its own lane, and the index is right.
    pub(crate) fn check<'a>(
        &self,
        tasks: impl Iterator<Item = (&'a Version, TaskKey)>,
        pollers: impl Iterator<Item = (&'a Version, PollerId)>,
    ) -> Result<(), String> {
        let mut named: usize = self.lanes.values().map(|lane| lane.tasks.len() + lane.pollers.len()).sum();
        for (version, key) in tasks {
            self.lanes.get(version).filter(|lane| lane.tasks.contains(&key)).ok_or("a task is in no lane")?;
            named -= 1;
        }
        for (version, id) in pollers {
            self.lanes.get(version).filter(|lane| lane.pollers.contains(&id)).ok_or("a poller is in no lane")?;
            named -= 1;
        }
        if named > 0 {
            return Err("a lane names a task or poller that is gone".into());
        }
        let mut heads = self.lanes.iter().filter_map(|(version, lane)| Some((lane.head()?, version)));
        let count = heads.clone().count();
        if count != self.heads.len() || heads.any(|(key, version)| self.heads.get(&key) != Some(version)) {
            return Err("heads differ from the lanes".into());
        }
        if self.lanes.values().filter(|lane| !lane.pollers.is_empty()).count() != self.polled {
            return Err("the count of lanes with pollers is wrong".into());
        }
        Ok(())
    }
}

impl Lane {
    fn head(&self) -> Option<TaskKey> {
        self.pollers.first().and_then(|_| self.tasks.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(task_id: u64) -> TaskKey {
        TaskKey { level: 3, task_id, shard: 0 }
    }

    #[test]
    fn the_first_task_with_a_poller_of_its_version_goes_to_the_oldest_poller() {
        let blue = Version::build("blue".into());
        let mut lanes = Lanes::default();
        lanes.add_task(&blue, key(1));
        lanes.add_task(&Version::UNVERSIONED, key(3));
        lanes.add_task(&Version::UNVERSIONED, key(2));
        assert_eq!(lanes.first_pair(), None);
        lanes.add_poller(&Version::UNVERSIONED, PollerId(8));
        lanes.add_poller(&Version::UNVERSIONED, PollerId(7));
        assert_eq!(lanes.first_pair(), Some((key(2), PollerId(7))));
        lanes.add_poller(&blue, PollerId(9));
        assert_eq!(lanes.first_pair(), Some((key(1), PollerId(9))));
        lanes.remove_poller(&blue, PollerId(9));
        lanes.remove_task(&Version::UNVERSIONED, key(2));
        assert_eq!(lanes.first_pair(), Some((key(3), PollerId(7))));
    }

    #[test]
    fn a_poller_is_hungry_until_its_own_lane_has_a_task_that_may_go() {
        let blue = Version::build("blue".into());
        let mut lanes = Lanes::default();
        lanes.add_task(&blue, key(1));
        assert!(!lanes.hungry(3), "nobody waits");
        lanes.add_poller(&Version::UNVERSIONED, PollerId(7));
        assert!(lanes.hungry(3));
        lanes.add_task(&Version::UNVERSIONED, key(2));
        assert_eq!((lanes.hungry(3), lanes.hungry(2)), (false, true));
        lanes.remove_poller(&Version::UNVERSIONED, PollerId(7));
        assert!(!lanes.hungry(2));
    }

    #[test]
    fn an_empty_lane_costs_nothing() {
        let mut lanes = Lanes::default();
        lanes.add_task(&Version::UNVERSIONED, key(1));
        lanes.remove_task(&Version::UNVERSIONED, key(1));
        assert!(lanes.lanes.is_empty());
    }
}
