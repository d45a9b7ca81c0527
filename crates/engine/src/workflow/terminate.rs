//! Termination: the run ends without being asked.

use mainspring_api::v1::{
    Payload,
    common::Payloads,
    history::{WorkflowExecutionTerminatedEventAttributes, history_event::Attributes},
};

use crate::{
    effect::IDENTITY,
    input::Terminate,
    outcome::{Rejected, Reply},
    transition::{Extras, Transition},
    workflow::{child, close, task},
};

/// What the event says when the caller gave no reason.
const REASON_DEFAULT: &str = "terminated by user via frontend";

/// Ends the run at a caller's word.
///
/// # Errors
/// Another chain is named, the run is not the sender's child, or it is closed.
pub(crate) fn terminate(t: &mut Transition<'_>, input: &Terminate) -> Result<Reply, Rejected> {
    close::check_chain(t.run, &input.first_run_id)?;
    child::check_parent(t.run, input.child_of_run_id.as_deref())?;
    if !t.run.is_open() {
        return Err(Rejected::Closed);
    }
    let reason = if input.reason.is_empty() { REASON_DEFAULT } else { &input.reason };
    let terminated = WorkflowExecutionTerminatedEventAttributes {
        reason: reason.to_owned(),
        details: input.details.clone(),
        identity: input.identity.clone(),
    };
    let extras = Extras { links: input.links.clone(), ..Extras::default() };
    task::force_close(t);
    t.flush();
    close::end(t, Attributes::WorkflowExecutionTerminatedEventAttributes(terminated), extras, None);
    Ok(Reply::Done)
}

/// Ends the run because another one takes its place. Reason and details as upstream words them:
/// temporalio/temporal service/history/api/create_workflow_util.go, v1.32.0.
pub(crate) fn for_new_run(t: &mut Transition<'_>, new_run_id: &str) {
    let text = format!("\"terminated by new runID: {new_run_id}\"");
    let details = Payloads { payloads: vec![Payload::new("json/plain", text.as_bytes())] };
    task::force_close(t);
    t.flush();
    record(t, "TerminateIfRunning WorkflowIdReusePolicy", Some(details));
}

/// Ends the run because it may not go on; a started workflow task is failed first.
pub(crate) fn by_server_now(t: &mut Transition<'_>, reason: &str) {
    task::force_close(t);
    t.flush();
    by_server(t, reason);
}

/// Ends the run because it may not go on. No workflow task is started and nothing is held back.
pub(crate) fn by_server(t: &mut Transition<'_>, reason: &str) {
    record(t, reason, None);
}

fn record(t: &mut Transition<'_>, reason: &str, details: Option<Payloads>) {
    let terminated = WorkflowExecutionTerminatedEventAttributes {
        reason: reason.to_owned(),
        details,
        identity: IDENTITY.to_owned(),
    };
    close::end(t, Attributes::WorkflowExecutionTerminatedEventAttributes(terminated), Extras::default(), None);
}
