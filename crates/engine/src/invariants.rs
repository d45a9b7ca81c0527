//! What is always true, as plain functions for tests, the simulator and an operator's checks.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_api::{
    time::from_timestamp,
    v1::{
        enums::{EventType, WorkflowExecutionStatus},
        history::{HistoryEvent, history_event::Attributes},
    },
};
use mainspring_rt::Timestamp;

use crate::{
    buffer, event, fold,
    state::{Activity, Fixed, Run, RunNumber},
};

/// What a history says of its run: the part of the state that is derived from events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Open or closed how.
    pub status: WorkflowExecutionStatus,
    /// One past the last event's id.
    pub next_event_id: i64,
    /// Scheduled event ids of open activities.
    pub activities: BTreeSet<i64>,
    /// Started event ids of open timers.
    pub timers: BTreeSet<i64>,
    /// Initiated event ids of open children.
    pub children: BTreeSet<i64>,
    /// Initiated event ids of signals and cancel requests on their way.
    pub externals: BTreeSet<i64>,
    /// Updates by their id: the events of their acceptance and completion.
    pub updates: BTreeMap<String, (i64, i64)>,
    /// Signals taken; 0 when closed, for one that was held back at the close is lost.
    pub signal_count: i64,
}

/// Folds events from the first on.
pub fn fold_of(events: &[HistoryEvent]) -> Folded {
    let mut run = Run::new(RunNumber(0), Fixed::default());
    let mut touched = BTreeSet::new();
    for event in events {
        fold::apply(&mut run, event, &mut touched);
        if event.event_id > 0 {
            run.execution.next_event_id = event.event_id + 1;
        }
    }
    folded(&run)
}

fn folded(run: &Run) -> Folded {
    Folded {
        status: run.status(),
        next_event_id: run.execution.next_event_id,
        activities: run.activities.keys().copied().collect(),
        timers: run.timers.keys().copied().collect(),
        children: run.children.keys().copied().collect(),
        externals: run.externals.keys().copied().collect(),
        updates: run
            .updates
            .iter()
            .map(|(id, update)| (id.clone(), (update.accepted_event_id, update.completed_event_id)))
            .collect(),
        signal_count: if run.is_open() { run.execution.signal_count } else { 0 },
    }
}

/// A run equals the fold of its stored history and of what it holds back.
///
/// # Errors
/// Says what differs.
pub fn check_fold(run: &Run, history: &[HistoryEvent]) -> Result<(), String> {
    let held = run.buffered.iter().map(|event| HistoryEvent::clone(event));
    let events: Vec<HistoryEvent> = history.iter().cloned().chain(held).collect();
    let (from_events, kept) = (fold_of(&events), folded(run));
    if from_events == kept { Ok(()) } else { Err(format!("history folds to {from_events:?}, the run is {kept:?}")) }
}

/// A run is whole: everything open has something that will end it, and its wake row covers every deadline.
///
/// # Errors
/// Says what is broken.
pub fn check_run(run: &Run) -> Result<(), String> {
    check_items(run)?;
    if !run.is_open() {
        return check_closed(run);
    }
    let execution = &run.execution;
    let waits = execution.awaits_parent || execution.awaits_first_task;
    if execution.previous_started_event_id == 0 && execution.task.is_none() && !waits {
        return Err("the first workflow task is lost".to_owned());
    }
    if execution.awaits_first_task && execution.task.as_ref().is_some_and(|task| !task.speculative) {
        return Err("a workflow task is pending though the first is still waited for".to_owned());
    }
    check_updates(run)?;
    if !run.buffered.is_empty() && !run.has_started_task() {
        return Err("events are held back and no workflow task runs".to_owned());
    }
    if execution.task.as_ref().is_some_and(|task| task.is_started() && task.deadline() == Timestamp::MAX) {
        return Err("a started workflow task has no timeout".to_owned());
    }
    let deadline = run.next_deadline();
    if deadline != Timestamp::MAX && (execution.wake_at == 0 || execution.wake_at > deadline.as_nanos()) {
        return Err(format!("the wake row at {} misses the deadline {}", execution.wake_at, deadline.as_nanos()));
    }
    match run.activities.values().find(|activity| !will_end(activity)) {
        Some(activity) => Err(format!("nothing will end activity {}", activity.activity_id)),
        None => Ok(()),
    }
}

