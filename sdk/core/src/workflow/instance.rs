//! [`Instance`]: a run in memory. It is fed with events, polls the code, and says what the code asks for.
//!
//! Within an activation the order is that of the official Rust SDK: patches; signals and updates in the order of their
//! events; then cancellation and results in the order of their events; only then the code runs, in passes over its
//! branches, until none is ready. What it answers to updates goes before what else it asks for. One thing differs: after
//! the workflow has returned, handlers that are ready still run, so that those who sent updates get their answers.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
    time::SystemTime,
};

use mainspring_api::v1::{
    command::Command,
    common::{Payloads, WorkflowExecution},
    enums::WorkflowTaskFailedCause,
    history::{HistoryEvent, WorkflowTaskStartedEventAttributes, history_event::Attributes},
    protocol::Message,
};

use crate::{
    error::{Error, Result},
    payload::{Payload, RawArgs, from_wire},
    workflow::{
        children,
        context::Ctx,
        def::WorkflowDef,
        fault::Fault,
        history::{self, Class, Ended, Recorded},
        info::WorkflowInfo,
        local_activity::{LocalRequest, Marked},
        ops::{Close, What},
        panic,
        random::Rng,
        run::{Mode, Progress, Run},
        signal::Delivered,
        task::{self, BranchId, BranchKind},
        update::Asked,
    },
};

/// A run in memory.
pub(crate) struct Instance {
    namespace: String,
    execution: WorkflowExecution,
    def: WorkflowDef,
    pub(super) run: Option<Rc<Run>>,
    args: RawArgs,
    begun: bool,
    result: Rc<RefCell<Option<Result<Payload>>>>,
    /// Events that the code has not been told yet.
    inputs: Vec<HistoryEvent>,
    reseed: Option<String>,
    last_event: i64,
    last_started: i64,
    closed: bool,
    bytes: usize,
    any_numbers: bool,
}

/// What is fed to a run.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    pub(crate) events: Vec<HistoryEvent>,
    /// True when the events end with the start of a workflow task that is to be done.
    pub(crate) live: bool,
    /// Updates that came with the task.
    pub(crate) messages: Vec<Message>,
    /// What a completion that is only being tried out wrote down: instead of events, for `verify_replay`.
    pub(crate) stand_in: Option<Recorded>,
}

/// What a workflow task comes to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) commands: Vec<Command>,
    pub(crate) messages: Vec<Message>,
}

/// Local activities to begin with and to stop.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    pub(crate) begin: Vec<LocalRequest>,
    pub(crate) stop: Vec<u32>,
    /// True while the workflow task has to wait for some.
    pub(crate) waiting: bool,
}

impl Instance {
    pub(crate) fn new(namespace: &str, execution: WorkflowExecution, def: WorkflowDef) -> Instance {
        Instance {
            namespace: namespace.to_owned(),
            execution,
            def,
            run: None,
            args: RawArgs::default(),
            begun: false,
            result: Rc::default(),
            inputs: Vec::new(),
            reseed: None,
            last_event: 0,
            last_started: 0,
            closed: false,
            bytes: 4096,
            any_numbers: false,
        }
    }

    /// The history may number activities and timers otherwise.
    pub(crate) fn ignore_numbers(&mut self) {
        self.any_numbers = true;
    }

    /// A fresh one of the same run.
    pub(crate) fn again(&self) -> Instance {
        Instance::new(&self.namespace, self.execution.clone(), self.def.clone())
    }

    /// The start of the last workflow task that it has done.
    pub(crate) fn last_started(&self) -> i64 {
        self.last_started
    }

    pub(crate) fn last_event(&self) -> i64 {
        self.last_event
    }

    /// About how much memory it holds: what the history brought in.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// True once the workflow has returned.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The server discarded the last task, which left no events.
    pub(crate) fn roll_back_to(&mut self, started: i64) {
        self.last_started = started;
        self.last_event = self.last_event.min(started);
    }

