//! Shards: the single writers of workflow executions, their commits, wake-ups and outboxes.
//!
//! A [`History`] is all 512 shards of a node. Each is a state machine without I/O ([`shard::Shard`]) in a task of its
//! own (`node`): the task takes what is in its mailbox, the machine says what is to be done, the task does it.
//! What leaves here is durable. Left to others: the rules of a workflow (`engine`), who gets a task (`matching`), what
//! callers may ask and how they are told (`frontend`).

mod answer;
mod backlog;
mod budget;
mod delivery;
mod events;
mod indexer;
mod namespaces;
mod node;
mod random;
pub mod shard;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use mainspring_api::ids::{NamespaceId, QueueKind};
use mainspring_engine::{
    input::{CompleteWorkflowTask, Input},
    limits::Limits,
    outcome::Chunk,
};
use mainspring_matching::{Limits as MatchingLimits, Matching, QueueName};
use mainspring_rt::Rt;
use mainspring_store::{Error as StoreError, SHARDS, Store};
use mainspring_visibility::{Count, Error as IndexError, Filter, Index, Page};
use tokio::sync::watch;

pub use answer::{
    Answer, Delivered, Error, QueryReply, QueryTask, RunKey, RunView, UpdateOutcome, UpdateStage, UpdateView,
};
pub use budget::Budget;
pub use delivery::{Delivery, Line, PollTask};
pub use events::ReadLimits;
pub use namespaces::{ChangeError, Namespace, Namespaces, RegisterError};
pub use shard::{Answered, Ask, Await, LostWorkers, Survey, Waiting};

use node::{Lane, Node};

/// What a node is made of.
pub struct Config {
    pub rt: Rt,
    pub store: Arc<dyn Store>,
    /// The visibility index; filled anew when it is empty.
    pub index: Index,
    pub limits: Limits,
    /// Bytes of executions kept in memory, about.
    pub cache_bytes_max: usize,
    pub tuning: Tuning,
}

/// Sizes that only tests and the simulator change.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Shards of the node: a constant of the data format wherever data is kept.
    pub shards: u16,
    /// Calls that wait in one shard; more are refused.
    pub mailbox_max: usize,
    /// Changes that wait for the visibility index; more are left to be read again later.
    pub index_waiting_max: usize,
    /// Those of the task queues.
    pub matching: MatchingLimits,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning { shards: SHARDS, mailbox_max: 4_096, index_waiting_max: 20_000, matching: MatchingLimits::default() }
    }
}

/// All shards of a node. Cheap to clone.
#[derive(Clone)]
pub struct History {
    node: Arc<Node>,
}

