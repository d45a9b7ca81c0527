//! One shard: the single writer of its workflow executions, as a state machine without I/O.
//!
//! [`Shard::handle`] takes one [`Event`] and [`Shard::flush`] closes the batch of all that was taken since; both add
//! [`Action`]s for the shell (crate root, and the simulator). Steps apply in memory at once; several batches may be in
//! flight. Every answer remembers the last batch that touched what it was computed from, and leaves when that batch is
//! durable (design.md, section 3, rule 1).
//!
//! A chain whose last batch is not durable stays in memory. So whatever is read from the store concerns rows that no
//! batch in flight touches, and no read needs to be overlaid; wake rows, which are read as a range, are the one
//! exception (see `wakes`).
//!
//! Where to look: `stepping` applies inputs and hands out tasks; `batch` collects what a commit writes and releases;
//! `chains` is the cache; `loading` reads chains and the shard itself; `wakes`, `outbox`, `retention`: one subject each.

mod batch;
mod chains;
mod indexing;
mod loading;
mod outbox;
mod pause;
mod queries;
mod retention;
mod stepping;
mod survey;
mod updates;
mod wakes;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use mainspring_api::ids::NamespaceId;
use mainspring_engine::{
    Chain, Moment, Outcome, Rejected,
    effect::Effect,
    input::Input,
    limits::Limits,
    state::{Run, RunNumber},
};
use mainspring_matching::{Directive, Matching, Poller, QueueHash, QueueName, Task, TaskKey};
use mainspring_rt::Timestamp;
use mainspring_store::{Claim, Error as StoreError, Op, Page, Scan, ShardId, record::Parked};
use mainspring_visibility::Change;

use crate::{
    answer::{Answer, Delivered, Error, QueryReply, RunKey, RunView, UpdateView},
    budget::Budget,
    random::Random,
};
use batch::Batch;
use chains::Chains;
use indexing::Indexing;
use loading::Reads;
use outbox::Outbox;
use pause::Pause;
pub use queries::Ask;
use queries::Queries;
pub use survey::{LostWorkers, Survey};
pub use updates::Await;
use updates::Updates;
use wakes::Wakes;

/// A workflow id in its namespace: what a shard's chains are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainKey {
    pub namespace: NamespaceId,
    pub workflow_id: Arc<str>,
}

/// A poller in line, as matching keeps it. `R` is whatever the shell needs to answer it.
#[derive(Debug)]
pub struct Waiting<R> {
    /// The worker's name for itself.
    pub identity: Arc<str>,
    /// One a poll.
    pub request_id: String,
    /// It polled a sticky queue.
    pub sticky: bool,
    pub reply: R,
}

/// Whom a piece of work concerns.
#[derive(Clone, Debug)]
pub enum Target {
    Chain(ChainKey),
    Run(RunNumber),
}

impl<A, R> Work<A, R> {
    /// An input by itself.
    pub fn call(input: Input, answer: Option<A>) -> Work<A, R> {
        Work::Call { input: Box::new(input), query_results: BTreeMap::new(), answer }
    }
}

/// Something to do on a chain.
#[derive(Debug)]
pub enum Work<A, R> {
    /// An input; nobody waits for the answer when there is no `answer`. The completion of a workflow task brings results
    /// of queries, by their ids.
    Call { input: Box<Input>, query_results: BTreeMap<u64, QueryReply>, answer: Option<A> },
    /// Matching brought a task of the backlog and a poller together.
    Start { queue: QueueName, task: Task, poller: Poller<Waiting<R>> },
    /// The state of a run; an empty id is the newest.
    Look { run_id: String, answer: A },
    /// The state of a run once it has events from `next_event_id` on, or is closed.
    Watch { run_id: String, next_event_id: i64, answer: A },
    /// A question to the workflow's code.
    Query { ask: Box<Ask>, answer: A },
    /// A request to the workflow's code, or the wait for one.
    Update { wanted: Box<Await>, answer: A },
    /// A deadline of a run has come.
    Wake { run: RunNumber, due: Timestamp },
}

