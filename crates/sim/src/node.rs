//! A node: its shards, its task queues, and whatever they have under way. A crash drops it whole.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use mainspring_history::{
    Budget, Waiting,
    shard::{Event, Settings, Shard},
};
use mainspring_matching::{Matching, QueueName, Scan as QueueScan, Task};
use mainspring_rt::BoxFuture;
use mainspring_store::{Claim, Error as StoreError, Page, Scan, ShardId};

use crate::{plan::Plan, random::Random};

/// Names a call, so that its answer finds who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// Names a poll, so that its task finds who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PollId(pub(crate) u64);

pub(crate) type NodeEvent = Event<CallId, PollId>;
pub(crate) type Line = Waiting<PollId>;

/// A read of a shard: issued, then executed, then answered.
pub(crate) struct Reading {
    pub(crate) shard: usize,
    pub(crate) ticket: u64,
    pub(crate) scans: Vec<Scan>,
    pub(crate) pages: Option<Result<Vec<Page>, StoreError>>,
}

/// A read of matching, in the same steps.
pub(crate) struct Scanning {
    pub(crate) queue: QueueName,
    pub(crate) scan: QueueScan,
    pub(crate) page: Option<Option<(Vec<Task>, bool)>>,
}

/// Answers of commits, in the order in which the store gave them.
pub(crate) type Acknowledged = Arc<Mutex<VecDeque<(ShardId, u64, u64, Result<(), StoreError>)>>>;

pub(crate) struct Node {
    pub(crate) shards: Vec<Shard<CallId, PollId>>,
    pub(crate) mailboxes: Vec<VecDeque<NodeEvent>>,
    pub(crate) matching: Matching<Line>,
    pub(crate) budget: Budget,
    pub(crate) reads: Vec<Reading>,
    pub(crate) scans: Vec<Scanning>,
    pub(crate) claims: Vec<(usize, BoxFuture<Result<Claim, StoreError>>)>,
    pub(crate) acknowledged: Acknowledged,
    /// The store failed for good: the process has to stop.
    pub(crate) fatal: bool,
}

impl Node {
    pub(crate) fn start(plan: &Plan, random: &mut Random) -> Node {
        let budget = Budget::new(plan.cache_bytes_max);
        let retention = plan.retention;
        let settings = Arc::new(Settings {
            step: mainspring_engine::step,
            limits: plan.limits.clone(),
            retention: Arc::new(move |_| retention),
            refill_index: Arc::new(|| false),
            budget: budget.clone(),
        });
        let shards = (0..plan.shards).map(|id| Shard::new(ShardId(id), settings.clone(), random.next())).collect();
        Node {
            shards,
            mailboxes: (0..plan.shards).map(|_| VecDeque::from([Event::Open])).collect(),
            matching: Matching::new(plan.matching.clone()),
            budget,
            reads: Vec::new(),
            scans: Vec::new(),
            claims: Vec::new(),
            acknowledged: Acknowledged::default(),
            fatal: false,
        }
    }

    /// Puts the store's answers into the mailboxes.
    pub(crate) fn take_acknowledged(&mut self) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        for (shard, epoch, seq, result) in acknowledged.drain(..) {
            self.mailboxes[usize::from(shard.0)].push_back(Event::Committed { epoch, seq, result });
        }
    }

    /// Nothing is on its way inside the node.
    pub(crate) fn is_idle(&self) -> bool {
        self.mailboxes.iter().all(VecDeque::is_empty)
            && self.shards.iter().all(Shard::is_idle)
            && self.reads.is_empty()
            && self.scans.is_empty()
            && self.claims.is_empty()
    }
}
