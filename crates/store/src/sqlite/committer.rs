//! The committer thread: it takes everything that is queued and writes it as one transaction with one sync.
//!
//! There is no artificial delay: while one group syncs, the next one gathers. Claims stand in the same queue, which is
//! what orders them behind batches. A batch that SQLite refuses for its own sake must not fail its neighbours: then the
//! group is tried once more with a savepoint around each of its parts.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    Claim, Done, Error, Op, ShardId, Table,
    sequence::{Ledger, Owner},
};

use super::{
    Shared,
    checkpointer::checkpoint,
    failure::{Trouble, closed},
    format,
};

/// A group takes no more once it holds this many parts, or bytes of keys and values.
const GROUP_PARTS_MAX: usize = 256;
const GROUP_BYTES_MAX: usize = 1 << 20;

/// The checkpointer is woken each time the log has grown by this.
const CHECKPOINT_EACH_BYTES: u64 = 4 << 20;

/// A log of this size is used again from its start. Under a steady load the checkpointer never sees its end, so the
/// committer moves what one of its passes left, and the next group begins over blocks that the file has already: a sync
/// then has no growth of the file to record, which is half its cost.
const LOG_REUSE_BYTES: u64 = 32 << 20;

/// A log that readers kept from that for so long is emptied before the next group.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// While a long read keeps the log from being emptied, it is tried again each time the log has grown by this, and
/// commits wait for readers no longer than the patience.
const LOG_RETRY_BYTES: u64 = 32 << 20;
const LOG_PATIENCE: Duration = Duration::from_millis(50);

/// Rows that a purge deletes in one group, so that commits never wait long for it.
const PURGE_ROWS: usize = 256;

/// What the thread is asked to do.
pub(super) enum Work {
    Batch { claim: Claim, seq: u64, ops: Vec<Op>, done: DoneOnce },
    Claim { shard: ShardId, answer: oneshot::Sender<Result<Claim, Error>> },
    Purge { table: Table, from: Bytes, to: Bytes, answer: oneshot::Sender<Result<(), Error>> },
    Close,
}

/// Calls a commit's `done` exactly once, also when the store is closed before its turn.
pub(super) struct DoneOnce(Option<Done>);

impl DoneOnce {
    pub(super) fn new(done: Done) -> DoneOnce {
        DoneOnce(Some(done))
    }

    pub(super) fn call(mut self, result: Result<(), Error>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for DoneOnce {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(closed()));
        }
    }
}

/// The thread's own things.
pub(super) struct Committer {
    connection: Connection,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Work>,
    ledger: Ledger,
    /// The number of the last group.
    group: u64,
    /// Purges that have rows left.
    purges: VecDeque<Work>,
    closing: bool,
    log: Log,
}

/// The size of the log, in its own pages.
struct Log {
    frames: Arc<AtomicU32>,
    page_bytes: u64,
    /// The sizes at which the checkpointer is woken and at which the log is emptied.
    checkpoint_at: u64,
    empty_at: u64,
}

/// How one part of a group fared in a transaction that was committed.
enum Verdict {
    Written,
    Claimed(Claim),
    Purged { rows: usize },
    Refused(Error),
}

/// What a transaction does about a part that SQLite refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    /// Gives up as a whole: the fast way, almost always right.
    Together,
    /// Refuses that part alone.
    Apart,
}

impl Committer {
    pub(super) fn new(
        mut connection: Connection,
        shared: Arc<Shared>,
        inbox: mpsc::Receiver<Work>,
        ledger: Ledger,
        group: u64,
    ) -> rusqlite::Result<Committer> {
        let page_bytes = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let frames = Arc::new(AtomicU32::new(0));
        let seen = frames.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let log = Log { frames, page_bytes, checkpoint_at: CHECKPOINT_EACH_BYTES, empty_at: LOG_BYTES_MAX };
        Ok(Committer { connection, shared, inbox, ledger, group, purges: VecDeque::new(), closing: false, log })
    }

    /// Works until the store is closed and everything queued before that is answered.
    pub(super) fn run(mut self) {
        while let Some(parts) = self.gather() {
            match self.shared.health.check() {
                Ok(()) => {
                    self.commit(parts);
                    self.tend_log();
                }
                Err(error) => parts.into_iter().for_each(|part| part.refuse(error.clone())),
            }
        }
    }

