//! What `verify` finds in a file: each kind of damage, and each row that is missing.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use mainspring_api::ids::NamespaceId;
use mainspring_engine::{
    Chain, Input, Limits, Moment, RunNumber,
    input::{Signal, Start},
    step,
};
use mainspring_rt::Timestamp;
use mainspring_store::{
    Op, ShardId, Table, keys, record, run,
    sqlite::{Inspection, OpenError},
    verify::{Problem, Summary, verify},
};
use rusqlite::Connection;

use support::{claimed, open, queue};

const SHARD: ShardId = ShardId(3);
const RUN: RunNumber = RunNumber(17);
const NAMESPACE: NamespaceId = NamespaceId(uuid::Uuid::from_u128(1));

/// A file with one open run: started with a timeout, then signalled.
async fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path);
    let claim = claimed(&store, SHARD.0).await;
    let start = Start {
        namespace_id: NAMESPACE.0.to_string(),
        workflow_id: "order".to_owned(),
        workflow_type: "Order".to_owned(),
        task_queue: "orders".to_owned(),
        request_id: "request".to_owned(),
        run_timeout: Duration::from_secs(60),
        ..Start::default()
    };
    let signal = Signal { name: "s".to_owned(), request_id: "another".to_owned(), ..Signal::default() };
    let mut chain = Chain::default();
    for (seq, input) in [(1, Input::Start(Box::new(start))), (2, Input::Signal(Box::new(signal)))] {
        let ops = ops_of(&mut chain, input, seq);
        assert_eq!(queue(&store, claim, seq, ops).await, Ok(()));
    }
    let counted = record::ShardInfo { task_id: 9 };
    let ops = vec![Op::Put { table: Table::Meta, key: keys::shard_info(SHARD), value: record::seal(&counted) }];
    assert_eq!(queue(&store, claim, 3, ops).await, Ok(()));
    store.close();
    (dir, path)
}

/// What the shard would write.
fn ops_of(chain: &mut Chain, input: Input, steps: u64) -> Vec<Op> {
    let limits = Limits::default();
    let moment = Moment::new(Timestamp::from_millis(1_000_000), steps, &limits, Duration::from_secs(1), RUN);
    let change = step(chain, input, &moment).unwrap().current.unwrap();
    let of = chain.run.as_ref().unwrap();
    let mut ops = Vec::new();
    if change.created {
        run::create(&mut ops, SHARD, NAMESPACE, of);
    }
    run::write(&mut ops, SHARD, of, &change.touched);
    for chunk in change.chunks {
        let key = keys::history(SHARD, RUN, chunk.first_event_id);
        ops.push(Op::Put { table: Table::History, key, value: record::seal_parts(&[chunk.bytes]) });
    }
    if let Some(wake) = change.wake {
        let value = record::seal_parts(&[]);
        ops.push(Op::Delete { table: Table::Queue, key: keys::wake(SHARD, wake.from, RUN) });
        ops.push(Op::Put { table: Table::Queue, key: keys::wake(SHARD, wake.to, RUN), value });
    }
    ops
}

fn verified(path: &Path) -> (Summary, Vec<Problem>) {
    let mut problems = Vec::new();
    let summary = verify(&Inspection::open(path).unwrap(), &mut |problem| problems.push(problem));
    assert_eq!(summary.problems, problems.len() as u64);
    (summary, problems)
}

/// The lines about a file on which `sql` was run, by hand.
async fn after(sql: &str, key: &[u8]) -> String {
    let (_dir, path) = file().await;
    let connection = Connection::open(&path).unwrap();
    assert_eq!(connection.execute(sql, [key]).unwrap(), 1, "{sql}");
    drop(connection);
    verified(&path).1.iter().map(|problem| format!("{problem}\n")).collect()
}

#[tokio::test]
async fn a_sound_file_is_found_sound_and_left_as_it_is() {
    let (dir, path) = file().await;
    let before = std::fs::read(&path).unwrap();
    let (summary, problems) = verified(&path);
    assert_eq!(problems, []);
    // The group of the claim, and three batches; X, C, U, the fixed part, a signal's request id, two histories, a wake
    // row and the shard's own.
    assert_eq!(summary, Summary { group: 4, rows: 9, runs: 1, ..Summary::default() });
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let names = |suffix: &str| dir.path().join(format!("store.db{suffix}")).exists();
    assert!(!names("-wal") && !names("-shm"), "nothing is left behind");
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let (_dir, path) = file().await;
    let store = open(&path);
    assert!(matches!(Inspection::open(&path), Err(OpenError::Locked { .. })));
    store.close();
}

/// Each row is missed when it is gone.
#[tokio::test]
async fn a_row_that_is_missing_is_noticed() {
    let state = "DELETE FROM state WHERE k = ?1";
    for (key, said) in [
        (
            keys::execution(SHARD, RUN),
            "run 17 of shard 3: stored data is damaged: run 17 of shard 3 has no execution row",
        ),
        (keys::fixed(SHARD, RUN), "has no fixed part"),
    ] {
        let said_of = after(state, &key).await;
        assert!(said_of.contains(said), "{said_of}");
    }
    for first in [1, 3] {
        let key = keys::history(SHARD, RUN, first);
        let said_of = after("DELETE FROM history WHERE k = ?1", &key).await;
        assert!(said_of.contains("run 17 of shard 3: "), "event {first}: {said_of}");
    }
    let wake = keys::kind(SHARD, b'W').from;
    let said_of = after("DELETE FROM queue WHERE k >= ?1", &wake).await;
    assert!(said_of.contains("its wake row is missing"), "{said_of}");
}

#[tokio::test]
async fn a_row_that_names_a_run_that_is_gone_is_noticed() {
    let (_dir, path) = file().await;
    let connection = Connection::open(&path).unwrap();
    let items = keys::items(SHARD, RUN);
    for (from, to) in [(keys::execution(SHARD, RUN), keys::execution(SHARD, RunNumber(18))), (items.from, items.to)] {
        connection.execute("DELETE FROM state WHERE k >= ?1 AND k < ?2", [&from[..], &to[..]]).unwrap();
    }
    drop(connection);
    let (_, problems) = verified(&path);
    // Its workflow id and its run id.
    assert_eq!(problems.iter().filter(|problem| problem.what.contains("names it")).count(), 2, "{problems:?}");
}

/// A value that was changed, a record that is whole but no record, and a key that is none of ours.
#[tokio::test]
async fn a_row_that_is_damaged_is_named() {
    let key = keys::history(SHARD, RUN, 1);
    let said = after("UPDATE history SET v = zeroblob(20) WHERE k = ?1", &key).await;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(said.contains(&format!("table History: stored data is damaged: the row {hex} does not match")), "{said}");

    let (_dir, path) = file().await;
    let connection = Connection::open(&path).unwrap();
    let sealed = record::seal_parts(&[Bytes::from_static(&[0xff; 5])]);
    let info = keys::shard_info(SHARD);
    connection.execute("UPDATE meta SET v = ?2 WHERE k = ?1", [&info[..], &sealed[..]]).unwrap();
    connection.execute("INSERT INTO meta (k, v) VALUES (x'000341', x'00')", []).unwrap();
    drop(connection);
    let (_, problems) = verified(&path);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].what.contains("000341") && problems[0].what.contains("none of ours"), "{problems:?}");
    assert!(problems[1].what.contains("the row 000349"), "{problems:?}");
}
