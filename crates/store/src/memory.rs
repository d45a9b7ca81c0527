//! The memory engine: ordered maps behind a mutex, for development servers without a file and for the simulator.
//!
//! It has two modes. In *automatic* mode a commit is executed at once, on the caller's thread. In *manual* mode commits
//! and claims wait in a queue a shard until somebody decides their [`Fate`]: the simulator does, as its seed says.
//! Rows survive [`MemoryStore::crash`], queued batches do not. Nothing here depends on hash order or on a clock.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use mainspring_rt::BoxFuture;

use crate::{Claim, Done, Error, Op, Page, Scan, ShardId, Stats, Store, Table, sequence::Ledger, sqlite};

/// A store without a disk. Clones are handles to the same rows.
#[derive(Clone)]
pub struct MemoryStore {
    mode: Mode,
    inner: Arc<Mutex<Inner>>,
}

/// How the next queued batch or claim of a shard ends, in manual mode.
///
/// A batch that is fenced, out of sequence or of a dead claim is refused for that, whatever its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Written and acknowledged.
    Succeed,
    /// Refused as [`Error::Rejected`]: nothing is written.
    Fail,
    /// Answered with [`Error::Unknown`].
    Unknown {
        /// Whether it was written all the same.
        written: bool,
    },
    /// Answered with [`Error::Poisoned`], as is every call until the next [`MemoryStore::crash`].
    Poison {
        /// Whether it was written all the same.
        written: bool,
    },
    /// Written, but nobody is told: the node dies before it hears. Only sound when [`MemoryStore::crash`] follows.
    Unheard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Automatic,
    Manual,
}

impl MemoryStore {
    /// An empty store that executes each commit at once.
    pub fn automatic() -> MemoryStore {
        MemoryStore { mode: Mode::Automatic, inner: Arc::default() }
    }

    /// An empty store whose commits and claims wait for [`MemoryStore::execute`]. Reads are answered at once.
    pub fn manual() -> MemoryStore {
        MemoryStore { mode: Mode::Manual, inner: Arc::default() }
    }

    /// The shards that have something queued, in order.
    pub fn pending(&self) -> Vec<ShardId> {
        self.lock().queues.keys().copied().collect()
    }

    /// How much is queued for the shard.
    pub fn queued(&self, shard: ShardId) -> usize {
        self.lock().queues.get(&shard).map_or(0, VecDeque::len)
    }

    /// Ends the oldest queued batch or claim of the shard as `fate` says. False if there is none.
    pub fn execute(&self, shard: ShardId, fate: Fate) -> bool {
        let mut inner = self.lock();
        let Some(work) = inner.pop(shard) else { return false };
        // The answer is given outside the lock: it may well come back for more.
        match work {
            Work::Batch { claim, seq, ops, done } => {
                let result = inner.batch(claim, seq, ops, fate);
                drop(inner);
                if fate != Fate::Unheard {
                    done(result);
                }
            }
            Work::Claim { answer } => {
                let result = inner.claim(shard, fate);
                drop(inner);
                if fate != Fate::Unheard {
                    // A caller that went away has the shard claimed all the same: it can claim again.
                    let _ = answer.send(result);
                }
            }
        }
        true
    }

    /// The process dies and starts again: what was queued is gone and never answered, claims are void, rows stay.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.poisoned = None;
        inner.ledger = Ledger::from_epochs(inner.ledger.epochs().collect::<Vec<_>>());
        let queues = mem::take(&mut inner.queues);
        drop(inner);
        // Dropping a queued closure may run code of its owner, so it happens outside the lock.
        drop(queues);
    }

    /// One row, for checkers. Also answers when the store is poisoned.
    pub fn get_now(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        self.lock().tables[table as usize].get(key).cloned()
    }

    /// A page of a range, for checkers. Also answers when the store is poisoned.
    pub fn scan_now(&self, scan: &Scan) -> Page {
        self.lock().scan(scan)
    }

    /// Every row there is.
    pub fn snapshot(&self) -> BTreeMap<(Table, Bytes), Bytes> {
        let inner = self.lock();
        let mut rows = BTreeMap::new();
        for table in Table::ALL {
            for (key, value) in &inner.tables[table as usize] {
                rows.insert((table, key.clone()), value.clone());
            }
        }
        rows
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&Inner) -> T) -> BoxFuture<Result<T, Error>> {
        let inner = self.lock();
        let answer = inner.healthy().map(|()| read(&inner));
        Box::pin(std::future::ready(answer))
    }
}

