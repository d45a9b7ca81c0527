//! The operations of a run: a slab of small state machines, and the queue of what the code asked for.
//!
//! The queue is matched against the command events of the history, whether they are replayed or came back for commands
//! that were just sent: the same code path. Whatever does not fit is a [`Fault`], never a panic.

use std::{
    collections::{BTreeMap, VecDeque},
    task::{Context, Poll, Waker},
};

use mainspring_api::v1::{
    command::{
        Command, ContinueAsNewWorkflowExecutionCommandAttributes, ModifyWorkflowPropertiesCommandAttributes,
        ProtocolMessageCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes,
    },
    common::{Memo, Payloads},
    enums::CommandType,
    failure::Failure,
    history::{HistoryEvent, history_event},
    sdk::UserMetadata,
};

use crate::{
    error::Error,
    workflow::{
        activity::{self, Activity, OnCancel},
        child::{self, Child},
        describe::event_name,
        external::{CancelOut, SignalOut},
        fault::{At, Fault, LastOperation, Mismatch},
        local_activity::{Local, LocalRequest, Marked},
        marker::Marker,
        patch::{is_change_version, patch_of},
        timer::{self, Timer},
    },
};

/// The number of an operation in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpId(u32);

/// What an operation gives to whoever waits.
#[derive(Debug)]
pub(crate) enum Value {
    Payloads(Option<Payloads>),
    RunId(String),
    /// A local activity: to be tried again after a pause.
    Later(Box<Marked>),
    Nothing,
}

pub(crate) type Outcome = Result<Value, Error>;

#[derive(Debug)]
pub(crate) enum Machine {
    Activity(Activity),
    Timer(Timer),
    Child(Child),
    /// The end of the child before it in the slab.
    ChildEnd,
    Signal(SignalOut),
    Cancel(CancelOut),
    Local(Local),
    Closed,
}

#[derive(Debug)]
struct Slot {
    machine: Machine,
    outcome: Option<Outcome>,
    /// True once there was an outcome: later events change nothing.
    settled: bool,
    waker: Option<Waker>,
    metadata: Option<Box<UserMetadata>>,
    at: At,
}

/// Something the code asked for.
#[derive(Debug)]
pub(crate) enum What {
    Start(OpId),
    Cancel(OpId),
    Marker(Box<Marker>),
    Upsert { command: Box<UpsertWorkflowSearchAttributesCommandAttributes>, of_change: bool },
    Memo(Box<Memo>),
    /// An update was accepted.
    Accepted { update: String, message: String },
    /// An update was completed.
    Completed { update: String, message: String },
    Close(Box<Close>),
}

/// How a run ends.
#[derive(Clone, Debug)]
pub(crate) enum Close {
    Complete(Option<Payloads>),
    Fail(Failure),
    Cancel(Option<Payloads>),
    ContinueAsNew(Box<ContinueAsNewWorkflowExecutionCommandAttributes>),
}

#[derive(Debug)]
struct Issued {
    what: What,
    at: At,
    /// The poll in which it was asked for by dropping an operation.
    dropped_in: Option<u64>,
}

/// The operations of a run.
#[derive(Debug, Default)]
pub(crate) struct Ops {
    slots: Vec<Slot>,
    issued: VecDeque<Issued>,
    by_event: BTreeMap<i64, OpId>,
    woken: Vec<Waker>,
    activities: u32,
    timers: u32,
    locals: u32,
    /// Local activities that the worker has not begun with.
    locals_waiting: Vec<OpId>,
    locals_cancelled: Vec<u32>,
    after_skipped_patch: bool,
    last: Option<OpId>,
    poll: u64,
}

impl Ops {
    pub(crate) fn next_activity(&mut self) -> u32 {
        self.activities += 1;
        self.activities
    }

    pub(crate) fn next_timer(&mut self) -> u32 {
        self.timers += 1;
        self.timers
    }

    pub(crate) fn next_local(&mut self) -> u32 {
        self.locals += 1;
        self.locals
    }

