//! What went wrong with the disk: sorting SQLite's errors, and telling the server to stop.

use std::sync::OnceLock;

use rusqlite::ErrorCode;
use tokio::sync::watch;
use tracing::error;

use crate::Error;

/// Why the server has to stop. Nothing that was acknowledged is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No room for a write. Free some space and start again.
    #[error("the disk is full: {0}; nothing acknowledged is lost; free some space and start again")]
    DiskFull(String),
    /// A write or sync failed, or the file is damaged: nothing more is written, as a sync must not be tried again.
    #[error("the storage failed: {0}; nothing acknowledged is lost; check the disk and start again")]
    Broken(String),
}

/// The state of the disk, shared by the threads of a store.
pub(super) struct Health {
    broken: OnceLock<String>,
    failure: watch::Sender<Option<Failure>>,
}

impl Health {
    pub(super) fn new() -> Health {
        Health { broken: OnceLock::new(), failure: watch::Sender::new(None) }
    }

    /// The error for every call once the storage is broken. A full disk is not: the next write may find room.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.broken.get().map_or(Ok(()), |why| Err(Error::Poisoned(why.clone())))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Failure>> {
        self.failure.subscribe()
    }

    /// Records the failure, if that is what `trouble` is. The first of a kind is logged, and a broken storage outranks a
    /// full one.
    pub(super) fn report(&self, trouble: &Trouble, doing: &str) {
        let (failure, why) = match trouble {
            Trouble::Full(why) => (Failure::DiskFull(format!("{doing}: {why}")), None),
            Trouble::Broken(why) => (Failure::Broken(format!("{doing}: {why}")), Some(format!("{doing}: {why}"))),
            Trouble::Other(_) => return,
        };
        if let Some(why) = why
            && self.broken.set(why).is_err()
        {
            return;
        }
        let changed = self.failure.send_if_modified(|current| {
            let outranked = matches!((&*current, &failure), (Some(_), Failure::DiskFull(_)));
            if !outranked {
                *current = Some(failure.clone());
            }
            !outranked
        });
        if changed {
            error!(%failure, "the store has to stop");
        }
    }
}

/// What an error of SQLite or of the file system means to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No room; nothing was written.
    Full(String),
    /// Reading, writing or syncing failed, or the file is damaged.
    Broken(String),
    /// The statement itself, or somebody else's lock; nothing was written.
    Other(String),
}

impl From<&rusqlite::Error> for Trouble {
    fn from(error: &rusqlite::Error) -> Trouble {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Trouble::Full(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Trouble::Broken(error.to_string())
            }
            _ => Trouble::Other(error.to_string()),
        }
    }
}

impl From<&std::io::Error> for Trouble {
    fn from(error: &std::io::Error) -> Trouble {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Trouble::Full(error.to_string()),
            _ => Trouble::Broken(error.to_string()),
        }
    }
}

impl Trouble {
    /// What the caller of a write hears.
    pub(super) fn into_write_error(self) -> Error {
        match self {
            Trouble::Full(why) => Error::Rejected(format!("the disk is full: {why}")),
            Trouble::Broken(why) => Error::Poisoned(why),
            Trouble::Other(why) => Error::Rejected(why),
        }
    }
}

/// What the caller of a read hears. A block that cannot be read concerns whoever needs it, not the whole store.
pub(super) fn read_error(error: &rusqlite::Error) -> Error {
    match Trouble::from(error) {
        Trouble::Broken(why) => Error::Corrupt(why),
        Trouble::Full(why) | Trouble::Other(why) => Error::Rejected(why),
    }
}

/// What a caller hears whose request was still queued when the store was closed or its thread died.
pub(super) fn closed() -> Error {
    Error::Unknown("the store was closed".to_owned())
}
