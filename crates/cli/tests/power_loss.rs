//! The binary on a disk that loses power or fails: nothing acknowledged is lost, and it says what is wrong in one line.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainspring_powerloss::{
    Call, Client, Disk, Ended, Failing, Load, Rounds, Server, Shape, Shim, prove, wait_until_listed,
};

const SHAPE: Shape = Shape { clients: 4, workers: 2, payload_bytes_max: 20_000, seed: 1 };
/// Far above what a server takes to fail, so that only one that hangs meets it.
const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mainspring"))
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

/// Under load until the server ends by itself, or has acknowledged so many calls.
async fn live(folder: &Path, disk: Option<&Disk>, enough: usize) -> (Load, Option<Ended>) {
    let shim = Shim::build().unwrap();
    let load = Load::default();
    let mut server = Server::start(program(), folder, disk.map(|disk| (&shim, disk))).unwrap();
    let address = server.address().to_owned();
    let (loading, of) = (load.clone(), load.clone());
    let loaded = tokio::task::spawn(async move { loading.run(&address, SHAPE).await });
    let ended = tokio::select! {
        ended = server.wait_within(PATIENCE) => Some(ended.unwrap()),
        () = of.reaches(enough) => None,
    };
    drop(server);
    loaded.await.unwrap().unwrap();
    (load, ended)
}

/// A healthy server on the same data has everything, goes on to the end, and lists it.
async fn goes_on(folder: &Path, load: &Load) {
    let server = Server::start(program(), folder, None).unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    prove(&client, load).await.unwrap();
    let ids: Vec<String> = load.errands().into_keys().collect();
    wait_until_listed(&client, &ids).await.unwrap();
}

/// `cargo xtask crash --power-loss` runs hundreds.
#[tokio::test]
async fn a_few_power_losses_lose_nothing() {
    let (_scratch, folder) = scratch();
    let mut rounds = Rounds::new(program(), &folder, false).unwrap();
    for seed in 7_000..7_004 {
        rounds.one(seed).await.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    }
}

/// A check that cannot fail is worth nothing: on a disk that ignores syncs, loss is found.
#[tokio::test]
async fn a_disk_that_ignores_syncs_is_found_out() {
    let (_scratch, folder) = scratch();
    let mut rounds = Rounds::new(program(), &folder, true).unwrap();
    let mut found = 0;
    for seed in 0..3 {
        found += usize::from(rounds.one(seed).await.is_err());
    }
    assert!(found > 0, "nobody noticed");
}

/// Power may go at any moment of the first start; the next one works, whatever is left of the first.
#[test]
fn power_may_go_at_any_call_of_the_first_start() {
    let shim = Shim::build().unwrap();
    let (_scratch, folder) = scratch();
    let mut reached = 0;
    for call in 1..=60 {
        for seed in 0..2 {
            let folder = folder.join(format!("{call} {seed}"));
            std::fs::create_dir(&folder).unwrap();
            let disk = Disk { seed: call * 10 + seed, loses_power_after: Some(call), ..Disk::default() };
            let mut server = Server::spawn(program(), &folder, Some((&shim, &disk))).unwrap();
            if server.serves().unwrap() {
                // All of the start is behind; what comes later is for the rounds under load.
                continue;
            }
            assert_eq!(server.wait().unwrap().code, Some(137), "call {call}");
            reached += 1;
            let next = Server::start(program(), &folder, None);
            next.unwrap_or_else(|error| panic!("call {call}, seed {seed}: {error:#}"));
        }
    }
    assert!(reached > 40, "{reached} starts lost power");
}

/// Writes, syncs, and syncs of the log alone that fail: the server ends with one line on what is wrong, and what it
/// acknowledged is there on a disk that works again.
#[tokio::test]
async fn a_failing_disk_ends_the_server_and_loses_nothing() {
    // So late that clients have been answered: each asks for no more before that.
    let failures = [
        (
            "a full disk",
            Failing { call: Call::Write, suffix: "mainspring.db-wal", errno: 28, after: 1200 },
            "disk is full",
        ),
        (
            "a failed write",
            Failing { call: Call::Write, suffix: "mainspring.db-wal", errno: 5, after: 1000 },
            "storage failed",
        ),
        (
            "a failed sync",
            Failing { call: Call::Sync, suffix: "mainspring.db-wal", errno: 5, after: 80 },
            "storage failed",
        ),
        ("a failed record", Failing { call: Call::Sync, suffix: ".acked", errno: 5, after: 6 }, "storage failed"),
    ];
    for (what, failing, said) in failures {
        let (_scratch, folder) = scratch();
        let disk = Disk { fails: Some(failing), ..Disk::default() };
        let (load, ended) = live(&folder, Some(&disk), usize::MAX).await;
        let ended = ended.unwrap();
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.stderr);
        let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("mainspring: ")).collect();
        assert!(matches!(lines[..], [line] if line.contains(said)), "{what}: {}", ended.stderr);
        assert!(load.acknowledged() > 0, "{what}");
        goes_on(&folder, &load).await;
    }
}

/// Nothing can be written, from the start on or in the middle of it: a refusal that names the file, and no change.
#[test]
fn a_read_only_or_full_disk_is_refused_at_the_start() {
    let shim = Shim::build().unwrap();
    for (call, suffix, errno, said) in [
        (Call::Open, ".db.lock", 30, "Read-only file system"),
        (Call::Open, ".db", 30, "mainspring.db"),
        (Call::Write, ".db", 28, "full"),
        (Call::Sync, ".db", 5, "mainspring.db"),
        (Call::Write, ".acked", 28, "No space left"),
    ] {
        let (_scratch, folder) = scratch();
        let disk = Disk { fails: Some(Failing { call, suffix, errno, after: 1 }), ..Disk::default() };
        let mut server = Server::spawn(program(), &folder, Some((&shim, &disk))).unwrap();
        assert!(!server.serves().unwrap(), "{suffix} {errno}");
        let ended = server.wait().unwrap();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let line = ended.stderr.lines().last().unwrap_or_default();
        assert!(line.starts_with("mainspring: ") && line.contains(said), "{suffix} {errno}: {}", ended.stderr);
        Server::start(program(), &folder, None).unwrap();
    }
}

/// The index behind lists is derived: lost, torn or damaged it is filled again, and lists are whole.
#[tokio::test]
async fn a_damaged_index_is_built_anew() {
    let (_scratch, folder) = scratch();
    let (load, _) = live(&folder, None, 300).await;
    goes_on(&folder, &load).await;
    let index = folder.join("data/mainspring.db.visibility");
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("nothing of it", Vec::clear),
        ("zeros", |bytes| bytes.fill(0)),
        ("a torn header", |bytes| bytes[16..512].fill(0)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for (what, damage) in damages {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", index.display()));
        }
        let mut bytes = std::fs::read(&index).unwrap();
        damage(&mut bytes);
        std::fs::write(&index, bytes).unwrap();
        let server = Server::start(program(), &folder, None).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let client = Client::connect(server.address()).await.unwrap();
        let ids: Vec<String> = load.errands().into_keys().collect();
        wait_until_listed(&client, &ids).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        server.end("TERM").unwrap();
    }
}
