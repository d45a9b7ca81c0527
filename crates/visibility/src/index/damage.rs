//! Damage that was met while the file was in use: noted beside it, so that the next start makes the index anew.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

pub(super) fn is_shown_by(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Should this fail, the next start meets the damage again.
pub(super) fn note(path: &Path) {
    drop(File::create(beside(path, ".suspect")));
}

pub(super) fn is_noted(path: &Path) -> bool {
    beside(path, ".suspect").exists()
}

/// Keeps the last damaged file for whoever looks into it.
pub(super) fn put_aside(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        if_there(fs::remove_file(beside(path, suffix)))?;
    }
    if_there(fs::rename(path, beside(path, ".damaged")))?;
    // Last: interrupted before, this is done once more.
    if_there(fs::remove_file(beside(path, ".suspect")))
}

fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
