//! What a run remembers between steps.
//!
//! [`Fixed`] is written once, [`Execution`] with every step, each item when it changes. All are protobuf messages, so
//! that the stored form can grow. What `fold.rs` derives from events and what it cannot ("volatile": attempts,
//! heartbeats, stickiness, buffered events) is said field by field.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use mainspring_api::v1::{
    Payload,
    common::{Header, Payloads, Priority, RetryPolicy},
    enums::{ParentClosePolicy, WorkflowExecutionStatus},
    failure::Failure,
    history::HistoryEvent,
    sdk::UserMetadata,
};
use mainspring_rt::Timestamp;

mod update;

pub(crate) use update::update_id;
pub use update::{Admitted, Update};

/// A number that stands for a run in keys; rises within a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunNumber(pub u64);

/// One workflow id: its newest run. Older runs are closed and only read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// The newest run, open or closed; none before the first start and after retention.
    pub run: Option<Run>,
}

/// One run in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub number: RunNumber,
    pub fixed: Arc<Fixed>,
    pub execution: Execution,
    /// By scheduled event id.
    pub activities: BTreeMap<i64, Arc<Activity>>,
    /// By started event id.
    pub timers: BTreeMap<i64, Arc<Timer>>,
    /// By initiated event id.
    pub children: BTreeMap<i64, Arc<Child>>,
    /// Signals and cancel requests to other executions on their way, by initiated event id.
    pub externals: BTreeMap<i64, Arc<External>>,
    /// Request ids of the signals this run took.
    pub signal_requests: Arc<BTreeSet<String>>,
    /// Events held back while a workflow task runs; their ids come at the flush.
    pub buffered: Vec<Arc<HistoryEvent>>,
    pub properties: Arc<Properties>,
    /// Accepted updates, open and done, by their ids.
    pub updates: BTreeMap<String, Arc<Update>>,
    /// Updates that no worker has answered yet, in the order they came. Never stored.
    pub admitted: Vec<Arc<Admitted>>,
}

/// What never changes after the start.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fixed {
    /// Text form of the namespace's id.
    #[prost(string, tag = "1")]
    pub namespace_id: String,
    /// The namespace's name at the start.
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub workflow_id: String,
    #[prost(string, tag = "4")]
    pub run_id: String,
    #[prost(string, tag = "5")]
    pub workflow_type: String,
    #[prost(string, tag = "6")]
    pub task_queue: String,
    /// The first run of the chain.
    #[prost(string, tag = "7")]
    pub first_run_id: String,
    /// The run that a reset run goes back to; else the run itself.
    #[prost(string, tag = "8")]
    pub original_run_id: String,
    /// The run before in the chain; empty for the first.
    #[prost(string, tag = "9")]
    pub continued_run_id: String,
    /// Nanoseconds; 0 is none.
    #[prost(int64, tag = "10")]
    pub execution_timeout: i64,
    #[prost(int64, tag = "11")]
    pub run_timeout: i64,
    #[prost(int64, tag = "12")]
    pub task_timeout: i64,
    /// Nanoseconds since the epoch; 0 is never.
    #[prost(int64, tag = "13")]
    pub execution_expires_at: i64,
    #[prost(message, optional, tag = "14")]
    pub retry_policy: Option<RetryPolicy>,
    #[prost(int32, tag = "15")]
    pub attempt: i32,
    #[prost(string, tag = "16")]
    pub cron_schedule: String,
    #[prost(int64, tag = "17")]
    pub started_at: i64,
    /// When the first workflow task is due: the start, or later when it was delayed.
    #[prost(int64, tag = "18")]
    pub execution_at: i64,
    /// The start request; a random one for a run that follows another.
    #[prost(string, tag = "19")]
    pub create_request_id: String,
    #[prost(message, optional, tag = "20")]
    pub parent: Option<Parent>,
    #[prost(string, tag = "21")]
    pub root_workflow_id: String,
    #[prost(string, tag = "22")]
    pub root_run_id: String,
    #[prost(message, optional, tag = "23")]
    pub priority: Option<Priority>,
    /// For people to read.
    #[prost(message, optional, tag = "24")]
    pub user_metadata: Option<UserMetadata>,
    /// What a retry or the next cron run starts from; absent when there will be none.
    #[prost(message, optional, tag = "25")]
    pub again: Option<Again>,
    /// Start requests that earlier runs of this workflow id answered, oldest first, at most
    /// [`crate::limits::KNOWN_REQUESTS_MAX`].
    #[prost(message, repeated, tag = "26")]
    pub known_requests: Vec<KnownRequest>,
    /// The first workflow task was handed out with the answer to the start.
    #[prost(bool, tag = "27")]
    pub eager: bool,
}

