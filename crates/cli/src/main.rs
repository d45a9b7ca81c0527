//! The one binary, `mainspring`: reads the command line, runs the command, turns its end into an exit code.
//!
//! The server itself is `mainspring_server`; this crate owns the flags, the log and every line that is printed.
//! Start reading at [`args`] for the flags, and at [`start_dev`] and [`start`] for what the two commands do with them;
//! [`backup`] and [`verify`] are about the data of a server.
//!
//! Exit codes: 0 after a clean stop, 1 after a failure, 2 for a command line or a configuration file that cannot
//! be understood.

mod args;
mod backup;
mod config_file;
mod data_dir;
mod dynamic_config;
mod logging;
mod one_line;
mod serving;
mod start;
mod start_dev;
mod verify;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{AdminCommand, Cli, Command, ServerCommand};

const BAD_FLAGS: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(args::words(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let ended = match cli.command {
        Command::Server { command: ServerCommand::StartDev(flags) } => start_dev::run(&cli.global, &flags),
        Command::Server { command: ServerCommand::Start(flags) } => start::run(&cli.global, &flags),
        Command::Backup(flags) => backup::back_up(&flags),
        Command::Restore(flags) => backup::restore(&flags),
        Command::Admin { command: AdminCommand::Verify(flags) } => verify::run(&flags),
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
    let known = ["server start", "backup", "restore", "admin verify"];
    let asked = known.iter().find(|command| std::env::args().any(|word| command.split(' ').next_back() == Some(&word)));
    complain(&one_line::from_clap(error, asked.unwrap_or(&"server start-dev")));
    ExitCode::from(BAD_FLAGS)
}

/// What a command that is not a server has to say. A closed stdout is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A closed stderr must not turn the failure into a panic, so the write's own result is dropped.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "mainspring: {line}");
}
