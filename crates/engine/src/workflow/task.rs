//! The workflow task: scheduled, started, failed, timed out. Completion is in [`super::completion`].
//!
//! Attempts above 1 are transient: they write nothing until one completes, and have virtual event ids meanwhile.

use std::time::Duration;

use mainspring_api::{
    time::{duration, timestamp},
    v1::{
        enums::{EventType, SuggestContinueAsNewReason, TaskQueueKind, TimeoutType, WorkflowTaskFailedCause},
        failure::Failure,
        history::{
            HistoryEvent, WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes,
            WorkflowTaskStartedEventAttributes, WorkflowTaskTimedOutEventAttributes, history_event::Attributes,
        },
        taskqueue::TaskQueue,
    },
};
use mainspring_rt::Timestamp;
use prost::Message;

use crate::{
    effect::IDENTITY,
    event::task_id,
    input::{FailWorkflowTask, StartTask, TaskKind, TaskRef, WorkflowTaskToken},
    outcome::{Rejected, Reply, StartedWorkflowTask, TaskIntent},
    state::{Run, Sticky, WorkflowTask},
    transition::Transition,
    workflow::{activity::level, terminate, update},
};

/// Attempts up to this one keep the configured timeout; later ones wait longer and longer.
const ATTEMPTS_WITHOUT_BACKOFF: i32 = 3;
const BACKOFF_INITIAL: Duration = Duration::from_secs(5);

/// Schedules a workflow task for something new, unless one is pending or the run waits for its first.
pub(crate) fn schedule(t: &mut Transition<'_>) {
    let execution = &t.run.execution;
    if execution.task.is_some() || execution.awaits_parent || execution.awaits_first_task || !t.run.is_open() {
        return;
    }
    schedule_now(t);
}

/// Schedules a workflow task, ending a wait for the first. None may be pending.
pub(crate) fn schedule_now(t: &mut Transition<'_>) {
    debug_assert!(t.run.execution.task.is_none(), "at most one workflow task is pending");
    t.run.execution.awaits_first_task = false;
    let attempt = t.run.execution.task_attempt.max(1);
    let sticky = t.run.execution.sticky.clone().filter(|_| attempt == 1);
    let timeout = timeout(t, attempt);
    let scheduled_event_id = if attempt == 1 {
        t.record(scheduled_attributes(t.run, attempt, timeout))
    } else {
        schedule_virtual(t, attempt, timeout)
    };
    t.run.execution.task_attempt = attempt;
    hand_out(t, scheduled_event_id, sticky);
}

/// Schedules a workflow task for an update, unless one is pending: it has no events until it turns out that it needs them.
pub(crate) fn schedule_speculative(t: &mut Transition<'_>) {
    let execution = &t.run.execution;
    if execution.task.is_some() || execution.awaits_parent || !t.run.is_open() {
        return;
    }
    let timeout = timeout(t, 1);
    let scheduled_event_id = schedule_virtual(t, 1, timeout);
    if let Some(task) = &mut t.run.execution.task {
        task.speculative = true;
    }
    hand_out(t, scheduled_event_id, t.run.execution.sticky.clone());
}

/// The first workflow task is due: its delay is over.
pub(crate) fn begin_first(t: &mut Transition<'_>) {
    if t.run.execution.task.is_some() {
        // An update was sooner.
        make_real(t);
    } else {
        schedule_now(t);
    }
}

/// Hands the task just scheduled to matching.
fn hand_out(t: &mut Transition<'_>, scheduled_event_id: i64, sticky: Option<Sticky>) {
    let stamp = t.next_stamp();
    let start_by = sticky.as_ref().map_or(0, |sticky| t.now().saturating_add(sticky.schedule_to_start));
    if let Some(task) = &mut t.run.execution.task {
        task.stamp = stamp;
        task.start_by = start_by;
        task.sticky_queue = sticky.as_ref().map(|sticky| sticky.queue.clone()).unwrap_or_default();
    }
    let task = t.task_ref(TaskKind::Workflow, scheduled_event_id, stamp);
    t.dispatch(intent(t.run, task, sticky.map(|sticky| sticky.queue)));
}