    /// Adds an operation that is not asked for yet.
    pub(crate) fn add(&mut self, machine: Machine, metadata: Option<UserMetadata>, at: At) -> OpId {
        let id = OpId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let metadata = metadata.map(Box::new);
        self.slots.push(Slot { machine, outcome: None, settled: false, waker: None, metadata, at });
        self.last = Some(id);
        id
    }

    /// Adds an operation and asks for it.
    pub(crate) fn start(&mut self, machine: Machine, metadata: Option<UserMetadata>, at: At) -> OpId {
        let local = matches!(machine, Machine::Local(_));
        let id = self.add(machine, metadata, at);
        if local {
            self.locals_waiting.push(id);
        } else {
            self.issue(What::Start(id), at);
        }
        id
    }

    pub(crate) fn issue(&mut self, what: What, at: At) {
        self.issued.push_back(Issued { what, at, dropped_in: None });
    }

    /// A new poll begins: what is dropped in it belongs together.
    pub(crate) fn next_poll(&mut self) {
        self.poll += 1;
    }

    /// The workflow returned: what its last poll dropped on the way out asks for nothing.
    pub(crate) fn forgive_drops(&mut self) {
        let poll = self.poll;
        self.issued.retain(|issued| issued.dropped_in != Some(poll));
    }

    pub(crate) fn poll(&mut self, id: OpId, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return Poll::Pending };
        if let Some(outcome) = slot.outcome.take() {
            return Poll::Ready(outcome);
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => slot.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    pub(crate) fn is_settled(&self, id: OpId) -> bool {
        self.slots.get(id.0 as usize).is_none_or(|slot| slot.settled)
    }

    /// Gives an operation its outcome, unless it has one.
    pub(crate) fn settle(&mut self, id: OpId, outcome: Outcome) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        if slot.settled {
            return;
        }
        slot.settled = true;
        slot.outcome = Some(outcome);
        self.woken.extend(slot.waker.take());
    }

