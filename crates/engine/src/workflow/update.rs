//! Updates: requests that the workflow's code validates, accepts and answers.
//!
//! An update is *admitted* in memory only, until a worker says what becomes of it: its request goes out as a message with
//! the next workflow task and comes back as an acceptance, a rejection or a response. Acceptance and completion are
//! events; a rejection leaves no trace. An update that is lost with the memory is asked for again by its caller, who
//! still waits.

use std::sync::Arc;

use mainspring_api::{
    parts,
    v1::{
        enums::WorkflowTaskFailedCause as Cause,
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        history::{
            WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes,
            history_event::Attributes,
        },
        protocol::{Message, message::SequencingId},
        update::{Acceptance, Rejection, Request, Response},
    },
};
use prost::{Message as _, Name};

use crate::{
    input::{AdmitUpdate, CompleteWorkflowTask},
    outcome::{Rejected, UpdateEnd},
    state::{Admitted, Run, WorkflowTask, update_id},
    transition::Transition,
    workflow::{
        close,
        command::{Context, Refusal},
        task,
    },
};

/// Workflow tasks that fail so often say that the worker cannot take an update either.
const ATTEMPTS_MAX: i32 = 3;
const FAILING: &str = "Unable to perform workflow execution update due to Workflow Task in failed state.";
const TASK_FAILED: &str = "Unable to perform workflow execution update due to unexpected workflow task failure.";
/// Events that a worker may be shown for nothing by a task that leaves no trace.
/// `history.discardSpeculativeWorkflowTaskMaximumEventsCount`
const DISCARDED_EVENTS_MAX: i64 = 10;

/// Takes an update in, unless the run knows it already, and lets the workflow see it.
///
/// # Errors
/// Another chain is named; the run is closed, closing or failing; too many are under way or were ever taken.
pub(crate) fn admit(t: &mut Transition<'_>, input: &AdmitUpdate) -> Result<(), Rejected> {
    close::check_chain(t.run, &input.first_run_id)?;
    if is_known(t.run, update_id(&input.request)) {
        return Ok(());
    }
    check(t, &input.request)?;
    t.run.admitted.push(Arc::new(Admitted { request: input.request.clone(), sent_with: 0 }));
    task::schedule_speculative(t);
    Ok(())
}

/// The run has an update of that id, under way or done. A run that is to be deleted is as good as gone.
pub(crate) fn is_known(run: &Run, id: &str) -> bool {
    !run.execution.delete_requested && (run.updates.contains_key(id) || find(run, id).is_some())
}

fn find<'r>(run: &'r Run, id: &str) -> Option<&'r Arc<Admitted>> {
    run.admitted.iter().find(|admitted| admitted.update_id() == id)
}

fn check(t: &Transition<'_>, request: &Request) -> Result<(), Rejected> {
    let (run, limits) = (&*t.run, t.at.limits);
    if !run.is_open() {
        return Err(Rejected::Closed);
    }
    if run.execution.close_attempted && run.has_started_task() {
        return Err(Rejected::Closing);
    }
    if run.execution.task_attempt >= ATTEMPTS_MAX {
        return Err(Rejected::NotReady(FAILING));
    }
    let accepted = run.updates.values().filter(|update| update.completed_event_id == 0).count();
    if run.admitted.len() + accepted >= limits.updates_in_flight_max {
        return Err(Rejected::UpdatesInFlight { max: limits.updates_in_flight_max });
    }
    if run.admitted.len() + run.updates.len() >= limits.updates_max {
        return Err(Rejected::UpdateLimit { max: limits.updates_max });
    }
    let bytes: usize = run.admitted.iter().map(|admitted| admitted.request.encoded_len()).sum();
    if bytes + request.encoded_len() > limits.updates_bytes_max {
        return Err(Rejected::UpdatesInFlight { max: limits.updates_in_flight_max });
    }
    Ok(())
}

/// The messages that go with a started workflow task.
pub(crate) fn messages(run: &Run, task: &WorkflowTask) -> Vec<Message> {
    let message = |admitted: &Arc<Admitted>| {
        let id = admitted.update_id();
        Message {
            id: format!("{id}/request"),
            protocol_instance_id: id.to_owned(),
            body: Some(packed(&admitted.request)),
            sequencing_id: Some(SequencingId::EventId(task.started_event_id - 1)),
        }
    };
    run.admitted.iter().filter(|admitted| admitted.sent_with == task.started_event_id).map(message).collect()
}

fn packed(request: &Request) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/{}", Request::full_name());
    prost_types::Any { type_url, value: request.encode_to_vec() }
}

/// The updates that no worker has go out with the task that starts now.
pub(crate) fn mark_sent(run: &mut Run) {
    let started_event_id = run.execution.task.as_ref().map_or(0, |task| task.started_event_id);
    for admitted in run.admitted.iter_mut().filter(|admitted| !admitted.is_sent()) {
        Arc::make_mut(admitted).sent_with = started_event_id;
    }
}

