//! What a step gives back: rows to write, tasks to dispatch, effects to send, and one reply.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use mainspring_api::v1::{
    enums::{WorkflowExecutionStatus, WorkflowTaskFailedCause},
    failure::Failure,
    history::HistoryEvent,
    protocol::Message,
};
use mainspring_rt::Timestamp;

use crate::{
    effect::Effect,
    input::{TaskKind, TaskRef},
    state::{Activity, Fixed, ItemKey, Run},
};

/// What came of a step. All of it goes into one commit, or none.
#[derive(Debug)]
pub struct Outcome {
    /// The run that was newest before and no longer is: closed in this step, with its last rows.
    pub superseded: Option<Box<(Run, RunChange)>>,
    /// What changed on the newest run; its rows are read from the chain. `None`: no write is due.
    pub current: Option<RunChange>,
    /// For whoever asked; sent only after the commit.
    pub reply: Reply,
}

/// What one step changed on one run.
#[derive(Debug, Default)]
pub struct RunChange {
    /// First write of this run: its pointer rows are due too.
    pub created: bool,
    /// New history, in order.
    pub chunks: Vec<Chunk>,
    /// Items to write, or to delete when the run no longer has them.
    pub touched: BTreeSet<ItemKey>,
    /// Tasks for matching: started in the same batch, or a row.
    pub tasks: Vec<TaskIntent>,
    /// New outbox rows, by number.
    pub effects: Vec<(u64, Effect)>,
    /// Outbox rows that are answered.
    pub effects_done: Vec<u64>,
    /// Updates that ended without an event, by their ids.
    pub updates_ended: Vec<(String, UpdateEnd)>,
    /// The wake row moves: delete the old place, write the new one (zero is none).
    pub wake: Option<WakeMove>,
    /// Retention is over: every row of the run goes, once its outbox is empty. The chain no longer has the run.
    pub expired: bool,
}

/// How an update ended that leaves no event.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateEnd {
    /// The workflow's code, or the server in its place, said no.
    Rejected(Box<Failure>),
    /// It was not heard.
    Aborted(Rejected),
}

/// The wake row's old and new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeMove {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// One stored batch of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first_event_id: i64,
    /// One past the last event's id.
    pub next_event_id: i64,
    /// The encoding of `History{events}`.
    pub bytes: Bytes,
    /// Ends with `WorkflowTaskStarted`, which closes a batch.
    pub ends_with_start: bool,
}

/// A task that a worker has to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskIntent {
    pub task: TaskRef,
    pub namespace_id: String,
    /// The queue's name; the sticky one if `sticky`.
    pub queue: String,
    pub sticky: bool,
    /// Dispatch level, 1 first.
    pub level: u8,
    /// Not to be dispatched later than this.
    pub expires: Option<Timestamp>,
}

/// The answer to an input.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nothing more to say than that it is done.
    Done,
    /// To a start or signal-with-start.
    Started(StartedRun),
    /// With the first workflow task, started for the caller.
    StartedEagerly(StartedRun, Box<StartedWorkflowTask>),
    /// To a poller of workflow tasks.
    WorkflowTask(Box<StartedWorkflowTask>),
    /// To a poller of activity tasks.
    ActivityTask(Box<StartedActivity>),
    /// To a completed workflow task.
    Completed(Box<CompletedWorkflowTask>),
    /// To a heartbeat: whether the activity is to stop, and whether an operator wants it.
    Heartbeat { cancel_requested: bool, paused: bool, reset: bool },
}

/// The run that answers a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedRun {
    pub run_id: String,
    pub first_run_id: String,
    /// False when an open run was used or signalled.
    pub started: bool,
    pub status: WorkflowExecutionStatus,
    /// The request was attached to the run that serves it: an event of it says so.
    pub attached: bool,
    /// The signal's event, for signal-with-start; 0 when it is held back or was there before.
    pub signal_event_id: i64,
}

