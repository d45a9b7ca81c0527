//! The loop: a set of pending happenings, of which the seed picks the next, or lets time pass.
//!
//! A run has three phases: chaos (faults strike, clients make requests), drain (no faults: all that was started must
//! end), retire (time passes until retention has removed every row). Start reading at [`Sim::run`].

use std::{collections::BTreeMap, time::Duration};

use mainspring_history::shard::World;
use mainspring_rt::Timestamp;
use mainspring_store::memory::{Fate, MemoryStore};

use crate::{
    checks::Expect,
    clients::Client,
    effects::Sending,
    ledger::Ledger,
    node::{CallId, Node, PollId},
    plan::Plan,
    planted::Planted,
    random::Random,
    sometimes::Sometimes,
    stored::StoredRun,
    trace::Trace,
    workers::{Polling, Worker},
    world::{Caller, Parcel},
};

/// When virtual time begins, in Unix milliseconds.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;
/// Steps of a run after which it is said to have no end.
const STEPS_MAX: u64 = 400_000;
/// Steps of chaos at most.
const CHAOS_STEPS_MAX: u64 = 3_000;
/// Virtual time in which everything must have ended once faults stop.
const DRAIN_MAX: Duration = Duration::from_secs(6 * 3_600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Chaos,
    Drain,
    Retire,
}

/// Kinds of happenings; the plan weighs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mail,
    Store,
    Read,
    Parcel,
    Worker,
    Client,
    Tick,
    Time,
}

/// What is to come at a time.
#[derive(Clone, Debug)]
pub(crate) enum Alarm {
    /// A call has waited for too long.
    CallTimeout(CallId),
    /// A long poll ends.
    PollTimeout(PollId),
    /// A client goes on.
    Client(usize),
    /// A worker's slot goes on.
    Slot { worker: usize, life: u32, slot: usize },
    /// A worker completes an activity by its id.
    ById(Box<crate::workers::ById>),
    /// An effect is sent again.
    Resend(u64),
    /// A parcel was held up.
    Late(u64),
    /// The process is started again.
    Restart,
}

