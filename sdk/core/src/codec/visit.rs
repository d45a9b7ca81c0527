//! Where in a message payloads are that codecs apply to, and whose they are.
//!
//! Search attributes and headers are left out. So are, on the way in, the inputs of what the workflow itself asked for:
//! replay matches them by type and id.

use mainspring_api::v1::{
    command::{Command, command::Attributes as Asked},
    common::{Memo, Payloads},
    failure::{Failure, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes as Happened},
    sdk::UserMetadata,
};

use crate::payload::Payload;

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
#[derive(Default)]
pub(crate) struct Places<'a> {
    places: Vec<Place<'a>>,
    failures: Vec<&'a mut Failure>,
}

impl<'a> Places<'a> {
    fn list(&mut self, payloads: &'a mut Option<Payloads>) -> &mut Self {
        self.places.extend(payloads.as_mut().map(Place::List));
        self
    }

    fn one(&mut self, payload: &'a mut Option<Payload>) -> &mut Self {
        self.places.extend(payload.as_mut().map(Place::One));
        self
    }

    fn memo(&mut self, memo: &'a mut Option<Memo>) -> &mut Self {
        self.places.extend(memo.iter_mut().flat_map(|memo| memo.fields.values_mut()).map(Place::One));
        self
    }

    fn metadata(&mut self, metadata: &'a mut Option<UserMetadata>) -> &mut Self {
        if let Some(UserMetadata { summary, details }) = metadata {
            self.one(summary).one(details);
        }
        self
    }

    fn failure(&mut self, failure: &'a mut Option<Failure>) -> &mut Self {
        self.failures.extend(failure.as_mut());
        self
    }

    /// The failures, whose texts may be hidden, and all places but theirs.
    pub(crate) fn into_parts(self) -> (Vec<Place<'a>>, Vec<&'a mut Failure>) {
        (self.places, self.failures)
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

/// The workflow that an event's payloads were encoded for, if it is not the one whose history this is.
pub(crate) fn owner_of_event(event: &HistoryEvent) -> Option<String> {
    let execution = match event.attributes.as_ref()? {
        Happened::ChildWorkflowExecutionCompletedEventAttributes(child) => &child.workflow_execution,
        Happened::ChildWorkflowExecutionFailedEventAttributes(child) => &child.workflow_execution,
        Happened::ChildWorkflowExecutionCanceledEventAttributes(child) => &child.workflow_execution,
        _ => return None,
    };
    execution.as_ref().map(|execution| execution.workflow_id.clone())
}

/// The places of an event that a workflow's code is to see.
pub(crate) fn event_places(event: &mut HistoryEvent) -> Places<'_> {
    let mut places = Places::default();
    let Some(attributes) = &mut event.attributes else { return places };
    match attributes {
        Happened::WorkflowExecutionStartedEventAttributes(at) => {
            places.list(&mut at.input).list(&mut at.last_completion_result).memo(&mut at.memo);
            places.failure(&mut at.continued_failure);
        }
        Happened::WorkflowExecutionSignaledEventAttributes(at) => {
            places.list(&mut at.input);
        }
        Happened::ActivityTaskCompletedEventAttributes(at) => {
            places.list(&mut at.result);
        }
        Happened::ActivityTaskFailedEventAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Happened::ActivityTaskTimedOutEventAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Happened::ActivityTaskCanceledEventAttributes(at) => {
            places.list(&mut at.details);
        }
        Happened::MarkerRecordedEventAttributes(at) => {
            places.places.extend(at.details.values_mut().map(Place::List));
            places.failure(&mut at.failure);
        }
        Happened::ChildWorkflowExecutionCompletedEventAttributes(at) => {
            places.list(&mut at.result);
        }
        Happened::ChildWorkflowExecutionFailedEventAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Happened::ChildWorkflowExecutionCanceledEventAttributes(at) => {
            places.list(&mut at.details);
        }
        Happened::NexusOperationCompletedEventAttributes(at) => {
            places.one(&mut at.result);
        }
        Happened::NexusOperationFailedEventAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Happened::NexusOperationCanceledEventAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Happened::NexusOperationTimedOutEventAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Happened::WorkflowExecutionUpdateAcceptedEventAttributes(at) => {
            let input = at.accepted_request.as_mut().and_then(|request| request.input.as_mut());
            if let Some(input) = input {
                places.list(&mut input.args);
            }
        }
        Happened::WorkflowExecutionUpdateAdmittedEventAttributes(at) => {
            if let Some(input) = at.request.as_mut().and_then(|request| request.input.as_mut()) {
                places.list(&mut input.args);
            }
        }
        _ => {}
    }
    places
}

/// The workflow that a command's payloads go to, if it is not the one that gives it.
pub(crate) fn owner_of_command(command: &Command) -> Option<String> {
    match command.attributes.as_ref()? {
        Asked::StartChildWorkflowExecutionCommandAttributes(child) => Some(child.workflow_id.clone()),
        Asked::SignalExternalWorkflowExecutionCommandAttributes(signal) => {
            signal.execution.as_ref().map(|execution| execution.workflow_id.clone())
        }
        _ => None,
    }
}

/// The places of a command.
pub(crate) fn command_places(command: &mut Command) -> Places<'_> {
    let mut places = Places::default();
    places.metadata(&mut command.user_metadata);
    let Some(attributes) = &mut command.attributes else { return places };
    match attributes {
        Asked::ScheduleActivityTaskCommandAttributes(at) => {
            places.list(&mut at.input);
        }
        Asked::CompleteWorkflowExecutionCommandAttributes(at) => {
            places.list(&mut at.result);
        }
        Asked::FailWorkflowExecutionCommandAttributes(at) => {
            places.failure(&mut at.failure);
        }
        Asked::CancelWorkflowExecutionCommandAttributes(at) => {
            places.list(&mut at.details);
        }
        Asked::SignalExternalWorkflowExecutionCommandAttributes(at) => {
            places.list(&mut at.input);
        }
        Asked::ModifyWorkflowPropertiesCommandAttributes(at) => {
            places.memo(&mut at.upserted_memo);
        }
        Asked::RecordMarkerCommandAttributes(at) => {
            // What the SDKs themselves write stays readable, for their tools; values of users are encoded.
            let own = |key: &str| match at.marker_name.as_str() {
                "core_local_activity" | "LocalActivity" => key != "result",
                "SideEffect" | "MutableSideEffect" => key != "data",
                _ => true,
            };
            let values = at.details.iter_mut().filter(|(key, _)| !own(key)).map(|(_, list)| list);
            places.places.extend(values.map(Place::List));
            places.failure(&mut at.failure);
        }
        Asked::ContinueAsNewWorkflowExecutionCommandAttributes(at) => {
            places.list(&mut at.input).list(&mut at.last_completion_result).memo(&mut at.memo);
            places.failure(&mut at.failure);
        }
        Asked::StartChildWorkflowExecutionCommandAttributes(at) => {
            places.list(&mut at.input).memo(&mut at.memo);
        }
        Asked::ScheduleNexusOperationCommandAttributes(at) => {
            places.one(&mut at.input);
        }
        _ => {}
    }
    places
}