/// Updates that no worker has answered have a task that brings them, and one without events stands where its events
/// would be.
fn check_updates(run: &Run) -> Result<(), String> {
    let execution = &run.execution;
    if !run.admitted.is_empty() && execution.task.is_none() && !execution.awaits_parent {
        return Err("no workflow task will bring the updates".to_owned());
    }
    if let Some(admitted) = run.admitted.iter().find(|admitted| run.updates.contains_key(admitted.update_id())) {
        return Err(format!("update {} is accepted and waits for it", admitted.update_id()));
    }
    let Some(task) = execution.task.as_ref().filter(|task| task.speculative) else { return Ok(()) };
    let (scheduled, started) = (task.scheduled_event_id, task.started_event_id);
    let continues = scheduled == execution.next_event_id && (started == 0 || started == scheduled + 1);
    if task.transient && task.attempt == 1 && continues {
        Ok(())
    } else {
        Err(format!("a speculative task at {scheduled} does not continue the history"))
    }
}

/// A worker is asked for it, a deadline stands, or an operator holds it back.
fn will_end(activity: &Activity) -> bool {
    let asked_for = activity.dispatched || activity.is_paused();
    activity.deadline() != Timestamp::MAX || (asked_for && !activity.is_started())
}

fn check_closed(run: &Run) -> Result<(), String> {
    let items = run.activities.len() + run.timers.len() + run.children.len() + run.externals.len();
    if items != 0 || !run.buffered.is_empty() || run.execution.task.is_some() || !run.admitted.is_empty() {
        return Err("a closed run has open items".to_owned());
    }
    if run.execution.wake_at == 0 { Err("a closed run is kept for ever".to_owned()) } else { Ok(()) }
}

fn check_items(run: &Run) -> Result<(), String> {
    let keys = run.activities.keys().chain(run.timers.keys()).chain(run.children.keys()).chain(run.externals.keys());
    if keys.clone().any(|id| *id <= 0 || *id >= run.execution.next_event_id) {
        return Err("an item has the id of no event".to_owned());
    }
    let activities: BTreeSet<&str> = run.activities.values().map(|activity| activity.activity_id.as_str()).collect();
    let timers: BTreeSet<&str> = run.timers.values().map(|timer| timer.timer_id.as_str()).collect();
    if activities.len() != run.activities.len() || timers.len() != run.timers.len() {
        return Err("two open items share an id".to_owned());
    }
    Ok(())
}

/// A stored history, whole or up to some event, is one that an SDK can replay.
///
/// # Errors
/// Says which event is wrong, and how.
pub fn check_history(events: &[HistoryEvent]) -> Result<(), String> {
    let mut reader = Reader::default();
    for (index, event) in events.iter().enumerate() {
        reader
            .read(index, event)
            .map_err(|why| format!("event {} ({}): {why}", event.event_id, event.event_type().as_str_name()))?;
    }
    Ok(())
}

/// What the events read so far leave open.
#[derive(Default)]
struct Reader {
    closed: bool,
    time: Timestamp,
    task: Task,
    completed: BTreeSet<i64>,
    types: BTreeMap<i64, EventType>,
    /// Items by the event that scheduled, started, initiated or accepted them, to the event that started them (0 is
    /// none).
    open: BTreeMap<i64, i64>,
    /// Updates accepted so far.
    updates: BTreeSet<String>,
}

/// Where the workflow task stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Task {
    #[default]
    None,
    Scheduled(i64),
    Started(i64, i64),
}

impl Reader {
    fn read(&mut self, index: usize, event: &HistoryEvent) -> Result<(), String> {
        let Some(attributes) = &event.attributes else { return Err("has no attributes".to_owned()) };
        let kind = event::event_type(attributes);
        let expected = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
        ensure(event.event_id == expected, || format!("expected id {expected}"))?;
        ensure(event.event_type() == kind, || "type and attributes differ".to_owned())?;
        ensure((kind == EventType::WorkflowExecutionStarted) == (index == 0), || "start out of place".to_owned())?;
        ensure(!self.closed, || "comes after the close".to_owned())?;
        let time = from_timestamp(event.event_time.as_ref());
        ensure(time >= self.time, || "time falls".to_owned())?;
        self.time = time;
        self.read_task(event.event_id, attributes)?;
        self.read_item(event.event_id, attributes)?;
        if let Some(completed) = completed_by(attributes) {
            ensure(self.completed.contains(&completed), || format!("{completed} is no completion"))?;
        }
        self.closed = is_close(kind);
        self.types.insert(event.event_id, kind);
        Ok(())
    }

