//! The one binary, `mainspring`: reads the command line, runs the command, turns its end into an exit code.
//!
//! The server itself is `mainspring_server`; this crate owns the flags, the log and every line that is printed.
//! Start reading at [`args`] for the flags and at [`start_dev`] for what `mainspring server start-dev` does.
//!
//! Exit codes: 0 after a clean stop, 1 after a failure, 2 for a command line that cannot be understood.

mod args;
mod dynamic_config;
mod logging;
mod one_line;
mod start_dev;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, ServerCommand};

const BAD_FLAGS: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let Command::Server { command: ServerCommand::StartDev(flags) } = cli.command;
    match start_dev::run(&cli.global, &flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&one_line::from_text(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Help and version are asked for and go out whole; anything else is one line, so that a test log shows it at a glance.
fn refuse(error: &clap::Error) -> ExitCode {
    if one_line::is_help(error) {
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(BAD_FLAGS) } else { ExitCode::SUCCESS };
    }
    complain(&one_line::from_clap(error));
    ExitCode::from(BAD_FLAGS)
}

/// A closed stderr must not turn the failure into a panic, so the write's own result is dropped.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "mainspring: {line}");
}
