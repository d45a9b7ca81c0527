//! The executor: one thread, virtual time that moves only when nothing is ready, and tasks that die with their owner.
//!
//! It never chooses: the loop (`sim.rs`) asks what is ready, in a fixed order, and its seed picks. Futures are polled and
//! dropped outside the lock, so they may spawn, wake and kill each other.

use std::{
    collections::BTreeMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use mainspring_rt::{BoxFuture, Timestamp};

/// Who lives as long as its tasks may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// Clients, the network, whoever looks on.
    World,
    /// A process of the server, by its number.
    Node(u32),
    /// A process of a worker: which one, and its life.
    Worker(usize, u32),
}

/// Kinds of tasks; the plan weighs them, so that in some seeds one kind lags behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The insides of a node.
    Node,
    /// A call that a node answers.
    Call,
    /// All the rest.
    World,
}

pub(crate) const CLASSES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

/// A handle; clones share everything.
#[derive(Clone)]
pub(crate) struct Executor(Arc<Mutex<Inner>>);

struct Inner {
    time: Timestamp,
    last_id: u64,
    tasks: BTreeMap<TaskId, Task>,
    /// In order of their ids, whatever the order in which they were woken.
    ready: [Vec<TaskId>; CLASSES],
    timers: BTreeMap<(Timestamp, u64), Waker>,
}

struct Task {
    owner: Owner,
    class: Class,
    waker: Waker,
    /// Away while it is polled.
    future: Option<BoxFuture<()>>,
}

struct Ready {
    id: TaskId,
    executor: Weak<Mutex<Inner>>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        let Some(inner) = self.executor.upgrade() else { return };
        inner.lock().unwrap_or_else(PoisonError::into_inner).wake(self.id);
    }
}

impl Executor {
    pub(crate) fn new(time: Timestamp) -> Executor {
        let inner =
            Inner { time, last_id: 0, tasks: BTreeMap::new(), ready: Default::default(), timers: BTreeMap::new() };
        Executor(Arc::new(Mutex::new(inner)))
    }

    pub(crate) fn time(&self) -> Timestamp {
        self.lock().time
    }

    pub(crate) fn spawn(&self, owner: Owner, class: Class, future: BoxFuture<()>) -> TaskId {
        let mut inner = self.lock();
        let id = TaskId(inner.new_id());
        let waker = Waker::from(Arc::new(Ready { id, executor: Arc::downgrade(&self.0) }));
        inner.tasks.insert(id, Task { owner, class, waker, future: Some(future) });
        inner.wake(id);
        id
    }

    /// Resolves at `at`, never before.
    pub(crate) fn sleep_until(&self, at: Timestamp) -> Sleep {
        let id = self.lock().new_id();
        Sleep { executor: self.clone(), key: (at, id) }
    }

    pub(crate) fn sleep(&self, pause: Duration) -> Sleep {
        self.sleep_until(self.time() + pause)
    }

    /// How many tasks of each class are ready.
    pub(crate) fn ready(&self) -> [usize; CLASSES] {
        let inner = self.lock();
        std::array::from_fn(|class| inner.ready[class].len())
    }

    /// Takes one of them out, to be polled or woken again later.
    pub(crate) fn take_ready(&self, class: usize, index: usize) -> TaskId {
        self.lock().ready[class].remove(index)
    }

    pub(crate) fn wake(&self, id: TaskId) {
        self.lock().wake(id);
    }

    /// Polls a task that was taken out.
    pub(crate) fn poll(&self, id: TaskId) {
        let taken = self.lock().tasks.get_mut(&id).and_then(|task| Some((task.waker.clone(), task.future.take()?)));
        let Some((waker, mut future)) = taken else { return };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inner = self.lock();
        let gone = match (polled, inner.tasks.get_mut(&id)) {
            (Poll::Pending, Some(task)) => {
                task.future = Some(future);
                return;
            }
            (Poll::Ready(()), Some(_)) => inner.remove(id),
            // It was killed by what it did itself.
            (_, None) => None,
        };
        drop(inner);
        drop(gone);
        drop(future);
    }

