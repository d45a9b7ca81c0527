//! The SQLite engine: one file, one committer thread, a few readers, one checkpointer.
//!
//! - `open`: refuses what must not be opened, recovers, starts the threads; `format`: tables and pragmas.
//! - `committer`: everything queued in one transaction; `checkpointer`: what happens behind the commits.
//! - `reader`: short consistent reads; `backup`: copies of a store in use; `inspect`: a look at a store at rest.
//! - `acked`, `log`: notice when SQLite's recovery would drop acknowledged batches; `failure`: when the server has to stop.
//!
//! The threads own the blocking I/O; callers wait on channels. Beside the database `x` stand `x-wal` and `x-shm` (SQLite's),
//! `x.lock` (held by the process that has it open) and `x.acked`.

mod acked;
mod backup;
mod checkpointer;
mod committer;
mod failure;
mod format;
mod inspect;
mod log;
mod open;
mod reader;

use std::{
    fs::File,
    mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use mainspring_rt::BoxFuture;

use crate::{Claim, Done, Error, Op, Page, Scan, ShardId, Stats, Store, Table};

pub(crate) use backup::export;
pub use backup::{BackupError, backup, restore};
use checkpointer::Upkeep;
use committer::{DoneOnce, Work};
pub use failure::Failure;
use failure::{Health, closed};
pub use inspect::Inspection;
pub use open::{OpenError, Options};
use reader::Readers;

/// A store in one SQLite file.
///
/// Dropping it does what [`SqliteStore::close`] does.
pub struct SqliteStore {
    shared: Arc<Shared>,
    commits: mpsc::Sender<Work>,
    readers: Readers,
    threads: Mutex<Threads>,
}

impl SqliteStore {
    /// Opens or creates the file. Blocks while SQLite recovers its log.
    ///
    /// # Errors
    /// See [`OpenError`]: each says what to do. A file that is refused is left as it was.
    pub fn open(options: Options) -> Result<SqliteStore, OpenError> {
        open::open(options)
    }

    /// Why the server has to stop, once there is a reason. A store that is [`Failure::Broken`] refuses every call.
    pub fn failed(&self) -> watch::Receiver<Option<Failure>> {
        self.shared.health.subscribe()
    }

    /// The newest group transaction that is recorded as acknowledged beside the database; a second behind at most.
    pub fn acked(&self) -> watch::Receiver<u64> {
        self.shared.upkeep.subscribe()
    }

    /// Finishes what is queued, records what was acknowledged, leaves one file without a log and lets go of it. Blocks
    /// until then. Later calls are refused.
    pub fn close(&self) {
        let threads = mem::take(&mut *self.threads());
        self.shared.closing.store(true, Ordering::Relaxed);
        let _ = self.commits.send(Work::Close);
        let mut ended = threads.committer.is_none_or(join);
        self.readers.close();
        for thread in threads.readers.into_iter().chain(threads.backups) {
            ended &= join(thread);
        }
        // The last connection but ours is gone: the checkpointer can tidy up.
        self.shared.upkeep.close();
        ended &= threads.checkpointer.is_none_or(join);
        if ended {
            drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `work` and awaits its answer.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Work,
    ) -> BoxFuture<Result<T, Error>> {
        if let Err(error) = self.shared.health.check() {
            return Box::pin(std::future::ready(Err(error)));
        }
        let (answer, answered) = oneshot::channel();
        // Work that meets no committer any more is dropped, and with it the sender of the answer.
        let _ = self.commits.send(work(answer));
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<Result<T, Error>> {
        match self.shared.health.check() {
            Ok(()) => self.readers.read(read),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Store for SqliteStore {
    fn claim(&self, shard: ShardId) -> BoxFuture<Result<Claim, Error>> {
        self.ask(|answer| Work::Claim { shard, answer })
    }

    fn commit(&self, claim: Claim, seq: u64, ops: Vec<Op>, done: Done) {
        match self.shared.health.check() {
            // Work that meets no committer any more is dropped, which calls `done`.
            Ok(()) => drop(self.commits.send(Work::Batch { claim, seq, ops, done: DoneOnce::new(done) })),
            Err(error) => done(Err(error)),
        }
    }

    fn get(&self, table: Table, key: Bytes) -> BoxFuture<Result<Option<Bytes>, Error>> {
        self.read(move |connection| reader::get(connection, table, &key))
    }

    fn multi_get(&self, table: Table, keys: Vec<Bytes>) -> BoxFuture<Result<Vec<Option<Bytes>>, Error>> {
        self.read(move |connection| reader::multi_get(connection, table, &keys))
    }

    fn scan(&self, scan: Scan) -> BoxFuture<Result<Page, Error>> {
        self.read(move |connection| reader::scan(connection, &scan))
    }

    fn scan_all(&self, scans: Vec<Scan>) -> BoxFuture<Result<Vec<Page>, Error>> {
        self.read(move |connection| reader::scan_all(connection, &scans))
    }

    fn purge(&self, table: Table, from: Bytes, to: Bytes) -> BoxFuture<Result<(), Error>> {
        self.ask(|answer| Work::Purge { table, from, to, answer })
    }

    fn backup(&self, to: PathBuf) -> BoxFuture<Result<(), Error>> {
        if let Err(error) = self.shared.health.check() {
            return Box::pin(std::future::ready(Err(error)));
        }
        if self.shared.closing.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(closed())));
        }
        let (backup, done) = backup::start(self.shared.clone(), to);
        let mut threads = self.threads();
        threads.backups.retain(|backup| !backup.is_finished());
        threads.backups.extend(backup);
        done
    }

    fn stats(&self) -> Stats {
        Stats {
            commits: self.shared.commits.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the threads and the store have in common.
struct Shared {
    path: PathBuf,
    health: Arc<Health>,
    upkeep: Arc<Upkeep>,
    closing: AtomicBool,
    commits: AtomicU64,
    groups: AtomicU64,
    bytes: AtomicU64,
    /// Held while the file is open: the lock goes with it.
    lock: Mutex<Option<File>>,
}

impl Shared {
    /// Counts one group.
    fn count(&self, commits: u64, bytes: u64) {
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Threads {
    committer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    backups: Vec<JoinHandle<()>>,
    checkpointer: Option<JoinHandle<()>>,
}

/// Waits for the thread to end, unless it is this one: the last handle may be dropped in a callback of a commit.
fn join(thread: JoinHandle<()>) -> bool {
    if thread.thread().id() == thread::current().id() {
        return false;
    }
    // A panic was reported by the thread itself.
    let _ = thread.join();
    true
}
