//! How many bytes of executions a node keeps in memory, over all its shards.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A ceiling shared by all shards. Clones count together.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Budget {
    /// A ceiling of `bytes_max`.
    pub fn new(bytes_max: usize) -> Budget {
        Budget { used: Arc::default(), bytes_max }
    }

    /// Bytes in use, by estimate.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.used() > self.bytes_max
    }
}
