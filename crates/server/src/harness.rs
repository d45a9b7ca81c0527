//! What tests do to a server: its clock skips, and calls fail or come late when they say so.
//!
//! A server started with a [`Harness`] lives by a clock that goes as usual while anybody does anything, and jumps to the
//! next deadline when all that happens is that somebody waits. `decide` says when; `calls` tells calls that do something
//! from those that wait; `faults` spoils calls; `test_service` is for tests in other languages. A server without a harness
//! has none of this.

mod calls;
mod decide;
mod faults;
mod test_service;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use mainspring_history::{History, LostWorkers, Survey};
use mainspring_rt::{Rt, SkippingClock, Timestamp};
use tokio::sync::{Notify, oneshot, watch};
use tonic::Code;

use decide::{Next, Wishes, decide};
use faults::Faults;
pub(crate) use test_service::TEST_SERVICE;

/// Shards of a server with a harness: tests are small, and start often.
pub(crate) const SHARDS: u16 = 4;
/// How long closed runs are kept: as long as any clock is let to skip.
pub(crate) const RETENTION: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Something is in hand: looked at again when a call ends, and at least this often, for what ends by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Looks at shards that have not settled yet, before there is a pause between them.
const LOOKS_AT_ONCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// The hand of a test on its server. Copies are the same.
#[derive(Clone)]
pub struct Harness(Arc<Inner>);

struct Inner {
    clock: SkippingClock,
    state: Mutex<State>,
    /// There once the server has started.
    history: OnceLock<History>,
    lost: watch::Sender<LostWorkers>,
    /// How many polls each worker has under way, by identities.
    polls: watch::Sender<BTreeMap<String, usize>>,
    /// Whatever is in the state has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Calls that do something.
    under_way: usize,
    /// Rises with each of them, at its begin and its end.
    turns: u64,
    /// Calls of clients that wait for something to happen.
    waiting: usize,
    holds: usize,
    /// Set by the test service.
    locks: usize,
    /// It skips whenever it is not locked, whether clients wait or not.
    skips_unasked: bool,
    /// Skips that are asked for, by when they end.
    skips: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    /// Sleeps of the test service.
    sleeps: BTreeSet<(Timestamp, u64)>,
    last_number: u64,
    faults: Faults,
    closed: bool,
}

/// While it is there, the clock does not skip by itself: see [`Harness::hold`].
#[derive(Debug)]
#[must_use = "the clock skips again when this is dropped"]
pub struct Hold(Harness);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.change(|state| state.holds -= 1);
    }
}

impl Harness {
    /// For one server, whose clock begins with the machine's.
    #[expect(clippy::new_without_default, reason = "each is another server's")]
    pub fn new() -> Harness {
        let (clock, state) = (SkippingClock::from_machine(), Mutex::default());
        let (lost, polls) = (watch::Sender::default(), watch::Sender::default());
        Harness(Arc::new(Inner { clock, state, history: OnceLock::new(), lost, polls, changed: Notify::new() }))
    }

    /// As the original's test server begins: the clock is locked, and skips whenever `TestService` unlocks it.
    pub fn locked() -> Harness {
        let harness = Harness::new();
        harness.change(|state| (state.locks, state.skips_unasked) = (1, true));
        harness
    }

    /// What the server's clock shows.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Skips to `at`, from deadline to deadline, waiting at each until nobody has anything in hand; and once more when it
    /// is there. Ends early when the server stops.
    ///
    /// Dropping the future takes the wish back.
    pub async fn skip_to(&self, at: Timestamp) {
        let (reached, told) = oneshot::channel();
        let wish = self.change(|state| {
            let key = (at, state.new_number());
            if !state.closed {
                state.skips.insert(key, reached);
            }
            Wish { harness: self.clone(), key }
        });
        // It is dropped untold when the server stops.
        let _ = told.await;
        drop(wish);
    }

    /// Moves the clock to `at` at once, whatever is in hand: what is due by then happens late, tasks time out.
    pub fn jump_to(&self, at: Timestamp) {
        self.0.clock.jump_to(at);
        self.0.changed.notify_one();
    }

    /// Keeps the clock from skipping while clients wait. [`Harness::skip_to`] and [`Harness::jump_to`] move it all the same.
    pub fn hold(&self) -> Hold {
        self.change(|state| state.holds += 1);
        Hold(self.clone())
    }