/// What happens to a shard.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most events are work, and are moved once")]
pub enum Event<A, R> {
    /// Take the shard over; the first event of all.
    Open,
    Work(Target, Work<A, R>),
    /// A worker answered a query task.
    QueryAnswered(u64, QueryReply),
    /// A query task did not reach its poller.
    QueryUndelivered(u64),
    /// The visibility index has these versions of runs on disk.
    Indexed(Vec<(RunNumber, i64)>),
    /// The visibility index could not take these now.
    NotIndexed(Vec<(RunNumber, i64)>),
    /// Nobody gets this task any more: its row goes.
    Expired(QueueHash, TaskKey),
    /// The answer to [`Action::Claim`].
    Claimed(Result<Claim, StoreError>),
    /// The answer to [`Action::Read`].
    Read(u64, Result<Vec<Page>, StoreError>),
    /// The answer to [`Action::Commit`].
    Committed {
        epoch: u64,
        seq: u64,
        result: Result<(), StoreError>,
    },
    /// The time that [`Shard::next_wake`] named has come.
    Tick,
}

/// What the shell has to do, in this order.
#[derive(Debug)]
pub enum Action<A, R> {
    Claim,
    Commit {
        claim: Claim,
        seq: u64,
        ops: Vec<Op>,
    },
    /// Pages of one consistent read.
    Read {
        ticket: u64,
        scans: Vec<Scan>,
    },
    Answer {
        to: A,
        result: Result<Answered, Error>,
    },
    /// A started task for a poller. If the poller is gone, `Input::Undelivered` comes back.
    Deliver {
        poller: Poller<Waiting<R>>,
        delivered: Delivered,
    },
    /// What matching wants done.
    Direct(Vec<Directive<Waiting<R>>>),
    /// Carry out an effect on another execution and bring `Input::EffectAnswered` back; again and again until it is
    /// answered, one try at a time. It is not handed out anew before the answer came, unless the process dies.
    Send {
        run: RunNumber,
        number: u64,
        effect: Effect,
    },
    /// The visibility index was lost, and all runs of this shard are in it again.
    Refilled,
    /// Tell the visibility index, and bring [`Event::Indexed`] back when it has it on disk.
    Index {
        run: RunNumber,
        version: i64,
        change: Change,
    },
    /// The store is not to be used any more: stop the process.
    Fatal(StoreError),
}

/// The answer to a [`Work`].
#[derive(Debug)]
pub enum Answered {
    Reply(Box<Answer>),
    View(Box<RunView>),
    Query(Box<QueryReply>),
    Update(Box<UpdateView>),
}

/// How long closed runs of a namespace are kept, by id; zero for a namespace that is gone.
pub type Retention = Arc<dyn Fn(NamespaceId) -> std::time::Duration + Send + Sync>;

/// [`mainspring_engine::step`], or what a test puts in its place.
pub type Step = fn(&mut Chain, Input, &Moment<'_>) -> Result<Outcome, Rejected>;

/// What all shards of a node share.
pub struct Settings {
    pub step: Step,
    pub limits: Limits,
    pub retention: Retention,
    /// Whether the visibility index was lost and has to be filled from all runs.
    pub refill_index: Arc<dyn Fn() -> bool + Send + Sync>,
    pub budget: Budget,
}

/// What is at hand while an event is handled.
pub struct World<'w, R> {
    pub now: Timestamp,
    pub matching: &'w Matching<Waiting<R>>,
}

/// The state machine of one shard.
pub struct Shard<A, R> {
    id: ShardId,
    settings: Arc<Settings>,
    phase: Phase,
    /// Work that came before the shard was open.
    early: VecDeque<(Target, Work<A, R>)>,
    /// Never goes back: the time of whatever is recorded, and what deadlines of runs are compared with.
    clock: Timestamp,
    /// What the machine's clock shows: pauses and the patience of callers are measured by it.
    now: Timestamp,
    random: Random,
    chains: Chains<A, R>,
    batch: Batch<A, R>,
    reads: Reads<A, R>,
    wakes: Wakes,
    outbox: Outbox,
    queries: Queries<A>,
    updates: Updates<A>,
    indexing: Indexing,
    /// Counted from the claim's epoch on, so that no two claims give out the same.
    runs_started: u64,
    /// The last task id given out.
    task_id: u64,
    /// Steps that failed outright, by chain.
    strikes: BTreeMap<ChainKey, u32>,
    /// Runs that are left alone, and why.
    frozen: BTreeMap<RunNumber, String>,
    /// Frozen runs whose rows are to be written when the shard is open again.
    to_park: Vec<(RunNumber, Parked)>,
    /// A step failed outright: the shard is lost at the end of this event.
    broken: Option<StoreError>,
    actions: Vec<Action<A, R>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not claimed; tried again after a pause.
    Closed(Pause),
    Claiming,
    /// Claimed; its own rows are being read.
    Loading(Claim),
    Open(Claim),
    /// The store is broken.
    Dead,
}

