//! `cargo xtask crash`: kills the server again and again under load, or takes the power from it, and checks that nothing
//! acknowledged is lost.

use std::ffi::OsString;
use std::process::Command;

use clap::Args;

use crate::run::{cargo, root, run as run_command, say};
use crate::{e2e, python};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Take the power instead: what was not synced is lost or torn. On Linux alone.
    #[arg(long)]
    power_loss: bool,
    /// For `crash_test.py`, such as `--workflows 2000 --kills 40 --seed 7`; for the power loss, such as `--rounds 300
    /// --seed 7`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// # Errors
/// When the build fails or something was lost; the test has printed its seed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.power_loss {
        return power_loss(&options.arguments);
    }
    let environment = e2e::prepare()?;
    let mut crash = environment.python();
    crash.env("MAINSPRING_BIN", e2e::server_program()?);
    run_command(crash.arg("crash_test.py").args(&options.arguments).current_dir(root().join(python::TESTS)))
}

/// What every change goes through; hundreds of rounds belong into the night.
///
/// # Errors
/// As [`run`].
pub(crate) fn power_loss_of_a_change() -> anyhow::Result<()> {
    power_loss(&["--rounds=30".into(), "--control-rounds=2".into()])
}

fn power_loss(arguments: &[OsString]) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        say("power loss: SKIPPED, it is simulated on Linux alone");
        return Ok(());
    }
    run_command(&mut cargo(["build", "--package=mainspring-cli", "--package=mainspring-powerloss"]))?;
    let server = e2e::server_program()?;
    let mut rounds = Command::new(server.with_file_name("powerloss"));
    run_command(rounds.arg("--server").arg(server).args(arguments))
}
