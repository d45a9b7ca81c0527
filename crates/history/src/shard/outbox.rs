//! Effects on other executions, on their way: in order for each pair of run and target, one in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainspring_engine::{effect::Effect, state::RunNumber};
use mainspring_store::{Table, keys, record};

use super::{Action, Shard, batch::Out};

/// The rows that are not answered yet.
#[derive(Default)]
pub(super) struct Outbox {
    rows: BTreeMap<(RunNumber, u64), Row>,
    lines: BTreeMap<(RunNumber, Peer), VecDeque<u64>>,
    /// Sent by this process and not answered yet, also those sent before the shard was last lost. Two of the same must
    /// not be on their way at once: when the first is refused, the second may still start a child that nobody knows of.
    under_way: BTreeSet<(RunNumber, u64)>,
}

/// Namespace and workflow id of a target.
type Peer = (String, String);

struct Row {
    effect: Effect,
    durable: bool,
    sent: bool,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Forgets the rows, which are about to be read again, but not what is on its way.
    pub(super) fn forget_rows(&mut self) {
        self.rows.clear();
        self.lines.clear();
    }

    /// An answer came and could not be taken in: the row has to be sent again when it is next read.
    pub(super) fn answer_lost(&mut self, run: RunNumber, number: u64) {
        self.under_way.remove(&(run, number));
    }

    /// All rows, in order.
    pub(super) fn numbers(&self) -> Vec<(RunNumber, u64)> {
        self.rows.keys().copied().collect()
    }

    /// Whether the run still has something under way.
    pub(super) fn has(&self, run: RunNumber) -> bool {
        self.rows.range((run, 0)..=(run, u64::MAX)).next().is_some()
    }

    pub(super) fn add(&mut self, run: RunNumber, number: u64, effect: Effect) {
        self.lines.entry((run, peer(&effect))).or_default().push_back(number);
        self.rows.insert((run, number), Row { effect, durable: false, sent: false });
    }

    /// The row is durable. Gives what may be sent now.
    pub(super) fn durable(&mut self, run: RunNumber, number: u64) -> Option<(u64, Effect)> {
        let row = self.rows.get_mut(&(run, number))?;
        row.durable = true;
        let peer = peer(&row.effect);
        self.next(run, &peer)
    }

    /// The row was answered. Gives what may be sent now.
    pub(super) fn remove(&mut self, run: RunNumber, number: u64) -> Option<(u64, Effect)> {
        self.under_way.remove(&(run, number));
        let row = self.rows.remove(&(run, number))?;
        let key = (run, peer(&row.effect));
        let line = self.lines.get_mut(&key)?;
        line.retain(|waiting| *waiting != number);
        if line.is_empty() {
            self.lines.remove(&key);
            return None;
        }
        self.next(run, &key.1)
    }

    fn next(&mut self, run: RunNumber, peer: &Peer) -> Option<(u64, Effect)> {
        let number = *self.lines.get(&(run, peer.clone()))?.front()?;
        let row = self.rows.get_mut(&(run, number)).filter(|row| row.durable && !row.sent)?;
        row.sent = true;
        let effect = row.effect.clone();
        self.under_way.insert((run, number)).then_some((number, effect))
    }
}

fn peer(effect: &Effect) -> Peer {
    (effect.namespace.clone(), effect.workflow_id.clone())
}

impl<A, R> Shard<A, R> {
    /// New rows: written with the batch, sent after it.
    pub(super) fn add_effects(&mut self, run: RunNumber, effects: Vec<(u64, Effect)>) {
        for (number, effect) in effects {
            let key = keys::outbox(self.id, run, number);
            self.batch.put(Table::Queue, key, record::seal(&effect));
            self.outbox.add(run, number, effect);
            self.batch.hold(self.batch.seq(), Out::Effect { run, number });
        }
    }

    /// An effect was answered: its row goes.
    pub(super) fn effect_done(&mut self, run: RunNumber, number: u64) {
        self.batch.delete(Table::Queue, keys::outbox(self.id, run, number));
        let next = self.outbox.remove(run, number);
        self.send(run, next);
    }

    pub(super) fn effect_durable(&mut self, run: RunNumber, number: u64) {
        let next = self.outbox.durable(run, number);
        self.send(run, next);
    }

    fn send(&mut self, run: RunNumber, next: Option<(u64, Effect)>) {
        if let Some((number, effect)) = next {
            #[cfg(planted)]
            if mainspring_rt::planted::is(6) {
                self.batch.delete(Table::Queue, keys::outbox(self.id, run, number));
            }
            self.actions.push(Action::Send { run, number, effect });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunNumber = RunNumber(1);

    fn to(workflow_id: &str) -> Effect {
        Effect { workflow_id: workflow_id.to_owned(), ..Effect::default() }
    }

    #[test]
    fn what_is_on_its_way_is_not_sent_again_when_the_shard_is_reloaded() {
        let mut outbox = Outbox::default();
        let reload = |outbox: &mut Outbox| {
            outbox.forget_rows();
            outbox.add(RUN, 0, to("a"));
            outbox.durable(RUN, 0).map(|(number, _)| number)
        };
        assert_eq!(reload(&mut outbox), Some(0));
        assert_eq!(reload(&mut outbox), None, "its answer is still to come");
        outbox.remove(RUN, 0);
        assert_eq!(reload(&mut outbox), Some(0), "the batch with the answer failed");
        outbox.answer_lost(RUN, 0);
        assert_eq!(reload(&mut outbox), Some(0));
    }

    #[test]
    fn one_target_gets_one_effect_at_a_time_in_order() {
        let mut outbox = Outbox::default();
        for (number, target) in [(0, "a"), (1, "a"), (2, "b")] {
            outbox.add(RUN, number, to(target));
        }
        assert_eq!(outbox.durable(RUN, 1).map(|(number, _)| number), None, "the first is not durable yet");
        assert_eq!(outbox.durable(RUN, 0).map(|(number, _)| number), Some(0));
        assert_eq!(outbox.durable(RUN, 2).map(|(number, _)| number), Some(2));
        assert_eq!(outbox.remove(RUN, 0).map(|(number, _)| number), Some(1));
        assert_eq!(outbox.remove(RUN, 0).map(|(number, _)| number), None, "a repeated answer");
        assert_eq!(outbox.remove(RUN, 1), None);
        assert!(outbox.has(RUN));
        assert_eq!(outbox.remove(RUN, 2), None);
        assert!(!outbox.has(RUN) && outbox.lines.is_empty());
    }
}
