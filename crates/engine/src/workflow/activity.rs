//! Activities: scheduled by a command, started by a poller, ended by a worker, a timeout or a cancel; retried between.
//!
//! `ActivityTaskStarted` is written only together with the closing event; retries leave no events.

use std::{sync::Arc, time::Duration};

use mainspring_api::{
    time::{duration, from_duration, is_negative},
    v1::{
        command::{RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes},
        common::Payloads,
        enums::{RetryState, TimeoutType, WorkflowTaskFailedCause as Cause},
        failure::Failure,
        history::{
            ActivityTaskCancelRequestedEventAttributes, ActivityTaskCanceledEventAttributes,
            ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
            ActivityTaskScheduledEventAttributes, ActivityTaskStartedEventAttributes,
            ActivityTaskTimedOutEventAttributes, history_event::Attributes,
        },
    },
};
use mainspring_rt::Timestamp;
use prost::Message;

use crate::{
    buffer,
    input::{ActivityInput, ActivityTarget, StartTask, TaskKind, TaskRef},
    limits::SPAN_MAX,
    outcome::{Rejected, Reply, StartedActivity, TaskIntent},
    retry::{self, Decision},
    state::{Activity, ItemKey, Run},
    transition::{Extras, Transition},
    workflow::{
        activity_control,
        activity_failure::{end_of_retries, size_failure, timeout_failure, truncated, truncated_if_over, with_cause},
        command::{Commands, Context, Refusal},
        task,
    },
};

/// Dispatch levels: 1 first, 5 last, 3 when nothing is said.
const LEVELS: i32 = 5;
const LEVEL_DEFAULT: u8 = 3;

/// The dispatch level of a priority key.
pub(crate) fn level(priority_key: i32) -> u8 {
    if priority_key <= 0 { LEVEL_DEFAULT } else { u8::try_from(priority_key.min(LEVELS)).unwrap_or(LEVEL_DEFAULT) }
}

/// The command that schedules an activity.
pub(crate) fn schedule(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: ScheduleActivityTaskCommandAttributes,
    extras: Extras,
    out: &mut Commands,
) -> Result<(), Refusal> {
    check(t, &a).map_err(|message| Refusal::new(Cause::BadScheduleActivityAttributes, message))?;
    let retry_policy = retry::with_defaults(a.retry_policy.clone());
    retry::validate(&retry_policy).map_err(|why| {
        let which = format!("ActivityId={} ActivityType={}", a.activity_id, type_name(&a));
        Refusal::new(
            Cause::BadScheduleActivityAttributes,
            format!("invalid ActivityRetryPolicy on ScheduleActivityTaskCommand: {why}. {which}"),
        )
    })?;
    if input_bytes(a.input.as_ref()) > t.at.limits.blob_bytes_max {
        let message = "ScheduleActivityTaskCommandAttributes.Input exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadScheduleActivityAttributes, message));
    }
    if t.run.activities.len() >= t.at.limits.pending_activities_max {
        let max = t.at.limits.pending_activities_max;
        let message = format!(
            "the number of pending activities, {}, has reached the per-workflow limit of {max}",
            t.run.activities.len()
        );
        return Err(Refusal::new(Cause::PendingActivitiesLimitExceeded, message));
    }
    if t.run.activity_by_id(&a.activity_id).is_some() {
        return Err(Refusal::new(Cause::ScheduleActivityDuplicateId, ""));
    }
    let eager = a.request_eager_execution;
    let scheduled = scheduled_attributes(t.run, context, a, retry_policy);
    let event_id = t.record_with(Attributes::ActivityTaskScheduledEventAttributes(scheduled), extras);
    dispatch(t, event_id);
    if eager {
        out.eager_activities.push(event_id);
    }
    Ok(())
}