    /// Reads events, replaying what is done and doing what is to be done.
    pub(crate) fn advance(&mut self, mut feed: Feed) -> Result<(), Fault> {
        let mut rest = feed.events.into_iter();
        while let Some(event) = rest.next() {
            if event.event_id <= self.last_event {
                continue;
            }
            if event.event_id != self.last_event + 1 {
                return Err(Fault::history(event.event_id, format!("it comes after event {}", self.last_event)));
            }
            self.last_event = event.event_id;
            let Some(attributes) = &event.attributes else {
                if event.worker_may_ignore {
                    continue;
                }
                return Err(Fault::history(event.event_id, "it is of a kind that this SDK does not know"));
            };
            match (history::class(attributes), attributes) {
                (Class::Silent, _) => {}
                (Class::Input, _) => self.inputs.push(event),
                (Class::Command, _) => self.confirm(&event)?,
                (Class::TaskStarted, Attributes::WorkflowTaskStartedEventAttributes(started)) => {
                    let at = time_of(&event);
                    match history::ended(rest.as_slice()) {
                        Ended::Completed => {
                            let recorded = history::look_ahead(rest.as_slice())?;
                            let task = WorkflowTask { event_id: event.event_id, at, started, sending: false };
                            self.activate(&task, Some(recorded), &[])?;
                        }
                        Ended::Open if feed.live => {
                            let (stand_in, messages) = (feed.stand_in.take(), std::mem::take(&mut feed.messages));
                            let task = WorkflowTask { event_id: event.event_id, at, started, sending: true };
                            self.activate(&task, stand_in, &messages)?;
                        }
                        // Somebody else does it, or this process in a moment: then it comes again, to be done.
                        Ended::Open => self.last_event = event.event_id - 1,
                        Ended::Lost => {}
                    }
                }
                (Class::TaskStarted, _) => {}
            }
        }
        Ok(())
    }

    fn confirm(&mut self, event: &HistoryEvent) -> Result<(), Fault> {
        match &self.run {
            Some(run) => run.ops.borrow_mut().confirm(event),
            None => Err(Fault::history(event.event_id, "the workflow has not started")),
        }
    }

    /// One workflow task: replayed when `recorded` says what it wrote down, else done.
    fn activate(
        &mut self,
        task: &WorkflowTask<'_>,
        recorded: Option<Recorded>,
        messages: &[Message],
    ) -> Result<(), Fault> {
        let WorkflowTask { event_id, at, started, sending } = *task;
        let replaying = recorded.is_some();
        let mut recorded = recorded.unwrap_or_default();
        let inputs = std::mem::take(&mut self.inputs);
        let (inputs, updates) = self.sort(inputs, &mut recorded, messages)?;
        let Some(run) = self.run.clone() else {
            return Err(Fault::history(event_id, "a workflow task before the workflow has started"));
        };
        self.last_started = event_id;
        task::note(run.whereabouts());
        run.ops.borrow_mut().all_confirmed()?;
        if run.branches.foreign_wakes() > 0 {
            return Err(Fault::ForeignWake(run.last()));
        }
        if let Some(seed) = self.reseed.take() {
            run.rng.replace(Rng::seeded(&seed));
        }
        run.replaying.set(replaying);
        run.sending.set(sending);
        run.now.set(at);
        run.progress.set(Progress {
            events: event_id,
            bytes: started.history_size_bytes,
            suggest_continue_as_new: started.suggest_continue_as_new,
        });
        run.changes.learn(&mut recorded);
        run.side_effects.learn(&mut recorded);
        let entered = run.branches.enter();
        self.begin(&run)?;
        self.deliver(&run, inputs, updates)?;
        self.poll_ready(&run)?;
        while let Some(marked) = recorded.locals.pop_front() {
            let (number, kind) = (marked.data.seq, marked.data.activity_type.clone());
            if !run.ops.borrow_mut().end_local(marked) {
                let what =
                    format!("[TMPRL1100] nondeterminism: its completion has the result of local activity {kind:?}");
                let what = format!("{what} (number {number}), which the workflow did not ask for");
                return Err(Fault::history(event_id, what));
            }
            run.ops.borrow_mut().next_activation();
            run.wake_resolved();
            self.poll_ready(&run)?;
        }
        drop(entered);
        self.settle(&run)
    }