/// The task came to nothing: what went out with it goes out again. After many failures its callers are told instead.
pub(crate) fn send_again(t: &mut Transition<'_>) {
    if t.run.execution.task_attempt > ATTEMPTS_MAX {
        return abort_all(t, &Rejected::NotReady(FAILING));
    }
    for admitted in t.run.admitted.iter_mut().filter(|admitted| admitted.is_sent()) {
        Arc::make_mut(admitted).sent_with = 0;
    }
}

/// Every message has a body.
///
/// # Errors
/// Nothing is written: the task goes on.
pub(crate) fn check_messages(messages: &[Message]) -> Result<(), Rejected> {
    let nil = messages.iter().any(|message| message.body.as_ref().is_none_or(|body| body.type_url.is_empty()));
    if nil { Err(Rejected::InvalidArgument("nil message body".to_owned())) } else { Ok(()) }
}

/// What a worker says of an update.
pub(crate) fn take(t: &mut Transition<'_>, context: &Context<'_>, message: &Message) -> Result<(), Refusal> {
    let body = message.body.clone().unwrap_or_default();
    if body.value.len() > t.at.limits.blob_bytes_max {
        return Err(Refusal::too_large(Cause::BadUpdateWorkflowExecutionMessage, "Message exceeds size limit."));
    }
    let id = &message.protocol_instance_id;
    match body.type_url.rsplit('/').next().unwrap_or_default() {
        name if name == Acceptance::full_name() => accept(t, context, id, decode(&body)?),
        name if name == Rejection::full_name() => reject(t, context, id, decode(&body)?),
        name if name == Response::full_name() => complete(t, context, id, decode(&body)?),
        name => {
            let kind = name.rsplit('.').next().unwrap_or_default();
            Err(bad(format!("Message type *update.{kind} not supported")))
        }
    }
}

fn decode<M: prost::Message + Default + Name>(body: &prost_types::Any) -> Result<M, Refusal> {
    if parts::are_too_many::<M>(&body.value) {
        return Err(bad(format!("{} has more than {} elements", M::NAME, parts::ELEMENTS_MAX)));
    }
    M::decode(body.value.as_slice()).map_err(|error| bad(format!("{}: {error}", M::NAME)))
}

fn accept(t: &mut Transition<'_>, context: &Context<'_>, id: &str, acceptance: Acceptance) -> Result<(), Refusal> {
    if acceptance.accepted_request.is_none() && !is_known(t.run, id) {
        return Err(unknown(id));
    }
    if acceptance.accepted_request_sequencing_event_id == 0 {
        return Err(bad("invalid *update.Acceptance: accepted_request_sequencing_event_id is not set"));
    }
    if acceptance.accepted_request_message_id.is_empty() {
        return Err(bad("invalid *update.Acceptance: accepted_request_message_id is not set"));
    }
    let request = match find(t.run, id) {
        Some(admitted) if admitted.is_sent() => admitted.request.clone(),
        Some(_) => return Err(impossible(id, "Acceptance", "Admitted")),
        None if t.run.updates.contains_key(id) => {
            return Err(impossible(id, "Acceptance", state(t.run, context, id)));
        }
        // Lost with a server's memory, and known to the worker: it says what it accepts.
        None => acceptance.accepted_request.ok_or_else(|| unknown(id))?,
    };
    t.record(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(
        WorkflowExecutionUpdateAcceptedEventAttributes {
            protocol_instance_id: id.to_owned(),
            accepted_request_message_id: acceptance.accepted_request_message_id,
            accepted_request_sequencing_event_id: acceptance.accepted_request_sequencing_event_id,
            accepted_request: Some(request),
        },
    ));
    forget(t.run, id);
    Ok(())
}

fn reject(t: &mut Transition<'_>, context: &Context<'_>, id: &str, rejection: Rejection) -> Result<(), Refusal> {
    match find(t.run, id) {
        Some(admitted) if admitted.is_sent() => {
            end(t, id, UpdateEnd::Rejected(Box::new(rejection.failure.unwrap_or_default())));
            Ok(())
        }
        Some(_) => Err(impossible(id, "Rejection", "Admitted")),
        None if t.run.updates.contains_key(id) => Err(impossible(id, "Rejection", state(t.run, context, id))),
        None => Err(unknown(id)),
    }
}

fn complete(t: &mut Transition<'_>, context: &Context<'_>, id: &str, response: Response) -> Result<(), Refusal> {
    let Some(meta) = response.meta else { return Err(bad("invalid *update.Response: meta is not set")) };
    let Some(outcome) = response.outcome else { return Err(bad("invalid *update.Response: outcome is not set")) };
    let accepted_event_id = match (t.run.updates.get(id), find(t.run, id)) {
        (Some(update), _) if update.completed_event_id == 0 => update.accepted_event_id,
        (Some(_), _) => return Err(impossible(id, "Response", state(t.run, context, id))),
        (None, Some(admitted)) => {
            return Err(impossible(id, "Response", if admitted.is_sent() { "Sent" } else { "Admitted" }));
        }
        (None, None) => return Err(unknown(id)),
    };
    t.record(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(
        WorkflowExecutionUpdateCompletedEventAttributes { meta: Some(meta), accepted_event_id, outcome: Some(outcome) },
    ));
    Ok(())
}