    /// Whoever is to be woken by what happened since.
    pub(crate) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    /// Asks for the cancellation of an operation, as far as it can be cancelled.
    pub(crate) fn cancel(&mut self, id: OpId, by_drop: bool, why: &str) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        let at = slot.at;
        let action = match &mut slot.machine {
            Machine::Activity(activity) => activity.cancel(),
            Machine::Timer(timer) => timer.cancel(),
            Machine::Child(child) => child.cancel(),
            Machine::Local(local) => {
                self.locals_cancelled.push(local.seq);
                OnCancel::TakeBack
            }
            Machine::ChildEnd | Machine::Signal(_) | Machine::Cancel(_) | Machine::Closed => OnCancel::Nothing,
        };
        match action {
            OnCancel::TakeBack => {
                self.take_back(id);
                self.tell_cancelled(id, why);
                self.close(id);
            }
            OnCancel::SendAndTell => {
                self.issue_cancel(id, at, by_drop);
                self.tell_cancelled(id, why);
            }
            OnCancel::Send => self.issue_cancel(id, at, by_drop),
            OnCancel::Tell => self.tell_cancelled(id, why),
            OnCancel::Nothing => {}
        }
    }

    fn issue_cancel(&mut self, id: OpId, at: At, by_drop: bool) {
        let dropped_in = by_drop.then_some(self.poll);
        self.issued.push_back(Issued { what: What::Cancel(id), at, dropped_in });
    }

    fn take_back(&mut self, id: OpId) {
        self.issued.retain(|issued| !matches!(issued.what, What::Start(op) | What::Cancel(op) if op == id));
        self.locals_waiting.retain(|waiting| *waiting != id);
    }

    fn tell_cancelled(&mut self, id: OpId, why: &str) {
        let child = matches!(self.slots.get(id.0 as usize).map(|slot| &slot.machine), Some(Machine::Child(_)));
        self.settle(id, Err(cancelled(why)));
        if child {
            self.settle(OpId(id.0 + 1), Err(cancelled(why)));
        }
    }

    fn close(&mut self, id: OpId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.machine = Machine::Closed;
        }
    }

    /// Nothing of what was asked for since the last workflow task is sent.
    pub(crate) fn take_all_back(&mut self) {
        self.issued.clear();
    }

    /// The child behind an operation, while it is open.
    pub(crate) fn child(&self, id: OpId) -> Option<&Child> {
        match self.slots.get(id.0 as usize).map(|slot| &slot.machine) {
            Some(Machine::Child(child)) => Some(child),
            _ => None,
        }
    }

    // ---- what the history says -----------------------------------------------------------------------------------

    /// Confirms what was asked for first by the next command event.
    pub(crate) fn confirm(&mut self, event: &HistoryEvent) -> Result<(), Fault> {
        let Some(attributes) = &event.attributes else {
            return Err(Fault::history(event.event_id, "it has no attributes"));
        };
        loop {
            match self.issued.front() {
                Some(first) if self.fits(&first.what, attributes) => break,
                Some(Issued { what: What::Upsert { of_change: true, .. }, .. }) => {
                    self.issued.pop_front();
                }
                first => {
                    if skippable(attributes, self.after_skipped_patch) {
                        self.after_skipped_patch = true;
                        return Ok(());
                    }
                    let actual = first.map(|issued| self.describe(&issued.what));
                    return Err(Fault::Mismatch(Box::new(Mismatch {
                        event_id: Some(event.event_id),
                        expected: Some(event_name(event)),
                        actual,
                        at: first.map(|issued| issued.at.to_string()),
                    })));
                }
            }
        }
        self.after_skipped_patch = false;
        if let Some(first) = self.issued.pop_front() {
            self.confirmed(&first.what, event.event_id);
        }
        Ok(())
    }

    fn fits(&self, what: &What, event: &history_event::Attributes) -> bool {
        use history_event::Attributes as A;
        match (what, event) {
            (What::Start(id), _) => match self.slots.get(id.0 as usize).map(|slot| &slot.machine) {
                Some(Machine::Activity(activity)) => activity.starts_with(event),
                Some(Machine::Timer(timer)) => timer.starts_with(event),
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

    /// A local activity ended: it is written down and whoever waits hears of it. False when nobody asked for it.
    pub(crate) fn end_local(&mut self, marked: Marked) -> bool {
        let seq = marked.data.seq;
        let found = self.slots.iter().position(|slot| matches!(&slot.machine, Machine::Local(local) if local.seq == seq));
        let Some(index) = found else { return false };
        let id = OpId(u32::try_from(index).unwrap_or(u32::MAX));
        let at = self.slots[index].at;
        self.locals_waiting.retain(|waiting| *waiting != id);
        let outcome = match marked.backoff() {
            Some(_) => Ok(Value::Later(Box::new(marked.clone()))),
            None => marked.outcome().map(Value::Payloads),
        };
        self.issue(What::Marker(Box::new(Marker::Local(Box::new(marked)))), at);
        self.settle(id, outcome);
        self.close(id);
        true
    }

    /// The local activities that the worker has to begin with, and those it is to stop.
    pub(crate) fn take_locals(&mut self) -> (Vec<LocalRequest>, Vec<u32>) {
        let waiting = std::mem::take(&mut self.locals_waiting);
        let requests = waiting
            .into_iter()
            .filter_map(|id| match self.slots.get_mut(id.0 as usize).map(|slot| &mut slot.machine) {
                Some(Machine::Local(local)) => local.request.take().map(|request| *request),
                _ => None,
            })
            .collect();
        (requests, std::mem::take(&mut self.locals_cancelled))
    }

    /// True while a local activity is running or waits for the worker.
    pub(crate) fn has_locals(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.machine, Machine::Local(_)))
    }

    // ---- what is sent --------------------------------------------------------------------------------------------

    /// The commands for everything asked for. They stay queued, to be confirmed by the events they become.
    pub(crate) fn commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::with_capacity(self.issued.len());
        for issued in &mut self.issued {
            let (attributes, user_metadata) = match &mut issued.what {
                What::Start(id) => match self.slots.get_mut(id.0 as usize) {
                    Some(slot) => (slot.start_command(), slot.metadata.take().map(|metadata| *metadata)),
                    None => (None, None),
                },
                What::Cancel(id) => (self.slots.get(id.0 as usize).and_then(Slot::cancel_command), None),
                What::Marker(marker) => (Some(Attributes::RecordMarkerCommandAttributes(marker.command())), None),
                What::Upsert { command, .. } => {
                    (Some(Attributes::UpsertWorkflowSearchAttributesCommandAttributes(command.as_ref().clone())), None)
                }
                What::Memo(memo) => {
                    let upserted_memo = Some(memo.as_ref().clone());
                    let command = ModifyWorkflowPropertiesCommandAttributes { upserted_memo };
                    (Some(Attributes::ModifyWorkflowPropertiesCommandAttributes(command)), None)
                }
                What::Accepted { message, .. } | What::Completed { message, .. } => {
                    let command = ProtocolMessageCommandAttributes { message_id: message.clone() };
                    (Some(Attributes::ProtocolMessageCommandAttributes(command)), None)
                }
                What::Close(close) => (Some(close.command()), None),
            };
            let Some(attributes) = attributes else { continue };
            commands.push(Command {
                command_type: command_type(&attributes) as i32,
                user_metadata,
                attributes: Some(attributes),
                ..Command::default()
            });
        }
        commands
    }

    // ---- for people ----------------------------------------------------------------------------------------------

    pub(crate) fn describe(&self, what: &What) -> String {
        match what {
            What::Start(id) => self.slots.get(id.0 as usize).map_or_else(String::new, |slot| slot.machine.describe()),
            What::Cancel(id) => {
                let what = self.slots.get(id.0 as usize).map_or_else(String::new, |slot| slot.machine.describe());
                format!("the cancellation of {what}")
            }
            What::Marker(marker) => marker.describe(),
            What::Upsert { command, .. } => {
                let names = command.search_attributes.iter().flat_map(|all| all.indexed_fields.keys());
                format!("an update of the search attributes {:?}", names.collect::<Vec<_>>())
            }
            What::Memo(_) => "an update of the memo".to_owned(),
            What::Accepted { update, .. } => format!("the acceptance of update {update:?}"),
            What::Completed { update, .. } => format!("the completion of update {update:?}"),
            What::Close(close) => close.describe().to_owned(),
        }
    }

    /// What was asked for last, and where.
    pub(crate) fn last(&self) -> LastOperation {
        LastOperation(self.last.and_then(|id| {
            let slot = self.slots.get(id.0 as usize)?;
            Some(format!("{} at {}", slot.machine.describe(), slot.at))
        }))
    }

    /// What is waited for, one line each.
    pub(crate) fn pending(&self) -> Vec<String> {
        let open = self.slots.iter().filter(|slot| !slot.settled && !matches!(slot.machine, Machine::Closed));
        open.map(|slot| format!("{} at {}", slot.machine.describe(), slot.at)).collect()
    }
}

