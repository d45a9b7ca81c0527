//! Backups of a server that works, what is restored from them, and what a flipped byte does, with the binary.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

mod program;

use std::path::{Path, PathBuf};
use std::process::Output;

use mainspring_powerloss::{Client, Load, Server, Shape, prove, wait_until_listed};
use program::{mainspring, only_line};

const SHAPE: Shape = Shape { clients: 4, workers: 2, payload_bytes_max: 20_000, seed: 2 };

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mainspring"))
}

/// A folder for two servers and the backup of the first.
struct Place {
    _scratch: tempfile::TempDir,
    first: PathBuf,
    second: PathBuf,
    backup: PathBuf,
}

impl Place {
    fn new() -> Place {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let (first, second, backup) = (at("first"), at("second"), at("backup.db"));
        std::fs::create_dir(&first).unwrap();
        std::fs::create_dir(&second).unwrap();
        Place { first, second, backup, _scratch: scratch }
    }

    fn back_up(&self) -> Output {
        run(&["backup", "--data-dir", &text(&self.first.join("data")), "--to", &text(&self.backup)])
    }

    fn restore(&self) -> Output {
        run(&["restore", "--from", &text(&self.backup), "--data-dir", &text(&self.second.join("data"))])
    }

    fn data(&self, suffix: &str) -> PathBuf {
        self.first.join(format!("data/mainspring.db{suffix}"))
    }

    fn verify(&self) -> Output {
        run(&["admin", "verify", "--data-dir", &text(&self.first.join("data"))])
    }
}

fn run(words: &[&str]) -> Output {
    mainspring(words).output().unwrap()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    out.into_owned()
}

/// Has `work` done while the first server is under load, then kills that server. Returns all that was acknowledged.
async fn while_loaded(place: &Place, work: impl AsyncFnOnce(&Load)) -> Load {
    let server = Server::start(binary(), &place.first, None).unwrap();
    let load = Load::default();
    let (loading, address) = (load.clone(), server.address().to_owned());
    let loaded = tokio::task::spawn(async move { loading.run(&address, SHAPE).await });
    load.reaches(150).await;
    work(&load).await;
    load.reaches(load.acknowledged() + 150).await;
    server.end("KILL").unwrap();
    loaded.await.unwrap().unwrap();
    load
}

/// What was acknowledged before a backup began is in it; a server on the restored data goes on with that.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_whole_and_a_server_goes_on_from_it() {
    let place = Place::new();
    let mut before = None;
    while_loaded(&place, async |load| {
        before = Some(load.errands());
        said(&place.back_up());
    })
    .await;
    assert!(said(&place.restore()).contains("restored and verified"));

    let load = Load::resume(before.unwrap());
    let server = Server::start(binary(), &place.second, None).unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    prove(&client, &load).await.unwrap();
    // Errands that began while the backup did are in it too, perhaps.
    let listed = client.list().await.unwrap();
    let shown = |id: &String| listed.iter().any(|info| info.execution.as_ref().unwrap().workflow_id == *id);
    assert!(load.errands().keys().all(shown), "lists are filled from the restored runs");
    assert_eq!(server.end("TERM").unwrap().code, Some(0));
    said(&run(&["admin", "verify", "--data-dir", &text(&place.second.join("data"))]));
}

/// A server that was killed leaves a log behind: a backup and a check of its data take it into account.
#[tokio::test(flavor = "multi_thread")]
async fn data_of_a_killed_server_is_verified_and_backed_up_with_its_log() {
    let place = Place::new();
    let load = while_loaded(&place, async |_| {}).await;
    assert!(place.data("-wal").metadata().unwrap().len() > 0, "there is a log");
    assert!(said(&place.verify()).starts_with("sound: "));
    said(&place.back_up());
    said(&place.restore());
    let server = Server::start(binary(), &place.second, None).unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    prove(&client, &load).await.unwrap();
    let ids: Vec<String> = load.errands().into_keys().collect();
    wait_until_listed(&client, &ids).await.unwrap();
}

