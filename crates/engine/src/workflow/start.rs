//! Starts: which of an id's runs answers a start request, and what a new run begins with.

use std::{sync::Arc, time::Duration};

use mainspring_api::{
    time::{duration, timestamp},
    v1::{
        common::{Memo, SearchAttributes, WorkflowExecution, WorkflowType},
        enums::{
            ContinueAsNewInitiator, WorkflowExecutionStatus as Status, WorkflowIdConflictPolicy as Conflict,
            WorkflowIdReusePolicy as Reuse,
        },
        history::{WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    },
};
use mainspring_rt::Timestamp;

use crate::{
    buffer::BUFFERED,
    effect,
    input::{AdmitUpdate, Signal, Start},
    limits::{KNOWN_REQUESTS_MAX, KNOWN_SIGNALS_MAX, SPAN_MAX},
    moment::Moment,
    outcome::{Outcome, Rejected, Reply, RunChange, StartedRun},
    retry,
    state::{Admitted, Again, Chain, Fixed, ItemKey, KnownRequest, Run, update_id},
    step,
    transition::{Extras, Transition},
    workflow::{cron, options, signal, task, terminate, update},
};

/// Starts a run, or answers with the one that the same request started before.
///
/// # Errors
/// [`Rejected::AlreadyStarted`] when the conflict policy (open run) or the reuse policy (closed run) says so.
pub(crate) fn start(chain: &mut Chain, start: Start, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    if let Some(newest) = &chain.run {
        if let Some(started) = answered_before(newest, &start.request_id) {
            return Ok(Outcome::unchanged(reply(started, newest, start.eager)));
        }
        if newest.is_open() && conflict(&start, Conflict::Fail) == Conflict::UseExisting {
            return use_existing(chain, &start, at);
        }
    }
    start_new(chain, start, None, at)
}

/// The open run serves, and takes over from the request what that wants.
fn use_existing(chain: &mut Chain, start: &Start, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    step::advance(chain, at, |t| {
        let attached = start.on_conflict.is_some_and(|options| options.attach_request_id);
        if let Some(options) = start.on_conflict {
            options::attach(t, start, options);
        }
        Ok(Reply::Started(StartedRun { attached, ..using(t.run, 0) }))
    })
}

/// Signals the open run, or starts one whose second event is the signal.
///
/// # Errors
/// As [`start`] and as a signal.
pub(crate) fn signal_with_start(
    chain: &mut Chain,
    start: Start,
    signal: &Signal,
    at: &Moment<'_>,
) -> Result<Outcome, Rejected> {
    let Some(newest) = &chain.run else { return start_new(chain, start, Some(signal), at) };
    let used = conflict(&start, Conflict::UseExisting) == Conflict::UseExisting;
    if newest.is_open() && (used || signal::is_known(newest, &signal.request_id)) {
        return step::advance(chain, at, |t| {
            let event_id = signal::signal(t, signal)?;
            Ok(Reply::Started(using(t.run, event_id)))
        });
    }
    if let Some(started) = answered_before(newest, &start.request_id) {
        return Ok(Outcome::unchanged(Reply::Started(started)));
    }
    start_new(chain, start, Some(signal), at)
}

/// Updates the open run if it may serve, or starts one whose first workflow task brings the update. A run that knows the
/// update already serves whatever the policies say.
///
/// # Errors
/// As [`start`] and as an update.
pub(crate) fn update_with_start(
    chain: &mut Chain,
    start: Start,
    update: &AdmitUpdate,
    at: &Moment<'_>,
) -> Result<Outcome, Rejected> {
    if let Some(newest) = &chain.run {
        if update::is_known(newest, update_id(&update.request)) {
            return Ok(Outcome::unchanged(Reply::Started(using(newest, 0))));
        }
        let answered = answered_before(newest, &start.request_id);
        let used = newest.is_open() && conflict(&start, Conflict::Fail) == Conflict::UseExisting;
        if answered.is_some() || used {
            return step::advance(chain, at, |t| {
                update::admit(t, update)?;
                Ok(Reply::Started(answered.unwrap_or_else(|| using(t.run, 0))))
            });
        }
    }
    let outcome = start_new(chain, start, None, at)?;
    if let Some(run) = &mut chain.run {
        run.admitted.push(Arc::new(Admitted { request: update.request.clone(), sent_with: 0 }));
    }
    Ok(outcome)
}

/// The policies let a new run begin, beside a closed one or in place of an open one.
fn start_new(chain: &mut Chain, start: Start, signal: Option<&Signal>, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    let run_id = at.new_run_id();
    let mut superseded = None;
    match &mut chain.run {
        None => {}
        Some(newest) if !newest.is_open() => check_reuse(newest, start.reuse_policy)?,
        Some(newest) => {
            let default = if signal.is_some() { Conflict::UseExisting } else { Conflict::Fail };
            if conflict(&start, default) != Conflict::TerminateExisting {
                return Err(already_started(newest));
            }
            let mut t = Transition::new(newest, at);
            terminate::for_new_run(&mut t, &run_id);
            superseded = t.finish(false);
        }
    }
    let ended = chain.run.take();
    let eager = start.eager;
    let (run, created) = create(run_id, start, signal, ended.as_ref(), at);
    let signal_event_id = if signal.is_some() { FIRST_SIGNAL_EVENT_ID } else { 0 };
    let reply = reply(StartedRun { started: true, ..using(&run, signal_event_id) }, &run, eager);
    chain.run = Some(run);
    Ok(Outcome { superseded: ended.zip(superseded).map(Box::new), current: created, reply })
}

/// The answer to a start: with the first workflow task while that is the caller's and nothing else has happened.
fn reply(started: StartedRun, newest: &Run, eager: bool) -> Reply {
    let first = newest.fixed.eager && started.run_id == newest.fixed.run_id && newest.execution.next_event_id == 4;
    if eager && first && newest.has_started_task() {
        Reply::StartedEagerly(started, Box::new(task::started(newest, false)))
    } else {
        Reply::Started(started)
    }
}

/// A signal that comes with the start is the second event.
const FIRST_SIGNAL_EVENT_ID: i64 = 2;

fn conflict(start: &Start, default: Conflict) -> Conflict {
    match start.conflict_policy {
        Conflict::Unspecified if start.reuse_policy == Reuse::TerminateIfRunning => Conflict::TerminateExisting,
        Conflict::Unspecified => default,
        policy => policy,
    }
}

/// The reuse policy is about closed runs.
fn check_reuse(newest: &Run, policy: Reuse) -> Result<(), Rejected> {
    let allowed = match policy {
        // It is as good as gone.
        _ if newest.execution.delete_requested => true,
        Reuse::RejectDuplicate => false,
        Reuse::AllowDuplicateFailedOnly => {
            matches!(newest.status(), Status::Failed | Status::Canceled | Status::Terminated | Status::TimedOut)
        }
        _ => true,
    };
    if allowed { Ok(()) } else { Err(already_started(newest)) }
}

fn already_started(newest: &Run) -> Rejected {
    Rejected::AlreadyStarted {
        open: newest.is_open(),
        start_request_id: newest.fixed.create_request_id.clone(),
        run_id: newest.fixed.run_id.clone(),
        first_run_id: newest.fixed.first_run_id.clone(),
        status: newest.execution.status,
    }
}

/// The answer that this request got before, whatever has become of its run since.
fn answered_before(newest: &Run, request_id: &str) -> Option<StartedRun> {
    if newest.execution.delete_requested {
        return None;
    }
    if newest.fixed.create_request_id == request_id {
        return Some(StartedRun { started: true, ..using(newest, 0) });
    }
    if newest.properties.attached_requests.iter().any(|attached| attached.request_id == request_id) {
        return Some(StartedRun { attached: true, ..using(newest, 0) });
    }
    let known = newest.fixed.known_requests.iter().rev().find(|known| known.request_id == request_id)?;
    Some(StartedRun {
        run_id: known.run_id.clone(),
        first_run_id: known.first_run_id.clone(),
        started: true,
        status: known.status(),
        attached: false,
        signal_event_id: 0,
    })
}

/// The newest run serves as it is.
fn using(run: &Run, signal_event_id: i64) -> StartedRun {
    StartedRun {
        run_id: run.fixed.run_id.clone(),
        first_run_id: run.fixed.first_run_id.clone(),
        started: false,
        status: run.status(),
        attached: false,
        signal_event_id: if signal_event_id == BUFFERED { 0 } else { signal_event_id },
    }
}

/// Makes a run and its first batch of events: started, signalled if there is a signal, and its first workflow task
/// unless that has to wait. `ended` is the run that was the newest before.
pub(crate) fn create(
    run_id: String,
    start: Start,
    signal: Option<&Signal>,
    ended: Option<&Run>,
    at: &Moment<'_>,
) -> (Run, Option<RunChange>) {
    let backoff = first_backoff(&start, at.now);
    let (request_id, identity) = (start.request_id.clone(), start.identity.clone());
    let fixed = fixed(&start, run_id, backoff, ended, at);
    let mut run = Run::new(at.new_run, fixed);
    run.execution.awaits_parent = start.parent.is_some() && start.continued.is_none();
    run.execution.awaits_first_task = !backoff.is_zero();
    let mut t = Transition::created(&mut run, at);
    if let Some(ended) = ended {
        take_over_signals(&mut t, ended);
    }
    let extras = Extras { user_metadata: start.user_metadata.clone(), links: start.links.clone(), ..Extras::default() };
    let started = started_attributes(&t.run.fixed, start, backoff);
    t.record_with(Attributes::WorkflowExecutionStartedEventAttributes(started), extras);
    if let Some(signal) = signal {
        signal::record(&mut t, signal);
    }
    task::schedule(&mut t);
    if t.run.fixed.eager {
        task::begin_eagerly(&mut t, &request_id, &identity);
    }
    let change = t.finish(false);
    (run, change)
}

/// A signal of another workflow may be sent again when another run has become the newest of its target, which then has
/// to know that it came already.
fn take_over_signals(t: &mut Transition<'_>, ended: &Run) {
    let derived = ended.signal_requests.iter().filter(|id| effect::is_derived(id)).take(KNOWN_SIGNALS_MAX);
    for request_id in derived {
        Arc::make_mut(&mut t.run.signal_requests).insert(request_id.clone());
        t.touch(ItemKey::SignalRequest(request_id.clone()));
    }
}

/// How long the first workflow task has to wait.
fn first_backoff(start: &Start, now: Timestamp) -> Duration {
    match &start.continued {
        Some(continued) => continued.backoff,
        None if start.cron_schedule.is_empty() => start.start_delay.min(SPAN_MAX),
        None => cron::backoff(&start.cron_schedule, now, now).unwrap_or(start.start_delay),
    }
}

fn fixed(start: &Start, run_id: String, backoff: Duration, ended: Option<&Run>, at: &Moment<'_>) -> Fixed {
    let execution_timeout = start.execution_timeout.min(SPAN_MAX);
    let run_timeout = within(start.run_timeout.min(SPAN_MAX), execution_timeout);
    let task_timeout = if start.task_timeout.is_zero() { at.limits.task_timeout_default } else { start.task_timeout };
    let task_timeout = within(task_timeout.min(at.limits.task_timeout_max), run_timeout);
    let retry_policy = start.retry_policy.clone().map(|policy| retry::with_defaults(Some(policy)));
    let may_run_again = retry_policy.is_some() || !start.cron_schedule.is_empty();
    let root = start.root.clone();
    let root =
        root.unwrap_or_else(|| WorkflowExecution { workflow_id: start.workflow_id.clone(), run_id: run_id.clone() });
    let continued = start.continued.clone().unwrap_or_default();
    let first = start.continued.is_none();
    Fixed {
        eager: start.eager && backoff.is_zero() && start.parent.is_none(),
        namespace_id: start.namespace_id.clone(),
        namespace: start.namespace.clone(),
        workflow_id: start.workflow_id.clone(),
        workflow_type: start.workflow_type.clone(),
        task_queue: start.task_queue.clone(),
        first_run_id: if first { run_id.clone() } else { continued.first_run_id },
        original_run_id: run_id.clone(),
        continued_run_id: continued.continued_run_id,
        execution_timeout: nanos(execution_timeout),
        run_timeout: nanos(run_timeout),
        task_timeout: nanos(task_timeout),
        execution_expires_at: match (first, execution_timeout.is_zero()) {
            (true, true) => 0,
            (true, false) => (at.now + execution_timeout).as_nanos(),
            (false, _) => continued.execution_expires_at,
        },
        retry_policy,
        attempt: continued.attempt.max(1),
        cron_schedule: start.cron_schedule.clone(),
        started_at: at.now.as_nanos(),
        execution_at: (at.now + backoff).as_nanos(),
        create_request_id: start.request_id.clone(),
        parent: start.parent.clone(),
        root_workflow_id: root.workflow_id,
        root_run_id: root.run_id,
        priority: start.priority.clone(),
        user_metadata: start.user_metadata.clone(),
        again: may_run_again.then(|| Again {
            input: start.input.clone(),
            header: start.header.clone(),
            last_completion_result: start.last_completion_result.clone(),
            continued_failure: start.continued_failure.clone(),
        }),
        known_requests: known_requests(ended),
        run_id,
    }
}

/// The requests that the run before knew, and the one that started it.
fn known_requests(ended: Option<&Run>) -> Vec<KnownRequest> {
    let Some(ended) = ended else { return Vec::new() };
    let mut known = ended.fixed.known_requests.clone();
    if ended.fixed.is_first() {
        known.push(KnownRequest {
            request_id: ended.fixed.create_request_id.clone(),
            run_id: ended.fixed.run_id.clone(),
            first_run_id: ended.fixed.first_run_id.clone(),
            status: ended.execution.status,
        });
    }
    let excess = known.len().saturating_sub(KNOWN_REQUESTS_MAX);
    known.drain(..excess);
    known
}

fn started_attributes(fixed: &Arc<Fixed>, start: Start, backoff: Duration) -> WorkflowExecutionStartedEventAttributes {
    // A timeout that nobody set is absent.
    let span =
        |nanos: i64| u64::try_from(nanos).ok().filter(|nanos| *nanos != 0).map(Duration::from_nanos).map(duration);
    let expires = Some(fixed.execution_expires_at).filter(|at| *at != 0);
    let parent = fixed.parent.clone();
    let parent_execution = parent
        .as_ref()
        .map(|parent| WorkflowExecution { workflow_id: parent.workflow_id.clone(), run_id: parent.run_id.clone() });
    let parent = parent.unwrap_or_default();
    WorkflowExecutionStartedEventAttributes {
        workflow_type: Some(WorkflowType { name: fixed.workflow_type.clone() }),
        parent_workflow_namespace: parent.namespace,
        parent_workflow_namespace_id: parent.namespace_id,
        parent_workflow_execution: parent_execution,
        parent_initiated_event_id: parent.initiated_event_id,
        task_queue: Some(task::normal_queue(&fixed.task_queue)),
        input: start.input,
        workflow_execution_timeout: span(fixed.execution_timeout),
        workflow_run_timeout: span(fixed.run_timeout),
        workflow_task_timeout: span(fixed.task_timeout),
        continued_execution_run_id: fixed.continued_run_id.clone(),
        initiator: initiator(&start.continued.map(|continued| continued.initiator), &fixed.cron_schedule),
        continued_failure: start.continued_failure,
        last_completion_result: start.last_completion_result,
        original_execution_run_id: fixed.original_run_id.clone(),
        identity: start.identity,
        first_execution_run_id: fixed.first_run_id.clone(),
        retry_policy: fixed.retry_policy.clone(),
        attempt: fixed.attempt,
        workflow_execution_expiration_time: expires.map(|at| timestamp(Timestamp::from_nanos(at))),
        cron_schedule: fixed.cron_schedule.clone(),
        first_workflow_task_backoff: Some(duration(backoff)),
        memo: Some(start.memo).filter(|memo| !memo.is_empty()).map(|fields| Memo { fields }),
        search_attributes: Some(start.search_attributes)
            .filter(|search| !search.is_empty())
            .map(|indexed_fields| SearchAttributes { indexed_fields }),
        header: start.header,
        workflow_id: fixed.workflow_id.clone(),
        root_workflow_execution: start.root,
        priority: fixed.priority.clone(),
        eager_execution_accepted: fixed.eager,
        ..Default::default()
    }
}

/// The first run of a cron chain already names the schedule as what started it.
fn initiator(continued: &Option<i32>, cron_schedule: &str) -> i32 {
    match continued {
        Some(initiator) => *initiator,
        None if cron_schedule.is_empty() => ContinueAsNewInitiator::Unspecified as i32,
        None => ContinueAsNewInitiator::CronSchedule as i32,
    }
}

/// A span cut to the one around it; zero is none.
fn within(span: Duration, limit: Duration) -> Duration {
    match (span.is_zero(), limit.is_zero()) {
        (true, _) => limit,
        (false, true) => span,
        (false, false) => span.min(limit),
    }
}

pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
