//! What can happen to a workflow id. Imperative, one variant each; checked for form by the frontend before.

use mainspring_api::v1::{
    Payload,
    command::Command,
    common::{Header, Link, Payloads, Priority, RetryPolicy, WorkflowExecution},
    enums::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowTaskFailedCause},
    failure::Failure,
    protocol::Message,
    sdk::{UserMetadata, WorkflowTaskCompletedMetadata},
    update,
};
use std::{collections::BTreeMap, time::Duration};

use crate::state::{Parent, RunNumber};

/// One thing that happens to a chain.
#[derive(Clone, Debug)]
pub enum Input {
    /// Starts a run: from a client or as a child.
    Start(Box<Start>),
    /// Signals the open run, or starts one with the signal as its second event.
    SignalWithStart(Box<Start>, Box<Signal>),
    /// Signals the open run.
    Signal(Box<Signal>),
    /// Asks the open run's code for something, with an answer.
    Update(Box<AdmitUpdate>),
    /// Updates the open run, or starts one whose first workflow task brings the update.
    UpdateWithStart(Box<Start>, Box<AdmitUpdate>),
    /// Asks the open run to cancel itself; a closed one has nothing to do.
    RequestCancel(Box<RequestCancel>),
    /// Ends the open run.
    Terminate(Box<Terminate>),
    /// Ends the run if it is open, and its retention with it. An empty id is the newest run.
    Delete { run_id: String },
    /// A poller takes a task: from the same batch, the backlog or another node.
    StartTask(Box<StartTask>),
    /// A started task did not reach its poller.
    Undelivered(TaskRef),
    /// No worker listens on the sticky queue: the task goes to the normal one.
    StickyUnavailable(TaskRef),
    /// A worker has done a workflow task.
    CompleteWorkflowTask(Box<CompleteWorkflowTask>),
    /// A worker cannot do a workflow task.
    FailWorkflowTask(Box<FailWorkflowTask>),
    /// Forgets the sticky queue.
    ResetSticky { run_id: String },
    /// A worker or client speaks of an activity.
    Activity(ActivityTarget, ActivityInput),
    /// An operator holds activities back, lets them go on or has them begin anew.
    ControlActivities(Box<ControlActivities>),
    /// Something may be due: fires all that is, at once.
    Wake(RunNumber),
    /// The parent has recorded the child's start, or closed and let it go: the child may begin. An empty run id is the
    /// newest run; with `child_of_run_id` only a child of that run is meant.
    ScheduleFirstTask { run_id: String, child_of_run_id: Option<String> },
    /// The target's answer to an outbox row of this chain's run.
    EffectAnswered(Box<EffectAnswered>),
    /// A child's chain ended.
    ChildClosed(Box<ChildClosed>),
}

/// A start request with its defaults filled in.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Text form.
    pub namespace_id: String,
    pub namespace: String,
    pub workflow_id: String,
    pub workflow_type: String,
    pub task_queue: String,
    pub input: Option<Payloads>,
    /// Zero is none.
    pub execution_timeout: Duration,
    /// Zero is the execution timeout.
    pub run_timeout: Duration,
    /// Zero is the default.
    pub task_timeout: Duration,
    pub identity: String,
    /// Never empty.
    pub request_id: String,
    /// About a closed run.
    pub reuse_policy: WorkflowIdReusePolicy,
    /// About an open run; unspecified is FAIL for a start and USE_EXISTING for a signal-with-start.
    pub conflict_policy: WorkflowIdConflictPolicy,
    pub retry_policy: Option<RetryPolicy>,
    /// Empty is none; checked before by [`crate::validate_cron`].
    pub cron_schedule: String,
    pub memo: BTreeMap<String, Payload>,
    pub search_attributes: BTreeMap<String, Payload>,
    pub header: Option<Header>,
    /// Until the first workflow task.
    pub start_delay: Duration,
    pub last_completion_result: Option<Payloads>,
    pub continued_failure: Option<Failure>,
    pub user_metadata: Option<UserMetadata>,
    pub links: Vec<Link>,
    pub priority: Option<Priority>,
    /// Set for a child, whose first task waits for [`Input::ScheduleFirstTask`].
    pub parent: Option<Parent>,
    /// The top of the tree of parents; absent when the run is that itself.
    pub root: Option<WorkflowExecution>,
    /// The caller is a worker and wants the first workflow task with the answer. Granted when the task is due at once.
    pub eager: bool,
    /// What an open run takes over that is used in place of a new one; `None` leaves it as it is.
    pub on_conflict: Option<OnConflict>,
    /// Set only by the engine, for runs that follow another.
    pub continued: Option<Continued>,
}

