//! The index in SQLite: one writer, any number of readers.
//!
//! - `format`: the tables, and what is refused at opening; `damage`: a file that is to be made anew;
//! - `write`: changes, in one transaction a batch;
//! - `plan`, `compile`: a filter as SQL, and the index that serves it; `page`: where a list goes on; `row`: the columns.

mod compile;
mod damage;
mod format;
mod page;
mod plan;
mod row;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_api::{ids::NamespaceId, v1::Payload};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params_from_iter};

use crate::{
    attribute::Kind,
    filter::{Filter, resolve::status_name},
    record::{Change, Record},
};

pub use format::OpenError;
use page::Token;
use plan::Statement;
use write::Names;

/// The index, open for writing.
///
/// ```
/// # use mainspring_visibility::{Filter, Index};
/// # use mainspring_api::ids::NamespaceId;
/// let mut index = Index::memory().expect("memory is there");
/// index.apply(&[]).expect("nothing to write");
/// let failed = Filter::parse("ExecutionStatus = 'Failed'", &|_| None).expect("a legal filter");
/// let page = index.list(NamespaceId(uuid::Uuid::nil()), &failed, 100, b"").expect("the index reads");
/// assert!(page.records.is_empty() && page.next_page_token.is_empty());
/// ```
pub struct Index {
    writer: Arc<Mutex<Connection>>,
    names: Names,
    reader: Reader,
    syncs: u64,
}

/// A connection for lists and counts. In a file it reads the newest finished batch without waiting for the writer, nor
/// the writer for it; in memory they take turns.
pub struct Reader {
    connection: Arc<Mutex<Connection>>,
    /// None in memory.
    path: Option<PathBuf>,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Open runs first, newest start first; then closed ones, newest close first.
    pub records: Vec<Record>,
    /// Where the list goes on; empty at its end.
    pub next_page_token: Vec<u8>,
}

/// What a filter finds, counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// All of it.
    pub total: i64,
    /// The values of the columns grouped by, and their count; empty for a filter without groups.
    pub groups: Vec<(Vec<Payload>, i64)>,
}

/// Why an answer or a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The page token is none of ours. Refuse the caller.
    #[error("Invalid NextPageToken.")]
    Token,
    /// Nothing was written: no room, or somebody else holds the file. Try again later.
    #[error("the visibility index did not take the write: {0}")]
    Rejected(String),
    /// Reading, writing or syncing failed, or the file is damaged. Stop using the index; it can be built again.
    #[error("the visibility index is broken: {0}; check the disk, then start again to have it built anew")]
    Broken(String),
}

impl Index {
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    /// See [`OpenError`]. A file that is refused is left as it was.
    pub fn open(path: impl AsRef<Path>) -> Result<Index, OpenError> {
        let writer = Arc::new(Mutex::new(format::open(path.as_ref())?));
        let reader = Reader::open(path.as_ref().to_owned())?;
        let syncs = reader.position("synced").ok().flatten().unwrap_or(0);
        Ok(Index { writer, names: Names::default(), reader, syncs })
    }

    /// As [`Index::open`], for a file that the caller can fill again: one that is damaged, or was found to be when it was
    /// last used, is moved to `path` + `.damaged`, and an empty index takes its place. True if that was so.
    ///
    /// # Errors
    /// See [`OpenError`]: a newer format and the disk are left.
    pub fn open_or_make_anew(path: impl AsRef<Path>) -> Result<(Index, bool), OpenError> {
        let path = path.as_ref();
        if !damage::is_noted(path) {
            let opened = Index::open(path).and_then(|index| index.reader.probe(path).map(|()| index));
            match opened {
                Err(OpenError::Foreign(_) | OpenError::Damaged { .. }) => {}
                opened => return opened.map(|index| (index, false)),
            }
        }
        damage::put_aside(path)
            .map_err(|error| OpenError::Storage { path: path.display().to_string(), detail: error.to_string() })?;
        Ok((Index::open(path)?, true))
    }

