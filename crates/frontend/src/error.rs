//! Refusals and failures as gRPC statuses: code, text and the detail message that SDKs switch on.
//!
//! Texts and details follow the original (observed on 1.32.0); the end-to-end tests pin them.

use mainspring_api::{
    status::with_detail,
    v1::{
        enums::{
            NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope, WorkflowIdReusePolicy,
            WorkflowTaskFailedCause,
        },
        errordetails::{
            NamespaceAlreadyExistsFailure, NamespaceInvalidStateFailure, NamespaceNotFoundFailure, NotFoundFailure,
            ResourceExhaustedFailure, WorkflowExecutionAlreadyStartedFailure, WorkflowNotReadyFailure,
        },
    },
};
use mainspring_engine::outcome::{RefusedCompletion, Rejected};
use mainspring_history::{ChangeError, Error, Namespace, RegisterError};
use tonic::{Code, Status};
use tracing::error;

/// Bytes of a text that a caller gets to see. `system.maxServiceErrorMessageLength`
const MESSAGE_BYTES_MAX: usize = 4000;

/// What a request was about, for the texts that name it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    pub(crate) workflow_id: &'a str,
    /// Empty: the newest run was meant.
    pub(crate) run_id: &'a str,
    /// The request named the first run of a chain.
    pub(crate) names_chain: bool,
    /// Of a start.
    pub(crate) reuse_policy: WorkflowIdReusePolicy,
}

impl<'a> About<'a> {
    pub(crate) fn run(workflow_id: &'a str, run_id: &'a str) -> About<'a> {
        About { workflow_id, run_id, ..About::default() }
    }
}

/// The status for what history answered instead of a reply.
pub(crate) fn status(error: Error, about: &About<'_>) -> Status {
    match error {
        Error::Rejected(rejected) => refused(rejected, about),
        Error::Busy(what) => {
            exhausted(ResourceExhaustedCause::SystemOverloaded, ResourceExhaustedScope::System, what.to_owned())
        }
        Error::NotReady(why) => with_detail(Code::FailedPrecondition, why, &WorkflowNotReadyFailure::default()),
        Error::BusyWorkflow(why) => {
            exhausted(ResourceExhaustedCause::BusyWorkflow, ResourceExhaustedScope::Namespace, why.to_owned())
        }
        Error::Unavailable(why) => Status::unavailable(truncated(why)),
        Error::Corrupt(why) => {
            error!(workflow_id = about.workflow_id, run_id = about.run_id, %why, "stored data is damaged");
            Status::data_loss(truncated(why))
        }
        Error::Internal(why) => {
            error!(workflow_id = about.workflow_id, run_id = about.run_id, %why, "a request failed for a bug");
            Status::internal(truncated(why))
        }
    }
}

/// The status for an expected refusal.
fn refused(rejected: Rejected, about: &About<'_>) -> Status {
    match rejected {
        Rejected::AlreadyStarted { open, start_request_id, run_id, first_run_id, .. } => {
            let text = already_started(open, &run_id, about);
            let detail = WorkflowExecutionAlreadyStartedFailure {
                start_request_id,
                run_id,
                first_execution_run_id: first_run_id,
            };
            with_detail(Code::AlreadyExists, text, &detail)
        }
        Rejected::NotFound | Rejected::OtherRun => not_found(workflow_not_found(about)),
        Rejected::Closed => not_found("workflow execution already completed"),
        Rejected::WorkflowTaskNotFound | Rejected::TaskOutdated => not_found("Workflow task not found."),
        Rejected::ActivityNotFound => {
            not_found("invalid activityID or activity already timed out or invoking workflow is completed")
        }
        Rejected::ActivityIdNotFound { activity_id } => not_found(format!(
            "cannot find pending activity with ActivityID {activity_id}, \
             check workflow execution history for more details"
        )),
        Rejected::NoActivityNamed => {
            not_found("Can't find pending activity with such ID. Invalid activityID or activity already completed")
        }
        Rejected::CancelNotRequested => {
            invalid("unable to mark activity as canceled without activity being request canceled first")
        }
        Rejected::SignalLimit => invalid("exceeded workflow execution limit for signal events"),
        Rejected::Closing => exhausted(
            ResourceExhaustedCause::BusyWorkflow,
            ResourceExhaustedScope::Namespace,
            "workflow operation can not be applied because workflow is closing".to_owned(),
        ),
        Rejected::UpdateAborted | Rejected::UpdateNotFound { .. } => not_found(rejected.to_string()),
        Rejected::UpdatesInFlight { .. } => {
            exhausted(ResourceExhaustedCause::ConcurrentLimit, ResourceExhaustedScope::Namespace, rejected.to_string())
        }
        Rejected::UpdateLimit { .. } => Status::failed_precondition(rejected.to_string()),
        Rejected::NotReady(why) => with_detail(Code::FailedPrecondition, why, &WorkflowNotReadyFailure::default()),
        Rejected::InvalidArgument(text) => invalid(text),
    }
}