fn check(t: &Transition<'_>, a: &ScheduleActivityTaskCommandAttributes) -> Result<(), String> {
    let (id, kind) = (&a.activity_id, type_name(a));
    let which = format!("ActivityId={id} ActivityType={kind}");
    let queue = a.task_queue.as_ref().map(|queue| queue.name.as_str()).unwrap_or_default();
    if queue.is_empty() {
        return Err(format!(
            "invalid TaskQueue on ScheduleActivityTaskCommand: taskQueue is not set. {which} TaskQueue="
        ));
    }
    if id.is_empty() {
        return Err(format!("ActivityId is not set on ScheduleActivityTaskCommand. ActivityType={kind}"));
    }
    if kind.is_empty() {
        return Err(format!("ActivityType is not set on ScheduleActivityTaskCommand. ActivityID={id}"));
    }
    for (name, value) in [("ActivityId", id.as_str()), ("ActivityType", kind), ("TaskQueue", queue)] {
        if value.len() > t.at.limits.id_bytes_max {
            return Err(format!(
                "{name} on ScheduleActivityTaskCommand exceeds length limit. {which} Length={} Limit={}",
                value.len(),
                t.at.limits.id_bytes_max
            ));
        }
    }
    let spans = [
        ("ScheduleToCloseTimeout", &a.schedule_to_close_timeout),
        ("ScheduleToStartTimeout", &a.schedule_to_start_timeout),
        ("StartToCloseTimeout", &a.start_to_close_timeout),
        ("HeartbeatTimeout", &a.heartbeat_timeout),
    ];
    for (name, span) in spans {
        if is_negative(span.as_ref()) {
            return Err(format!(
                "invalid {name} for ScheduleActivityTaskCommand: negative duration. {which} {name}={span:?}"
            ));
        }
    }
    if from_duration(a.schedule_to_close_timeout.as_ref()).is_zero()
        && from_duration(a.start_to_close_timeout.as_ref()).is_zero()
    {
        return Err(format!(
            "A valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand. {which}"
        ));
    }
    Ok(())
}

fn type_name(a: &ScheduleActivityTaskCommandAttributes) -> &str {
    a.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default()
}

/// Fills in what is not given and cuts every timeout to the ones around it.
fn scheduled_attributes(
    run: &Run,
    context: &Context<'_>,
    a: ScheduleActivityTaskCommandAttributes,
    retry_policy: mainspring_api::v1::common::RetryPolicy,
) -> ActivityTaskScheduledEventAttributes {
    let run_timeout = Duration::from_nanos(u64::try_from(run.fixed.run_timeout).unwrap_or(0));
    let within = |span: Duration, limit: Duration| match (span.is_zero(), limit.is_zero()) {
        (true, _) => limit,
        (false, true) => span.min(SPAN_MAX),
        (false, false) => span.min(limit),
    };
    let to_close = within(from_duration(a.schedule_to_close_timeout.as_ref()), run_timeout);
    let to_start = within(from_duration(a.schedule_to_start_timeout.as_ref()), to_close);
    let start_to_close = within(from_duration(a.start_to_close_timeout.as_ref()), to_close);
    let heartbeat = from_duration(a.heartbeat_timeout.as_ref()).min(if start_to_close.is_zero() {
        SPAN_MAX
    } else {
        start_to_close
    });
    ActivityTaskScheduledEventAttributes {
        activity_id: a.activity_id,
        activity_type: a.activity_type,
        task_queue: a.task_queue.map(|queue| task::normal_queue(&queue.name)),
        header: a.header,
        input: a.input,
        schedule_to_close_timeout: Some(duration(to_close)),
        schedule_to_start_timeout: Some(duration(to_start)),
        start_to_close_timeout: Some(duration(start_to_close)),
        heartbeat_timeout: Some(duration(heartbeat)),
        workflow_task_completed_event_id: context.completed_event_id,
        retry_policy: Some(retry_policy),
        use_workflow_build_id: a.use_workflow_build_id,
        priority: a.priority,
    }
}

/// Hands the current attempt to matching.
pub(crate) fn dispatch(t: &mut Transition<'_>, scheduled_event_id: i64) {
    let stamp = t.next_stamp();
    let Some(activity) = change(t, scheduled_event_id) else { return };
    activity.stamp = stamp;
    activity.dispatched = true;
    let expires = Some(activity.deadline()).filter(|deadline| *deadline != Timestamp::MAX);
    let (queue, priority_key) = (activity.task_queue.clone(), activity.priority_key);
    let intent = TaskIntent {
        task: t.task_ref(TaskKind::Activity, scheduled_event_id, stamp),
        namespace_id: t.run.fixed.namespace_id.clone(),
        queue,
        sticky: false,
        level: level(if priority_key == 0 { t.run.fixed.priority_key() } else { priority_key }),
        expires,
    };
    t.dispatch(intent);
}

/// The pending activity, for changing.
pub(crate) fn change<'t>(t: &'t mut Transition<'_>, scheduled_event_id: i64) -> Option<&'t mut Activity> {
    t.touch(ItemKey::Activity(scheduled_event_id));
    t.run.activities.get_mut(&scheduled_event_id).map(Arc::make_mut)
}