fn intent(run: &Run, task: TaskRef, sticky: Option<String>) -> TaskIntent {
    // Nobody comes back to the queue of a worker that died: its rows have to go by themselves.
    let deadline = run.execution.task.as_ref().filter(|_| sticky.is_some()).map(WorkflowTask::deadline);
    TaskIntent {
        task,
        namespace_id: run.fixed.namespace_id.clone(),
        sticky: sticky.is_some(),
        queue: sticky.unwrap_or_else(|| run.fixed.task_queue.clone()),
        level: level(run.fixed.priority_key()),
        expires: deadline.filter(|at| *at != Timestamp::MAX),
    }
}

fn schedule_virtual(t: &mut Transition<'_>, attempt: i32, timeout: Duration) -> i64 {
    let scheduled_event_id = t.run.execution.next_event_id;
    t.run.execution.task = Some(WorkflowTask {
        scheduled_event_id,
        attempt,
        scheduled_at: t.now(),
        original_scheduled_at: t.now(),
        timeout: nanos(timeout),
        transient: true,
        ..WorkflowTask::default()
    });
    scheduled_event_id
}

/// The configured timeout; from the fourth attempt on plus a growing pause, which is the only backoff there is.
fn timeout(t: &Transition<'_>, attempt: i32) -> Duration {
    let configured = Duration::from_nanos(u64::try_from(t.run.fixed.task_timeout).unwrap_or(0));
    if attempt <= ATTEMPTS_WITHOUT_BACKOFF {
        return configured;
    }
    let doublings = u32::try_from(attempt - ATTEMPTS_WITHOUT_BACKOFF - 1).unwrap_or(0).min(20);
    configured + BACKOFF_INITIAL.saturating_mul(1 << doublings).min(t.at.limits.task_retry_interval_max)
}

fn scheduled_attributes(run: &Run, attempt: i32, timeout: Duration) -> Attributes {
    let task_queue = match &run.execution.sticky {
        Some(sticky) if attempt == 1 => TaskQueue {
            name: sticky.queue.clone(),
            kind: TaskQueueKind::Sticky as i32,
            normal_name: run.fixed.task_queue.clone(),
        },
        _ => normal_queue(&run.fixed.task_queue),
    };
    Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes {
        task_queue: Some(task_queue),
        start_to_close_timeout: Some(duration(timeout)),
        attempt,
    })
}

/// The wire form of a normal task queue.
pub(crate) fn normal_queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: TaskQueueKind::Normal as i32, normal_name: String::new() }
}

/// A poller takes the task.
pub(crate) fn start(t: &mut Transition<'_>, start: &StartTask) -> Result<Reply, Rejected> {
    let task = current(t.run, &start.task).ok_or(Rejected::TaskOutdated)?;
    if task.is_started() {
        return start_again(t, &task, start);
    }
    let sticky = start.sticky_queue.is_some() && start.sticky_queue == t.run.execution.sticky.clone().map(|s| s.queue);
    if !sticky {
        t.run.execution.sticky = None;
    }
    begin(t, &start.request_id, &start.identity, sticky);
    Ok(Reply::WorkflowTask(Box::new(started(t.run, sticky))))
}

/// The same poll again is answered again, and so is the next one if the task did not reach its first poller.
fn start_again(t: &mut Transition<'_>, task: &WorkflowTask, start: &StartTask) -> Result<Reply, Rejected> {
    if task.request_id != start.request_id && !task.undelivered {
        return Err(Rejected::TaskOutdated);
    }
    if task.undelivered {
        t.mark_dirty();
        if let Some(task) = &mut t.run.execution.task {
            task.request_id = start.request_id.clone();
            task.identity = start.identity.clone();
            task.undelivered = false;
        }
    }
    Ok(Reply::WorkflowTask(Box::new(started(t.run, task.started_sticky && start.sticky_queue.is_some()))))
}

/// Starts the task just scheduled for the caller of this very step, past matching.
pub(crate) fn begin_eagerly(t: &mut Transition<'_>, request_id: &str, identity: &str) {
    let scheduled = t.run.execution.task.as_ref().map_or(0, |task| task.scheduled_event_id);
    t.undispatch(TaskKind::Workflow, scheduled);
    begin(t, request_id, identity, false);
}