/// A start request that was answered, and how.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KnownRequest {
    #[prost(string, tag = "1")]
    pub request_id: String,
    #[prost(string, tag = "2")]
    pub run_id: String,
    #[prost(string, tag = "3")]
    pub first_run_id: String,
    /// How that run ended.
    #[prost(enumeration = "WorkflowExecutionStatus", tag = "4")]
    pub status: i32,
}

/// What a run that may be tried again was given at its start.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Again {
    #[prost(message, optional, tag = "1")]
    pub input: Option<Payloads>,
    #[prost(message, optional, tag = "2")]
    pub header: Option<Header>,
    /// Of the last cron run that succeeded.
    #[prost(message, optional, tag = "3")]
    pub last_completion_result: Option<Payloads>,
    #[prost(message, optional, tag = "4")]
    pub continued_failure: Option<Failure>,
}

/// Who started a child.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Parent {
    #[prost(string, tag = "1")]
    pub namespace_id: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub workflow_id: String,
    #[prost(string, tag = "4")]
    pub run_id: String,
    #[prost(int64, tag = "5")]
    pub initiated_event_id: i64,
}

/// The hot part of a run, written with every step and small.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Execution {
    #[prost(enumeration = "WorkflowExecutionStatus", tag = "1")]
    pub status: i32,
    /// The id that the next event gets, from 1.
    #[prost(int64, tag = "2")]
    pub next_event_id: i64,
    #[prost(int64, tag = "3")]
    pub history_bytes: i64,
    /// `started_event_id` of the last completed workflow task; 0 before the first.
    #[prost(int64, tag = "4")]
    pub previous_started_event_id: i64,
    #[prost(message, optional, tag = "5")]
    pub task: Option<WorkflowTask>,
    /// Volatile: the attempt of the pending or next workflow task, from 1.
    #[prost(int32, tag = "6")]
    pub task_attempt: i32,
    /// Volatile.
    #[prost(message, optional, tag = "7")]
    pub sticky: Option<Sticky>,
    #[prost(int64, tag = "8")]
    pub signal_count: i64,
    #[prost(bool, tag = "9")]
    pub cancel_requested: bool,
    /// Volatile: a close was refused for unhandled events; signals wait until it had its second try.
    #[prost(bool, tag = "10")]
    pub close_attempted: bool,
    /// Nanoseconds since the epoch; 0 while open.
    #[prost(int64, tag = "11")]
    pub closed_at: i64,
    /// Volatile: rises with every task handed to matching, so that outdated ones are known.
    #[prost(uint32, tag = "12")]
    pub task_stamp: u32,
    /// Volatile: number of the next outbox row.
    #[prost(uint64, tag = "13")]
    pub next_effect: u64,
    /// Volatile: where the wake row stands; nanoseconds since the epoch, 0 when there is none.
    #[prost(int64, tag = "14")]
    pub wake_at: i64,
    /// Volatile: a child whose parent has not yet recorded its start has no first task.
    #[prost(bool, tag = "15")]
    pub awaits_parent: bool,
    #[prost(int64, tag = "16")]
    pub state_transitions: i64,
    /// The run that follows this one by continue-as-new, retry or cron.
    #[prost(string, tag = "17")]
    pub new_run_id: String,
    /// Volatile: number of the buffered items written so far, for their keys.
    #[prost(uint32, tag = "18")]
    pub buffered_rows: u32,
    /// Volatile: the run waits for its start delay or backoff.
    #[prost(bool, tag = "19")]
    pub awaits_first_task: bool,
    /// Time of the newest event, nanoseconds since the epoch: later ones are never before it, whatever the clock does.
    #[prost(int64, tag = "20")]
    pub last_event_at: i64,
    /// Volatile: to be deleted without regard to its retention.
    #[prost(bool, tag = "21")]
    pub delete_requested: bool,
}

