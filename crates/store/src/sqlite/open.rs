//! Opening a database: refuse what must not be opened, recover, start the threads.
//!
//! The order matters. The lock comes first; then the file is looked at without being changed, so that a refusal leaves
//! everything for whoever looks into it; only then is the log moved into the database and the first thread started.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool, mpsc},
    thread,
};

use rusqlite::{Connection, ErrorCode};
use tracing::{info, warn};

use crate::sequence::Ledger;

use super::{
    Shared, SqliteStore,
    acked::{AckedFile, Reading},
    checkpointer::{Checkpointer, Upkeep, checkpoint},
    committer::Committer,
    failure::Health,
    format::{self, FORMAT, Kind, Role},
    log,
    reader::Readers,
};

/// What to open, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file. It is created if it is missing; its directory is not.
    pub path: PathBuf,
    /// Opens a database that lost acknowledged writes all the same.
    pub accept_loss: bool,
    /// Pragmas of the operator, set on every connection after our own.
    pub pragmas: Vec<(String, String)>,
    /// Reader threads, at least 1.
    pub readers: usize,
}

impl Options {
    /// The defaults, for the file at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Options {
        Options { path: path.into(), accept_loss: false, pragmas: Vec::new(), readers: 2 }
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has it open.
    #[error("{} is in use by another process: stop that one first, or choose another file", path.display())]
    Locked { path: PathBuf },
    /// A later version of the program wrote it.
    #[error("{} has format {found}, this version knows formats up to {supported}: upgrade mainspring", path.display())]
    NewerFormat { path: PathBuf, found: i32, supported: i32 },
    /// Some other file.
    #[error("{} is not a mainspring database: check the path", path.display())]
    NotADatabase { path: PathBuf },
    /// Not readable as a database any more.
    #[error("{} is damaged ({detail}): restore a backup", path.display())]
    Damaged { path: PathBuf, detail: String },
    /// The file of the acknowledged group is not readable any more, so that nobody can tell whether writes are lost.
    #[error("{} is damaged: check the disk, then start with --accept-loss to go on without it", path.display())]
    DamagedAcked { path: PathBuf },
    /// The write-ahead log is damaged in the middle, where SQLite would pass over it in silence.
    #[error(
        "{} is damaged at byte {at}: what was acknowledged from there on cannot be read; check the disk and restore a \
         backup, or start with --accept-loss to go on with what comes before",
        path.display()
    )]
    DamagedLog { path: PathBuf, at: u64 },
    /// The database is older than what was acknowledged: its log was damaged, or an older copy was put in its place.
    #[error(
        "{} lost acknowledged writes: it holds group {found}, but group {acked} was acknowledged; \
         check the disk and restore what is missing, or start with --accept-loss to go on without it",
        path.display()
    )]
    LostWrites { path: PathBuf, found: u64, acked: u64 },
    /// A pragma of the operator was refused.
    #[error("cannot set the SQLite pragma {name}: {detail}")]
    Pragma { name: String, detail: String },
    /// The file system refused something.
    #[error("cannot open {}: {detail}", path.display())]
    Io { path: PathBuf, detail: String },
}

impl OpenError {
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> OpenError {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, detail: error.to_string() },
            _ => OpenError::Io { path, detail: error.to_string() },
        }
    }

    pub(super) fn io(path: &Path, error: &io::Error) -> OpenError {
        OpenError::Io { path: path.to_owned(), detail: error.to_string() }
    }
}

