//! A look at a database that no server uses: everything in it, and nothing of it changes.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::{Error, Table, keys::Range};

use super::{
    OpenError,
    failure::read_error,
    format,
    open::{self, sidecar},
};

/// A database at rest.
pub struct Inspection {
    connection: Connection,
    path: PathBuf,
    group: u64,
    /// No server can start on it meanwhile.
    _lock: Option<File>,
}

impl Inspection {
    /// Opens the file. What would keep a server from starting on it is an error here too.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Inspection, OpenError> {
        let path = open::present(path)?;
        // A backup was never in use, and may lie where nothing can be written.
        let lock = if sidecar(&path, ".lock").exists() { Some(open::lock(&path)?) } else { None };
        let acked = open::read_acked(&path, false)?;
        open::refuse_foreign(&path, acked)?;
        open::refuse_damaged_log(&path)?;
        let connection = connect(&path).map_err(|error| OpenError::sqlite(&path, &error))?;
        let Some(group) = open::look(&connection, &path, acked)? else {
            return Err(OpenError::NotADatabase { path });
        };
        Ok(Inspection { connection, path, group, _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last group transaction in it.
    pub fn group(&self) -> u64 {
        self.group
    }

    /// What SQLite finds wrong with its own structures, a line each: pages, and whether tables and their indexes agree.
    ///
    /// # Errors
    /// When it finds too much to go on.
    pub fn structure(&self) -> Result<Vec<String>, Error> {
        let read = || {
            let mut check = self.connection.prepare("PRAGMA integrity_check")?;
            let lines = check.query_map([], |row| row.get::<_, String>(0))?;
            lines.filter(|line| !matches!(line, Ok(line) if line == "ok")).collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| read_error(&error))
    }

    /// Every row of a table in the order of its keys.
    ///
    /// # Errors
    /// When a page cannot be read: the rows behind it are not seen.
    pub fn each(&self, table: Table, mut row: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        self.rows(table, &[], &[0xff; 16], |key, value| row(key, value)).map_err(|error| read_error(&error))
    }

    /// The rows of a range.
    ///
    /// # Errors
    /// As [`Inspection::each`].
    pub fn range(&self, table: Table, range: &Range) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, Error> {
        let mut rows = Vec::new();
        let push = |key: &[u8], value: &[u8]| {
            rows.push((bytes::Bytes::copy_from_slice(key), bytes::Bytes::copy_from_slice(value)));
        };
        self.rows(table, &range.from, &range.to, push).map_err(|error| read_error(&error))?;
        Ok(rows)
    }

    /// True if there is such a row.
    ///
    /// # Errors
    /// As [`Inspection::each`].
    pub fn has(&self, table: Table, key: &[u8]) -> Result<bool, Error> {
        let read = || {
            let mut select = self.connection.prepare_cached(format::sql(table).get)?;
            select.query_row([key], |_| Ok(())).optional()
        };
        read().map(|row| row.is_some()).map_err(|error| read_error(&error))
    }

    fn rows(&self, table: Table, from: &[u8], to: &[u8], mut row: impl FnMut(&[u8], &[u8])) -> rusqlite::Result<()> {
        let mut select = self.connection.prepare_cached(format::sql(table).scan)?;
        let mut rows = select.query([from, to])?;
        while let Some(next) = rows.next()? {
            row(next.get_ref(0)?.as_blob()?, next.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }
}

/// Without a log beside it the file is read as it is, which leaves nothing behind and needs no right to write.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    if std::fs::metadata(sidecar(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        let connection = format::connect(path)?;
        connection.pragma_update_and_check(None, "query_only", 1, |_| Ok(())).or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(()),
            error => Err(error),
        })?;
        return Ok(connection);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)), flags)
}

/// The path as a part of a URI.
fn escaped(path: &Path) -> String {
    let mut uri = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}
