//! One queue in memory: its matcher behind a lock.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard},
};

use mainspring_matcher::{Dispatch, Limits, Matcher};
use mainspring_rt::Timestamp;

use crate::{
    directive::Directive,
    name::{QueueHash, QueueName},
    schedule::Schedule,
};

/// A queue that has pollers, or had some lately.
pub(crate) struct Queue<P> {
    name: QueueName,
    hash: QueueHash,
    state: Mutex<State<P>>,
}

/// What the lock guards.
pub(crate) struct State<P> {
    pub(crate) matcher: Matcher<P>,
    /// Shards with rows that could not be read: to be announced again.
    pub(crate) unreadable: BTreeSet<u16>,
    /// As the schedule has it.
    pub(crate) wake_at: Option<Timestamp>,
    last_used: Timestamp,
}

impl<P> Queue<P> {
    /// An empty queue. Ids from `first_id` on were never given out by a queue of this name.
    pub(crate) fn new(name: QueueName, first_id: u64, limits: Limits, now: Timestamp) -> Queue<P> {
        let matcher = Matcher::with_ids_from(first_id, limits, now);
        let state = State { matcher, unreadable: BTreeSet::new(), wake_at: None, last_used: now };
        Queue { hash: name.hash(), name, state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> &QueueName {
        &self.name
    }

    pub(crate) fn hash(&self) -> QueueHash {
        self.hash
    }

    /// For a look, and for calls that do not keep the queue in memory.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().expect("a matcher whose invariants broke is not used again")
    }

    /// For calls that show that somebody uses the queue.
    pub(crate) fn use_now(&self, now: Timestamp) -> MutexGuard<'_, State<P>> {
        let mut state = self.lock();
        state.last_used = state.last_used.max(now);
        state
    }

    /// Without a lock, for whoever holds the map for writing.
    pub(crate) fn state_mut(&mut self) -> &mut State<P> {
        self.state.get_mut().expect("a matcher whose invariants broke is not used again")
    }

    /// The end of every change: notes when the queue is to be woken, unlocks it, and says what to do.
    pub(crate) fn settle(
        &self,
        mut state: MutexGuard<'_, State<P>>,
        schedule: &Schedule,
        dispatch: Dispatch<P>,
    ) -> Vec<Directive<P>> {
        schedule.change(self.hash, state.wake_at, dispatch.wake_at);
        state.wake_at = dispatch.wake_at;
        drop(state);
        self.directives(dispatch)
    }

    fn directives(&self, dispatch: Dispatch<P>) -> Vec<Directive<P>> {
        let Dispatch { matches, expired, scans, ended, wake_at: _ } = dispatch;
        let mut directives = Vec::with_capacity(matches.len() + expired.len() + scans.len() + ended.len());
        let queue = || self.name.clone();
        directives.extend(matches.into_iter().map(|met| Directive::Start {
            queue: queue(),
            task: met.task,
            poller: met.poller,
        }));
        directives.extend(expired.into_iter().map(|task| Directive::Expired { queue: queue(), task }));
        directives.extend(scans.into_iter().map(|scan| Directive::Scan { queue: queue(), scan }));
        directives.extend(ended.into_iter().map(Directive::End));
        directives
    }
}

impl<P> State<P> {
    /// Nobody waits here and nobody has called since `since`.
    pub(crate) fn is_idle(&self, since: Timestamp) -> bool {
        self.matcher.waiting() == 0 && self.last_used <= since
    }

    /// The shards that may have rows of the queue.
    pub(crate) fn shards(&self) -> BTreeSet<u16> {
        let mut shards = self.matcher.shards();
        shards.extend(&self.unreadable);
        shards
    }
}