/// A workflow task in a worker's hands: all that its poll response needs but the stored history.
#[derive(Clone, Debug)]
pub struct StartedWorkflowTask {
    pub task: TaskRef,
    pub fixed: Arc<Fixed>,
    /// Of the last completed workflow task; 0 before the first.
    pub previous_started_event_id: i64,
    pub scheduled_event_id: i64,
    pub started_event_id: i64,
    pub attempt: i32,
    pub scheduled_at: Timestamp,
    pub started_at: Timestamp,
    /// History to send: from this event on.
    pub history_from: i64,
    /// Stored history ends before this event.
    pub next_event_id: i64,
    /// Virtual events of a transient task, to append to what is stored.
    pub virtual_events: Vec<HistoryEvent>,
    /// Updates to be answered with the task's completion.
    pub messages: Vec<Message>,
}

/// An activity task in a worker's hands: all that its poll response needs but the scheduled event.
#[derive(Clone, Debug)]
pub struct StartedActivity {
    pub task: TaskRef,
    pub fixed: Arc<Fixed>,
    pub activity: Arc<Activity>,
    /// Stored history ends before this event.
    pub next_event_id: i64,
}

/// What came of a completion, for the worker.
#[derive(Clone, Debug, Default)]
pub struct CompletedWorkflowTask {
    /// The next workflow task, started inline.
    pub next_task: Option<Box<StartedWorkflowTask>>,
    /// Activities started in the same batch at the worker's request.
    pub activities: Vec<StartedActivity>,
    /// The completion was refused: what the caller is told. What was written stays written.
    pub refused: Option<RefusedCompletion>,
    /// The task left no trace: the worker goes back to this event; 0 when it stays where it is.
    pub reset_history_event_id: i64,
}

/// Why a completion failed its workflow task. The worker is told `InvalidArgument` and the message; when the cause is
/// unspecified, the task was heartbeating for too long and the worker is told `NotFound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCompletion {
    pub cause: WorkflowTaskFailedCause,
    pub message: String,
}

/// An expected refusal. The state is unchanged and nothing is to be committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The policies do not let a run start beside or after this one.
    #[error("workflow execution already started")]
    AlreadyStarted { open: bool, start_request_id: String, run_id: String, first_run_id: String, status: i32 },
    /// No such workflow id or chain.
    #[error("workflow not found")]
    NotFound,
    /// The input names a run that is not the newest. If that run is still stored, it is closed: a chain made of it
    /// alone answers the same input.
    #[error("another run is the newest")]
    OtherRun,
    /// The run is closed.
    #[error("workflow execution already completed")]
    Closed,
    /// The token names no started workflow task.
    #[error("workflow task not found")]
    WorkflowTaskNotFound,
    /// No such pending activity, or another attempt of it.
    #[error("activity not found")]
    ActivityNotFound,
    #[error("no pending activity of that id")]
    ActivityIdNotFound { activity_id: String },
    /// None of the activities that an operator named is pending.
    #[error("no pending activity of that id or type")]
    NoActivityNamed,
    #[error("activity was not asked to cancel")]
    CancelNotRequested,
    /// The run took as many signals as it may.
    #[error("signal count limit exceeded")]
    SignalLimit,
    /// A close is being retried: signals wait.
    #[error("workflow is closing")]
    Closing,
    /// The run ended before it heard of the update.
    #[error("workflow update was aborted by closing workflow")]
    UpdateAborted,
    /// The run has no update of that id.
    #[error("update \"{id}\" not found")]
    UpdateNotFound { id: String },
    /// Too many updates are under way.
    #[error("limit on number of concurrent in-flight updates has been reached ({max})")]
    UpdatesInFlight { max: usize },
    /// The run took as many updates as it may.
    #[error("limit on the total number of distinct updates in this workflow has been reached ({max})")]
    UpdateLimit { max: usize },
    /// The workflow's code cannot be reached now; the text is upstream's.
    #[error("{0}")]
    NotReady(&'static str),
    /// The task is gone, done, or another worker's.
    #[error("task is outdated")]
    TaskOutdated,
    /// What the request asks is impossible; the text is upstream's.
    #[error("{0}")]
    InvalidArgument(String),
}

impl TaskKind {
    /// The kind of queue it waits in.
    pub fn queue(self) -> mainspring_api::ids::QueueKind {
        match self {
            TaskKind::Workflow => mainspring_api::ids::QueueKind::Workflow,
            TaskKind::Activity => mainspring_api::ids::QueueKind::Activity,
        }
    }
}

impl Outcome {
    /// Nothing changed; only a reply.
    pub(crate) fn unchanged(reply: Reply) -> Outcome {
        Outcome { superseded: None, current: None, reply }
    }
}
