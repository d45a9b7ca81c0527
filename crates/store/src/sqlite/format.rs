//! The database file: its tables, its pragmas, and how a connection to it is made.
//!
//! `state` and `history` hold large rows and are rowid tables with a unique key, so that keys sit close together in an
//! index of their own; `queue` and `meta` hold small, short-lived rows and are stored by key. `engine` holds the
//! engine's own numbers: the number of the last group transaction, and the epoch of each shard. Our application id and
//! the format's version are in the file's header.

use std::{io, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, ToSql, config::DbConfig};
use tracing::warn;

use crate::{ShardId, Table};

use super::{OpenError, failure::Trouble};

/// The version of the format that this program writes.
pub(super) const FORMAT: i32 = 1;

/// Bytes "MSPR": tells our files from other SQLite databases.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"MSPR");

/// The row of `engine` with the number of the last group; the other ids are shards.
const GROUP_ROW: i64 = -1;

/// How long a statement waits for a lock: somebody may have the file open with a tool.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE state (k BLOB NOT NULL UNIQUE, v BLOB NOT NULL);
    CREATE TABLE history (k BLOB NOT NULL UNIQUE, v BLOB NOT NULL);
    CREATE TABLE queue (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE meta (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE engine (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    INSERT INTO engine (id, n) VALUES (-1, 0);
";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Committer,
    Reader,
    Checkpointer,
}

impl Role {
    /// The most that SQLite keeps of the file in this process's memory; the kernel caches the rest.
    pub(super) fn cache_kib(self) -> i32 {
        match self {
            Role::Committer => 8192,
            Role::Reader => 2048,
            Role::Checkpointer => 256,
        }
    }
}

/// What the file holds, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    Ours { format: i32 },
    Foreign,
}

/// The statements of one table.
pub(super) struct Sql {
    pub put: &'static str,
    pub delete: &'static str,
    pub get: &'static str,
    pub scan: &'static str,
    pub scan_reverse: &'static str,
    pub purge: &'static str,
}

macro_rules! sql_of {
    ($table:literal) => {
        Sql {
            put: concat!(
                "INSERT INTO ",
                $table,
                " (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE k = ?1"),
            get: concat!("SELECT v FROM ", $table, " WHERE k = ?1"),
            scan: concat!("SELECT k, v FROM ", $table, " WHERE k >= ?1 AND k < ?2 ORDER BY k"),
            scan_reverse: concat!("SELECT k, v FROM ", $table, " WHERE k >= ?1 AND k < ?2 ORDER BY k DESC"),
            purge: concat!(
                "DELETE FROM ",
                $table,
                " WHERE k IN (SELECT k FROM ",
                $table,
                " WHERE k >= ?1 AND k < ?2 ORDER BY k LIMIT ?3)"
            ),
        }
    };
}

/// The statements for `table`, to be prepared through the connection's cache.
pub(super) fn sql(table: Table) -> &'static Sql {
    const TABLES: [Sql; 4] = [sql_of!("state"), sql_of!("history"), sql_of!("queue"), sql_of!("meta")];
    static SQL: [Sql; 4] = TABLES;
    &SQL[table as usize]
}

/// Connects to the file, which is made if it is missing, without looking at what is in it.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // After a failed sync, and on a database that is refused, closing must not touch the log.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Tells what the file is. Recovers the log in memory, writes nothing.
pub(super) fn identify(connection: &Connection) -> rusqlite::Result<Kind> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application_id, objects) {
        (APPLICATION_ID, _) => Kind::Ours { format },
        (0, 0) => Kind::Empty,
        _ => Kind::Foreign,
    })
}

/// Sets the connection up: durability first, then what the operator asked for, then what the engine relies on.
pub(super) fn configure(connection: &Connection, role: Role, operator: &[(String, String)]) -> Result<(), OpenError> {
    set(connection, "synchronous", "FULL")?;
    set(connection, "fullfsync", 1)?;
    set(connection, "checkpoint_fullfsync", 1)?;
    set(connection, "cache_size", -role.cache_kib())?;
    for (name, value) in operator {
        set_for_operator(connection, name, value)?;
    }
    if role == Role::Committer {
        set(connection, "journal_mode", "WAL")?;
    }
    // Checkpoints belong to the checkpointer: inside COMMIT they are the slowest commits there are.
    set(connection, "wal_autocheckpoint", 0)?;
    if role == Role::Reader {
        set(connection, "query_only", 1)?;
    }
    Ok(())
}

/// Makes the tables of an empty file, at once or not at all.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch("COMMIT")
}

/// The number of the last group transaction in the database.
pub(super) fn read_group(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT n FROM engine WHERE id = ?1", [GROUP_ROW], |row| row.get(0))
}

/// Makes `group` part of the open transaction.
pub(super) fn write_group(connection: &Connection, group: u64) -> rusqlite::Result<()> {
    write_number(connection, GROUP_ROW, group)
}

/// The epoch of every shard that was ever claimed.
pub(super) fn read_epochs(connection: &Connection) -> rusqlite::Result<Vec<(ShardId, u64)>> {
    let mut select = connection.prepare("SELECT id, n FROM engine WHERE id >= 0 ORDER BY id")?;
    let rows = select.query_map([], |row| Ok((ShardId(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// Makes the shard's new epoch part of the open transaction.
pub(super) fn write_epoch(connection: &Connection, shard: ShardId, epoch: u64) -> rusqlite::Result<()> {
    write_number(connection, i64::from(shard.0), epoch)
}

/// Makes the creation or renaming of `path` durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn write_number(connection: &Connection, id: i64, n: u64) -> rusqlite::Result<()> {
    let upsert = "INSERT INTO engine (id, n) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET n = excluded.n";
    connection.prepare_cached(upsert)?.execute((id, n))?;
    Ok(())
}

fn set_for_operator(connection: &Connection, name: &str, value: &str) -> Result<(), OpenError> {
    if ["journal_mode", "locking_mode"].iter().any(|fixed| fixed.eq_ignore_ascii_case(name)) {
        if !value.eq_ignore_ascii_case("wal") {
            warn!(pragma = name, value, "this pragma is fixed: the engine needs a shared write-ahead log");
        }
        return Ok(());
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(OpenError::Pragma { name: name.to_owned(), detail: "this is not a name".to_owned() });
    }
    match value.parse::<i64>() {
        Ok(number) => set(connection, name, number),
        Err(_) => set(connection, name, value),
    }
}

fn set(connection: &Connection, name: &str, value: impl ToSql) -> Result<(), OpenError> {
    match connection.pragma_update_and_check(None, name, value, |_| Ok(())) {
        // Most pragmas answer nothing when they are set.
        Ok(()) | Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        Err(error) => match Trouble::from(&error) {
            Trouble::Other(detail) => Err(OpenError::Pragma { name: name.to_owned(), detail }),
            Trouble::Full(_) | Trouble::Broken(_) => {
                Err(OpenError::sqlite(Path::new(connection.path().unwrap_or_default()), &error))
            }
        },
    }
}
