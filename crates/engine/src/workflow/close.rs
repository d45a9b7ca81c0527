//! The end of a run, whatever it is: who is told, what becomes of its children, which run follows.

use std::sync::Arc;

use mainspring_api::v1::{
    command::{CompleteWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes},
    enums::{RetryState, TimeoutType, WorkflowTaskFailedCause as Cause},
    failure::{Failure, TimeoutFailureInfo, failure::FailureInfo},
    history::{
        WorkflowExecutionCompletedEventAttributes, WorkflowExecutionFailedEventAttributes,
        WorkflowExecutionTimedOutEventAttributes, history_event::Attributes,
    },
};
use prost::Message;

use crate::{
    outcome::Rejected,
    state::{Child, Run},
    transition::{Extras, Transition},
    workflow::{
        activity::input_bytes,
        child,
        command::{Context, Refusal},
        continue_as_new::{self, FollowUp},
        task, update,
    },
};

/// The command that ends the run well.
pub(crate) fn complete(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: CompleteWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    check_handled(t)?;
    if input_bytes(a.result.as_ref()) > t.at.limits.blob_bytes_max {
        let message = "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadCompleteWorkflowExecutionAttributes, message));
    }
    let follow_up = continue_as_new::after_success(t, a.result.as_ref());
    let completed = WorkflowExecutionCompletedEventAttributes {
        result: a.result,
        workflow_task_completed_event_id: context.completed_event_id,
        new_execution_run_id: run_id_of(follow_up.as_ref()),
    };
    end(t, Attributes::WorkflowExecutionCompletedEventAttributes(completed), extras, follow_up);
    Ok(())
}

/// The command that ends the run with a failure. A retry policy or a cron schedule may make another run follow.
pub(crate) fn fail(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: FailWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    check_handled(t)?;
    let Some(failure) = a.failure else {
        let message = "Failure is not set on FailWorkflowExecutionCommand.";
        return Err(Refusal::new(Cause::BadFailWorkflowExecutionAttributes, message));
    };
    if failure.encoded_len() > t.at.limits.blob_bytes_max {
        let message = "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadFailWorkflowExecutionAttributes, message));
    }
    let (retry_state, follow_up) = continue_as_new::after_failure(t, &failure);
    let failed = WorkflowExecutionFailedEventAttributes {
        failure: Some(failure),
        retry_state: retry_state as i32,
        workflow_task_completed_event_id: context.completed_event_id,
        new_execution_run_id: run_id_of(follow_up.as_ref()),
    };
    end(t, Attributes::WorkflowExecutionFailedEventAttributes(failed), extras, follow_up);
    Ok(())
}

/// The run's own time, or that of its chain, is over. A started workflow task fails first; events held back are lost.
pub(crate) fn time_out(t: &mut Transition<'_>) {
    let (retry_state, follow_up) = if chain_is_over(t) {
        (RetryState::Timeout, None)
    } else {
        continue_as_new::after_failure(t, &timeout_failure())
    };
    task::force_close(t);
    let timed_out = WorkflowExecutionTimedOutEventAttributes {
        retry_state: retry_state as i32,
        new_execution_run_id: run_id_of(follow_up.as_ref()),
    };
    end(t, Attributes::WorkflowExecutionTimedOutEventAttributes(timed_out), Extras::default(), follow_up);
}

fn chain_is_over(t: &Transition<'_>) -> bool {
    let expires_at = t.run.fixed.execution_expires_at;
    expires_at != 0 && expires_at <= t.now()
}

/// What a retry policy is asked about when a run times out.
fn timeout_failure() -> Failure {
    let info = TimeoutFailureInfo { timeout_type: TimeoutType::StartToClose as i32, last_heartbeat_details: None };
    Failure {
        message: "workflow timeout".to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(info)),
        ..Failure::default()
    }
}

/// Records the closing event, carries out the children's close policies, and tells the parent unless the chain goes on.
pub(crate) fn end(t: &mut Transition<'_>, closing: Attributes, extras: Extras, follow_up: Option<FollowUp>) {
    let children: Vec<Arc<Child>> = t.run.children.values().cloned().collect();
    t.record_with(closing, extras);
    for child in &children {
        child::close_by_policy(t, child);
    }
    if follow_up.is_none() {
        child::tell_parent(t);
    }
    update::abort_at_close(t, follow_up.is_some());
    t.follow_up = follow_up;
}

/// A workflow may not end while there is something that it has not seen.
pub(crate) fn check_handled(t: &Transition<'_>) -> Result<(), Refusal> {
    if t.run.buffered.is_empty() { Ok(()) } else { Err(Refusal::new(Cause::UnhandledCommand, "")) }
}

/// A caller may name the chain by its first run; empty is any.
pub(crate) fn check_chain(run: &Run, first_run_id: &str) -> Result<(), Rejected> {
    if first_run_id.is_empty() || run.fixed.first_run_id == first_run_id { Ok(()) } else { Err(Rejected::NotFound) }
}

fn run_id_of(follow_up: Option<&FollowUp>) -> String {
    follow_up.map(|follow_up| follow_up.run_id.clone()).unwrap_or_default()
}
