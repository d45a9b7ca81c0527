//! Callers that wait for an update to get somewhere: to be accepted, or to be done.
//!
//! They are told when a step has brought the update there and that is durable, or at their deadline how far it got. An
//! update that ends without an event ends here: whoever comes later finds nothing.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_engine::{
    failure_of_closed_run,
    input::Input,
    outcome::{Rejected, Reply, StartedRun, UpdateEnd},
    state::{Run, RunNumber},
};
use mainspring_rt::Timestamp;

use super::{Answered, ChainKey, Shard, World};
use crate::answer::{Error, Tail, UpdateOutcome, UpdateStage, UpdateView};

/// An update to ask for or to wait for.
#[derive(Clone, Debug)]
pub struct Await {
    /// Empty: the newest run.
    pub run_id: String,
    pub update_id: String,
    /// Brings the update; `None` to wait for one that is there.
    pub input: Option<Box<Input>>,
    /// How far the update has to get.
    pub stage: UpdateStage,
    /// When the caller is told how far it got.
    pub deadline: Timestamp,
}

/// Everyone who waits.
pub(super) struct Updates<A> {
    next: u64,
    open: BTreeMap<u64, Waiter<A>>,
    by_chain: BTreeMap<ChainKey, BTreeSet<u64>>,
    by_deadline: BTreeSet<(Timestamp, u64)>,
}

struct Waiter<A> {
    key: ChainKey,
    run: RunNumber,
    update_id: String,
    stage: UpdateStage,
    deadline: Timestamp,
    started: Option<StartedRun>,
    answer: A,
}

impl<A> Default for Updates<A> {
    fn default() -> Self {
        Updates { next: 0, open: BTreeMap::new(), by_chain: BTreeMap::new(), by_deadline: BTreeSet::new() }
    }
}

impl<A> Updates<A> {
    pub(super) fn next_deadline(&self) -> Timestamp {
        self.by_deadline.first().map_or(Timestamp::MAX, |(at, _)| *at)
    }

    /// Forgets all; hands out who waited.
    pub(super) fn clear(&mut self) -> Vec<A> {
        self.by_chain.clear();
        self.by_deadline.clear();
        std::mem::take(&mut self.open).into_values().map(|waiter| waiter.answer).collect()
    }

    fn add(&mut self, waiter: Waiter<A>) {
        self.next += 1;
        self.by_deadline.insert((waiter.deadline, self.next));
        self.by_chain.entry(waiter.key.clone()).or_default().insert(self.next);
        self.open.insert(self.next, waiter);
    }

    fn remove(&mut self, id: u64) -> Option<Waiter<A>> {
        let waiter = self.open.remove(&id)?;
        self.by_deadline.remove(&(waiter.deadline, id));
        if let Some(ids) = self.by_chain.get_mut(&waiter.key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_chain.remove(&waiter.key);
            }
        }
        Some(waiter)
    }

    /// Those who wait for updates of a run and of whom `ready` says that they need wait no longer.
    fn take(&mut self, key: &ChainKey, run: RunNumber, ready: impl Fn(&Waiter<A>) -> bool) -> Vec<Waiter<A>> {
        let Some(ids) = self.by_chain.get(key) else { return Vec::new() };
        let is_ready = |id: &u64| self.open.get(id).is_some_and(|waiter| waiter.run == run && ready(waiter));
        let ids: Vec<u64> = ids.iter().copied().filter(is_ready).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }
}

impl<A, R> Shard<A, R> {
    /// Brings an update to the newest run, if it is a new one, and waits for it.
    pub(super) fn update(&mut self, key: &ChainKey, wanted: Await, answer: A, world: &World<'_, R>) {
        let Await { update_id, input, stage, deadline, .. } = wanted;
        let mut started = None;
        if let Some(input) = input {
            match self.step(key, *input, world) {
                Ok(Reply::Started(run)) => started = Some(run),
                Ok(_) => {}
                Err(error) => {
                    let after = if self.broken.is_some() { 0 } else { self.chains.get(key).seq };
                    return self.answer(after, answer, Err(error));
                }
            }
        }
        // One that is to be deleted is as good as gone.
        let Some(run) = self.chains.run(key).filter(|run| !run.execution.delete_requested) else {
            let after = self.chains.get(key).seq;
            return self.answer(after, answer, Err(Error::Rejected(Rejected::NotFound)));
        };
        let waiter = Waiter { key: key.clone(), run: run.number, update_id, stage, deadline, started, answer };
        let known = stage_of(run, &waiter.update_id);
        if known.as_ref().is_some_and(|(reached, _)| *reached < stage) && deadline > self.now {
            self.chains.pin(key);
            return self.updates.add(waiter);
        }
        let (run, entry) = (run.clone(), self.chains.get(key));
        let (after, tail) = (entry.seq, entry.tail.clone());
        self.tell(waiter, &run, &tail, after);
    }

