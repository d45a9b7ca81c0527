//! Load for any server that speaks the Temporal gRPC API, as client and as worker, without an SDK: tasks are answered
//! with fixed commands, so that the server's cost dominates.
//!
//! [`args`] is the command line, [`session`] runs scenarios against one server or several in turn, [`scenario`] holds
//! them, one family a file. [`worker`] and [`rpc`] are what they act with, [`figures`] is what they measure and how it is
//! printed, [`null`] is the server that does next to nothing, [`sdk`] compares worker programs of several SDKs. `README.md` says what the figures mean.

#![expect(
    clippy::disallowed_methods,
    reason = "load is put on real servers in real time, beyond the simulator's reach"
)]

mod args;
mod figures;
mod fsync;
mod load;
mod null;
mod requests;
mod rpc;
mod scenario;
mod sdk;
mod session;
mod worker;

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.threads)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("mainspring-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(options) => session::run(&options).await,
        Command::Sdk(options) => sdk::run(&options).await,
        Command::NullServer(options) => null::serve(&options).await,
        Command::Fsync(options) => {
            say(&fsync::measure(&options)?);
            Ok(())
        }
    }
}

/// A result. A closed stdout must not end a measurement.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Something for the person who watches, beside the results.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A panic elsewhere leaves counters and lists usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
