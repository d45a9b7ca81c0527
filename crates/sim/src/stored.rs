//! What stands in the store, read for checking.

use bytes::Bytes;
use mainspring_api::v1::{History, history::HistoryEvent};
use mainspring_engine::state::{Run, RunNumber};
use mainspring_store::{Op, Scan, ShardId, Table, keys, memory::MemoryStore, record, run};

use crate::{sim::Sim, world::shard_id};

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
    let (id, number) = (ShardId(shard), RunNumber(number));
    let Some(execution) = store.get_now(Table::State, &keys::execution(id, number)) else { return Ok(None) };
    let items = rows(store, Table::State, keys::items(id, number));
    let run = run::read(id, number, Some(execution), items).map_err(|why| why.to_string())?;
    let events = history(store, shard, number.0)?;
    Ok(Some(StoredRun { shard, run, events }))
}

/// Every run of a shard.
pub(crate) fn load_all(store: &MemoryStore, shard: u16) -> Result<Vec<StoredRun>, String> {
    let mut runs = Vec::new();
    for (key, _) in rows(store, Table::State, keys::kind(ShardId(shard), b'X')) {
        let number = u64::from_be_bytes(key[3..11].try_into().map_err(|_| "a short key".to_owned())?);
        runs.extend(load(store, shard, number)?);
    }
    Ok(runs)
}

impl Sim {
    /// Keeps what a run was before retention takes it.
    pub(crate) fn keep_in_archive(&mut self, shard: usize, ops: &[Op]) {
        for op in ops {
            let Op::Delete { table: Table::State, key } = op else { continue };
            if key.get(2) != Some(&b'X') {
                continue;
            }
            let number = key[3..11].try_into().map_or(0, u64::from_be_bytes);
            let shard = shard_id(shard).0;
            match load(&self.store, shard, number) {
                Ok(Some(stored)) => {
                    self.sometimes.saw("retention over");
                    self.archive.insert((shard, number), stored);
                }
                Ok(None) => {}
                Err(why) => self.fail(why),
            }
        }
    }

    /// Every run that ever was, by shard and number.
    pub(crate) fn all_runs(&self) -> Result<Vec<StoredRun>, String> {
        let mut all = self.archive.clone();
        for shard in 0..self.plan.shards {
            for stored in load_all(&self.store, shard)? {
                all.insert((shard, stored.run.number.0), stored);
            }
        }
        Ok(all.into_values().collect())
    }
}