    fn read_task(&mut self, event_id: i64, attributes: &Attributes) -> Result<(), String> {
        use Attributes as A;
        let (expected, next) = match attributes {
            A::WorkflowTaskScheduledEventAttributes(_) => (Task::None, Task::Scheduled(event_id)),
            A::WorkflowTaskStartedEventAttributes(a) => {
                (Task::Scheduled(a.scheduled_event_id), Task::Started(a.scheduled_event_id, event_id))
            }
            A::WorkflowTaskCompletedEventAttributes(a) => {
                self.completed.insert(event_id);
                (Task::Started(a.scheduled_event_id, a.started_event_id), Task::None)
            }
            A::WorkflowTaskFailedEventAttributes(a) => {
                (Task::Started(a.scheduled_event_id, a.started_event_id), Task::None)
            }
            A::WorkflowTaskTimedOutEventAttributes(a) if a.started_event_id == 0 => {
                (Task::Scheduled(a.scheduled_event_id), Task::None)
            }
            A::WorkflowTaskTimedOutEventAttributes(a) => {
                (Task::Started(a.scheduled_event_id, a.started_event_id), Task::None)
            }
            _ => {
                return ensure(!matches!(self.task, Task::Started(..)), || {
                    "comes while a workflow task runs".to_owned()
                });
            }
        };
        ensure(self.task == expected, || "does not fit the workflow task before it".to_owned())?;
        self.task = next;
        Ok(())
    }

    fn read_item(&mut self, event_id: i64, attributes: &Attributes) -> Result<(), String> {
        use Attributes as A;
        match attributes {
            A::ActivityTaskScheduledEventAttributes(_)
            | A::TimerStartedEventAttributes(_)
            | A::StartChildWorkflowExecutionInitiatedEventAttributes(_)
            | A::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
            | A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => {
                self.open.insert(event_id, 0);
                Ok(())
            }
            A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                self.open.insert(event_id, 0);
                let first = self.updates.insert(a.protocol_instance_id.clone());
                ensure(first, || format!("update {} was accepted before", a.protocol_instance_id))
            }
            A::WorkflowExecutionUpdateCompletedEventAttributes(a) => self.close(a.accepted_event_id, 0),
            A::ActivityTaskStartedEventAttributes(a) => self.start(a.scheduled_event_id, event_id),
            A::ChildWorkflowExecutionStartedEventAttributes(a) => self.start(a.initiated_event_id, event_id),
            A::TimerFiredEventAttributes(a) => self.close(a.started_event_id, 0),
            A::TimerCanceledEventAttributes(a) => self.close(a.started_event_id, 0),
            A::StartChildWorkflowExecutionFailedEventAttributes(a) => self.close(a.initiated_event_id, 0),
            A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => self.close(a.initiated_event_id, 0),
            A::ExternalWorkflowExecutionSignaledEventAttributes(a) => self.close(a.initiated_event_id, 0),
            A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => self.close(a.initiated_event_id, 0),
            A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => self.close(a.initiated_event_id, 0),
            other => match buffer::close_of(&mut other.clone()) {
                Some((item, started)) => self.close(item, *started),
                None => Ok(()),
            },
        }
    }

    fn start(&mut self, item: i64, event_id: i64) -> Result<(), String> {
        let started = self.open.get_mut(&item).ok_or_else(|| format!("{item} is not open"))?;
        ensure(*started == 0, || format!("{item} was started before"))?;
        *started = event_id;
        Ok(())
    }

    fn close(&mut self, item: i64, started_event_id: i64) -> Result<(), String> {
        let started = self.open.remove(&item).ok_or_else(|| format!("{item} is not open"))?;
        ensure(started == started_event_id, || format!("started by {started}, not by {started_event_id}"))
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn is_close(kind: EventType) -> bool {
    use EventType as E;
    matches!(
        kind,
        E::WorkflowExecutionCompleted
            | E::WorkflowExecutionFailed
            | E::WorkflowExecutionTimedOut
            | E::WorkflowExecutionCanceled
            | E::WorkflowExecutionTerminated
            | E::WorkflowExecutionContinuedAsNew
    )
}

/// The completion that a command's event names.
fn completed_by(attributes: &Attributes) -> Option<i64> {
    use Attributes as A;
    Some(match attributes {
        A::WorkflowExecutionCompletedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionFailedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionCanceledEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowExecutionContinuedAsNewEventAttributes(a) => a.workflow_task_completed_event_id,
        A::ActivityTaskScheduledEventAttributes(a) => a.workflow_task_completed_event_id,
        A::ActivityTaskCancelRequestedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::TimerStartedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::TimerCanceledEventAttributes(a) => a.workflow_task_completed_event_id,
        A::MarkerRecordedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::UpsertWorkflowSearchAttributesEventAttributes(a) => a.workflow_task_completed_event_id,
        A::WorkflowPropertiesModifiedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => a.workflow_task_completed_event_id,
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => a.workflow_task_completed_event_id,
        _ => return None,
    })
}
