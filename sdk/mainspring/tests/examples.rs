//! Runs each example that needs no one to stop it, as its user would: the program itself, against a server.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use std::{
    env::consts::EXE_SUFFIX,
    path::PathBuf,
    process::{Command, Stdio},
};

use rig::{PATIENCE, Rig};

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

/// The lines that an example prints; it must end by itself and without an error.
async fn output_of(example: &str) -> Vec<String> {
    let rig = Rig::start().await;
    let mut command = Command::new(program(example));
    command.env("TEMPORAL_ADDRESS", &rig.address).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let stdout = running.stdout.take().unwrap();
    let printed = tokio::task::spawn_blocking(move || std::io::read_to_string(stdout));
    let printed = tokio::time::timeout(PATIENCE, printed).await;
    if printed.is_err() {
        running.kill().unwrap();
    }
    let status = running.wait().unwrap();
    assert!(status.success(), "{example} did not end well: {status}");
    printed.unwrap().unwrap().unwrap().lines().map(str::to_owned).collect()
}

/// `cargo test` builds the examples beside the tests, unless it is told to build this test alone.
fn program(example: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().unwrap().parent().unwrap();
    let program = target.join("examples").join(format!("{example}{EXE_SUFFIX}"));
    let built = program.metadata().and_then(|program| program.modified());
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{example}.rs"));
    let written = source.metadata().unwrap().modified().unwrap();
    assert!(built.is_ok_and(|built| built >= written), "first: cargo build -p mainspring --examples");
    program
}
