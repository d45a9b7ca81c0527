//! Cancellation of this run: the request, and the command that follows it.

use mainspring_api::v1::{
    command::CancelWorkflowExecutionCommandAttributes,
    history::{
        WorkflowExecutionCancelRequestedEventAttributes, WorkflowExecutionCanceledEventAttributes,
        history_event::Attributes,
    },
};

use crate::{
    input::RequestCancel,
    outcome::{Rejected, Reply},
    transition::{Extras, Transition},
    workflow::{
        child, close,
        command::{Context, Refusal},
        task,
    },
};

/// Asks the workflow to cancel itself. Asking again, or asking a closed run, changes nothing and is no error.
///
/// # Errors
/// Another chain is named, or the run is not the sender's child.
pub(crate) fn request(t: &mut Transition<'_>, input: &RequestCancel) -> Result<Reply, Rejected> {
    close::check_chain(t.run, &input.first_run_id)?;
    child::check_parent(t.run, input.child_of_run_id.as_deref())?;
    if !t.run.is_open() || t.run.execution.cancel_requested {
        return Ok(Reply::Done);
    }
    let (source, initiated_event_id) = input.source.clone().unzip();
    let requested = WorkflowExecutionCancelRequestedEventAttributes {
        cause: input.reason.clone(),
        external_initiated_event_id: initiated_event_id.unwrap_or(0),
        external_workflow_execution: source,
        identity: input.identity.clone(),
    };
    let extras = Extras { links: input.links.clone(), ..Extras::default() };
    t.record_with(Attributes::WorkflowExecutionCancelRequestedEventAttributes(requested), extras);
    // Unlike a signal, a cancel does not wait for the end of a start delay.
    t.run.execution.awaits_first_task &= t.run.execution.awaits_parent;
    task::schedule(t);
    Ok(Reply::Done)
}

/// The command that ends the run as cancelled. Whether anyone asked for that is not looked at.
pub(crate) fn close(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: CancelWorkflowExecutionCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    close::check_handled(t)?;
    let canceled = WorkflowExecutionCanceledEventAttributes {
        workflow_task_completed_event_id: context.completed_event_id,
        details: a.details,
    };
    close::end(t, Attributes::WorkflowExecutionCanceledEventAttributes(canceled), extras, None);
    Ok(())
}