/// The command that cancels an activity: at once when no worker has it.
pub(crate) fn request_cancel(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: &RequestCancelActivityTaskCommandAttributes,
    extras: Extras,
    out: &mut Commands,
) -> Result<(), Refusal> {
    let scheduled_event_id = a.scheduled_event_id;
    if scheduled_event_id <= 0 {
        return Err(Refusal::new(
            Cause::BadRequestCancelActivityAttributes,
            "ScheduledEventId is not set on RequestCancelActivityTaskCommand.",
        ));
    }
    let Some(activity) = t.run.activities.get(&scheduled_event_id).cloned() else {
        // Its end is held back or was just recorded: the worker could not know.
        let mut unseen = t.run.buffered.iter().map(|event| &**event).chain(t.events());
        let known = unseen.any(|event| buffer::closes(event, scheduled_event_id));
        let message = format!("ACTIVITY_UNKNOWN: ScheduledEventID: {scheduled_event_id}");
        return if known { Ok(()) } else { Err(Refusal::new(Cause::BadRequestCancelActivityAttributes, message)) };
    };
    if activity.cancel_requested_event_id != 0 {
        return Ok(());
    }
    let requested = ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id,
        workflow_task_completed_event_id: context.completed_event_id,
    };
    let cancel_event_id = t.record_with(Attributes::ActivityTaskCancelRequestedEventAttributes(requested), extras);
    if !activity.is_started() {
        t.undispatch(TaskKind::Activity, scheduled_event_id);
        t.record(Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes {
            details: Some(Payloads {
                payloads: vec![mainspring_api::v1::Payload::new("json/plain", b"\"ACTIVITY_ID_NOT_STARTED\"")],
            }),
            latest_cancel_requested_event_id: cancel_event_id,
            scheduled_event_id,
            ..Default::default()
        }));
        out.cancelled_unstarted_activity = true;
    }
    Ok(())
}

/// A poller takes the activity.
pub(crate) fn start(t: &mut Transition<'_>, start: &StartTask) -> Result<Reply, Rejected> {
    let activity = t.run.activities.get(&start.task.event_id).filter(|activity| activity.stamp == start.task.stamp);
    let activity = activity.ok_or(Rejected::TaskOutdated)?;
    if activity.is_started() {
        let repeated = activity.request_id == start.request_id;
        let activity = activity.clone();
        return if repeated {
            Ok(Reply::ActivityTask(Box::new(started(t.run, activity))))
        } else {
            Err(Rejected::TaskOutdated)
        };
    }
    begin(t, start.task.event_id, &start.request_id, &start.identity)
        .map(|started| Reply::ActivityTask(Box::new(started)))
        .ok_or(Rejected::TaskOutdated)
}

/// Marks the attempt started; that is no event.
pub(crate) fn begin(
    t: &mut Transition<'_>,
    scheduled_event_id: i64,
    request_id: &str,
    identity: &str,
) -> Option<StartedActivity> {
    let now = t.now();
    let activity = change(t, scheduled_event_id)?;
    activity.started_at = now;
    activity.request_id = request_id.to_owned();
    activity.started_identity = identity.to_owned();
    activity.last_worker_identity = identity.to_owned();
    activity.last_heartbeat_at = 0;
    let activity = t.run.activities.get(&scheduled_event_id)?.clone();
    Some(started(t.run, activity))
}

fn started(run: &Run, activity: Arc<Activity>) -> StartedActivity {
    let task = TaskRef {
        run: run.number,
        kind: TaskKind::Activity,
        event_id: activity.scheduled_event_id,
        stamp: activity.stamp,
    };
    StartedActivity { task, fixed: run.fixed.clone(), activity, next_event_id: run.execution.next_event_id }
}

/// The started attempt did not reach its poller: it waits again, the same attempt.
pub(crate) fn undelivered(t: &mut Transition<'_>, task: &TaskRef) -> Result<(), Rejected> {
    let current = t.run.activities.get(&task.event_id);
    current.filter(|activity| activity.stamp == task.stamp && activity.is_started()).ok_or(Rejected::TaskOutdated)?;
    if let Some(activity) = change(t, task.event_id) {
        activity.started_at = 0;
        activity.request_id.clear();
        activity.started_identity.clear();
        activity.dispatched = false;
        if activity.is_paused() {
            return Ok(());
        }
    }
    dispatch(t, task.event_id);
    Ok(())
}