/// Updates that went out with the task and were not answered: the worker does not know of updates.
pub(crate) fn reject_unanswered(t: &mut Transition<'_>) {
    let unanswered: Vec<String> = ids(t.run, |admitted| admitted.is_sent());
    for id in unanswered {
        end(t, &id, UpdateEnd::Rejected(Box::new(unprocessed())));
    }
}

/// The run has closed: what it did not accept comes to nothing, or is for the run that follows.
pub(crate) fn abort_at_close(t: &mut Transition<'_>, goes_on: bool) {
    let why = if goes_on { Rejected::Closing } else { Rejected::UpdateAborted };
    abort_all(t, &why);
}

/// The worker's completion was refused: whoever waits for an update that the worker had shall hear of it.
pub(crate) fn abort_refused(t: &mut Transition<'_>) {
    abort(t, &Rejected::NotReady(TASK_FAILED), Admitted::is_sent);
}

fn abort_all(t: &mut Transition<'_>, why: &Rejected) {
    abort(t, why, |_| true);
}

fn abort(t: &mut Transition<'_>, why: &Rejected, which: impl Fn(&Admitted) -> bool) {
    for id in ids(t.run, which) {
        end(t, &id, UpdateEnd::Aborted(why.clone()));
    }
}

fn ids(run: &Run, which: impl Fn(&Admitted) -> bool) -> Vec<String> {
    let chosen = run.admitted.iter().filter(|admitted| which(admitted));
    chosen.map(|admitted| admitted.update_id().to_owned()).collect()
}

/// Ends an update that leaves no event.
fn end(t: &mut Transition<'_>, id: &str, end: UpdateEnd) {
    forget(t.run, id);
    t.end_update(id.to_owned(), end);
}

fn forget(run: &mut Run, id: &str) {
    run.admitted.retain(|admitted| admitted.update_id() != id);
}

/// A speculative task whose completion says nothing but "rejected" goes as if it had never been, if the worker was shown
/// nothing by it that another task would have to show again, or can unsee that.
pub(crate) fn leaves_no_trace(run: &Run, task: &WorkflowTask, input: &CompleteWorkflowTask) -> bool {
    let shown = task.scheduled_event_id - run.execution.previous_started_event_id - 2;
    let allowed = if input.discards_events { DISCARDED_EVENTS_MAX } else { 0 };
    task.speculative
        && input.commands.is_empty()
        && !input.force_new_task
        && shown <= allowed
        && input.messages.iter().all(|message| rejects_sent(run, message))
}

/// The message says no to an update that the worker has.
fn rejects_sent(run: &Run, message: &Message) -> bool {
    is_rejection(message) && find(run, &message.protocol_instance_id).is_some_and(|admitted| admitted.is_sent())
}

/// The message says no. That leaves no event, so it has no place among the commands.
pub(crate) fn is_rejection(message: &Message) -> bool {
    let body = message.body.as_ref().map(|body| body.type_url.as_str()).unwrap_or_default();
    body.rsplit('/').next() == Some(Rejection::full_name().as_str())
}

/// So many that the workflow should go on in a new run.
pub(crate) fn is_many(t: &Transition<'_>) -> bool {
    t.run.updates.len() + t.run.admitted.len() >= t.at.limits.updates_max * 9 / 10
}

/// What a caller gets whose update was accepted by a run that closed before it was done.
pub fn failure_of_closed_run() -> Failure {
    server_failure(
        "Workflow Update failed because the Workflow completed before the Update completed.",
        "AcceptedUpdateCompletedWorkflow",
    )
}

fn unprocessed() -> Failure {
    server_failure(
        "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported \
         by the worker.",
        "UnprocessedUpdate",
    )
}

fn server_failure(message: &str, kind: &str) -> Failure {
    let info = ApplicationFailureInfo { r#type: kind.to_owned(), non_retryable: true, ..Default::default() };
    Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Failure::default()
    }
}

/// How upstream calls the state of an update that has events.
fn state(run: &Run, context: &Context<'_>, id: &str) -> &'static str {
    let Some(update) = run.updates.get(id) else { return "Created" };
    let provisional = |event_id| event_id >= context.first_new_event_id;
    match (update.accepted_event_id, update.completed_event_id) {
        (accepted, 0) if provisional(accepted) => "ProvisionallyAccepted",
        (_, 0) => "Accepted",
        (_, completed) if provisional(completed) => "ProvisionallyCompleted",
        _ => "Completed",
    }
}

fn impossible(id: &str, message: &str, state: &str) -> Refusal {
    bad(format!(
        "invalid state transition attempted for Update {id}: received *update.{message} message while in state {state}"
    ))
}

fn unknown(id: &str) -> Refusal {
    bad(format!(
        "update {id} wasn't found on the server. This is most likely a transient error which will be resolved \
         automatically by retries"
    ))
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Cause::BadUpdateWorkflowExecutionMessage, message)
}
