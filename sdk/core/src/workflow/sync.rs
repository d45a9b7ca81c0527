//! Between branches of a workflow: a lock, a semaphore, a channel. All are first come, first served, on every replay.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
};

use crate::workflow::task;

/// Permits for a part of a workflow that only so many branches may be in.
#[derive(Clone)]
pub struct Semaphore {
    shared: Rc<Permits>,
}

struct Permits {
    free: Cell<usize>,
    next: Cell<u64>,
    queue: RefCell<VecDeque<(u64, Waker)>>,
}

/// A permit; dropped, it is free again.
#[must_use = "dropped, it is free again"]
pub struct Permit {
    shared: Rc<Permits>,
}

impl Semaphore {
    /// With this many permits.
    pub fn new(permits: usize) -> Semaphore {
        let shared = Permits { free: Cell::new(permits), next: Cell::new(0), queue: RefCell::default() };
        Semaphore { shared: Rc::new(shared) }
    }

    /// Waits for a permit.
    pub fn acquire(&self) -> impl Future<Output = Permit> + use<> {
        let shared = self.shared.clone();
        let number = shared.next.get();
        shared.next.set(number + 1);
        let place = Place { shared: shared.clone(), number };
        poll_fn(move |cx| {
            let place = &place;
            let mut queue = shared.queue.borrow_mut();
            let first = queue.front().is_none_or(|(first, _)| *first >= place.number);
            if first && shared.free.get() > 0 {
                queue.retain(|(waiting, _)| *waiting != place.number);
                shared.free.set(shared.free.get() - 1);
                // Permits that were freed together are taken one after another.
                if let Some((_, next)) = queue.front()
                    && shared.free.get() > 0
                {
                    next.wake_by_ref();
                }
                return Poll::Ready(Permit { shared: shared.clone() });
            }
            match queue.iter_mut().find(|(waiting, _)| *waiting == place.number) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => queue.push_back((place.number, cx.waker().clone())),
            }
            task::park();
            Poll::Pending
        })
    }
}

/// A place in the queue, given up when its future is dropped.
struct Place {
    shared: Rc<Permits>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.borrow_mut();
        queue.retain(|(waiting, _)| *waiting != self.number);
        if let Some((_, next)) = queue.front()
            && self.shared.free.get() > 0
        {
            next.wake_by_ref();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.free.set(self.shared.free.get() + 1);
        if let Some((_, next)) = self.shared.queue.borrow().front() {
            next.wake_by_ref();
        }
    }
}

/// A lock that one branch holds at a time, also while it waits for something.
#[derive(Clone)]
pub struct Mutex {
    semaphore: Semaphore,
}

impl Mutex {
    /// A lock that nobody holds.
    pub fn new() -> Mutex {
        Mutex { semaphore: Semaphore::new(1) }
    }

    /// Waits for the lock; it is held until what this gives is dropped.
    pub fn lock(&self) -> impl Future<Output = Permit> + use<> {
        self.semaphore.acquire()
    }
}

impl Default for Mutex {
    fn default() -> Mutex {
        Mutex::new()
    }
}

/// A channel between branches, without a limit.
///
/// ```
/// let (sender, mut receiver) = mainspring_sdk::workflow::sync::channel();
/// sender.send(7);
/// assert_eq!(receiver.try_next(), Some(7));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Channel { queue: RefCell::default(), waiting: RefCell::default(), senders: Cell::new(1) });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Channel<T> {
    queue: RefCell<VecDeque<T>>,
    waiting: RefCell<Option<Waker>>,
    senders: Cell<usize>,
}

/// The end of a channel that values are put in. Copies are the same end.
pub struct Sender<T> {
    shared: Rc<Channel<T>>,
}

/// The end of a channel that values are taken from.
pub struct Receiver<T> {
    shared: Rc<Channel<T>>,
}

impl<T> Channel<T> {
    fn wake(&self) {
        let waiting = self.waiting.borrow_mut().take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<T> Sender<T> {
    /// Puts a value in.
    pub fn send(&self, value: T) {
        self.shared.queue.borrow_mut().push_back(value);
        self.shared.wake();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.senders.set(self.shared.senders.get() + 1);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.senders.set(self.shared.senders.get() - 1);
        if self.shared.senders.get() == 0 {
            self.shared.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next value; nothing when it is empty and all senders are gone.
    #[expect(clippy::should_implement_trait, reason = "it is awaited, as with streams")]
    pub fn next(&mut self) -> impl Future<Output = Option<T>> + '_ {
        poll_fn(|cx| {
            if let Some(value) = self.shared.queue.borrow_mut().pop_front() {
                return Poll::Ready(Some(value));
            }
            if self.shared.senders.get() == 0 {
                return Poll::Ready(None);
            }
            self.shared.waiting.replace(Some(cx.waker().clone()));
            task::park();
            Poll::Pending
        })
    }

    /// The next value, if one is there.
    pub fn try_next(&mut self) -> Option<T> {
        self.shared.queue.borrow_mut().pop_front()
    }
}