/// What a worker or client says of an activity.
pub(crate) fn respond(
    t: &mut Transition<'_>,
    target: &ActivityTarget,
    input: &ActivityInput,
) -> Result<Reply, Rejected> {
    if !t.run.is_open() {
        return Err(Rejected::Closed);
    }
    let activity = find(t.run, target, input)?;
    match input {
        ActivityInput::Heartbeat { details } => Ok(heartbeat(t, &activity, details.as_ref())),
        ActivityInput::Complete { result, identity } => {
            complete(t, &activity, result.as_ref(), identity);
            Ok(Reply::Done)
        }
        ActivityInput::Fail { failure, last_heartbeat_details, identity } => {
            if last_heartbeat_details.is_some()
                && let Some(activity) = change(t, activity.scheduled_event_id)
            {
                activity.heartbeat_details = last_heartbeat_details.clone();
            }
            fail(t, &activity, failure, identity);
            Ok(Reply::Done)
        }
        ActivityInput::Cancel { details, identity } => cancel(t, &activity, details.as_ref(), identity),
    }
}

fn find(run: &Run, target: &ActivityTarget, input: &ActivityInput) -> Result<Arc<Activity>, Rejected> {
    match target {
        // The stamp alone tells attempts apart: a reset counts them anew while one runs.
        ActivityTarget::Token { scheduled_event_id, stamp, .. } => run
            .activities
            .get(scheduled_event_id)
            .filter(|activity| activity.is_started() && activity.stamp == *stamp)
            .cloned()
            .ok_or(Rejected::ActivityNotFound),
        ActivityTarget::Id { activity_id, .. } => {
            let missing = || Rejected::ActivityIdNotFound { activity_id: activity_id.clone() };
            let activity = run.activity_by_id(activity_id).cloned().ok_or_else(missing)?;
            // Completing by id is the one thing that an activity may meet before a worker has it.
            let may = activity.is_started() || matches!(input, ActivityInput::Complete { .. });
            if may { Ok(activity) } else { Err(Rejected::ActivityNotFound) }
        }
    }
}

fn heartbeat(t: &mut Transition<'_>, activity: &Activity, details: Option<&Payloads>) -> Reply {
    if input_bytes(details) > t.at.limits.blob_bytes_max {
        let failure = size_failure("Heartbeat details exceed size limit.");
        fail(t, activity, &failure, &activity.started_identity);
        return Reply::Heartbeat { cancel_requested: true, paused: false, reset: false };
    }
    let now = t.now();
    let cancel_requested = activity.cancel_requested_event_id != 0;
    if let Some(activity) = change(t, activity.scheduled_event_id) {
        activity.last_heartbeat_at = now;
        activity.heartbeat_details = details.cloned();
    }
    Reply::Heartbeat { cancel_requested, paused: activity.is_paused(), reset: activity.reset }
}

fn complete(t: &mut Transition<'_>, activity: &Activity, result: Option<&Payloads>, identity: &str) {
    if input_bytes(result) > t.at.limits.blob_bytes_max {
        return fail(t, activity, &size_failure("Complete result exceeds size limit."), identity);
    }
    let started_event_id = record_started(t, activity);
    t.record(Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
        result: result.cloned(),
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        identity: identity.to_owned(),
        ..Default::default()
    }));
    task::schedule(t);
}

fn fail(t: &mut Transition<'_>, activity: &Activity, failure: &Failure, identity: &str) {
    let shortened;
    let mut failure = failure;
    if failure.encoded_len() > t.at.limits.blob_bytes_max {
        shortened = truncated(failure, t.at.limits.retained_failure_bytes_max, "Failure exceeds size limit.");
        failure = &shortened;
    }
    let Err(retry_state) = retry_or_stop(t, activity, failure) else { return };
    let started_event_id = record_started(t, activity);
    t.record(Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
        failure: Some(failure.clone()),
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        identity: identity.to_owned(),
        retry_state: retry_state as i32,
        ..Default::default()
    }));
    task::schedule(t);
}

fn cancel(
    t: &mut Transition<'_>,
    activity: &Activity,
    details: Option<&Payloads>,
    identity: &str,
) -> Result<Reply, Rejected> {
    if activity.cancel_requested_event_id == 0 {
        return Err(Rejected::CancelNotRequested);
    }
    let started_event_id = record_started(t, activity);
    t.record(Attributes::ActivityTaskCanceledEventAttributes(ActivityTaskCanceledEventAttributes {
        details: details.cloned(),
        latest_cancel_requested_event_id: activity.cancel_requested_event_id,
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        identity: identity.to_owned(),
        ..Default::default()
    }));
    task::schedule(t);
    Ok(Reply::Done)
}

