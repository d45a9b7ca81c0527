//! Histories read as the activations of a workflow: what kind an event is, how a workflow task ended, and what its
//! completion wrote down for the code that is about to be replayed.

use std::collections::{BTreeMap, VecDeque};

use mainspring_api::{
    temporal::api::update::v1 as update,
    v1::{
        command::{Command, command},
        common::Payloads,
        history::{HistoryEvent, MarkerRecordedEventAttributes, history_event::Attributes},
        protocol::Message,
    },
};

use crate::workflow::{
    fault::Fault,
    local_activity::{self, Marked},
    patch, side_effect,
};

/// What an event is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Something the code is told.
    Input,
    /// What the server made of a command.
    Command,
    TaskStarted,
    /// The others of workflow tasks, and what the code never hears of.
    Silent,
}

pub(crate) fn class(attributes: &Attributes) -> Class {
    use Attributes as A;
    match attributes {
        A::WorkflowTaskStartedEventAttributes(_) => Class::TaskStarted,
        A::ActivityTaskScheduledEventAttributes(_)
        | A::ActivityTaskCancelRequestedEventAttributes(_)
        | A::TimerStartedEventAttributes(_)
        | A::TimerCanceledEventAttributes(_)
        | A::MarkerRecordedEventAttributes(_)
        | A::StartChildWorkflowExecutionInitiatedEventAttributes(_)
        | A::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
        | A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_)
        | A::UpsertWorkflowSearchAttributesEventAttributes(_)
        | A::WorkflowPropertiesModifiedEventAttributes(_)
        | A::WorkflowExecutionUpdateAcceptedEventAttributes(_)
        | A::WorkflowExecutionUpdateCompletedEventAttributes(_)
        | A::NexusOperationScheduledEventAttributes(_)
        | A::NexusOperationCancelRequestedEventAttributes(_)
        | A::WorkflowExecutionCompletedEventAttributes(_)
        | A::WorkflowExecutionFailedEventAttributes(_)
        | A::WorkflowExecutionCanceledEventAttributes(_)
        | A::WorkflowExecutionContinuedAsNewEventAttributes(_) => Class::Command,
        A::WorkflowExecutionStartedEventAttributes(_)
        | A::WorkflowExecutionSignaledEventAttributes(_)
        | A::WorkflowExecutionCancelRequestedEventAttributes(_)
        | A::WorkflowExecutionUpdateAdmittedEventAttributes(_)
        | A::WorkflowTaskFailedEventAttributes(_)
        | A::ActivityTaskStartedEventAttributes(_)
        | A::ActivityTaskCompletedEventAttributes(_)
        | A::ActivityTaskFailedEventAttributes(_)
        | A::ActivityTaskTimedOutEventAttributes(_)
        | A::ActivityTaskCanceledEventAttributes(_)
        | A::TimerFiredEventAttributes(_)
        | A::StartChildWorkflowExecutionFailedEventAttributes(_)
        | A::ChildWorkflowExecutionStartedEventAttributes(_)
        | A::ChildWorkflowExecutionCompletedEventAttributes(_)
        | A::ChildWorkflowExecutionFailedEventAttributes(_)
        | A::ChildWorkflowExecutionCanceledEventAttributes(_)
        | A::ChildWorkflowExecutionTimedOutEventAttributes(_)
        | A::ChildWorkflowExecutionTerminatedEventAttributes(_)
        | A::SignalExternalWorkflowExecutionFailedEventAttributes(_)
        | A::ExternalWorkflowExecutionSignaledEventAttributes(_)
        | A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(_)
        | A::ExternalWorkflowExecutionCancelRequestedEventAttributes(_) => Class::Input,
        A::WorkflowTaskScheduledEventAttributes(_)
        | A::WorkflowTaskCompletedEventAttributes(_)
        | A::WorkflowTaskTimedOutEventAttributes(_)
        | A::WorkflowExecutionTimedOutEventAttributes(_)
        | A::WorkflowExecutionTerminatedEventAttributes(_)
        | A::WorkflowExecutionUpdateRejectedEventAttributes(_)
        | A::WorkflowPropertiesModifiedExternallyEventAttributes(_)
        | A::ActivityPropertiesModifiedExternallyEventAttributes(_)
        | A::NexusOperationStartedEventAttributes(_)
        | A::NexusOperationCompletedEventAttributes(_)
        | A::NexusOperationFailedEventAttributes(_)
        | A::NexusOperationCanceledEventAttributes(_)
        | A::NexusOperationTimedOutEventAttributes(_)
        | A::NexusOperationCancelRequestCompletedEventAttributes(_)
        | A::NexusOperationCancelRequestFailedEventAttributes(_)
        | A::WorkflowExecutionOptionsUpdatedEventAttributes(_)
        | A::WorkflowExecutionPausedEventAttributes(_)
        | A::WorkflowExecutionUnpausedEventAttributes(_)
        | A::WorkflowExecutionTimeSkippingTransitionedEventAttributes(_) => Class::Silent,
    }
}

