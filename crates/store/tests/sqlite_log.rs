//! The log of a SQLite store under a load that never pauses.

mod support;

use std::fs;

use support::{batch, claimed, open, queue, written};

/// The log is used again from its start: it stays near that size, and nothing in it is lost.
#[tokio::test]
async fn a_steady_load_uses_the_log_again() {
    const BATCHES: u64 = 320;
    const VALUE_BYTES: usize = 256 << 10;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path);
    let claim = claimed(&store, 1).await;
    let mut before = None;
    for seq in 1..=BATCHES {
        // One is always queued, so the committer never rests.
        let next = queue(&store, claim, seq, batch(claim, seq, VALUE_BYTES));
        if let Some(before) = before.replace(next) {
            assert_eq!(before.await, Ok(()));
        }
    }
    assert_eq!(before.expect("batches were queued").await, Ok(()));
    let log_bytes = fs::metadata(dir.path().join("store.db-wal")).unwrap().len();
    assert!(log_bytes < 100 << 20, "160 MiB were written, the log has {} MiB", log_bytes >> 20);
    store.close();
    assert_eq!(written(&open(&path)).await.into_values().collect::<Vec<_>>(), [BATCHES]);
}
