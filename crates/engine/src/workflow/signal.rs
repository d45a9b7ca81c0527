//! Signals to this run.

use mainspring_api::v1::history::{WorkflowExecutionSignaledEventAttributes, history_event::Attributes};

use crate::{
    input::Signal,
    outcome::Rejected,
    state::Run,
    transition::{Extras, Transition},
    workflow::{child, task},
};

/// Records the signal and lets the workflow see it. Returns the event's id; 0 when it was taken before.
///
/// # Errors
/// Closed, not the sender's child, closing, or the run took as many as it may.
pub(crate) fn signal(t: &mut Transition<'_>, signal: &Signal) -> Result<i64, Rejected> {
    if is_known(t.run, &signal.request_id) {
        return Ok(0);
    }
    child::check_parent(t.run, signal.child_of_run_id.as_deref())?;
    if !t.run.is_open() {
        return Err(Rejected::Closed);
    }
    if t.run.execution.close_attempted && t.run.has_started_task() {
        return Err(Rejected::Closing);
    }
    if t.run.execution.signal_count >= t.at.limits.signals_max {
        return Err(Rejected::SignalLimit);
    }
    let event_id = record(t, signal);
    task::schedule(t);
    Ok(event_id)
}

/// The run took that signal before, open or closed since.
pub(crate) fn is_known(run: &Run, request_id: &str) -> bool {
    !request_id.is_empty() && run.signal_requests.contains(request_id)
}

/// Records the event alone.
pub(crate) fn record(t: &mut Transition<'_>, signal: &Signal) -> i64 {
    let extras = Extras { links: signal.links.clone(), ..Extras::default() };
    let signaled = WorkflowExecutionSignaledEventAttributes {
        signal_name: signal.name.clone(),
        input: signal.input.clone(),
        identity: signal.identity.clone(),
        header: signal.header.clone(),
        external_workflow_execution: signal.source.clone(),
        request_id: signal.request_id.clone(),
        ..Default::default()
    };
    t.record_with(Attributes::WorkflowExecutionSignaledEventAttributes(signaled), extras)
}
