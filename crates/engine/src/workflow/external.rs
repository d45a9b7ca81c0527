//! Signals and cancel requests to other executions, and the answers to everything this run has sent.

use mainspring_api::v1::{
    command::{
        RequestCancelExternalWorkflowExecutionCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
    },
    common::WorkflowExecution,
    enums::WorkflowTaskFailedCause as Cause,
    history::{
        ExternalWorkflowExecutionCancelRequestedEventAttributes, ExternalWorkflowExecutionSignaledEventAttributes,
        RequestCancelExternalWorkflowExecutionFailedEventAttributes,
        RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
        SignalExternalWorkflowExecutionFailedEventAttributes, SignalExternalWorkflowExecutionInitiatedEventAttributes,
        history_event::Attributes,
    },
};

use crate::{
    effect::{CancelExternal, Kind, SignalExternal},
    input::{Answer, EffectAnswered},
    outcome::Reply,
    state::External,
    transition::{Extras, Transition},
    workflow::{
        activity::input_bytes,
        child,
        command::{Context, Refusal},
        task,
    },
};

/// The command that signals another execution.
pub(crate) fn initiate_signal(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: SignalExternalWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    let bad = |message: String| Err(Refusal::new(Cause::BadSignalWorkflowExecutionAttributes, message));
    let Some(execution) = a.execution else {
        return bad("Execution is not set on SignalExternalWorkflowExecutionCommand.".to_owned());
    };
    let which = format!("WorkflowId={} Namespace={} RunId={}", execution.workflow_id, a.namespace, execution.run_id);
    if execution.workflow_id.is_empty() {
        return bad(format!("WorkflowId is not set on SignalExternalWorkflowExecutionCommand. {which}"));
    }
    if !is_run_id(&execution.run_id) {
        return bad(format!("Invalid RunId set on SignalExternalWorkflowExecutionCommand. {which}"));
    }
    if a.signal_name.is_empty() {
        return bad(format!("SignalName is not set on SignalExternalWorkflowExecutionCommand. {which}"));
    }
    if a.signal_name.len().max(execution.workflow_id.len()) > t.at.limits.id_bytes_max {
        return bad(format!(
            "SignalName or WorkflowId on SignalExternalWorkflowExecutionCommand exceeds length limit. {which}"
        ));
    }
    if input_bytes(a.input.as_ref()) > t.at.limits.blob_bytes_max {
        let message = "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit.";
        return Err(Refusal::too_large(Cause::BadSignalWorkflowExecutionAttributes, message));
    }
    let max = t.at.limits.pending_signals_max;
    check_pending(t, false, max, Cause::PendingSignalsLimitExceeded, "signals to external workflows")?;
    let (namespace, namespace_id) = context.namespace(t.run, &a.namespace);
    let signal = SignalExternal {
        run_id: execution.run_id.clone(),
        name: a.signal_name.clone(),
        input: a.input.clone(),
        header: a.header.clone(),
        child_only: a.child_workflow_only,
    };
    let workflow_id = execution.workflow_id.clone();
    let initiated = SignalExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: context.completed_event_id,
        namespace: namespace.clone(),
        namespace_id,
        workflow_execution: Some(execution),
        signal_name: a.signal_name,
        input: a.input,
        control: a.control,
        child_workflow_only: a.child_workflow_only,
        header: a.header,
    };
    let event = t.record_with(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated), extras);
    child::send(t, namespace, workflow_id, event, Kind::Signal(signal));
    Ok(())
}

