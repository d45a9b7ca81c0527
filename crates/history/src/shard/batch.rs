//! What a commit writes, and what leaves once it is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainspring_engine::{
    invariants,
    outcome::{Chunk, RunChange, WakeMove},
    state::{ItemKey, Run, RunNumber},
};
use mainspring_matching::{Poller, QueueName, Task};
use mainspring_rt::Timestamp;
use mainspring_store::{Claim, Op, ShardId, Table, keys, record, run};

use mainspring_visibility::Change;

use super::{Action, Answered, ChainKey, Shard, Waiting, World, indexing};
use crate::answer::{Delivered, Error};

/// Something that waits for a batch to be durable.
pub(super) enum Out<A, R> {
    Answer {
        to: A,
        result: Result<Answered, Error>,
    },
    Deliver {
        queue: QueueName,
        poller: Poller<Waiting<R>>,
        delivered: Delivered,
    },
    /// A task's row: matching may hear of it.
    Offer {
        queue: QueueName,
        task: Task,
    },
    /// A run that lists show differently now.
    Index {
        run: RunNumber,
        version: i64,
        change: Change,
    },
    /// An outbox row: it may be sent.
    Effect {
        run: RunNumber,
        number: u64,
    },
}

/// The batch being filled, and those in flight.
pub(super) struct Batch<A, R> {
    /// Of the batch being filled.
    seq: u64,
    durable: u64,
    ops: Vec<Op>,
    /// Runs that changed since the last flush; each is encoded once, at the flush.
    dirty: BTreeMap<ChainKey, Dirty>,
    outs: VecDeque<(u64, Out<A, R>)>,
}

/// What changed on a newest run since the last flush.
#[derive(Default)]
pub(super) struct Dirty {
    created: bool,
    touched: BTreeSet<ItemKey>,
    chunks: Vec<Chunk>,
    wake: Option<WakeMove>,
    /// Lists show something of it.
    shown: bool,
}

impl Dirty {
    /// Adds what one more step changed on the run.
    pub(super) fn add(&mut self, change: &mut RunChange, run: &Run) {
        self.shown |= indexing::shows(change, run);
        self.created |= change.created;
        self.touched.append(&mut change.touched);
        self.chunks.append(&mut change.chunks);
        if let Some(wake) = change.wake {
            let from = self.wake.map_or(wake.from, |earlier| earlier.from);
            self.wake = Some(WakeMove { from, to: wake.to });
        }
    }
}

impl<A, R> Default for Batch<A, R> {
    fn default() -> Self {
        Batch { seq: 1, durable: 0, ops: Vec::new(), dirty: BTreeMap::new(), outs: VecDeque::new() }
    }
}

impl<A, R> Batch<A, R> {
    /// The number of the batch being filled.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Batches up to this one are durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Something is to be written anyway.
    pub(super) fn has_writes(&self) -> bool {
        !self.ops.is_empty() || !self.dirty.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outs.is_empty() && self.ops.is_empty() && self.dirty.is_empty() && self.durable + 1 == self.seq
    }

    /// Numbers start again with a new claim.
    pub(super) fn restart(&mut self) {
        *self = Batch::default();
    }

    pub(super) fn put(&mut self, table: Table, key: bytes::Bytes, value: bytes::Bytes) {
        self.ops.push(Op::Put { table, key, value });
    }

    pub(super) fn delete(&mut self, table: Table, key: bytes::Bytes) {
        self.ops.push(Op::Delete { table, key });
    }

    /// What changed on the newest run of a chain, for adding to.
    pub(super) fn dirty(&mut self, key: &ChainKey) -> &mut Dirty {
        if !self.dirty.contains_key(key) {
            self.dirty.insert(key.clone(), Dirty::default());
        }
        self.dirty.get_mut(key).expect("it was just inserted")
    }

    pub(super) fn pop_dirty(&mut self, key: &ChainKey) -> Option<Dirty> {
        self.dirty.remove(key)
    }

    /// Lets go of something once batch `after` is durable.
    pub(super) fn hold(&mut self, after: u64, out: Out<A, R>) {
        // Most wait for the newest batch; the queue stays in order of batches.
        let mut index = self.outs.len();
        while index > 0 && self.outs[index - 1].0 > after {
            index -= 1;
        }
        self.outs.insert(index, (after, out));
    }

    pub(super) fn acknowledge(&mut self, seq: u64) -> Vec<Out<A, R>> {
        debug_assert_eq!(seq, self.durable + 1, "batches are acknowledged in order");
        self.durable = seq;
        let mut released = Vec::new();
        while self.outs.front().is_some_and(|(after, _)| *after <= seq) {
            released.extend(self.outs.pop_front().map(|(_, out)| out));
        }
        released
    }