/// Marks the pending task started, with an event unless it is transient.
pub(crate) fn begin(t: &mut Transition<'_>, request_id: &str, identity: &str, sticky: bool) {
    make_normal_if_overtaken(t);
    let Some(task) = t.run.execution.task.clone() else { return };
    let (suggest, reasons) = suggest_continue(t);
    let history_bytes = t.run.execution.history_bytes;
    if task.transient {
        let now = t.now();
        if let Some(task) = &mut t.run.execution.task {
            task.started_event_id = task.scheduled_event_id + 1;
            task.started_at = now;
            task.suggest_continue = suggest;
            task.history_bytes = history_bytes;
        }
    } else {
        t.record(Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            identity: identity.to_owned(),
            request_id: request_id.to_owned(),
            suggest_continue_as_new: suggest,
            suggest_continue_as_new_reasons: reasons,
            history_size_bytes: history_bytes,
            ..Default::default()
        }));
    }
    t.mark_dirty();
    if let Some(task) = &mut t.run.execution.task {
        task.request_id = request_id.to_owned();
        task.identity = identity.to_owned();
        task.started_sticky = sticky;
        task.start_by = 0;
    }
    update::mark_sent(t.run);
}

/// A transient task that new events overtook becomes a normal first attempt, with events of its own.
fn make_normal_if_overtaken(t: &mut Transition<'_>) {
    let Some(task) = t.run.execution.task.clone() else { return };
    if !task.transient || task.scheduled_event_id == t.run.execution.next_event_id {
        return;
    }
    t.run.execution.task_attempt = 1;
    let timeout = timeout(t, 1);
    t.record(scheduled_attributes(t.run, 1, timeout));
    if let Some(normal) = &mut t.run.execution.task {
        normal.stamp = task.stamp;
        normal.scheduled_at = task.scheduled_at;
    }
}

fn suggest_continue(t: &Transition<'_>) -> (bool, Vec<i32>) {
    let mut reasons = Vec::new();
    if t.run.execution.history_bytes >= t.at.limits.suggest_continue_bytes {
        reasons.push(SuggestContinueAsNewReason::HistorySizeTooLarge as i32);
    }
    if t.run.execution.next_event_id > t.at.limits.suggest_continue_events {
        reasons.push(SuggestContinueAsNewReason::TooManyHistoryEvents as i32);
    }
    if update::is_many(t) {
        reasons.push(SuggestContinueAsNewReason::TooManyUpdates as i32);
    }
    (!reasons.is_empty(), reasons)
}

/// What the poller of the started task is told.
pub(crate) fn started(run: &Run, sticky: bool) -> StartedWorkflowTask {
    let task = run.execution.task.clone().unwrap_or_default();
    let previous = run.execution.previous_started_event_id;
    StartedWorkflowTask {
        task: TaskRef {
            run: run.number,
            kind: TaskKind::Workflow,
            event_id: task.scheduled_event_id,
            stamp: task.stamp,
        },
        fixed: run.fixed.clone(),
        previous_started_event_id: previous,
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        attempt: task.attempt,
        scheduled_at: Timestamp::from_nanos(task.scheduled_at),
        started_at: Timestamp::from_nanos(task.started_at),
        history_from: if sticky { previous + 1 } else { 1 },
        next_event_id: run.execution.next_event_id,
        virtual_events: virtual_events(run),
        messages: update::messages(run, &task),
    }
}

/// The events that a pending transient task has in the eyes of an SDK, though none is stored.
pub fn virtual_events(run: &Run) -> Vec<HistoryEvent> {
    // One that new events overtook has no events until it starts: it is about to become a normal task.
    let overtaken = |task: &&WorkflowTask| !task.is_started() && task.scheduled_event_id != run.execution.next_event_id;
    let task = run.execution.task.as_ref().filter(|task| task.transient && !overtaken(task));
    let Some(task) = task else { return Vec::new() };
    let event = |event_id, event_type: EventType, at, attributes| HistoryEvent {
        event_id,
        event_time: Some(timestamp(Timestamp::from_nanos(at))),
        event_type: event_type as i32,
        task_id: task_id(event_id),
        attributes: Some(attributes),
        ..HistoryEvent::default()
    };
    let timeout = Duration::from_nanos(u64::try_from(task.timeout).unwrap_or(0));
    let scheduled = scheduled_attributes(run, task.attempt, timeout);
    let mut events =
        vec![event(task.scheduled_event_id, EventType::WorkflowTaskScheduled, task.scheduled_at, scheduled)];
    if task.is_started() {
        let attributes = Attributes::WorkflowTaskStartedEventAttributes(started_attributes(task));
        events.push(event(task.started_event_id, EventType::WorkflowTaskStarted, task.started_at, attributes));
    }
    events
}