/// The one pending workflow task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkflowTask {
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    /// 0 while it waits for a worker.
    #[prost(int64, tag = "2")]
    pub started_event_id: i64,
    #[prost(int32, tag = "3")]
    pub attempt: i32,
    #[prost(int64, tag = "4")]
    pub scheduled_at: i64,
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// The first scheduling of a chain of heartbeats.
    #[prost(int64, tag = "6")]
    pub original_scheduled_at: i64,
    /// Start-to-close, nanoseconds; grows from attempt 4.
    #[prost(int64, tag = "7")]
    pub timeout: i64,
    /// Schedule-to-start deadline of a sticky task; 0 on a normal queue.
    #[prost(int64, tag = "8")]
    pub start_by: i64,
    /// Where it was sent: the sticky queue's name, or empty for the normal one.
    #[prost(string, tag = "9")]
    pub sticky_queue: String,
    #[prost(string, tag = "10")]
    pub request_id: String,
    #[prost(string, tag = "11")]
    pub identity: String,
    #[prost(uint32, tag = "12")]
    pub stamp: u32,
    /// Has virtual event ids: attempts above 1 write nothing until one completes.
    #[prost(bool, tag = "13")]
    pub transient: bool,
    #[prost(bool, tag = "14")]
    pub suggest_continue: bool,
    /// History size told with the start.
    #[prost(int64, tag = "15")]
    pub history_bytes: i64,
    /// True when the poller that took it holds the run in its cache.
    #[prost(bool, tag = "16")]
    pub started_sticky: bool,
    /// Started, but its poller went away before it was sent: the next poller may have it.
    #[prost(bool, tag = "17")]
    pub undelivered: bool,
    /// Asked for by an update alone: it has virtual event ids, and if the update is rejected it leaves no trace.
    #[prost(bool, tag = "18")]
    pub speculative: bool,
}

impl WorkflowTask {
    /// A worker has it.
    pub fn is_started(&self) -> bool {
        self.started_event_id != 0
    }
}

/// Where the worker that has the run in its cache listens.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Sticky {
    #[prost(string, tag = "1")]
    pub queue: String,
    /// Nanoseconds.
    #[prost(int64, tag = "2")]
    pub schedule_to_start: i64,
}

