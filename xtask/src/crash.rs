//! `cargo xtask crash`: kills the server again and again under load and checks that nothing acknowledged is lost.

use std::ffi::OsString;

use clap::Args;

use crate::run::{root, run as run_command};
use crate::{e2e, python};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For `crash_test.py`, such as `--workflows 2000 --kills 40 --seed 7`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// # Errors
/// When the build fails or something was lost; the test has printed its seed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let environment = e2e::prepare()?;
    let mut crash = environment.python();
    crash.env("MAINSPRING_BIN", e2e::server_program()?);
    run_command(crash.arg("crash_test.py").args(&options.arguments).current_dir(root().join(python::TESTS)))
}
