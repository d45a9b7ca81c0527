//! The chains in memory: found by key or by the number of their newest run, evicted by age.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use mainspring_engine::{
    outcome::Chunk,
    state::{Chain, Run, RunNumber},
};

use super::{ChainKey, Settings, Target, Work};
use crate::answer::Tail;

/// History kept in memory of each run, so that its next reader need not read the store.
const TAIL_BYTES_MAX: usize = 64 << 10;
/// What an entry costs beside its run's items and its tail, roughly.
const ENTRY_BYTES: usize = 4 << 10;

/// A chain in memory.
pub(super) struct Entry<A> {
    pub(super) chain: Chain,
    pub(super) tail: Tail,
    /// The last batch that touched it.
    pub(super) seq: u64,
    /// Wait for events from this id on, or for the close.
    pub(super) watchers: Vec<(i64, A)>,
    /// Someone waits for what only memory knows.
    pinned: bool,
    tail_bytes: usize,
    bytes: usize,
    used: u64,
}

/// Work that waits, in order.
type Queued<A, R> = Vec<(Target, Work<A, R>)>;

/// The place of a chain: in memory, or on its way there with the work that waits for it.
enum Place<A, R> {
    /// Boxed: a table keeps the places of as many as it ever held, and more.
    Ready(Box<Entry<A>>),
    Loading(Queued<A, R>),
}

pub(super) struct Chains<A, R> {
    settings: Arc<Settings>,
    places: HashMap<ChainKey, Place<A, R>>,
    by_run: HashMap<RunNumber, ChainKey>,
    /// By last use.
    ages: BTreeMap<u64, ChainKey>,
    uses: u64,
}

/// Where a chain is.
pub(super) enum Found<'c, A, R> {
    Ready,
    Loading(&'c mut Queued<A, R>),
    Absent,
}

