//! What a SQLite store refuses to open, and what it does when the disk is full or fails.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    sync::{Arc, mpsc},
};

use bytes::Bytes;
use rusqlite::Connection;

use mainspring_store::{
    Error, Op, Store, Table,
    sqlite::{Failure, OpenError, Options, SqliteStore},
};

use support::{CHILD_PATH, batch, child, claimed, open, parse_report, queue, report, rows, written};

/// Two writers would each believe to own the shards.
#[test]
fn a_file_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path);
    let refused = SqliteStore::open(Options::at(&path)).err().expect("refused");
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert_eq!(refused.to_string().lines().count(), 1, "{refused}");
    #[cfg(unix)]
    {
        let alias = dir.path().join("alias.db");
        std::os::unix::fs::symlink(&path, &alias).unwrap();
        assert!(matches!(SqliteStore::open(Options::at(alias)), Err(OpenError::Locked { .. })));
    }
    store.close();
    open(&path);
}

/// A closed store refuses every call and never keeps a caller waiting.
#[tokio::test]
async fn a_closed_store_refuses_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store.db"));
    let claim = claimed(&store, 1).await;
    let last = queue(&store, claim, 1, batch(claim, 1, 10));
    store.close();
    assert_eq!(last.await, Ok(()), "what was queued before is finished");
    assert!(matches!(queue(&store, claim, 2, batch(claim, 2, 10)).await, Err(Error::Unknown(_))));
    assert!(store.claim(claim.shard).await.is_err());
    assert!(store.get(Table::State, Bytes::new()).await.is_err());
    assert!(store.purge(Table::State, Bytes::new(), Bytes::new()).await.is_err());
    assert!(store.backup(dir.path().join("copy.db")).await.is_err());
    assert!(!dir.path().join("store.db-wal").exists(), "one file is left, without a log");
}

/// The last handle may go in a callback of a commit, on the very thread that closing waits for.
#[tokio::test]
async fn a_callback_may_drop_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = Arc::new(open(&path));
    let claim = claimed(&store, 1).await;
    let (answer, answered) = mpsc::channel();
    let last = store.clone();
    let done = move |result: Result<(), Error>| {
        drop(last);
        answer.send(result).unwrap();
    };
    let (let_go, wait) = mpsc::channel::<()>();
    // Holds the committer until only the second callback has a handle.
    store.commit(
        claim,
        1,
        Vec::new(),
        Box::new(move |_| {
            let _ = wait.recv();
        }),
    );
    store.commit(claim, 2, batch(claim, 2, 10), Box::new(done));
    drop(store);
    drop(let_go);
    assert_eq!(answered.recv().unwrap(), Ok(()));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    open(&path).close();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(Options::at(&path)).err().expect("refused");
    assert!(matches!(refused, OpenError::NewerFormat { found: 99, supported: 1, .. }), "{refused}");
}

/// Neither somebody else's database nor any other file is touched.
#[test]
fn a_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("letter.txt");
    fs::write(&text, "Dear reader, this is not a database.").unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    for path in [text, foreign] {
        let before = fs::read(&path).unwrap();
        let refused = SqliteStore::open(Options::at(&path)).err().expect("refused");
        assert!(matches!(refused, OpenError::NotADatabase { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let nowhere = SqliteStore::open(Options::at(dir.path().join("missing").join("store.db"))).err().expect("refused");
    assert!(matches!(nowhere, OpenError::Io { .. }), "{nowhere}");
}

#[test]
fn pragmas_of_the_operator_are_set_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let with = |name: &str, value: &str| {
        let pragmas = vec![(name.to_owned(), value.to_owned())];
        SqliteStore::open(Options { pragmas, ..Options::at(dir.path().join(format!("{name}.db"))) })
    };
    with("page_size", "8192").expect("set before the file is made").close();
    let made = Connection::open(dir.path().join("page_size.db")).unwrap();
    assert_eq!(made.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).unwrap(), 8192);
    with("journal_mode", "delete").expect("the log is not up for choice");
    assert!(matches!(with("x; DROP TABLE state", "1"), Err(OpenError::Pragma { .. })));
}

/// SQLite refuses a value beyond its limit; the batches in the same transaction must not pay for it.
#[tokio::test]
async fn a_bad_batch_leaves_its_neighbours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store.db"));
    let (good, bad) = (claimed(&store, 1).await, claimed(&store, 2).await);
    let (let_go, wait) = mpsc::channel::<()>();
    store.commit(
        good,
        1,
        batch(good, 1, 10),
        Box::new(move |_| {
            let _ = wait.recv();
        }),
    );
    // Held up by the callback above, all of these end up in one group.
    let too_large = Bytes::from(vec![0; 1_000_000_001]);
    let mut ops = batch(bad, 1, 10);
    ops.push(Op::Put { table: Table::State, key: Bytes::from_static(b"large"), value: too_large });
    let before = queue(&store, good, 2, batch(good, 2, 10));
    let claim = store.claim(mainspring_store::ShardId(3));
    let refused = queue(&store, bad, 1, ops);
    let refused_too = queue(&store, bad, 2, batch(bad, 2, 10));
    let after = queue(&store, good, 3, batch(good, 3, 10));
    drop(let_go);
    assert_eq!(before.await, Ok(()));
    assert!(claim.await.is_ok());
    assert!(matches!(refused.await, Err(Error::Rejected(_))));
    assert!(matches!(refused_too.await, Err(Error::Rejected(_))), "its claim is dead");
    assert_eq!(after.await, Ok(()));
    assert_eq!(written(&store).await.into_iter().collect::<Vec<_>>(), [((1, 1), 3)]);
    assert_eq!(*store.failed().borrow(), None, "this is no reason to stop");
}

