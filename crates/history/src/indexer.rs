//! The visibility index of a node: fed in batches behind the commits, asked by lists and counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use mainspring_api::ids::NamespaceId;
use mainspring_engine::state::RunNumber;
use mainspring_rt::{BoxFuture, Rt, Timestamp};
use mainspring_store::SHARDS;
use mainspring_visibility::{Change, Count, Error, Filter, Index, Page, Reader};
use tokio::sync::mpsc;

use crate::{
    node::{Node, NodeEvent},
    shard::Event,
};

/// Changes of one batch.
const BATCH_MAX: usize = 2_000;
/// Time between batches: what changes twice in it is written once.
const LINGER: Duration = Duration::from_millis(50);
/// Time between syncs: until then the rows that say what the index has yet to hear stay.
const SYNC_EACH: Duration = Duration::from_secs(1);
/// Lists and counts at once.
const READERS: usize = 2;
/// Where the index says that every run is in it.
const FILLED: &str = "filled";

/// A change of a run, and who is to hear that the index has it.
pub(crate) struct Entry {
    pub(crate) shard: u16,
    pub(crate) run: RunNumber,
    pub(crate) version: i64,
    pub(crate) change: Change,
}

/// The index, as the node uses it.
pub(crate) struct Indexer {
    entries: mpsc::UnboundedSender<Entry>,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    readers: Vec<Arc<Mutex<Reader>>>,
    next_reader: AtomicUsize,
    /// Shards whose runs are not all in it.
    unfilled: Mutex<BTreeSet<u16>>,
    lost: AtomicBool,
}

/// The other end: to be run once the node stands.
pub(crate) struct Feed {
    index: Index,
    entries: mpsc::UnboundedReceiver<Entry>,
}