fn already_started(open: bool, run_id: &str, about: &About<'_>) -> String {
    let ids = format!("WorkflowId: {}, RunId: {run_id}.", about.workflow_id);
    if open {
        format!("Workflow execution is already running. {ids}")
    } else if about.reuse_policy == WorkflowIdReusePolicy::RejectDuplicate {
        format!("Workflow execution already finished. {ids} Workflow Id reuse policy: reject duplicate workflow Id.")
    } else {
        format!(
            "Workflow execution already finished successfully. {ids} \
             Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
        )
    }
}

fn workflow_not_found(about: &About<'_>) -> String {
    let About { workflow_id, run_id, .. } = about;
    if about.names_chain {
        "workflow execution not found".to_owned()
    } else if run_id.is_empty() {
        format!("workflow not found for ID: {workflow_id}")
    } else {
        format!("workflow execution not found for workflow ID \"{workflow_id}\" and run ID \"{run_id}\"")
    }
}

/// The status for a completion that failed its workflow task.
pub(crate) fn refused_completion(refused: &RefusedCompletion) -> Status {
    match refused.cause {
        // Only an overdue heartbeat has no cause.
        WorkflowTaskFailedCause::Unspecified => not_found(refused.message.clone()),
        _ => invalid(refused.message.clone()),
    }
}

pub(crate) fn registration(error: RegisterError, name: &str) -> Status {
    match error {
        RegisterError::Exists => with_detail(
            Code::AlreadyExists,
            format!("Namespace \"{name}\" already exists"),
            &NamespaceAlreadyExistsFailure::default(),
        ),
        RegisterError::Store(error) => Status::unavailable(truncated(error.to_string())),
    }
}

/// Why a namespace was not changed; `name` is how the caller called it.
pub(crate) fn change(error: ChangeError<Status>, name: &str) -> Status {
    match error {
        ChangeError::Unknown => namespace_not_found(name),
        ChangeError::Refused(status) => status,
        ChangeError::Store(error) => Status::unavailable(truncated(error.to_string())),
    }
}

/// A namespace is in a state in which this cannot be asked of it.
pub(crate) fn namespace_state(namespace: &Namespace, allowed: &[NamespaceState]) -> Status {
    let state = NamespaceState::try_from(namespace.state).unwrap_or_default();
    let names: Vec<_> = allowed.iter().map(|state| state_name(*state)).collect();
    let text = format!("Namespace has invalid state: {}. Must be {}.", state_name(state), names.join(" or "));
    let detail = NamespaceInvalidStateFailure {
        namespace: namespace.name.clone(),
        state: namespace.state,
        allowed_states: allowed.iter().map(|state| *state as i32).collect(),
    };
    with_detail(Code::FailedPrecondition, text, &detail)
}

fn state_name(state: NamespaceState) -> &'static str {
    match state {
        NamespaceState::Unspecified => "Unspecified",
        NamespaceState::Registered => "Registered",
        NamespaceState::Deprecated => "Deprecated",
        NamespaceState::Deleted => "Deleted",
    }
}

