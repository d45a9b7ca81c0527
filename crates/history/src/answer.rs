//! What callers of this crate get back.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_api::{
    ids::NamespaceId,
    v1::{common::Payloads, enums::WorkflowExecutionStatus, failure::Failure, query::WorkflowQuery},
};
use mainspring_engine::{
    outcome::{Chunk, Rejected, Reply, StartedActivity, StartedRun, StartedWorkflowTask},
    state::{Fixed, Run, RunNumber},
};

/// Where a run's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunKey {
    pub shard: u16,
    pub run: RunNumber,
}

/// The reply of a step.
#[derive(Clone, Debug)]
pub struct Answer {
    pub reply: Reply,
    /// The run that tasks in the reply belong to.
    pub run: RunKey,
    /// That run's newest batches of history, as far as they are in memory.
    pub tail: Vec<Chunk>,
    /// Queries that go with the next workflow task in the reply, by the id that their answers name.
    pub queries: BTreeMap<String, WorkflowQuery>,
}

/// A run as it stands, durable.
#[derive(Clone, Debug)]
pub struct RunView {
    pub key: RunKey,
    pub namespace: NamespaceId,
    pub run: Run,
    /// Its newest batches of history, as far as they are in memory.
    pub tail: Vec<Chunk>,
}

/// A started task, with what is in memory of its history.
#[derive(Clone, Debug)]
pub enum Delivered {
    Workflow {
        task: Box<StartedWorkflowTask>,
        run: RunKey,
        tail: Vec<Chunk>,
        /// Queries to be answered with the task's completion, by the id that the answer names.
        queries: BTreeMap<String, WorkflowQuery>,
    },
    Activity {
        task: Box<StartedActivity>,
        run: RunKey,
        tail: Vec<Chunk>,
    },
    Query(Box<QueryTask>),
}

/// A query that a worker is to answer by itself, outside any workflow task.
#[derive(Clone, Debug)]
pub struct QueryTask {
    /// Names the query in its shard.
    pub id: u64,
    pub query: WorkflowQuery,
    pub run: RunKey,
    pub fixed: Arc<Fixed>,
    pub previous_started_event_id: i64,
    /// History to send: from this event on.
    pub history_from: i64,
    /// Stored history ends before this event.
    pub next_event_id: i64,
    pub tail: Vec<Chunk>,
}

/// How far an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpdateStage {
    /// Known to the server, in memory only.
    Admitted,
    Accepted,
    Completed,
}

/// An update as it stands, durable but for one that is only admitted.
#[derive(Clone, Debug)]
pub struct UpdateView {
    pub run: RunKey,
    pub run_id: String,
    pub stage: UpdateStage,
    /// Of one that is completed.
    pub outcome: Option<UpdateOutcome>,
    /// What a start that came with the update was answered.
    pub started: Option<StartedRun>,
    /// The run's newest batches of history, as far as they are in memory.
    pub tail: Vec<Chunk>,
}

/// Where the outcome of an update is.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateOutcome {
    /// In this event of the run's history.
    Event(i64),
    /// Nowhere else: the update was rejected, or its run closed before it was done.
    Failure(Box<Failure>),
}

/// What came of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryReply {
    Answered(Option<Payloads>),
    Failed {
        message: String,
        failure: Option<Box<Failure>>,
    },
    /// The caller did not want the answer of a run in that state.
    Rejected(WorkflowExecutionStatus),
}

impl Delivered {
    /// The run it belongs to.
    pub fn run(&self) -> RunKey {
        match self {
            Delivered::Workflow { run, .. } | Delivered::Activity { run, .. } => *run,
            Delivered::Query(query) => query.run,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The engine's refusal: nothing was written.
    #[error("{0}")]
    Rejected(#[from] Rejected),
    /// Too much is waiting already.
    #[error("{0}")]
    Busy(&'static str),
    /// The run cannot be queried now: no workflow task of it was completed, or they keep failing.
    #[error("{0}")]
    NotReady(&'static str),
    /// The workflow has too much under way.
    #[error("{0}")]
    BusyWorkflow(&'static str),
    /// Try again: the shard is being reloaded, or the server stops.
    #[error("{0}")]
    Unavailable(String),
    /// Stored data is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// A bug: the step failed, and with it nothing was written.
    #[error("{0}")]
    Internal(String),
}

/// Batches in memory that end a run's history.
pub(crate) type Tail = Arc<Vec<Chunk>>;