#[test]
fn backups_and_restores_never_overwrite() {
    let place = Place::new();
    let server = Server::start(binary(), &place.first, None).unwrap();
    said(&place.back_up());
    assert!(only_line(&place.back_up(), 1).contains("exists already"));
    said(&place.restore());
    assert!(only_line(&place.restore(), 1).contains("is not empty"));
    assert!(only_line(&place.verify(), 1).contains("in use by another process"));
    let missing = run(&["backup", "--data-dir", &text(&place.backup), "--to", &text(&place.second.join("b"))]);
    assert!(only_line(&missing, 1).contains("backup.db"));
    // The file of a server that runs is no backup: the newest commits are in its log.
    let file = text(&place.data(""));
    let raw = run(&["restore", "--from", &file, "--data-dir", &text(&place.second.join("other"))]);
    assert!(only_line(&raw, 1).contains("take a backup"));
    server.end("TERM").unwrap();
    assert!(only_line(&run(&["backup", "--to", "x"]), 2).contains("--data-dir"));
}

/// A flipped byte in the log: the start is refused, and the line names the file and the place.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_log_is_named_by_the_start_and_by_verify() {
    let place = Place::new();
    while_loaded(&place, async |_| {}).await;
    let mut log = std::fs::read(place.data("-wal")).unwrap();
    let whole = log.clone();
    let middle = log.len() / 2;
    log[middle] ^= 1;
    std::fs::write(place.data("-wal"), &log).unwrap();

    let refused = run(&[
        "server",
        "start",
        "--log-level",
        "never",
        "--port",
        "0",
        "--data-dir",
        &text(&place.first.join("data")),
    ]);
    let line = only_line(&refused, 1);
    assert!(line.contains("mainspring.db-wal is damaged at byte"), "{line}");
    assert!(only_line(&place.verify(), 1).contains("mainspring.db-wal is damaged at byte"));
    assert!(only_line(&place.back_up(), 1).contains("mainspring.db-wal is damaged at byte"));
    assert!(!place.backup.exists(), "there is no copy of a damaged file");
    assert!(std::fs::read(place.data("-wal")).unwrap() == log, "nothing was changed");
    std::fs::write(place.data("-wal"), &whole).unwrap();
    said(&place.verify());
}

/// A flipped byte in a row: reading that run fails and names the row, others work, and verify names it too. A restore
/// refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_main_file_is_named_when_read_and_by_verify() {
    let place = Place::new();
    let load = while_loaded(&place, async |_| {}).await;
    let server = Server::start(binary(), &place.first, None).unwrap();
    prove(&Client::connect(server.address()).await.unwrap(), &load).await.unwrap();
    assert_eq!(server.end("TERM").unwrap().code, Some(0));
    said(&place.verify());

    let errands = load.errands();
    let (hurt, errand) = errands.first_key_value().unwrap();
    let mut bytes = std::fs::read(place.data("")).unwrap();
    let signal = errand.signals[0].0.as_bytes();
    // The last place is that of the history; the signal's request id, which begins alike, stands before.
    let places: Vec<usize> = (0..bytes.len() - signal.len())
        .filter(|at| bytes[*at..].starts_with(signal) && bytes[at - 1] == b'"')
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 1] ^= 1;
    }
    std::fs::write(place.data(""), &bytes).unwrap();

    let found = place.verify();
    assert_eq!(found.status.code(), Some(1));
    let lines = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(lines.contains("table History: ") && lines.contains("does not match its checksum"), "{lines}");
    assert!(lines.lines().any(|line| line.starts_with("run ")), "the run is named: {lines}");

    let server = Server::start(binary(), &place.first, None).unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    let refused = client.history(hurt).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::DataLoss, "{refused}");
    for other in errands.keys().skip(1).take(5) {
        client.history(other).await.unwrap();
    }
    server.end("TERM").unwrap();

    said(&place.back_up());
    let line = only_line(&place.restore(), 1);
    assert!(line.contains("is damaged, so nothing was restored"), "{line}");
    assert!(!place.second.join("data/mainspring.db").exists());
}

/// Wherever a byte flips, no row is passed over in silence: either it is found, or everything reads as before.
#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_byte_changes_what_is_read() {
    let place = Place::new();
    let load = while_loaded(&place, async |_| {}).await;
    let server = Server::start(binary(), &place.first, None).unwrap();
    prove(&Client::connect(server.address()).await.unwrap(), &load).await.unwrap();
    server.end("TERM").unwrap();
    let sound = said(&place.verify());
    let whole = std::fs::read(place.data("")).unwrap();
    let (mut found, mut idle) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        std::fs::write(place.data(""), &bytes).unwrap();
        let verified = place.verify();
        if verified.status.code() == Some(1) {
            found += 1;
        } else {
            assert_eq!(said(&verified), sound, "byte {at}");
            idle += 1;
        }
    }
    assert!(found > idle, "{found} found, {idle} in places that hold nothing");
}
