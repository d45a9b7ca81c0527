//! `cargo xtask e2e`: builds the server and runs the end-to-end tests of `tests/python` with the real Python SDK.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::python::{self, Environment};
use crate::run::{cargo, root, run as run_command};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// For pytest, such as `-k signal` or `-m crash`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pytest: Vec<OsString>,
}

/// # Errors
/// When the build, the installation or a test fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let environment = prepare()?;
    let mut pytest = environment.python();
    pytest.args(["-m", "pytest"]).args(&options.pytest).current_dir(root().join(python::TESTS));
    if std::env::var_os("MAINSPRING_BIN").is_none() {
        pytest.env("MAINSPRING_BIN", server_program()?);
    }
    run_command(&mut pytest)
}

/// The server's program and the Python packages that its tests need.
///
/// # Errors
/// When the build or the installation fails.
pub(crate) fn prepare() -> anyhow::Result<Environment> {
    run_command(&mut cargo(["build", "--package=mainspring-cli"]))?;
    python::environment()
}

/// What [`prepare`] built: it lies beside our own program, wherever the target directory is.
///
/// # Errors
/// When our own path is unknown.
pub(crate) fn server_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find our own program")?;
    Ok(own.with_file_name(format!("mainspring{}", std::env::consts::EXE_SUFFIX)))
}
