//! One step on one run in the making: events as they are recorded, and what else has to be written.

use std::{collections::BTreeSet, sync::Arc};

use mainspring_api::{
    history::encode_events,
    time::{from_timestamp, timestamp},
    v1::{
        common::Link,
        enums::EventType,
        history::{HistoryEvent, history_event::Attributes},
        sdk::{EventGroupMarker, UserMetadata},
    },
};
use mainspring_rt::Timestamp;

use crate::{
    buffer::{self, BUFFERED},
    effect::Effect,
    event, fold,
    input::{TaskKind, TaskRef},
    moment::Moment,
    outcome::{Chunk, RunChange, TaskIntent, UpdateEnd, WakeMove},
    state::{ItemKey, Run, or_max},
    workflow::{continue_as_new::FollowUp, task},
};

/// Changes a run and collects what has to be written for it.
pub(crate) struct Transition<'a> {
    pub(crate) run: &'a mut Run,
    pub(crate) at: &'a Moment<'a>,
    /// The run that starts when this one has closed.
    pub(crate) follow_up: Option<FollowUp>,
    chunks: Vec<Chunk>,
    events: Vec<HistoryEvent>,
    touched: BTreeSet<ItemKey>,
    tasks: Vec<TaskIntent>,
    effects: Vec<(u64, Effect)>,
    effects_done: Vec<u64>,
    updates_ended: Vec<(String, UpdateEnd)>,
    created: bool,
    dirty: bool,
    was_open: bool,
}

/// What an event carries beside its attributes.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) user_metadata: Option<UserMetadata>,
    pub(crate) links: Vec<Link>,
    pub(crate) event_group_markers: Vec<EventGroupMarker>,
}

impl<'a> Transition<'a> {
    pub(crate) fn new(run: &'a mut Run, at: &'a Moment<'a>) -> Self {
        Transition {
            was_open: run.is_open(),
            run,
            at,
            follow_up: None,
            chunks: Vec::new(),
            events: Vec::new(),
            touched: BTreeSet::new(),
            tasks: Vec::new(),
            effects: Vec::new(),
            effects_done: Vec::new(),
            updates_ended: Vec::new(),
            created: false,
            dirty: false,
        }
    }

    /// Of a run that was not there before.
    pub(crate) fn created(run: &'a mut Run, at: &'a Moment<'a>) -> Self {
        Transition { created: true, ..Transition::new(run, at) }
    }

    /// Now, in nanoseconds.
    pub(crate) fn now(&self) -> i64 {
        self.at.now.as_nanos()
    }

    /// Records an event: at once, or held back while a workflow task runs. Returns its id.
    pub(crate) fn record(&mut self, attributes: Attributes) -> i64 {
        self.record_with(attributes, Extras::default())
    }

    pub(crate) fn record_with(&mut self, attributes: Attributes, extras: Extras) -> i64 {
        // Its virtual events go before whatever happens next.
        task::make_real(self);
        self.dirty = true;
        let held = self.run.has_started_task() && event::is_bufferable(&attributes);
        let event_id = if held { BUFFERED } else { self.run.execution.next_event_id };
        let event = HistoryEvent {
            event_id,
            event_time: Some(timestamp(self.at.now)),
            event_type: event::event_type(&attributes) as i32,
            task_id: event::task_id(event_id),
            user_metadata: extras.user_metadata,
            links: extras.links,
            worker_may_ignore: event::may_be_ignored(&attributes),
            event_group_markers: extras.event_group_markers,
            attributes: Some(attributes),
            ..HistoryEvent::default()
        };
        fold::apply(self.run, &event, &mut self.touched);
        if held {
            self.hold(event);
        } else {
            self.append(event);
        }
        event_id
    }

    /// Adds an event whose effect on the state is already there.
    pub(crate) fn append(&mut self, mut event: HistoryEvent) -> i64 {
        let event_id = self.run.execution.next_event_id;
        event.event_id = event_id;
        event.task_id = event::task_id(event_id);
        // What was held back is as old as the events that went before it: times in a history never fall.
        let time = from_timestamp(event.event_time.as_ref()).as_nanos().max(self.run.execution.last_event_at);
        event.event_time = Some(timestamp(Timestamp::from_nanos(time)));
        self.run.execution.last_event_at = time;
        self.run.execution.next_event_id += 1;
        self.events.push(event);
        event_id
    }

    fn hold(&mut self, event: HistoryEvent) {
        self.touched.insert(ItemKey::Buffered(self.run.execution.buffered_rows));
        self.run.execution.buffered_rows += 1;
        self.run.buffered.push(Arc::new(event));
    }

    /// Gives the events held back their ids. True if there were any.
    pub(crate) fn flush(&mut self) -> bool {
        let held = self.take_buffered();
        let some = !held.is_empty();
        for event in buffer::in_flush_order(held) {
            buffer::append(self, event);
        }
        some
    }

