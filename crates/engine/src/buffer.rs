//! Events held back while a workflow task runs, and the flush that gives them their ids.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_api::v1::history::{HistoryEvent, history_event::Attributes};

use crate::{event, state::ItemKey, transition::Transition};

/// The id of an event that has none yet. Upstream uses the same number.
pub const BUFFERED: i64 = -123;

/// Stable, but closes of activities and children come last: each start precedes its close.
pub(crate) fn in_flush_order(held: Vec<HistoryEvent>) -> Vec<HistoryEvent> {
    let (closes, mut others): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|event| event::is_item_close(event.event_type()));
    others.extend(closes);
    wire_starts(&mut others);
    others
}

/// Appends one event that was held back and tells the state its id.
pub(crate) fn append(t: &mut Transition<'_>, event: HistoryEvent) {
    let event = resolve_starts(t, event);
    let attributes = event.attributes.clone();
    let event_id = t.append(event);
    match attributes {
        Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(started)) => {
            child_started(t, started.initiated_event_id, event_id);
        }
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(updated)) => {
            request_attached(t, &updated.attached_request_id, event_id);
        }
        _ => {}
    }
}

fn child_started(t: &mut Transition<'_>, initiated: i64, event_id: i64) {
    if let Some(child) = t.run.children.get_mut(&initiated) {
        Arc::make_mut(child).started_event_id = event_id;
        t.touch(ItemKey::Child(initiated));
    }
}

fn request_attached(t: &mut Transition<'_>, request_id: &str, event_id: i64) {
    let properties = Arc::make_mut(&mut t.run.properties);
    if let Some(attached) = properties.attached_requests.iter_mut().find(|known| known.request_id == request_id) {
        attached.event_id = event_id;
        t.touch(ItemKey::Properties);
    }
}

/// Notes in each close how far before it its start stands; [`resolve_starts`] turns that into an id.
fn wire_starts(events: &mut [HistoryEvent]) {
    let mut starts: BTreeMap<i64, i64> = BTreeMap::new();
    for (index, event) in events.iter_mut().enumerate() {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        if let Some(item) = started_item(event) {
            starts.insert(item, index);
        } else if let Some((item, started)) = event.attributes.as_mut().and_then(close_of)
            && *started == BUFFERED
            && let Some(start) = starts.get(&item)
        {
            *started = -(index - start);
        }
    }
}

fn resolve_starts(t: &Transition<'_>, mut event: HistoryEvent) -> HistoryEvent {
    let next = t.run.execution.next_event_id;
    if let Some((_, started)) = event.attributes.as_mut().and_then(close_of)
        && *started < 0
    {
        *started += next;
    }
    event
}

/// The item that the event starts, by the id of the event that scheduled or initiated it.
pub(crate) fn started_item(event: &HistoryEvent) -> Option<i64> {
    match event.attributes.as_ref()? {
        Attributes::ActivityTaskStartedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ChildWorkflowExecutionStartedEventAttributes(a) => Some(a.initiated_event_id),
        _ => None,
    }
}

/// The event closes the item that event `item` scheduled or initiated.
pub(crate) fn closes(event: &HistoryEvent, item: i64) -> bool {
    event::is_item_close(event.event_type())
        && event.attributes.clone().as_mut().and_then(close_of).is_some_and(|(closed, _)| closed == item)
}

/// The item that the event closes, and where it names the start.
pub(crate) fn close_of(attributes: &mut Attributes) -> Option<(i64, &mut i64)> {
    use Attributes as A;
    Some(match attributes {
        A::ActivityTaskCompletedEventAttributes(a) => (a.scheduled_event_id, &mut a.started_event_id),
        A::ActivityTaskFailedEventAttributes(a) => (a.scheduled_event_id, &mut a.started_event_id),
        A::ActivityTaskTimedOutEventAttributes(a) => (a.scheduled_event_id, &mut a.started_event_id),
        A::ActivityTaskCanceledEventAttributes(a) => (a.scheduled_event_id, &mut a.started_event_id),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => (a.initiated_event_id, &mut a.started_event_id),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => (a.initiated_event_id, &mut a.started_event_id),
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => (a.initiated_event_id, &mut a.started_event_id),
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => (a.initiated_event_id, &mut a.started_event_id),
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => (a.initiated_event_id, &mut a.started_event_id),
        _ => return None,
    })
}
