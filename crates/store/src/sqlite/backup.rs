//! Copies: of a file that is in use, and of rows from the memory engine.
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
    Shared,
    failure::closed,
    format::{self, Role},
    open::sidecar,
};

/// Pages copied between two looks at whether the store is being closed.
const PAGES_A_STEP: i32 = 1024;

type Answer = BoxFuture<Result<(), Error>>;

/// Copies the store's file on a thread of its own, which is returned if it could be started.
pub(super) fn start(shared: Arc<Shared>, to: PathBuf) -> (Option<JoinHandle<()>>, Answer) {
    on_a_thread(move || whole(&to, |partial| copy(&shared, partial)))
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

fn copy(shared: &Shared, to: &Path) -> Result<(), Broken> {
    let source = format::connect(&shared.path)?;
    let mut copy = fresh(to)?;
    // One read transaction around all steps: otherwise every commit would start the copy over.
    source.execute_batch("BEGIN")?;
    format::read_group(&source)?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        while backup.step(PAGES_A_STEP)? != StepResult::Done {
            if shared.closing.load(Ordering::Relaxed) {
                return Err(Broken::Closed);
            }
        }
    }
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
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

/// A new file that is not synced piece by piece: it is worth nothing until it is whole.
fn fresh(path: &Path) -> rusqlite::Result<Connection> {
    let connection = format::connect(path)?;
    connection.pragma_update(None, "cache_size", -Role::Checkpointer.cache_kib())?;
    connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    Ok(connection)
}
