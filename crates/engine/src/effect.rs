//! Effects on other executions: what an outbox row holds, the input it becomes at its target, and what its answer means.
//!
//! A step never touches another execution. It commits a row with its events; the shard sends it after the commit, at
//! least once. The request id is derived from the row, so that a repeat answers as the first did.

use mainspring_api::v1::{
    common::{Header, Payloads, WorkflowExecution},
    enums::{
        CancelExternalWorkflowExecutionFailedCause as CancelCause, ParentClosePolicy,
        SignalExternalWorkflowExecutionFailedCause as SignalCause,
        StartChildWorkflowExecutionFailedCause as StartCause, WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
    },
    history::{HistoryEvent, StartChildWorkflowExecutionInitiatedEventAttributes},
};
use uuid::Uuid;

use crate::{
    input::{Answer, ChildClosed, Input, RequestCancel, Signal, Start, Terminate},
    outcome::{Rejected, Reply},
    state::Parent,
};

/// One outbox row. Rows of one run to one target go in order, one in flight.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Effect {
    /// Name of the target's namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    /// The event that initiated it; 0 when the close did.
    #[prost(int64, tag = "3")]
    pub initiated_event_id: i64,
    /// The run that sends it.
    #[prost(message, optional, tag = "4")]
    pub source: Option<Parent>,
    #[prost(oneof = "Kind", tags = "5, 6, 7, 8, 9, 10")]
    pub kind: Option<Kind>,
}

/// What is asked of the target.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(message, tag = "5")]
    StartChild(Box<StartChild>),
    /// The child's run id.
    #[prost(string, tag = "6")]
    ScheduleFirstTask(String),
    #[prost(message, tag = "7")]
    Signal(SignalExternal),
    #[prost(message, tag = "8")]
    Cancel(CancelExternal),
    #[prost(message, tag = "9")]
    ChildClosed(Box<ChildOutcome>),
    /// The parent closed: its policy is carried out on the child.
    #[prost(message, tag = "10")]
    CloseChild(CloseChild),
}

/// A child to start.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartChild {
    #[prost(message, optional, tag = "1")]
    pub initiated: Option<StartChildWorkflowExecutionInitiatedEventAttributes>,
    #[prost(message, optional, tag = "2")]
    pub root: Option<WorkflowExecution>,
    #[prost(message, optional, tag = "3")]
    pub user_metadata: Option<mainspring_api::v1::sdk::UserMetadata>,
}

/// A signal to send.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignalExternal {
    #[prost(string, tag = "1")]
    pub run_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub input: Option<Payloads>,
    #[prost(message, optional, tag = "4")]
    pub header: Option<Header>,
    /// The target has to be a child of the sender.
    #[prost(bool, tag = "5")]
    pub child_only: bool,
}

/// A cancel request to send.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CancelExternal {
    #[prost(string, tag = "1")]
    pub run_id: String,
    #[prost(string, tag = "2")]
    pub reason: String,
    #[prost(bool, tag = "3")]
    pub child_only: bool,
}

/// A parent-close policy to carry out. ABANDON lets a child begin whose start the parent could not record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CloseChild {
    /// The child's first run; empty when its start was not recorded.
    #[prost(string, tag = "1")]
    pub run_id: String,
    #[prost(enumeration = "ParentClosePolicy", tag = "2")]
    pub policy: i32,
}

/// How a child's chain ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChildOutcome {
    /// Run id of the parent.
    #[prost(string, tag = "1")]
    pub parent_run_id: String,
    /// The chain's last run.
    #[prost(string, tag = "2")]
    pub run_id: String,
    #[prost(string, tag = "3")]
    pub workflow_id: String,
    /// The child's closing event.
    #[prost(message, optional, tag = "4")]
    pub closing: Option<HistoryEvent>,
    #[prost(string, tag = "5")]
    pub workflow_type: String,
    /// The child's first run: the one that the parent knows.
    #[prost(string, tag = "6")]
    pub first_run_id: String,
}

