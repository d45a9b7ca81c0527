//! Where in a message payloads are that codecs apply to, and whose they are.
//!
//! Search attributes are left out, and headers have a place of their own. Left out on the way in are the inputs of what the
//! workflow itself asked for: replay matches them by type and id.

use mainspring_api::{
    temporal::api::update::v1 as update,
    v1::{
        command::{Command, command::Attributes as Asked},
        common::{Header, Memo, Payloads, WorkflowExecution},
        failure::{Failure, failure::FailureInfo},
        history::{HistoryEvent, history_event::Attributes as Happened},
        sdk::UserMetadata,
    },
};

use crate::{codec::CodecCx, payload::Payload};

/// A place in a message: a list, or one by itself.
pub(crate) enum Place<'a> {
    /// Arguments, results, details.
    List(&'a mut Payloads),
    /// A value of a memo, a summary.
    One(&'a mut Payload),
}

impl<'a> Place<'a> {
    /// The payloads at the place.
    pub(crate) fn into_slice(self) -> &'a mut [Payload] {
        match self {
            Place::List(list) => &mut list.payloads,
            Place::One(payload) => std::slice::from_mut(payload),
        }
    }
}

/// The places of one message.
type Places<'a> = Vec<Place<'a>>;

fn list<'a>(places: &mut Places<'a>, payloads: &'a mut Option<Payloads>) {
    places.extend(payloads.as_mut().map(Place::List));
}

fn one<'a>(places: &mut Places<'a>, payload: &'a mut Option<Payload>) {
    places.extend(payload.as_mut().map(Place::One));
}

fn memo<'a>(places: &mut Places<'a>, memo: &'a mut Option<Memo>) {
    places.extend(memo.iter_mut().flat_map(|memo| memo.fields.values_mut()).map(Place::One));
}

fn request<'a>(places: &mut Places<'a>, request: &'a mut Option<update::Request>) {
    if let Some(input) = request.as_mut().and_then(|request| request.input.as_mut()) {
        list(places, &mut input.args);
    }
}

/// The places of a failure and its causes.
pub(crate) fn failure_places(failure: &mut Failure) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    let mut current = Some(failure);
    while let Some(failure) = current {
        places.extend(failure.encoded_attributes.as_mut().map(Place::One));
        let list = match &mut failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => info.details.as_mut(),
            Some(FailureInfo::TimeoutFailureInfo(info)) => info.last_heartbeat_details.as_mut(),
            Some(FailureInfo::CanceledFailureInfo(info)) => info.details.as_mut(),
            Some(FailureInfo::ResetWorkflowFailureInfo(info)) => info.last_heartbeat_details.as_mut(),
            _ => None,
        };
        places.extend(list.map(Place::List));
        current = failure.cause.as_deref_mut();
    }
    places
}

/// A workflow that payloads are encoded for.
pub(crate) struct Owner {
    namespace: String,
    workflow_id: String,
}

impl Owner {
    fn new(namespace: &str, execution: Option<&WorkflowExecution>) -> Option<Owner> {
        let workflow_id = execution?.workflow_id.clone();
        Some(Owner { namespace: namespace.to_owned(), workflow_id })
    }

    /// Whose payloads they are, when the message belongs to `cx`.
    pub(crate) fn cx<'a>(&'a self, cx: &CodecCx<'a>) -> CodecCx<'a> {
        let namespace = if self.namespace.is_empty() { cx.namespace } else { &self.namespace };
        CodecCx::new(namespace, &self.workflow_id)
    }
}

/// The workflow that an event's payloads were encoded for, if it is not the one whose history this is.
pub(crate) fn owner_of_event(event: &HistoryEvent) -> Option<Owner> {
    let (namespace, execution) = match event.attributes.as_ref()? {
        Happened::ChildWorkflowExecutionCompletedEventAttributes(child) => {
            (&child.namespace, &child.workflow_execution)
        }
        Happened::ChildWorkflowExecutionFailedEventAttributes(child) => (&child.namespace, &child.workflow_execution),
        Happened::ChildWorkflowExecutionCanceledEventAttributes(child) => (&child.namespace, &child.workflow_execution),
        _ => return None,
    };
    Owner::new(namespace, execution.as_ref())
}

/// The places of an event that a workflow's code is to see, but those of its failure.
pub(crate) fn event_places(event: &mut HistoryEvent) -> Places<'_> {
    let mut places = Vec::new();
    let Some(attributes) = &mut event.attributes else { return places };
    match attributes {
        Happened::WorkflowExecutionStartedEventAttributes(at) => {
            list(&mut places, &mut at.input);
            list(&mut places, &mut at.last_completion_result);
            memo(&mut places, &mut at.memo);
            places.extend(at.header.iter_mut().flat_map(|header| header.fields.values_mut()).map(Place::One));
        }
        Happened::WorkflowExecutionSignaledEventAttributes(at) => list(&mut places, &mut at.input),
        Happened::ActivityTaskCompletedEventAttributes(at) => list(&mut places, &mut at.result),
        Happened::ActivityTaskCanceledEventAttributes(at) => list(&mut places, &mut at.details),
        Happened::MarkerRecordedEventAttributes(at) => places.extend(at.details.values_mut().map(Place::List)),
        Happened::ChildWorkflowExecutionCompletedEventAttributes(at) => list(&mut places, &mut at.result),
        Happened::ChildWorkflowExecutionCanceledEventAttributes(at) => list(&mut places, &mut at.details),
        Happened::NexusOperationCompletedEventAttributes(at) => one(&mut places, &mut at.result),
        Happened::WorkflowExecutionUpdateAcceptedEventAttributes(at) => {
            request(&mut places, &mut at.accepted_request);
        }
        Happened::WorkflowExecutionUpdateAdmittedEventAttributes(at) => request(&mut places, &mut at.request),
        _ => {}
    }
    places
}

