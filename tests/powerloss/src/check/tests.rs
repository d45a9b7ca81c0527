//! Each thing that can be wrong is noticed.

use mainspring_api::v1::history::{
    ActivityTaskCompletedEventAttributes, WorkflowExecutionSignaledEventAttributes,
    WorkflowExecutionStartedEventAttributes, WorkflowTaskCompletedEventAttributes,
};

use super::*;
use crate::client::text;

fn problems(errand: &Errand, history: &[HistoryEvent]) -> Vec<String> {
    judge(&[("id".to_owned(), errand.clone())].into(), &[("id".to_owned(), history.to_vec())].into())
}

fn event(event_id: i64, kind: EventType, attributes: Option<Attributes>) -> HistoryEvent {
    HistoryEvent { event_id, event_type: kind as i32, attributes, ..HistoryEvent::default() }
}

fn good() -> (Errand, Vec<HistoryEvent>) {
    let started = WorkflowExecutionStartedEventAttributes {
        original_execution_run_id: "run".to_owned(),
        ..WorkflowExecutionStartedEventAttributes::default()
    };
    let signal = WorkflowExecutionSignaledEventAttributes {
        input: text("hello"),
        ..WorkflowExecutionSignaledEventAttributes::default()
    };
    let task =
        WorkflowTaskCompletedEventAttributes { started_event_id: 7, ..WorkflowTaskCompletedEventAttributes::default() };
    let result = ActivityTaskCompletedEventAttributes {
        result: text("done"),
        ..ActivityTaskCompletedEventAttributes::default()
    };
    let history = vec![
        event(
            1,
            EventType::WorkflowExecutionStarted,
            Some(Attributes::WorkflowExecutionStartedEventAttributes(started)),
        ),
        event(
            2,
            EventType::WorkflowExecutionSignaled,
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)),
        ),
        event(3, EventType::WorkflowTaskCompleted, Some(Attributes::WorkflowTaskCompletedEventAttributes(task))),
        event(4, EventType::ActivityTaskScheduled, None),
        event(5, EventType::ActivityTaskCompleted, Some(Attributes::ActivityTaskCompletedEventAttributes(result))),
        event(6, EventType::WorkflowExecutionCompleted, None),
    ];
    let errand = Errand {
        payload_bytes: 0,
        run_id: Some("run".to_owned()),
        signals: vec![("hello".to_owned(), true)],
        workflow_tasks: vec![7],
        results: vec!["done".to_owned()],
    };
    (errand, history)
}

#[test]
fn a_good_history_passes() {
    let (errand, history) = good();
    assert_eq!(problems(&errand, &history), [""; 0]);
}

#[test]
fn an_event_that_is_missing_is_noticed() {
    let (errand, history) = good();
    for index in 0..history.len() {
        let mut history = history.clone();
        history.remove(index);
        assert!(!problems(&errand, &history).is_empty(), "event {}", index + 1);
        for (event, id) in history.iter_mut().zip(1..) {
            event.event_id = id;
        }
        assert!(!problems(&errand, &history).is_empty(), "event {}, with new numbers", index + 1);
    }
}

#[test]
fn an_event_that_is_there_twice_is_noticed() {
    let (errand, history) = good();
    for index in [0, 1, 3, 4] {
        let mut history = history.clone();
        history.insert(index, history[index].clone());
        for (event, id) in history.iter_mut().zip(1..) {
            event.event_id = id;
        }
        assert!(!problems(&errand, &history).is_empty(), "event {}", index + 1);
    }
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_noticed() {
    let (errand, history) = good();
    let others = [
        Errand { run_id: Some("another".to_owned()), ..errand.clone() },
        Errand { signals: vec![("hello".to_owned(), true), ("again".to_owned(), true)], ..errand.clone() },
        Errand { workflow_tasks: vec![7, 9], ..errand.clone() },
        Errand { results: vec!["another".to_owned()], ..errand.clone() },
        Errand { results: vec!["done".to_owned(), "done".to_owned()], ..errand.clone() },
    ];
    for other in others {
        assert!(!problems(&other, &history).is_empty(), "{other:?}");
    }
    assert!(!judge(&[("id".to_owned(), errand)].into(), &BTreeMap::new()).is_empty());
}
