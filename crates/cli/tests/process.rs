//! The binary as people meet it: how it starts, how it stops, and what it says when it cannot start.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Far above what any step takes, so that only a process that hangs meets it.
const PATIENCE: Duration = Duration::from_secs(30);

fn mainspring(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1"]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server that has said where it listens. Killed when dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let mut child = mainspring(flags).args(["--port", "0"]).spawn().expect("the binary starts");
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut running = Self { child, lines, address: String::new() };
        running.address = running.wait_for_address();
        running
    }

    fn wait_for_address(&mut self) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("Server:") {
                        return address.trim().to_owned();
                    }
                }
                Err(error) => panic!("no address ({error}): {}", self.complaint()),
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits until stdout closes, which it does when the process ends, and returns the exit code.
    fn exit_code(&mut self) -> Option<i32> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("it has ended").code(),
                Err(RecvTimeoutError::Timeout) => panic!("the server does not stop"),
            }
        }
    }

    fn complaint(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one line on stderr of a process that must have ended with `code`.
fn only_line(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].starts_with("mainspring: "), "{stderr}");
    lines[0].to_owned()
}

fn file(directory: &tempfile::TempDir) -> String {
    directory.path().join("data.db").display().to_string()
}

fn stops_cleanly_on(signal: &str) {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let mut server = Running::start(&["--db-filename", &file(&directory)]);
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
    let mut stopped = Running::start(&["--db-filename", &file(&directory)]);
    stopped.signal("TERM");
    assert_eq!(stopped.exit_code(), Some(0));
    let mut killed = Running::start(&["--db-filename", &file(&directory)]);
    killed.signal("KILL");
    assert_eq!(killed.exit_code(), None);
    Running::start(&["--db-filename", &file(&directory)]);
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
    let _owner = Running::start(&["--db-filename", &file(&directory)]);
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
    let mut server = Running::start(&["--http-port", "1", "--dynamic-config-value", "no.such.key=1"]);
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let said = server.complaint();
    assert!(said.contains("no HTTP API yet") && said.contains("no.such.key"), "{said}");
}

#[test]
fn the_log_can_be_silenced() {
    let mut server = Running::start(&["--log-level", "never", "--dynamic-config-value", "no.such.key=1"]);
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