pub(crate) struct Sim {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) sometimes: Sometimes,
    pub(crate) phase: Phase,
    /// Never falls.
    pub(crate) time: Timestamp,
    /// How far the node's clock is behind.
    pub(crate) behind: Duration,
    pub(crate) store: MemoryStore,
    pub(crate) node: Option<Node>,
    pub(crate) calls: BTreeMap<CallId, Caller>,
    /// Calls that the living node has to answer.
    pub(crate) unanswered: BTreeMap<CallId, Expect>,
    pub(crate) polls: BTreeMap<PollId, Polling>,
    pub(crate) network: Vec<Parcel>,
    pub(crate) held_up: BTreeMap<u64, Parcel>,
    pub(crate) alarms: BTreeMap<(Timestamp, u64), Alarm>,
    pub(crate) clients: Vec<Client>,
    pub(crate) requests_left: u32,
    pub(crate) workers: Vec<Worker>,
    pub(crate) sendings: BTreeMap<u64, Sending>,
    pub(crate) ledger: Ledger,
    /// Runs whose retention is over, as they last stood.
    pub(crate) archive: BTreeMap<(u16, u64), StoredRun>,
    pub(crate) failure: Option<String>,
    pub(crate) planted: Option<Planted>,
    pub(crate) steps: u64,
    last_id: u64,
    drain_since: Timestamp,
    since_time_moved: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64, planted: Option<Planted>, keep_trace: bool) -> Sim {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let node = Node::start(&plan, &mut random);
        let clients = (0..plan.clients).map(|_| Client::default()).collect();
        let workers = (0..plan.workers).map(Worker::new).collect();
        Sim {
            requests_left: plan.requests,
            plan,
            random,
            trace: Trace::new(keep_trace),
            sometimes: Sometimes::default(),
            phase: Phase::Chaos,
            time: Timestamp::from_millis(EPOCH_MILLIS),
            behind: Duration::ZERO,
            store: MemoryStore::manual(),
            node: Some(node),
            calls: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            polls: BTreeMap::new(),
            network: Vec::new(),
            held_up: BTreeMap::new(),
            alarms: BTreeMap::new(),
            clients,
            workers,
            sendings: BTreeMap::new(),
            ledger: Ledger::default(),
            archive: BTreeMap::new(),
            failure: None,
            planted,
            steps: 0,
            last_id: 0,
            drain_since: Timestamp::ZERO,
            since_time_moved: 0,
        }
    }

    /// To the end, or to the first broken invariant.
    pub(crate) fn run(&mut self) {
        while self.failure.is_none() && self.step() {}
    }

    /// One happening. False when the run is over.
    fn step(&mut self) -> bool {
        self.steps += 1;
        self.since_time_moved += 1;
        if self.steps > STEPS_MAX || self.since_time_moved > 100_000 {
            let why = if self.steps > STEPS_MAX { "too many steps" } else { "time stands still" };
            self.fail(format!("{why}: {}", self.what_is_open()));
            return false;
        }
        if self.phase == Phase::Chaos {
            let over = self.requests_left == 0 && self.clients.iter().all(Client::is_idle) && self.random.one_in(200);
            if over || self.steps > CHAOS_STEPS_MAX {
                self.begin_drain();
            }
            self.maybe_strike();
        }
        if self.node.as_ref().is_some_and(|node| node.fatal) && self.random.one_in(3) {
            // The process stops by itself.
            self.crash();
        }
        self.take_next()
    }

    fn take_next(&mut self) -> bool {
        let counts = self.counts();
        let busy = counts.iter().any(|count| *count > 0);
        let mut weights: [u64; 8] = std::array::from_fn(|i| if counts[i] > 0 { 4 * self.plan.weights[i] } else { 0 });
        weights[Kind::Time as usize] = if self.phase == Phase::Chaos || !busy { 1 } else { 0 };
        let kinds =
            [Kind::Mail, Kind::Store, Kind::Read, Kind::Parcel, Kind::Worker, Kind::Client, Kind::Tick, Kind::Time];
        let kind = self.random.weighted(&weights).map_or(Kind::Time, |index| kinds[index]);
        let index = self.random.index(counts[kind as usize]);
        match kind {
            Kind::Mail => self.take_mail(index),
            Kind::Store => self.execute(index),
            Kind::Read => self.go_on_reading(index),
            Kind::Parcel => self.take_parcel(index),
            Kind::Worker => self.work(index),
            Kind::Client => self.request(index),
            Kind::Tick => self.tick(index),
            Kind::Time => return self.pass_time(busy),
        }
        true
    }

    /// How many happenings of each kind wait.
    fn counts(&mut self) -> [usize; 8] {
        let (wall, store) = (self.wall(), self.store.pending().len());
        let workers = self.ready_slots();
        let clients = self.ready_clients();
        let Some(node) = &self.node else { return [0, 0, 0, self.network.len(), 0, clients, 0, 0] };
        let mail = node.mailboxes.iter().filter(|mailbox| !mailbox.is_empty()).count();
        let ticks = node.shards.iter().filter(|shard| shard.next_wake() <= wall).count();
        let matching = usize::from(node.matching.next_tick().is_some_and(|at| at <= wall));
        [mail, store, node.reads.len() + node.scans.len(), self.network.len(), workers, clients, ticks + matching, 0]
    }

    /// What the node's clock shows.
    pub(crate) fn wall(&self) -> Timestamp {
        self.time - self.behind
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn alarm(&mut self, after: Duration, alarm: Alarm) {
        let id = self.new_id();
        self.alarms.insert((self.time + after, id), alarm);
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let at = self.time.as_millis() - EPOCH_MILLIS;
        self.trace.line(format!("{:>6} {at:>9}ms {}", self.steps, line()));
    }

    pub(crate) fn fail(&mut self, why: String) {
        if self.failure.is_none() {
            self.note(|| format!("FAILED {why}"));
            self.failure = Some(why);
        }
    }

    pub(crate) fn check(&mut self, result: Result<(), String>) {
        if let Err(why) = result {
            self.fail(why);
        }
    }

    pub(crate) fn faulty(&self) -> bool {
        self.phase == Phase::Chaos
    }

    /// Lets time pass to the next deadline. False when the run is over.
    fn pass_time(&mut self, busy: bool) -> bool {
        if !busy && self.phase != Phase::Chaos && self.is_quiet() {
            match self.phase {
                Phase::Retire if self.is_empty() => {
                    self.check_empty();
                    return false;
                }
                Phase::Drain if self.is_finished() => self.begin_retire(),
                _ => {}
            }
        }
        let Some(next) = self.next_deadline() else {
            if self.phase == Phase::Chaos {
                self.begin_drain();
            } else if !busy {
                self.fail(format!("nothing will ever happen: {}", self.what_is_open()));
            }
            return true;
        };
        let passed = next.since(self.time);
        self.time = self.time.max(next);
        self.since_time_moved = 0;
        self.bend_clock(passed);
        if self.phase == Phase::Drain && self.time.since(self.drain_since) > DRAIN_MAX {
            self.fail(format!("not everything ends: {}", self.what_is_open()));
        }
        self.ring();
        true
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let alarm = self.alarms.keys().next().map(|(at, _)| *at);
        let node = self.node.as_ref().map(|node| {
            let shards = node.shards.iter().map(mainspring_history::shard::Shard::next_wake).min();
            let matching = node.matching.next_tick().filter(|_| self.phase != Phase::Retire);
            let first = shards.into_iter().chain(matching).min().unwrap_or(Timestamp::MAX);
            if first == Timestamp::MAX { first } else { first + self.behind }
        });
        alarm.into_iter().chain(node).min().filter(|at| *at != Timestamp::MAX)
    }

    fn bend_clock(&mut self, passed: Duration) {
        if !self.faulty() || self.behind > Duration::from_secs(300) {
            return;
        }
        if self.random.hits(self.plan.faults.clock_stands) {
            self.behind += passed;
            self.sometimes.saw("clock stood still");
        }
        if self.random.hits(self.plan.faults.clock_steps_back) {
            self.behind += Duration::from_millis(self.random.between(1, 30_000));
            self.sometimes.saw("clock stepped back");
        }
    }

    fn ring(&mut self) {
        while let Some(entry) = self.alarms.first_entry().filter(|entry| entry.key().0 <= self.time) {
            let alarm = entry.remove();
            match alarm {
                Alarm::CallTimeout(call) => self.call_timed_out(call),
                Alarm::PollTimeout(poll) => self.poll_timed_out(poll),
                Alarm::Client(client) => self.clients[client].pausing = false,
                Alarm::Slot { worker, life, slot } => self.slot_goes_on(worker, life, slot),
                Alarm::ById(by_id) => self.complete_by_id(*by_id),
                Alarm::Resend(sending) => self.network.push(Parcel::Send(sending)),
                Alarm::Late(id) => self.network.extend(self.held_up.remove(&id)),
                Alarm::Restart => self.restart(),
            }
        }
    }

    fn begin_drain(&mut self) {
        self.note(|| "-- faults stop".to_owned());
        self.phase = Phase::Drain;
        self.drain_since = self.time;
        self.requests_left = 0;
        if self.node.is_none() {
            self.restart();
        }
    }

    fn begin_retire(&mut self) {
        self.note(|| "-- everything ended".to_owned());
        self.check_finished();
        self.phase = Phase::Retire;
        self.stop_polling();
    }

    /// A fault, if the seed says so.
    fn maybe_strike(&mut self) {
        if self.random.hits(self.plan.faults.crash) && self.node.is_some() {
            self.crash();
        }
        if self.random.hits(self.plan.faults.evict_all)
            && let Some(node) = &mut self.node
        {
            node.shards.iter_mut().for_each(mainspring_history::shard::Shard::evict_all);
            self.sometimes.saw("all evicted");
            self.note(|| "evict all".to_owned());
        }
        if self.random.hits(self.plan.faults.worker_dies) {
            let worker = self.random.index(self.workers.len());
            self.kill_worker(worker);
        }
        if self.steps.is_multiple_of(97) {
            self.check_stored();
        }
    }

    /// The process dies: what was not durable is gone, nobody is told.
    pub(crate) fn crash(&mut self) {
        self.note(|| "CRASH".to_owned());
        self.sometimes.saw("crash");
        if !self.store.pending().is_empty() {
            self.sometimes.saw("crash with batches in flight");
        }
        for shard in self.store.pending() {
            while self.random.one_in(3) && self.store.execute(shard, Fate::Unheard) {}
        }
        self.node = None;
        self.store.crash();
        self.unanswered.clear();
        self.network.retain(|parcel| matches!(parcel, Parcel::Answer(..)));
        self.held_up.retain(|_, parcel| matches!(parcel, Parcel::Answer(..)));
        self.sendings.clear();
        self.polls_lost();
        self.check_stored();
        let pause = Duration::from_millis(self.random.between(0, 3_000));
        self.alarm(pause, Alarm::Restart);
    }

    fn restart(&mut self) {
        if self.node.is_none() {
            self.note(|| "restart".to_owned());
            self.node = Some(Node::start(&self.plan, &mut self.random));
        }
    }

    /// Time has come for a shard, or for matching.
    fn tick(&mut self, index: usize) {
        let wall = self.wall();
        let Some(node) = &mut self.node else { return };
        let due = node.shards.iter().enumerate().filter(|(_, shard)| shard.next_wake() <= wall);
        let due: Vec<usize> = due.map(|(shard, _)| shard).collect();
        match due.get(index) {
            Some(shard) => self.run_shard(*shard, 0),
            None => {
                let directives = node.matching.tick(wall);
                self.carry_out(directives);
            }
        }
    }

    fn take_mail(&mut self, index: usize) {
        let Some(node) = &self.node else { return };
        let mut full = node.mailboxes.iter().enumerate().filter(|(_, mailbox)| !mailbox.is_empty());
        let Some((shard, _)) = full.nth(index) else { return };
        let mails = self.random.index(6) + 1;
        self.run_shard(shard, mails);
    }

    /// What the task of a shard does once it is woken: takes mails, ticks, flushes, and carries out what comes of it.
    pub(crate) fn run_shard(&mut self, shard: usize, mails: usize) {
        let now = self.wall();
        let Some(node) = &mut self.node else { return };
        let world = World { now, matching: &node.matching };
        let at = self.time.as_millis() - EPOCH_MILLIS;
        for _ in 0..mails {
            let Some(event) = node.mailboxes[shard].pop_front() else { break };
            // Written first: the step may panic.
            let line = crate::world::describe(&event);
            self.trace.line(format!("{:>6} {at:>9}ms shard {shard} takes {line}", self.steps));
            node.shards[shard].handle(event, &world);
        }
        node.shards[shard].handle(mainspring_history::shard::Event::Tick, &world);
        let actions = node.shards[shard].flush(&world);
        self.check_shard(shard);
        for action in actions {
            self.perform(shard, action);
        }
    }
}
