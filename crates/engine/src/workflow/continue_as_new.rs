//! The run that follows a closed one: continue-as-new, retry, cron.

use std::time::Duration;

use mainspring_api::{
    time::{duration, from_duration, is_negative},
    v1::{
        command::ContinueAsNewWorkflowExecutionCommandAttributes,
        common::{Payloads, WorkflowExecution, WorkflowType},
        enums::{ContinueAsNewInitiator as Initiator, RetryState, WorkflowTaskFailedCause as Cause},
        failure::Failure,
        history::{WorkflowExecutionContinuedAsNewEventAttributes, history_event::Attributes},
    },
};
use mainspring_rt::Timestamp;

use crate::{
    input::{Continued, Start},
    retry::{self, Decision},
    state::{Again, Run, or_max},
    transition::{Extras, Transition},
    workflow::{
        activity::input_bytes,
        close,
        command::{Context, Refusal},
        cron, task,
    },
};

/// The run that starts in the step that closes this one.
#[derive(Debug)]
pub(crate) struct FollowUp {
    pub(crate) run_id: String,
    pub(crate) start: Start,
}

/// The command that ends the run and goes on in a new one.
pub(crate) fn close(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: ContinueAsNewWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    close::check_handled(t)?;
    check(t, &a)?;
    let follow_up = follow_up_of_command(t, &a);
    let start = &follow_up.start;
    let continued = WorkflowExecutionContinuedAsNewEventAttributes {
        new_execution_run_id: follow_up.run_id.clone(),
        workflow_type: Some(WorkflowType { name: start.workflow_type.clone() }),
        task_queue: Some(task::normal_queue(&start.task_queue)),
        input: a.input,
        workflow_run_timeout: Some(duration(start.run_timeout)),
        workflow_task_timeout: Some(duration(start.task_timeout)),
        workflow_task_completed_event_id: context.completed_event_id,
        backoff_start_interval: start.continued.as_ref().map(|continued| duration(continued.backoff)),
        initiator: start.continued.as_ref().map_or(0, |continued| continued.initiator),
        failure: a.failure,
        last_completion_result: a.last_completion_result,
        header: a.header,
        memo: a.memo,
        search_attributes: a.search_attributes,
        inherit_build_id: a.inherit_build_id,
        initial_versioning_behavior: a.initial_versioning_behavior,
    };
    close::end(t, Attributes::WorkflowExecutionContinuedAsNewEventAttributes(continued), extras, Some(follow_up));
    Ok(())
}

fn check(t: &Transition<'_>, a: &ContinueAsNewWorkflowExecutionCommandAttributes) -> Result<(), Refusal> {
    let bad = |message: String| Err(Refusal::new(Cause::BadContinueAsNewAttributes, message));
    if type_name(a).len() > t.at.limits.id_bytes_max {
        return bad("WorkflowType on ContinueAsNewWorkflowExecutionCommand exceeds length limit.".to_owned());
    }
    let spans = [
        ("WorkflowRunTimeout", &a.workflow_run_timeout),
        ("WorkflowTaskTimeout", &a.workflow_task_timeout),
        ("BackoffStartInterval", &a.backoff_start_interval),
    ];
    for (name, span) in spans {
        if is_negative(span.as_ref()) {
            return bad(format!("Invalid {name} for ContinueAsNewWorkflowExecutionCommand: negative duration"));
        }
    }
    if let Some(policy) = &a.retry_policy
        && let Err(why) = retry::validate(&retry::with_defaults(Some(policy.clone())))
    {
        return bad(format!("Invalid WorkflowRetryPolicy on ContinueAsNewWorkflowExecutionCommand: {why}"));
    }
    if let Err(why) = cron::validate(&a.cron_schedule) {
        return bad(format!("Invalid CronSchedule on ContinueAsNewWorkflowExecutionCommand: {why}"));
    }
    if input_bytes(a.input.as_ref()) > t.at.limits.blob_bytes_max {
        let message = "ContinueAsNewWorkflowExecutionCommandAttributes.Input exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadContinueAsNewAttributes, message));
    }
    Ok(())
}

fn follow_up_of_command(t: &Transition<'_>, a: &ContinueAsNewWorkflowExecutionCommandAttributes) -> FollowUp {
    let initiator = if a.initiator == 0 { Initiator::Workflow as i32 } else { a.initiator };
    let backoff = minimal_backoff(t, from_duration(a.backoff_start_interval.as_ref()));
    let mut start = next_start(t, initiator, 1, backoff);
    let queue = a.task_queue.as_ref().map(|queue| queue.name.clone()).unwrap_or_default();
    replace_if(&mut start.workflow_type, type_name(a).to_owned(), !type_name(a).is_empty());
    replace_if(&mut start.task_queue, queue.clone(), !queue.is_empty());
    let run_timeout = from_duration(a.workflow_run_timeout.as_ref());
    replace_if(&mut start.run_timeout, run_timeout, !run_timeout.is_zero());
    let task_timeout = from_duration(a.workflow_task_timeout.as_ref());
    replace_if(&mut start.task_timeout, task_timeout, !task_timeout.is_zero());
    if let Some(memo) = &a.memo {
        start.memo = memo.fields.clone();
    }
    if let Some(search) = &a.search_attributes {
        start.search_attributes = search.indexed_fields.clone();
    }
    let start = Start {
        input: a.input.clone(),
        header: a.header.clone(),
        retry_policy: a.retry_policy.clone(),
        cron_schedule: a.cron_schedule.clone(),
        last_completion_result: a.last_completion_result.clone(),
        continued_failure: a.failure.clone(),
        ..start
    };
    FollowUp { run_id: t.at.new_run_id(), start }
}

