//! The simulator's command line: which seeds, and what to print of them.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use mainspring_sim::{Options, Planted, RARE, Report, Sometimes, run};

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
    /// Put a bug in on purpose.
    #[arg(long)]
    planted: Option<String>,
}

/// Seeds from which on every fact must have been seen.
const ENOUGH: u64 = 1_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let planted = arguments.planted.as_deref().map(Planted::by_name);
    if planted == Some(None) {
        say(&format!("there is no such bug; there are {:?}", Planted::ALL));
        return ExitCode::FAILURE;
    }
    let options = Options { planted: planted.flatten(), whole_trace: arguments.trace };
    let mut sometimes = Sometimes::default();
    let mut steps = Vec::new();
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let report = run(seed, options);
        if arguments.twice && run(seed, options).fingerprint != report.fingerprint {
            say(&format!("cargo xtask sim --seed {seed}\nthe same seed gave two traces"));
            return ExitCode::FAILURE;
        }
        if arguments.trace {
            report.trace.iter().for_each(|line| say(line));
        }
        if report.failure.is_some() {
            failed += 1;
            tell(&report, &arguments);
            if !arguments.keep_going {
                return ExitCode::FAILURE;
            }
        }
        sometimes.add(&report.sometimes);
        steps.push(report.steps);
    }
    summarize(&sometimes, &mut steps);
    let unseen = sometimes.counts().filter(|(fact, count)| *count == 0 && !RARE.contains(fact));
    let unseen: Vec<&str> = unseen.map(|(fact, _)| fact).collect();
    if arguments.seeds >= ENOUGH && !unseen.is_empty() {
        say(&format!("never seen: {}", unseen.join(", ")));
        return ExitCode::FAILURE;
    }
    say(&format!("{} seeds, {failed} failed", arguments.seeds));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A failure: first how to repeat it, then what it is and what went before.
fn tell(report: &Report, arguments: &Arguments) {
    let planted = arguments.planted.as_ref().map(|bug| format!(" --planted {bug}")).unwrap_or_default();
    say(&format!("cargo xtask sim --seed {}{planted}", report.seed));
    say(report.failure.as_deref().unwrap_or_default());
    if !arguments.trace && !arguments.keep_going {
        report.trace.iter().for_each(|line| say(line));
    }
}

fn summarize(sometimes: &Sometimes, steps: &mut [u64]) {
    for (fact, count) in sometimes.counts() {
        say(&format!("{count:>10}  {fact}"));
    }
    steps.sort_unstable();
    let median = steps.get(steps.len() / 2).copied().unwrap_or(0);
    say(&format!("steps of a seed: median {median}, most {}", steps.last().copied().unwrap_or(0)));
}

fn say(line: &str) {
    // A closed stdout must not end the work.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