/// Writes the start that goes with the end. Its time is the end's: the order of times is what replay needs.
fn record_started(t: &mut Transition<'_>, activity: &Activity) -> i64 {
    t.record(Attributes::ActivityTaskStartedEventAttributes(ActivityTaskStartedEventAttributes {
        scheduled_event_id: activity.scheduled_event_id,
        identity: activity.started_identity.clone(),
        request_id: activity.request_id.clone(),
        attempt: activity.attempt,
        last_failure: activity.last_failure.clone(),
        ..Default::default()
    }))
}

/// Sets the next attempt up, or says why there is none.
fn retry_or_stop(t: &mut Transition<'_>, activity: &Activity, failure: &Failure) -> Result<(), RetryState> {
    if activity.cancel_requested_event_id != 0 {
        return Err(RetryState::CancelRequested);
    }
    let decision =
        retry::decide(activity.retry_policy.as_ref(), activity.attempt, failure, t.at.now, activity.expires_at());
    let interval = match decision {
        // A paused activity waits for its operator, whatever its policy says.
        _ if activity.is_paused() => Duration::ZERO,
        Decision::After(interval) => interval,
        Decision::Stop(state) => return Err(state),
    };
    let (now, due) = (t.now(), t.at.now + interval);
    let kept = truncated_if_over(failure, t.at.limits.retained_failure_bytes_max);
    let stamp = t.next_stamp();
    if let Some(activity) = change(t, activity.scheduled_event_id) {
        activity.attempt += 1;
        activity.attempt_scheduled_at = due.as_nanos();
        activity.dispatched = false;
        activity.stamp = stamp;
        activity.started_at = 0;
        activity.request_id.clear();
        activity.started_identity.clear();
        activity.last_failure = Some(kept);
        activity.last_attempt_complete_at = now;
        activity.retry_interval = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX);
        activity_control::end_reset(activity);
    }
    if interval.is_zero() && !activity.is_paused() {
        dispatch(t, activity.scheduled_event_id);
    }
    Ok(())
}

/// Does what is due for the activity: hands out a retry, or times it out.
pub(crate) fn act_if_due(t: &mut Transition<'_>, scheduled_event_id: i64) {
    let Some(activity) = t.run.activities.get(&scheduled_event_id).cloned() else { return };
    let now = t.at.now;
    if activity.deadline() > now {
        return;
    }
    if activity.expires_at() <= now {
        return time_out(t, &activity, TimeoutType::ScheduleToClose);
    }
    if !activity.is_started() {
        if activity.dispatched {
            return time_out(t, &activity, TimeoutType::ScheduleToStart);
        }
        // A retry that comes late has its whole time to be started all the same.
        if let Some(activity) = change(t, scheduled_event_id) {
            activity.attempt_scheduled_at = now.as_nanos();
        }
        return dispatch(t, scheduled_event_id);
    }
    let overdue = activity.started_at.saturating_add(activity.start_to_close) <= now.as_nanos();
    let kind = if activity.start_to_close != 0 && overdue { TimeoutType::StartToClose } else { TimeoutType::Heartbeat };
    time_out(t, &activity, kind);
}

fn time_out(t: &mut Transition<'_>, activity: &Activity, kind: TimeoutType) {
    let failure = timeout_failure(activity, kind);
    let retry_state = match kind {
        TimeoutType::StartToClose | TimeoutType::Heartbeat => match retry_or_stop(t, activity, &failure) {
            Ok(()) => return,
            Err(state) => state,
        },
        TimeoutType::ScheduleToClose => RetryState::Timeout,
        _ => RetryState::NonRetryableFailure,
    };
    let started_event_id = if activity.is_started() { record_started(t, activity) } else { 0 };
    let failure = if kind == TimeoutType::ScheduleToClose {
        with_cause(failure, activity)
    } else {
        end_of_retries(failure, activity, retry_state)
    };
    t.record(Attributes::ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes {
        failure: Some(failure),
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id,
        retry_state: retry_state as i32,
    }));
    task::schedule(t);
}

pub(crate) fn input_bytes(payloads: Option<&Payloads>) -> usize {
    payloads.map_or(0, Message::encoded_len)
}