/// A run that continues at once would spin: it starts no sooner than a second after the one before did.
/// Upstream: `ContinueAsNewMinBackoff`, temporalio/temporal service/history/workflow/mutable_state_impl.go, v1.32.0.
fn minimal_backoff(t: &Transition<'_>, backoff: Duration) -> Duration {
    let lifetime = t.at.now.since(Timestamp::from_nanos(t.run.fixed.execution_at));
    let shortest = t.at.limits.continue_interval_min;
    if lifetime + backoff < shortest { shortest - lifetime } else { backoff }
}

/// After a run that completed: the next one of a cron schedule.
pub(crate) fn after_success(t: &Transition<'_>, result: Option<&Payloads>) -> Option<FollowUp> {
    let backoff = cron_backoff(t)?;
    let start = next_start(t, Initiator::CronSchedule as i32, 1, backoff);
    let start = Start { last_completion_result: result.cloned(), continued_failure: None, ..start };
    Some(FollowUp { run_id: t.at.new_run_id(), start })
}

/// After a run that failed or timed out: a retry if the policy has one, else the next one of a cron schedule.
pub(crate) fn after_failure(t: &Transition<'_>, failure: &Failure) -> (RetryState, Option<FollowUp>) {
    let fixed = &t.run.fixed;
    let expires = or_max(fixed.execution_expires_at);
    let (state, start) = match retry::decide(fixed.retry_policy.as_ref(), fixed.attempt, failure, t.at.now, expires) {
        Decision::After(backoff) => {
            (RetryState::InProgress, next_start(t, Initiator::Retry as i32, fixed.attempt + 1, backoff))
        }
        Decision::Stop(state) => match cron_backoff(t) {
            Some(backoff) => (state, next_start(t, Initiator::CronSchedule as i32, 1, backoff)),
            None => return (state, None),
        },
    };
    let start = Start { continued_failure: Some(failure.clone()), ..start };
    (state, Some(FollowUp { run_id: t.at.new_run_id(), start }))
}

/// The time to the schedule's next point, if the run has a schedule and the chain lives that long.
fn cron_backoff(t: &Transition<'_>) -> Option<Duration> {
    let fixed = &t.run.fixed;
    if fixed.cron_schedule.is_empty() {
        return None;
    }
    let backoff = cron::backoff(&fixed.cron_schedule, Timestamp::from_nanos(fixed.execution_at), t.at.now)?;
    Some(backoff).filter(|backoff| t.at.now + *backoff < or_max(fixed.execution_expires_at))
}

/// The start of a run like this one.
fn next_start(t: &Transition<'_>, initiator: i32, attempt: i32, backoff: Duration) -> Start {
    let Run { fixed, properties, .. } = &*t.run;
    let again: Again = fixed.again.clone().unwrap_or_default();
    let root = WorkflowExecution { workflow_id: fixed.root_workflow_id.clone(), run_id: fixed.root_run_id.clone() };
    Start {
        namespace_id: fixed.namespace_id.clone(),
        namespace: fixed.namespace.clone(),
        workflow_id: fixed.workflow_id.clone(),
        workflow_type: fixed.workflow_type.clone(),
        task_queue: fixed.task_queue.clone(),
        input: again.input,
        execution_timeout: span(fixed.execution_timeout),
        run_timeout: span(fixed.run_timeout),
        task_timeout: span(fixed.task_timeout),
        request_id: t.at.new_request_id(),
        retry_policy: fixed.retry_policy.clone(),
        cron_schedule: fixed.cron_schedule.clone(),
        memo: properties.memo.clone(),
        search_attributes: properties.search_attributes.clone(),
        header: again.header,
        last_completion_result: again.last_completion_result,
        continued_failure: again.continued_failure,
        user_metadata: fixed.user_metadata.clone(),
        priority: fixed.priority.clone(),
        root: fixed.parent.is_some().then_some(root),
        parent: fixed.parent.clone(),
        continued: Some(Continued {
            initiator,
            continued_run_id: fixed.run_id.clone(),
            first_run_id: fixed.first_run_id.clone(),
            execution_expires_at: fixed.execution_expires_at,
            attempt,
            backoff,
        }),
        ..Start::default()
    }
}

fn type_name(a: &ContinueAsNewWorkflowExecutionCommandAttributes) -> &str {
    a.workflow_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default()
}

fn replace_if<T>(place: &mut T, value: T, set: bool) {
    if set {
        *place = value;
    }
}

fn span(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