    /// An index without a file.
    ///
    /// # Errors
    /// Only when memory is short.
    pub fn memory() -> Result<Index, OpenError> {
        let writer = Arc::new(Mutex::new(format::memory()?));
        let reader = Reader { connection: writer.clone(), path: None };
        Ok(Index { writer, names: Names::default(), reader, syncs: 0 })
    }

    /// One more reader, for another thread.
    ///
    /// # Errors
    /// The file cannot be opened once more.
    pub fn reader(&self) -> Result<Reader, OpenError> {
        match &self.reader.path {
            Some(path) => Reader::open(path.clone()),
            None => Ok(Reader { connection: self.writer.clone(), path: None }),
        }
    }

    /// Makes all changes, in their order, or none. They are found at once and durable after the next [`Index::sync`]. Of
    /// several versions of a run in one batch only the last is written.
    ///
    /// # Errors
    /// [`Error::Rejected`] and [`Error::Broken`]: nothing was written.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.transaction(|connection, names| write::apply(connection, names, changes))
    }

    /// Puts everything that was applied on disk. One sync serves many batches, and takes none from the store's commits.
    ///
    /// # Errors
    /// As [`Index::apply`]; it is not known how much of it is on disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.reader.path.is_none() {
            return Ok(());
        }
        self.set_synchronous("FULL")?;
        // A commit that waits for the disk takes along all before it; it has to write something.
        self.syncs += 1;
        let synced = self.set_position("synced", self.syncs);
        self.set_synchronous("NORMAL")?;
        synced
    }

    fn set_synchronous(&self, mode: &str) -> Result<(), Error> {
        lock(&self.writer).pragma_update(None, "synchronous", mode).map_err(|error| self.reader.failed(&error))
    }

    /// Deletes up to `limit` runs of a namespace and returns how many there were; 0 means that none is left.
    ///
    /// # Errors
    /// As [`Index::apply`].
    pub fn delete_namespace(&mut self, namespace: NamespaceId, limit: usize) -> Result<usize, Error> {
        self.transaction(|connection, names| write::delete_namespace(connection, names, namespace, limit))
    }

    /// Records a position alone; see [`Change::Position`] for one that belongs to changes.
    ///
    /// # Errors
    /// As [`Index::apply`].
    pub fn set_position(&mut self, name: &str, value: u64) -> Result<(), Error> {
        self.apply(&[Change::Position { name: name.to_owned(), value }])
    }

    /// As [`Reader::position`].
    ///
    /// # Errors
    /// As there.
    pub fn position(&self, name: &str) -> Result<Option<u64>, Error> {
        self.reader.position(name)
    }

    /// As [`Reader::list`].
    ///
    /// # Errors
    /// As there.
    pub fn list(
        &self,
        namespace: NamespaceId,
        filter: &Filter,
        page_size: usize,
        page_token: &[u8],
    ) -> Result<Page, Error> {
        self.reader.list(namespace, filter, page_size, page_token)
    }

    /// As [`Reader::count`].
    ///
    /// # Errors
    /// As there.
    pub fn count(&self, namespace: NamespaceId, filter: &Filter) -> Result<Count, Error> {
        self.reader.count(namespace, filter)
    }

    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Names) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let mut connection = lock(&self.writer);
        let names = &mut self.names;
        let run = || {
            let transaction = connection.transaction()?;
            let done = work(&transaction, names)?;
            transaction.commit()?;
            Ok(done)
        };
        let done = run();
        if done.is_err() {
            // Ids that were given in the transaction are gone with it.
            *names = Names::default();
        }
        done.map_err(|error| self.reader.failed(&error))
    }
}

impl Reader {
    fn open(path: PathBuf) -> Result<Reader, OpenError> {
        let connection = Arc::new(Mutex::new(format::open_reader(&path)?));
        Ok(Reader { connection, path: Some(path) })
    }

    /// Reads a little of everything that is read before the first list.
    fn probe(&self, path: &Path) -> Result<(), OpenError> {
        let connection = lock(&self.connection);
        let read = || connection.query_row("SELECT count(*) FROM position", [], |_| Ok(()));
        read().map_err(|error| format::storage(path, &error))
    }

