//! Events and commands in words, for errors and for the replayer.

use mainspring_api::v1::{
    enums::EventType,
    history::{HistoryEvent, history_event::Attributes},
};

use crate::workflow::patch;

/// An event as people speak of it: its type and what tells it from others of the type.
pub(crate) fn event_name(event: &HistoryEvent) -> String {
    use Attributes as A;
    let kind = EventType::try_from(event.event_type).unwrap_or(EventType::Unspecified);
    let kind = kind.as_str_name().trim_start_matches("EVENT_TYPE_");
    match &event.attributes {
        Some(A::ActivityTaskScheduledEventAttributes(scheduled)) => {
            let name = scheduled.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
            format!("activity {name:?} (id {:?})", scheduled.activity_id)
        }
        Some(A::ActivityTaskCancelRequestedEventAttributes(asked)) => {
            format!("the cancellation of the activity of event {}", asked.scheduled_event_id)
        }
        Some(A::TimerStartedEventAttributes(started)) => format!("timer {:?}", started.timer_id),
        Some(A::TimerCanceledEventAttributes(cancelled)) => {
            format!("the cancellation of timer {:?}", cancelled.timer_id)
        }
        Some(A::StartChildWorkflowExecutionInitiatedEventAttributes(initiated)) => {
            let name = initiated.workflow_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
            format!("child workflow {name:?} (id {:?})", initiated.workflow_id)
        }
        Some(A::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated)) => {
            let to = initiated.workflow_execution.as_ref().map(|run| run.workflow_id.as_str()).unwrap_or_default();
            format!("signal {:?} to workflow {to:?}", initiated.signal_name)
        }
        Some(A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(asked)) => {
            let to = asked.workflow_execution.as_ref().map(|run| run.workflow_id.as_str()).unwrap_or_default();
            format!("the cancellation of workflow {to:?}")
        }
        Some(A::MarkerRecordedEventAttributes(marker)) => match patch::patch_of(marker) {
            Some((id, _)) => format!("patch {id:?}"),
            None => format!("marker {:?}", marker.marker_name),
        },
        Some(A::WorkflowExecutionUpdateAcceptedEventAttributes(accepted)) => {
            format!("the acceptance of update {:?}", accepted.protocol_instance_id)
        }
        Some(A::WorkflowExecutionUpdateCompletedEventAttributes(completed)) => {
            let id = completed.meta.as_ref().map(|meta| meta.update_id.as_str()).unwrap_or_default();
            format!("the completion of update {id:?}")
        }
        Some(A::WorkflowExecutionCompletedEventAttributes(_)) => "the completion of the workflow".to_owned(),
        Some(A::WorkflowExecutionFailedEventAttributes(_)) => "the failure of the workflow".to_owned(),
        Some(A::WorkflowExecutionCanceledEventAttributes(_)) => "the end of the workflow as cancelled".to_owned(),
        Some(A::WorkflowExecutionContinuedAsNewEventAttributes(_)) => "a new run of the workflow".to_owned(),
        _ => kind.to_owned(),
    }
}
