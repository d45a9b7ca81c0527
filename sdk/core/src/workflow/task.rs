//! The branches of a run: futures polled one after another on one thread, and the wakers that tell the engine's own
//! wakes from those of the world outside.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
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

/// The branches of a run by number; the workflow itself is number 0.
#[derive(Default)]
pub(crate) struct Branches {
    inner: RefCell<Vec<Option<Held>>>,
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
    number: u32,
    ledger: Arc<Ledger>,
}

thread_local! {
    /// The run whose code is running on this thread, and its branches that are to be polled.
    static CURRENT: RefCell<Option<Arc<Ledger>>> = const { RefCell::new(None) };
    static READY: RefCell<BTreeSet<u32>> = const { RefCell::new(BTreeSet::new()) };
    static PARKED: Cell<bool> = const { Cell::new(false) };
    static PULSE: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

impl Branches {
    /// Adds a branch, to be polled in this round.
    pub(crate) fn spawn(&self, future: Branch) -> u32 {
        let mut inner = self.inner.borrow_mut();
        let number = u32::try_from(inner.len()).unwrap_or(u32::MAX);
        let waker = Waker::from(Arc::new(BranchWaker { number, ledger: self.ledger.clone() }));
        waker.wake_by_ref();
        inner.push(Some(Held { future, waker, owned: true }));
        number
    }

    pub(crate) fn take(&self, number: u32) -> Option<Held> {
        self.inner.borrow_mut().get_mut(number as usize)?.take()
    }

    pub(crate) fn put_back(&self, number: u32, held: Held) {
        if let Some(place) = self.inner.borrow_mut().get_mut(number as usize) {
            *place = Some(held);
        }
    }

    /// True when some branch waits for something that the engine can deliver.
    pub(crate) fn any_owned(&self) -> bool {
        self.inner.borrow().iter().flatten().any(|held| held.owned)
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
            READY.with(|ready| ready.borrow_mut().insert(self.number));
        } else {
            self.ledger.foreign.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The next branch to be polled: the one with the lowest number.
pub(crate) fn next_ready() -> Option<u32> {
    READY.with(|ready| ready.borrow_mut().pop_first())
}

/// The branch is about to be polled: what woke it before is dealt with.
pub(crate) fn not_ready(number: u32) {
    READY.with(|ready| ready.borrow_mut().remove(&number));
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
    last: Mutex<Option<At>>,
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

    pub(crate) fn last(&self) -> Option<At> {
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

/// Remembers where the code asked for something last.
pub(crate) fn note(at: Option<At>) {
    PULSE.with(|current| {
        if let Some(pulse) = current.borrow().as_ref() {
            *pulse.last.lock().unwrap_or_else(PoisonError::into_inner) = at;
        }
    });
}