/// What a run that is used as it stands takes over from the start request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnConflict {
    /// The same request is answered by the same run from then on.
    pub attach_request_id: bool,
    pub attach_links: bool,
}

/// What a follow-up run carries over from the run before it.
#[derive(Clone, Debug, Default)]
pub struct Continued {
    /// A `ContinueAsNewInitiator`.
    pub initiator: i32,
    pub continued_run_id: String,
    pub first_run_id: String,
    /// Nanoseconds since the epoch; 0 is never.
    pub execution_expires_at: i64,
    /// From 1.
    pub attempt: i32,
    /// Until the first workflow task.
    pub backoff: Duration,
}

/// A signal request.
#[derive(Clone, Debug, Default)]
pub struct Signal {
    /// Empty: the newest run.
    pub run_id: String,
    pub name: String,
    pub input: Option<Payloads>,
    pub identity: String,
    pub header: Option<Header>,
    /// Empty: not deduplicated.
    pub request_id: String,
    pub links: Vec<Link>,
    /// The workflow that sent it.
    pub source: Option<WorkflowExecution>,
    /// Only if the target's parent is this run.
    pub child_of_run_id: Option<String>,
}

/// An update request.
#[derive(Clone, Debug, Default)]
pub struct AdmitUpdate {
    /// Empty: the newest run.
    pub run_id: String,
    /// Only this chain; empty: any.
    pub first_run_id: String,
    /// Its `meta.update_id` is never empty.
    pub request: update::Request,
}

/// A cancel request.
#[derive(Clone, Debug, Default)]
pub struct RequestCancel {
    /// Empty: the newest run.
    pub run_id: String,
    /// Only this chain; empty: any.
    pub first_run_id: String,
    pub identity: String,
    pub reason: String,
    pub links: Vec<Link>,
    /// The workflow that sent it and the event that initiated it there.
    pub source: Option<(WorkflowExecution, i64)>,
    /// Only if the target's parent is this run.
    pub child_of_run_id: Option<String>,
}

/// A request to end a run without asking it. An empty reason is upstream's default.
#[derive(Clone, Debug, Default)]
pub struct Terminate {
    /// Empty: the newest run.
    pub run_id: String,
    /// Only this chain; empty: any.
    pub first_run_id: String,
    pub reason: String,
    pub details: Option<Payloads>,
    pub identity: String,
    pub links: Vec<Link>,
    /// Only if the target's parent is this run.
    pub child_of_run_id: Option<String>,
}

/// Names a task handed to matching. A stamp that is not the current one names an outdated task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskRef {
    pub run: RunNumber,
    pub kind: TaskKind,
    /// The scheduled event's id.
    pub event_id: i64,
    pub stamp: u32,
}

/// What kind of task it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskKind {
    Workflow,
    Activity,
}

/// A poller that takes a task.
#[derive(Clone, Debug)]
pub struct StartTask {
    pub task: TaskRef,
    /// One a poll: the same again answers as the first did.
    pub request_id: String,
    pub identity: String,
    /// The poll was on this sticky queue; `None` on a normal one.
    pub sticky_queue: Option<String>,
}

/// Which started workflow task a worker answers; from its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowTaskToken {
    pub run_id: String,
    pub scheduled_event_id: i64,
    pub started_event_id: i64,
    pub attempt: i32,
    pub stamp: u32,
}

