//! The programs that the demo starts: each is killed when it goes out of scope, so that none outlives the demo.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::run::Stopwatch;

/// Far above what any step takes, so that only a program that hangs meets it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program and the lines that it prints.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Ok(Self { child, lines })
    }

    /// A line that has been printed and not been read, if there is one.
    pub(crate) fn line(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Ends it and returns the lines that were not read.
    pub(crate) fn stop(mut self) -> Vec<String> {
        end(&mut self.child);
        self.lines.iter().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Reads on until a line is the one waited for, and returns it.
///
/// # Errors
/// When the program ends or is silent for too long.
pub(crate) fn wait_for_line(
    process: &Process,
    what: &str,
    mut wanted: impl FnMut(&str) -> bool,
) -> anyhow::Result<String> {
    loop {
        match process.lines.recv_timeout(PATIENCE) {
            Ok(line) if wanted(&line) => return Ok(line),
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the program ended while we waited for {what}"),
            Err(RecvTimeoutError::Timeout) => bail!("no sign of {what} for {} s", PATIENCE.as_secs()),
        }
    }
}

/// The server, on the same port and the same data file at each start.
pub(crate) struct Server {
    child: Child,
    command: Vec<String>,
    port: u16,
    data: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Returns when it takes connections.
    ///
    /// # Errors
    /// When it does not start; the text holds what it said.
    pub(crate) fn start(command: &[String], data: &Path, log: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no free port")?.port();
        let child = spawn(command, port, data, log)?;
        let mut server = Self { child, command: command.to_vec(), port, data: data.to_owned(), log: log.to_owned() };
        server.wait_until_reached()?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// No warning and no time to write anything: SIGKILL.
    ///
    /// # Errors
    /// When it has ended by itself before.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot watch the server")? {
            bail!("the server ended by itself ({status}): {}", self.said());
        }
        end(&mut self.child);
        Ok(())
    }

    /// # Errors
    /// As [`Server::start`].
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.command, self.port, &self.data, &self.log)?;
        self.wait_until_reached()
    }

    fn wait_until_reached(&mut self) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait().context("cannot watch the server")? {
                bail!("the server did not start ({status}): {}", self.said());
            }
            if watch.elapsed() > PATIENCE {
                bail!("the server cannot be reached: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(command: &[String], port: u16, data: &Path, log: &Path) -> anyhow::Result<Child> {
    let (program, words) = command.split_first().context("the server's command is empty")?;
    let log = std::fs::File::options().create(true).append(true).open(log).context("cannot open the server's log")?;
    Command::new(program)
        .args(words)
        .args(["--headless", "--ip", "127.0.0.1", "--port", &port.to_string(), "--db-filename"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot open the server's log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}

/// It may have ended by itself already, so the results are dropped.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
