//! What all parts of a run share: the seed's choices, the store, the node that lives, and what was seen so far.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_api::ids::NamespaceId;
use mainspring_rt::Timestamp;
use mainspring_store::memory::MemoryStore;

use crate::{
    executor::{Class, Executor, Owner, Sleep},
    ledger::Ledger,
    node::Node,
    plan::Plan,
    random::Random,
    sometimes::Sometimes,
    stored::StoredRun,
    trace::Trace,
};

/// When virtual time begins, in Unix milliseconds.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

/// The two namespaces; every other name is unknown.
pub(crate) const NAMESPACES: [&str; 2] = ["one", "two"];

pub(crate) fn namespace_id(index: usize) -> NamespaceId {
    NamespaceId(uuid::Uuid::from_u128(index as u128 + 1))
}

/// A workflow id in one of the [`NAMESPACES`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: usize,
    pub(crate) workflow_id: String,
}

impl Key {
    pub(crate) fn namespace_name(&self) -> String {
        NAMESPACES[self.namespace].to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The first node opens: no faults yet.
    Boot,
    /// Faults strike, clients make requests.
    Chaos,
    /// No faults: all that was begun must end.
    Drain,
    /// Nobody polls any more; retention removes what is left.
    Retire,
    Over,
}

/// A handle to the world of one seed.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) executor: Executor,
    pub(crate) store: MemoryStore,
    /// How far the node's clock is ahead, in nanoseconds.
    skew: AtomicI64,
    /// The latest time that a node's clock has shown, in nanoseconds.
    latest: AtomicI64,
    ids: AtomicU64,
    requests_left: AtomicUsize,
    /// Clients that have not ended, and errands that others run for workers.
    pub(crate) clients_busy: AtomicUsize,
    /// Tasks in the hands of workers.
    pub(crate) workers_busy: AtomicUsize,
    phase: Mutex<Phase>,
    random: Random,
    trace: Mutex<Trace>,
    sometimes: Mutex<Sometimes>,
    failure: Mutex<Option<String>>,
    node: Mutex<Option<Node>>,
    ledger: Mutex<Ledger>,
    /// Runs whose retention is over, as they last stood.
    archive: Mutex<BTreeMap<(u16, u64), StoredRun>>,
}

impl std::ops::Deref for Sim {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Sim {
    pub(crate) fn new(seed: u64, whole_trace: bool) -> Sim {
        let random = Random::new(seed);
        let plan = Plan::draw(&random);
        let start = Timestamp::from_millis(EPOCH_MILLIS);
        Sim(Arc::new(Shared {
            executor: Executor::new(start),
            store: MemoryStore::manual(),
            skew: AtomicI64::new(0),
            latest: AtomicI64::new(0),
            ids: AtomicU64::new(0),
            requests_left: AtomicUsize::new(plan.requests),
            clients_busy: AtomicUsize::new(0),
            workers_busy: AtomicUsize::new(0),
            phase: Mutex::new(Phase::Boot),
            random,
            trace: Mutex::new(Trace::new(whole_trace)),
            sometimes: Mutex::default(),
            failure: Mutex::default(),
            node: Mutex::default(),
            ledger: Mutex::default(),
            archive: Mutex::default(),
            plan,
        }))
    }

    /// Runs a task of the world beside the others.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(Owner::World, Class::World, Box::pin(task));
    }
}

impl Shared {
    pub(crate) fn time(&self) -> Timestamp {
        self.executor.time()
    }

    pub(crate) fn sleep(&self, pause: Duration) -> Sleep {
        self.executor.sleep(pause)
    }

    /// Sleeps for so many milliseconds, both ends included.
    pub(crate) fn pause(&self, least: u64, most: u64) -> Sleep {
        let millis = self.random().between(least, most);
        self.sleep(Duration::from_millis(millis))
    }

    /// What the node's clock shows.
    pub(crate) fn wall(&self) -> Timestamp {
        let wall = self.time().as_nanos().saturating_add(self.skew.load(Ordering::Relaxed));
        self.latest.fetch_max(wall, Ordering::Relaxed);
        Timestamp::from_nanos(wall)
    }

    /// The latest time that any clock has shown so far.
    pub(crate) fn latest(&self) -> Timestamp {
        Timestamp::from_nanos(self.latest.load(Ordering::Relaxed)).max(self.time())
    }

    /// Puts the node's clock forward or back.
    pub(crate) fn bend_clock(&self, by: i64) {
        const MOST: i64 = 300 * 1_000_000_000;
        let skew = self.skew.load(Ordering::Relaxed).saturating_add(by);
        self.skew.store(skew.clamp(-MOST, MOST), Ordering::Relaxed);
    }

    pub(crate) fn new_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether one more request is to be made.
    pub(crate) fn take_request(&self) -> bool {
        let left = self.requests_left.load(Ordering::Relaxed);
        if self.phase() != Phase::Chaos || left == 0 {
            return false;
        }
        self.requests_left.store(left - 1, Ordering::Relaxed);
        true
    }

    pub(crate) fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.note(|| format!("-- {phase:?}"));
        *lock(&self.phase) = phase;
    }

    pub(crate) fn faulty(&self) -> bool {
        self.phase() == Phase::Chaos
    }

    /// Workers ask for tasks.
    pub(crate) fn polling(&self) -> bool {
        self.phase() < Phase::Retire
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    /// A fault, if there are any now and the seed says so.
    pub(crate) fn strikes(&self, parts: u64) -> bool {
        self.faulty() && self.random().hits(parts)
    }

    pub(crate) fn node(&self) -> MutexGuard<'_, Option<Node>> {
        lock(&self.node)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn archive(&self) -> MutexGuard<'_, BTreeMap<(u16, u64), StoredRun>> {
        lock(&self.archive)
    }

    pub(crate) fn saw(&self, fact: &'static str) {
        lock(&self.sometimes).saw(fact);
    }

    /// What happens, in words, if somebody reads them.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        let at = self.time().as_millis() - EPOCH_MILLIS;
        lock(&self.trace).line(at, line);
    }

    /// What happens, for comparing two runs.
    pub(crate) fn mix(&self, number: u64) {
        lock(&self.trace).mix(number);
    }

    pub(crate) fn fail(&self, why: String) {
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            self.note(|| format!("FAILED {why}"));
            *failure = Some(why);
        }
    }

    pub(crate) fn check(&self, result: Result<(), String>) {
        if let Err(why) = result {
            self.fail(why);
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// What came of the seed: facts, fingerprint, failure, lines.
    pub(crate) fn harvest(&self) -> (Sometimes, u64, Option<String>, Vec<String>) {
        let mut trace = lock(&self.trace);
        (lock(&self.sometimes).clone(), trace.fingerprint(), lock(&self.failure).take(), trace.take_lines())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
