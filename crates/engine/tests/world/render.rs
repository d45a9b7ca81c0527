//! Events as short text: `1 Started 2 S 3 B 4 C`. S, B, C, F, T are a workflow task scheduled, started, completed,
//! failed, timed out.

use mainspring_api::v1::{
    enums::{RetryState, TimeoutType, WorkflowTaskFailedCause},
    history::{HistoryEvent, history_event::Attributes},
};
use mainspring_engine::{Effect, effect::Kind};

pub(crate) fn history(events: &[HistoryEvent]) -> String {
    events.iter().map(|event| format!("{} {}", event.event_id, name(event))).collect::<Vec<_>>().join(" ")
}

fn name(event: &HistoryEvent) -> String {
    use Attributes as A;
    let plain = || {
        let name = event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_").to_owned();
        camel(name.trim_start_matches("WORKFLOW_EXECUTION_"))
    };
    match event.attributes.as_ref().expect("attributes") {
        A::WorkflowTaskScheduledEventAttributes(a) if a.attempt > 1 => format!("S({})", a.attempt),
        A::WorkflowTaskScheduledEventAttributes(_) => "S".to_owned(),
        A::WorkflowTaskStartedEventAttributes(_) => "B".to_owned(),
        A::WorkflowTaskCompletedEventAttributes(_) => "C".to_owned(),
        A::WorkflowTaskFailedEventAttributes(a) => {
            let cause = WorkflowTaskFailedCause::try_from(a.cause).expect("a cause").as_str_name();
            format!("F({})", cause.trim_start_matches("WORKFLOW_TASK_FAILED_CAUSE_"))
        }
        A::WorkflowTaskTimedOutEventAttributes(a) => format!("T({})", timeout(a.timeout_type)),
        A::WorkflowExecutionTimedOutEventAttributes(a) => format!("TimedOut({})", state(a.retry_state)),
        A::WorkflowExecutionFailedEventAttributes(a) => format!("Failed({})", state(a.retry_state)),
        A::ActivityTaskStartedEventAttributes(a) => format!("ActivityTaskStarted({})", a.attempt),
        A::ActivityTaskFailedEventAttributes(a) => format!("ActivityTaskFailed({})", state(a.retry_state)),
        A::ActivityTaskTimedOutEventAttributes(a) => format!("ActivityTaskTimedOut({})", state(a.retry_state)),
        A::TimerStartedEventAttributes(a) => format!("TimerStarted({})", a.timer_id),
        A::TimerFiredEventAttributes(a) => format!("TimerFired({})", a.timer_id),
        A::TimerCanceledEventAttributes(a) => format!("TimerCanceled({})", a.timer_id),
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => format!("{}({})", plain(), a.protocol_instance_id),
        A::WorkflowExecutionUpdateCompletedEventAttributes(a) => format!("{}({})", plain(), a.accepted_event_id),
        A::StartChildWorkflowExecutionFailedEventAttributes(a) => format!("{}({})", child(&plain()), a.cause),
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => format!("{}({})", plain(), a.cause),
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => format!("{}({})", plain(), a.cause),
        _ => child(&plain()),
    }
}

fn child(name: &str) -> String {
    name.replace("ChildWorkflowExecution", "Child")
}

fn timeout(kind: i32) -> String {
    let name = TimeoutType::try_from(kind).expect("a timeout type").as_str_name();
    name.trim_start_matches("TIMEOUT_TYPE_").to_owned()
}

fn state(state: i32) -> String {
    let name = RetryState::try_from(state).expect("a retry state").as_str_name();
    name.trim_start_matches("RETRY_STATE_").to_owned()
}

fn camel(screaming: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    screaming.split('_').map(word).collect()
}

pub(crate) fn effect(effect: &Effect) -> String {
    let kind = match effect.kind.as_ref().expect("a kind") {
        Kind::StartChild(_) => "StartChild",
        Kind::ScheduleFirstTask(_) => "ScheduleFirstTask",
        Kind::Signal(_) => "Signal",
        Kind::Cancel(_) => "Cancel",
        Kind::ChildClosed(_) => "ChildClosed",
        Kind::CloseChild(_) => "CloseChild",
    };
    format!("{kind}({})", effect.workflow_id)
}
