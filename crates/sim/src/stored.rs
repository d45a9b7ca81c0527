//! What stands in the store, read for checking.

use bytes::Bytes;
use mainspring_api::{
    ids::RunId,
    v1::{History, history::HistoryEvent},
};
use mainspring_engine::state::{Run, RunNumber};
use mainspring_rt::Timestamp;
use mainspring_store::{Op, Scan, ShardId, Table, keys, memory::MemoryStore, record, run};

use crate::world::{Sim, namespace_id};

/// A run as its rows say.
#[derive(Clone)]
pub(crate) struct StoredRun {
    pub(crate) shard: u16,
    pub(crate) run: Run,
    pub(crate) events: Vec<HistoryEvent>,
}

pub(crate) type Rows = Vec<(Bytes, Bytes)>;

pub(crate) fn rows(store: &MemoryStore, table: Table, range: keys::Range) -> Rows {
    let scan =
        Scan { table, from: range.from, to: range.to, rows_max: usize::MAX, bytes_max: usize::MAX, reverse: false };
    store.scan_now(&scan).rows
}

pub(crate) fn events_of<'c>(chunks: impl Iterator<Item = &'c Bytes>) -> Result<Vec<HistoryEvent>, String> {
    History::from_chunks(chunks.cloned().collect()).decode_events().map_err(|why| format!("history: {why}"))
}

/// The stored history of a run.
pub(crate) fn history(store: &MemoryStore, shard: u16, run: u64) -> Result<Vec<HistoryEvent>, String> {
    let range = keys::history_of(ShardId(shard), RunNumber(run));
    let mut chunks = Vec::new();
    for (key, value) in rows(store, Table::History, range) {
        chunks.push(record::unseal(&key, value).map_err(|why| why.to_string())?);
    }
    events_of(chunks.iter())
}

/// A run with its history; `None` when it has no rows.
pub(crate) fn load(store: &MemoryStore, shard: u16, number: u64) -> Result<Option<StoredRun>, String> {
    let Some(run) = load_run(store, shard, RunNumber(number))? else { return Ok(None) };
    let events = history(store, shard, number)?;
    Ok(Some(StoredRun { shard, run, events }))
}

/// Every run of a shard.
pub(crate) fn load_all(store: &MemoryStore, shard: u16) -> Result<Vec<StoredRun>, String> {
    let mut runs = Vec::new();
    for number in numbers(store, shard) {
        runs.extend(load(store, shard, number.0)?);
    }
    Ok(runs)
}

/// A run without its history; `None` when it has no rows.
pub(crate) fn load_run(store: &MemoryStore, shard: u16, number: RunNumber) -> Result<Option<Run>, String> {
    let id = ShardId(shard);
    let Some(execution) = store.get_now(Table::State, &keys::execution(id, number)) else { return Ok(None) };
    let items = rows(store, Table::State, keys::items(id, number));
    run::read(id, number, Some(execution), items).map(Some).map_err(|why| why.to_string())
}

/// The runs of a shard, by number.
fn numbers(store: &MemoryStore, shard: u16) -> Vec<RunNumber> {
    let executions = rows(store, Table::State, keys::kind(ShardId(shard), b'X'));
    executions.iter().map(|(key, _)| RunNumber(number_of(key))).collect()
}

/// The request that started the run, unless another run did.
pub(crate) fn made_by(run: &Run) -> Option<&str> {
    run.fixed.continued_run_id.is_empty().then_some(run.fixed.create_request_id.as_str())
}

pub(crate) fn number_of(key: &[u8]) -> u64 {
    key.get(3..11).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

impl Sim {
    pub(crate) fn shards(&self) -> std::ops::Range<u16> {
        0..self.plan.tuning.shards
    }

    /// Keeps what a run was before retention takes it.
    pub(crate) fn keep_in_archive(&self, shard: ShardId, ops: &[Op]) {
        for op in ops {
            let Op::Delete { table: Table::State, key } = op else { continue };
            if key.get(2) != Some(&b'X') {
                continue;
            }
            let number = number_of(key);
            match load(&self.store, shard.0, number) {
                Ok(Some(stored)) => {
                    self.saw("retention over");
                    self.check(self.check_retired(&stored.run));
                    self.archive().insert((shard.0, number), stored);
                }
                Ok(None) => {}
                Err(why) => self.fail(why),
            }
        }
    }

    /// A run goes when its retention is over, by the latest of all clocks; until then its request starts no other.
    fn check_retired(&self, run: &Run) -> Result<(), String> {
        let number = run.number.0;
        if self.latest() < Timestamp::from_nanos(run.execution.closed_at) + self.plan.retention {
            return Err(format!("run {number} goes before its retention is over"));
        }
        let again = |other: &Run| made_by(other) == made_by(run) && other.fixed.run_id != run.fixed.run_id;
        match made_by(run).filter(|_| self.stored_runs().iter().any(again)) {
            Some(request_id) => Err(format!("request {request_id} has started two runs")),
            None => Ok(()),
        }
    }

    pub(crate) fn was_archived(&self, run_id: &str) -> bool {
        self.archive().values().any(|stored| stored.run.fixed.run_id == run_id)
    }

    /// Every run that ever was, by shard and number.
    pub(crate) fn all_runs(&self) -> Result<Vec<StoredRun>, String> {
        let mut all = self.archive().clone();
        for shard in self.shards() {
            for stored in load_all(&self.store, shard)? {
                all.insert((shard, stored.run.number.0), stored);
            }
        }
        Ok(all.into_values().collect())
    }

    /// Runs that are stored now, without their histories.
    pub(crate) fn stored_runs(&self) -> Vec<Run> {
        let of = |shard| numbers(&self.store, shard).into_iter().map(move |number| (shard, number));
        let all = self.shards().flat_map(of);
        all.filter_map(|(shard, number)| load_run(&self.store, shard, number).ok().flatten()).collect()
    }

    /// Where a run is stored.
    pub(crate) fn find_run(&self, namespace: usize, run_id: &str) -> Option<(u16, RunNumber)> {
        let id = RunId(uuid::Uuid::parse_str(run_id).ok()?);
        self.shards().find_map(|shard| {
            let key = keys::run_id(ShardId(shard), namespace_id(namespace), id);
            let row = self.store.get_now(Table::State, &key)?;
            let current = record::open::<record::Current>(&key, row).ok()?;
            Some((shard, RunNumber(current.run)))
        })
    }

    /// A run as it is stored, unless retention has taken it.
    ///
    /// # Errors
    /// It was never stored, or cannot be read.
    pub(crate) fn stored_run(&self, namespace: usize, run_id: &str) -> Result<Option<Run>, String> {
        match self.find_run(namespace, run_id) {
            Some((shard, number)) => load_run(&self.store, shard, number),
            None if self.was_archived(run_id) => Ok(None),
            None => Err(format!("run {run_id} is not stored")),
        }
    }
}
