//! The operations of a run: a slab of small state machines, and the queue of what the code asked for.
//!
//! The queue is matched against the command events of the history, whether they are replayed or came back for commands
//! that were just sent: the same code path. Whatever does not fit is a fault, never a panic.
//!
//! - `confirm`: what the history says. `command`: operations as commands, and in words.

mod command;
mod confirm;

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
    failure::Failure,
    sdk::UserMetadata,
};

use self::command::command_type;
use crate::{
    error::Error,
    workflow::{
        activity::{Activity, OnCancel},
        child::Child,
        external::{CancelOut, SignalOut},
        fault::At,
        local_activity::{Local, LocalRequest, Marked},
        marker::Marker,
        timer::Timer,
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
    Upsert {
        command: Box<UpsertWorkflowSearchAttributesCommandAttributes>,
        of_change: bool,
    },
    Memo(Box<Memo>),
    /// An update was accepted.
    Accepted {
        update: String,
        message: String,
    },
    /// An update was completed.
    Completed {
        update: String,
        message: String,
    },
    Close(Box<Close>),
}

/// How a run ends.
#[derive(Clone, Debug)]
pub(crate) enum Close {
    Complete(Option<Payloads>),
    Fail(Box<Failure>),
    Cancel(Option<Payloads>),
    ContinueAsNew(Box<ContinueAsNewWorkflowExecutionCommandAttributes>),
}

impl What {
    /// True for what is said about an update.
    fn is_answer(&self) -> bool {
        matches!(self, What::Accepted { .. } | What::Completed { .. })
    }
}

#[derive(Debug)]
struct Issued {
    what: What,
    at: At,
    /// The poll in which it was asked for by dropping an operation.
    dropped_in: Option<u64>,
    /// The activation in which it was asked for.
    activation: u64,
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
    activation: u64,
    /// True when the history may number activities and timers otherwise.
    any_numbers: bool,
}

impl Ops {
    /// Compares activities and timers with the history without the numbers that they have for ids.
    pub(crate) fn ignore_numbers(&mut self) {
        self.any_numbers = true;
    }

    /// The number of an activity; local ones are counted with the others, as by Core.
    pub(crate) fn next_activity(&mut self) -> u32 {
        self.activities += 1;
        self.activities
    }

    /// The number of a local activity among its like.
    pub(crate) fn next_local(&mut self) -> u32 {
        self.locals += 1;
        self.locals
    }

    pub(crate) fn next_timer(&mut self) -> u32 {
        self.timers += 1;
        self.timers
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

    /// Queues what the code asks for. Answers to updates go before whatever else was asked for in the activation, as in
    /// the official Rust SDK.
    pub(crate) fn issue(&mut self, what: What, at: At) {
        let activation = self.activation;
        let place = match what.is_answer() {
            true => self.issued.iter().position(|other| other.activation == activation && !other.what.is_answer()),
            false => None,
        };
        let place = place.unwrap_or(self.issued.len());
        self.issued.insert(place, Issued { what, at, dropped_in: None, activation });
    }

    /// The code is about to hear of something, and to run.
    pub(crate) fn next_activation(&mut self) {
        self.activation += 1;
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
        self.issued.push_back(Issued { what: What::Cancel(id), at, dropped_in, activation: self.activation });
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

    /// A local activity ended: it is written down and whoever waits hears of it. False when nobody asked for it.
    pub(crate) fn end_local(&mut self, marked: Marked) -> bool {
        let ended = |slot: &Slot| matches!(&slot.machine, Machine::Local(local) if local.ended_as(&marked));
        let found = self.slots.iter().position(ended);
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

    /// Where the code asked for a command, by its place among those that wait for their events.
    pub(crate) fn place(&self, index: usize) -> Option<At> {
        self.issued.get(index).map(|issued| issued.at)
    }

    /// What was asked for last, and where.
    pub(crate) fn last(&self) -> Option<String> {
        let slot = self.slots.get(self.last?.0 as usize)?;
        Some(format!("{} at {}", slot.machine.describe(), slot.at))
    }

    pub(crate) fn last_at(&self) -> Option<At> {
        self.slots.get(self.last?.0 as usize).map(|slot| slot.at)
    }

    /// What is waited for, one line each.
    pub(crate) fn pending(&self) -> Vec<String> {
        let open = self.slots.iter().filter(|slot| !slot.settled && !matches!(slot.machine, Machine::Closed));
        open.map(|slot| format!("{} at {}", slot.machine.describe(), slot.at)).collect()
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
