//! What the tests of the SQLite engine share: rows that tell whether something is missing, and child processes.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use mainspring_rt::BoxFuture;
use mainspring_store::{
    Claim, Error, Op, Page, Scan, ShardId, Store, Table,
    sqlite::{Options, SqliteStore},
};

/// The file that a child process works on; its absence tells the child's test that it is no child.
pub(crate) const CHILD_PATH: &str = "MAINSPRING_STORE_TEST_CHILD";

pub(crate) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(Options::at(path)).expect("opened")
}

pub(crate) async fn claimed(store: &SqliteStore, shard: u16) -> Claim {
    store.claim(ShardId(shard)).await.expect("claimed")
}

pub(crate) fn queue(store: &SqliteStore, claim: Claim, seq: u64, ops: Vec<Op>) -> BoxFuture<Result<(), Error>> {
    let (answer, answered) = oneshot::channel();
    store.commit(claim, seq, ops, Box::new(move |result| drop(answer.send(result))));
    Box::pin(async move { answered.await.expect("done is called") })
}

/// Batch `seq` of the claim: the same row in two tables, and a row that says how far the claim got.
pub(crate) fn batch(claim: Claim, seq: u64, value_bytes: usize) -> Vec<Op> {
    let value = Bytes::from(vec![b'v'; value_bytes]);
    let last = Bytes::copy_from_slice(&seq.to_be_bytes());
    vec![
        Op::Put { table: Table::State, key: key(claim, seq), value: value.clone() },
        Op::Put { table: Table::History, key: key(claim, seq), value },
        Op::Put { table: Table::Queue, key: key(claim, 0), value: last },
    ]
}

/// The number of batches written of each claim, once sure that they are the first ones, each whole.
pub(crate) async fn written(store: &SqliteStore) -> BTreeMap<(u16, u64), u64> {
    let state = rows(store, Table::State).await;
    let history = rows(store, Table::History).await;
    assert_eq!(state.len(), history.len(), "every batch is whole");
    let mut written = BTreeMap::new();
    for ((key, _), (twin, _)) in state.iter().zip(&history) {
        assert_eq!(key, twin, "every batch is whole");
        let (claim, seq) = parse(key);
        let count: &mut u64 = written.entry(claim).or_default();
        *count += 1;
        assert_eq!(*count, seq, "the batches of {claim:?} form a prefix");
    }
    for (key, last) in rows(store, Table::Queue).await {
        let last = u64::from_be_bytes(last[..].try_into().expect("8 bytes"));
        assert_eq!(written.get(&parse(&key).0), Some(&last), "the last batch is whole");
    }
    written
}

/// Every row of the table, page by page.
pub(crate) async fn rows(store: &SqliteStore, table: Table) -> Vec<(Bytes, Bytes)> {
    let to = Bytes::from_static(&[0xff; 32]);
    let mut scan = Scan { table, from: Bytes::new(), to, rows_max: 1000, bytes_max: 1 << 20, reverse: false };
    let mut all = Vec::new();
    loop {
        let Page { rows, more } = store.scan(scan.clone()).await.expect("scanned");
        all.extend(rows);
        if !more {
            return all;
        }
        scan.from = all.last().map(|(key, _)| Bytes::from([key, &b"\0"[..]].concat())).expect("a page has rows");
    }
}

/// A child that runs the test named `test` of this binary on the file at `path`, behind `prefix` if there is one.
pub(crate) fn child(test: &str, path: &Path, prefix: &[&str]) -> Command {
    let this = std::env::current_exe().expect("the test's binary");
    let mut command = match prefix {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    command.args([test, "--exact", "--test-threads=1"]).env(CHILD_PATH, path).stdout(Stdio::piped());
    command
}

/// In a child: tells the parent that batch `seq` of the claim was acknowledged.
pub(crate) fn report(claim: Claim, seq: u64) {
    let line = format!("\nacked {} {} {seq}\n", claim.shard, claim.epoch);
    // The parent may be gone, which ends this process too.
    let _ = std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush());
}

/// In the parent: what a line of the child says, if it is such a line.
pub(crate) fn parse_report(line: &str) -> Option<((u16, u64), u64)> {
    let mut numbers = line.strip_prefix("acked ")?.split(' ').map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    let (shard, epoch, seq): (u64, u64, u64) = (next(), next(), next());
    Some(((u16::try_from(shard).expect("a shard"), epoch), seq))
}

fn key(claim: Claim, seq: u64) -> Bytes {
    [&claim.shard.0.to_be_bytes()[..], &claim.epoch.to_be_bytes(), &seq.to_be_bytes()].concat().into()
}

fn parse(key: &[u8]) -> ((u16, u64), u64) {
    let shard = u16::from_be_bytes(key[..2].try_into().expect("2 bytes"));
    let epoch = u64::from_be_bytes(key[2..10].try_into().expect("8 bytes"));
    ((shard, epoch), u64::from_be_bytes(key[10..].try_into().expect("8 bytes")))
}
