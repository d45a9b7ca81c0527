//! `mainspring backup` and `mainspring restore`: the data of a server as one file, and back.

use std::path::Path;

use anyhow::{Context, bail};
use mainspring_store::sqlite::{self, BackupError, Inspection};

use crate::args::{Backup, Restore};
use crate::{data_dir, say, verify};

/// Copies the data, whether or not a server uses it.
///
/// # Errors
/// When there is no copy: one line that says why. Nothing is left of a copy that failed.
pub(crate) fn back_up(flags: &Backup) -> anyhow::Result<()> {
    let group = sqlite::backup(&flags.data.file(), &flags.to).map_err(|error| match error {
        BackupError::Copy(mainspring_store::Error::Rejected(why)) => anyhow::Error::msg(why),
        error => error.into(),
    })?;
    let bytes = std::fs::metadata(&flags.to).map_or(0, |file| file.len());
    say(&format!("{}: {bytes} bytes, everything up to commit {group}", flags.to.display()));
    Ok(())
}

/// Makes a data directory.
///
/// # Errors
/// When the backup is damaged or the directory is in use: one line that says why. Then there is no data file in it.
pub(crate) fn restore(flags: &Restore) -> anyhow::Result<()> {
    if !data_dir::is_empty_or_missing(&flags.data_dir) {
        bail!("{} is not empty; name a new directory, or move away what is in it", flags.data_dir.display());
    }
    let file = data_dir::prepare(&flags.data_dir)?;
    sqlite::restore(&flags.from, &file, |copy| check(copy, &flags.from))?;
    say(&format!("{}: restored and verified", file.display()));
    Ok(())
}

fn check(copy: &Path, from: &Path) -> anyhow::Result<()> {
    let file = Inspection::open(copy).with_context(|| format!("cannot restore {}", from.display()))?;
    let mut first = None;
    let summary = mainspring_store::verify::verify(&file, &mut |problem| first = first.take().or(Some(problem)));
    match first {
        None => {
            say(&verify::sound(&summary));
            Ok(())
        }
        Some(first) => bail!(
            "{} is damaged, so nothing was restored; {} problems, the first one: {first}",
            from.display(),
            summary.problems
        ),
    }
}
