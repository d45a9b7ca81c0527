//! A worker completes a workflow task: its commands take effect together or not at all.

use std::time::Duration;

use mainspring_api::v1::{
    command::Command,
    enums::{CommandType, TimeoutType, WorkflowTaskFailedCause as Cause},
    failure::{Failure, ServerFailureInfo, failure::FailureInfo},
    history::{WorkflowTaskCompletedEventAttributes, WorkflowTaskTimedOutEventAttributes, history_event::Attributes},
};
use mainspring_rt::Timestamp;

use crate::{
    input::{CompleteWorkflowTask, TaskKind},
    outcome::{CompletedWorkflowTask, RefusedCompletion, Rejected, Reply, StartedActivity},
    state::{Run, Sticky, WorkflowTask},
    transition::Transition,
    workflow::{
        activity,
        command::{self, Commands, Refusal},
        task::{self, Failed},
        terminate, update,
    },
};

/// The request id of a workflow task that is started with the completion of the one before.
const INLINE_REQUEST_ID: &str = "request-from-RespondWorkflowTaskCompleted";

/// Completes the task that the token names.
///
/// # Errors
/// The token is outdated, or the commands are in an impossible order: nothing is written.
pub(crate) fn complete(t: &mut Transition<'_>, input: &CompleteWorkflowTask) -> Result<Reply, Rejected> {
    let task = task::by_token(t.run, &input.token)?;
    check_sequence(&input.commands)?;
    update::check_messages(&input.messages)?;
    if is_overdue_heartbeat(t, &task, input) {
        time_out_heartbeat(t, &task);
        return Ok(replied(CompletedWorkflowTask { refused: Some(heartbeat_timeout()), ..Default::default() }));
    }
    let before = t.run.clone();
    let traceless = update::leaves_no_trace(t.run, &task, input);
    if traceless {
        drop_task(t, input);
    } else {
        record_completed(t, input);
    }
    match command::run_all(t, input) {
        Ok(commands) => {
            let mut reply = finish(t, input, &task, commands);
            reply.reset_history_event_id = if traceless { before.execution.previous_started_event_id } else { 0 };
            Ok(replied(reply))
        }
        Err(refusal) => refuse(t, before, &task, input.identity.clone(), refusal),
    }
}

/// A close that is not last and an unknown command are refused outright, with the task still running.
fn check_sequence(commands: &[Command]) -> Result<(), Rejected> {
    for (index, command) in commands.iter().enumerate() {
        let kind = command.command_type();
        if kind == CommandType::Unspecified {
            return Err(Rejected::InvalidArgument(format!("Unknown command type: {}", command.command_type)));
        }
        if command::is_close(kind) && index + 1 != commands.len() {
            let next = commands[index + 1].command_type();
            return Err(Rejected::InvalidArgument(format!(
                "invalid command sequence: [{}], command {} must be the last command.",
                [kind, next].map(command::name).join(", "),
                command::name(kind)
            )));
        }
    }
    Ok(())
}

fn record_completed(t: &mut Transition<'_>, input: &CompleteWorkflowTask) {
    task::materialize(t);
    let task = t.run.execution.task.clone().unwrap_or_default();
    t.record(Attributes::WorkflowTaskCompletedEventAttributes(WorkflowTaskCompletedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        identity: input.identity.clone(),
        binary_checksum: input.binary_checksum.clone(),
        worker_version: input.worker_version.clone(),
        sdk_metadata: input.sdk_metadata.clone(),
        metering_metadata: input.metering_metadata,
        ..Default::default()
    }));
    settle(t, input);
}

/// The task asked about updates alone, and all were rejected.
fn drop_task(t: &mut Transition<'_>, input: &CompleteWorkflowTask) {
    t.run.execution.task = None;
    t.mark_dirty();
    settle(t, input);
}

fn settle(t: &mut Transition<'_>, input: &CompleteWorkflowTask) {
    t.run.execution.task_attempt = 1;
    t.run.execution.sticky =
        input.sticky.as_ref().map(|(queue, span)| Sticky { queue: queue.clone(), schedule_to_start: nanos(*span) });
}

