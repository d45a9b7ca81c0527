//! Signals and cancellations sent to other workflows.

use mainspring_api::v1::{
    command::{
        RequestCancelExternalWorkflowExecutionCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
    },
    enums::{CancelExternalWorkflowExecutionFailedCause, SignalExternalWorkflowExecutionFailedCause},
    history::history_event,
};

use crate::error::Error;

/// A signal to another workflow.
#[derive(Debug)]
pub(crate) struct SignalOut {
    pub(crate) workflow_id: String,
    pub(crate) name: String,
    pub(crate) command: Option<Box<SignalExternalWorkflowExecutionCommandAttributes>>,
}

/// A cancellation of another workflow.
#[derive(Debug)]
pub(crate) struct CancelOut {
    pub(crate) workflow_id: String,
    pub(crate) command: Option<Box<RequestCancelExternalWorkflowExecutionCommandAttributes>>,
}

impl SignalOut {
    pub(crate) fn starts_with(&self, event: &history_event::Attributes) -> bool {
        matches!(event, history_event::Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated)
            if initiated.signal_name == self.name
                && initiated.workflow_execution.as_ref().is_some_and(|run| run.workflow_id == self.workflow_id))
    }

    pub(crate) fn failed(&self, cause: i32) -> Error {
        let cause = SignalExternalWorkflowExecutionFailedCause::try_from(cause)
            .unwrap_or(SignalExternalWorkflowExecutionFailedCause::Unspecified);
        refused("signal", &self.workflow_id, cause.as_str_name())
    }
}

impl CancelOut {
    pub(crate) fn starts_with(&self, event: &history_event::Attributes) -> bool {
        matches!(event, history_event::Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(asked)
            if !asked.child_workflow_only
                && asked.workflow_execution.as_ref().is_some_and(|run| run.workflow_id == self.workflow_id))
    }

    pub(crate) fn failed(&self, cause: i32) -> Error {
        let cause = CancelExternalWorkflowExecutionFailedCause::try_from(cause)
            .unwrap_or(CancelExternalWorkflowExecutionFailedCause::Unspecified);
        refused("cancel", &self.workflow_id, cause.as_str_name())
    }
}

fn refused(what: &str, workflow_id: &str, cause: &str) -> Error {
    let kind = if cause.ends_with("NOT_FOUND") { "NotFoundError" } else { "ExternalWorkflowError" };
    let short = cause.split("FAILED_CAUSE_").nth(1).unwrap_or(cause);
    Error::application(kind, format!("cannot {what} workflow {workflow_id:?}: {short}"))
}
