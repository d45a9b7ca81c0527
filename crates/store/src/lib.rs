//! Ordered keys and fenced, atomic batches in sequence: all that the rest of the server knows of a disk.
//!
//! An engine knows keys and bytes, not workflows. The record layout lives once, in [`keys`], [`record`] and [`run`], and
//! [`verify`] checks a whole file against it. Every engine passes [`conformance`]. Start reading at [`Store`].

pub mod conformance;
pub mod keys;
pub mod memory;
pub mod record;
pub mod run;
mod sequence;
pub mod sqlite;
pub mod verify;

use std::fmt;

use bytes::Bytes;

use mainspring_rt::BoxFuture;

/// Shards of the data format, always and everywhere: a key's first two bytes name its shard.
pub const SHARDS: u16 = 512;

/// One of the 512 units of ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The key spaces. Rows of `Queue` are short-lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Chains, executions and their items.
    State,
    /// Batches of history events.
    History,
    /// Wake rows, task rows, outbox rows, parked inputs.
    Queue,
    /// Shard info, namespaces, versions.
    Meta,
}

impl Table {
    /// Every table, in the order of their discriminants.
    pub const ALL: [Table; 4] = [Table::State, Table::History, Table::Queue, Table::Meta];
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Inserts or replaces.
    Put { table: Table, key: Bytes, value: Bytes },
    /// Removes; absent is fine.
    Delete { table: Table, key: Bytes },
}

impl Op {
    /// Bytes of its key and value.
    pub fn bytes(&self) -> usize {
        match self {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key, .. } => key.len(),
        }
    }
}

/// The right to write to a shard, until the next claim of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The shard.
    pub shard: ShardId,
    /// Rises with each claim; a batch of an older one is [`Error::Fenced`].
    pub epoch: u64,
}

/// Why a write was not acknowledged, or a read not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another claim of the shard was made. Nothing was written: drop the shard.
    #[error("the shard was claimed by another owner")]
    Fenced,
    /// It cannot be told whether the batch was written: claim again and read again.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// Nothing was written: too large, disk full, or an earlier batch of this claim failed.
    #[error("the write was refused: {0}")]
    Rejected(String),
    /// The disk failed to sync: the process has to stop, never to retry.
    #[error("the storage failed and must not be used any more: {0}")]
    Poisoned(String),
    /// A value read does not match its checksum, or the file is damaged.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
}

/// Called once with the outcome of a commit, on a thread of the engine: it must be short and never block.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A range read: keys `from..to` (to exclusive) of one table, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub table: Table,
    pub from: Bytes,
    pub to: Bytes,
    /// Stops after this many rows.
    pub rows_max: usize,
    /// Stops once the values reach this size; at least one row is returned.
    pub bytes_max: usize,
    /// From the last key down to the first.
    pub reverse: bool,
}

impl Scan {
    /// Whether a page of that many rows and bytes of values takes no further row.
    pub(crate) fn is_full(&self, rows: usize, bytes: usize) -> bool {
        rows > 0 && (rows >= self.rows_max || bytes >= self.bytes_max)
    }
}

/// What a [`Scan`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<(Bytes, Bytes)>,
    /// The range may hold more; go on after the last key (reverse: before it).
    pub more: bool,
}

/// Durable ordered key-value rows, written in batches by the claim holder of a shard.
///
/// Promises, tested for every engine by [`conformance`]:
/// - A batch is atomic, and durable when acknowledged.
/// - Batches of one claim are executed in the order of `seq`, which starts at 1 and rises by 1; a gap is `Rejected`.
/// - After the first error of a claim, later batches of it fail unexecuted.
/// - A claim is ordered behind every batch queued for that shard before it.
/// - A read started after an acknowledgement sees that batch.
pub trait Store: Send + Sync + 'static {
    /// Takes the shard over. Earlier claims are fenced from here on.
    fn claim(&self, shard: ShardId) -> BoxFuture<Result<Claim, Error>>;
    /// Queues batch `seq` of the claim. Never blocks; `done` is called exactly once.
    fn commit(&self, claim: Claim, seq: u64, ops: Vec<Op>, done: Done);
    /// One row.
    fn get(&self, table: Table, key: Bytes) -> BoxFuture<Result<Option<Bytes>, Error>>;
    /// Several rows of one table, one answer a key, in one consistent read.
    fn multi_get(&self, table: Table, keys: Vec<Bytes>) -> BoxFuture<Result<Vec<Option<Bytes>>, Error>>;
    /// A page of a range.
    fn scan(&self, scan: Scan) -> BoxFuture<Result<Page, Error>>;
    /// Several pages, from one consistent read.
    fn scan_all(&self, scans: Vec<Scan>) -> BoxFuture<Result<Vec<Page>, Error>>;
    /// Deletes a range in the background, in pieces, unordered with commits. Durable when it returns.
    fn purge(&self, table: Table, from: Bytes, to: Bytes) -> BoxFuture<Result<(), Error>>;
    /// Writes a consistent copy of everything to a new file, while the store is in use.
    fn backup(&self, to: std::path::PathBuf) -> BoxFuture<Result<(), Error>>;
    /// Figures for operators.
    fn stats(&self) -> Stats;
}

/// Figures of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches acknowledged.
    pub commits: u64,
    /// Group transactions: `commits / groups` batches share one sync.
    pub groups: u64,
    /// Bytes of keys and values in acknowledged batches.
    pub bytes: u64,
}
