//! Children, from both sides: the parent that starts them and learns how they end, and the child that waits for its
//! parent and tells it.

use mainspring_api::{
    time::is_negative,
    v1::{
        command::StartChildWorkflowExecutionCommandAttributes,
        common::{Priority, WorkflowExecution, WorkflowType},
        enums::{ParentClosePolicy, WorkflowIdReusePolicy, WorkflowTaskFailedCause as Cause},
        history::{
            ChildWorkflowExecutionCanceledEventAttributes, ChildWorkflowExecutionCompletedEventAttributes,
            ChildWorkflowExecutionFailedEventAttributes, ChildWorkflowExecutionStartedEventAttributes,
            ChildWorkflowExecutionTerminatedEventAttributes, ChildWorkflowExecutionTimedOutEventAttributes,
            HistoryEvent, StartChildWorkflowExecutionFailedEventAttributes,
            StartChildWorkflowExecutionInitiatedEventAttributes, history_event::Attributes,
        },
    },
};
use prost::Message;

use crate::{
    buffer,
    effect::{ChildOutcome, CloseChild, Effect, Kind, StartChild},
    input::ChildClosed,
    outcome::{Rejected, Reply},
    retry,
    state::{Child, Run},
    transition::{Extras, Transition},
    workflow::{
        activity::input_bytes,
        command::{Context, Refusal},
        cron, task,
    },
};

/// The command that starts a child.
pub(crate) fn initiate(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: StartChildWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    check(t, &a).map_err(|message| Refusal::new(Cause::BadStartChildExecutionAttributes, message))?;
    check_sizes(t, &a)?;
    let pending = t.run.children.len();
    let max = t.at.limits.pending_children_max;
    if pending >= max {
        let message = format!(
            "the number of pending child workflow executions, {pending}, has reached the per-workflow limit of {max}"
        );
        return Err(Refusal::new(Cause::PendingChildWorkflowsLimitExceeded, message));
    }
    let user_metadata = extras.user_metadata.clone();
    let initiated = initiated_attributes(t.run, context, a);
    let (namespace, workflow_id) = (initiated.namespace.clone(), initiated.workflow_id.clone());
    let root = WorkflowExecution {
        workflow_id: t.run.fixed.root_workflow_id.clone(),
        run_id: t.run.fixed.root_run_id.clone(),
    };
    let event =
        t.record_with(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(initiated.clone()), extras);
    let start = StartChild { initiated: Some(initiated), root: Some(root), user_metadata };
    send(t, namespace, workflow_id, event, Kind::StartChild(Box::new(start)));
    Ok(())
}

fn check(t: &Transition<'_>, a: &StartChildWorkflowExecutionCommandAttributes) -> Result<(), String> {
    let name = a.workflow_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
    let queue = a.task_queue.as_ref().map(|queue| queue.name.as_str()).unwrap_or_default();
    let which = format!("WorkflowId={} WorkflowType={name} Namespace={}", a.workflow_id, a.namespace);
    if a.workflow_id.is_empty() {
        return Err(format!("Required field WorkflowId is not set on StartChildWorkflowExecutionCommand. {which}"));
    }
    if name.is_empty() {
        return Err(format!("Required field WorkflowType is not set on StartChildWorkflowExecutionCommand. {which}"));
    }
    for (field, value) in [("WorkflowId", a.workflow_id.as_str()), ("WorkflowType", name), ("TaskQueue", queue)] {
        if value.len() > t.at.limits.id_bytes_max {
            return Err(format!("{field} on StartChildWorkflowExecutionCommand exceeds length limit. {which}"));
        }
    }
    let spans = [
        ("WorkflowExecutionTimeout", &a.workflow_execution_timeout),
        ("WorkflowRunTimeout", &a.workflow_run_timeout),
        ("WorkflowTaskTimeout", &a.workflow_task_timeout),
    ];
    for (field, span) in spans {
        if is_negative(span.as_ref()) {
            return Err(format!("Invalid {field} for StartChildWorkflowExecutionCommand: negative duration. {which}"));
        }
    }
    if let Some(policy) = &a.retry_policy {
        retry::validate(&retry::with_defaults(Some(policy.clone()))).map_err(|why| {
            format!("Invalid WorkflowRetryPolicy on StartChildWorkflowExecutionCommand: {why} {which}")
        })?;
    }
    cron::validate(&a.cron_schedule)
        .map_err(|why| format!("Invalid CronSchedule on StartChildWorkflowExecutionCommand: {why} {which}"))
}

