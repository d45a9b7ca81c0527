//! Runs each example that needs no one to stop it, as its user would: the program itself, against a server.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use std::{
    env::consts::EXE_SUFFIX,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use mainspring_server::{Config, Server, Storage, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rig::{PATIENCE, Rig};
use serde_json::json;

#[tokio::test]
async fn hello() {
    assert_eq!(output_of("hello").await, ["Hello, Temporal!"]);
}

#[tokio::test]
async fn order() {
    let expected = [
        "pears: item 1",
        "plums: item 2",
        "figs: Full: an order has at most 2 items",
        "ordered: pears, plums",
        "order-1: pears and plums approved by Ann",
        "order-2: nobody approved it in time",
    ];
    assert_eq!(output_of("order").await, expected);
}

#[tokio::test]
async fn fleet() {
    let expected =
        ["3 nights at the Mill, 27000 cents from card-7 for trip-1", "trip-2 failed: CardDeclined: there is no card"];
    assert_eq!(output_of("fleet").await, expected);
}

#[tokio::test]
async fn encryption() {
    let printed = output_of("encryption").await;
    assert_eq!(printed[0], "with the key: Ann is well");
    assert!(printed[1].starts_with("without it: binary/encrypted, "), "{printed:?}");
    assert!(printed[1].ends_with("key 2026"), "{printed:?}");
}

/// Its server asks for a certificate, so it is one of ours.
#[tokio::test]
async fn mtls() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(at("ca.pem"), ca.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        std::fs::write(at(name).with_extension("pem"), certificate.pem()).unwrap();
        std::fs::write(at(name).with_extension("key"), key.serialize_pem()).unwrap();
    }
    let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)), Storage::Memory);
    config.tls = Some(TlsFiles { cert: at("server.pem"), key: at("server.key"), client_ca: Some(at("ca.pem")) });
    let server = Server::start(config).await.unwrap();
    let mut mtls = Command::new(program("mtls"));
    mtls.args([at("ca.pem"), at("client.pem"), at("client.key")]);
    let printed = lines(mtls.env("TEMPORAL_ADDRESS", server.local_addr().to_string())).await;
    assert_eq!(printed[0], "with a certificate: Hello, Ann!");
    assert!(printed[1].starts_with("without one: cannot reach a server at"), "{printed:?}");
}

/// With itself; `tests/polyglot` lets it meet the other languages.
#[tokio::test]
async fn polyglot() {
    let rig = Rig::start().await;
    let mut worker = Command::new(program("polyglot"));
    let _worker = Running(worker.args(["worker", &rig.address]).stdout(Stdio::null()).spawn().unwrap());
    let printed = lines(Command::new(program("polyglot")).args(["start", &rig.address, "Ada", "Rust"])).await;
    assert_eq!(printed, ["hello Ada from Rust"]);
}

/// What `cargo xtask demo` shows, without the accident.
#[tokio::test]
async fn file_index() {
    let rig = Rig::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [("a.txt", "Some words\n"), ("b.txt", "Some words\n"), ("c.txt", "More and more words\n\n")] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let index = elsewhere.path().join("index.json");
    let _worker = Running(example(&rig, "file_index").arg("worker").stdout(Stdio::null()).spawn().unwrap());
    let printed = lines(example(&rig, "file_index").arg("start").args([folder.path(), &index])).await;
    let summary: serde_json::Value = serde_json::from_str(&printed[0]).unwrap();
    assert_eq!((&summary["files"], &summary["copies"], &summary["lines"]), (&json!(3), &json!(1), &json!(4)));
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    assert_eq!(index["words"]["more"], json!([folder.path().join("c.txt")]));
    assert_eq!(index["words"]["words"].as_array().unwrap().len(), 3);
    let counts = lines(example(&rig, "file_index").arg("count")).await;
    assert!(counts.contains(&"    5 ACTIVITY_TASK_COMPLETED".to_owned()), "{counts:?}");
    assert_eq!(lines(example(&rig, "file_index").arg("show")).await[0], "    1 WORKFLOW_EXECUTION_STARTED");
}

async fn output_of(name: &str) -> Vec<String> {
    let rig = Rig::start().await;
    lines(&mut example(&rig, name)).await
}

/// The lines that a program prints; it must end by itself and without an error.
async fn lines(command: &mut Command) -> Vec<String> {
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let stdout = running.0.stdout.take().unwrap();
    let printed = tokio::task::spawn_blocking(move || std::io::read_to_string(stdout));
    let printed = tokio::time::timeout(PATIENCE, printed).await.expect("it ends").unwrap().unwrap();
    let status = running.0.wait().unwrap();
    assert!(status.success(), "{command:?} did not end well: {status}");
    printed.lines().map(str::to_owned).collect()
}

/// Killed with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn example(rig: &Rig, name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.env("TEMPORAL_ADDRESS", &rig.address).stdin(Stdio::null());
    command
}

/// `cargo test` builds the examples beside the tests, unless it is told to build this test alone.
fn program(example: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().unwrap().parent().unwrap();
    let program = target.join("examples").join(format!("{example}{EXE_SUFFIX}"));
    let built = program.metadata().and_then(|program| program.modified());
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let sources = [examples.join(format!("{example}.rs")), examples.join(example).join("main.rs")];
    let source = sources.iter().find_map(|source| source.metadata().ok()).expect("an example has a source");
    let written = source.modified().unwrap();
    assert!(built.is_ok_and(|built| built >= written), "first: cargo build -p mainspring --examples");
    program
}
