//! What developers and CI run, as `cargo xtask <command>`; needs rustup, a C compiler and Python 3, nothing else. The
//! end-to-end tests of the other languages run where Node, Go or Maven are installed.
//!
//! Each command has a file of its name. [`run`] starts other programs, [`python`] makes their virtual environment.

mod bench;
mod ci;
mod crash;
mod demo;
mod e2e;
mod fuzz;
mod python;
mod run;
mod sim;
mod tidy;
mod workspace;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What developers and CI run.")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put load on the server, alone or beside Temporal's own and the null server.
    Bench(bench::Options),
    /// Everything a change must pass: format, lints, docs, house rules, simulation, tests, end-to-end tests.
    Ci(ci::Options),
    /// Index a folder with a real worker, kill the server in the middle, and finish.
    Demo(demo::Options),
    /// The end-to-end tests with the SDKs of Python, TypeScript, Go and Java; those without their tools are skipped.
    E2e(e2e::Options),
    /// Kill the server again and again under load, or take its power; what follows goes to the test's own program.
    Crash(crash::Options),
    /// Throw bytes at decoders; needs `cargo fuzz`.
    Fuzz(fuzz::Options),
    /// Run the simulator; `--seed` and `--seeds` say which runs.
    Sim(sim::Options),
    /// Check the house rules that no compiler checks.
    Tidy,
}

fn main() -> ExitCode {
    if let Some(code) = sim::as_rustc() {
        return code;
    }
    let done = match Xtask::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Ci(options) => ci::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::E2e(options) => e2e::run(&options),
        Command::Crash(options) => crash::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Tidy => tidy::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