/// See [`SqliteStore::open`].
pub(super) fn open(options: Options) -> Result<SqliteStore, OpenError> {
    let path = real_path(&options.path).map_err(|error| OpenError::io(&options.path, &error))?;
    let lock = lock(&path)?;
    let acked = read_acked(&path, options.accept_loss)?;
    refuse_foreign(&path, acked)?;
    if !options.accept_loss {
        refuse_damaged_log(&path)?;
    }

    let sqlite = |error: rusqlite::Error| OpenError::sqlite(&path, &error);
    let connection = format::connect(&path).map_err(sqlite)?;
    let group = look(&connection, &path, acked)?;
    format::configure(&connection, Role::Committer, &options.pragmas)?;
    let group = match group {
        Some(group) => group,
        None => {
            format::create(&connection).map_err(sqlite)?;
            format::sync_directory_of(&path).map_err(|error| OpenError::io(&path, &error))?;
            0
        }
    };
    checkpoint(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").map_err(sqlite)?;
    // Before the first group of this process: from here on the number never rises ahead of the database.
    let acked_path = sidecar(&path, ".acked");
    let acked = AckedFile::start_at(&acked_path, group).map_err(|error| OpenError::io(&acked_path, &error))?;
    let ledger = Ledger::from_epochs(format::read_epochs(&connection).map_err(sqlite)?);
    info!(path = %path.display(), group, "the store is open");

    let shared = Shared {
        path,
        health: Arc::new(Health::new()),
        upkeep: Arc::new(Upkeep::new(group)),
        closing: AtomicBool::new(false),
        commits: 0.into(),
        groups: 0.into(),
        bytes: 0.into(),
        lock: Mutex::new(Some(lock)),
    };
    Parts { shared: Arc::new(shared), connection, ledger, group, acked }.start(&options)
}

/// What the threads are made of.
struct Parts {
    shared: Arc<Shared>,
    connection: Connection,
    ledger: Ledger,
    group: u64,
    acked: AckedFile,
}

impl Parts {
    fn start(self, options: &Options) -> Result<SqliteStore, OpenError> {
        let shared = self.shared.clone();
        let connect = |role| connect(&shared.path, role, options);
        let io = |error: io::Error| OpenError::io(&shared.path, &error);
        let (commits, inbox) = mpsc::channel();
        let readers = Readers::new();
        // From here on an early return drops the store, which ends the threads that run already.
        let store = SqliteStore { shared: shared.clone(), commits, readers, threads: Mutex::default() };

        for _ in 0..options.readers.max(1) {
            let reader = store.readers.start(connect(Role::Reader)?).map_err(io)?;
            store.threads().readers.push(reader);
        }
        let checkpointer = Checkpointer {
            path: shared.path.clone(),
            connection: connect(Role::Checkpointer)?,
            acked: self.acked,
            upkeep: shared.upkeep.clone(),
            health: shared.health.clone(),
        };
        store.threads().checkpointer = Some(spawn("store-checkpoint", || checkpointer.run()).map_err(io)?);
        let committer = Committer::new(self.connection, self.shared, inbox, self.ledger, self.group)
            .map_err(|error| OpenError::sqlite(&shared.path, &error))?;
        store.threads().committer = Some(spawn("store-commit", || committer.run()).map_err(io)?);
        Ok(store)
    }
}

/// Another connection to a file that is open already.
fn connect(path: &Path, role: Role, options: &Options) -> Result<Connection, OpenError> {
    let connection = format::connect(path).map_err(|error| OpenError::sqlite(path, &error))?;
    format::configure(&connection, role, &options.pragmas)?;
    Ok(connection)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// One name for the file, however it was spelled: the lock hangs on it.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    if path.exists() {
        return fs::canonicalize(path);
    }
    let name = path.file_name().ok_or_else(|| io::Error::other("this is not the name of a file"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::canonicalize(parent)?.join(name))
}

/// As [`real_path`], of a file that is to be there.
pub(super) fn present(path: &Path) -> Result<PathBuf, OpenError> {
    fs::canonicalize(path).map_err(|error| OpenError::io(path, &error))
}

/// The name of a file beside the database.
pub(super) fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = sidecar(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|error| OpenError::io(&lock_path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&lock_path, &error)),
    }
}

/// The newest acknowledged group, or 0 if loss is accepted.
pub(super) fn read_acked(path: &Path, accept_loss: bool) -> Result<u64, OpenError> {
    let acked_path = sidecar(path, ".acked");
    let reading = AckedFile::read(&acked_path).map_err(|error| OpenError::io(&acked_path, &error))?;
    if accept_loss {
        warn!(path = %path.display(), ?reading, "acknowledged writes may be lost, as accepted");
        return Ok(0);
    }
    match reading {
        Reading::Nothing => Ok(0),
        Reading::Group(group) => Ok(group),
        Reading::Damaged => Err(OpenError::DamagedAcked { path: acked_path }),
    }
}

/// Looks for what SQLite does not tell.
pub(super) fn refuse_damaged_log(path: &Path) -> Result<(), OpenError> {
    let path = sidecar(path, "-wal");
    match log::damage(&path).map_err(|error| OpenError::io(&path, &error))? {
        Some(at) => Err(OpenError::DamagedLog { path, at }),
        None => Ok(()),
    }
}

/// Looks at the file without SQLite, which would delete the log of an empty database.
pub(super) fn refuse_foreign(path: &Path, acked: u64) -> Result<(), OpenError> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let read = file.take(MAGIC.len() as u64).read_to_end(&mut start);
            read.map_err(|error| OpenError::io(path, &error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::io(path, &error)),
    }
    match start.as_slice() {
        [] if acked > 0 => Err(OpenError::LostWrites { path: path.to_owned(), found: 0, acked }),
        // Power was lost while the file was made: it has its size and none of its content.
        [0, ..] if acked == 0 && is_blank(path)? => empty(path),
        [] | MAGIC => Ok(()),
        _ => Err(OpenError::NotADatabase { path: path.to_owned() }),
    }
}

fn is_blank(path: &Path) -> Result<bool, OpenError> {
    let bytes = File::open(path).map(BufReader::new).map_err(|error| OpenError::io(path, &error))?.bytes();
    for byte in bytes {
        if byte.map_err(|error| OpenError::io(path, &error))? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn empty(path: &Path) -> Result<(), OpenError> {
    let emptied = File::options().write(true).open(path).and_then(|file| file.set_len(0));
    emptied.map_err(|error| OpenError::io(path, &error))
}

/// The group the database is at after recovery; `None` if it has no tables yet.
pub(super) fn look(connection: &Connection, path: &Path, acked: u64) -> Result<Option<u64>, OpenError> {
    let sqlite = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let path = path.to_owned();
    match format::identify(connection).map_err(sqlite)? {
        Kind::Ours { format } if format > FORMAT => {
            Err(OpenError::NewerFormat { path, found: format, supported: FORMAT })
        }
        Kind::Ours { .. } => {
            let found = format::read_group(connection).map_err(sqlite)?;
            if found < acked { Err(OpenError::LostWrites { path, found, acked }) } else { Ok(Some(found)) }
        }
        Kind::Empty if acked > 0 => Err(OpenError::LostWrites { path, found: 0, acked }),
        Kind::Empty => Ok(None),
        Kind::Foreign => Err(OpenError::NotADatabase { path }),
    }
}