/// An open activity.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Activity {
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    #[prost(string, tag = "2")]
    pub activity_id: String,
    #[prost(string, tag = "3")]
    pub activity_type: String,
    #[prost(string, tag = "4")]
    pub task_queue: String,
    /// The first scheduling, nanoseconds since the epoch.
    #[prost(int64, tag = "5")]
    pub scheduled_at: i64,
    /// Timeouts in nanoseconds; 0 is none.
    #[prost(int64, tag = "6")]
    pub schedule_to_close: i64,
    #[prost(int64, tag = "7")]
    pub schedule_to_start: i64,
    #[prost(int64, tag = "8")]
    pub start_to_close: i64,
    #[prost(int64, tag = "9")]
    pub heartbeat: i64,
    #[prost(message, optional, tag = "10")]
    pub retry_policy: Option<RetryPolicy>,
    #[prost(int32, tag = "11")]
    pub priority_key: i32,
    /// 0 until a cancel is requested.
    #[prost(int64, tag = "12")]
    pub cancel_requested_event_id: i64,
    /// All below is volatile. The attempt that runs or comes next, from 1.
    #[prost(int32, tag = "13")]
    pub attempt: i32,
    /// When this attempt is or was due.
    #[prost(int64, tag = "14")]
    pub attempt_scheduled_at: i64,
    /// This attempt's task was handed to matching; false while it waits out its backoff.
    #[prost(bool, tag = "15")]
    pub dispatched: bool,
    #[prost(uint32, tag = "16")]
    pub stamp: u32,
    /// 0 while no worker has it.
    #[prost(int64, tag = "17")]
    pub started_at: i64,
    #[prost(string, tag = "18")]
    pub request_id: String,
    #[prost(string, tag = "19")]
    pub started_identity: String,
    #[prost(int64, tag = "20")]
    pub last_heartbeat_at: i64,
    #[prost(message, optional, tag = "21")]
    pub heartbeat_details: Option<Payloads>,
    #[prost(message, optional, tag = "22")]
    pub last_failure: Option<Failure>,
    #[prost(string, tag = "23")]
    pub last_worker_identity: String,
    #[prost(int64, tag = "24")]
    pub last_attempt_complete_at: i64,
    /// The pause before this attempt, nanoseconds.
    #[prost(int64, tag = "25")]
    pub retry_interval: i64,
    /// Absent unless an operator holds it back.
    #[prost(message, optional, tag = "26")]
    pub paused: Option<Pause>,
    /// An operator wants the attempt that runs to be given up, and counts anew.
    #[prost(bool, tag = "27")]
    pub reset: bool,
    /// The attempt after this one begins without the heartbeat details.
    #[prost(bool, tag = "28")]
    pub forget_heartbeat: bool,
}

/// Who holds an activity back.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pause {
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = "1")]
    pub at: i64,
    #[prost(string, tag = "2")]
    pub identity: String,
    #[prost(string, tag = "3")]
    pub reason: String,
}

impl Activity {
    /// A worker has it.
    pub fn is_started(&self) -> bool {
        self.started_at != 0
    }

    /// No attempt starts before an operator says so.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }
}

/// An open timer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Timer {
    #[prost(int64, tag = "1")]
    pub started_event_id: i64,
    #[prost(string, tag = "2")]
    pub timer_id: String,
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = "3")]
    pub fires_at: i64,
}

/// An open child.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Child {
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    /// 0 until the start is recorded; [`crate::buffer::BUFFERED`] while that event is held back.
    #[prost(int64, tag = "2")]
    pub started_event_id: i64,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(string, tag = "4")]
    pub namespace_id: String,
    #[prost(string, tag = "5")]
    pub workflow_id: String,
    #[prost(string, tag = "6")]
    pub run_id: String,
    #[prost(string, tag = "7")]
    pub workflow_type: String,
    #[prost(enumeration = "ParentClosePolicy", tag = "8")]
    pub parent_close_policy: i32,
    /// The `WorkflowTaskCompleted` whose command started it.
    #[prost(int64, tag = "9")]
    pub completed_event_id: i64,
    #[prost(message, optional, tag = "10")]
    pub header: Option<Header>,
}

/// A signal or cancel request to another execution, on its way.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct External {
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub namespace_id: String,
    #[prost(string, tag = "4")]
    pub workflow_id: String,
    #[prost(string, tag = "5")]
    pub run_id: String,
    #[prost(string, tag = "6")]
    pub control: String,
    /// A cancel request, not a signal.
    #[prost(bool, tag = "7")]
    pub cancel: bool,
    /// The `WorkflowTaskCompleted` whose command sent it.
    #[prost(int64, tag = "8")]
    pub completed_event_id: i64,
}

/// Memo and search attributes as they stand, under their public names; and start requests that use the run.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Properties {
    #[prost(btree_map = "string, message", tag = "1")]
    pub memo: BTreeMap<String, Payload>,
    #[prost(btree_map = "string, message", tag = "2")]
    pub search_attributes: BTreeMap<String, Payload>,
    /// In the order they came.
    #[prost(message, repeated, tag = "3")]
    pub attached_requests: Vec<AttachedRequest>,
}

