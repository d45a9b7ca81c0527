//! What one run shares between its branches: operations, clock, handlers, decisions. It lives on one thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    task::Waker,
    time::SystemTime,
};

use mainspring_api::v1::sdk::UserMetadata;

use crate::{
    call::SearchAttributes,
    error::Error,
    payload::Payload,
    workflow::{
        fault::{At, Fault, LastOperation},
        info::WorkflowInfo,
        ops::{Machine, OpId, Ops, What},
        patch::Changes,
        query::Queries,
        random::Rng,
        scope::Scope,
        side_effect::SideEffects,
        signal::Signals,
        task::{self, Branches, Whereabouts},
        update::Updates,
    },
};

/// What a run may do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Running,
    /// A query or a validator is looking.
    Reading,
    /// The run leaves this process: destructors ask for nothing.
    Leaving,
}

pub(crate) struct Run {
    pub(crate) info: WorkflowInfo,
    defined_at: At,
    pub(crate) ops: RefCell<Ops>,
    pub(crate) branches: Branches,
    pub(crate) root: Rc<Scope>,
    pub(crate) changes: Changes,
    pub(crate) side_effects: SideEffects,
    pub(crate) signals: Signals,
    pub(crate) queries: Queries,
    pub(crate) updates: Updates,
    pub(crate) replaying: Cell<bool>,
    /// False while commands are only compared with events, and need no contents.
    pub(crate) sending: Cell<bool>,
    pub(crate) now: Cell<SystemTime>,
    pub(crate) progress: Cell<Progress>,
    pub(crate) rng: RefCell<Rng>,
    pub(crate) search_attributes: RefCell<SearchAttributes>,
    pub(crate) memo: RefCell<BTreeMap<String, Payload>>,
    pub(crate) details: RefCell<String>,
    mode: Cell<Mode>,
    fault: RefCell<Option<Fault>>,
    /// Conditions over plain values, looked at again after every round.
    conditions: RefCell<Vec<Waker>>,
    conditions_met: Cell<bool>,
}

/// How long the history is, as the server says with each workflow task.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) events: i64,
    pub(crate) bytes: i64,
    pub(crate) suggest_continue_as_new: bool,
}

impl Run {
    pub(crate) fn new(info: WorkflowInfo, defined_at: At) -> Run {
        let rng = RefCell::new(Rng::seeded(&info.original_run_id));
        let (now, search_attributes, memo) = (info.started_at, info.search_attributes.clone(), info.memo.clone());
        Run {
            info,
            defined_at,
            ops: RefCell::default(),
            branches: Branches::default(),
            root: Rc::default(),
            changes: Changes::default(),
            side_effects: SideEffects::default(),
            signals: Signals::default(),
            queries: Queries::default(),
            updates: Updates::default(),
            replaying: Cell::new(false),
            sending: Cell::new(true),
            now: Cell::new(now),
            progress: Cell::default(),
            rng,
            search_attributes: RefCell::new(search_attributes),
            memo: RefCell::new(memo),
            details: RefCell::default(),
            mode: Cell::new(Mode::Running),
            fault: RefCell::default(),
            conditions: RefCell::default(),
            conditions_met: Cell::new(false),
        }
    }

    /// Where the code was last.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        self.ops.borrow().last_at().map_or(Whereabouts::Definition(self.defined_at), Whereabouts::Operation)
    }

    /// What the code asked for last.
    pub(crate) fn last(&self) -> LastOperation {
        let nothing = || LastOperation::Nothing { defined_at: self.defined_at.to_string() };
        self.ops.borrow().last().map_or_else(nothing, LastOperation::Asked)
    }

    /// Adds an operation and asks for it, under a scope.
    pub(crate) fn start(&self, machine: Machine, metadata: Option<UserMetadata>, scope: &Scope, at: At) -> OpId {
        if !self.may_act(|| "an operation".to_owned(), at) {
            return self.refused(Error::cancelled(), at);
        }
        task::note(Whereabouts::Operation(at));
        let op = self.ops.borrow_mut().start(machine, metadata, at);
        scope.add(self, op);
        op
    }

    /// The same for a child: its start and, next to it, its end.
    pub(crate) fn start_pair(
        &self,
        machine: Machine,
        metadata: Option<UserMetadata>,
        scope: &Scope,
        at: At,
    ) -> (OpId, OpId) {
        if !self.may_act(|| "a child workflow".to_owned(), at) {
            return (self.refused(Error::cancelled(), at), self.refused(Error::cancelled(), at));
        }
        task::note(Whereabouts::Operation(at));
        let pair = {
            let mut ops = self.ops.borrow_mut();
            let pair = (ops.add(machine, metadata, at), ops.add(Machine::ChildEnd, None, at));
            ops.issue(What::Start(pair.0), at);
            pair
        };
        scope.add(self, pair.0);
        pair
    }

    /// An operation that ended before it began.
    pub(crate) fn refused(&self, error: Error, at: At) -> OpId {
        let mut ops = self.ops.borrow_mut();
        let op = ops.add(Machine::Closed, None, at);
        ops.settle(op, Err(error));
        op
    }

    /// Asks for something that nobody waits for.
    pub(crate) fn issue(&self, what: What, at: At) {
        if self.may_act(|| self.ops.borrow().describe(&what), at) {
            task::note(Whereabouts::Operation(at));
            self.ops.borrow_mut().issue(what, at);
        }
    }

    /// Whoever waited for an operation was let go of.
    pub(crate) fn dropped(&self, op: OpId) {
        if self.mode.get() != Mode::Running {
            return;
        }
        // A destructor may run anywhere, also while the slab is in use by the engine itself; that one cancels nothing.
        if let Ok(mut ops) = self.ops.try_borrow_mut()
            && !ops.is_settled(op)
        {
            ops.cancel(op, true, "it was dropped");
        }
    }

    /// Wakes whoever waited for what was settled.
    pub(crate) fn wake_resolved(&self) {
        let woken = self.ops.borrow_mut().take_woken();
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn set_mode(&self, mode: Mode) -> Mode {
        self.mode.replace(mode)
    }

    /// False, and a fault, where the code may only look.
    fn may_act(&self, what: impl FnOnce() -> String, at: At) -> bool {
        match self.mode.get() {
            Mode::Running => true,
            Mode::Reading => {
                self.fail(Fault::QueryActs { what: what(), at: at.to_string() });
                false
            }
            Mode::Leaving => false,
        }
    }

    /// Fails the workflow task; the first fault counts.
    pub(crate) fn fail(&self, fault: Fault) {
        self.fault.borrow_mut().get_or_insert(fault);
    }

    pub(crate) fn take_fault(&self) -> Option<Fault> {
        self.fault.borrow_mut().take()
    }

    pub(crate) fn wait_for_condition(&self, waker: &Waker) {
        self.conditions.borrow_mut().push(waker.clone());
        task::park();
    }

    pub(crate) fn condition_met(&self) {
        self.conditions_met.set(true);
    }

    /// Wakes whoever waits for a condition, at the end of a pass in which something changed or may have.
    pub(crate) fn recheck_conditions(&self, changed: bool) {
        if self.conditions_met.replace(false) || changed {
            self.conditions.take().into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn merge_search_attributes(&self, attributes: SearchAttributes) {
        self.search_attributes.borrow_mut().merge(attributes);
    }

    /// Breaks the circles: handlers and branches hold the run.
    pub(crate) fn dismantle(&self) {
        self.mode.set(Mode::Leaving);
        self.branches.clear();
        self.signals.clear();
        self.queries.clear();
        self.updates.clear();
        drop(self.conditions.take());
    }
}
