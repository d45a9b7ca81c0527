//! The branches of a run: futures polled one after another on one thread, and the wakers that tell the engine's own
//! wakes from those of the world outside.
//!
//! Branches are polled in passes, each in the order of [`BranchId`]; that order is the order of their commands, so it is
//! part of what a history means.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
    time::Instant,
};

use crate::workflow::fault::At;

/// The future of a branch. It holds what is shared in the run, so it stays on its thread.
pub(crate) type Branch = Pin<Box<dyn Future<Output = ()>>>;

/// Which branch it is. In a pass, handlers have their turn in the order of their messages, then the workflow, then what
/// was spawned: the order of the official Rust SDK, which spawns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BranchId {
    pub(crate) kind: BranchKind,
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BranchKind {
    /// The handler of a signal or an update.
    Handler,
    Workflow,
    Spawned,
}

/// The branches of a run.
#[derive(Default)]
pub(crate) struct Branches {
    inner: RefCell<BTreeMap<BranchId, Held>>,
    begun: Cell<u32>,
    ledger: Arc<Ledger>,
}

pub(crate) struct Held {
    pub(crate) future: Branch,
    pub(crate) waker: Waker,
    /// True when it waits for something that the engine can deliver.
    pub(crate) owned: bool,
}

/// Who woke the branches of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    foreign: AtomicU64,
}

struct BranchWaker {
    id: BranchId,
    ledger: Arc<Ledger>,
}

thread_local! {
    /// The run whose code is running on this thread, and its branches that are to be polled.
    static CURRENT: RefCell<Option<Arc<Ledger>>> = const { RefCell::new(None) };
    static READY: RefCell<BTreeSet<BranchId>> = const { RefCell::new(BTreeSet::new()) };
    static PARKED: Cell<bool> = const { Cell::new(false) };
    static PULSE: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

impl Branches {
    /// Adds a branch, to be polled when its turn comes.
    pub(crate) fn spawn(&self, kind: BranchKind, future: Branch) {
        let number = self.begun.get();
        self.begun.set(number + 1);
        let id = BranchId { kind, number };
        let waker = Waker::from(Arc::new(BranchWaker { id, ledger: self.ledger.clone() }));
        waker.wake_by_ref();
        self.inner.borrow_mut().insert(id, Held { future, waker, owned: true });
    }

    pub(crate) fn take(&self, id: BranchId) -> Option<Held> {
        self.inner.borrow_mut().remove(&id)
    }

    pub(crate) fn put_back(&self, id: BranchId, held: Held) {
        self.inner.borrow_mut().insert(id, held);
    }

    /// True when some branch waits for something that the engine can deliver.
    pub(crate) fn any_owned(&self) -> bool {
        self.inner.borrow().values().any(|held| held.owned)
    }

    pub(crate) fn foreign_wakes(&self) -> u64 {
        self.ledger.foreign.load(Ordering::Relaxed)
    }

    /// Drops all of them, outside of any borrow: their destructors may do anything.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.inner.borrow_mut());
        drop(all);
    }

    /// From here to the end of the guard's life, wakes on this thread are the run's own.
    pub(crate) fn enter(&self) -> Entered {
        let before = CURRENT.with(|current| current.replace(Some(self.ledger.clone())));
        READY.with(|ready| ready.borrow_mut().clear());
        Entered { before }
    }
}

pub(crate) struct Entered {
    before: Option<Arc<Ledger>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(self.before.take()));
        READY.with(|ready| ready.borrow_mut().clear());
    }
}

impl Wake for BranchWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let own = CURRENT.try_with(|current| {
            current
                .try_borrow()
                .is_ok_and(|current| current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.ledger)))
        });
        if own == Ok(true) {
            READY.with(|ready| ready.borrow_mut().insert(self.id));
        } else {
            self.ledger.foreign.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The branch that is to be polled next in a pass which has come to `from`: itself, if it woke itself.
pub(crate) fn next_ready(from: Option<BranchId>) -> Option<BranchId> {
    READY.with(|ready| {
        let mut ready = ready.borrow_mut();
        let next = match from {
            Some(from) => ready.range(from..).next().copied(),
            None => ready.first().copied(),
        }?;
        ready.remove(&next);
        Some(next)
    })
}

/// True when a branch waits for the next pass.
pub(crate) fn any_ready() -> bool {
    READY.with(|ready| !ready.borrow().is_empty())
}

/// Says that the poll that is running waits for something that the engine can deliver.
pub(crate) fn park() {
    PARKED.set(true);
}

pub(crate) fn unpark() -> bool {
    PARKED.replace(false)
}

/// True on a thread that is running the code of a workflow.
pub(crate) fn inside() -> bool {
    CURRENT.try_with(|current| current.try_borrow().map_or(true, |current| current.is_some())).unwrap_or(false)
}

/// What a lane shows of itself to those who wait for it: since when it is in a user's code, and where it was last.
#[derive(Debug)]
pub(crate) struct Pulse {
    began: Instant,
    /// Milliseconds since `began`, plus one; zero outside of user code.
    since: AtomicU64,
    last: Mutex<Option<Whereabouts>>,
}

/// Where a run was last.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whereabouts {
    /// It asked for an operation here.
    Operation(At),
    /// It has asked for nothing yet; it is defined here.
    Definition(At),
}

impl Pulse {
    pub(crate) fn new() -> Pulse {
        Pulse { began: Instant::now(), since: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// How long the lane has been in one piece of user code.
    pub(crate) fn stuck_ms(&self) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.elapsed_ms().saturating_sub(since))
    }

    pub(crate) fn last(&self) -> Option<Whereabouts> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Makes `pulse` the one of this thread.
pub(crate) fn set_pulse(pulse: Arc<Pulse>) {
    PULSE.with(|current| current.replace(Some(pulse)));
}

/// Runs a piece of user code under the eye of those who wait for the lane.
pub(crate) fn watched<T>(code: impl FnOnce() -> T) -> T {
    let pulse = PULSE.with(|current| current.borrow().clone());
    let Some(pulse) = pulse else { return code() };
    pulse.since.store(pulse.elapsed_ms() + 1, Ordering::Relaxed);
    let result = code();
    pulse.since.store(0, Ordering::Relaxed);
    result
}

/// Remembers where the code of the run that is at work was last.
pub(crate) fn note(last: Whereabouts) {
    PULSE.with(|current| {
        if let Some(pulse) = current.borrow().as_ref() {
            *pulse.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        }
    });
}
