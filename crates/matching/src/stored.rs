//! Which shards have rows for queues that are not in memory.
//!
//! A queue in memory keeps this itself. What is here may be too much (rows are deleted without notice; a scan then
//! finds nothing), never too little.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::QueueHash;

/// By shard, so that the loss of one costs nothing; a queue that is loaded looks into each.
#[derive(Default)]
pub(crate) struct Stored {
    by_shard: BTreeMap<u16, BTreeSet<QueueHash>>,
}

impl Stored {
    pub(crate) fn insert(&mut self, shard: u16, queue: QueueHash) {
        self.by_shard.entry(shard).or_default().insert(queue);
    }

    /// The shards that have rows of the queue.
    pub(crate) fn shards(&self, queue: &QueueHash) -> Vec<u16> {
        self.by_shard.iter().filter(|(_, queues)| queues.contains(queue)).map(|(shard, _)| *shard).collect()
    }

    /// Hands over what is known of a queue: from now on it keeps that itself.
    pub(crate) fn take(&mut self, queue: &QueueHash) -> Vec<u16> {
        let shards = self.shards(queue);
        for queues in self.by_shard.values_mut() {
            queues.remove(queue);
        }
        shards
    }

    pub(crate) fn forget(&mut self, shard: u16) {
        self.by_shard.remove(&shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_takes_its_shards_and_a_lost_shard_takes_its_queues() {
        let mut stored = Stored::default();
        for (shard, queue) in [(3, [1; 16]), (1, [1; 16]), (2, [1; 16]), (1, [2; 16])] {
            stored.insert(shard, queue);
        }
        stored.forget(2);
        assert_eq!(stored.take(&[1; 16]), [1, 3]);
        assert_eq!((stored.take(&[1; 16]), stored.shards(&[2; 16])), (vec![], vec![1]));
    }
}
