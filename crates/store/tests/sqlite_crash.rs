//! What is left of a SQLite store after its process was killed, or its log was damaged.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::mpsc,
};

use mainspring_store::sqlite::{OpenError, Options, SqliteStore};

use support::{CHILD_PATH, batch, child, claimed, open, parse_report, queue, report, written};

/// Killed again and again, the store has everything that was acknowledged, and of each claim a prefix.
#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let path = dir.path().join("store.db");
    let mut acknowledged: BTreeMap<(u16, u64), u64> = BTreeMap::new();
    for reports_before_the_kill in [1, 40, 500, 3000, 7] {
        let mut child = child("child_writes_until_it_is_killed", &path, &[]).spawn().expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut reports = lines.by_ref().filter_map(|line| parse_report(&line));
        for (claim, seq) in reports.by_ref().take(reports_before_the_kill) {
            acknowledged.insert(claim, seq);
        }
        child.kill().expect("killed");
        // What it said before it died counts too.
        for (claim, seq) in reports {
            acknowledged.insert(claim, seq);
        }
        assert!(!child.wait().expect("waited").success());

        let store = open(&path);
        let written = written(&store).await;
        for (claim, seq) in &acknowledged {
            assert!(written.get(claim) >= Some(seq), "{claim:?}: {seq} was acknowledged, {written:?} is there");
        }
    }
    assert!(acknowledged.len() > 16, "several processes wrote to several shards");
}

/// Not a test of its own: see `a_killed_process_loses_nothing_acknowledged`.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD_PATH) else { return };
    let store = open(Path::new(&path));
    let mut claims = Vec::new();
    for shard in 0..8 {
        claims.push(claimed(&store, shard).await);
    }
    let (answer, answered) = mpsc::channel();
    for seq in 1.. {
        for claim in claims.iter().copied() {
            let answer = answer.clone();
            let done = move |result: Result<(), _>| {
                result.expect("the disk is fine");
                report(claim, seq);
                let _ = answer.send(());
            };
            mainspring_store::Store::commit(&store, claim, seq, batch(claim, seq, 1000), Box::new(done));
        }
        // Eight batches of each shard may be in flight.
        for _ in 0..if seq <= 8 { 0 } else { claims.len() } {
            answered.recv().expect("answered");
        }
    }
}

/// A damaged log makes SQLite forget acknowledged batches without an error; the store notices, and says where.
#[tokio::test]
async fn a_damaged_log_refuses_to_open() {
    let crashed = Crashed::after_groups(60).await;
    let log = fs::read(crashed.file("-wal")).expect("there is a log");
    for (what, damaged) in [("flipped", flipped(&log)), ("truncated", log[..log.len() / 2].to_vec())] {
        fs::write(crashed.file("-wal"), &damaged).expect("written");
        let database = fs::read(crashed.file("")).expect("read");
        let refused = SqliteStore::open(Options::at(crashed.file(""))).err().expect(what);
        match &refused {
            OpenError::DamagedLog { path, at } => {
                assert_eq!((what, path), ("flipped", &crashed.file("-wal")));
                assert!((at..&(at + 4200)).contains(&&(log.len() as u64 / 2)), "the frame is named: {at}");
            }
            OpenError::LostWrites { found, acked, .. } => {
                assert_eq!((what, *acked), ("truncated", crashed.groups));
                assert!(found < acked);
            }
            other => panic!("{what}: {other}"),
        }
        assert_eq!(fs::read(crashed.file("-wal")).expect("read"), damaged, "{what}: evidence is left alone");
        assert_eq!(fs::read(crashed.file("")).expect("read"), database, "{what}: evidence is left alone");
    }

    let accepting = Options { accept_loss: true, ..Options::at(crashed.file("")) };
    let store = SqliteStore::open(accepting).expect("the loss is accepted");
    let left = written(&store).await.into_values().sum::<u64>();
    assert!(left > 0 && left < crashed.groups, "some batches are lost, and the first ones are whole: {left}");
    drop(store);
    open(&crashed.file(""));
}