pub(crate) fn is_task_start(event: &HistoryEvent) -> bool {
    matches!(event.attributes, Some(Attributes::WorkflowTaskStartedEventAttributes(_)))
}

/// How the workflow task ended whose start was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    /// It failed or timed out: its events are delivered with the next one.
    Lost,
    /// Nothing follows: it is the one in hand.
    Open,
}

pub(crate) fn ended(rest: &[HistoryEvent]) -> Ended {
    match rest.first().map(|event| &event.attributes) {
        Some(Some(Attributes::WorkflowTaskCompletedEventAttributes(_))) => Ended::Completed,
        Some(_) => Ended::Lost,
        None => Ended::Open,
    }
}

/// What a completed workflow task wrote down that its code needs to know while it is replayed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Ids of patches.
    pub(crate) patches: Vec<String>,
    /// Versions by id of the change.
    pub(crate) versions: BTreeMap<String, i32>,
    /// Values of side effects by their number.
    pub(crate) side_effects: BTreeMap<i64, Option<Payloads>>,
    /// Values of mutable side effects by id and number of the call.
    pub(crate) mutable: BTreeMap<(String, i64), Option<Payloads>>,
    /// Local activities in the order they ended.
    pub(crate) locals: VecDeque<Marked>,
    /// Updates that were accepted.
    pub(crate) updates: VecDeque<Accepted>,
}

/// An update that was accepted in a workflow task.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) message_id: String,
    pub(crate) sequencing: i64,
    /// Absent when an event before has it.
    pub(crate) request: Option<update::Request>,
}

impl Recorded {
    fn look(&mut self, marker: &MarkerRecordedEventAttributes) -> Result<(), String> {
        patch::look(marker, self)?;
        side_effect::look(marker, self)?;
        self.locals.extend(local_activity::look(marker)?);
        Ok(())
    }

    /// What a completion that is about to be sent will have written down.
    pub(crate) fn of(commands: &[Command], messages: &[Message]) -> Recorded {
        let mut recorded = Recorded::default();
        for command in commands {
            if let Some(command::Attributes::RecordMarkerCommandAttributes(marker)) = &command.attributes {
                let event = MarkerRecordedEventAttributes {
                    marker_name: marker.marker_name.clone(),
                    details: marker.details.clone(),
                    failure: marker.failure.clone(),
                    ..MarkerRecordedEventAttributes::default()
                };
                // What cannot be read back shows as a difference.
                drop(recorded.look(&event));
            }
        }
        for message in messages {
            let Some(body) = message.body.as_ref().filter(|body| body.type_url.ends_with(".Acceptance")) else {
                continue;
            };
            if let Ok(acceptance) = <update::Acceptance as prost::Message>::decode(body.value.as_ref()) {
                recorded.updates.push_back(Accepted {
                    id: message.protocol_instance_id.clone(),
                    message_id: acceptance.accepted_request_message_id,
                    sequencing: acceptance.accepted_request_sequencing_event_id,
                    request: acceptance.accepted_request,
                });
            }
        }
        recorded
    }
}

/// Looks through the command events after a completed workflow task; `rest` begins with the completion.
pub(crate) fn look_ahead(rest: &[HistoryEvent]) -> Result<Recorded, Fault> {
    let mut recorded = Recorded::default();
    for event in rest.iter().skip(1) {
        let Some(attributes) = &event.attributes else { break };
        if class(attributes) != Class::Command {
            break;
        }
        match attributes {
            Attributes::MarkerRecordedEventAttributes(marker) => {
                recorded.look(marker).map_err(|error| Fault::history(event.event_id, error))?;
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted) => {
                recorded.updates.push_back(Accepted {
                    id: accepted.protocol_instance_id.clone(),
                    message_id: accepted.accepted_request_message_id.clone(),
                    sequencing: accepted.accepted_request_sequencing_event_id,
                    request: accepted.accepted_request.clone(),
                });
            }
            _ => {}
        }
    }
    Ok(recorded)
}
