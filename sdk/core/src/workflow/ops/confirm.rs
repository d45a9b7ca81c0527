//! What the history says about operations: confirmed by command events, resolved by the others.

use mainspring_api::v1::history::{HistoryEvent, history_event};

use super::{Close, Issued, Machine, OpId, Ops, Value, What};
use crate::workflow::{
    activity, child,
    describe::event_name,
    fault::{Fault, Mismatch},
    patch::{is_change_version, patch_of},
    timer,
};

impl Ops {
    /// Confirms what was asked for first by the next command event.
    pub(crate) fn confirm(&mut self, event: &HistoryEvent) -> Result<(), Fault> {
        let Some(attributes) = &event.attributes else {
            return Err(Fault::history(event.event_id, "it has no attributes"));
        };
        let place = loop {
            let place = self.next_for(attributes);
            match place.and_then(|place| self.issued.get(place)) {
                Some(asked) if self.fits(&asked.what, attributes) => break place,
                Some(Issued { what: What::Upsert { of_change: true, .. }, .. }) => drop(self.take(place)),
                asked => {
                    if skippable(attributes, self.after_skipped_patch) {
                        self.after_skipped_patch = true;
                        return Ok(());
                    }
                    let asked = asked.or(self.issued.front());
                    let actual = asked.map(|issued| self.describe(&issued.what));
                    return Err(Fault::Mismatch(Box::new(Mismatch {
                        event_id: Some(event.event_id),
                        expected: Some(event_name(event)),
                        actual,
                        at: asked.map(|issued| issued.at.to_string()),
                    })));
                }
            }
        };
        self.after_skipped_patch = false;
        if let Some(asked) = self.take(place) {
            self.confirmed(&asked.what, event.event_id);
        }
        Ok(())
    }

    /// The place in the queue of what an event should confirm: the first that was asked for. Answers to updates are known
    /// by the update and may stand anywhere among the commands of their task, since each SDK has them elsewhere.
    fn next_for(&self, event: &history_event::Attributes) -> Option<usize> {
        match event {
            history_event::Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(_)
            | history_event::Attributes::WorkflowExecutionUpdateCompletedEventAttributes(_) => {
                self.issued.iter().position(|issued| self.fits(&issued.what, event))
            }
            _ => self.issued.iter().position(|issued| !issued.what.is_answer()),
        }
    }

    fn take(&mut self, place: Option<usize>) -> Option<Issued> {
        self.issued.remove(place?)
    }