impl Slot {
    fn start_command(&mut self) -> Option<Attributes> {
        match &mut self.machine {
            Machine::Activity(activity) => {
                activity.command.take().map(|command| Attributes::ScheduleActivityTaskCommandAttributes(*command))
            }
            Machine::Timer(timer) => timer.command.take().map(Attributes::StartTimerCommandAttributes),
            Machine::Child(child) => {
                child.command.take().map(|command| Attributes::StartChildWorkflowExecutionCommandAttributes(*command))
            }
            Machine::Signal(signal) => signal
                .command
                .take()
                .map(|command| Attributes::SignalExternalWorkflowExecutionCommandAttributes(*command)),
            Machine::Cancel(cancel) => cancel
                .command
                .take()
                .map(|command| Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(*command)),
            Machine::ChildEnd | Machine::Local(_) | Machine::Closed => None,
        }
    }

    fn cancel_command(&self) -> Option<Attributes> {
        match &self.machine {
            Machine::Activity(activity) => Some(activity.cancel_command()),
            Machine::Timer(timer) => Some(timer.cancel_command()),
            Machine::Child(child) => Some(child.cancel_command()),
            Machine::ChildEnd | Machine::Signal(_) | Machine::Cancel(_) | Machine::Local(_) | Machine::Closed => None,
        }
    }