    /// Gives up everything that is not durable.
    pub(super) fn abandon(&mut self) -> Vec<Out<A, R>> {
        let outs = std::mem::take(&mut self.outs);
        self.restart();
        outs.into_iter().map(|(_, out)| out).collect()
    }
}

/// Writes what changed on a run. Returns the bytes of its items.
fn encode(ops: &mut Vec<Op>, shard: ShardId, key: &ChainKey, of: &Run, dirty: Dirty) -> usize {
    if dirty.created {
        run::create(ops, shard, key.namespace, of);
    }
    let bytes = run::write(ops, shard, of, &dirty.touched);
    if let Some(first) = dirty.chunks.first() {
        let parts: Vec<bytes::Bytes> = dirty.chunks.iter().map(|chunk| chunk.bytes.clone()).collect();
        let at = keys::history(shard, of.number, first.first_event_id);
        ops.push(Op::Put { table: Table::History, key: at, value: record::seal_parts(&parts) });
    }
    if let Some(WakeMove { from, to }) = dirty.wake.filter(|wake| wake.from != wake.to) {
        if from != Timestamp::ZERO {
            ops.push(Op::Delete { table: Table::Queue, key: keys::wake(shard, from, of.number) });
        }
        #[cfg(planted)]
        let to = if mainspring_rt::planted::is(5) && from != Timestamp::ZERO { Timestamp::ZERO } else { to };
        if to != Timestamp::ZERO {
            let value = record::seal_parts(&[]);
            ops.push(Op::Put { table: Table::Queue, key: keys::wake(shard, to, of.number), value });
        }
    }
    bytes
}

impl<A, R> Shard<A, R> {
    /// Sends the batch off, if there is anything in it.
    pub(super) fn seal(&mut self, claim: Claim) {
        self.forget_indexed();
        let dirty = std::mem::take(&mut self.batch.dirty);
        for (key, dirty) in dirty {
            let Some(run) = self.chains.run(&key) else { continue };
            if dirty.shown {
                // Described before it is borrowed for writing; a run is a handful of shared parts.
                let run = run.clone();
                self.mark_unindexed(run.number, &key, &run);
            }
            if let Some(run) = self.chains.run(&key) {
                debug_assert_eq!(invariants::check_run(run), Ok(()), "run {} of {}", run.number.0, key.workflow_id);
                let bytes = encode(&mut self.batch.ops, self.id, &key, run, dirty);
                self.chains.grow(&key, bytes);
            }
        }
        if self.batch.ops.is_empty() {
            return;
        }
        let (seq, ops) = (self.batch.seq, std::mem::take(&mut self.batch.ops));
        self.batch.seq += 1;
        self.actions.push(Action::Commit { claim, seq, ops });
    }

    /// Writes what changed on a run into the batch now, not at the flush: it will be out of reach then.
    pub(super) fn write_run(&mut self, key: &ChainKey, run: &Run, dirty: Dirty) {
        if dirty.shown {
            self.mark_unindexed(run.number, key, run);
        }
        encode(&mut self.batch.ops, self.id, key, run, dirty);
    }

    /// Answers once batch `after` is durable; at once if it is.
    pub(super) fn answer(&mut self, after: u64, to: A, result: Result<Answered, Error>) {
        #[cfg(planted)]
        let after = if mainspring_rt::planted::is(1) { 0 } else { after };
        if after <= self.batch.durable {
            self.actions.push(Action::Answer { to, result });
        } else {
            self.batch.hold(after, Out::Answer { to, result });
        }
    }

    pub(super) fn release(&mut self, out: Out<A, R>, world: &World<'_, R>) {
        match out {
            Out::Answer { to, result } => self.actions.push(Action::Answer { to, result }),
            Out::Deliver { poller, delivered, .. } => self.actions.push(Action::Deliver { poller, delivered }),
            Out::Offer { queue, task } => {
                let directives = world.matching.offer(&queue, task, world.now);
                self.direct(directives);
            }
            Out::Index { run, version, change } => self.actions.push(Action::Index { run, version, change }),
            Out::Effect { run, number } => self.effect_durable(run, number),
        }
    }

    /// What was to leave with a batch that failed: callers hear so, pollers go back to the front of their line.
    pub(super) fn drop_out(&mut self, out: Out<A, R>, told: &Error, world: &World<'_, R>) {
        match out {
            Out::Answer { to, .. } => self.actions.push(Action::Answer { to, result: Err(told.clone()) }),
            Out::Deliver { queue, poller, .. } => {
                let directives = world.matching.give_back(&queue, poller, world.now);
                self.direct(directives);
            }
            Out::Offer { .. } | Out::Index { .. } | Out::Effect { .. } => {}
        }
    }
}