fn check_sizes(t: &Transition<'_>, a: &StartChildWorkflowExecutionCommandAttributes) -> Result<(), Refusal> {
    let max = t.at.limits.blob_bytes_max;
    let memo = a.memo.as_ref().map_or(0, Message::encoded_len);
    for (field, bytes) in [("Input", input_bytes(a.input.as_ref())), ("Memo", memo)] {
        if bytes > max {
            let message = format!("StartChildWorkflowExecutionCommandAttributes.{field} exceeds size limit.");
            return Err(Refusal::too_large(Cause::BadStartChildExecutionAttributes, message));
        }
    }
    Ok(())
}

/// Fills in what the child takes from its parent.
fn initiated_attributes(
    run: &Run,
    context: &Context<'_>,
    a: StartChildWorkflowExecutionCommandAttributes,
) -> StartChildWorkflowExecutionInitiatedEventAttributes {
    let (namespace, namespace_id) = context.namespace(run, &a.namespace);
    let queue = a.task_queue.map(|queue| queue.name).filter(|name| !name.is_empty());
    let policy = match ParentClosePolicy::try_from(a.parent_close_policy) {
        Ok(policy) if policy != ParentClosePolicy::Unspecified => policy,
        _ => ParentClosePolicy::Terminate,
    };
    let reuse = match WorkflowIdReusePolicy::try_from(a.workflow_id_reuse_policy) {
        Ok(policy) if policy != WorkflowIdReusePolicy::Unspecified => policy,
        _ => WorkflowIdReusePolicy::AllowDuplicate,
    };
    StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace,
        namespace_id,
        workflow_id: a.workflow_id,
        workflow_type: a.workflow_type,
        task_queue: Some(task::normal_queue(queue.as_ref().unwrap_or(&run.fixed.task_queue))),
        input: a.input,
        workflow_execution_timeout: a.workflow_execution_timeout,
        workflow_run_timeout: a.workflow_run_timeout,
        workflow_task_timeout: a.workflow_task_timeout,
        parent_close_policy: policy as i32,
        control: a.control,
        workflow_task_completed_event_id: context.completed_event_id,
        workflow_id_reuse_policy: reuse as i32,
        retry_policy: a.retry_policy.map(|policy| retry::with_defaults(Some(policy))),
        cron_schedule: a.cron_schedule,
        header: a.header,
        memo: a.memo,
        search_attributes: a.search_attributes,
        inherit_build_id: a.inherit_build_id,
        priority: merged_priority(a.priority, run.fixed.priority.as_ref()),
        versioning_override: a.versioning_override,
        ..Default::default()
    }
}

/// What the child does not set it has from its parent.
fn merged_priority(own: Option<Priority>, parent: Option<&Priority>) -> Option<Priority> {
    let (Some(own), Some(parent)) = (&own, parent) else { return own.or_else(|| parent.cloned()) };
    Some(Priority {
        priority_key: if own.priority_key == 0 { parent.priority_key } else { own.priority_key },
        fairness_key: if own.fairness_key.is_empty() { parent.fairness_key.clone() } else { own.fairness_key.clone() },
        fairness_weight: if own.fairness_weight == 0.0 { parent.fairness_weight } else { own.fairness_weight },
    })
}

/// The child was started as `run_id`. Its first workflow task may come now that this is recorded.
pub(crate) fn record_started(t: &mut Transition<'_>, initiated_event_id: i64, run_id: &str) {
    let Some(child) = unstarted(t.run, initiated_event_id) else { return };
    record_start(t, &child, run_id);
    send(t, child.namespace, child.workflow_id, initiated_event_id, Kind::ScheduleFirstTask(run_id.to_owned()));
    task::schedule(t);
}