/// The command that asks another execution to cancel itself.
pub(crate) fn initiate_cancel(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: RequestCancelExternalWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    let bad = |message: String| Err(Refusal::new(Cause::BadRequestCancelExternalWorkflowExecutionAttributes, message));
    let which = format!("WorkflowId={} RunId={} Namespace={}", a.workflow_id, a.run_id, a.namespace);
    if a.workflow_id.is_empty() {
        return bad(format!("WorkflowId is not set on RequestCancelExternalWorkflowExecutionCommand. {which}"));
    }
    if a.workflow_id.len() > t.at.limits.id_bytes_max {
        return bad(format!(
            "WorkflowId on RequestCancelExternalWorkflowExecutionCommand exceeds length limit. {which}"
        ));
    }
    if !is_run_id(&a.run_id) {
        return bad(format!("Invalid RunId set on RequestCancelExternalWorkflowExecutionCommand. {which}"));
    }
    let new_children = t.run.children.range(context.first_new_event_id..);
    if new_children.into_iter().any(|(_, child)| child.workflow_id == a.workflow_id) {
        return bad(format!(
            "Start and RequestCancel for child workflow is not allowed in same workflow task. {which}"
        ));
    }
    let max = t.at.limits.pending_cancels_max;
    check_pending(t, true, max, Cause::PendingRequestCancelLimitExceeded, "requests to cancel external workflows")?;
    let (namespace, namespace_id) = context.namespace(t.run, &a.namespace);
    let cancel =
        CancelExternal { run_id: a.run_id.clone(), reason: a.reason.clone(), child_only: a.child_workflow_only };
    let workflow_id = a.workflow_id.clone();
    let initiated = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: context.completed_event_id,
        namespace: namespace.clone(),
        namespace_id,
        workflow_execution: Some(WorkflowExecution { workflow_id: a.workflow_id, run_id: a.run_id }),
        control: a.control,
        child_workflow_only: a.child_workflow_only,
        reason: a.reason,
    };
    let attributes = Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(initiated);
    let event = t.record_with(attributes, extras);
    child::send(t, namespace, workflow_id, event, Kind::Cancel(cancel));
    Ok(())
}

/// Refuses when as many of a kind are on their way as may be.
fn check_pending(t: &Transition<'_>, cancel: bool, max: usize, cause: Cause, what: &str) -> Result<(), Refusal> {
    let pending = t.run.externals.values().filter(|external| external.cancel == cancel).count();
    if pending < max {
        return Ok(());
    }
    Err(Refusal::new(
        cause,
        format!("the number of pending {what}, {pending}, has reached the per-workflow limit of {max}"),
    ))
}

fn is_run_id(run_id: &str) -> bool {
    run_id.is_empty() || uuid::Uuid::parse_str(run_id).is_ok()
}

/// The answer to an outbox row: recorded if the run is open and still waits for it. The row goes in any case.
pub(crate) fn answered(t: &mut Transition<'_>, input: &EffectAnswered) -> Reply {
    t.effect_done(input.effect);
    if !t.run.is_open() {
        return Reply::Done;
    }
    match &input.answer {
        Answer::Done => {}
        Answer::ChildStarted { run_id } => child::record_started(t, input.initiated_event_id, run_id),
        Answer::ChildRefused { cause } => child::record_refused(t, input.initiated_event_id, *cause),
        Answer::Delivered => record(t, input.initiated_event_id, delivered),
        Answer::Refused { cause } => record(t, input.initiated_event_id, |external| refused(external, *cause)),
    }
    Reply::Done
}

fn record(t: &mut Transition<'_>, initiated_event_id: i64, result: impl FnOnce(External) -> Attributes) {
    let Some(external) = t.run.externals.get(&initiated_event_id).map(|external| External::clone(external)) else {
        return;
    };
    t.record(result(external));
    task::schedule(t);
}

fn delivered(external: External) -> Attributes {
    let execution = WorkflowExecution { workflow_id: external.workflow_id, run_id: external.run_id };
    if external.cancel {
        let requested = ExternalWorkflowExecutionCancelRequestedEventAttributes {
            initiated_event_id: external.initiated_event_id,
            namespace: external.namespace,
            namespace_id: external.namespace_id,
            workflow_execution: Some(execution),
        };
        return Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(requested);
    }
    Attributes::ExternalWorkflowExecutionSignaledEventAttributes(ExternalWorkflowExecutionSignaledEventAttributes {
        initiated_event_id: external.initiated_event_id,
        namespace: external.namespace,
        namespace_id: external.namespace_id,
        workflow_execution: Some(execution),
        control: external.control,
    })
}

fn refused(external: External, cause: i32) -> Attributes {
    let execution = WorkflowExecution { workflow_id: external.workflow_id, run_id: external.run_id };
    if external.cancel {
        let failed = RequestCancelExternalWorkflowExecutionFailedEventAttributes {
            cause,
            workflow_task_completed_event_id: external.completed_event_id,
            namespace: external.namespace,
            namespace_id: external.namespace_id,
            workflow_execution: Some(execution),
            initiated_event_id: external.initiated_event_id,
            control: external.control,
        };
        return Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(failed);
    }
    let failed = SignalExternalWorkflowExecutionFailedEventAttributes {
        cause,
        workflow_task_completed_event_id: external.completed_event_id,
        namespace: external.namespace,
        namespace_id: external.namespace_id,
        workflow_execution: Some(execution),
        initiated_event_id: external.initiated_event_id,
        control: external.control,
    };
    Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(failed)
}