    /// What the caller hears. Damage is noted for the next start.
    fn failed(&self, error: &rusqlite::Error) -> Error {
        if let Some(path) = &self.path
            && damage::is_shown_by(error)
        {
            damage::note(path);
        }
        Error::from(error)
    }

    /// The position that was last recorded under this name.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn position(&self, name: &str) -> Result<Option<u64>, Error> {
        let connection = lock(&self.connection);
        let read = || {
            let mut select = connection.prepare_cached("SELECT value FROM position WHERE name = ?1")?;
            select.query_row([name], |row| row.get(0)).optional()
        };
        read().map_err(|error| self.failed(&error))
    }

    /// One page of what the filter finds. Groups are ignored, as the original does.
    ///
    /// Runs that start or close while a list is read move to its front: each run that stays as it is comes exactly once.
    ///
    /// # Errors
    /// [`Error::Token`] for a token that no list gave, else [`Error::Broken`].
    pub fn list(
        &self,
        namespace: NamespaceId,
        filter: &Filter,
        page_size: usize,
        page_token: &[u8],
    ) -> Result<Page, Error> {
        let after = if page_token.is_empty() { None } else { Some(Token::decode(page_token).ok_or(Error::Token)?) };
        let connection = lock(&self.connection);
        let read = || match namespace_id(&connection, namespace)? {
            Some(id) => {
                read_page(&connection, namespace, &plan::list(&connection, id, filter, after, page_size)?, page_size)
            }
            None => Ok(Page::default()),
        };
        read().map_err(|error| self.failed(&error))
    }

    /// Counts what the filter finds.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn count(&self, namespace: NamespaceId, filter: &Filter) -> Result<Count, Error> {
        let connection = lock(&self.connection);
        let read = || match namespace_id(&connection, namespace)? {
            Some(id) => read_count(&connection, &plan::count(&connection, id, filter)?, filter.group_by_status),
            None => Ok(Count::default()),
        };
        read().map_err(|error| self.failed(&error))
    }
}

/// A poisoned lock is as good as any: a panic rolled its transaction back.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn namespace_id(connection: &Connection, namespace: NamespaceId) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT id FROM namespace WHERE uuid = ?1")?;
    select.query_row([&namespace.0.as_bytes()[..]], |row| row.get(0)).optional()
}

/// The statement asks for one row more than the page has, to know whether the list goes on.
fn read_page(
    connection: &Connection,
    namespace: NamespaceId,
    statement: &Statement,
    page_size: usize,
) -> rusqlite::Result<Page> {
    let mut select = connection.prepare_cached(&statement.sql)?;
    let mut rows = select.query(params_from_iter(&statement.parameters))?;
    let mut page = Page::default();
    let mut last = None;
    while let Some(row) = rows.next()? {
        if page.records.len() == page_size {
            page.next_page_token = last.map(Token::encode).unwrap_or_default();
            break;
        }
        last = Some(Token { closed: row.get("closed")?, started: row.get("started")?, id: row.get("id")? });
        page.records.push(row::read(row, namespace)?);
    }
    Ok(page)
}

fn read_count(connection: &Connection, statement: &Statement, grouped: bool) -> rusqlite::Result<Count> {
    let mut select = connection.prepare_cached(&statement.sql)?;
    let mut rows = select.query(params_from_iter(&statement.parameters))?;
    let mut count = Count::default();
    while let Some(row) = rows.next()? {
        let found: i64 = row.get(0)?;
        count.total += found;
        if grouped {
            count.groups.push((vec![status_payload(row.get(1)?)], found));
        }
    }
    Ok(count)
}

fn status_payload(status: i64) -> Payload {
    let json = serde_json::Value::from(status_name(status)).to_string();
    Payload::new("json/plain", json.as_bytes()).with_metadata("type", Kind::Keyword.name().as_bytes())
}

impl From<&rusqlite::Error> for Error {
    fn from(error: &rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::Rejected(error.to_string())
            }
            _ => Error::Broken(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
