//! What a worker knows of a run: the fold of the history that it was given, event by event.

use std::collections::BTreeMap;

use mainspring_api::v1::history::{HistoryEvent, history_event::Attributes as A};

use crate::update_job::{Asked, Handling, handling_of};

/// Something a workflow waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) event_id: i64,
    pub(crate) cancel_requested: bool,
    pub(crate) started: bool,
    pub(crate) done: bool,
}

/// An update that the workflow took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) handling: Handling,
    accepted_event_id: i64,
    pub(crate) done: bool,
}

/// The state of a run in a worker's cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) last_event_id: i64,
    pub(crate) workflow_type: String,
    pub(crate) run_id: String,
    /// By activity id, timer id, workflow id, control: programs never use one twice.
    pub(crate) activities: BTreeMap<String, Item>,
    pub(crate) timers: BTreeMap<String, Item>,
    pub(crate) children: BTreeMap<String, Item>,
    pub(crate) externals: BTreeMap<String, Item>,
    pub(crate) markers: BTreeMap<String, Item>,
    /// By update id.
    pub(crate) updates: BTreeMap<String, Taken>,
    /// What came as messages and was not answered yet: no event tells of it.
    pub(crate) asked: Vec<Asked>,
    pub(crate) signals: u64,
    pub(crate) cancel_requested: bool,
    names: BTreeMap<i64, String>,
}

impl Facts {
    /// Takes the next event in.
    pub(crate) fn apply(&mut self, event: &HistoryEvent) -> Result<(), String> {
        if event.event_id != self.last_event_id + 1 {
            return Err(format!("event {} follows {}", event.event_id, self.last_event_id));
        }
        self.last_event_id = event.event_id;
        let Some(attributes) = &event.attributes else { return Err("an event has no attributes".to_owned()) };
        let id = event.event_id;
        match attributes {
            A::WorkflowExecutionStartedEventAttributes(a) => {
                self.workflow_type = a.workflow_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
                self.run_id = a.original_execution_run_id.clone();
            }
            A::WorkflowExecutionSignaledEventAttributes(_) => self.signals += 1,
            A::WorkflowExecutionCancelRequestedEventAttributes(_) => self.cancel_requested = true,
            A::MarkerRecordedEventAttributes(a) => {
                self.markers.insert(a.marker_name.clone(), Item { event_id: id, done: true, ..Item::default() });
            }
            A::ActivityTaskScheduledEventAttributes(a) => self.begin(id, &a.activity_id, |facts| &mut facts.activities),
            A::ActivityTaskCancelRequestedEventAttributes(a) => {
                self.item(a.scheduled_event_id, |facts| &mut facts.activities)?.cancel_requested = true;
            }
            A::ActivityTaskCompletedEventAttributes(a) => self.end_activity(a.scheduled_event_id)?,
            A::ActivityTaskFailedEventAttributes(a) => self.end_activity(a.scheduled_event_id)?,
            A::ActivityTaskTimedOutEventAttributes(a) => self.end_activity(a.scheduled_event_id)?,
            A::ActivityTaskCanceledEventAttributes(a) => self.end_activity(a.scheduled_event_id)?,
            A::TimerStartedEventAttributes(a) => self.begin(id, &a.timer_id, |facts| &mut facts.timers),
            A::TimerFiredEventAttributes(a) => self.item(a.started_event_id, |facts| &mut facts.timers)?.done = true,
            A::TimerCanceledEventAttributes(a) => {
                let timer = self.item(a.started_event_id, |facts| &mut facts.timers)?;
                timer.cancel_requested = true;
                timer.done = true;
            }
            A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                let update_id = &a.protocol_instance_id;
                let Some(handling) = handling_of(a.accepted_request.as_ref()) else {
                    return Err(format!("update {update_id} was accepted without its request"));
                };
                let taken = Taken { handling, accepted_event_id: id, done: false };
                if self.updates.insert(update_id.clone(), taken).is_some() {
                    return Err(format!("update {update_id} was accepted twice"));
                }
            }
            A::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
                let update_id = a.meta.clone().unwrap_or_default().update_id;
                let open = self.updates.get_mut(&update_id).filter(|taken| !taken.done);
                let Some(taken) = open.filter(|taken| taken.accepted_event_id == a.accepted_event_id) else {
                    return Err(format!("update {update_id} was completed and is not open"));
                };
                taken.done = true;
            }
            other => return self.apply_outward(id, other),
        }
        Ok(())
    }

    /// Events about other executions.
    fn apply_outward(&mut self, id: i64, attributes: &A) -> Result<(), String> {
        match attributes {
            A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
                self.begin(id, &a.workflow_id, |facts| &mut facts.children);
            }
            A::ChildWorkflowExecutionStartedEventAttributes(a) => {
                self.item(a.initiated_event_id, |facts| &mut facts.children)?.started = true;
            }
            A::StartChildWorkflowExecutionFailedEventAttributes(a) => self.end_child(a.initiated_event_id)?,
            A::ChildWorkflowExecutionCompletedEventAttributes(a) => self.end_child(a.initiated_event_id)?,
            A::ChildWorkflowExecutionFailedEventAttributes(a) => self.end_child(a.initiated_event_id)?,
            A::ChildWorkflowExecutionCanceledEventAttributes(a) => self.end_child(a.initiated_event_id)?,
            A::ChildWorkflowExecutionTimedOutEventAttributes(a) => self.end_child(a.initiated_event_id)?,
            A::ChildWorkflowExecutionTerminatedEventAttributes(a) => self.end_child(a.initiated_event_id)?,
            A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                self.begin(id, &a.control, |facts| &mut facts.externals);
            }
            A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                self.begin(id, &a.reason, |facts| &mut facts.externals);
            }
            A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => self.end_external(a.initiated_event_id)?,
            A::ExternalWorkflowExecutionSignaledEventAttributes(a) => self.end_external(a.initiated_event_id)?,
            A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
                self.end_external(a.initiated_event_id)?;
            }
            A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => self.end_external(a.initiated_event_id)?,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, event_id: i64, name: &str, items: fn(&mut Facts) -> &mut BTreeMap<String, Item>) {
        self.names.insert(event_id, name.to_owned());
        items(self).insert(name.to_owned(), Item { event_id, ..Item::default() });
    }

    fn item(
        &mut self,
        event_id: i64,
        items: fn(&mut Facts) -> &mut BTreeMap<String, Item>,
    ) -> Result<&mut Item, String> {
        let name = self.names.get(&event_id).cloned().ok_or_else(|| format!("{event_id} began nothing"))?;
        items(self).get_mut(&name).ok_or_else(|| format!("{event_id} began something else"))
    }

    fn end_activity(&mut self, event_id: i64) -> Result<(), String> {
        self.item(event_id, |facts| &mut facts.activities).map(|item| item.done = true)
    }

    fn end_child(&mut self, event_id: i64) -> Result<(), String> {
        self.item(event_id, |facts| &mut facts.children).map(|item| item.done = true)
    }

    fn end_external(&mut self, event_id: i64) -> Result<(), String> {
        self.item(event_id, |facts| &mut facts.externals).map(|item| item.done = true)
    }
}
