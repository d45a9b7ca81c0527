//! Starts other programs, waits for them and measures them; the one place in `xtask` that prints and reads a clock.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// `cargo` with `words`, started at the root; the same cargo that runs us.
///
/// What it told us of our own package is left out: the build script of ring looks at such variables, so ring and all that
/// depends on it would be built anew whenever a cargo of ours follows one of the developer's.
pub(crate) fn cargo<I: IntoIterator<Item: AsRef<OsStr>>>(words: I) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs it to its end with our own input and output.
///
/// # Errors
/// When it cannot be started or ends with anything but 0; the text names the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", words_of(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", words_of(command));
    }
    Ok(())
}

/// Runs it unseen and returns what it wrote to stdout; what it wrote to stderr goes into the error.
///
/// # Errors
/// As [`run`].
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", words_of(command)))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("`{}` failed ({}): {}", words_of(command), done.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// One line for the person who watches. A closed stdout must not end the work.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Measures how long something takes.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a developer tool, outside the simulator's reach")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn words_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.toml").exists() && root().join("xtask").is_dir());
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(&mut cargo(["no-such-subcommand"])).unwrap_err().to_string();
        assert!(error.contains("no-such-subcommand"), "{error}");
    }
}
