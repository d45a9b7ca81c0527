//! The end of a closed run: when its retention is over, its rows go in pages, the last of them with the pointers to it.

use std::{collections::BTreeMap, time::Duration};

use mainspring_api::{ids::RunId, v1::enums::WorkflowExecutionStatus as Status};
use mainspring_engine::{
    input::Input,
    outcome::{Outcome, Rejected, Reply, WakeMove},
    state::{Execution, Fixed, Run, RunNumber},
};
use mainspring_rt::Timestamp;
use mainspring_store::{
    Error as StoreError, Page, Table,
    keys::{self, Range},
    record,
};

use super::{
    Answered, ChainKey, Shard, Target, Work, World,
    batch::Dirty,
    chains::Found,
    loading::{Reading, page},
};
use crate::answer::{Answer, Error};

/// Rows of each kind that go in one batch.
const PAGE_ROWS: usize = 500;
/// How long a run stays whose effects are not answered yet, before it is looked at again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the next page goes.
const NEXT_PAGE: Duration = Duration::from_millis(100);
/// Before a run is looked at again whose last rows are not durable.
const NOT_DURABLE: Duration = Duration::from_millis(5);

impl<A, R> Shard<A, R> {
    /// A closed run was woken: reads what there is of it.
    pub(super) fn retire(&mut self, key: &ChainKey, run: RunNumber, due: Timestamp) {
        if self.outbox.has(run) {
            return self.wakes.postpone(run, self.clock + PATIENCE);
        }
        if self.chains.get(key).seq > self.batch.durable() {
            // What was just written of it, such as that it is to be deleted, is not there to be read.
            return self.wakes.postpone(run, self.clock + NOT_DURABLE);
        }
        let fixed = keys::fixed(self.id, run);
        let items = Range { from: keys::after(&fixed), to: keys::items(self.id, run).to };
        let scans = vec![
            page(Table::State, Range::one(keys::execution(self.id, run)), 1),
            page(Table::State, Range::one(fixed), 1),
            page(Table::State, items, PAGE_ROWS),
            page(Table::History, keys::history_of(self.id, run), PAGE_ROWS),
        ];
        self.read(scans, Reading::Retire { key: key.clone(), run, due });
    }

    pub(super) fn retire_read(
        &mut self,
        key: ChainKey,
        run: RunNumber,
        due: Timestamp,
        pages: Result<Vec<Page>, StoreError>,
        world: &World<'_, R>,
    ) {
        if !matches!(self.chains.find(&key), Found::Ready) {
            return self.route(Target::Chain(key), Work::Wake { run, due }, world);
        }
        let pages: Option<[Page; 4]> = pages.ok().and_then(|pages| pages.try_into().ok());
        let Some([execution, fixed, items, history]) = pages else {
            return self.wakes.postpone(run, self.clock + PATIENCE);
        };
        let (Some(execution), Some(found)) = (first::<Execution>(&execution), first::<Fixed>(&fixed)) else {
            // Only the wake row was left, or the run is damaged: then it stays for whoever looks into it.
            if fixed.rows.is_empty() {
                self.batch.delete(Table::State, keys::execution(self.id, run));
            }
            return self.batch.delete(Table::Queue, keys::wake(self.id, due, run));
        };
        if matches!(execution.status(), Status::Running | Status::Paused) {
            return;
        }
        let wake_at = Timestamp::from_nanos(execution.wake_at);
        let over = execution.retained_until((self.settings.retention)(key.namespace));
        if over > self.clock {
            return self.wakes.postpone(run, over);
        }
        let last = !items.more && !history.more;
        items.rows.into_iter().for_each(|(row, _)| self.batch.delete(Table::State, row));
        history.rows.into_iter().for_each(|(row, _)| self.batch.delete(Table::History, row));
        if !last {
            return self.wakes.postpone(run, self.clock + NEXT_PAGE);
        }
        self.forget_run(&key, run, &found, wake_at);
    }

    /// A run that is not the newest is to be deleted. Marked so, it goes with its next wake-up: whatever happens
    /// meanwhile, nobody gets to see a part of it.
    pub(super) fn delete_older(&mut self, key: &ChainKey, run: Run, to: A, world: &World<'_, R>) {
        if !matches!(self.chains.find(key), Found::Ready) {
            let input = Box::new(Input::Delete { run_id: run.fixed.run_id.clone() });
            let work = Work::Call { input, query_results: BTreeMap::new(), answer: Some(to) };
            return self.route(Target::Chain(key.clone()), work, world);
        }
        let input = Input::Delete { run_id: String::new() };
        match self.step_alone(input, run) {
            Ok((Some(run), Outcome { current: Some(mut change), .. })) => {
                let seq = self.batch.seq();
                if let Some(wake) = change.wake {
                    self.wakes.moved(seq, run.number, wake);
                }
                let mut dirty = Dirty::default();
                dirty.add(&mut change, &run);
                self.write_run(key, &run, dirty);
                // Nobody reads the run before that is durable.
                self.chains.get(key).seq = seq;
                let run = self.run_key(run.number);
                let answer = Answer { reply: Reply::Done, run, tail: Vec::new(), queries: BTreeMap::new() };
                self.answer(seq, to, Ok(Answered::Reply(Box::new(answer))));
            }
            Ok(_) => self.answer(0, to, Err(Error::Rejected(Rejected::NotFound))),
            Err(rejected) => self.answer(0, to, Err(Error::Rejected(rejected))),
        }
    }

    /// The last rows of a run: what it is found by.
    fn forget_run(&mut self, key: &ChainKey, run: RunNumber, fixed: &Fixed, wake_at: Timestamp) {
        let seq = self.batch.seq();
        if self.chains.run(key).is_some_and(|newest| newest.number == run) {
            self.write_dirty(key);
            self.batch.delete(Table::State, keys::current(self.id, key.namespace, &key.workflow_id));
            self.chains.renumber(key, Some(run), None);
            let entry = self.chains.get(key);
            entry.chain.run = None;
            entry.seq = seq;
        }
        self.batch.delete(Table::State, keys::execution(self.id, run));
        self.batch.delete(Table::State, keys::fixed(self.id, run));
        if let Ok(id) = uuid::Uuid::parse_str(&fixed.run_id) {
            self.batch.delete(Table::State, keys::run_id(self.id, key.namespace, RunId(id)));
        }
        self.mark_deleted(run, key, &fixed.run_id);
        self.batch.delete(Table::Queue, keys::wake(self.id, wake_at, run));
        self.wakes.moved(seq, run, WakeMove { from: wake_at, to: Timestamp::ZERO });
    }

    /// Writes what changed on the newest run of a chain into the batch now, not at the flush.
    pub(super) fn write_dirty(&mut self, key: &ChainKey) {
        let Some(dirty) = self.batch.pop_dirty(key) else { return };
        if let Some(run) = self.chains.run(key).cloned() {
            self.write_run(key, &run, dirty);
        }
    }
}

fn first<M: prost::Message + Default>(page: &Page) -> Option<M> {
    let (key, value) = page.rows.first()?;
    record::open(key, value.clone()).ok()
}