    /// A worker of the namespace is dead. Its tasks are no longer in hand, so that the clock skips to where they time out,
    /// and no more of them go to its sticky queue. Resolves when the last of its polls has ended.
    pub async fn lose_worker(&self, namespace: &str, identity: &str, sticky_queue: &str) {
        if let Some(history) = self.0.history.get()
            && let Some(namespace) = history.namespaces().by_name(namespace)
        {
            history.worker_left(namespace.id, sticky_queue);
        }
        self.0.lost.send_modify(|known| {
            let mut lost = (**known).clone();
            lost.extend([identity.to_owned(), sticky_queue.to_owned()]);
            *known = Arc::new(lost);
        });
        self.0.changed.notify_one();
        // It cannot fail: we hold the sender.
        let _ = self.0.polls.subscribe().wait_for(|polls| !polls.contains_key(identity)).await;
    }

    /// Lets the next call of this method fail.
    pub fn fail_next(&self, method: &str, code: Code, message: &str) {
        self.change(|state| state.faults.fail_next(method, code, message));
    }

    /// Lets each call of this method wait, on the machine's clock, before it is looked at; zero ends that.
    pub fn delay(&self, method: &str, by: Duration) {
        self.change(|state| state.faults.delay(method, by));
    }

    /// The world of the server.
    pub(crate) fn rt(&self) -> Rt {
        Rt::skipping(&self.0.clock)
    }

    /// Attends to a server that has this history: moves the clock when it may, until the server stops.
    ///
    /// # Panics
    /// When it attends to one already.
    pub(crate) fn attend(&self, rt: &Rt, history: History) {
        assert!(self.0.history.set(history.clone()).is_ok(), "a harness is for one server");
        rt.spawn(self.clone().skip_time(rt.clone(), history));
    }

    async fn skip_time(self, rt: Rt, history: History) {
        let mut looks = 0;
        while self.wanted().await {
            let next = self.look(&history).await;
            looks = if next == Some(Next::Unsettled) { looks + 1 } else { 0 };
            match next {
                Some(Next::Jump(at)) => self.0.clock.jump_to(at),
                Some(Next::Reached) => self.tell_reached(),
                Some(Next::Unsettled) if looks < LOOKS_AT_ONCE => tokio::task::yield_now().await,
                Some(Next::Unsettled) => rt.sleep(PAUSE).await,
                Some(Next::Later) | None => {
                    tokio::select! {
                        () = self.0.changed.notified() => {}
                        () = rt.sleep(LOOK_AGAIN) => {}
                    }
                }
            }
        }
    }

    /// The server stops: nobody waits for the clock any more.
    pub(crate) fn close(&self) {
        self.change(|state| {
            state.closed = true;
            state.skips.clear();
        });
    }

    /// Resolves when somebody wants the time to pass; false when the server stops.
    async fn wanted(&self) -> bool {
        loop {
            {
                let state = self.state();
                if state.closed {
                    return false;
                }
                if state.wishes().any() {
                    return true;
                }
            }
            self.0.changed.notified().await;
        }
    }

    /// What is to be done, unless calls are under way.
    async fn look(&self, history: &History) -> Option<Next> {
        let turns = {
            let state = self.state();
            if state.under_way > 0 {
                return None;
            }
            state.turns
        };
        let lost = self.0.lost.borrow().clone();
        let first = history.survey(&lost).await;
        let second = history.survey(&lost).await;
        let state = self.state();
        if first != second || turns != state.turns || state.closed {
            return Some(Next::Unsettled);
        }
        let now = self.now();
        // A sleeper whose time has come is due until he has gone on, and perhaps locked the clock again.
        let sleeper = state.sleeps.first().map_or(Timestamp::MAX, |(at, _)| *at);
        let survey = Survey { next_deadline: second.next_deadline.min(sleeper), ..second };
        Some(decide(now, state.wishes(), survey))
    }

    fn tell_reached(&self) {
        let now = self.now();
        self.change(|state| {
            let later = state.skips.split_off(&(now, u64::MAX));
            for told in std::mem::replace(&mut state.skips, later).into_values() {
                // Who asked may have gone away.
                let _ = told.send(());
            }
        });
    }

    fn change<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        let result = what(&mut self.state());
        self.0.changed.notify_one();
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wishes(&self) -> Wishes {
        let skip_to = self.skips.first_key_value().map(|((at, _), _)| *at);
        let waiting = self.waiting + usize::from(self.skips_unasked);
        Wishes { waiting, holds: self.holds + self.locks, skip_to }
    }

    fn new_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("clock", &self.0.clock).finish_non_exhaustive()
    }
}

/// A skip that is asked for; dropped, it is taken back.
struct Wish {
    harness: Harness,
    key: (Timestamp, u64),
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.harness.change(|state| drop(state.skips.remove(&self.key)));
    }
}
