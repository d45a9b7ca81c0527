//! `cargo xtask sim`: runs the simulator, optimised, on the seeds that are asked for; or proves that it finds bugs.
//!
//! Bugs that are put in on purpose exist only in builds with `--cfg planted`. Such a build shares the libraries of others
//! with the usual one and keeps our own packages beside them: cargo compiles those through [`as_rustc`].

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::Context;
use clap::Args;

use crate::run::{cargo, run as run_command};

/// Seeds that every change runs; more of them belong into the night. Also those in which a planted bug must be found.
const SEEDS_OF_A_CHANGE: u64 = 2_000;
/// Says to our own program that cargo takes it for rustc.
const AS_RUSTC: &str = "MAINSPRING_XTASK_AS_RUSTC";

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// How many seeds to run, from the first one up [default: 2,000; with --seed: 1].
    #[arg(long)]
    pub(crate) seeds: Option<u64>,
    /// The first seed; alone it repeats that one run.
    #[arg(long, visible_alias = "from")]
    pub(crate) seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Run each seed twice and compare the traces.
    #[arg(long)]
    pub(crate) twice: bool,
    /// Go on after a failure.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Seeds at once [default: one a core].
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Put a bug in on purpose, by number; 0 tries them all and fails unless each is found.
    #[arg(long)]
    pub(crate) planted: Option<u8>,
}

/// # Errors
/// When a seed breaks an invariant; the simulator has printed how to repeat it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut command = cargo(["run", "--profile=sim", "--quiet", "--package=mainspring-sim", "--"]);
    command.args(arguments(options));
    if options.planted.is_some() {
        let own = std::env::current_exe().context("cannot find our own program")?;
        command.env("RUSTC_WORKSPACE_WRAPPER", own).env(AS_RUSTC, "1");
    }
    run_command(&mut command)
}

/// The seeds of a change, then the planted bugs.
///
/// # Errors
/// As [`run`]; and when a planted bug is not found.
pub(crate) fn run_for_ci() -> anyhow::Result<()> {
    run(&Options::default())?;
    run(&Options { planted: Some(0), ..Options::default() })
}

fn arguments(options: &Options) -> Vec<String> {
    let seeds = options.seeds.unwrap_or(if options.seed.is_some() { 1 } else { SEEDS_OF_A_CHANGE });
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut words = vec![format!("--seeds={seeds}"), format!("--threads={threads}")];
    words.extend(options.seed.map(|seed| format!("--seed={seed}")));
    words.extend(options.planted.map(|bug| format!("--planted={bug}")));
    for (given, word) in [(options.trace, "--trace"), (options.twice, "--twice"), (options.keep_going, "--keep-going")]
    {
        words.extend(given.then(|| word.to_owned()));
    }
    words
}

/// Compiles one of our packages with `--cfg planted`, if it is cargo who called: with rustc and its arguments.
pub(crate) fn as_rustc() -> Option<ExitCode> {
    std::env::var_os(AS_RUSTC)?;
    let mut words = std::env::args_os().skip(1);
    let rustc: OsString = words.next()?;
    let status = Command::new(rustc).args(words).args(["--cfg", "planted"]).status();
    let done = status.is_ok_and(|status| status.success());
    Some(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_alone_is_one_run() {
        let one = Options { seed: Some(7), threads: Some(1), ..Options::default() };
        assert_eq!(arguments(&one), ["--seeds=1", "--threads=1", "--seed=7"]);
        let both = Options { seeds: Some(9), seed: Some(7), threads: Some(3), trace: true, ..Options::default() };
        assert_eq!(arguments(&both), ["--seeds=9", "--threads=3", "--seed=7", "--trace"]);
        assert_eq!(arguments(&Options { threads: Some(2), ..Options::default() }), ["--seeds=2000", "--threads=2"]);
    }
}
