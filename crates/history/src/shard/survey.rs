//! What goes on in a shard, for a clock that skips: whether anybody has something in hand, and when the next run acts by
//! itself.
//!
//! It looks at the runs in memory, so a server that asks must keep all of them there. Others never ask, and pay nothing.

use std::{
    collections::BTreeSet,
    ops::{Add, AddAssign},
    sync::Arc,
};

use mainspring_engine::state::{Activity, Run, WorkflowTask};
use mainspring_rt::Timestamp;

use super::Shard;

/// Identities and sticky queues of workers that are dead: nobody waits for what they had in hand.
pub type LostWorkers = Arc<BTreeSet<String>>;

/// What goes on in a shard, or in all shards of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Nothing is under way inside: no batch, no read, no message to another execution, nothing that is due.
    pub settled: bool,
    /// Tasks that a worker has or is to take next.
    pub in_hand: usize,
    /// When the first open run acts by itself.
    pub next_deadline: Timestamp,
    /// Rises with every change.
    pub changes: u64,
}

impl Survey {
    /// Of no shard at all.
    pub const EMPTY: Survey = Survey { settled: true, in_hand: 0, next_deadline: Timestamp::MAX, changes: 0 };
}

impl Add for Survey {
    type Output = Survey;

    fn add(self, other: Survey) -> Survey {
        Survey {
            settled: self.settled && other.settled,
            in_hand: self.in_hand + other.in_hand,
            next_deadline: self.next_deadline.min(other.next_deadline),
            changes: self.changes + other.changes,
        }
    }
}

impl AddAssign for Survey {
    fn add_assign(&mut self, other: Survey) {
        *self = *self + other;
    }
}

impl<A, R> Shard<A, R> {
    /// What goes on in the shard, as of its last event. Follow a tick with it, so that all that is due has begun.
    pub fn survey(&self, lost: &BTreeSet<String>) -> Survey {
        let open = self.chains.runs().map(|(_, run)| run).filter(|run| run.is_open());
        let (in_hand, next_deadline) = open.fold((0, Timestamp::MAX), |(in_hand, next), run| {
            (in_hand + in_hand_of(run, lost), next.min(run.next_deadline()))
        });
        Survey {
            settled: self.is_idle() && self.outbox.len() == 0 && next_deadline > self.clock,
            in_hand,
            next_deadline,
            changes: self.batch.seq(),
        }
    }
}

fn in_hand_of(run: &Run, lost: &BTreeSet<String>) -> usize {
    let task = run.execution.task.as_ref().is_some_and(|task| !task_is_lost(task, lost));
    let activities = run.activities.values().filter(|activity| is_in_hand(activity, lost)).count();
    usize::from(task) + activities
}

/// A dead worker has it, or is the only one that may take it.
fn task_is_lost(task: &WorkflowTask, lost: &BTreeSet<String>) -> bool {
    if task.is_started() { lost.contains(&task.identity) } else { lost.contains(&task.sticky_queue) }
}

/// A worker has it, or is to take it: all but a wait for the next attempt, or for an operator.
fn is_in_hand(activity: &Activity, lost: &BTreeSet<String>) -> bool {
    if activity.is_started() {
        return !lost.contains(&activity.started_identity);
    }
    activity.dispatched && !activity.is_paused()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn only(name: &str) -> BTreeSet<String> {
        BTreeSet::from([name.to_owned()])
    }

    #[test]
    fn an_activity_is_in_hand_from_when_it_is_handed_out_until_it_waits_for_its_next_attempt() {
        let waiting_for_a_worker = Activity { dispatched: true, ..Activity::default() };
        let backing_off = Activity { attempt: 2, dispatched: false, ..Activity::default() };
        let started_identity = "worker-1".to_owned();
        let running = Activity { dispatched: true, started_at: 1, started_identity, ..Activity::default() };
        assert!(is_in_hand(&waiting_for_a_worker, &nobody()));
        assert!(!is_in_hand(&backing_off, &nobody()));
        assert!(is_in_hand(&running, &only("worker-2")));
        assert!(!is_in_hand(&running, &only("worker-1")));
    }

    #[test]
    fn a_workflow_task_is_lost_with_its_worker() {
        let identity = "worker-1".to_owned();
        let started = WorkflowTask { started_event_id: 3, identity, ..WorkflowTask::default() };
        let sticky = WorkflowTask { sticky_queue: "worker-1-cache".to_owned(), ..WorkflowTask::default() };
        let normal = WorkflowTask::default();
        assert!(task_is_lost(&started, &only("worker-1")));
        assert!(task_is_lost(&sticky, &only("worker-1-cache")));
        for task in [&started, &sticky, &normal] {
            assert!(!task_is_lost(task, &only("worker-2")));
        }
    }

    #[test]
    fn a_node_is_settled_when_each_shard_is() {
        let soon = Survey { next_deadline: Timestamp::from_millis(5), changes: 2, ..Survey::EMPTY };
        let busy = Survey { settled: false, in_hand: 1, changes: 3, ..Survey::EMPTY };
        let expected = Survey { settled: false, in_hand: 1, next_deadline: Timestamp::from_millis(5), changes: 5 };
        assert_eq!(soon + busy, expected);
    }
}
