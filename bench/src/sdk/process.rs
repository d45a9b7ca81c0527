//! A worker program of some SDK, running.

use std::path::PathBuf;
use std::process::Stdio;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// A program by the name that it has in the table.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    path: PathBuf,
}

impl FromStr for Program {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').with_context(|| format!("{text} is not NAME=PATH"))?;
        Ok(Program { name: name.to_owned(), path: path.into() })
    }
}

/// A worker process; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    child: Child,
}

impl Program {
    /// Starts it as a worker of a task queue.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn worker(&self, address: &str, queue: &str, mode: Mode) -> Result<WorkerProcess> {
        let mut command = Command::new(&self.path);
        command.arg("worker").arg(queue).env("TEMPORAL_ADDRESS", address).kill_on_drop(true);
        if mode == Mode::Verifying {
            command.arg("verify");
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(WorkerProcess { child: child.with_context(|| format!("cannot start {}", self.path.display()))? })
    }

    /// Lets it do one thing and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started, or fails.
    pub(crate) async fn output(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.path).args(arguments).kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("cannot start {}", self.path.display()))?;
        if !output.status.success() {
            bail!("{} failed: {}", self.name, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What a worker is to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As in production.
    Usual,
    /// As in tests: does each task twice, where the SDK can.
    Verifying,
}

impl WorkerProcess {
    /// # Errors
    /// When it has ended.
    pub(crate) fn pid(&mut self) -> Result<u32> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the worker ended by itself: {status}");
        }
        self.child.id().context("the worker ended by itself")
    }
}
