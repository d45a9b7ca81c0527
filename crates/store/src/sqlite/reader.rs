//! The reader threads: each answers one short request at a time, from one consistent state of the file.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, types::ValueRef};
use tokio::sync::oneshot;

use mainspring_rt::BoxFuture;

use crate::{Error, Page, Scan, Table};

use super::{
    failure::{closed, read_error},
    format,
};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The queue in front of the reader threads.
pub(super) struct Readers {
    /// Gone once the store closes: that ends the threads when they have answered what was queued.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
}

impl Readers {
    pub(super) fn new() -> Readers {
        let (jobs, queue) = mpsc::channel();
        Readers { jobs: Mutex::new(Some(jobs)), queue: Arc::new(Mutex::new(queue)) }
    }

    /// Starts one thread that answers from `connection`, until it meets a [`Readers::close`].
    pub(super) fn start(&self, connection: Connection) -> std::io::Result<thread::JoinHandle<()>> {
        let queue = self.queue.clone();
        thread::Builder::new().name("store-reader".to_owned()).spawn(move || {
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                match job {
                    Ok(job) => job(&connection),
                    Err(_) => return,
                }
            }
        })
    }

    /// Ends the threads, once everything queued before was answered.
    pub(super) fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Queues a read at once; the future only awaits its answer.
    pub(super) fn read<T, F>(&self, read: F) -> BoxFuture<Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = move |connection: &Connection| {
            // A caller that stopped waiting needs no answer, nor the read.
            if !answer.is_closed() {
                let _ = answer.send(read(connection).map_err(|error| read_error(&error)));
            }
        };
        // A job that meets no reader any more is dropped, and with it the sender of the answer.
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = jobs.send(Box::new(job));
        }
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(closed())) })
    }
}

/// One row.
pub(super) fn get(connection: &Connection, table: Table, key: &[u8]) -> rusqlite::Result<Option<Bytes>> {
    let mut select = connection.prepare_cached(format::sql(table).get)?;
    select.query_row([key], |row| blob(row.get_ref(0)?)).optional()
}

/// Several rows, from one state of the file.
pub(super) fn multi_get(connection: &Connection, table: Table, keys: &[Bytes]) -> rusqlite::Result<Vec<Option<Bytes>>> {
    consistently(connection, |connection| keys.iter().map(|key| get(connection, table, key)).collect())
}

/// Several pages, from one state of the file.
pub(super) fn scan_all(connection: &Connection, scans: &[Scan]) -> rusqlite::Result<Vec<Page>> {
    consistently(connection, |connection| scans.iter().map(|range| scan(connection, range)).collect())
}

/// One page.
pub(super) fn scan(connection: &Connection, scan: &Scan) -> rusqlite::Result<Page> {
    let sql = format::sql(scan.table);
    let mut select = connection.prepare_cached(if scan.reverse { sql.scan_reverse } else { sql.scan })?;
    let mut rows = select.query([&scan.from[..], &scan.to[..]])?;
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if scan.is_full(page.rows.len(), bytes) {
            page.more = true;
            break;
        }
        let value = blob(row.get_ref(1)?)?;
        bytes += value.len();
        page.rows.push((blob(row.get_ref(0)?)?, value));
    }
    Ok(page)
}

/// Runs `read` in one read transaction.
fn consistently<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let answer = read(connection);
    let ended = connection.prepare_cached("ROLLBACK")?.execute([]);
    let answer = answer?;
    ended?;
    Ok(answer)
}

fn blob(value: ValueRef<'_>) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(value.as_blob()?))
}