fn finish(
    t: &mut Transition<'_>,
    input: &CompleteWorkflowTask,
    task: &WorkflowTask,
    commands: Commands,
) -> CompletedWorkflowTask {
    t.run.execution.close_attempted = false;
    let activities = eager(t, input, &commands);
    if !t.run.is_open() {
        return CompletedWorkflowTask { activities, ..Default::default() };
    }
    if !input.force_new_task {
        update::reject_unanswered(t);
    }
    let held = t.flush();
    if held || input.force_new_task || commands.cancelled_unstarted_activity {
        task::schedule(t);
        keep_heartbeat_origin(t, input, task);
    } else if !t.run.admitted.is_empty() {
        task::schedule_speculative(t);
    }
    let next_task = t.run.execution.task.is_some() && input.return_new_task;
    let next_task = next_task.then(|| Box::new(start_inline(t, input)));
    CompletedWorkflowTask { next_task, activities, ..Default::default() }
}

fn start_inline(t: &mut Transition<'_>, input: &CompleteWorkflowTask) -> crate::outcome::StartedWorkflowTask {
    let scheduled = t.run.execution.task.as_ref().map_or(0, |task| task.scheduled_event_id);
    t.undispatch(TaskKind::Workflow, scheduled);
    task::begin(t, INLINE_REQUEST_ID, &input.identity, true);
    task::started(t.run, true)
}

/// Starts the activities that the worker asked to have at once.
fn eager(t: &mut Transition<'_>, input: &CompleteWorkflowTask, commands: &Commands) -> Vec<StartedActivity> {
    let mut started = Vec::new();
    for scheduled_event_id in &commands.eager_activities {
        if !t.run.is_open() || !t.run.activities.contains_key(scheduled_event_id) {
            continue;
        }
        t.undispatch(TaskKind::Activity, *scheduled_event_id);
        let request_id = t.at.new_request_id();
        started.extend(activity::begin(t, *scheduled_event_id, &request_id, &input.identity));
    }
    started
}

/// A completion that only asks for more time belongs to a chain that began with the first task.
fn keep_heartbeat_origin(t: &mut Transition<'_>, input: &CompleteWorkflowTask, task: &WorkflowTask) {
    if let Some(next) = t.run.execution.task.as_mut().filter(|_| is_heartbeat(input)) {
        next.original_scheduled_at = task.original_scheduled_at;
    }
}

fn is_heartbeat(input: &CompleteWorkflowTask) -> bool {
    input.force_new_task && input.commands.is_empty()
}

fn is_overdue_heartbeat(t: &Transition<'_>, task: &WorkflowTask, input: &CompleteWorkflowTask) -> bool {
    let began = Timestamp::from_nanos(task.original_scheduled_at);
    is_heartbeat(input) && t.at.now.since(began) > t.at.limits.task_heartbeat_max
}

fn time_out_heartbeat(t: &mut Transition<'_>, task: &WorkflowTask) {
    task::materialize(t);
    t.record(Attributes::WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        timeout_type: TimeoutType::StartToClose as i32,
    }));
    t.run.execution.sticky = None;
    t.run.execution.task_attempt = 1;
    t.flush();
    task::schedule(t);
}

fn heartbeat_timeout() -> RefusedCompletion {
    RefusedCompletion { cause: Cause::Unspecified, message: "workflow task heartbeat timeout".to_owned() }
}

/// No command of the task takes effect; the task fails, and some refusals end the workflow.
fn refuse(
    t: &mut Transition<'_>,
    before: Run,
    task: &WorkflowTask,
    identity: String,
    refusal: Refusal,
) -> Result<Reply, Rejected> {
    let message = refusal.text();
    let attempt = task.attempt;
    t.restart(before);
    if attempt > 1 && refusal.cause != Cause::UnhandledCommand && !refusal.terminates {
        // Such an attempt leaves no event; the growing timeout is its backoff.
        return Err(Rejected::InvalidArgument(message));
    }
    let failed =
        Failed { cause: refusal.cause, failure: Some(server_failure(&message)), identity, ..Failed::default() };
    if refusal.terminates {
        task::close_failed(t, &failed);
        t.flush();
        terminate::by_server(t, &message);
    } else {
        t.run.execution.close_attempted = refusal.cause == Cause::UnhandledCommand;
        if refusal.cause != Cause::UnhandledCommand {
            update::abort_refused(t);
        }
        task::fail(t, &failed);
    }
    let refused = RefusedCompletion { cause: refusal.cause, message };
    Ok(replied(CompletedWorkflowTask { refused: Some(refused), ..Default::default() }))
}

fn server_failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: false })),
        ..Default::default()
    }
}

fn replied(reply: CompletedWorkflowTask) -> Reply {
    Reply::Completed(Box::new(reply))
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