fn record_start(t: &mut Transition<'_>, child: &Child, run_id: &str) -> i64 {
    t.record(Attributes::ChildWorkflowExecutionStartedEventAttributes(ChildWorkflowExecutionStartedEventAttributes {
        namespace: child.namespace.clone(),
        namespace_id: child.namespace_id.clone(),
        initiated_event_id: child.initiated_event_id,
        workflow_execution: Some(execution(&child.workflow_id, run_id)),
        workflow_type: Some(WorkflowType { name: child.workflow_type.clone() }),
        header: child.header.clone(),
    }))
}

/// The child could not be started.
pub(crate) fn record_refused(t: &mut Transition<'_>, initiated_event_id: i64, cause: i32) {
    let Some(child) = unstarted(t.run, initiated_event_id) else { return };
    let failed = StartChildWorkflowExecutionFailedEventAttributes {
        namespace: child.namespace,
        namespace_id: child.namespace_id,
        workflow_id: child.workflow_id,
        workflow_type: Some(WorkflowType { name: child.workflow_type }),
        cause,
        initiated_event_id,
        workflow_task_completed_event_id: child.completed_event_id,
        ..Default::default()
    };
    t.record(Attributes::StartChildWorkflowExecutionFailedEventAttributes(failed));
    task::schedule(t);
}

/// The pending child whose start is not recorded yet.
fn unstarted(run: &Run, initiated_event_id: i64) -> Option<Child> {
    let child = run.children.get(&initiated_event_id).filter(|child| child.started_event_id == 0)?;
    Some(Child::clone(child))
}

/// A child's chain has ended.
pub(crate) fn closed(t: &mut Transition<'_>, input: &ChildClosed) -> Reply {
    let Some(child) = t.run.children.get(&input.initiated_event_id).map(|child| Child::clone(child)) else {
        return Reply::Done;
    };
    let outcome = &input.outcome;
    let closing = outcome.closing.as_ref().and_then(|event| event.attributes.clone());
    let Some(mut event) = closing.and_then(|closing| closed_attributes(closing, &child, &outcome.run_id)) else {
        return Reply::Done;
    };
    // A child may end before its start is known here: every end has a start.
    let started_event_id = match child.started_event_id {
        0 => record_start(t, &child, &outcome.first_run_id),
        recorded => recorded,
    };
    set_started(&mut event, started_event_id);
    t.record(event);
    task::schedule(t);
    Reply::Done
}