fn started_attributes(task: &WorkflowTask) -> WorkflowTaskStartedEventAttributes {
    WorkflowTaskStartedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        identity: task.identity.clone(),
        request_id: task.request_id.clone(),
        suggest_continue_as_new: task.suggest_continue,
        history_size_bytes: task.history_bytes,
        ..Default::default()
    }
}

/// Writes the events of a task that had only virtual ones.
pub(crate) fn materialize(t: &mut Transition<'_>) {
    let Some(task) = t.run.execution.task.clone().filter(|task| task.transient) else { return };
    for event in virtual_events(t.run) {
        t.append(event);
    }
    if task.is_started() {
        // A start closes its batch, here as elsewhere.
        t.seal();
    }
    t.run.execution.awaits_first_task = false;
    t.run.execution.task = Some(WorkflowTask { transient: false, speculative: false, ..task });
    t.mark_dirty();
}

/// A speculative task becomes a normal one, with events.
pub(crate) fn make_real(t: &mut Transition<'_>) {
    if t.run.execution.task.as_ref().is_some_and(|task| task.speculative) {
        materialize(t);
    }
}

/// The task that a token names, if it is the one in a worker's hands.
///
/// # Errors
/// Closed, or not that task.
pub(crate) fn by_token(run: &Run, token: &WorkflowTaskToken) -> Result<WorkflowTask, Rejected> {
    if !run.is_open() {
        return Err(Rejected::Closed);
    }
    run.execution
        .task
        .clone()
        .filter(|task| {
            task.is_started()
                && task.scheduled_event_id == token.scheduled_event_id
                && task.started_event_id == token.started_event_id
                && task.attempt == token.attempt
                && task.stamp == token.stamp
        })
        .ok_or(Rejected::WorkflowTaskNotFound)
}

/// The worker says that it cannot do the task.
pub(crate) fn fail_by_worker(t: &mut Transition<'_>, input: &FailWorkflowTask) -> Result<Reply, Rejected> {
    by_token(t.run, &input.token)?;
    if input.cause == WorkflowTaskFailedCause::GrpcMessageTooLarge {
        terminate::by_server_now(t, "GrpcMessageTooLarge");
        return Ok(Reply::Done);
    }
    let failed = Failed {
        cause: input.cause,
        failure: input.failure.clone(),
        identity: input.identity.clone(),
        binary_checksum: input.binary_checksum.clone(),
    };
    t.run.execution.close_attempted = false;
    fail(t, &failed);
    Ok(Reply::Done)
}

/// Why and by whose word a task failed.
#[derive(Default)]
pub(crate) struct Failed {
    pub(crate) cause: WorkflowTaskFailedCause,
    pub(crate) failure: Option<Failure>,
    pub(crate) identity: String,
    pub(crate) binary_checksum: String,
}

/// Too much is held back while the task runs.
pub(crate) fn holds_too_much(t: &Transition<'_>) -> bool {
    let held = &t.run.buffered;
    if held.len() > t.at.limits.buffered_events_max {
        return true;
    }
    let bytes: usize = held.iter().map(|event| event.encoded_len()).sum();
    bytes > t.at.limits.buffered_bytes_max
}

/// Fails the started task so that what is held back comes through.
pub(crate) fn fail_overfull(t: &mut Transition<'_>) {
    fail(t, &forced());
}

fn forced() -> Failed {
    Failed { cause: WorkflowTaskFailedCause::ForceCloseCommand, identity: IDENTITY.to_owned(), ..Failed::default() }
}

/// Forgets the sticky queue: the next task goes to the normal one.
pub(crate) fn reset_sticky(t: &mut Transition<'_>) -> Result<Reply, Rejected> {
    if !t.run.is_open() {
        return Err(Rejected::Closed);
    }
    if t.run.execution.sticky.take().is_some() {
        t.mark_dirty();
    }
    Ok(Reply::Done)
}

/// Fails the started task and schedules the next attempt.
pub(crate) fn fail(t: &mut Transition<'_>, failed: &Failed) {
    close_failed(t, failed);
    retry(t);
}

