//! The store of a node: opened off the async threads, watched for failure, closed last.

use std::sync::Arc;

use mainspring_store::{
    Store,
    memory::MemoryStore,
    sqlite::{OpenError, Options, SqliteStore},
};
use mainspring_visibility::{Index, OpenError as IndexOpenError};
use tracing::warn;

use crate::{Config, Storage};

/// The store that a node runs on.
pub(crate) enum OpenStore {
    Memory(Arc<MemoryStore>),
    Sqlite(Arc<SqliteStore>),
}

/// Opens what the configuration names.
pub(crate) async fn open(config: &Config) -> Result<OpenStore, OpenError> {
    let path = match &config.storage {
        Storage::Memory => return Ok(OpenStore::Memory(Arc::new(MemoryStore::automatic()))),
        Storage::Sqlite(path) => path,
    };
    let mut options = Options::at(path);
    options.accept_loss = config.accept_loss;
    options.pragmas.clone_from(&config.sqlite_pragmas);
    let opening = tokio::task::spawn_blocking(|| SqliteStore::open(options));
    let store = opening.await.expect("opening a store does not panic")?;
    Ok(OpenStore::Sqlite(Arc::new(store)))
}

/// Opens the visibility index that belongs to the store: a file beside it, or memory. A damaged one is made anew: history
/// fills it from all runs.
pub(crate) async fn open_index(config: &Config) -> Result<Index, IndexOpenError> {
    let path = match &config.storage {
        Storage::Memory => return Index::memory(),
        Storage::Sqlite(path) => path,
    };
    let mut name = path.clone().into_os_string();
    name.push(".visibility");
    let path = std::path::PathBuf::from(name);
    let opening = tokio::task::spawn_blocking(move || {
        let (index, is_new) = Index::open_or_make_anew(&path)?;
        if is_new {
            warn!(path = %path.display(), "the visibility index was damaged; it is built anew, lists are complete soon");
        }
        Ok(index)
    });
    opening.await.expect("opening an index does not panic")
}

impl OpenStore {
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            OpenStore::Memory(store) => store.clone(),
            OpenStore::Sqlite(store) => store.clone(),
        }
    }

    /// As `GetClusterInfo` names it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            OpenStore::Memory(_) => "memory",
            OpenStore::Sqlite(_) => "sqlite",
        }
    }

    /// Resolves when the store cannot go on, with the reason. Cancel safe.
    pub(crate) async fn failed(&self) -> String {
        let OpenStore::Sqlite(store) = self else { return std::future::pending().await };
        let mut failed = store.failed();
        match failed.wait_for(Option::is_some).await {
            Ok(failure) => failure.as_ref().map(ToString::to_string).unwrap_or_default(),
            // The store is gone, which only closing it does.
            Err(_) => std::future::pending().await,
        }
    }

    /// Finishes what is queued and lets go of the file.
    pub(crate) async fn close(&self) {
        let OpenStore::Sqlite(store) = self else { return };
        let store = store.clone();
        // A panic was reported by the thread itself; there is nothing left to do about it.
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}