impl Effect {
    /// The input that carries the effect out at its target in namespace `namespace_id`.
    ///
    /// # Errors
    /// The answer, when it is known without asking: a workflow is no other execution to itself, whatever its run, as
    /// upstream has it.
    pub fn to_input(&self, number: u64, namespace_id: &str) -> Result<Input, Answer> {
        if self.is_to_itself() {
            return Err(self.answer(&Err(Rejected::NotFound)).unwrap_or(Answer::Done));
        }
        self.input(number, namespace_id).ok_or(Answer::Done)
    }

    fn is_to_itself(&self) -> bool {
        let external = matches!(self.kind, Some(Kind::Signal(_) | Kind::Cancel(_)));
        let source = self.source.as_ref();
        external && source.is_some_and(|s| s.workflow_id == self.workflow_id && s.namespace == self.namespace)
    }

    fn input(&self, number: u64, namespace_id: &str) -> Option<Input> {
        let source = self.source.clone()?;
        let from = WorkflowExecution { workflow_id: source.workflow_id.clone(), run_id: source.run_id.clone() };
        let request_id = request_id(&source.run_id, self.initiated_event_id, number);
        Some(match self.kind.clone()? {
            Kind::StartChild(child) => Input::Start(Box::new(start_child(*child, source, request_id, namespace_id)?)),
            Kind::ScheduleFirstTask(run_id) => Input::ScheduleFirstTask { run_id, child_of_run_id: None },
            Kind::Signal(signal) => Input::Signal(Box::new(Signal {
                run_id: signal.run_id,
                name: signal.name,
                input: signal.input,
                identity: IDENTITY.to_owned(),
                header: signal.header,
                request_id,
                child_of_run_id: signal.child_only.then(|| source.run_id.clone()),
                source: Some(from),
                ..Signal::default()
            })),
            Kind::Cancel(cancel) => Input::RequestCancel(Box::new(RequestCancel {
                run_id: cancel.run_id,
                reason: cancel.reason,
                identity: IDENTITY.to_owned(),
                child_of_run_id: cancel.child_only.then(|| source.run_id.clone()),
                source: Some((from, self.initiated_event_id)),
                ..RequestCancel::default()
            })),
            Kind::ChildClosed(outcome) => Input::ChildClosed(Box::new(ChildClosed {
                run_id: outcome.parent_run_id.clone(),
                initiated_event_id: self.initiated_event_id,
                outcome: *outcome,
            })),
            Kind::CloseChild(close) => close_child(close, &source, from, self.initiated_event_id),
        })
    }

    /// What the source records of the target's answer; `None` when the row has to be sent again later.
    ///
    /// An answer of [`Rejected::OtherRun`] is final here: the shard has looked for the older run and there is none.
    pub fn answer(&self, answer: &Result<Reply, Rejected>) -> Option<Answer> {
        Some(match (&self.kind, answer) {
            (_, Err(Rejected::Closing)) => return None,
            (Some(Kind::StartChild(_)), Ok(Reply::Started(started))) => {
                Answer::ChildStarted { run_id: started.run_id.clone() }
            }
            (Some(Kind::StartChild(_)), _) => Answer::ChildRefused { cause: StartCause::WorkflowAlreadyExists as i32 },
            (Some(Kind::Signal(_) | Kind::Cancel(_)), Ok(_)) => Answer::Delivered,
            (Some(Kind::Signal(_)), Err(Rejected::SignalLimit)) => {
                Answer::Refused { cause: SignalCause::SignalCountLimitExceeded as i32 }
            }
            (Some(Kind::Signal(_)), Err(_)) => {
                Answer::Refused { cause: SignalCause::ExternalWorkflowExecutionNotFound as i32 }
            }
            (Some(Kind::Cancel(_)), Err(_)) => {
                Answer::Refused { cause: CancelCause::ExternalWorkflowExecutionNotFound as i32 }
            }
            _ => Answer::Done,
        })
    }

