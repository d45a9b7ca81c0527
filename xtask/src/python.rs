//! The virtual environment `tests/python/.venv`, made once and again when the list of packages changes.
//!
//! Some systems ship Python without `ensurepip` (Debian without python3-venv). There the environment is made without
//! pip, and the system's pip installs into it from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::{output, root, run, say};

/// The end-to-end tests' folder, from the root.
pub(crate) const TESTS: &str = "tests/python";

/// A virtual environment that holds the packages of `requirements.txt`.
pub(crate) struct Environment {
    directory: PathBuf,
}

impl Environment {
    /// Its interpreter, ready to take arguments. Byte code goes nowhere, so that the tree stays clean.
    pub(crate) fn python(&self) -> Command {
        let mut command = Command::new(self.interpreter());
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    pub(crate) fn interpreter(&self) -> PathBuf {
        let name = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        self.directory.join(name)
    }
}

/// Makes the environment unless it stands and fits.
///
/// # Errors
/// When there is no Python 3, no pip, or the packages cannot be installed.
pub(crate) fn environment() -> anyhow::Result<Environment> {
    let tests = root().join(TESTS);
    let environment = Environment { directory: tests.join(".venv") };
    let requirements = tests.join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    let installed = environment.directory.join("installed-requirements.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(environment);
    }
    say(&format!("installing the Python packages of {TESTS}/requirements.txt"));
    make(&environment, &requirements)?;
    std::fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
    Ok(environment)
}

fn make(environment: &Environment, requirements: &Path) -> anyhow::Result<()> {
    let system = system_python()?;
    let with_pip = output(Command::new(system).args(["-m", "venv"]).arg(&environment.directory));
    let mut pip = match with_pip {
        Ok(_) => pip_inside(environment),
        Err(error) => {
            say(&format!("a new environment gets no pip of its own, so the system's pip fills it ({error})"));
            pip_outside(system, environment)?
        }
    };
    run(pip.arg("--requirement").arg(requirements)).context("cannot install the Python packages")
}

fn pip_inside(environment: &Environment) -> Command {
    let mut pip = environment.python();
    pip.args(INSTALL);
    pip
}

fn pip_outside(system: &str, environment: &Environment) -> anyhow::Result<Command> {
    const ADVICE: &str = "Python's venv and pip are missing; install them (on Debian: apt install python3-venv)";
    output(Command::new(system).args(["-m", "venv", "--without-pip"]).arg(&environment.directory)).context(ADVICE)?;
    output(Command::new(system).args(["-m", "pip", "--version"])).context(ADVICE)?;
    let packages = output(environment.python().args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]))?;
    let mut pip = Command::new(system);
    pip.args(INSTALL).args(["--target", packages.trim()]);
    Ok(pip)
}

const INSTALL: [&str; 5] = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];

fn system_python() -> anyhow::Result<&'static str> {
    for name in ["python3", "python"] {
        let version = output(Command::new(name).args(["-c", "import sys; print(sys.version_info >= (3, 10))"]));
        if version.is_ok_and(|text| text.trim() == "True") {
            return Ok(name);
        }
    }
    bail!("there is no Python 3.10 or newer; install it (on Debian: apt install python3 python3-venv)")
}