impl History {
    /// Opens the node: reads the namespaces and sets the shards going, which open in the background.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(config: Config) -> Result<History, StoreError> {
        Ok(History { node: Node::open(config).await? })
    }

    /// The namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.node.namespaces
    }

    /// The task queues.
    pub fn matching(&self) -> &Matching<Line> {
        &self.node.matching
    }

    /// Why the node cannot go on, once there is a reason: the process has to stop.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.node.failed.subscribe()
    }

    /// Advances a workflow id by an input. The answer is durable, and so is what it was computed from.
    ///
    /// Not cancelled by dropping the future: the input may take effect all the same.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn call(&self, namespace: NamespaceId, workflow_id: &str, input: Input) -> Result<Answer, Error> {
        let lane = if is_report(&input) { Lane::Internal } else { Lane::External };
        self.node.call(namespace, workflow_id, input, BTreeMap::new(), lane).await
    }

    /// [`History::call`] for the completion of a workflow task, with the results of the queries that went with it, by
    /// the ids they had there. Unknown ids are ignored: nobody waits for those any more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn complete(
        &self,
        namespace: NamespaceId,
        workflow_id: &str,
        input: CompleteWorkflowTask,
        query_results: BTreeMap<u64, QueryReply>,
    ) -> Result<Answer, Error> {
        let input = Input::CompleteWorkflowTask(Box::new(input));
        self.node.call(namespace, workflow_id, input, query_results, Lane::Internal).await
    }

    /// Asks a workflow's code. Waits for a worker; the caller limits the time, at most to `ask.deadline`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn query(&self, namespace: NamespaceId, workflow_id: &str, ask: Ask) -> Result<QueryReply, Error> {
        self.node.query(namespace, workflow_id, ask).await
    }

    /// Brings an update to a workflow's code, or waits for one that is there, until it gets where it is wanted or the
    /// deadline comes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update(&self, namespace: NamespaceId, workflow_id: &str, wanted: Await) -> Result<UpdateView, Error> {
        self.node.update(namespace, workflow_id, wanted).await
    }

    /// A worker's answer to [`Delivered::Query`]; `shard` and `id` are that task's.
    pub fn answer_query(&self, shard: u16, id: u64, reply: QueryReply) {
        self.node.post(shard, shard::Event::QueryAnswered(id, reply));
    }

    /// A run as it stands; an empty id is the newest. Cancel safe.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look(&self, namespace: NamespaceId, workflow_id: &str, run_id: &str) -> Result<RunView, Error> {
        self.node.look(namespace, workflow_id, run_id, None).await
    }

    /// Resolves when the run has events that the view has not, or is closed. The caller limits the time. Cancel safe.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn changed(&self, view: &RunView) -> Result<RunView, Error> {
        let fixed = &view.run.fixed;
        let known = view.run.execution.next_event_id;
        self.node.look(view.namespace, &fixed.workflow_id, &fixed.run_id, Some(known)).await
    }

    /// Batches that hold the events `events`, in order, the first and the last cut to them; as many as the limits allow,
    /// but one at least. `tail` is what the caller has of the newest batches.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(
        &self,
        run: RunKey,
        tail: &[Chunk],
        events: Range<i64>,
        limits: ReadLimits,
    ) -> Result<Vec<Chunk>, Error> {
        events::read(&self.node, run, tail, events, limits).await
    }

    /// A page of the runs that a filter finds. The index is a moment behind the commits.
    ///
    /// # Errors
    /// The token is none of ours, or the index cannot be read.
    pub async fn list(
        &self,
        namespace: NamespaceId,
        filter: Filter,
        page_size: usize,
        page_token: Vec<u8>,
    ) -> Result<Page, IndexError> {
        self.node.indexer.list(&self.node.rt, namespace, filter, page_size, page_token).await
    }

    /// How many runs a filter finds, by its groups.
    ///
    /// # Errors
    /// The index cannot be read.
    pub async fn count(&self, namespace: NamespaceId, filter: Filter) -> Result<Count, IndexError> {
        self.node.indexer.count(&self.node.rt, namespace, filter).await
    }

    /// Waits in line for a task; `None` when the server stops. Dropping the future leaves the line at once.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait already.
    pub async fn poll(&self, poll: PollTask) -> Result<Option<Delivery>, Error> {
        delivery::poll(&self.node, poll).await
    }

    /// Bytes of executions in memory, by estimate.
    pub fn cache_bytes(&self) -> usize {
        self.node.budget.used()
    }

    /// Has every shard forget what need not be in memory, for tests and the simulator.
    pub fn evict_all(&self) {
        self.node.evict_all();
    }

    /// A worker is gone, and its sticky queue with it: what was to go there goes to the others.
    pub fn worker_left(&self, namespace: NamespaceId, sticky_queue: &str) {
        let queue = QueueName { namespace, name: sticky_queue.into(), kind: QueueKind::Workflow };
        self.node.matching.worker_left(&queue);
    }

    /// What goes on, for a clock that skips. Two that are equal, one after the other, are a look at all shards at once.
    pub async fn survey(&self, lost: &LostWorkers) -> Survey {
        self.node.survey(lost).await
    }

    /// Sends the pollers home, refuses what comes, and waits until all that was taken is durable.
    pub async fn close(&self) {
        self.node.close().await;
    }
}

/// What workers report: never refused for want of room, since that is what makes room.
fn is_report(input: &Input) -> bool {
    matches!(
        input,
        Input::CompleteWorkflowTask(_) | Input::FailWorkflowTask(_) | Input::Activity(..) | Input::ResetSticky { .. }
    )
}
