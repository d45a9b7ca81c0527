//! `cargo xtask demo`: a real worker indexes a folder; the server is killed in the middle and started again.
//!
//! The worker, the workflow and the client are those of `sdk/mainspring/examples/file_index`; this file only plays the
//! part of the accident. [`process`] holds the programs it starts.

mod process;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::demo::process::{Process, Server, wait_for_line};
use crate::e2e;
use crate::run::{Stopwatch, cargo, output, root, run as run_command, say};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder to index [default: this repository].
    folder: Option<PathBuf>,
    /// Another server's command line, up to its own flags, such as `temporal server start-dev`.
    #[arg(long, hide = true)]
    server: Option<String>,
}

const EXAMPLE: &str = "file_index";
/// As the example has it.
const WORKFLOW_ID: &str = "file-index-1";

/// # Errors
/// When a program cannot be started, or the index is not finished after the second start.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let stage = Stage::set(options)?;
    let mut server = Server::start(&stage.server, &stage.data, &stage.log)?;
    let address = server.address();
    say(&format!("1. a server on {address} keeps everything in {}", relative(&stage.data)));

    let worker = Process::start(stage.program(&address).arg("worker"))?;
    wait_for_line(&worker, "the worker to listen", |line| line == "listening")?;
    let folder = stage.folder.display();
    say(&format!("2. a worker listens; workflow {WORKFLOW_ID} is to index {folder}"));
    let start = Process::start(stage.program(&address).arg("start").args([&stage.folder, &stage.index]))?;

    let mut tally = Tally::default();
    wait_for_line(&worker, "a third of the files", |line| tally.take(line) && tally.runs >= tally.listed.div_ceil(3))?;
    ensure!(tally.listed > 0, "there is no file in {folder}; name another folder: cargo xtask demo FOLDER");
    server.kill()?;
    let watch = Stopwatch::start();
    say(&format!("3. {} of {} files are hashed, and the server is killed: SIGKILL", tally.runs, tally.listed));
    ensure!(start.line().is_none(), "the workflow was finished before the kill; name a larger folder");

    server.start_again()?;
    say("4. it starts again on the same data file; the worker never stopped asking");
    let result = wait_for_line(&start, "the result", |line| line.starts_with('{'))?;
    let seconds = watch.elapsed().as_secs_f64();
    say(&format!("5. the workflow is done, {seconds:.1} s after the kill:\n"));
    print_result(&result)?;

    let count = output(stage.program(&address).arg("count"))?;
    for line in worker.stop() {
        tally.take(&line);
    }
    say(&format!("\n{}\n\nIts history:\n{}", tally.verdict(), count.trim_end()));
    say(&stage.advice());
    Ok(())
}

/// What the run needs, made before the first line of the play.
struct Stage {
    example: PathBuf,
    server: Vec<String>,
    folder: PathBuf,
    data: PathBuf,
    log: PathBuf,
    index: PathBuf,
}

impl Stage {
    /// The data directory of the last run is removed, so that each run starts from nothing.
    fn set(options: &Options) -> anyhow::Result<Self> {
        let folder = options.folder.clone().unwrap_or_else(root);
        let folder = folder.canonicalize().with_context(|| format!("there is no folder {}", folder.display()))?;
        let server = match &options.server {
            Some(command) => command.split_whitespace().map(str::to_owned).collect(),
            None => own_server()?,
        };
        let example = built_example()?;
        let place = root().join("target/demo");
        if place.exists() {
            std::fs::remove_dir_all(&place).with_context(|| format!("cannot empty {}", place.display()))?;
        }
        std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let [data, log, index] = ["data.db", "server.log", "index.json"].map(|name| place.join(name));
        Ok(Self { example, server, folder, data, log, index })
    }

    fn program(&self, address: &str) -> Command {
        let mut command = Command::new(&self.example);
        command.env("TEMPORAL_ADDRESS", address);
        command
    }

    fn advice(&self) -> String {
        let server = self.server.iter().map(|word| relative(Path::new(word))).collect::<Vec<_>>().join(" ");
        let [example, data, index] = [&self.example, &self.data, &self.index].map(|path| relative(path));
        format!(
            "\nThe index is {index}. To look at the history event by event, start the server again in one terminal and \
             ask it in another:\n  {server} --db-filename {data}\n  {example} show"
        )
    }
}

fn own_server() -> anyhow::Result<Vec<String>> {
    e2e::build_server()?;
    let program = e2e::server_program()?.display().to_string();
    Ok(vec![program, "server".to_owned(), "start-dev".to_owned()])
}

fn built_example() -> anyhow::Result<PathBuf> {
    run_command(&mut cargo(["build", "--package=mainspring", "--example", EXAMPLE]))?;
    Ok(e2e::server_program()?.with_file_name("examples").join(format!("{EXAMPLE}{}", std::env::consts::EXE_SUFFIX)))
}

/// As seen from the root, which is where the person is.
fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// What the worker has said about its work.
#[derive(Default)]
struct Tally {
    listed: usize,
    runs: usize,
    files: std::collections::BTreeSet<String>,
}

impl Tally {
    /// Returns false for lines about something else.
    fn take(&mut self, line: &str) -> bool {
        if let Some(listed) = line.strip_prefix("listed ") {
            self.listed = listed.parse().unwrap_or(0);
            return self.listed == 0;
        }
        let mut words = line.splitn(3, ' ');
        let (Some("hashed"), Some(_attempt), Some(path)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        self.runs += 1;
        self.files.insert(path.to_owned());
        true
    }

    fn verdict(&self) -> String {
        let (files, runs) = (self.files.len(), self.runs);
        match runs - files {
            0 => format!("{files} files took {runs} activity runs: nothing ran twice."),
            more => {
                format!("{files} files took {runs} activity runs: {more} were under way at the kill and ran again.")
            }
        }
    }
}

fn print_result(result: &str) -> anyhow::Result<()> {
    let Value::Object(fields) = serde_json::from_str(result).with_context(|| format!("not a result: {result}"))? else {
        bail!("not a result: {result}");
    };
    for (name, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), |text| relative(Path::new(text)));
        say(&format!("   {name:<11} {value}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_tells_a_repeat_from_a_first_run() {
        let mut tally = Tally::default();
        assert!(!tally.take("listening"));
        assert!(!tally.take("listed 2"));
        for line in ["hashed 1 a b.rs", "hashed 1 c.rs", "hashed 2 c.rs"] {
            assert!(tally.take(line));
        }
        assert_eq!((tally.listed, tally.runs, tally.files.len()), (2, 3, 2));
        assert!(tally.verdict().contains("1 were under way"), "{}", tally.verdict());
    }

    #[test]
    fn an_empty_folder_is_noticed_at_once() {
        assert!(Tally::default().take("listed 0"));
    }
}