    /// An event stands for it now.
    fn drop_command(&mut self) {
        self.start_command();
        self.metadata = None;
    }
}

impl Machine {
    fn describe(&self) -> String {
        match self {
            Machine::Activity(activity) => format!("activity {:?} (id {:?})", activity.kind, activity.id),
            Machine::Timer(timer) => format!("timer {:?}", timer.id),
            Machine::Child(child) => format!("child workflow {:?} (id {:?})", child.kind, child.workflow_id),
            Machine::ChildEnd => "the end of a child workflow".to_owned(),
            Machine::Signal(signal) => format!("signal {:?} to workflow {:?}", signal.name, signal.workflow_id),
            Machine::Cancel(cancel) => format!("the cancellation of workflow {:?}", cancel.workflow_id),
            Machine::Local(local) => format!("local activity {:?} (number {})", local.kind, local.seq),
            Machine::Closed => "an operation that is closed".to_owned(),
        }
    }
}

impl Close {
    fn command(&self) -> Attributes {
        use mainspring_api::v1::command as c;
        match self.clone() {
            Close::Complete(result) => Attributes::CompleteWorkflowExecutionCommandAttributes(
                c::CompleteWorkflowExecutionCommandAttributes { result },
            ),
            Close::Fail(failure) => Attributes::FailWorkflowExecutionCommandAttributes(
                c::FailWorkflowExecutionCommandAttributes { failure: Some(failure) },
            ),
            Close::Cancel(details) => Attributes::CancelWorkflowExecutionCommandAttributes(
                c::CancelWorkflowExecutionCommandAttributes { details },
            ),
            Close::ContinueAsNew(next) => Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(*next),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Close::Complete(_) => "the completion of the workflow",
            Close::Fail(_) => "the failure of the workflow",
            Close::Cancel(_) => "the end of the workflow as cancelled",
            Close::ContinueAsNew(_) => "a new run of the workflow",
        }
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

fn cancelled(why: &str) -> Error {
    let mut error = Error::cancelled();
    if let Error::Cancelled(cancelled) = &mut error
        && !why.is_empty()
    {
        cancelled.message = format!("cancelled: {why}");
    }
    error
}

fn command_type(attributes: &Attributes) -> CommandType {
    match attributes {
        Attributes::ScheduleActivityTaskCommandAttributes(_) => CommandType::ScheduleActivityTask,
        Attributes::StartTimerCommandAttributes(_) => CommandType::StartTimer,
        Attributes::CompleteWorkflowExecutionCommandAttributes(_) => CommandType::CompleteWorkflowExecution,
        Attributes::FailWorkflowExecutionCommandAttributes(_) => CommandType::FailWorkflowExecution,
        Attributes::RequestCancelActivityTaskCommandAttributes(_) => CommandType::RequestCancelActivityTask,
        Attributes::CancelTimerCommandAttributes(_) => CommandType::CancelTimer,
        Attributes::CancelWorkflowExecutionCommandAttributes(_) => CommandType::CancelWorkflowExecution,
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => {
            CommandType::RequestCancelExternalWorkflowExecution
        }
        Attributes::RecordMarkerCommandAttributes(_) => CommandType::RecordMarker,
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(_) => CommandType::ContinueAsNewWorkflowExecution,
        Attributes::StartChildWorkflowExecutionCommandAttributes(_) => CommandType::StartChildWorkflowExecution,
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(_) => CommandType::SignalExternalWorkflowExecution,
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(_) => CommandType::UpsertWorkflowSearchAttributes,
        Attributes::ProtocolMessageCommandAttributes(_) => CommandType::ProtocolMessage,
        Attributes::ModifyWorkflowPropertiesCommandAttributes(_) => CommandType::ModifyWorkflowProperties,
        Attributes::ScheduleNexusOperationCommandAttributes(_) => CommandType::ScheduleNexusOperation,
        Attributes::RequestCancelNexusOperationCommandAttributes(_) => CommandType::RequestCancelNexusOperation,
    }
}