    /// Drops one task, wherever it waits.
    pub(crate) fn kill(&self, id: TaskId) -> bool {
        let gone = self.lock().remove(id);
        gone.is_some()
    }

    /// Drops every task of the owner, wherever it waits. How many there were.
    pub(crate) fn kill_all_of(&self, owner: Owner) -> usize {
        self.kill_those(|task| task.owner == owner)
    }

    /// Drops everything: tasks hold the executor, and it them.
    pub(crate) fn clear(&self) {
        while self.kill_those(|_| true) > 0 {}
        let timers = mem::take(&mut self.lock().timers);
        drop(timers);
    }

    fn kill_those(&self, which: impl Fn(&Task) -> bool) -> usize {
        let mut inner = self.lock();
        let ids: Vec<TaskId> = inner.tasks.iter().filter(|(_, task)| which(task)).map(|(id, _)| *id).collect();
        let gone: Vec<Option<Task>> = ids.into_iter().map(|id| inner.remove(id)).collect();
        drop(inner);
        gone.len()
    }

    /// Moves the time to the next timer and wakes whoever waits for it. False when nobody waits for anything.
    pub(crate) fn advance(&self) -> bool {
        let mut inner = self.lock();
        let Some(((at, _), _)) = inner.timers.first_key_value() else { return false };
        inner.time = inner.time.max(*at);
        let now = inner.time;
        let later = inner.timers.split_off(&(now, u64::MAX));
        let due = mem::replace(&mut inner.timers, later);
        drop(inner);
        due.into_values().for_each(Waker::wake);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn wake(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let ready = &mut self.ready[task.class as usize];
        if let Err(place) = ready.binary_search(&id) {
            ready.insert(place, id);
        }
    }

    fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        let ready = &mut self.ready[task.class as usize];
        if let Ok(place) = ready.binary_search(&id) {
            ready.remove(place);
        }
        Some(task)
    }
}

/// See [`Executor::sleep_until`].
pub(crate) struct Sleep {
    executor: Executor,
    key: (Timestamp, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.executor.lock();
        if self.key.0 <= inner.time {
            return Poll::Ready(());
        }
        if self.key.0 != Timestamp::MAX {
            inner.timers.insert(self.key, context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.executor.lock().timers.remove(&self.key);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run(executor: &Executor) {
        loop {
            match executor.ready().iter().position(|ready| *ready > 0) {
                Some(class) => executor.poll(executor.take_ready(class, 0)),
                None if executor.advance() => {}
                None => return,
            }
        }
    }

    #[test]
    fn time_moves_to_the_next_timer_and_no_further() {
        let executor = Executor::new(Timestamp::ZERO);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for seconds in [3, 1, 2] {
            let (clock, seen) = (executor.clone(), seen.clone());
            let task = async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                seen.lock().unwrap().push((seconds, clock.time().as_millis()));
            };
            executor.spawn(Owner::World, Class::World, Box::pin(task));
        }
        run(&executor);
        assert_eq!(*seen.lock().unwrap(), [(1, 1_000), (2, 2_000), (3, 3_000)]);
    }

    #[test]
    fn a_death_drops_the_tasks_of_its_owner_where_they_wait() {
        let executor = Executor::new(Timestamp::ZERO);
        let ended = Arc::new(AtomicUsize::new(0));
        for owner in [Owner::Node(1), Owner::Node(1), Owner::World] {
            let (clock, ended) = (executor.clone(), ended.clone());
            let task = async move {
                clock.sleep(Duration::from_secs(1)).await;
                ended.fetch_add(1, Ordering::Relaxed);
            };
            executor.spawn(owner, Class::World, Box::pin(task));
        }
        assert_eq!(executor.kill_all_of(Owner::Node(1)), 2);
        run(&executor);
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }
}