pub(crate) fn invalid(text: impl Into<String>) -> Status {
    Status::invalid_argument(truncated(text.into()))
}

pub(crate) fn not_found(text: impl Into<String>) -> Status {
    with_detail(Code::NotFound, truncated(text.into()), &NotFoundFailure::default())
}

pub(crate) fn namespace_not_found(name: &str) -> Status {
    let detail = NamespaceNotFoundFailure { namespace: name.to_owned() };
    with_detail(Code::NotFound, format!("Namespace {name} is not found."), &detail)
}

/// What is part of the API and not there yet.
pub(crate) fn not_implemented(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not implemented by this server yet"))
}

fn exhausted(cause: ResourceExhaustedCause, scope: ResourceExhaustedScope, text: String) -> Status {
    let detail = ResourceExhaustedFailure { cause: cause as i32, scope: scope as i32 };
    with_detail(Code::ResourceExhausted, text, &detail)
}

/// Cuts a text at a character boundary.
fn truncated(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use mainspring_api::google::rpc;
    use prost::Message;

    use super::*;

    fn detail(status: &Status) -> prost_types::Any {
        rpc::Status::decode(status.details()).unwrap().details.remove(0)
    }

    #[test]
    fn not_found_names_what_was_asked_for_and_always_has_its_detail() {
        let by_id = status(Error::Rejected(Rejected::NotFound), &About::run("order-1", ""));
        assert_eq!((by_id.code(), by_id.message()), (Code::NotFound, "workflow not found for ID: order-1"));
        assert!(detail(&by_id).type_url.ends_with("errordetails.v1.NotFoundFailure"));
        let by_run = status(Error::Rejected(Rejected::NotFound), &About::run("order-1", "r"));
        let text = "workflow execution not found for workflow ID \"order-1\" and run ID \"r\"";
        assert_eq!(by_run.message(), text);
    }

    #[test]
    fn already_started_says_why_and_by_whom() {
        let rejected = |open| Rejected::AlreadyStarted {
            open,
            start_request_id: "request".to_owned(),
            run_id: "run".to_owned(),
            first_run_id: "first".to_owned(),
            status: 1,
        };
        let about =
            About { workflow_id: "w", reuse_policy: WorkflowIdReusePolicy::RejectDuplicate, ..About::default() };
        let running = status(Error::Rejected(rejected(true)), &about);
        assert_eq!(running.message(), "Workflow execution is already running. WorkflowId: w, RunId: run.");
        let detail = WorkflowExecutionAlreadyStartedFailure::decode(detail(&running).value.as_slice()).unwrap();
        assert_eq!((detail.start_request_id.as_str(), detail.run_id.as_str()), ("request", "run"));
        let finished = status(Error::Rejected(rejected(false)), &about);
        assert!(finished.message().ends_with("RunId: run. Workflow Id reuse policy: reject duplicate workflow Id."));
    }

    #[test]
    fn a_closing_workflow_is_busy() {
        let busy = status(Error::Rejected(Rejected::Closing), &About::default());
        assert_eq!(busy.code(), Code::ResourceExhausted);
        let detail = ResourceExhaustedFailure::decode(detail(&busy).value.as_slice()).unwrap();
        assert_eq!(detail.cause(), ResourceExhaustedCause::BusyWorkflow);
    }

    #[test]
    fn an_overdue_heartbeat_is_not_found_and_a_bad_command_invalid() {
        let refused = |cause| RefusedCompletion { cause, message: "text".to_owned() };
        assert_eq!(refused_completion(&refused(WorkflowTaskFailedCause::Unspecified)).code(), Code::NotFound);
        assert_eq!(
            refused_completion(&refused(WorkflowTaskFailedCause::UnhandledCommand)).code(),
            Code::InvalidArgument
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(invalid("é".repeat(3000)).message().len(), MESSAGE_BYTES_MAX);
    }
}