/// How long a shard waits after a claim or a read of its own rows failed.
const RETRY: std::time::Duration = std::time::Duration::from_millis(200);

impl<A, R> Shard<A, R> {
    /// A shard that nobody owns yet: send it [`Event::Open`].
    pub fn new(id: ShardId, settings: Arc<Settings>, seed: u64) -> Shard<A, R> {
        Shard {
            id,
            settings: settings.clone(),
            phase: Phase::Closed(Pause::FOREVER),
            early: VecDeque::new(),
            clock: Timestamp::ZERO,
            now: Timestamp::ZERO,
            random: Random::new(seed),
            chains: Chains::new(settings),
            batch: Batch::default(),
            reads: Reads::default(),
            wakes: Wakes::default(),
            outbox: Outbox::default(),
            queries: Queries::new(seed),
            updates: Updates::default(),
            indexing: Indexing::default(),
            runs_started: 0,
            task_id: 0,
            strikes: BTreeMap::new(),
            frozen: BTreeMap::new(),
            to_park: Vec::new(),
            broken: None,
            actions: Vec::new(),
        }
    }

    /// Takes one event. Follow with [`Shard::flush`] once a handful was taken.
    pub fn handle(&mut self, event: Event<A, R>, world: &World<'_, R>) {
        self.look_at_clock(world.now);
        match event {
            Event::Open => self.claim(),
            Event::Work(target, work) => self.take(target, work, world),
            Event::QueryAnswered(id, reply) => self.query_answered(id, reply),
            Event::QueryUndelivered(id) => self.query_undelivered(id, world),
            Event::Indexed(runs) => self.indexed(runs),
            Event::NotIndexed(runs) => self.not_indexed(runs),
            Event::Expired(queue, key) => self.delete_task_row(&queue, key),
            Event::Claimed(result) => self.claimed(result, world),
            Event::Read(ticket, result) => self.read_done(ticket, result, world),
            Event::Committed { epoch, seq, result } => self.committed(epoch, seq, result, world),
            Event::Tick => self.tick(world),
        }
        if let Some(error) = self.broken.take() {
            self.lose(error, world);
        }
    }

    /// Closes the batch of everything taken since the last flush, and hands out what is to be done.
    pub fn flush(&mut self, world: &World<'_, R>) -> Vec<Action<A, R>> {
        if let Phase::Open(claim) = self.phase {
            self.tick(world);
            self.seal(claim);
            self.chains.evict(self.batch.durable());
        }
        std::mem::take(&mut self.actions)
    }

    /// When the shard next wants [`Event::Tick`]; `Timestamp::MAX` for never.
    pub fn next_wake(&self) -> Timestamp {
        match self.phase {
            Phase::Closed(pause) => pause.until(),
            // With many reads under way nothing more is woken; their answers come as events.
            Phase::Open(_) if !self.reads.is_busy() => {
                let asked = self.queries.next_sweep().min(self.updates.next_deadline());
                self.wakes.next(self.clock).min(asked).min(self.indexing.next()).min(self.reads.next())
            }
            _ => Timestamp::MAX,
        }
    }