    /// Everything that is queued, up to a group's size. Waits for the first part, unless a purge has rows left.
    fn gather(&mut self) -> Option<Vec<Work>> {
        if self.closing {
            return None;
        }
        let mut parts = Vec::new();
        let mut bytes = 0;
        if let Some(purge) = self.purges.pop_front() {
            parts.push(purge);
        } else {
            // An error means that the store is gone without closing: there is nobody left to answer.
            self.add(self.inbox.recv().ok()?, &mut parts, &mut bytes);
        }
        while !self.closing && parts.len() < GROUP_PARTS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(work) = self.inbox.try_recv() else { break };
            self.add(work, &mut parts, &mut bytes);
        }
        Some(parts)
    }

    fn add(&mut self, work: Work, parts: &mut Vec<Work>, bytes: &mut usize) {
        match work {
            Work::Close => self.closing = true,
            // One at a time: a purge is never in a hurry.
            Work::Purge { .. } if !parts.is_empty() => self.purges.push_back(work),
            work => {
                *bytes += work.bytes();
                parts.push(work);
            }
        }
    }

    fn commit(&mut self, parts: Vec<Work>) {
        let owners: Vec<(ShardId, Owner)> =
            parts.iter().filter_map(Work::shard).map(|shard| (shard, self.ledger.owner(shard))).collect();
        let mut result = self.transact(&parts, Parts::Together);
        if matches!(&result, Err(error) if matches!(Trouble::from(error), Trouble::Other(_))) {
            self.undo(&owners);
            result = self.transact(&parts, Parts::Apart);
        }
        match result {
            Ok(verdicts) => self.answer(parts, verdicts),
            Err(error) => {
                self.undo(&owners);
                self.fail(parts, Trouble::from(&error));
            }
        }
    }

    /// Writes the parts in one transaction. On `Err` nothing was written, or the storage is broken.
    fn transact(&mut self, parts: &[Work], how: Parts) -> rusqlite::Result<Vec<Verdict>> {
        self.execute("BEGIN IMMEDIATE")?;
        let verdicts = parts.iter().map(|part| self.part(part, how)).collect::<rusqlite::Result<Vec<_>>>()?;
        if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))) {
            self.execute("ROLLBACK")?;
            return Ok(verdicts);
        }
        format::write_group(&self.connection, self.group + 1)?;
        self.execute("COMMIT")?;
        self.group += 1;
        Ok(verdicts)
    }

    fn part(&mut self, part: &Work, how: Parts) -> rusqlite::Result<Verdict> {
        if how == Parts::Together {
            return self.write(part);
        }
        self.execute("SAVEPOINT part")?;
        let verdict = match self.write(part) {
            Err(error) if matches!(Trouble::from(&error), Trouble::Other(_)) => {
                self.execute("ROLLBACK TO part")?;
                part.kill(&mut self.ledger);
                Verdict::Refused(Trouble::from(&error).into_write_error())
            }
            result => result?,
        };
        self.execute("RELEASE part")?;
        Ok(verdict)
    }

    fn write(&mut self, part: &Work) -> rusqlite::Result<Verdict> {
        match part {
            Work::Batch { claim, seq, ops, .. } => {
                if let Err(error) = self.ledger.admit(*claim, *seq) {
                    return Ok(Verdict::Refused(error));
                }
                for op in ops {
                    apply(&self.connection, op)?;
                }
                Ok(Verdict::Written)
            }
            Work::Claim { shard, .. } => {
                let claim = self.ledger.claim(*shard);
                format::write_epoch(&self.connection, *shard, claim.epoch)?;
                Ok(Verdict::Claimed(claim))
            }
            Work::Purge { table, from, to, .. } => {
                let mut delete = self.connection.prepare_cached(format::sql(*table).purge)?;
                let rows = delete.execute((&from[..], &to[..], PURGE_ROWS))?;
                Ok(Verdict::Purged { rows })
            }
            Work::Close => Ok(Verdict::Refused(closed())),
        }
    }

    /// Tells everybody, once the group is durable.
    fn answer(&mut self, parts: Vec<Work>, verdicts: Vec<Verdict>) {
        self.shared.upkeep.committed(self.group);
        let written = parts.iter().zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Written));
        let (batches, bytes) = written.fold((0, 0), |(n, bytes), (part, _)| (n + 1, bytes + part.bytes() as u64));
        self.shared.count(batches, bytes);
        for (part, verdict) in parts.into_iter().zip(verdicts) {
            match (part, verdict) {
                (part, Verdict::Refused(error)) => part.refuse(error),
                (Work::Batch { done, .. }, _) => done.call(Ok(())),
                // A claimant that went away may claim again.
                (Work::Claim { answer, .. }, Verdict::Claimed(claim)) => drop(answer.send(Ok(claim))),
                (purge @ Work::Purge { .. }, Verdict::Purged { rows: PURGE_ROWS }) => self.purges.push_back(purge),
                (Work::Purge { answer, .. }, _) => drop(answer.send(Ok(()))),
                (part, _) => part.refuse(closed()),
            }
        }
    }

    /// Refuses the whole group; the claims of its batches are dead.
    fn fail(&mut self, parts: Vec<Work>, trouble: Trouble) {
        self.shared.health.report(&trouble, "writing the log");
        let error = trouble.into_write_error();
        for part in parts {
            part.kill(&mut self.ledger);
            part.refuse(error.clone());
        }
    }

    /// Leaves no trace of a transaction that failed, neither in the file nor in the ledger.
    fn undo(&mut self, owners: &[(ShardId, Owner)]) {
        // Some errors have ended the transaction already.
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            self.shared.health.report(&Trouble::Broken(error.to_string()), "rolling back");
        }
        for (shard, owner) in owners {
            self.ledger.restore(*shard, *owner);
        }
    }

    /// Wakes the checkpointer when the log has grown; starts the log over, or empties it, when it has grown too much.
    fn tend_log(&mut self) {
        let bytes = u64::from(self.log.frames.load(Ordering::Relaxed)) * self.log.page_bytes;
        if bytes + CHECKPOINT_EACH_BYTES < self.log.checkpoint_at {
            // SQLite started the log over, as all of it was in the database.
            self.log.checkpoint_at = CHECKPOINT_EACH_BYTES;
            self.log.empty_at = LOG_BYTES_MAX;
        }
        if bytes >= self.log.empty_at {
            self.empty_log(bytes);
        } else if bytes >= self.log.checkpoint_at {
            self.log.checkpoint_at = bytes + CHECKPOINT_EACH_BYTES;
            self.shared.upkeep.checkpoint();
        } else if bytes >= LOG_REUSE_BYTES && self.shared.upkeep.take_checkpointed() {
            // Should a reader hold on to the log, the end of the next pass is the next chance.
            if let Err(error) = checkpoint(&self.connection, "PRAGMA wal_checkpoint(PASSIVE)") {
                self.shared.health.report(&Trouble::from(&error), "moving the log into the database");
            }
        }
    }

    fn empty_log(&mut self, bytes: u64) {
        let emptied = self
            .connection
            .busy_timeout(LOG_PATIENCE)
            .and_then(|()| checkpoint(&self.connection, "PRAGMA wal_checkpoint(TRUNCATE)"));
        let patient = self.connection.busy_timeout(format::BUSY_TIMEOUT);
        match emptied.and_then(|done| patient.map(|()| done)) {
            Ok(true) => {
                self.log.frames.store(0, Ordering::Relaxed);
                self.log.checkpoint_at = CHECKPOINT_EACH_BYTES;
                self.log.empty_at = LOG_BYTES_MAX;
            }
            Ok(false) => self.log.empty_at = bytes + LOG_RETRY_BYTES,
            Err(error) => {
                self.log.empty_at = bytes + LOG_RETRY_BYTES;
                self.shared.health.report(&Trouble::from(&error), "moving the log into the database");
            }
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

impl Drop for Committer {
    /// A panic of this thread must not leave a server that waits for it forever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.health.report(&Trouble::Broken("the committer thread panicked".to_owned()), "committing");
        }
    }
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Work::Batch { ops, .. } => ops.iter().map(Op::bytes).sum(),
            Work::Claim { .. } | Work::Purge { .. } | Work::Close => 0,
        }
    }

    fn shard(&self) -> Option<ShardId> {
        match self {
            Work::Batch { claim, .. } => Some(claim.shard),
            Work::Claim { shard, .. } => Some(*shard),
            Work::Purge { .. } | Work::Close => None,
        }
    }

    fn kill(&self, ledger: &mut Ledger) {
        if let Work::Batch { claim, .. } = self {
            ledger.kill(*claim);
        }
    }

    fn refuse(self, error: Error) {
        match self {
            Work::Batch { done, .. } => done.call(Err(error)),
            Work::Claim { answer, .. } => drop(answer.send(Err(error))),
            Work::Purge { answer, .. } => drop(answer.send(Err(error))),
            Work::Close => {}
        }
    }
}

fn apply(connection: &Connection, op: &Op) -> rusqlite::Result<()> {
    match op {
        Op::Put { table, key, value } => {
            connection.prepare_cached(format::sql(*table).put)?.execute([&key[..], &value[..]])?;
        }
        Op::Delete { table, key } => {
            connection.prepare_cached(format::sql(*table).delete)?.execute([&key[..]])?;
        }
    }
    Ok(())
}
