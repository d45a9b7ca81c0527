//! [`Error`] to the wire's failures and back, with all their causes. What came from the wire goes back as it came.

use mainspring_api::{
    time,
    v1::{
        common::{ActivityType, WorkflowExecution, WorkflowType},
        enums::ApplicationErrorCategory,
        failure::{
            ActivityFailureInfo, ApplicationFailureInfo, CanceledFailureInfo, ChildWorkflowExecutionFailureInfo,
            Failure, NexusHandlerFailureInfo, NexusOperationFailureInfo, ResetWorkflowFailureInfo, ServerFailureInfo,
            TerminatedFailureInfo, TimeoutFailureInfo, failure::FailureInfo,
        },
    },
};

use crate::{
    error::{
        ActivityFailure, Application, Cancelled, ChildFailure, Error, NexusFailure, NexusHandlerFailure, Origin, Reset,
        Stopped, Timeout,
    },
    payload::{RawArgs, from_wire, to_wire},
};

impl Error {
    /// From the wire, decoded.
    pub fn from_failure(failure: Failure) -> Error {
        let Failure { message, source, stack_trace, cause, failure_info, encoded_attributes: _ } = failure;
        let origin = Origin { source, stack_trace };
        let cause = cause.map(|cause| Error::from_failure(*cause));
        let common = Common { message, origin, cause };
        match failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => application(common, info),
            Some(FailureInfo::ActivityFailureInfo(info)) => activity(common, info),
            Some(FailureInfo::ChildWorkflowExecutionFailureInfo(info)) => child(common, info),
            Some(FailureInfo::TimeoutFailureInfo(info)) => timeout(common, info),
            Some(FailureInfo::NexusOperationExecutionFailureInfo(info)) => nexus(common, info),
            Some(FailureInfo::NexusHandlerFailureInfo(info)) => nexus_handler(common, info),
            Some(FailureInfo::CanceledFailureInfo(info)) => {
                let Common { message, origin, cause } = common;
                let details = RawArgs(from_wire(info.details));
                let identity = info.identity;
                Error::Cancelled(Box::new(Cancelled { message, details, identity, cause, origin }))
            }
            Some(FailureInfo::ResetWorkflowFailureInfo(info)) => {
                let Common { message, origin, cause } = common;
                let last_heartbeat = RawArgs(from_wire(info.last_heartbeat_details));
                Error::Reset(Box::new(Reset { message, last_heartbeat, cause, origin }))
            }
            Some(FailureInfo::TerminatedFailureInfo(info)) => {
                let Common { message, origin, cause } = common;
                let identity = info.identity;
                Error::Terminated(Box::new(Stopped { message, identity, non_retryable: false, cause, origin }))
            }
            Some(FailureInfo::ServerFailureInfo(info)) => {
                let Common { message, origin, cause } = common;
                let non_retryable = info.non_retryable;
                Error::Server(Box::new(Stopped { message, identity: String::new(), non_retryable, cause, origin }))
            }
            None => application(common, ApplicationFailureInfo::default()),
        }
    }
}

/// What every failure has.
struct Common {
    message: String,
    origin: Origin,
    cause: Option<Error>,
}

fn application(common: Common, info: ApplicationFailureInfo) -> Error {
    let Common { message, origin, cause } = common;
    Error::Application(Box::new(Application {
        message,
        benign: info.category() == ApplicationErrorCategory::Benign,
        kind: info.r#type,
        non_retryable: info.non_retryable,
        details: RawArgs(from_wire(info.details)),
        next_retry_delay: info.next_retry_delay.map(|delay| time::from_duration(Some(&delay))),
        cause,
        origin,
    }))
}

fn activity(common: Common, info: ActivityFailureInfo) -> Error {
    let Common { message, origin, cause } = common;
    Error::Activity(Box::new(ActivityFailure {
        message,
        retry_state: info.retry_state(),
        activity_type: info.activity_type.unwrap_or_default().name,
        activity_id: info.activity_id,
        identity: info.identity,
        scheduled_event_id: info.scheduled_event_id,
        started_event_id: info.started_event_id,
        cause,
        origin,
    }))
}

fn child(common: Common, info: ChildWorkflowExecutionFailureInfo) -> Error {
    let Common { message, origin, cause } = common;
    let retry_state = info.retry_state();
    let execution = info.workflow_execution.unwrap_or_default();
    Error::Child(Box::new(ChildFailure {
        message,
        namespace: info.namespace,
        workflow_id: execution.workflow_id,
        run_id: execution.run_id,
        workflow_type: info.workflow_type.unwrap_or_default().name,
        initiated_event_id: info.initiated_event_id,
        started_event_id: info.started_event_id,
        retry_state,
        cause,
        origin,
    }))
}

fn timeout(common: Common, info: TimeoutFailureInfo) -> Error {
    let Common { message, origin, cause } = common;
    let kind = info.timeout_type();
    let last_heartbeat = RawArgs(from_wire(info.last_heartbeat_details));
    Error::Timeout(Box::new(Timeout { message, kind, last_heartbeat, cause, origin }))
}

fn nexus(common: Common, info: NexusOperationFailureInfo) -> Error {
    let Common { message, origin, cause } = common;
    Error::Nexus(Box::new(NexusFailure {
        message,
        scheduled_event_id: info.scheduled_event_id,
        endpoint: info.endpoint,
        service: info.service,
        operation: info.operation,
        operation_token: info.operation_token,
        cause,
        origin,
    }))
}