/// What a worker made of a workflow task.
#[derive(Clone, Debug, Default)]
pub struct CompleteWorkflowTask {
    pub token: WorkflowTaskToken,
    pub commands: Vec<Command>,
    /// What became of updates; commands name some of them to give their place.
    pub messages: Vec<Message>,
    pub identity: String,
    /// Name and schedule-to-start of the sticky queue.
    pub sticky: Option<(String, Duration)>,
    /// Start the next workflow task, if there is one, in the same step.
    pub return_new_task: bool,
    /// Schedule a next workflow task though nothing has happened.
    pub force_new_task: bool,
    /// The worker can unsee the events of a task that is to leave no trace.
    pub discards_events: bool,
    pub binary_checksum: String,
    pub sdk_metadata: Option<WorkflowTaskCompletedMetadata>,
    pub metering_metadata: Option<mainspring_api::v1::common::MeteringMetadata>,
    pub worker_version: Option<mainspring_api::v1::common::WorkerVersionStamp>,
    /// Namespaces named by commands, resolved: name to text id; absent names are unknown.
    pub namespaces: BTreeMap<String, String>,
}

/// Why a worker could not do a workflow task.
#[derive(Clone, Debug)]
pub struct FailWorkflowTask {
    pub token: WorkflowTaskToken,
    pub cause: WorkflowTaskFailedCause,
    pub failure: Option<Failure>,
    pub identity: String,
    pub binary_checksum: String,
    pub worker_version: Option<mainspring_api::v1::common::WorkerVersionStamp>,
}

/// Which activity a worker or client speaks of.
#[derive(Clone, Debug)]
pub enum ActivityTarget {
    /// From a task token: exactly this attempt.
    Token { run_id: String, scheduled_event_id: i64, attempt: i32, stamp: u32 },
    /// By ids; an empty run id is the newest run.
    Id { run_id: String, activity_id: String },
}

impl ActivityTarget {
    /// The run that is meant; empty for the newest.
    pub fn run_id(&self) -> &str {
        match self {
            ActivityTarget::Token { run_id, .. } | ActivityTarget::Id { run_id, .. } => run_id,
        }
    }
}

/// What is said of an activity.
#[derive(Clone, Debug)]
pub enum ActivityInput {
    Heartbeat { details: Option<Payloads> },
    Complete { result: Option<Payloads>, identity: String },
    Fail { failure: Box<Failure>, last_heartbeat_details: Option<Payloads>, identity: String },
    Cancel { details: Option<Payloads>, identity: String },
}

/// An operator's word about pending activities of a run.
#[derive(Clone, Debug)]
pub struct ControlActivities {
    /// Empty: the newest run.
    pub run_id: String,
    pub which: ActivitiesNamed,
    pub control: ActivityControl,
}

/// Which activities an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivitiesNamed {
    Id(String),
    Type(String),
    All,
}

/// What becomes of them. A jitter spreads the next attempts over that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivityControl {
    /// No attempt starts any more; one that runs is told so.
    Pause { identity: String, reason: String },
    /// Those that are paused go on.
    Unpause { reset_attempts: bool, reset_heartbeat: bool, jitter: Duration },
    /// Attempts count from 1 again.
    Reset { reset_heartbeat: bool, keep_paused: bool, jitter: Duration },
}

/// What came of an outbox row.
#[derive(Clone, Debug)]
pub struct EffectAnswered {
    pub run: RunNumber,
    /// The row's number.
    pub effect: u64,
    pub initiated_event_id: i64,
    pub answer: Answer,
}

/// The target's word, reduced to what the source records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to record; the row may go.
    Done,
    ChildStarted {
        run_id: String,
    },
    /// A `StartChildWorkflowExecutionFailedCause`.
    ChildRefused {
        cause: i32,
    },
    Delivered,
    /// A `SignalExternalWorkflowExecutionFailedCause` or `CancelExternalWorkflowExecutionFailedCause`.
    Refused {
        cause: i32,
    },
}

/// How a child's chain ended: the closing event's own attributes tell the parent's.
#[derive(Clone, Debug)]
pub struct ChildClosed {
    /// Of the parent.
    pub run_id: String,
    pub initiated_event_id: i64,
    pub outcome: crate::effect::ChildOutcome,
}