    /// The same for a run that is no longer the newest: it is closed, and nothing is to be waited for.
    pub(super) fn update_older(&mut self, key: &ChainKey, run: Run, wanted: Await, answer: A) {
        let Await { update_id, input, stage, deadline, .. } = wanted;
        let refused = input.and_then(|input| self.step_alone(*input, run.clone()).err());
        if let Some(rejected) = refused {
            return self.answer(0, answer, Err(Error::Rejected(rejected)));
        }
        let number = run.number;
        let waiter = Waiter { key: key.clone(), run: number, update_id, stage, deadline, started: None, answer };
        self.tell(waiter, &run, &Tail::default(), 0);
    }

    /// The newest run changed: tells those whose update got where they wanted it. Every step comes by here; where nobody
    /// waits it costs a lookup.
    pub(super) fn settle_updates(&mut self, key: &ChainKey, ended: &[(String, UpdateEnd)]) {
        if !self.updates.by_chain.contains_key(key) {
            return;
        }
        let Some(run) = self.chains.run(key).cloned() else { return };
        let entry = self.chains.get(key);
        let (after, tail) = (entry.seq, entry.tail.clone());
        #[cfg(planted)]
        let after = if mainspring_rt::planted::is(11) { 0 } else { after };
        self.settle_run(key, &run, &tail, ended, after);
    }

    /// A run closed and another took its place.
    pub(super) fn settle_superseded(&mut self, key: &ChainKey, run: &Run, ended: &[(String, UpdateEnd)]) {
        if !self.updates.by_chain.contains_key(key) {
            return;
        }
        // Without what is in memory: its last batches are in the store by then.
        self.settle_run(key, run, &Tail::default(), ended, self.batch.seq());
    }

    fn settle_run(&mut self, key: &ChainKey, run: &Run, tail: &Tail, ended: &[(String, UpdateEnd)], after: u64) {
        for (id, end) in ended {
            for waiter in self.updates.take(key, run.number, |waiter| waiter.update_id == *id) {
                let result = match end {
                    UpdateEnd::Aborted(why) => Err(Error::Rejected(why.clone())),
                    UpdateEnd::Rejected(failure) => {
                        let outcome = Some(UpdateOutcome::Failure(failure.clone()));
                        Ok(self.view_of(run, tail, UpdateStage::Completed, outcome, waiter.started))
                    }
                };
                self.answer(after, waiter.answer, result);
            }
        }
        let reached = |waiter: &Waiter<A>| stage_of(run, &waiter.update_id).is_some_and(|(at, _)| at >= waiter.stage);
        for waiter in self.updates.take(key, run.number, reached) {
            self.tell(waiter, run, tail, after);
        }
        self.unpin(key);
    }

    /// The chain may go from memory when nobody waits any more.
    fn unpin(&mut self, key: &ChainKey) {
        if !self.updates.by_chain.contains_key(key) {
            self.chains.unpin(key);
        }
    }

    /// Tells those who waited long enough how far it got.
    pub(super) fn expire_updates(&mut self) {
        while let Some((_, id)) = self.updates.by_deadline.first().copied().filter(|(at, _)| *at <= self.now) {
            let Some(waiter) = self.updates.remove(id) else { return };
            let key = waiter.key.clone();
            let Some(run) = self.chains.run(&key).filter(|run| run.number == waiter.run).cloned() else {
                debug_assert!(false, "a chain stays in memory while somebody waits for its updates");
                let gone = Error::Rejected(Rejected::UpdateNotFound { id: waiter.update_id });
                self.answer(0, waiter.answer, Err(gone));
                continue;
            };
            let after = self.chains.get(&key).seq;
            self.tell(waiter, &run, &Tail::default(), after);
            self.unpin(&key);
        }
    }

    /// Says how far the update is.
    fn tell(&mut self, waiter: Waiter<A>, run: &Run, tail: &Tail, after: u64) {
        let Waiter { update_id, started, answer, .. } = waiter;
        let result = match stage_of(run, &update_id) {
            Some((stage, outcome)) => Ok(self.view_of(run, tail, stage, outcome, started)),
            None => Err(Error::Rejected(Rejected::UpdateNotFound { id: update_id })),
        };
        self.answer(after, answer, result);
    }

    fn view_of(
        &self,
        run: &Run,
        tail: &Tail,
        stage: UpdateStage,
        outcome: Option<UpdateOutcome>,
        started: Option<StartedRun>,
    ) -> Answered {
        // Only an event is to be read.
        let tail = if matches!(outcome, Some(UpdateOutcome::Event(_))) { tail.as_ref().clone() } else { Vec::new() };
        let run_id = run.fixed.run_id.clone();
        Answered::Update(Box::new(UpdateView { run: self.run_key(run.number), run_id, stage, outcome, started, tail }))
    }
}

/// How far an update of the run is, if the run has it.
fn stage_of(run: &Run, id: &str) -> Option<(UpdateStage, Option<UpdateOutcome>)> {
    let Some(update) = run.updates.get(id) else {
        let admitted = run.admitted.iter().any(|admitted| admitted.update_id() == id);
        return admitted.then_some((UpdateStage::Admitted, None));
    };
    Some(match update.completed_event_id {
        0 if run.is_open() => (UpdateStage::Accepted, None),
        0 => (UpdateStage::Completed, Some(UpdateOutcome::Failure(Box::new(failure_of_closed_run())))),
        event_id => (UpdateStage::Completed, Some(UpdateOutcome::Event(event_id))),
    })
}