impl<A, R> Chains<A, R> {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Chains { settings, places: HashMap::new(), by_run: HashMap::new(), ages: BTreeMap::new(), uses: 0 }
    }

    pub(super) fn find(&mut self, key: &ChainKey) -> Found<'_, A, R> {
        match self.places.get_mut(key) {
            Some(Place::Ready(_)) => Found::Ready,
            Some(Place::Loading(waiting)) => Found::Loading(waiting),
            None => Found::Absent,
        }
    }

    /// The chain whose newest run has that number, if it is in memory.
    pub(super) fn key_of(&self, run: RunNumber) -> Option<&ChainKey> {
        self.by_run.get(&run)
    }

    /// Notes that the chain is being read, and who waits for it.
    pub(super) fn begin_loading(&mut self, key: ChainKey, waiting: Queued<A, R>) {
        self.places.insert(key, Place::Loading(waiting));
    }

    /// The chain was read, or could not be: hands out who waited.
    pub(super) fn end_loading(&mut self, key: &ChainKey, chain: Option<Chain>) -> Queued<A, R> {
        let Some(Place::Loading(waiting)) = self.places.remove(key) else { return Vec::new() };
        if let Some(chain) = chain {
            self.insert(key.clone(), chain);
        }
        waiting
    }

    fn insert(&mut self, key: ChainKey, chain: Chain) {
        if let Some(run) = &chain.run {
            self.by_run.insert(run.number, key.clone());
        }
        self.uses += 1;
        let bytes = ENTRY_BYTES + chain.run.as_ref().map_or(0, weigh);
        self.settings.budget.add(bytes);
        self.ages.insert(self.uses, key.clone());
        let entry = Box::new(Entry {
            chain,
            tail: Arc::default(),
            seq: 0,
            watchers: Vec::new(),
            pinned: false,
            tail_bytes: 0,
            bytes,
            used: self.uses,
        });
        self.places.insert(key, Place::Ready(entry));
    }

    /// The chain, which the caller has found to be ready.
    pub(super) fn get(&mut self, key: &ChainKey) -> &mut Entry<A> {
        self.uses += 1;
        match self.places.get_mut(key) {
            Some(Place::Ready(entry)) => {
                if let Some(key) = self.ages.remove(&entry.used) {
                    self.ages.insert(self.uses, key);
                }
                entry.used = self.uses;
                entry
            }
            _ => unreachable!("work is applied to chains in memory only"),
        }
    }

    /// The newest run of a chain in memory.
    pub(super) fn run(&self, key: &ChainKey) -> Option<&Run> {
        match self.places.get(key) {
            Some(Place::Ready(entry)) => entry.chain.run.as_ref(),
            _ => None,
        }
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = (&ChainKey, &Run)> {
        self.places.iter().filter_map(|(key, place)| match place {
            Place::Ready(entry) => entry.chain.run.as_ref().map(|run| (key, run)),
            Place::Loading(_) => None,
        })
    }

    /// The chain has another newest run.
    pub(super) fn renumber(&mut self, key: &ChainKey, from: Option<RunNumber>, to: Option<RunNumber>) {
        if let Some(from) = from {
            self.by_run.remove(&from);
        }
        if let Some(to) = to {
            self.by_run.insert(to, key.clone());
        }
        let Some(Place::Ready(entry)) = self.places.get_mut(key) else { return };
        self.settings.budget.sub(entry.tail_bytes);
        entry.bytes -= entry.tail_bytes;
        entry.tail_bytes = 0;
        entry.tail = Arc::default();
    }

    /// Keeps new history in memory, as far as there is room for it.
    pub(super) fn extend_tail(&mut self, key: &ChainKey, chunks: &[Chunk]) {
        let Some(Place::Ready(entry)) = self.places.get_mut(key) else { return };
        let before = entry.tail_bytes;
        let tail = Arc::make_mut(&mut entry.tail);
        for chunk in chunks {
            entry.tail_bytes += chunk.bytes.len();
            tail.push(chunk.clone());
        }
        let mut gone = 0;
        while entry.tail_bytes > TAIL_BYTES_MAX && gone + 1 < tail.len() {
            entry.tail_bytes -= tail[gone].bytes.len();
            gone += 1;
        }
        tail.drain(..gone);
        self.settings.budget.add(entry.tail_bytes);
        self.settings.budget.sub(before);
        entry.bytes = entry.bytes + entry.tail_bytes - before;
    }

    /// Items were written: they may have grown by so much. An estimate that only rises until the chain is loaded anew.
    pub(super) fn grow(&mut self, key: &ChainKey, bytes: usize) {
        let Some(Place::Ready(entry)) = self.places.get_mut(key) else { return };
        entry.bytes += bytes;
        self.settings.budget.add(bytes);
    }

    /// Forgets the chains not used for longest, while too much is in memory. One always stays.
    pub(super) fn evict(&mut self, durable: u64) {
        if !self.settings.budget.is_exceeded() || self.ages.len() <= 1 {
            return;
        }
        const AT_ONCE: usize = 64;
        let oldest: Vec<ChainKey> = self.ages.values().take(AT_ONCE.min(self.ages.len() - 1)).cloned().collect();
        for key in oldest {
            if !self.settings.budget.is_exceeded() {
                break;
            }
            self.forget_if_idle(&key, durable);
        }
    }

    pub(super) fn evict_all(&mut self, durable: u64) {
        let all: Vec<ChainKey> = self.ages.values().cloned().collect();
        all.iter().for_each(|key| self.forget_if_idle(key, durable));
    }

    /// Keeps a chain in memory until it is unpinned.
    pub(super) fn pin(&mut self, key: &ChainKey) {
        self.get(key).pinned = true;
    }

    pub(super) fn unpin(&mut self, key: &ChainKey) {
        self.get(key).pinned = false;
    }

    /// A chain with a batch in flight, or with someone who watches it or waits, stays.
    pub(super) fn forget_if_idle(&mut self, key: &ChainKey, durable: u64) {
        #[cfg(planted)]
        let durable = if mainspring_rt::planted::is(9) { u64::MAX } else { durable };
        if let Some(Place::Ready(entry)) = self.places.get(key)
            && entry.seq <= durable
            && entry.watchers.is_empty()
            && !entry.pinned
        {
            self.remove(key);
        }
    }

    /// Forgets a chain whatever it is; hands out who watched it.
    pub(super) fn remove(&mut self, key: &ChainKey) -> Vec<(i64, A)> {
        let Some(Place::Ready(entry)) = self.places.remove(key) else { return Vec::new() };
        self.settings.budget.sub(entry.bytes);
        self.ages.remove(&entry.used);
        if let Some(run) = &entry.chain.run {
            self.by_run.remove(&run.number);
        }
        entry.watchers
    }

    /// Forgets everything; hands out who watched, and the work that waited for a chain to be read.
    pub(super) fn clear(&mut self) -> (Vec<A>, Queued<A, R>) {
        let keys: Vec<ChainKey> = self.ages.values().cloned().collect();
        let watchers = keys.iter().flat_map(|key| self.remove(key)).map(|(_, to)| to).collect();
        let mut loading: Vec<_> = std::mem::take(&mut self.places).into_iter().collect();
        // Hash order must not decide who goes first.
        loading.sort_by(|(one, _), (other, _)| one.cmp(other));
        let waiting = loading.into_iter().flat_map(|(_, place)| match place {
            Place::Loading(waiting) => waiting,
            Place::Ready(_) => Vec::new(),
        });
        self.by_run.clear();
        (watchers, waiting.collect())
    }
}

impl<A, R> Drop for Chains<A, R> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a run that was just read costs, roughly.
fn weigh(run: &Run) -> usize {
    const ITEM_BYTES: usize = 512;
    let items = run.activities.len() + run.timers.len() + run.children.len() + run.externals.len();
    let signals: usize = run.signal_requests.iter().map(|id| id.len() + 32).sum();
    (items + run.buffered.len()) * ITEM_BYTES + signals
}