/// A start request that uses a run which another one started.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AttachedRequest {
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The event that says so; [`crate::buffer::BUFFERED`] while that is held back.
    #[prost(int64, tag = "2")]
    pub event_id: i64,
}

/// Names one stored item of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKey {
    Activity(i64),
    Timer(i64),
    Child(i64),
    External(i64),
    SignalRequest(String),
    /// An accepted update, by its id.
    Update(String),
    /// The nth event held back since the run started.
    Buffered(u32),
    Properties,
}

impl Fixed {
    /// 1 is dispatched first; 0 stands for the middle.
    pub fn priority_key(&self) -> i32 {
        self.priority.as_ref().map_or(0, |priority| priority.priority_key)
    }

    /// A start request made this run; it does not follow another one by continue-as-new, retry or cron.
    pub fn is_first(&self) -> bool {
        self.continued_run_id.is_empty()
    }
}

impl Run {
    /// A run without any event yet.
    pub fn new(number: RunNumber, fixed: Fixed) -> Run {
        Run {
            number,
            fixed: Arc::new(fixed),
            execution: Execution { next_event_id: 1, task_attempt: 1, ..Execution::default() },
            activities: BTreeMap::new(),
            timers: BTreeMap::new(),
            children: BTreeMap::new(),
            externals: BTreeMap::new(),
            signal_requests: Arc::default(),
            buffered: Vec::new(),
            properties: Arc::default(),
            updates: BTreeMap::new(),
            admitted: Vec::new(),
        }
    }

    /// The event that is held back under row `row`; none when that row is no longer used.
    pub fn buffered_at(&self, row: u32) -> Option<&Arc<HistoryEvent>> {
        let held = u32::try_from(self.buffered.len()).unwrap_or(u32::MAX);
        let index = row.checked_sub(self.execution.buffered_rows.saturating_sub(held))?;
        self.buffered.get(usize::try_from(index).ok()?)
    }

    /// This run as the sender of what the event `initiated_event_id` asks of others.
    pub(crate) fn as_parent(&self, initiated_event_id: i64) -> Parent {
        Parent {
            namespace_id: self.fixed.namespace_id.clone(),
            namespace: self.fixed.namespace.clone(),
            workflow_id: self.fixed.workflow_id.clone(),
            run_id: self.fixed.run_id.clone(),
            initiated_event_id,
        }
    }

    /// Open or closed how.
    pub fn status(&self) -> WorkflowExecutionStatus {
        self.execution.status()
    }

    /// Not closed.
    pub fn is_open(&self) -> bool {
        matches!(self.status(), WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused)
    }

    /// A worker has the pending workflow task.
    pub fn has_started_task(&self) -> bool {
        self.execution.task.as_ref().is_some_and(WorkflowTask::is_started)
    }

    /// The pending timer of that id.
    pub fn timer_by_id(&self, timer_id: &str) -> Option<&Arc<Timer>> {
        self.timers.values().find(|timer| timer.timer_id == timer_id)
    }

    /// The pending activity of that id.
    pub fn activity_by_id(&self, activity_id: &str) -> Option<&Arc<Activity>> {
        self.activities.values().find(|activity| activity.activity_id == activity_id)
    }

    /// When the run ends by its run or execution timeout; [`Timestamp::MAX`] when it has none.
    pub fn expires_at(&self) -> Timestamp {
        let by_run = add_nanos(self.fixed.execution_at, self.fixed.run_timeout);
        let by_execution = or_max(self.fixed.execution_expires_at);
        by_run.min(by_execution)
    }
}

/// `from + span`, or never when the span is 0.
pub(crate) fn add_nanos(from: i64, span: i64) -> Timestamp {
    if span == 0 { Timestamp::MAX } else { Timestamp::from_nanos(from.saturating_add(span)) }
}

/// A stored deadline: 0 is never.
pub(crate) fn or_max(at: i64) -> Timestamp {
    if at == 0 { Timestamp::MAX } else { Timestamp::from_nanos(at) }
}
