//! The folder of `server start`: made if missing, with the data file in it.

use std::fs::{DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The one file that the store is opened on; what lies beside it belongs to the store.
const DATA_FILE: &str = "mainspring.db";

/// Makes the folder unless it is there, and names the data file in it.
///
/// # Errors
/// When it cannot be made: one line that names it and says what to do.
pub(crate) fn prepare(folder: &Path) -> anyhow::Result<PathBuf> {
    make(folder).with_context(|| {
        format!("cannot make the data directory {}; name a folder that this user may write to", folder.display())
    })?;
    Ok(data_file(folder))
}

/// The data file in a folder.
pub(crate) fn data_file(folder: &Path) -> PathBuf {
    folder.join(DATA_FILE)
}

/// False when something is in it, or it cannot be read.
pub(crate) fn is_empty_or_missing(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// From the first that is there downwards, each entry safe on disk before anything is written below it: a power failure
/// must not take the folder and with it what was acknowledged.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make(parent)?;
    }
    match private().create(folder) {
        // A second process may have been faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(parent.unwrap_or(Path::new("."))),
    }
}

/// What workflows are told is not for every user of the machine.
#[cfg(unix)]
fn private() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;

    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn private() -> DirBuilder {
    DirBuilder::new()
}

#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened to sync it.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_made_and_present_ones_left() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a").join("b");
        for _ in 0..2 {
            assert_eq!(prepare(&folder).unwrap(), folder.join("mainspring.db"));
            assert!(folder.is_dir());
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        prepare(&root.path().join("data")).unwrap();
        assert_eq!(root.path().join("data").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = prepare(&file).unwrap_err();
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
