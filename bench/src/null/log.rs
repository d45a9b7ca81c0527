//! The null server's durability: records appended to a file, answered for once a sync has covered them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::watch;

use crate::locked;

/// A file that grows by a record for each change; all that gathers during a sync shares the next.
pub(super) struct Log {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    synced: watch::Sender<u64>,
    record_bytes: usize,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The number of the last record in `bytes`.
    last: u64,
}

impl Log {
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: &Path, record_bytes: usize) -> std::io::Result<Arc<Log>> {
        let file = File::options().create(true).append(true).open(path)?;
        let log = Arc::new(Log {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            synced: watch::channel(0).0,
            record_bytes,
        });
        let writer = log.clone();
        std::thread::spawn(move || writer.write_to(file));
        Ok(log)
    }

    /// Appends one record and waits for the sync that covers it.
    pub(super) async fn append(&self) {
        let number = {
            let mut waiting = locked(&self.waiting);
            let length = waiting.bytes.len();
            waiting.bytes.resize(length + self.record_bytes, 7);
            waiting.last += 1;
            self.wake.notify_one();
            waiting.last
        };
        // The sender lives as long as we do.
        let _ = self.synced.subscribe().wait_for(|synced| *synced >= number).await;
    }

    /// A bound that loses writes would bound nothing, so a failure ends the thread and every answer waits for ever.
    fn write_to(&self, mut file: File) {
        loop {
            let taken = {
                let waiting = locked(&self.waiting);
                let mut waiting = self
                    .wake
                    .wait_while(waiting, |waiting| waiting.bytes.is_empty())
                    .unwrap_or_else(PoisonError::into_inner);
                Waiting { bytes: std::mem::take(&mut waiting.bytes), last: waiting.last }
            };
            if let Err(error) = file.write_all(&taken.bytes).and_then(|()| file.sync_data()) {
                crate::note(&format!("null server: the log cannot be written: {error}"));
                return;
            }
            self.synced.send_replace(taken.last);
        }
    }
}
