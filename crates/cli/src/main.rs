//! The one binary, `mainspring`: reads the command line, runs the command, turns its end into an exit code.
//!
//! The server itself is `mainspring_server`; this crate owns the flags, the log and every line that is printed.
//! Start reading at [`args`] for the flags, and at [`start_dev`] and [`start`] for what the two commands do with them.
//!
//! Exit codes: 0 after a clean stop, 1 after a failure, 2 for a command line or a configuration file that cannot
//! be understood.

mod args;
mod config_file;
mod data_dir;
mod dynamic_config;
mod logging;
mod one_line;
mod serving;
mod start;
mod start_dev;

use std::fmt;
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
    let Command::Server { command } = cli.command;
    let ended = match command {
        ServerCommand::StartDev(flags) => start_dev::run(&cli.global, &flags),
        ServerCommand::Start(flags) => start::run(&cli.global, &flags),
    };
    let Err(error) = ended else { return ExitCode::SUCCESS };
    complain(&one_line::from_text(&format!("{error:#}")));
    if error.is::<Misuse>() { ExitCode::from(BAD_FLAGS) } else { ExitCode::FAILURE }
}

/// A command line or a configuration file asks for what cannot be. One line that says what to do.
#[derive(Debug)]
struct Misuse(String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

/// Help and version are asked for and go out whole; anything else is one line, so that a test log shows it at a glance.
fn refuse(error: &clap::Error) -> ExitCode {
    if one_line::is_help(error) {
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(BAD_FLAGS) } else { ExitCode::SUCCESS };
    }
    let command = if std::env::args().any(|word| word == "start") { "start" } else { "start-dev" };
    complain(&one_line::from_clap(error, command));
    ExitCode::from(BAD_FLAGS)
}

/// A closed stderr must not turn the failure into a panic, so the write's own result is dropped.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "mainspring: {line}");
}
