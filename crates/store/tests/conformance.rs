//! The conformance suite on the engines that need no server of their own.

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;

use mainspring_rt::BoxFuture;
use mainspring_store::{
    Store,
    conformance::{self, Bed},
    memory::MemoryStore,
    sqlite::{Options, SqliteStore},
};

#[tokio::test]
async fn memory() {
    conformance::run(|| Memory { store: MemoryStore::automatic(), dir: scratch() }).await;
}

#[tokio::test]
async fn sqlite() {
    conformance::run(|| Sqlite { dir: scratch() }).await;
}

struct Memory {
    store: MemoryStore,
    dir: TempDir,
}

impl Bed for Memory {
    fn open(&self) -> BoxFuture<Arc<dyn Store>> {
        self.store.crash();
        let store = self.store.clone();
        Box::pin(async move { Arc::new(store) as Arc<dyn Store> })
    }

    fn open_backup(&self, path: PathBuf) -> BoxFuture<Arc<dyn Store>> {
        open_sqlite(path)
    }

    fn scratch(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

struct Sqlite {
    dir: TempDir,
}

impl Bed for Sqlite {
    fn open(&self) -> BoxFuture<Arc<dyn Store>> {
        open_sqlite(self.dir.path().join("store.db"))
    }

    fn open_backup(&self, path: PathBuf) -> BoxFuture<Arc<dyn Store>> {
        open_sqlite(path)
    }

    fn scratch(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

fn open_sqlite(path: PathBuf) -> BoxFuture<Arc<dyn Store>> {
    Box::pin(async move { Arc::new(SqliteStore::open(Options::at(path)).expect("opened")) as Arc<dyn Store> })
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a scratch directory")
}
