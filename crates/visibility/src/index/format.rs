//! The file: its tables, its pragmas, how a connection is made, and what is refused.
//!
//! `run` holds one row a run. Open runs have the largest close time, so that one index gives the order of lists: open
//! ones first, then by close time. `by_time` and `by_type` also hold what is asked of nearly every row, so that most rows
//! a filter leaves out are never read. `attribute` numbers the search attributes that were ever used, `value` has their
//! values, found by value. A row of `run` keeps its payloads as they came; `value` only repeats them.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, ToSql};

/// The version of the format that this program writes.
pub(super) const FORMAT: i32 = 1;

/// The close time that stands for "open".
pub(super) const OPEN: i64 = i64::MAX;

/// Bytes "MSVI": tells our files from other SQLite databases.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"MSVI");

/// How long a statement waits for a lock: somebody may have the file open with a tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// KiB of the file that each connection keeps in memory.
const CACHE_KIB: i32 = 8192;

/// Pages in the log before they are moved into the database, within the commit that reaches this number.
const CHECKPOINT_PAGES: i32 = 4096;

/// The columns after `id` in the two covering indexes are in their order of use, not of sorting.
const SCHEMA: &str = "
    CREATE TABLE namespace (id INTEGER PRIMARY KEY, uuid BLOB NOT NULL UNIQUE);
    CREATE TABLE attribute (
        id INTEGER PRIMARY KEY, namespace INTEGER NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL,
        UNIQUE (namespace, name, kind)
    );
    CREATE TABLE position (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        namespace INTEGER NOT NULL,
        closed INTEGER NOT NULL,
        started INTEGER NOT NULL,
        status INTEGER NOT NULL,
        division TEXT,
        run_id TEXT NOT NULL,
        workflow_id TEXT NOT NULL,
        workflow_type TEXT NOT NULL,
        task_queue TEXT NOT NULL,
        execution INTEGER NOT NULL,
        version INTEGER NOT NULL,
        history_length INTEGER NOT NULL,
        history_bytes INTEGER NOT NULL,
        state_transitions INTEGER NOT NULL,
        parent_workflow_id TEXT,
        parent_run_id TEXT,
        root_workflow_id TEXT,
        root_run_id TEXT,
        payloads BLOB
    );
    CREATE UNIQUE INDEX by_run ON run (namespace, run_id);
    CREATE INDEX by_workflow ON run (namespace, workflow_id);
    CREATE INDEX by_time ON run (namespace, closed, started, id, status, division);
    CREATE INDEX by_status ON run (namespace, status, closed, started, id, division);
    CREATE INDEX by_type ON run (namespace, workflow_type, closed, started, id, status, division);
    CREATE TABLE value (attribute INTEGER NOT NULL, value NOT NULL, run INTEGER NOT NULL,
        PRIMARY KEY (attribute, value, run)) WITHOUT ROWID;
    CREATE INDEX by_owner ON value (run, attribute);
";

/// Why an index was not opened. All but [`OpenError::Storage`] are cured by deleting the file: it is filled again.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later version of this program wrote it.
    #[error(
        "{path} has format {found}, newer than {FORMAT}, the newest this program reads: start the program that wrote it, or delete the file to have it built again"
    )]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        found: i32,
    },
    /// It is a file of somebody else.
    #[error("{0} is not a visibility index: choose another place, or move the file away")]
    Foreign(String),
    /// A page of it is not what SQLite wrote.
    #[error("{path} is damaged ({detail}): delete the file to have it built again")]
    Damaged {
        /// The file.
        path: String,
        /// What SQLite says.
        detail: String,
    },
    /// The disk or the rights.
    #[error("cannot open {path}: {detail}")]
    Storage {
        /// The file.
        path: String,
        /// What SQLite says.
        detail: String,
    },
}

/// Connects to the file for writing; makes it if it is missing.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let storage = |error: rusqlite::Error| storage(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(storage)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(storage)?;
    let kind = identify(&connection).map_err(storage)?;
    let shown = || path.display().to_string();
    match kind {
        Kind::Foreign => return Err(OpenError::Foreign(shown())),
        Kind::Ours { format } if format > FORMAT => {
            return Err(OpenError::NewerFormat { path: shown(), found: format });
        }
        Kind::Ours { .. } | Kind::Empty => {}
    }
    configure(&connection).map_err(storage)?;
    set(&connection, "journal_mode", "WAL").map_err(storage)?;
    set(&connection, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(storage)?;
    if kind == Kind::Empty {
        create(&connection).map_err(storage)?;
    }
    Ok(connection)
}

/// One more connection to an open file, for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let connect = || {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        configure(&connection)?;
        set(&connection, "query_only", 1)?;
        Ok(connection)
    };
    connect().map_err(|error| storage(path, &error))
}

/// An index without a file.
pub(super) fn memory() -> Result<Connection, OpenError> {
    let connect = || {
        let connection = Connection::open_in_memory()?;
        configure(&connection)?;
        create(&connection)?;
        Ok(connection)
    };
    connect().map_err(|error| storage(Path::new("an index in memory"), &error))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    Ours { format: i32 },
    Foreign,
}

fn identify(connection: &Connection) -> rusqlite::Result<Kind> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application_id, objects) {
        (APPLICATION_ID, _) => Kind::Ours { format },
        (0, 0) => Kind::Empty,
        _ => Kind::Foreign,
    })
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // A commit need not wait for the disk: what is not synced when the machine stops is told again.
    set(connection, "synchronous", "NORMAL")?;
    set(connection, "fullfsync", 1)?;
    set(connection, "checkpoint_fullfsync", 1)?;
    set(connection, "cache_size", -CACHE_KIB)?;
    set(connection, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Makes the tables, at once or not at all.
fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch("COMMIT")
}

fn set(connection: &Connection, name: &str, value: impl ToSql) -> rusqlite::Result<()> {
    match connection.pragma_update_and_check(None, name, value, |_| Ok(())) {
        // Most pragmas answer nothing when they are set.
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        other => other,
    }
}

pub(super) fn storage(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign(path.display().to_string()),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path: path.display().to_string(), detail: error.to_string() }
        }
        _ => OpenError::Storage { path: path.display().to_string(), detail: error.to_string() },
    }
}
