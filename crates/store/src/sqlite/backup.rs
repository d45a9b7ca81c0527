//! Copies: of a file that is in use, here or in another process; of rows from the memory engine; and back again.
//!
//! A copy is made under another name and renamed once it is whole and on the disk: a backup that has its name is good.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use tokio::sync::oneshot;

use mainspring_rt::BoxFuture;

use crate::{Error, ShardId, Table};

use super::{
    OpenError, Shared,
    failure::closed,
    format::{self, Role},
    open::{self, sidecar},
};

/// Pages copied between two looks at whether the store is being closed.
const PAGES_A_STEP: i32 = 1024;

type Answer = BoxFuture<Result<(), Error>>;

/// Copies the store's file on a thread of its own, which is returned if it could be started.
pub(super) fn start(shared: Arc<Shared>, to: PathBuf) -> (Option<JoinHandle<()>>, Answer) {
    on_a_thread(move || {
        whole(&to, |partial| {
            let source = format::connect(&shared.path)?;
            copy(&source, partial, || shared.closing.load(Ordering::Relaxed))?;
            Ok(())
        })
    })
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// What was to be copied must not be.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The file to copy has a write-ahead log beside it.
    #[error("{} is in use, or was when its server ended: take a backup of it and restore that", .0.display())]
    NotAtRest(PathBuf),
    /// The copy was not made; nothing is left of it.
    #[error("{0}")]
    Copy(#[from] Error),
}

/// Copies the database at `path` to a new file, while a server in another process uses it, or none. Returns the number
/// of the last group in the copy: all that was acknowledged before the call is in it. Blocks.
///
/// # Errors
/// See [`BackupError`].
pub fn backup(path: &Path, to: &Path) -> Result<u64, BackupError> {
    let source = open::present(path)?;
    let acked = open::read_acked(&source, false)?;
    // Held until the copy is made: without a server nobody else has looked at the log.
    let alone = match open::lock(&source) {
        Ok(lock) => Some(lock),
        Err(OpenError::Locked { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if alone.is_some() {
        open::refuse_damaged_log(&source)?;
    }
    open::refuse_foreign(&source, acked)?;
    let connection = format::connect(&source).map_err(|error| OpenError::sqlite(&source, &error))?;
    if open::look(&connection, &source, acked)?.is_none() {
        return Err(OpenError::NotADatabase { path: source }.into());
    }
    let mut group = 0;
    whole(to, |partial| {
        group = copy(&connection, partial, || false)?;
        Ok(())
    })?;
    Ok(group)
}

/// Makes the database at `path` from a backup: copied, found good by `check`, then given its name. Blocks.
///
/// # Errors
/// See [`BackupError`]; and whatever `check` says of the copy.
pub fn restore<E: From<BackupError>>(
    from: &Path,
    path: &Path,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let source = open::present(from).map_err(BackupError::from)?;
    if fs::metadata(sidecar(&source, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(BackupError::NotAtRest(source).into());
    }
    let mut refused = None;
    let restored = whole(path, |partial| {
        io::copy(&mut File::open(&source)?, &mut File::create_new(partial)?)?;
        File::open(partial)?.sync_all()?;
        check(partial).map_err(|error| {
            refused = Some(error);
            Broken::Refused
        })
    });
    match refused {
        Some(error) => Err(error),
        None => restored.map_err(|error| BackupError::from(error).into()),
    }
}

/// Writes rows into a new file of the SQLite engine, on a thread of its own.
pub(crate) fn export(to: PathBuf, tables: [BTreeMap<Bytes, Bytes>; 4], epochs: Vec<(ShardId, u64)>) -> Answer {
    on_a_thread(move || whole(&to, |partial| Ok(write(partial, &tables, &epochs)?))).1
}

/// Why there is no copy.
enum Broken {
    Sqlite(rusqlite::Error),
    Io(io::Error),
    Exists,
    Closed,
    /// The caller knows why.
    Refused,
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Broken {
        Broken::Sqlite(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

fn on_a_thread(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> (Option<JoinHandle<()>>, Answer) {
    let (answer, answered) = oneshot::channel();
    let work = move || drop(answer.send(work()));
    // Without a thread the work is dropped, and with it the sender of the answer.
    let thread = thread::Builder::new().name("store-backup".to_owned()).spawn(work).ok();
    (thread, Box::pin(async move { answered.await.unwrap_or_else(|_| Err(closed())) }))
}

/// Has `write` make the copy under another name, then gives it the right one.
fn whole(to: &Path, write: impl FnOnce(&Path) -> Result<(), Broken>) -> Result<(), Error> {
    let partial = sidecar(to, ".partial");
    let made = if to.exists() { Err(Broken::Exists) } else { publish(&partial, to, write) };
    made.map_err(|broken| {
        let _ = fs::remove_file(&partial);
        let why = match broken {
            Broken::Sqlite(error) => error.to_string(),
            Broken::Io(error) => error.to_string(),
            Broken::Exists => "the file exists already".to_owned(),
            Broken::Closed => return closed(),
            Broken::Refused => "it was refused".to_owned(),
        };
        Error::Rejected(format!("cannot write the backup {}: {why}", to.display()))
    })
}

fn publish(partial: &Path, to: &Path, write: impl FnOnce(&Path) -> Result<(), Broken>) -> Result<(), Broken> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => write(partial)?,
    }
    File::open(partial)?.sync_all()?;
    fs::rename(partial, to)?;
    format::sync_directory_of(to)?;
    Ok(())
}

/// Copies what is in `source` now; the group it is at.
fn copy(source: &Connection, to: &Path, is_closing: impl Fn() -> bool) -> Result<u64, Broken> {
    let mut copy = fresh(to)?;
    // One read transaction around all steps: otherwise every commit would start the copy over.
    source.execute_batch("BEGIN")?;
    let group = format::read_group(source)?;
    {
        let backup = Backup::new(source, &mut copy)?;
        while backup.step(PAGES_A_STEP)? != StepResult::Done {
            if is_closing() {
                return Err(Broken::Closed);
            }
        }
    }
    copy.close().map_err(|(_, error)| error)?;
    Ok(group)
}

fn write(to: &Path, tables: &[BTreeMap<Bytes, Bytes>; 4], epochs: &[(ShardId, u64)]) -> rusqlite::Result<()> {
    let copy = fresh(to)?;
    format::create(&copy)?;
    copy.execute_batch("BEGIN")?;
    for table in Table::ALL {
        let mut put = copy.prepare_cached(format::sql(table).put)?;
        for (key, value) in &tables[table as usize] {
            put.execute([&key[..], &value[..]])?;
        }
    }
    for (shard, epoch) in epochs {
        format::write_epoch(&copy, *shard, *epoch)?;
    }
    copy.execute_batch("COMMIT")?;
    copy.close().map_err(|(_, error)| error)
}

/// A new file that is not synced piece by piece: it is worth nothing until it is whole. It is for its owner alone, like
/// the folder that the original is in.
fn fresh(path: &Path) -> rusqlite::Result<Connection> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Should this fail, SQLite says why.
    drop(options.open(path));
    let connection = format::connect(path)?;
    connection.pragma_update(None, "cache_size", -Role::Checkpointer.cache_kib())?;
    connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    Ok(connection)
}
