//! The binary as people meet it: how it starts, how it stops, and what it says when it cannot start.

mod program;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use program::{Running, only_line};

fn mainspring(flags: &[&str]) -> Command {
    let mut command = program::mainspring(&["server", "start-dev", "--headless", "--ip", "127.0.0.1"]);
    command.args(flags);
    command
}

fn start(flags: &[&str]) -> Running {
    let mut command = mainspring(flags);
    command.args(["--port", "0"]);
    Running::start(command)
}

fn file(directory: &tempfile::TempDir) -> String {
    directory.path().join("data.db").display().to_string()
}

fn stops_cleanly_on(signal: &str) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut server = start(&["--db-filename", &file(&directory)]);
    TcpStream::connect(&server.address).expect("it listens where it says");
    server.signal(signal);
    assert_eq!(server.exit_code(), Some(0));
    assert!(Path::new(&file(&directory)).exists());
    TcpStream::connect(&server.address).expect_err("nothing listens any more");
}

#[test]
fn sigterm_stops_it_cleanly() {
    stops_cleanly_on("TERM");
}

#[test]
fn sigint_stops_it_cleanly() {
    stops_cleanly_on("INT");
}

/// A stop must leave nothing behind that keeps the next start from the file.
#[test]
fn a_data_file_opens_again_after_a_stop_and_after_a_kill() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut stopped = start(&["--db-filename", &file(&directory)]);
    stopped.signal("TERM");
    assert_eq!(stopped.exit_code(), Some(0));
    let mut killed = start(&["--db-filename", &file(&directory)]);
    killed.signal("KILL");
    assert_eq!(killed.exit_code(), None);
    start(&["--db-filename", &file(&directory)]);
}

#[test]
fn a_port_in_use_is_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = only_line(&mainspring(&["--port", &port]).output().unwrap(), 1);
    assert!(line.contains(&port), "{line}");
}

#[test]
fn a_locked_data_file_is_one_line_that_names_it() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let _owner = start(&["--db-filename", &file(&directory)]);
    let second = mainspring(&["--port", "0", "--db-filename", &file(&directory)]).output().unwrap();
    let line = only_line(&second, 1);
    assert!(line.contains("data.db"), "{line}");
}

#[test]
fn a_data_file_in_a_missing_folder_is_one_line_that_names_it() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let path = directory.path().join("missing").join("data.db").display().to_string();
    let line = only_line(&mainspring(&["--port", "0", "--db-filename", &path]).output().unwrap(), 1);
    assert!(line.contains("missing"), "{line}");
}

#[test]
fn a_bad_flag_is_one_line_that_names_it() {
    let line = only_line(&mainspring(&["--bogus"]).output().unwrap(), 2);
    assert!(line.contains("--bogus") && line.contains("--help"), "{line}");
}

#[test]
fn what_is_not_there_yet_is_said_and_does_not_keep_it_from_starting() {
    let mut server = start(&["--http-port", "1", "--dynamic-config-value", "no.such.key=1"]);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let said = server.complaint();
    assert!(said.contains("no HTTP API yet") && said.contains("no.such.key"), "{said}");
}

#[test]
fn the_log_can_be_silenced() {
    let mut server = start(&["--log-level", "never", "--dynamic-config-value", "no.such.key=1"]);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(server.complaint(), "");
}

#[test]
fn version_and_help_are_printed_whole() {
    let version = Command::new(env!("CARGO_BIN_EXE_mainspring")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), format!("mainspring {}", env!("CARGO_PKG_VERSION")));
    let help = mainspring(&["--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("--db-filename"));
}