impl Store for MemoryStore {
    fn claim(&self, shard: ShardId) -> BoxFuture<Result<Claim, Error>> {
        let mut inner = self.lock();
        if let Err(error) = inner.healthy() {
            return Box::pin(std::future::ready(Err(error)));
        }
        if self.mode == Mode::Automatic {
            return Box::pin(std::future::ready(inner.claim(shard, Fate::Succeed)));
        }
        let (answer, answered) = oneshot::channel();
        inner.queues.entry(shard).or_default().push_back(Work::Claim { answer });
        #[cfg(planted)]
        if mainspring_rt::planted::is(4) {
            let epoch = inner.ledger.epochs().find(|(of, _)| *of == shard).map_or(1, |(_, epoch)| epoch + 1);
            return Box::pin(std::future::ready(Ok(Claim { shard, epoch })));
        }
        Box::pin(async move {
            match answered.await {
                Ok(result) => result,
                // The process "died": its callers are not told, exactly as with batches.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn commit(&self, claim: Claim, seq: u64, ops: Vec<Op>, done: Done) {
        let mut inner = self.lock();
        if let Err(error) = inner.healthy() {
            drop(inner);
            done(Err(error));
        } else if self.mode == Mode::Automatic {
            let result = inner.batch(claim, seq, ops, Fate::Succeed);
            drop(inner);
            done(result);
        } else {
            inner.queues.entry(claim.shard).or_default().push_back(Work::Batch { claim, seq, ops, done });
        }
    }

    fn get(&self, table: Table, key: Bytes) -> BoxFuture<Result<Option<Bytes>, Error>> {
        self.read(|inner| inner.tables[table as usize].get(&key).cloned())
    }

    fn multi_get(&self, table: Table, keys: Vec<Bytes>) -> BoxFuture<Result<Vec<Option<Bytes>>, Error>> {
        self.read(|inner| keys.iter().map(|key| inner.tables[table as usize].get(key).cloned()).collect())
    }

    fn scan(&self, scan: Scan) -> BoxFuture<Result<Page, Error>> {
        self.read(|inner| inner.scan(&scan))
    }

    fn scan_all(&self, scans: Vec<Scan>) -> BoxFuture<Result<Vec<Page>, Error>> {
        self.read(|inner| scans.iter().map(|scan| inner.scan(scan)).collect())
    }

    fn purge(&self, table: Table, from: Bytes, to: Bytes) -> BoxFuture<Result<(), Error>> {
        let mut inner = self.lock();
        let answer = inner.healthy();
        if answer.is_ok() && from < to {
            let rows = &mut inner.tables[table as usize];
            let purged: Vec<Bytes> = rows.range(from..to).map(|(key, _)| key.clone()).collect();
            for key in purged {
                rows.remove(&key);
            }
        }
        Box::pin(std::future::ready(answer))
    }

    /// The copy is a file of the SQLite engine, so that a development server's data can be kept.
    fn backup(&self, to: PathBuf) -> BoxFuture<Result<(), Error>> {
        let (tables, epochs) = {
            let inner = self.lock();
            (inner.tables.clone(), inner.ledger.epochs().collect())
        };
        sqlite::export(to, tables, epochs)
    }

    fn stats(&self) -> Stats {
        self.lock().stats
    }
}

enum Work {
    Batch { claim: Claim, seq: u64, ops: Vec<Op>, done: Done },
    Claim { answer: oneshot::Sender<Result<Claim, Error>> },
}

#[derive(Default)]
struct Inner {
    tables: [BTreeMap<Bytes, Bytes>; 4],
    ledger: Ledger,
    queues: BTreeMap<ShardId, VecDeque<Work>>,
    poisoned: Option<String>,
    stats: Stats,
}

impl Inner {
    fn healthy(&self) -> Result<(), Error> {
        self.poisoned.clone().map_or(Ok(()), |why| Err(Error::Poisoned(why)))
    }

    fn pop(&mut self, shard: ShardId) -> Option<Work> {
        let queue = self.queues.get_mut(&shard)?;
        let work = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&shard);
        }
        work
    }

    fn claim(&mut self, shard: ShardId, fate: Fate) -> Result<Claim, Error> {
        self.healthy()?;
        let outcome = self.outcome(fate);
        let claim = if fate.writes() { Some(self.ledger.claim(shard)) } else { None };
        outcome?;
        Ok(claim.expect("only a fate that writes succeeds"))
    }

    fn batch(&mut self, claim: Claim, seq: u64, ops: Vec<Op>, fate: Fate) -> Result<(), Error> {
        self.healthy()?;
        self.ledger.admit(claim, seq)?;
        let outcome = self.outcome(fate);
        let ends_claim = outcome.is_err();
        #[cfg(planted)]
        let ends_claim = ends_claim && !mainspring_rt::planted::is(2);
        if ends_claim {
            self.ledger.kill(claim);
        }
        if fate.writes() {
            self.write(ops);
        }
        outcome
    }

    fn write(&mut self, ops: Vec<Op>) {
        self.stats.commits += 1;
        self.stats.groups += 1;
        for op in ops {
            self.stats.bytes += op.bytes() as u64;
            match op {
                Op::Put { table, key, value } => self.tables[table as usize].insert(key, value),
                Op::Delete { table, key } => self.tables[table as usize].remove(&key),
            };
        }
    }

    /// What the caller hears of `fate`; poisons the store if it says so.
    fn outcome(&mut self, fate: Fate) -> Result<(), Error> {
        match fate {
            Fate::Succeed | Fate::Unheard => Ok(()),
            Fate::Fail => Err(Error::Rejected("the simulator said so".to_owned())),
            Fate::Unknown { .. } => Err(Error::Unknown("the simulator said so".to_owned())),
            Fate::Poison { .. } => {
                self.poisoned = Some("the simulator said so".to_owned());
                self.healthy()
            }
        }
    }

    fn scan(&self, scan: &Scan) -> Page {
        if scan.from >= scan.to {
            return Page::default();
        }
        let range = self.tables[scan.table as usize].range(scan.from.clone()..scan.to.clone());
        if scan.reverse { fill(scan, range.rev()) } else { fill(scan, range) }
    }
}

impl Fate {
    fn writes(self) -> bool {
        match self {
            Fate::Succeed | Fate::Unheard => true,
            Fate::Fail => false,
            Fate::Unknown { written } | Fate::Poison { written } => written,
        }
    }
}

fn fill<'a>(scan: &Scan, rows: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> Page {
    let mut page = Page::default();
    let mut bytes = 0;
    for (key, value) in rows {
        if scan.is_full(page.rows.len(), bytes) {
            page.more = true;
            break;
        }
        bytes += value.len();
        page.rows.push((key.clone(), value.clone()));
    }
    page
}

#[cfg(test)]
mod tests;
