//! The simulator's command line: which seeds, and what to print of them.

#[cfg(planted)]
mod planted;

use std::{
    io::Write,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use clap::Parser;
use mainspring_sim::{RARE, Report, Sometimes, run};

#[derive(Debug, Parser)]
#[command(name = "mainspring-sim", about = "Runs seeds of the deterministic simulation.")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first of them.
    #[arg(long, alias = "from", default_value_t = 0)]
    seed: u64,
    /// Print every line of the trace.
    #[arg(long)]
    trace: bool,
    /// Run each seed twice and compare.
    #[arg(long)]
    twice: bool,
    /// Go on after a failure and count them all.
    #[arg(long)]
    keep_going: bool,
    /// Seeds at once, each in a thread of its own.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Put this bug in on purpose; 0 tries them all and says which seed finds each.
    #[cfg(planted)]
    #[arg(long)]
    planted: Option<u8>,
}

/// Seeds from which on every fact must have been seen.
const ENOUGH: u64 = 2_000;

/// What the threads have found together.
#[derive(Default)]
struct Found {
    sometimes: Sometimes,
    steps: Vec<u64>,
    failed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(planted)]
    if arguments.planted == Some(0) {
        return planted::find_all(&arguments);
    }
    let found = run_all(&arguments);
    if found.failed > 0 && !arguments.keep_going {
        return ExitCode::FAILURE;
    }
    if summarize(found) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(seed: u64, with_trace: bool, arguments: &Arguments) -> Report {
    #[cfg(planted)]
    mainspring_rt::planted::set(arguments.planted.unwrap_or(0));
    #[cfg(not(planted))]
    let _ = arguments;
    run(seed, with_trace)
}

fn run_all(arguments: &Arguments) -> Found {
    let found = Mutex::new(Found::default());
    each_seed(arguments, |seed| {
        let mut report = run_one(seed, arguments.trace, arguments);
        if arguments.twice && run_one(seed, arguments.trace, arguments).fingerprint != report.fingerprint {
            report.failure = Some("the same seed gave two traces".to_owned());
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.sometimes.add(&report.sometimes);
        found.steps.push(report.steps);
        report.trace.iter().for_each(|line| say(line));
        if report.failure.is_some() && (found.failed == 0 || arguments.keep_going) {
            found.failed += 1;
            tell(&report, arguments);
        }
        report.failure.is_none() || arguments.keep_going
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Gives each seed to a thread, in order, until one says that it is enough.
fn each_seed(arguments: &Arguments, go_on: impl Fn(u64) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(arguments.seed), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seed + arguments.seeds {
                        return;
                    }
                    if !go_on(seed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// A failure: first how to repeat it, then what it is and what went before.
fn tell(report: &Report, arguments: &Arguments) {
    const LAST: usize = 40;
    say(&format!("cargo xtask sim --seed {}{}", report.seed, planted_words(arguments)));
    say(report.failure.as_deref().unwrap_or_default());
    if !arguments.trace && !arguments.keep_going {
        let lines = run_one(report.seed, true, arguments).trace;
        lines[lines.len().saturating_sub(LAST)..].iter().for_each(|line| say(line));
    }
}

#[cfg(planted)]
fn planted_words(arguments: &Arguments) -> String {
    arguments.planted.map(|number| format!(" --planted {number}")).unwrap_or_default()
}

#[cfg(not(planted))]
fn planted_words(_: &Arguments) -> &'static str {
    ""
}

/// Whether all is well.
fn summarize(mut found: Found) -> bool {
    for (fact, count) in found.sometimes.counts() {
        say(&format!("{count:>10}  {fact}"));
    }
    found.steps.sort_unstable();
    let steps = &found.steps;
    let median = steps.get(steps.len() / 2).copied().unwrap_or(0);
    say(&format!("steps of a seed: median {median}, most {}", steps.last().copied().unwrap_or(0)));
    let unseen = found.sometimes.counts().filter(|(fact, count)| *count == 0 && !RARE.contains(fact));
    let unseen: Vec<&str> = unseen.map(|(fact, _)| fact).collect();
    if steps.len() as u64 >= ENOUGH && !unseen.is_empty() {
        say(&format!("never seen: {}", unseen.join(", ")));
        return false;
    }
    say(&format!("{} seeds, {} failed", steps.len(), found.failed));
    found.failed == 0
}

fn say(line: &str) {
    // A closed stdout must not end the work.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