    /// Removes the events held back.
    pub(crate) fn take_buffered(&mut self) -> Vec<HistoryEvent> {
        self.touch_buffered();
        let held = std::mem::take(&mut self.run.buffered);
        held.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    /// Marks the rows of all events held back for rewriting.
    pub(crate) fn touch_buffered(&mut self) {
        self.dirty |= !self.run.buffered.is_empty();
        let rows = self.run.execution.buffered_rows;
        let count = u32::try_from(self.run.buffered.len()).unwrap_or(u32::MAX);
        self.touched.extend((rows - count..rows).map(ItemKey::Buffered));
    }

    /// Marks an item for writing, or for deletion when the run no longer has it.
    pub(crate) fn touch(&mut self, item: ItemKey) {
        self.dirty = true;
        self.touched.insert(item);
    }

    /// The hot row changed though no event was recorded.
    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// A new stamp: tasks with an older one are outdated.
    pub(crate) fn next_stamp(&mut self) -> u32 {
        self.dirty = true;
        self.run.execution.task_stamp += 1;
        self.run.execution.task_stamp
    }

    /// Hands a task to matching.
    pub(crate) fn dispatch(&mut self, intent: TaskIntent) {
        self.dirty = true;
        self.tasks.push(intent);
    }

    /// Takes back what was handed to matching in this step for that event: it was started inline.
    pub(crate) fn undispatch(&mut self, kind: TaskKind, event_id: i64) {
        self.tasks.retain(|intent| intent.task.kind != kind || intent.task.event_id != event_id);
    }

    /// A reference to a task of this run.
    pub(crate) fn task_ref(&self, kind: TaskKind, event_id: i64, stamp: u32) -> TaskRef {
        TaskRef { run: self.run.number, kind, event_id, stamp }
    }

    /// Adds an outbox row.
    pub(crate) fn send(&mut self, effect: Effect) {
        self.dirty = true;
        let number = self.run.execution.next_effect;
        self.run.execution.next_effect += 1;
        self.effects.push((number, effect));
    }

    /// An outbox row was answered.
    pub(crate) fn effect_done(&mut self, number: u64) {
        self.dirty = true;
        self.effects_done.push(number);
    }

    /// An update ended without an event.
    pub(crate) fn end_update(&mut self, id: String, end: UpdateEnd) {
        self.dirty = true;
        self.updates_ended.push((id, end));
    }

    /// Drops everything recorded in this step and goes on from `before`.
    pub(crate) fn restart(&mut self, before: Run) {
        *self.run = before;
        self.follow_up = None;
        self.chunks.clear();
        self.events.clear();
        self.touched.clear();
        self.tasks.clear();
        self.effects.clear();
        self.effects_done.clear();
        self.updates_ended.clear();
        self.dirty = false;
    }

    /// Events recorded in this step and not yet sealed, in order.
    pub(crate) fn events(&self) -> &[HistoryEvent] {
        &self.events
    }

    /// Closes the step: what has to be written, if anything. `woken` says that the wake row was used up.
    pub(crate) fn finish(mut self, woken: bool) -> Option<RunChange> {
        if self.dirty {
            self.run.execution.state_transitions += 1;
        }
        let wake = self.move_wake(woken);
        self.seal();
        if !self.run.is_open() {
            // Scheduled in the same step, before the run ended: nobody may have them any more.
            self.tasks.clear();
        }
        if !self.dirty && wake.is_none() {
            return None;
        }
        Some(RunChange {
            created: self.created,
            chunks: self.chunks,
            touched: self.touched,
            tasks: self.tasks,
            effects: self.effects,
            effects_done: self.effects_done,
            updates_ended: self.updates_ended,
            wake,
            expired: false,
        })
    }

    /// Ends a stored batch: what is recorded from here on begins the next one.
    pub(crate) fn seal(&mut self) {
        let events = std::mem::take(&mut self.events);
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let bytes = encode_events(&events);
        self.run.execution.history_bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.chunks.push(Chunk {
            first_event_id: first.event_id,
            next_event_id: last.event_id + 1,
            bytes,
            ends_with_start: last.event_type() == EventType::WorkflowTaskStarted,
        });
    }

    /// The wake row is rewritten only when a deadline became earlier, the run closed, or the row was used up. One that
    /// came too early is written again where it was, so that it comes once more.
    fn move_wake(&mut self, woken: bool) -> Option<WakeMove> {
        let from = Timestamp::from_nanos(self.run.execution.wake_at);
        let to = match self.run.is_open() {
            false if woken || self.was_open || self.run.execution.delete_requested => {
                self.run.retained_until(self.at.retention)
            }
            false => return None,
            true if woken => self.run.next_deadline(),
            true => self.earliest_touched(),
        };
        if !woken && self.run.is_open() && to >= or_max(from.as_nanos()) {
            return None;
        }
        let to = if to == Timestamp::MAX { Timestamp::ZERO } else { to };
        self.run.execution.wake_at = to.as_nanos();
        Some(WakeMove { from, to })
    }

    fn earliest_touched(&self) -> Timestamp {
        let items = self.touched.iter().filter_map(|item| match item {
            ItemKey::Activity(id) => self.run.activities.get(id).map(|activity| activity.deadline()),
            ItemKey::Timer(id) => self.run.timers.get(id).map(|timer| Timestamp::from_nanos(timer.fires_at)),
            _ => None,
        });
        items.min().unwrap_or(Timestamp::MAX).min(self.run.execution_deadline())
    }
}