    /// Nothing is in flight and nobody waits.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Open(_)) && self.batch.is_idle() && self.reads.is_empty() && self.early.is_empty()
    }

    /// Whether waiting can make it idle: false for a shard whose store is broken, or that is not to be claimed.
    pub fn can_finish(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::Loading(_) | Phase::Claiming)
    }

    /// The chains in memory with their newest run, for checkers.
    pub fn runs(&self) -> impl Iterator<Item = (&ChainKey, &Run)> {
        self.chains.runs()
    }

    /// Outbox rows that are not answered yet, for checkers.
    pub fn effects_open(&self) -> usize {
        self.outbox.len()
    }

    /// Forgets chains that need not be in memory, for tests and the simulator.
    pub fn evict_all(&mut self) {
        self.chains.evict_all(self.batch.durable());
    }

    fn look_at_clock(&mut self, now: Timestamp) {
        self.now = now;
        self.clock = self.clock.max(now);
    }

    fn claim(&mut self) {
        self.phase = Phase::Claiming;
        self.actions.push(Action::Claim);
    }

    fn claimed(&mut self, result: Result<Claim, StoreError>, world: &World<'_, R>) {
        match result {
            Ok(claim) => {
                self.phase = Phase::Loading(claim);
                self.runs_started = 0;
                self.batch.restart();
                self.load_shard();
            }
            Err(error) => self.lose(error, world),
        }
    }

    fn take(&mut self, target: Target, work: Work<A, R>, world: &World<'_, R>) {
        match self.phase {
            Phase::Open(_) => self.route(target, work, world),
            Phase::Dead => self.refuse(work, Error::Unavailable("the storage failed".to_owned()), world),
            _ => self.early.push_back((target, work)),
        }
    }

    fn tick(&mut self, world: &World<'_, R>) {
        self.look_at_clock(world.now);
        match self.phase {
            Phase::Closed(pause) if pause.is_over(self.now) => self.claim(),
            Phase::Open(_) => {
                self.wake_due(world);
                self.read_again(world);
                self.sweep_queries(world);
                self.expire_updates();
                self.index_left();
            }
            _ => {}
        }
    }

    /// A batch was acknowledged, or the claim is over.
    fn committed(&mut self, epoch: u64, seq: u64, result: Result<(), StoreError>, world: &World<'_, R>) {
        if !matches!(self.phase, Phase::Open(claim) if claim.epoch == epoch) {
            return;
        }
        match result {
            Ok(()) => {
                self.wakes.durable(seq);
                let released = self.batch.acknowledge(seq);
                released.into_iter().for_each(|out| self.release(out, world));
                self.resume_deferred(world);
            }
            Err(error) => self.lose(error, world),
        }
    }

    /// Drops everything in memory, answers whoever waits, and claims again, behind all that is queued.
    fn lose(&mut self, error: StoreError, world: &World<'_, R>) {
        let told = match &error {
            StoreError::Rejected(why) => Error::Unavailable(format!("the write was refused: {why}")),
            _ => Error::Unavailable("the shard is being reloaded".to_owned()),
        };
        for out in self.batch.abandon() {
            self.drop_out(out, &told, world);
        }
        self.early.extend(self.reads.abandon());
        let (watchers, waiting) = self.chains.clear();
        self.early.extend(waiting);
        for to in watchers.into_iter().chain(self.queries.clear()).chain(self.updates.clear()) {
            self.actions.push(Action::Answer { to, result: Err(told.clone()) });
        }
        self.wakes = Wakes::default();
        self.outbox.forget_rows();
        self.indexing = Indexing::default();
        let directives = world.matching.forget_shard(self.id.0, world.now);
        self.direct(directives);
        self.phase = match &error {
            StoreError::Poisoned(_) => {
                self.actions.push(Action::Fatal(error));
                Phase::Dead
            }
            StoreError::Fenced | StoreError::Unknown(_) => Phase::Closed(Pause::default()),
            _ => Phase::Closed(Pause::begin(self.now, RETRY)),
        };
        if self.phase == Phase::Dead {
            while let Some((_, work)) = self.early.pop_front() {
                self.refuse(work, told.clone(), world);
            }
        }
        self.tick(world);
    }

    fn direct(&mut self, directives: Vec<Directive<Waiting<R>>>) {
        if !directives.is_empty() {
            self.actions.push(Action::Direct(directives));
        }
    }

    /// Answers work that cannot be done.
    fn refuse(&mut self, work: Work<A, R>, error: Error, world: &World<'_, R>) {
        match work {
            Work::Call { answer: Some(to), .. }
            | Work::Look { answer: to, .. }
            | Work::Watch { answer: to, .. }
            | Work::Query { answer: to, .. }
            | Work::Update { answer: to, .. } => {
                self.actions.push(Action::Answer { to, result: Err(error) });
            }
            Work::Start { queue, poller, .. } => {
                let directives = world.matching.give_back(&queue, poller, world.now);
                self.direct(directives);
            }
            Work::Call { input, answer: None, .. } => {
                if let Input::EffectAnswered(answered) = *input {
                    self.outbox.answer_lost(answered.run, answered.effect);
                }
            }
            Work::Wake { .. } => {}
        }
    }

    fn run_key(&self, run: RunNumber) -> RunKey {
        RunKey { shard: self.id.0, run }
    }
}

#[cfg(test)]
mod tests;
