//! What a queue is called, by people and in keys.

use std::sync::Arc;

use mainspring_api::ids::{NamespaceId, QueueKind, queue_hash};

/// Stands for a queue in the keys of its rows.
pub type QueueHash = [u8; 16];

/// Names a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName {
    /// Whose queue it is.
    pub namespace: NamespaceId,
    /// The name of a normal or of a sticky queue.
    pub name: Arc<str>,
    /// What it hands out.
    pub kind: QueueKind,
}

impl QueueName {
    /// The name in keys: rows of a queue are found by nothing else.
    pub fn hash(&self) -> QueueHash {
        queue_hash(self.namespace, &self.name, self.kind)
    }
}