    /// Parts what is delivered into messages, in their order, and the rest. The start makes the run.
    fn sort(
        &mut self,
        inputs: Vec<HistoryEvent>,
        recorded: &mut Recorded,
        messages: &[Message],
    ) -> Result<(Sorted, Vec<Asked>), Fault> {
        let mut sorted = Sorted::default();
        for event in inputs {
            match event.attributes {
                Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => {
                    let at = event.event_time.as_ref().and_then(|at| SystemTime::try_from(*at).ok());
                    let at = at.unwrap_or(SystemTime::UNIX_EPOCH);
                    let info = WorkflowInfo::new(&self.namespace, &self.execution, at, &started);
                    self.args = RawArgs(from_wire(started.input));
                    let run = Run::new(info, self.def.at());
                    if self.any_numbers {
                        run.ops.borrow_mut().ignore_numbers();
                    }
                    self.run = Some(Rc::new(run));
                }
                Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => {
                    if failed.cause == WorkflowTaskFailedCause::ResetWorkflow as i32 && !failed.new_run_id.is_empty() {
                        self.reseed = Some(failed.new_run_id);
                    }
                }
                Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(admitted)) => {
                    if let (Some(run), Some(request)) = (&self.run, admitted.request) {
                        run.updates.admit(request);
                    }
                }
                Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => {
                    let args = RawArgs(from_wire(signal.input));
                    sorted.signals.push((event.event_id, signal.signal_name, args));
                }
                _ => sorted.others.push(event),
            }
        }
        let mut updates = messages.iter().map(Asked::from_message).collect::<Result<Vec<_>, Fault>>()?;
        for accepted in recorded.updates.drain(..) {
            let admitted = || self.run.as_ref().and_then(|run| run.updates.admitted(&accepted.id));
            let Some(request) = accepted.request.clone().or_else(admitted) else {
                return Err(Fault::History(format!("update {:?} was accepted and has no request", accepted.id)));
            };
            let (id, message_id, sequencing) = (accepted.id, accepted.message_id, accepted.sequencing);
            updates.push(Asked { id, message_id, sequencing, request });
        }
        Ok((sorted, updates))
    }

    /// Calls the code for the first time.
    fn begin(&mut self, run: &Rc<Run>) -> Result<(), Fault> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let cx = Ctx::of(run);
        let args = std::mem::take(&mut self.args);
        let begun = panic::catch(|| self.def.begin(cx, args))?;
        match begun {
            Ok(future) => {
                let result = self.result.clone();
                run.branches.spawn(
                    BranchKind::Workflow,
                    Box::pin(async move {
                        let returned = future.await;
                        result.replace(Some(returned));
                    }),
                );
            }
            // Arguments that cannot be read: better code may read them, so the run does not end for it.
            Err(Error::Payload(error)) => {
                return Err(Fault::Unusable(format!("the workflow's arguments cannot be read: {error}")));
            }
            Err(error) => drop(self.result.replace(Some(Err(error)))),
        }
        Ok(())
    }

    fn deliver(&mut self, run: &Rc<Run>, sorted: Sorted, updates: Vec<Asked>) -> Result<(), Fault> {
        let cx = Ctx::of(run);
        let mut updates = updates.into_iter().peekable();
        for (event_id, name, args) in sorted.signals {
            while let Some(update) = updates.next_if(|update| update.sequencing < event_id) {
                run.deliver_update(&cx, update)?;
            }
            match panic::catch(|| run.deliver_signal(cx.clone(), &name, args))? {
                Delivered::Done => {}
                Delivered::Running(handler) => run.run_handler(handler),
                Delivered::Failed(error) => run.updates.fail_workflow(error),
            }
        }
        for update in updates {
            run.deliver_update(&cx, update)?;
        }
        for event in sorted.others {
            if let Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(asked)) = &event.attributes {
                let why = if asked.cause.is_empty() { "the workflow was asked to stop" } else { asked.cause.as_str() };
                run.root.cancel(run, why);
                continue;
            }
            run.ops.borrow_mut().resolve(event)?;
            run.wake_resolved();
        }
        Ok(())
    }

    /// Polls what is ready, pass after pass. Conditions over plain values are looked at again after each pass in which
    /// something may have changed.
    fn poll_ready(&mut self, run: &Rc<Run>) -> Result<(), Fault> {
        let mut again = true;
        loop {
            let mut turn = None;
            while let Some(branch) = task::next_ready(turn) {
                turn = Some(branch);
                self.poll_branch(run, branch)?;
                run.retry_updates(&Ctx::of(run))?;
            }
            run.recheck_conditions(again || task::any_ready());
            again = false;
            if !task::any_ready() {
                return Ok(());
            }
        }
    }

    fn poll_branch(&mut self, run: &Rc<Run>, branch: BranchId) -> Result<(), Fault> {
        let Some(mut held) = run.branches.take(branch) else { return Ok(()) };
        run.ops.borrow_mut().next_poll();
        task::unpark();
        let mut poll = || panic::catch(|| held.future.as_mut().poll(&mut Context::from_waker(&held.waker)));
        // What is replayed was logged when it was done.
        let polled = match run.replaying.get() {
            true => tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), poll),
            false => poll(),
        };
        match polled {
            Ok(Poll::Pending) => {
                held.owned = task::unpark();
                run.branches.put_back(branch, held);
            }
            Ok(Poll::Ready(())) => {
                if branch.kind == BranchKind::Workflow {
                    run.ops.borrow_mut().forgive_drops();
                }
                panic::catch(|| drop(held))?;
            }
            Err(fault) => {
                // What a panic left behind may panic again when it is dropped.
                drop(panic::catch(|| drop(held)));
                return Err(fault);
            }
        }
        run.wake_resolved();
        match run.take_fault() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// What is left to be said once no branch is ready.
    fn settle(&mut self, run: &Rc<Run>) -> Result<(), Fault> {
        run.reject_unknown_updates()?;
        if let Some(fault) = run.take_fault() {
            return Err(fault);
        }
        if run.branches.foreign_wakes() > 0 {
            return Err(Fault::ForeignWake(run.last()));
        }
        if self.closed {
            return Ok(());
        }
        let result = match run.updates.take_failure() {
            Some(error) => Some(Err(error)),
            None => self.result.take(),
        };
        match result {
            Some(result) => self.close(run, result),
            None if !run.branches.any_owned() && !run.ops.borrow().has_locals() => Err(Fault::Unowned(run.last())),
            None => Ok(()),
        }
    }

    fn close(&mut self, run: &Rc<Run>, result: Result<Payload>) -> Result<(), Fault> {
        let cx = Ctx::of(run);
        let close = match result {
            Ok(payload) => Close::Complete(Some(Payloads { payloads: vec![payload] })),
            Err(Error::ContinueAsNew(next)) => match children::continue_as_new(next.call, &cx) {
                Ok(command) => Close::ContinueAsNew(Box::new(command)),
                Err(error) => Close::Fail(Box::new(error.into_failure())),
            },
            Err(error) if children::is_own_cancellation(&error, &cx) => Close::Cancel(None),
            Err(error) => Close::Fail(Box::new(error.into_failure())),
        };
        if !run.replaying.get() {
            let left = run.signals.left();
            if !left.is_empty() || run.updates.running() > 0 {
                tracing::warn!(
                    workflow_id = %run.info.workflow_id, signals = ?left, handlers = run.updates.running(),
                    "[TMPRL1102] the workflow ends with signals that nobody took, or handlers that have not finished; \
                     wait for `cx.handlers_finished()`"
                );
            }
        }
        self.closed = true;
        run.ops.borrow_mut().issue(What::Close(Box::new(close)), self.def.at());
        Ok(())
    }

    /// Ends the run because of a fault, where its definition says so; true when it did.
    pub(crate) fn end_with(&mut self, fault: &Fault) -> bool {
        let on = self.def.fails_on();
        let fails = match fault {
            Fault::Panicked(_) => on.panics,
            Fault::Mismatch(_) | Fault::Unstable(_) => on.nondeterminism,
            _ => false,
        };
        let Some(run) = self.run.as_ref().filter(|_| fails) else { return false };
        self.closed = true;
        let mut ops = run.ops.borrow_mut();
        ops.take_all_back();
        ops.issue(What::Close(Box::new(Close::Fail(Box::new(fault.to_failure())))), self.def.at());
        true
    }

    /// A local activity ended while its workflow task was in hand.
    pub(crate) fn local_ended(&mut self, marked: Marked) -> Result<(), Fault> {
        let Some(run) = self.run.clone() else { return Ok(()) };
        let entered = run.branches.enter();
        // One that was cancelled in the meantime is not waited for, and leaves nothing.
        if run.ops.borrow_mut().end_local(marked) {
            run.ops.borrow_mut().next_activation();
            run.wake_resolved();
            self.poll_ready(&run)?;
        }
        drop(entered);
        self.settle(&run)
    }

    pub(crate) fn locals(&self) -> Locals {
        let Some(run) = &self.run else { return Locals::default() };
        let mut ops = run.ops.borrow_mut();
        let (begin, stop) = ops.take_locals();
        Locals { begin, stop, waiting: !self.closed && ops.has_locals() }
    }

    /// What is to be sent for the workflow task.
    pub(crate) fn turn(&self) -> Turn {
        let Some(run) = &self.run else { return Turn::default() };
        Turn { commands: run.ops.borrow_mut().commands(), messages: run.updates.take_messages() }
    }

    /// Answers a query. A fault means that the instance must go.
    pub(crate) fn query(&self, name: &str, args: RawArgs) -> Result<Result<Payload>, Fault> {
        match &self.run {
            Some(run) if self.begun => {
                task::note(run.whereabouts());
                run.query(name, args)
            }
            _ => Ok(Err(Error::msg("the workflow has not begun"))),
        }
    }

    pub(crate) fn info(&self) -> Option<WorkflowInfo> {
        self.run.as_ref().map(|run| run.info.clone())
    }

    /// Everything asked for must have come true: the end of a history.
    pub(crate) fn all_confirmed(&self) -> Result<(), Fault> {
        match &self.run {
            Some(run) => run.ops.borrow_mut().all_confirmed(),
            None => Ok(()),
        }
    }
}

impl Drop for Instance {
    /// Destructors of a user's code run here, asking for nothing; their panics stay here.
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            run.set_mode(Mode::Leaving);
            task::note(run.whereabouts());
            let entered = run.branches.enter();
            if let Err(fault) = panic::catch(|| run.dismantle()) {
                tracing::warn!(%fault, "a destructor panicked while a workflow left the cache");
            }
            drop(entered);
        }
    }
}

/// The workflow task of an activation.
struct WorkflowTask<'a> {
    event_id: i64,
    at: SystemTime,
    started: &'a WorkflowTaskStartedEventAttributes,
    sending: bool,
}

#[derive(Default)]
struct Sorted {
    signals: Vec<(i64, String, RawArgs)>,
    others: Vec<HistoryEvent>,
}

fn time_of(event: &HistoryEvent) -> SystemTime {
    event.event_time.as_ref().and_then(|at| SystemTime::try_from(*at).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}
