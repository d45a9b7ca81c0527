//! Child workflows: asked for, initiated, started, closed. Two operations of the slab belong to one: its start and its
//! end.

use mainspring_api::v1::{
    command::{
        RequestCancelExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
        command::Attributes,
    },
    common::{Payloads, WorkflowExecution, WorkflowType},
    enums::{RetryState, StartChildWorkflowExecutionFailedCause},
    failure::{
        ApplicationFailureInfo, CanceledFailureInfo, ChildWorkflowExecutionFailureInfo, Failure, TerminatedFailureInfo,
        TimeoutFailureInfo, failure::FailureInfo,
    },
    history::{HistoryEvent, history_event},
};

use crate::{call::CancelKind, error::Error, workflow::activity::OnCancel};

/// One child of a run.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) namespace: String,
    pub(crate) workflow_id: String,
    pub(crate) kind: String,
    pub(crate) cancel: CancelKind,
    pub(crate) state: State,
    pub(crate) run_id: String,
    pub(crate) cancel_asked: bool,
    pub(crate) command: Option<Box<StartChildWorkflowExecutionCommandAttributes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The command is not confirmed by an event yet.
    Asked,
    Initiated(i64),
    Started(i64),
}

impl Child {
    pub(crate) fn cancel(&mut self) -> OnCancel {
        if self.cancel_asked {
            return OnCancel::Nothing;
        }
        match (self.state, self.cancel) {
            (State::Asked, _) => return OnCancel::TakeBack,
            (State::Initiated(_) | State::Started(_), _) => self.cancel_asked = true,
        }
        match self.cancel {
            CancelKind::Abandon => OnCancel::Tell,
            CancelKind::TryCancel => OnCancel::SendAndTell,
            CancelKind::WaitCompleted => OnCancel::Send,
        }
    }

    pub(crate) fn starts_with(&self, event: &history_event::Attributes) -> bool {
        matches!(event, history_event::Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(initiated)
            if self.state == State::Asked
                && initiated.workflow_id == self.workflow_id
                && initiated.workflow_type.as_ref().is_some_and(|kind| kind.name == self.kind))
    }

    pub(crate) fn cancelled_with(&self, event: &history_event::Attributes) -> bool {
        matches!(event, history_event::Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(asked)
            if asked.child_workflow_only
                && asked.workflow_execution.as_ref().is_some_and(|run| run.workflow_id == self.workflow_id))
    }

    #[expect(deprecated, reason = "children in other namespaces, which our server has")]
    pub(crate) fn cancel_command(&self) -> Attributes {
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(
            RequestCancelExternalWorkflowExecutionCommandAttributes {
                namespace: self.namespace.clone(),
                workflow_id: self.workflow_id.clone(),
                child_workflow_only: true,
                ..Default::default()
            },
        )
    }

    fn failed(&self, ids: (i64, i64), retry_state: i32, cause: Option<Failure>) -> Error {
        let run_id = self.run_id.clone();
        let info = ChildWorkflowExecutionFailureInfo {
            namespace: self.namespace.clone(),
            workflow_execution: Some(WorkflowExecution { workflow_id: self.workflow_id.clone(), run_id }),
            workflow_type: Some(WorkflowType { name: self.kind.clone() }),
            initiated_event_id: ids.0,
            started_event_id: ids.1,
            retry_state,
        };
        Error::from_failure(Failure {
            message: "Child Workflow execution failed".to_owned(),
            cause: cause.map(Box::new),
            failure_info: Some(FailureInfo::ChildWorkflowExecutionFailureInfo(info)),
            ..Failure::default()
        })
    }

    /// Why it never started.
    pub(crate) fn not_started(&self, initiated: i64, cause: i32) -> Error {
        let cause = StartChildWorkflowExecutionFailedCause::try_from(cause)
            .unwrap_or(StartChildWorkflowExecutionFailedCause::Unspecified);
        let (message, kind) = match cause {
            StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists => {
                (format!("workflow {:?} is already there", self.workflow_id), "WorkflowExecutionAlreadyStarted")
            }
            StartChildWorkflowExecutionFailedCause::NamespaceNotFound => {
                (format!("there is no namespace {:?}", self.namespace), "NamespaceNotFound")
            }
            other => (format!("the child was not started: {}", other.as_str_name()), "StartChildFailed"),
        };
        let info = ApplicationFailureInfo { r#type: kind.to_owned(), non_retryable: true, ..Default::default() };
        let cause = plain(&message, FailureInfo::ApplicationFailureInfo(info));
        self.failed((initiated, 0), RetryState::NonRetryableFailure as i32, Some(cause))
    }
}

fn plain(message: &str, info: FailureInfo) -> Failure {
    Failure { message: message.to_owned(), failure_info: Some(info), ..Failure::default() }
}

/// How a child ended, from the event that says so.
pub(crate) fn ended(child: &Child, event: HistoryEvent) -> Option<Result<Option<Payloads>, Error>> {
    use history_event::Attributes as A;
    Some(match event.attributes? {
        A::ChildWorkflowExecutionCompletedEventAttributes(completed) => Ok(completed.result),
        A::ChildWorkflowExecutionFailedEventAttributes(failed) => {
            Err(child.failed((failed.initiated_event_id, failed.started_event_id), failed.retry_state, failed.failure))
        }
        A::ChildWorkflowExecutionCanceledEventAttributes(cancelled) => {
            let info = CanceledFailureInfo { details: cancelled.details, identity: String::new() };
            let cause = plain("Child Workflow execution cancelled", FailureInfo::CanceledFailureInfo(info));
            let ids = (cancelled.initiated_event_id, cancelled.started_event_id);
            Err(child.failed(ids, RetryState::NonRetryableFailure as i32, Some(cause)))
        }
        A::ChildWorkflowExecutionTimedOutEventAttributes(timed_out) => {
            let info = TimeoutFailureInfo {
                timeout_type: mainspring_api::v1::enums::TimeoutType::StartToClose as i32,
                last_heartbeat_details: None,
            };
            let cause = plain("Child Workflow execution timed out", FailureInfo::TimeoutFailureInfo(info));
            let ids = (timed_out.initiated_event_id, timed_out.started_event_id);
            Err(child.failed(ids, timed_out.retry_state, Some(cause)))
        }
        A::ChildWorkflowExecutionTerminatedEventAttributes(terminated) => {
            let info = FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default());
            let cause = plain("Child Workflow execution terminated", info);
            let ids = (terminated.initiated_event_id, terminated.started_event_id);
            Err(child.failed(ids, RetryState::NonRetryableFailure as i32, Some(cause)))
        }
        _ => return None,
    })
}