/// A full disk refuses the batch, writes nothing of it, tells the server, and keeps what was acknowledged.
#[tokio::test]
async fn a_full_disk_rejects_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let pragmas = vec![("max_page_count".to_owned(), "100".to_owned())];
    let store = SqliteStore::open(Options { pragmas, ..Options::at(&path) }).expect("opened");
    let claim = claimed(&store, 1).await;
    let mut acknowledged = 0;
    let refused = loop {
        match queue(&store, claim, acknowledged + 1, batch(claim, acknowledged + 1, 10_000)).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::Rejected(why) if why.contains("the disk is full")), "{refused}");
    let after = queue(&store, claim, acknowledged + 2, Vec::new()).await;
    assert!(matches!(after, Err(Error::Rejected(_))), "the claim is dead: {after:?}");
    let failure = store.failed().borrow().clone();
    assert!(matches!(failure, Some(Failure::DiskFull(_))), "{failure:?}");
    assert_eq!(written(&store).await[&(1, claim.epoch)], acknowledged);
    drop(store);

    let store = open(&path);
    assert_eq!(written(&store).await[&(1, claim.epoch)], acknowledged);
    let claim = claimed(&store, 1).await;
    assert_eq!(queue(&store, claim, 1, batch(claim, 1, 10_000)).await, Ok(()));
}

/// When a write to the log fails, the store is poisoned: nothing but a restart helps, and that finds everything.
#[cfg(unix)]
#[tokio::test]
async fn a_failing_disk_poisons_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    // Files of this process may grow to 2 MiB; a longer write fails, as the signal that would kill it is ignored.
    let limited = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
    let mut child = child("child_writes_until_the_disk_fails", &path, &["sh", "-c", limited]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let acknowledged = lines.filter_map(|line| parse_report(&line)).last().expect("some batches were written");
    assert!(child.wait().unwrap().success(), "the child's own assertions hold");

    let store = open(&path);
    let written = written(&store).await;
    assert!(written[&acknowledged.0] >= acknowledged.1);
    assert!(acknowledged.1 > 10);
}

/// Not a test of its own: see `a_failing_disk_poisons_and_loses_nothing`.
#[tokio::test]
async fn child_writes_until_the_disk_fails() {
    let Ok(path) = std::env::var(CHILD_PATH) else { return };
    let store = open(Path::new(&path));
    let claim = claimed(&store, 1).await;
    let mut failed = store.failed();
    for seq in 1.. {
        match queue(&store, claim, seq, batch(claim, seq, 10_000)).await {
            Ok(()) => report(claim, seq),
            Err(error) => {
                assert!(matches!(error, Error::Poisoned(_)), "{error}");
                break;
            }
        }
    }
    let failure = failed.wait_for(Option::is_some).await.unwrap().clone();
    assert!(matches!(failure, Some(Failure::Broken(_))), "{failure:?}");
    let other = claim;
    assert!(matches!(store.claim(other.shard).await, Err(Error::Poisoned(_))));
    assert!(matches!(store.get(Table::State, Bytes::new()).await, Err(Error::Poisoned(_))));
    assert!(matches!(queue(&store, claim, 1, Vec::new()).await, Err(Error::Poisoned(_))));
}

/// A damaged page is an error of the read that meets it, not an empty answer.
#[tokio::test]
async fn damaged_pages_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path);
    let claim = claimed(&store, 1).await;
    for seq in 1..=20 {
        assert_eq!(queue(&store, claim, seq, batch(claim, seq, 3000)).await, Ok(()));
    }
    let (key, _) = rows(&store, Table::State).await.swap_remove(7);
    drop(store);

    let mut file = fs::read(&path).unwrap();
    let tables = Connection::open(&path).unwrap();
    let roots = "SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'state'";
    let roots: Vec<usize> =
        tables.prepare(roots).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(tables);
    for root in roots {
        file[(root - 1) * 4096..root * 4096].fill(0xee);
    }
    fs::write(&path, file).unwrap();
    let store = open(&path);
    assert!(matches!(store.get(Table::State, key.clone()).await, Err(Error::Corrupt(_))));
    assert!(store.get(Table::History, key).await.unwrap().is_some(), "the other table is fine");
}