/// The parent's event for the child's closing event; none when that ends no chain.
fn closed_attributes(closing: Attributes, child: &Child, run_id: &str) -> Option<Attributes> {
    use Attributes as A;
    let (namespace, namespace_id) = (child.namespace.clone(), child.namespace_id.clone());
    let initiated_event_id = child.initiated_event_id;
    let workflow_execution = Some(execution(&child.workflow_id, run_id));
    let workflow_type = Some(WorkflowType { name: child.workflow_type.clone() });
    let started_event_id = 0;
    Some(match closing {
        A::WorkflowExecutionCompletedEventAttributes(a) => {
            let result = a.result;
            A::ChildWorkflowExecutionCompletedEventAttributes(ChildWorkflowExecutionCompletedEventAttributes {
                result,
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        }
        A::WorkflowExecutionFailedEventAttributes(a) => {
            let (failure, retry_state) = (a.failure, a.retry_state);
            A::ChildWorkflowExecutionFailedEventAttributes(ChildWorkflowExecutionFailedEventAttributes {
                failure,
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
                retry_state,
            })
        }
        A::WorkflowExecutionCanceledEventAttributes(a) => {
            let details = a.details;
            A::ChildWorkflowExecutionCanceledEventAttributes(ChildWorkflowExecutionCanceledEventAttributes {
                details,
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        }
        A::WorkflowExecutionTimedOutEventAttributes(a) => {
            let retry_state = a.retry_state;
            A::ChildWorkflowExecutionTimedOutEventAttributes(ChildWorkflowExecutionTimedOutEventAttributes {
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
                retry_state,
            })
        }
        A::WorkflowExecutionTerminatedEventAttributes(_) => {
            A::ChildWorkflowExecutionTerminatedEventAttributes(ChildWorkflowExecutionTerminatedEventAttributes {
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        }
        _ => return None,
    })
}

fn set_started(event: &mut Attributes, event_id: i64) {
    if let Some((_, started)) = buffer::close_of(event) {
        *started = event_id;
    }
}

/// This run has closed: what its parent-close policy says becomes of the child.
pub(crate) fn close_by_policy(t: &mut Transition<'_>, child: &Child) {
    let policy = child.parent_close_policy();
    let start_is_recorded = child.started_event_id != 0;
    if policy != ParentClosePolicy::Terminate && !start_is_recorded {
        // Nobody will record the start any more: the child, if there is one, is let go without.
        send_close(t, child, ParentClosePolicy::Abandon);
    }
    if policy != ParentClosePolicy::Abandon {
        send_close(t, child, policy);
    }
}

fn send_close(t: &mut Transition<'_>, child: &Child, policy: ParentClosePolicy) {
    let close = CloseChild { run_id: child.run_id.clone(), policy: policy as i32 };
    let (namespace, workflow_id) = (child.namespace.clone(), child.workflow_id.clone());
    send(t, namespace, workflow_id, child.initiated_event_id, Kind::CloseChild(close));
}

/// This run has closed for good: its parent, if it has one, learns how.
pub(crate) fn tell_parent(t: &mut Transition<'_>) {
    let Some(parent) = t.run.fixed.parent.clone() else { return };
    let fixed = t.run.fixed.clone();
    let closing: Option<HistoryEvent> = t.events().last().cloned();
    let outcome = ChildOutcome {
        parent_run_id: parent.run_id,
        run_id: fixed.run_id.clone(),
        workflow_id: fixed.workflow_id.clone(),
        closing,
        workflow_type: fixed.workflow_type.clone(),
        first_run_id: fixed.first_run_id.clone(),
    };
    send(t, parent.namespace, parent.workflow_id, parent.initiated_event_id, Kind::ChildClosed(Box::new(outcome)));
}

/// The parent has recorded this child's start, or let it go. Repeats and strangers change nothing.
pub(crate) fn schedule_first_task(t: &mut Transition<'_>, run_id: &str, child_of_run_id: Option<&str>) -> Reply {
    let meant = run_id.is_empty() || t.run.fixed.run_id == run_id;
    if !meant || check_parent(t.run, child_of_run_id).is_err() || !t.run.is_open() || !t.run.execution.awaits_parent {
        return Reply::Done;
    }
    t.mark_dirty();
    t.run.execution.awaits_parent = false;
    // A cancel request ends a start's backoff; it may have come while the parent was waited for.
    let waits = t.run.execution.awaits_first_task && !t.run.execution.cancel_requested;
    t.run.execution.awaits_first_task = waits && t.run.fixed.execution_at > t.now();
    task::schedule(t);
    Reply::Done
}

/// Refuses when only a child of run `child_of_run_id` is meant and this is none.
pub(crate) fn check_parent(run: &Run, child_of_run_id: Option<&str>) -> Result<(), Rejected> {
    let Some(parent_run_id) = child_of_run_id else { return Ok(()) };
    let is_child = run.fixed.parent.as_ref().is_some_and(|parent| parent.run_id == parent_run_id);
    if is_child { Ok(()) } else { Err(Rejected::NotFound) }
}

/// Adds an outbox row of this run.
pub(crate) fn send(
    t: &mut Transition<'_>,
    namespace: String,
    workflow_id: String,
    initiated_event_id: i64,
    kind: Kind,
) {
    let source = Some(t.run.as_parent(initiated_event_id));
    t.send(Effect { namespace, workflow_id, initiated_event_id, source, kind: Some(kind) });
}

fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() }
}