fn nexus_handler(common: Common, info: NexusHandlerFailureInfo) -> Error {
    let Common { message, origin, cause } = common;
    let retry_behavior = info.retry_behavior();
    Error::NexusHandler(Box::new(NexusHandlerFailure { message, kind: info.r#type, retry_behavior, cause, origin }))
}

impl Error {
    /// The wire form, not encoded yet.
    pub fn into_failure(self) -> Failure {
        match self {
            Error::Application(failure) => from_application(*failure),
            Error::Activity(failure) => from_activity(*failure),
            Error::Child(failure) => from_child(*failure),
            Error::Nexus(failure) => from_nexus(*failure),
            Error::NexusHandler(failure) => {
                let info =
                    NexusHandlerFailureInfo { r#type: failure.kind, retry_behavior: failure.retry_behavior as i32 };
                whole(failure.message, failure.origin, failure.cause, FailureInfo::NexusHandlerFailureInfo(info))
            }
            Error::Timeout(timeout) => {
                let info = TimeoutFailureInfo {
                    timeout_type: timeout.kind as i32,
                    last_heartbeat_details: to_wire(timeout.last_heartbeat.0),
                };
                whole(timeout.message, timeout.origin, timeout.cause, FailureInfo::TimeoutFailureInfo(info))
            }
            Error::Cancelled(cancelled) => {
                let info = CanceledFailureInfo { details: to_wire(cancelled.details.0), identity: cancelled.identity };
                whole(cancelled.message, cancelled.origin, cancelled.cause, FailureInfo::CanceledFailureInfo(info))
            }
            Error::Terminated(stopped) => {
                let info = FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo { identity: stopped.identity });
                whole(stopped.message, stopped.origin, stopped.cause, info)
            }
            Error::Server(stopped) => {
                let info = ServerFailureInfo { non_retryable: stopped.non_retryable };
                whole(stopped.message, stopped.origin, stopped.cause, FailureInfo::ServerFailureInfo(info))
            }
            Error::Reset(reset) => {
                let info = ResetWorkflowFailureInfo { last_heartbeat_details: to_wire(reset.last_heartbeat.0) };
                whole(reset.message, reset.origin, reset.cause, FailureInfo::ResetWorkflowFailureInfo(info))
            }
            other @ (Error::SessionFailed(_)
            | Error::ContinueAsNew(_)
            | Error::CompleteLater
            | Error::Payload(_)
            | Error::Rpc(_)
            | Error::Client(_)) => from_application(without_form(other)),
        }
    }
}

/// The two variants that are no failures end here only when code returns them where they mean nothing.
fn without_form(error: Error) -> Application {
    match error {
        Error::ContinueAsNew(_) | Error::CompleteLater => Application {
            message: format!("an error that means {error} was returned where nothing can act on it"),
            kind: "MisplacedError".to_owned(),
            non_retryable: true,
            origin: Origin::here(),
            ..Application::default()
        },
        other => other.into_application(),
    }
}

fn from_application(failure: Application) -> Failure {
    let category =
        if failure.benign { ApplicationErrorCategory::Benign } else { ApplicationErrorCategory::Unspecified };
    let info = ApplicationFailureInfo {
        r#type: failure.kind,
        non_retryable: failure.non_retryable,
        details: to_wire(failure.details.0),
        next_retry_delay: failure.next_retry_delay.map(time::duration),
        category: category as i32,
    };
    whole(failure.message, failure.origin, failure.cause, FailureInfo::ApplicationFailureInfo(info))
}

fn from_activity(failure: ActivityFailure) -> Failure {
    let info = ActivityFailureInfo {
        scheduled_event_id: failure.scheduled_event_id,
        started_event_id: failure.started_event_id,
        identity: failure.identity,
        activity_type: Some(ActivityType { name: failure.activity_type }),
        activity_id: failure.activity_id,
        retry_state: failure.retry_state as i32,
    };
    whole(failure.message, failure.origin, failure.cause, FailureInfo::ActivityFailureInfo(info))
}

fn from_child(failure: ChildFailure) -> Failure {
    let info = ChildWorkflowExecutionFailureInfo {
        namespace: failure.namespace,
        workflow_execution: Some(WorkflowExecution { workflow_id: failure.workflow_id, run_id: failure.run_id }),
        workflow_type: Some(WorkflowType { name: failure.workflow_type }),
        initiated_event_id: failure.initiated_event_id,
        started_event_id: failure.started_event_id,
        retry_state: failure.retry_state as i32,
    };
    whole(failure.message, failure.origin, failure.cause, FailureInfo::ChildWorkflowExecutionFailureInfo(info))
}

fn from_nexus(failure: NexusFailure) -> Failure {
    let info = NexusOperationFailureInfo {
        scheduled_event_id: failure.scheduled_event_id,
        endpoint: failure.endpoint,
        service: failure.service,
        operation: failure.operation,
        operation_token: failure.operation_token,
        ..NexusOperationFailureInfo::default()
    };
    whole(failure.message, failure.origin, failure.cause, FailureInfo::NexusOperationExecutionFailureInfo(info))
}

fn whole(message: String, origin: Origin, cause: Option<Error>, info: FailureInfo) -> Failure {
    Failure {
        message,
        source: origin.source,
        stack_trace: origin.stack_trace,
        encoded_attributes: None,
        cause: cause.map(|cause| Box::new(cause.into_failure())),
        failure_info: Some(info),
    }
}

#[cfg(test)]
mod tests;