    /// What the source records when the namespace named does not exist.
    pub fn namespace_unknown(&self) -> Answer {
        match self.kind {
            Some(Kind::StartChild(_)) => Answer::ChildRefused { cause: StartCause::NamespaceNotFound as i32 },
            Some(Kind::Signal(_)) => Answer::Refused { cause: SignalCause::NamespaceNotFound as i32 },
            Some(Kind::Cancel(_)) => Answer::Refused { cause: CancelCause::NamespaceNotFound as i32 },
            _ => Answer::Done,
        }
    }
}

/// Who the server says it is when it acts by itself.
pub const IDENTITY: &str = "history-service";

/// The same row always has the same request id: a hash as in a UUID of version 5, marked as version 8 so that it is
/// known for one of ours.
fn request_id(run_id: &str, initiated_event_id: i64, number: u64) -> String {
    let space = Uuid::parse_str(run_id).unwrap_or_default();
    let hashed = Uuid::new_v5(&space, format!("{initiated_event_id}/{number}").as_bytes());
    uuid::Builder::from_custom_bytes(hashed.into_bytes()).into_uuid().to_string()
}

/// Whether a request id was derived from an outbox row: only those come again by themselves.
pub(crate) fn is_derived(request_id: &str) -> bool {
    const DERIVED: usize = 8;
    Uuid::parse_str(request_id).is_ok_and(|id| id.get_version_num() == DERIVED)
}

fn start_child(child: StartChild, parent: Parent, request_id: String, namespace_id: &str) -> Option<Start> {
    let initiated = child.initiated?;
    let span = |span: &Option<prost_types::Duration>| mainspring_api::time::from_duration(span.as_ref());
    Some(Start {
        namespace_id: namespace_id.to_owned(),
        namespace: initiated.namespace.clone(),
        workflow_id: initiated.workflow_id.clone(),
        workflow_type: initiated.workflow_type.unwrap_or_default().name,
        task_queue: initiated.task_queue.unwrap_or_default().name,
        input: initiated.input,
        execution_timeout: span(&initiated.workflow_execution_timeout),
        run_timeout: span(&initiated.workflow_run_timeout),
        task_timeout: span(&initiated.workflow_task_timeout),
        request_id,
        reuse_policy: WorkflowIdReusePolicy::try_from(initiated.workflow_id_reuse_policy)
            .unwrap_or(WorkflowIdReusePolicy::AllowDuplicate),
        conflict_policy: WorkflowIdConflictPolicy::Fail,
        retry_policy: initiated.retry_policy,
        cron_schedule: initiated.cron_schedule,
        memo: initiated.memo.unwrap_or_default().fields,
        search_attributes: initiated.search_attributes.unwrap_or_default().indexed_fields,
        header: initiated.header,
        priority: initiated.priority,
        user_metadata: child.user_metadata,
        parent: Some(parent),
        root: child.root,
        ..Start::default()
    })
}

fn close_child(close: CloseChild, parent: &Parent, from: WorkflowExecution, initiated_event_id: i64) -> Input {
    let child_of_run_id = Some(parent.run_id.clone());
    if close.policy() == ParentClosePolicy::Abandon {
        // The parent could not record the start any more, and without that the child would wait for ever.
        return Input::ScheduleFirstTask { run_id: close.run_id, child_of_run_id };
    }
    if close.policy() == ParentClosePolicy::RequestCancel {
        return Input::RequestCancel(Box::new(RequestCancel {
            first_run_id: close.run_id,
            identity: IDENTITY.to_owned(),
            child_of_run_id,
            source: Some((from, initiated_event_id)),
            ..RequestCancel::default()
        }));
    }
    Input::Terminate(Box::new(Terminate {
        first_run_id: close.run_id,
        reason: "by parent close policy".to_owned(),
        identity: IDENTITY.to_owned(),
        child_of_run_id,
        ..Terminate::default()
    }))
}
