//! Commands and failures, in few words.

use std::time::Duration;

use mainspring_api::{
    time::duration,
    v1::{
        command::{
            CancelTimerCommandAttributes, CancelWorkflowExecutionCommandAttributes, Command,
            CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes,
            FailWorkflowExecutionCommandAttributes, RequestCancelActivityTaskCommandAttributes,
            RequestCancelExternalWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
            SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
            StartTimerCommandAttributes, command::Attributes,
        },
        common::{ActivityType, RetryPolicy, WorkflowExecution, WorkflowType},
        enums::{CommandType, ParentClosePolicy, WorkflowIdReusePolicy},
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        taskqueue::TaskQueue,
    },
};

use super::payloads;

pub(crate) fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() }
}

pub(crate) fn timer(id: &str, seconds: u64) -> Command {
    let a = StartTimerCommandAttributes {
        timer_id: id.to_owned(),
        start_to_fire_timeout: Some(duration(Duration::from_secs(seconds))),
    };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(a))
}

pub(crate) fn cancel_timer(id: &str) -> Command {
    let a = CancelTimerCommandAttributes { timer_id: id.to_owned() };
    command(CommandType::CancelTimer, Attributes::CancelTimerCommandAttributes(a))
}

/// Start-to-close 10 s.
pub(crate) fn activity(id: &str) -> Command {
    activity_with(id, |_| {})
}

pub(crate) fn activity_with(id: &str, change: impl FnOnce(&mut ScheduleActivityTaskCommandAttributes)) -> Command {
    let mut a = ScheduleActivityTaskCommandAttributes {
        activity_id: id.to_owned(),
        activity_type: Some(ActivityType { name: "Activity".to_owned() }),
        task_queue: Some(TaskQueue { name: "queue".to_owned(), ..TaskQueue::default() }),
        start_to_close_timeout: Some(duration(Duration::from_secs(10))),
        ..Default::default()
    };
    change(&mut a);
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(a))
}

pub(crate) fn cancel_activity(scheduled_event_id: i64) -> Command {
    let a = RequestCancelActivityTaskCommandAttributes { scheduled_event_id };
    command(CommandType::RequestCancelActivityTask, Attributes::RequestCancelActivityTaskCommandAttributes(a))
}

pub(crate) fn complete() -> Command {
    let a = CompleteWorkflowExecutionCommandAttributes { result: payloads(b"1") };
    command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(a))
}

pub(crate) fn fail() -> Command {
    let a = FailWorkflowExecutionCommandAttributes { failure: Some(failure("bad")) };
    command(CommandType::FailWorkflowExecution, Attributes::FailWorkflowExecutionCommandAttributes(a))
}

pub(crate) fn cancel() -> Command {
    let a = CancelWorkflowExecutionCommandAttributes::default();
    command(CommandType::CancelWorkflowExecution, Attributes::CancelWorkflowExecutionCommandAttributes(a))
}

pub(crate) fn continue_as_new() -> Command {
    let a = ContinueAsNewWorkflowExecutionCommandAttributes::default();
    let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a);
    command(CommandType::ContinueAsNewWorkflowExecution, attributes)
}

pub(crate) fn child(id: &str, policy: ParentClosePolicy) -> Command {
    child_with(id, policy, |_| {})
}

pub(crate) fn child_with(
    id: &str,
    policy: ParentClosePolicy,
    change: impl FnOnce(&mut StartChildWorkflowExecutionCommandAttributes),
) -> Command {
    let mut a = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType { name: "Child".to_owned() }),
        parent_close_policy: policy as i32,
        workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate as i32,
        ..Default::default()
    };
    change(&mut a);
    let attributes = Attributes::StartChildWorkflowExecutionCommandAttributes(a);
    command(CommandType::StartChildWorkflowExecution, attributes)
}

pub(crate) fn signal_external(id: &str) -> Command {
    signal_external_with(id, |_| {})
}

pub(crate) fn signal_external_with(
    id: &str,
    change: impl FnOnce(&mut SignalExternalWorkflowExecutionCommandAttributes),
) -> Command {
    let mut a = SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(WorkflowExecution { workflow_id: id.to_owned(), run_id: String::new() }),
        signal_name: "s".to_owned(),
        ..Default::default()
    };
    change(&mut a);
    let attributes = Attributes::SignalExternalWorkflowExecutionCommandAttributes(a);
    command(CommandType::SignalExternalWorkflowExecution, attributes)
}

pub(crate) fn cancel_external(id: &str) -> Command {
    let a =
        RequestCancelExternalWorkflowExecutionCommandAttributes { workflow_id: id.to_owned(), ..Default::default() };
    let attributes = Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(a);
    command(CommandType::RequestCancelExternalWorkflowExecution, attributes)
}

pub(crate) fn failure(message: &str) -> Failure {
    let info = ApplicationFailureInfo::default();
    Failure {
        message: message.to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Failure::default()
    }
}

/// Without a maximum: 1 s, then twice as long each time.
pub(crate) fn attempts(maximum_attempts: i32) -> Option<RetryPolicy> {
    Some(RetryPolicy { maximum_attempts, ..RetryPolicy::default() })
}

pub(crate) fn seconds(seconds: u64) -> Option<prost_types::Duration> {
    Some(duration(Duration::from_secs(seconds)))
}