impl Indexer {
    /// # Errors
    /// When the index cannot be read.
    pub(crate) fn new(index: Index, shards: u16, waiting_max: usize) -> Result<(Indexer, Feed), Error> {
        let (entries, receiver) = mpsc::unbounded_channel();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let reader = index.reader().map_err(|error| Error::Broken(error.to_string()))?;
            readers.push(Arc::new(Mutex::new(reader)));
        }
        let lost = index.position(FILLED)?.is_none();
        let indexer = Indexer {
            entries,
            waiting: Arc::default(),
            waiting_max,
            readers,
            next_reader: AtomicUsize::new(0),
            unfilled: Mutex::new((0..shards).collect()),
            lost: AtomicBool::new(lost),
        };
        Ok((indexer, Feed { index, entries: receiver }))
    }

    /// The index does not have every run: shards are to tell it of all.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Queues a change. False when too many wait.
    pub(crate) fn tell(&self, entry: Entry) -> bool {
        if self.waiting.load(Ordering::Relaxed) >= self.waiting_max {
            return false;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.entries.send(entry).is_ok()
    }

    /// One shard's runs are all in it. A shard that is reloaded meanwhile says so once more.
    pub(crate) fn refilled(&self, shard: u16) {
        let mut unfilled = self.unfilled.lock().unwrap_or_else(PoisonError::into_inner);
        if unfilled.remove(&shard) && unfilled.is_empty() {
            self.lost.store(false, Ordering::Relaxed);
            let filled = Change::Position { name: FILLED.to_owned(), value: 1 };
            // Nobody has to hear that it is written: at worst the index is filled once more.
            let entry = Entry { shard: SHARDS, run: RunNumber(0), version: 0, change: filled };
            let _ = self.entries.send(entry);
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) async fn list(
        &self,
        rt: &Rt,
        namespace: NamespaceId,
        filter: Filter,
        page_size: usize,
        page_token: Vec<u8>,
    ) -> Result<Page, Error> {
        self.ask(rt, move |reader| reader.list(namespace, &filter, page_size, &page_token)).await
    }

    pub(crate) async fn count(&self, rt: &Rt, namespace: NamespaceId, filter: Filter) -> Result<Count, Error> {
        self.ask(rt, move |reader| reader.count(namespace, &filter)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        rt: &Rt,
        question: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let next = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let reader = self.readers[next % self.readers.len()].clone();
        let job = move || question(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        rt.blocking(job).await.unwrap_or_else(|| Err(Error::Broken("a list failed".to_owned())))
    }
}

/// Feeds the index until the node is gone.
pub(crate) async fn feed(node: Arc<Node>, mut feed: Feed) {
    let mut entries = Vec::new();
    // Applied and not yet on disk.
    let mut unsynced = Told::new();
    let mut sync_at = Timestamp::MAX;
    loop {
        if !feed.wait(&mut entries, node.rt.sleep_until(sync_at)).await {
            return;
        }
        node.indexer.waiting.fetch_sub(entries.len(), Ordering::Relaxed);
        let (changes, told) = coalesce(std::mem::take(&mut entries));
        let due = sync_at <= node.rt.now() || node.is_stopping();
        let mut index = feed.index;
        let job = move || {
            let applied = index.apply(&changes).and_then(|()| if due { index.sync() } else { Ok(()) });
            (index, applied)
        };
        let Some((index, applied)) = node.rt.blocking(job).await else {
            tracing::error!("the visibility index failed; lists are frozen until the server is started again");
            return;
        };
        feed.index = index;
        merge(&mut unsynced, told);
        match applied {
            Ok(()) if due => tell(&node, &mut unsynced, Event::Indexed),
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "the visibility index did not take a batch");
                tell(&node, &mut unsynced, Event::NotIndexed);
            }
        }
        if node.is_stopping() && feed.entries.is_empty() {
            return;
        }
        sync_at = match (unsynced.is_empty(), sync_at == Timestamp::MAX || due) {
            (true, _) => Timestamp::MAX,
            (false, true) => node.rt.now() + SYNC_EACH,
            (false, false) => sync_at,
        };
        node.rt.sleep(LINGER).await;
    }
}

impl Feed {
    /// Waits for entries or for the time to sync. False when nobody can tell any more.
    async fn wait(&mut self, entries: &mut Vec<Entry>, sync: BoxFuture<()>) -> bool {
        let come = pin!(self.entries.recv_many(entries, BATCH_MAX));
        !matches!(select(come, sync).await, Either::Left((0, _)))
    }
}

fn merge(into: &mut Told, told: Told) {
    for (shard, runs) in told {
        into.entry(shard).or_default().extend(runs);
    }
}

fn tell(node: &Node, told: &mut Told, event: impl Fn(Vec<(RunNumber, i64)>) -> NodeEvent) {
    for (shard, runs) in std::mem::take(told) {
        node.post(shard, event(runs));
    }
}

/// Runs of each shard, with the versions that were told.
type Told = BTreeMap<u16, Vec<(RunNumber, i64)>>;

/// Of several changes of a run only the last counts.
fn coalesce(entries: Vec<Entry>) -> (Vec<Change>, Told) {
    let mut told = Told::new();
    let mut newest: BTreeMap<(u16, RunNumber), Change> = BTreeMap::new();
    for entry in entries {
        if entry.shard < SHARDS {
            told.entry(entry.shard).or_default().push((entry.run, entry.version));
        }
        newest.insert((entry.shard, entry.run), entry.change);
    }
    (newest.into_values().collect(), told)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a shard that was reloaded and filled the index twice does not stand for one that has not filled it yet.
    #[test]
    fn the_index_is_whole_once_every_shard_has_filled_it() {
        let (indexer, _feed) = Indexer::new(Index::memory().unwrap(), 2, 10).unwrap();
        indexer.refilled(0);
        indexer.refilled(0);
        assert!(indexer.is_lost());
        indexer.refilled(1);
        assert!(!indexer.is_lost());
    }

    #[test]
    fn of_several_changes_of_a_run_the_last_is_written_and_all_are_told() {
        let entry = |run, version, value| Entry {
            shard: 3,
            run: RunNumber(run),
            version,
            change: Change::Position { name: "p".to_owned(), value },
        };
        let (changes, told) = coalesce(vec![entry(1, 1, 10), entry(2, 1, 20), entry(1, 2, 30)]);
        let position = |value| Change::Position { name: "p".to_owned(), value };
        assert_eq!(changes, [position(30), position(20)]);
        assert_eq!(told[&3], [(RunNumber(1), 1), (RunNumber(2), 1), (RunNumber(1), 2)]);
    }
}