/// Fails the started task; a transient one leaves no event.
pub(crate) fn close_failed(t: &mut Transition<'_>, failed: &Failed) {
    make_real(t);
    let Some(task) = t.run.execution.task.clone() else { return };
    if task.transient {
        t.run.execution.task = None;
        t.mark_dirty();
        return;
    }
    t.record(Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        cause: failed.cause as i32,
        failure: failed.failure.clone(),
        identity: failed.identity.clone(),
        binary_checksum: failed.binary_checksum.clone(),
        ..Default::default()
    }));
}

/// Ends a started task because the run is about to be closed from outside. A speculative one that no worker has taken
/// leaves no trace.
pub(crate) fn force_close(t: &mut Transition<'_>) {
    let Some(task) = &t.run.execution.task else { return };
    if task.is_started() {
        close_failed(t, &forced());
    } else if task.speculative {
        t.run.execution.task = None;
        t.mark_dirty();
    }
}

/// After a failure: the next attempt. On a sticky queue the first failure only ends the stickiness.
pub(crate) fn retry(t: &mut Transition<'_>) {
    let was_sticky = t.run.execution.sticky.take().is_some();
    let attempt = t.run.execution.task_attempt.max(1);
    t.run.execution.task_attempt = if was_sticky { 1 } else { attempt + 1 };
    if t.flush() {
        t.run.execution.task_attempt = 1;
    }
    update::send_again(t);
    schedule(t);
}

/// Times out the task when it is overdue. True if it was.
pub(crate) fn time_out_if_due(t: &mut Transition<'_>) -> bool {
    let Some(task) = t.run.execution.task.clone().filter(|task| task.deadline() <= t.at.now) else { return false };
    make_real(t);
    let kind = if task.is_started() { TimeoutType::StartToClose } else { TimeoutType::ScheduleToStart };
    if task.transient && !task.speculative {
        t.run.execution.task = None;
        t.mark_dirty();
    } else {
        t.record(Attributes::WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            timeout_type: kind as i32,
        }));
    }
    t.run.execution.close_attempted = false;
    if kind == TimeoutType::StartToClose {
        retry(t);
    } else {
        t.run.execution.sticky = None;
        t.run.execution.task_attempt = 1;
        schedule(t);
    }
    true
}

/// No worker listens on the sticky queue: the same task goes to the normal one, be it waiting or undelivered.
pub(crate) fn leave_sticky(t: &mut Transition<'_>, task: &TaskRef) -> Result<(), Rejected> {
    let waits = |task: &WorkflowTask| !task.is_started() || task.undelivered;
    let pending = current(t.run, task).filter(waits).ok_or(Rejected::TaskOutdated)?;
    t.run.execution.sticky = None;
    if pending.is_started() {
        redispatch_started(t, &pending);
    } else {
        redispatch(t, &pending);
    }
    Ok(())
}

/// The same token for a worker that does not have the run in its cache.
fn redispatch_started(t: &mut Transition<'_>, pending: &WorkflowTask) {
    if let Some(task) = &mut t.run.execution.task {
        task.started_sticky = false;
        task.sticky_queue = String::new();
    }
    let task = t.task_ref(TaskKind::Workflow, pending.scheduled_event_id, pending.stamp);
    t.dispatch(intent(t.run, task, None));
}

/// The started task did not reach its poller: the same token goes to the next one.
pub(crate) fn undelivered(t: &mut Transition<'_>, task: &TaskRef) -> Result<(), Rejected> {
    let pending = current(t.run, task).filter(|task| task.is_started()).ok_or(Rejected::TaskOutdated)?;
    let sticky = Some(pending.sticky_queue.clone()).filter(|_| pending.started_sticky);
    if let Some(task) = &mut t.run.execution.task {
        task.undelivered = true;
    }
    let task = t.task_ref(TaskKind::Workflow, pending.scheduled_event_id, pending.stamp);
    t.dispatch(intent(t.run, task, sticky));
    Ok(())
}

fn redispatch(t: &mut Transition<'_>, pending: &WorkflowTask) {
    let stamp = t.next_stamp();
    if let Some(task) = &mut t.run.execution.task {
        task.stamp = stamp;
        task.start_by = 0;
        task.sticky_queue = String::new();
    }
    let task = t.task_ref(TaskKind::Workflow, pending.scheduled_event_id, stamp);
    t.dispatch(intent(t.run, task, None));
}

/// The pending task, if the reference is not outdated.
fn current(run: &Run, task: &TaskRef) -> Option<WorkflowTask> {
    run.execution.task.clone().filter(|pending| run.is_open() && pending.stamp == task.stamp)
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
