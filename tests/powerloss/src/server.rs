//! The program as a process on a data directory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::disk::{Disk, Shim};

/// A server process. Killed when dropped.
pub struct Server {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: PathBuf,
    address: String,
}

/// How a server ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// None when it was killed.
    pub code: Option<i32>,
    /// All that it wrote to stderr.
    pub stderr: String,
}

impl Server {
    /// Starts `program` on `folder/data`, on a disk of its own if there is one, without waiting for anything.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(program: &Path, folder: &Path, disk: Option<(&Shim, &Disk)>) -> anyhow::Result<Server> {
        let data = folder.join("data");
        let stderr = folder.join("server.log");
        let mut command = Command::new(program);
        command.args(["server", "start", "--log-level", "warn", "--ip", "127.0.0.1", "--port", "0", "--data-dir"]);
        command.arg(&data).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&stderr).with_context(|| stderr.display().to_string())?);
        if let Some((shim, disk)) = disk {
            shim.preload(&mut command, &data, disk);
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Server { child, stdout, stderr, address: String::new() })
    }

    /// As [`Server::spawn`], and waits until it serves.
    ///
    /// # Errors
    /// When it ends instead; the text is what it wrote to stderr.
    pub fn start(program: &Path, folder: &Path, disk: Option<(&Shim, &Disk)>) -> anyhow::Result<Server> {
        let mut server = Server::spawn(program, folder, disk)?;
        if server.serves()? {
            return Ok(server);
        }
        let ended = server.wait()?;
        bail!("the server did not start (exit code {:?}): {}", ended.code, ended.stderr.trim())
    }

    /// Waits until it serves; false when it ends before.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn serves(&mut self) -> anyhow::Result<bool> {
        let Some(stdout) = &mut self.stdout else { return Ok(false) };
        let mut line = String::new();
        while stdout.read_line(&mut line)? > 0 {
            if let Some(address) = line.strip_prefix("Server:") {
                address.trim().clone_into(&mut self.address);
                return Ok(true);
            }
            line.clear();
        }
        Ok(false)
    }

    /// Where it listens, once it serves.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Kills it, or asks it to stop, and waits for the end.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn end(mut self, signal: &str) -> anyhow::Result<Ended> {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        if !sent.success() && self.child.try_wait()?.is_none() {
            bail!("kill -{signal} failed");
        }
        self.wait()
    }

    /// Waits for the end for as long as that takes.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> anyhow::Result<Ended> {
        if let Some(mut stdout) = self.stdout.take() {
            // It closes when the process ends; what is said until then is of no interest.
            let _ = stdout.read_to_end(&mut Vec::new());
        }
        let status = self.child.wait()?;
        self.ended(status)
    }

    /// Resolves when it has ended by itself; kills it when it has not within the time.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn wait_within(&mut self, patience: Duration) -> anyhow::Result<Ended> {
        let over = tokio::time::Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return self.ended(status);
            }
            if tokio::time::Instant::now() >= over {
                self.child.kill()?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Result<Ended> {
        let stderr = std::fs::read(&self.stderr).with_context(|| self.stderr.display().to_string())?;
        Ok(Ended { code: status.code(), stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