/// What was acknowledged within the last second is not on record yet. A flipped byte among it is noticed all the same.
#[tokio::test]
async fn a_flipped_byte_refuses_to_open_without_a_record_of_what_was_acknowledged() {
    let crashed = Crashed::after_groups(60).await;
    fs::remove_file(crashed.file(".acked")).expect("removed");
    let log = fs::read(crashed.file("-wal")).expect("there is a log");
    fs::write(crashed.file("-wal"), flipped(&log)).expect("written");
    let refused = SqliteStore::open(Options::at(crashed.file(""))).err().expect("refused");
    assert!(matches!(refused, OpenError::DamagedLog { .. }), "{refused}");
    assert!(refused.to_string().contains("-wal is damaged at byte"), "{refused}");
}

/// Power was lost while the file was made: it has its size and nothing in it.
#[tokio::test]
async fn a_file_of_zeros_is_a_new_one_unless_something_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let path = dir.path().join("store.db");
    fs::write(&path, [0; 8192]).expect("written");
    open(&path);

    let crashed = Crashed::after_groups(5).await;
    fs::write(crashed.file(""), [0; 8192]).expect("written");
    let refused = SqliteStore::open(Options::at(crashed.file(""))).err().expect("refused");
    assert!(matches!(refused, OpenError::NotADatabase { .. }), "{refused}");
}

/// An untouched log has everything.
#[tokio::test]
async fn a_whole_log_is_recovered() {
    let crashed = Crashed::after_groups(60).await;
    let store = open(&crashed.file(""));
    assert_eq!(written(&store).await.into_values().sum::<u64>(), crashed.groups - 1, "one group was the claim");
}

/// A database that vanished, or was replaced by an older copy, is noticed as well.
#[tokio::test]
async fn an_older_database_refuses_to_open() {
    let crashed = Crashed::after_groups(20).await;
    fs::remove_file(crashed.file("")).expect("removed");
    let refused = SqliteStore::open(Options::at(crashed.file(""))).err().expect("refused");
    assert!(matches!(refused, OpenError::LostWrites { found: 0, .. }), "{refused}");
    assert!(refused.to_string().contains("--accept-loss"), "it says what to do: {refused}");
    assert!(crashed.file("-wal").exists(), "the log, all that is left, is left alone");
}

/// Without a readable record nobody can tell what is missing.
#[tokio::test]
async fn a_damaged_record_of_what_was_acknowledged_refuses_to_open() {
    let crashed = Crashed::after_groups(20).await;
    fs::write(crashed.file(".acked"), [7; 8192]).expect("written");
    let refused = SqliteStore::open(Options::at(crashed.file(""))).err().expect("refused");
    assert!(matches!(refused, OpenError::DamagedAcked { .. }), "{refused}");
    SqliteStore::open(Options { accept_loss: true, ..Options::at(crashed.file("")) }).expect("accepted");
    open(&crashed.file(""));
}

/// The files of a store as a power cut would leave them.
struct Crashed {
    dir: tempfile::TempDir,
    groups: u64,
}

impl Crashed {
    /// Each group holds one batch, but for the first, which holds the claim.
    async fn after_groups(groups: u64) -> Crashed {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let live = dir.path().join("live.db");
        let store = open(&live);
        let claim = claimed(&store, 5).await;
        for seq in 1..groups {
            assert_eq!(queue(&store, claim, seq, batch(claim, seq, 3000)).await, Ok(()));
        }
        let recorded = *store.acked().wait_for(|acked| *acked >= groups).await.expect("the store is open");
        assert_eq!(recorded, groups);
        let crashed = Crashed { dir, groups };
        for suffix in ["", "-wal", ".acked"] {
            fs::copy(crashed.dir.path().join(format!("live.db{suffix}")), crashed.file(suffix)).expect("copied");
        }
        crashed
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("crashed.db{suffix}"))
    }
}

fn flipped(log: &[u8]) -> Vec<u8> {
    let mut flipped = log.to_vec();
    flipped[log.len() / 2] ^= 0x10;
    flipped
}