/// The failure of an event that a workflow's code is to see.
pub(crate) fn event_failure(event: &mut HistoryEvent) -> Option<&mut Failure> {
    match event.attributes.as_mut()? {
        Happened::WorkflowExecutionStartedEventAttributes(at) => at.continued_failure.as_mut(),
        Happened::ActivityTaskFailedEventAttributes(at) => at.failure.as_mut(),
        Happened::ActivityTaskTimedOutEventAttributes(at) => at.failure.as_mut(),
        Happened::MarkerRecordedEventAttributes(at) => at.failure.as_mut(),
        Happened::ChildWorkflowExecutionFailedEventAttributes(at) => at.failure.as_mut(),
        Happened::NexusOperationFailedEventAttributes(at) => at.failure.as_mut(),
        Happened::NexusOperationCanceledEventAttributes(at) => at.failure.as_mut(),
        Happened::NexusOperationTimedOutEventAttributes(at) => at.failure.as_mut(),
        _ => None,
    }
}

/// The workflow that a command's payloads go to, if it is not the one that gives it.
#[expect(deprecated, reason = "other namespaces, which our server has")]
pub(crate) fn owner_of_command(command: &Command) -> Option<Owner> {
    match command.attributes.as_ref()? {
        Asked::StartChildWorkflowExecutionCommandAttributes(child) => {
            Some(Owner { namespace: child.namespace.clone(), workflow_id: child.workflow_id.clone() })
        }
        Asked::SignalExternalWorkflowExecutionCommandAttributes(signal) => {
            Owner::new(&signal.namespace, signal.execution.as_ref())
        }
        _ => None,
    }
}

/// The places of a command, but those of its failure.
pub(crate) fn command_places(command: &mut Command) -> Places<'_> {
    let mut places = Vec::new();
    if let Some(UserMetadata { summary, details }) = &mut command.user_metadata {
        one(&mut places, summary);
        one(&mut places, details);
    }
    let Some(attributes) = &mut command.attributes else { return places };
    match attributes {
        Asked::ScheduleActivityTaskCommandAttributes(at) => list(&mut places, &mut at.input),
        Asked::CompleteWorkflowExecutionCommandAttributes(at) => list(&mut places, &mut at.result),
        Asked::CancelWorkflowExecutionCommandAttributes(at) => list(&mut places, &mut at.details),
        Asked::SignalExternalWorkflowExecutionCommandAttributes(at) => list(&mut places, &mut at.input),
        Asked::ModifyWorkflowPropertiesCommandAttributes(at) => memo(&mut places, &mut at.upserted_memo),
        Asked::RecordMarkerCommandAttributes(at) => {
            let name = at.marker_name.as_str();
            let users = at.details.iter_mut().filter(|(key, _)| is_users(name, key));
            places.extend(users.map(|(_, list)| Place::List(list)));
        }
        Asked::ContinueAsNewWorkflowExecutionCommandAttributes(at) => {
            list(&mut places, &mut at.input);
            list(&mut places, &mut at.last_completion_result);
            memo(&mut places, &mut at.memo);
        }
        Asked::StartChildWorkflowExecutionCommandAttributes(at) => {
            list(&mut places, &mut at.input);
            memo(&mut places, &mut at.memo);
        }
        Asked::ScheduleNexusOperationCommandAttributes(at) => one(&mut places, &mut at.input),
        _ => {}
    }
    places
}

/// The headers of a command.
pub(crate) fn command_header(command: &mut Command) -> Option<&mut Header> {
    match command.attributes.as_mut()? {
        Asked::ScheduleActivityTaskCommandAttributes(at) => at.header.as_mut(),
        Asked::SignalExternalWorkflowExecutionCommandAttributes(at) => at.header.as_mut(),
        Asked::StartChildWorkflowExecutionCommandAttributes(at) => at.header.as_mut(),
        Asked::ContinueAsNewWorkflowExecutionCommandAttributes(at) => at.header.as_mut(),
        _ => None,
    }
}

/// The failure of a command.
pub(crate) fn command_failure(command: &mut Command) -> Option<&mut Failure> {
    match command.attributes.as_mut()? {
        Asked::FailWorkflowExecutionCommandAttributes(at) => at.failure.as_mut(),
        Asked::RecordMarkerCommandAttributes(at) => at.failure.as_mut(),
        Asked::ContinueAsNewWorkflowExecutionCommandAttributes(at) => at.failure.as_mut(),
        _ => None,
    }
}

/// True for a user's value in a marker. What the SDKs themselves write there stays readable, for their tools.
fn is_users(marker: &str, key: &str) -> bool {
    match marker {
        "core_local_activity" | "LocalActivity" => key == "result",
        "SideEffect" | "MutableSideEffect" => key == "data",
        _ => false,
    }
}