    fn fits(&self, what: &What, event: &history_event::Attributes) -> bool {
        use history_event::Attributes as A;
        match (what, event) {
            (What::Start(id), _) => match self.slots.get(id.0 as usize).map(|slot| &slot.machine) {
                Some(Machine::Activity(activity)) => activity.starts_with(event, self.any_numbers),
                Some(Machine::Timer(timer)) => timer.starts_with(event, self.any_numbers),
                Some(Machine::Child(child)) => child.starts_with(event),
                Some(Machine::Signal(signal)) => signal.starts_with(event),
                Some(Machine::Cancel(cancel)) => cancel.starts_with(event),
                Some(Machine::ChildEnd | Machine::Local(_) | Machine::Closed) | None => false,
            },
            (What::Cancel(id), _) => match self.slots.get(id.0 as usize).map(|slot| &slot.machine) {
                Some(Machine::Activity(activity)) => activity.cancelled_with(event),
                Some(Machine::Timer(timer)) => timer.cancelled_with(event),
                Some(Machine::Child(child)) => child.cancelled_with(event),
                _ => false,
            },
            (What::Marker(marker), A::MarkerRecordedEventAttributes(found)) => marker.fits(found),
            (What::Upsert { of_change, .. }, A::UpsertWorkflowSearchAttributesEventAttributes(found)) => {
                *of_change == is_change_version(found.search_attributes.as_ref())
            }
            (What::Memo(_), A::WorkflowPropertiesModifiedEventAttributes(_)) => true,
            (What::Accepted { update, .. }, A::WorkflowExecutionUpdateAcceptedEventAttributes(found)) => {
                found.protocol_instance_id == *update
            }
            (What::Completed { update, .. }, A::WorkflowExecutionUpdateCompletedEventAttributes(found)) => {
                found.meta.as_ref().is_some_and(|meta| meta.update_id == *update)
            }
            (What::Close(close), _) => match (close.as_ref(), event) {
                (Close::Complete(_), A::WorkflowExecutionCompletedEventAttributes(_))
                | (Close::Fail(_), A::WorkflowExecutionFailedEventAttributes(_))
                | (Close::Cancel(_), A::WorkflowExecutionCanceledEventAttributes(_)) => true,
                (Close::ContinueAsNew(next), A::WorkflowExecutionContinuedAsNewEventAttributes(found)) => {
                    next.workflow_type == found.workflow_type
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn confirmed(&mut self, what: &What, event_id: i64) {
        match what {
            What::Start(id) => {
                self.by_event.insert(event_id, *id);
                match self.slots.get_mut(id.0 as usize).map(|slot| &mut slot.machine) {
                    Some(Machine::Activity(activity)) => activity.state = activity::State::Scheduled(event_id),
                    Some(Machine::Timer(timer)) => timer.state = timer::State::Started(event_id),
                    Some(Machine::Child(child)) => child.state = child::State::Initiated(event_id),
                    _ => {}
                }
                if let Some(slot) = self.slots.get_mut(id.0 as usize) {
                    slot.drop_command();
                }
            }
            What::Cancel(id) => match self.slots.get(id.0 as usize).map(|slot| &slot.machine) {
                Some(Machine::Timer(timer)) => {
                    if let timer::State::CancelAsked(started) = timer.state {
                        self.by_event.remove(&started);
                    }
                    self.close(*id);
                }
                Some(Machine::Child(_)) => {
                    self.by_event.insert(event_id, *id);
                }
                _ => {}
            },
            What::Marker(_)
            | What::Upsert { .. }
            | What::Memo(_)
            | What::Accepted { .. }
            | What::Completed { .. }
            | What::Close(_) => {}
        }
    }

    /// Everything that was asked for must have been confirmed by now.
    pub(crate) fn all_confirmed(&mut self) -> Result<(), Fault> {
        while let Some(Issued { what: What::Upsert { of_change: true, .. }, .. }) = self.issued.front() {
            self.issued.pop_front();
        }
        match self.issued.front() {
            None => Ok(()),
            Some(first) => Err(Fault::Mismatch(Box::new(Mismatch {
                event_id: None,
                expected: None,
                actual: Some(self.describe(&first.what)),
                at: Some(first.at.to_string()),
            }))),
        }
    }

    /// An event about an operation that was confirmed before: it goes on or ends.
    pub(crate) fn resolve(&mut self, event: HistoryEvent) -> Result<(), Fault> {
        use history_event::Attributes as A;
        let event_id = event.event_id;
        let Some(attributes) = &event.attributes else { return Ok(()) };
        match attributes {
            A::ActivityTaskStartedEventAttributes(started) => {
                self.confirmed_by(started.scheduled_event_id, event_id)?;
            }
            A::ActivityTaskCompletedEventAttributes(ended) => self.end(ended.scheduled_event_id, event)?,
            A::ActivityTaskFailedEventAttributes(ended) => self.end(ended.scheduled_event_id, event)?,
            A::ActivityTaskTimedOutEventAttributes(ended) => self.end(ended.scheduled_event_id, event)?,
            A::ActivityTaskCanceledEventAttributes(ended) => self.end(ended.scheduled_event_id, event)?,
            A::TimerFiredEventAttributes(fired) => self.end(fired.started_event_id, event)?,
            A::ChildWorkflowExecutionStartedEventAttributes(started) => {
                let run_id = started.workflow_execution.as_ref().map(|run| run.run_id.clone()).unwrap_or_default();
                let id = self.confirmed_by(started.initiated_event_id, event_id)?;
                match self.slots.get_mut(id.0 as usize).map(|slot| &mut slot.machine) {
                    Some(Machine::Child(child)) if matches!(child.state, child::State::Initiated(_)) => {
                        child.state = child::State::Started(started.initiated_event_id);
                        child.run_id.clone_from(&run_id);
                    }
                    _ => return Err(Fault::history(event_id, "a child starts that cannot start")),
                }
                self.settle(id, Ok(Value::RunId(run_id)));
            }
            A::StartChildWorkflowExecutionFailedEventAttributes(failed) => {
                let (initiated, cause) = (failed.initiated_event_id, failed.cause);
                let id = self.ends(initiated, event_id)?;
                let Some(child) = self.child(id) else {
                    return Err(Fault::history(event_id, "the operation is no child"));
                };
                let error = child.not_started(initiated, cause);
                self.settle(id, Err(error.clone()));
                self.settle(OpId(id.0 + 1), Err(error));
                self.close(id);
            }
            A::ChildWorkflowExecutionCompletedEventAttributes(ended) => self.end(ended.initiated_event_id, event)?,
            A::ChildWorkflowExecutionFailedEventAttributes(ended) => self.end(ended.initiated_event_id, event)?,
            A::ChildWorkflowExecutionCanceledEventAttributes(ended) => self.end(ended.initiated_event_id, event)?,
            A::ChildWorkflowExecutionTimedOutEventAttributes(ended) => self.end(ended.initiated_event_id, event)?,
            A::ChildWorkflowExecutionTerminatedEventAttributes(ended) => self.end(ended.initiated_event_id, event)?,
            A::ExternalWorkflowExecutionSignaledEventAttributes(done) => self.end(done.initiated_event_id, event)?,
            A::SignalExternalWorkflowExecutionFailedEventAttributes(failed) => {
                self.end(failed.initiated_event_id, event)?;
            }
            A::ExternalWorkflowExecutionCancelRequestedEventAttributes(done) => {
                self.end_of_cancel(done.initiated_event_id, event)?;
            }
            A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(failed) => {
                self.end_of_cancel(failed.initiated_event_id, event)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn confirmed_by(&self, event: i64, at: i64) -> Result<OpId, Fault> {
        self.by_event.get(&event).copied().ok_or_else(|| {
            Fault::history(at, format!("it is about event {event}, which started nothing that is still open"))
        })
    }

    fn ends(&mut self, event: i64, at: i64) -> Result<OpId, Fault> {
        let id = self.confirmed_by(event, at)?;
        self.by_event.remove(&event);
        Ok(id)
    }

    fn end(&mut self, started_by: i64, event: HistoryEvent) -> Result<(), Fault> {
        use history_event::Attributes as A;
        let event_id = event.event_id;
        let id = self.ends(started_by, event_id)?;
        let wrong = || Fault::history(event_id, format!("event {started_by} started something of another kind"));
        let machine = self.slots.get(id.0 as usize).map(|slot| &slot.machine);
        let (target, outcome) = match (machine, &event.attributes) {
            (Some(Machine::Activity(activity)), _) => {
                (id, activity::ended(activity, event).ok_or_else(wrong)?.map(Value::Payloads))
            }
            (Some(Machine::Timer(_)), Some(A::TimerFiredEventAttributes(_))) => (id, Ok(Value::Nothing)),
            (Some(Machine::Child(child)), _) => {
                if !matches!(child.state, child::State::Started(_)) {
                    return Err(Fault::history(event_id, "a child ends that never started"));
                }
                (OpId(id.0 + 1), child::ended(child, event).ok_or_else(wrong)?.map(Value::Payloads))
            }
            (Some(Machine::Signal(_)), Some(A::ExternalWorkflowExecutionSignaledEventAttributes(_))) => {
                (id, Ok(Value::Nothing))
            }
            (Some(Machine::Signal(signal)), Some(A::SignalExternalWorkflowExecutionFailedEventAttributes(failed))) => {
                (id, Err(signal.failed(failed.cause)))
            }
            _ => return Err(wrong()),
        };
        // A cancellation that was asked for in the activation that also brings the end would find nothing.
        self.issued.retain(|issued| !matches!(issued.what, What::Cancel(op) if op == id));
        self.settle(target, outcome);
        self.close(id);
        Ok(())
    }

    /// The answer to a cancellation of another workflow, or of a child.
    fn end_of_cancel(&mut self, initiated: i64, event: HistoryEvent) -> Result<(), Fault> {
        use history_event::Attributes as A;
        let id = self.ends(initiated, event.event_id)?;
        let outcome = match (self.slots.get(id.0 as usize).map(|slot| &slot.machine), &event.attributes) {
            (Some(Machine::Child(_) | Machine::Closed), _) => return Ok(()),
            (Some(Machine::Cancel(_)), Some(A::ExternalWorkflowExecutionCancelRequestedEventAttributes(_))) => {
                Ok(Value::Nothing)
            }
            (
                Some(Machine::Cancel(cancel)),
                Some(A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(failed)),
            ) => Err(cancel.failed(failed.cause)),
            _ => return Err(Fault::history(event.event_id, "it answers something else")),
        };
        self.settle(id, outcome);
        self.close(id);
        Ok(())
    }
}

/// A patch that the code no longer knows and that was marked as going away, with the search attribute after it.
fn skippable(event: &history_event::Attributes, after_skipped_patch: bool) -> bool {
    match event {
        history_event::Attributes::MarkerRecordedEventAttributes(marker) => {
            patch_of(marker).is_some_and(|(_, deprecated)| deprecated)
        }
        history_event::Attributes::UpsertWorkflowSearchAttributesEventAttributes(upsert) => {
            after_skipped_patch && is_change_version(upsert.search_attributes.as_ref())
        }
        _ => false,
    }
}
