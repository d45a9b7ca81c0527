//! The ids that everything is found by.

use std::fmt;

use uuid::Uuid;

/// A namespace's id: a UUID in its text form is what callers see; 16 bytes are what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub Uuid);

/// A run's id, opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub Uuid);

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The shard (of `shards`) that owns a workflow id. Part of the data format: it must never change.
pub fn shard_of(namespace: NamespaceId, workflow_id: &str, shards: u16) -> u16 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(namespace.0.as_bytes());
    hash.update(workflow_id.as_bytes());
    u16::try_from(hash.digest() % u64::from(shards)).unwrap_or(0)
}

/// The 16 bytes that stand for a task queue in keys. Part of the data format.
pub fn queue_hash(namespace: NamespaceId, name: &str, kind: QueueKind) -> [u8; 16] {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(namespace.0.as_bytes());
    hash.update(&[kind as u8]);
    hash.update(name.as_bytes());
    hash.digest128().to_be_bytes()
}

/// What a task queue hands out. Queues of one name and different kinds have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKind {
    /// Workflow tasks.
    Workflow = 1,
    /// Activity tasks.
    Activity = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_part_of_the_format() {
        let namespace = NamespaceId(Uuid::from_u128(7));
        assert_eq!(shard_of(namespace, "order-1", 512), shard_of(namespace, "order-1", 512));
        assert_ne!(queue_hash(namespace, "q", QueueKind::Workflow), queue_hash(namespace, "q", QueueKind::Activity));
    }
}
