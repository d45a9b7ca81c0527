//! The shim that stands between a server and its disk, and what it is to do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};

/// `shim.c`, built.
#[derive(Clone, Debug)]
pub struct Shim {
    library: PathBuf,
}

impl Shim {
    /// Builds it, once in a process.
    ///
    /// # Errors
    /// When there is no C compiler, or it refuses.
    pub fn build() -> anyhow::Result<Shim> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| compile().map_err(|error| format!("{error:#}")));
        match built {
            Ok(library) => Ok(Shim { library: library.clone() }),
            Err(why) => bail!("{why}"),
        }
    }

    /// Has the program of `command` run on that disk.
    pub(crate) fn preload(&self, command: &mut Command, folder: &Path, disk: &Disk) {
        command.env("LD_PRELOAD", &self.library).env("POWERLOSS_DIR", folder);
        command.env("POWERLOSS_SEED", disk.seed.to_string());
        if let Some(after) = disk.loses_power_after {
            command.env("POWERLOSS_AFTER", after.to_string());
        }
        if disk.ignores_syncs {
            command.env("POWERLOSS_IGNORE_SYNC", "1");
        }
        if let Some(Failing { call, suffix, errno, after }) = disk.fails {
            let call = match call {
                Call::Open => "open",
                Call::Write => "write",
                Call::Sync => "sync",
            };
            command.env("POWERLOSS_FAIL", format!("{call}:{suffix}:{errno}:{after}"));
        }
    }
}

fn compile() -> anyhow::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim.c");
    let folder = std::env::current_exe().context("cannot find our own program")?.with_file_name("powerloss-shim");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // Under another name first: several of us may build it at once.
    let partial = folder.join(format!("shim-{}.so", std::process::id()));
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o"]);
    let done = cc.arg(&partial).arg(&source).status().context("cannot start the C compiler `cc`")?;
    if !done.success() {
        bail!("the C compiler refuses {}", source.display());
    }
    let library = folder.join("shim.so");
    std::fs::rename(&partial, &library).with_context(|| library.display().to_string())?;
    Ok(library)
}

/// What becomes of the data folder under a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk {
    /// Decides what survives of that which was not synced.
    pub seed: u64,
    /// Power goes at this call that would change a file, counted from 1.
    pub loses_power_after: Option<u64>,
    /// Syncs do nothing: everything may be lost.
    pub ignores_syncs: bool,
    /// Calls that fail.
    pub fails: Option<Failing>,
}

/// Calls that fail from one on, for good.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    pub call: Call,
    /// How the names of the files end on which it fails.
    pub suffix: &'static str,
    /// What the caller hears; 5 is EIO, 28 ENOSPC, 30 EROFS.
    pub errno: i32,
    /// The first one that fails, counted from 1.
    pub after: u64,
}

/// What fails.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Opening a file to write.
    Open,
    Write,
    Sync,
}
