//! Commands in few words.

use std::time::Duration;

use mainspring_api::{
    time::duration,
    v1::{
        Payload,
        command::{
            CancelTimerCommandAttributes, CancelWorkflowExecutionCommandAttributes, Command,
            CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes,
            FailWorkflowExecutionCommandAttributes, ProtocolMessageCommandAttributes, RecordMarkerCommandAttributes,
            RequestCancelActivityTaskCommandAttributes, RequestCancelExternalWorkflowExecutionCommandAttributes,
            ScheduleActivityTaskCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
            StartChildWorkflowExecutionCommandAttributes, StartTimerCommandAttributes, command::Attributes,
        },
        common::{ActivityType, Payloads, RetryPolicy, WorkflowExecution, WorkflowType},
        enums::{CommandType, ParentClosePolicy},
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        taskqueue::TaskQueue,
    },
};

/// The one task queue of each kind in each namespace.
pub(crate) const QUEUE: &str = "queue";

/// An activity that a workflow schedules.
#[derive(Clone, Debug)]
pub(crate) struct ActivityPlan {
    /// Its type: what the worker does with it.
    pub(crate) behaviour: &'static str,
    pub(crate) attempts: i32,
    pub(crate) eager: bool,
    pub(crate) to_close: Duration,
    pub(crate) over_all: Duration,
    pub(crate) to_start: Duration,
    pub(crate) heartbeat: Duration,
}

/// A child that a workflow starts.
#[derive(Clone, Debug)]
pub(crate) struct ChildPlan {
    pub(crate) kind: String,
    pub(crate) namespace: &'static str,
    /// An id that others use too; else one of its own.
    pub(crate) shared_id: Option<String>,
    pub(crate) policy: ParentClosePolicy,
    pub(crate) attempts: i32,
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
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

pub(crate) fn activity(id: &str, plan: &ActivityPlan) -> Command {
    let span = |span: Duration| Some(duration(span)).filter(|_| !span.is_zero());
    let a = ScheduleActivityTaskCommandAttributes {
        activity_id: id.to_owned(),
        activity_type: Some(ActivityType { name: plan.behaviour.to_owned() }),
        task_queue: Some(TaskQueue { name: QUEUE.to_owned(), ..TaskQueue::default() }),
        start_to_close_timeout: span(plan.to_close),
        schedule_to_close_timeout: span(plan.over_all),
        schedule_to_start_timeout: span(plan.to_start),
        heartbeat_timeout: span(plan.heartbeat),
        request_eager_execution: plan.eager,
        retry_policy: Some(RetryPolicy {
            initial_interval: Some(duration(Duration::from_millis(500))),
            maximum_attempts: plan.attempts,
            ..RetryPolicy::default()
        }),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(a))
}

pub(crate) fn cancel_activity(scheduled_event_id: i64) -> Command {
    let a = RequestCancelActivityTaskCommandAttributes { scheduled_event_id };
    command(CommandType::RequestCancelActivityTask, Attributes::RequestCancelActivityTaskCommandAttributes(a))
}

pub(crate) fn complete() -> Command {
    let a = CompleteWorkflowExecutionCommandAttributes { result: payloads("done") };
    command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(a))
}

pub(crate) fn fail() -> Command {
    let a = FailWorkflowExecutionCommandAttributes { failure: Some(failure("the workflow failed")) };
    command(CommandType::FailWorkflowExecution, Attributes::FailWorkflowExecutionCommandAttributes(a))
}

pub(crate) fn cancel_workflow() -> Command {
    let a = CancelWorkflowExecutionCommandAttributes::default();
    command(CommandType::CancelWorkflowExecution, Attributes::CancelWorkflowExecutionCommandAttributes(a))
}

pub(crate) fn continue_as_new(kind: &str) -> Command {
    let a = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: kind.to_owned() }),
        ..Default::default()
    };
    let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a);
    command(CommandType::ContinueAsNewWorkflowExecution, attributes)
}

pub(crate) fn marker(name: &str) -> Command {
    let a = RecordMarkerCommandAttributes { marker_name: name.to_owned(), ..Default::default() };
    command(CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(a))
}

/// Gives a message its place among the commands.
pub(crate) fn protocol_message(message_id: &str) -> Command {
    let a = ProtocolMessageCommandAttributes { message_id: message_id.to_owned() };
    command(CommandType::ProtocolMessage, Attributes::ProtocolMessageCommandAttributes(a))
}

pub(crate) fn child(id: &str, plan: &ChildPlan) -> Command {
    let a = StartChildWorkflowExecutionCommandAttributes {
        namespace: plan.namespace.to_owned(),
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType { name: plan.kind.clone() }),
        parent_close_policy: plan.policy as i32,
        retry_policy: (plan.attempts > 0)
            .then(|| RetryPolicy { maximum_attempts: plan.attempts, ..RetryPolicy::default() }),
        ..Default::default()
    };
    let attributes = Attributes::StartChildWorkflowExecutionCommandAttributes(a);
    command(CommandType::StartChildWorkflowExecution, attributes)
}

pub(crate) fn signal_other(namespace: &str, workflow_id: &str, control: &str, unique: &str) -> Command {
    let a = SignalExternalWorkflowExecutionCommandAttributes {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() }),
        signal_name: "from-workflow".to_owned(),
        input: payloads(unique),
        control: control.to_owned(),
        ..Default::default()
    };
    let attributes = Attributes::SignalExternalWorkflowExecutionCommandAttributes(a);
    command(CommandType::SignalExternalWorkflowExecution, attributes)
}

pub(crate) fn cancel_other(workflow_id: &str, reason: &str) -> Command {
    let a = RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.to_owned(),
        reason: reason.to_owned(),
        ..Default::default()
    };
    let attributes = Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(a);
    command(CommandType::RequestCancelExternalWorkflowExecution, attributes)
}

pub(crate) fn failure(message: &str) -> Failure {
    failure_of(message, ApplicationFailureInfo::default())
}

pub(crate) fn fatal_failure(message: &str) -> Failure {
    failure_of(message, ApplicationFailureInfo { non_retryable: true, ..Default::default() })
}

fn failure_of(message: &str, info: ApplicationFailureInfo) -> Failure {
    Failure {
        message: message.to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Failure::default()
    }
}

pub(crate) fn payloads(text: &str) -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload::new("json/plain", text.as_bytes())] })
}

/// What [`payloads`] was given.
pub(crate) fn text_of(payloads: Option<&Payloads>) -> Option<String> {
    let payload = payloads?.payloads.first()?;
    Some(String::from_utf8_lossy(&payload.data()).into_owned())
}
