//! Lanes: the threads that run workflow code. Each has its runs in memory; none has a runtime, a clock or a lock held
//! while code of a user is polled.
//!
//! Whoever waits for a lane watches it: a lane that stays in one piece of user code beyond the deadline is left behind,
//! and another thread goes on with its queue.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mainspring_api::v1::{common::WorkflowExecution, history::HistoryEvent};
use tokio::sync::oneshot;

use crate::{
    error::{Error, Result},
    payload::{Payload, RawArgs},
    workflow::{
        Fault, LastOperation,
        def::WorkflowSet,
        instance::{Feed, Instance, Locals, Turn},
        local_activity::Marked,
        panic,
        rehearsal::Rehearsal,
        task::{self, Pulse, Whereabouts},
    },
};

/// How long code of a workflow may run without waiting for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// How often a lane that seems to be stuck is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The lanes of a worker.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    next_job: AtomicU64,
}

#[derive(Debug)]
struct Lane {
    queue: Arc<Queue>,
    seat: Mutex<Arc<Seat>>,
    settings: Arc<LaneSettings>,
}

/// What a lane may keep and run.
#[derive(Debug)]
pub(crate) struct LaneSettings {
    pub(crate) namespace: String,
    pub(crate) set: WorkflowSet,
    pub(crate) runs_max: usize,
    pub(crate) bytes_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

/// The thread that has a lane at the moment.
#[derive(Debug)]
struct Seat {
    pulse: Arc<Pulse>,
    job: AtomicU64,
    retired: AtomicBool,
}

#[derive(Debug)]
struct Job {
    number: u64,
    order: Order,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

/// What a lane is to do.
#[derive(Debug)]
pub(crate) enum Order {
    Task(Box<TaskOrder>),
    /// Replays a part of a long history, which lies before the workflow task in hand. The first one begins with event 1.
    Page(Box<Page>),
    /// Nobody goes on with a replay.
    Forget {
        replay: u64,
    },
    LocalEnded {
        run_id: String,
        marked: Box<Marked>,
    },
    /// Sends what there is so far, though local activities are running.
    Flush {
        run_id: String,
    },
    Evict {
        run_id: String,
    },
    RollBack {
        run_id: String,
        to: i64,
    },
    /// Forgets all runs that wait for nothing here.
    EvictIdle,
}

/// A part of a history, all events of which are there that the code's next steps need.
#[derive(Debug)]
pub(crate) struct Page {
    /// The number of the replay that it belongs to.
    pub(crate) replay: u64,
    pub(crate) execution: WorkflowExecution,
    pub(crate) kind: String,
    pub(crate) events: Vec<HistoryEvent>,
    pub(crate) bytes: usize,
}

/// A workflow task, or a query.
#[derive(Debug)]
pub(crate) struct TaskOrder {
    pub(crate) execution: WorkflowExecution,
    pub(crate) kind: String,
    pub(crate) feed: Feed,
    /// The replay that read the pages before, if there were any.
    pub(crate) replay: Option<u64>,
    pub(crate) bytes: usize,
    pub(crate) previous_started: i64,
    pub(crate) queries: Vec<(String, String, RawArgs)>,
    /// The whole history, to do the task a second time and compare.
    pub(crate) verify: Option<Vec<HistoryEvent>>,
}

/// What a lane says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The run is not here, and the order has not all of its history. It comes back, to be completed.
    NeedHistory(Box<TaskOrder>),
    /// The run is not here any more.
    Gone,
    /// The workflow task has to wait for local activities.
    Locals {
        locals: Locals,
        task_timeout: Duration,
    },
    Done(Box<Done>),
    /// Nothing more is to be said.
    Noted,
}

/// A workflow task that is done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) turn: Turn,
    pub(crate) answers: Vec<(String, Result<Payload>)>,
}

impl Lanes {
    pub(crate) fn new(count: usize, namespace: &str, set: &WorkflowSet, runs_max: usize, bytes_max: usize) -> Lanes {
        panic::install_hook();
        let count = count.max(1);
        let lanes = (0..count).map(|_| {
            let settings = LaneSettings {
                namespace: namespace.to_owned(),
                set: set.clone(),
                runs_max: runs_max.div_ceil(count),
                bytes_max: bytes_max / count,
            };
            let (queue, settings) = (Arc::new(Queue::default()), Arc::new(settings));
            let seat = Mutex::new(take_seat(&queue, &settings));
            Lane { queue, seat, settings }
        });
        Lanes { lanes: lanes.collect(), next_job: AtomicU64::new(1) }
    }

    /// A number that nothing else has.
    pub(crate) fn number(&self) -> u64 {
        self.next_job.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets the lane of a run do something, and waits for no answer.
    pub(crate) fn tell(&self, run_id: &str, order: Order) {
        let (reply, _) = oneshot::channel();
        self.lane_of(run_id).queue.push(Job { number: self.number(), order, reply });
    }

    /// Lets the lane of a run do something.
    ///
    /// # Errors
    /// What the code did wrong, or that it did not come back within the deadline.
    pub(crate) async fn call(&self, run_id: &str, order: Order) -> Result<Answer, Fault> {
        let (lane, number) = (self.lane_of(run_id), self.number());
        let (reply, mut answer) = oneshot::channel();
        lane.queue.push(Job { number, order, reply });
        let mut patience = DEADLINE;
        loop {
            match tokio::time::timeout(patience, &mut answer).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => return Err(Fault::Unusable("the worker is stopping".to_owned())),
                Err(_) => {}
            }
            patience = LOOK;
            if let Some(fault) = lane.leave_behind(number) {
                return Err(fault);
            }
        }
    }

    fn lane_of(&self, run_id: &str) -> &Lane {
        let mut hasher = DefaultHasher::new();
        run_id.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or(0);
        &self.lanes[index]
    }

    /// Puts all runs out of memory whose tasks are not in hand, before anything that is asked for later.
    pub(crate) fn evict_all(&self) {
        for lane in &self.lanes {
            let (reply, _) = oneshot::channel();
            lane.queue.push(Job { number: self.number(), order: Order::EvictIdle, reply });
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.queue.lock().closed = true;
            lane.queue.more.notify_all();
        }
    }
}

impl Lane {
    /// Leaves the thread behind if it is stuck in this job, and says where.
    fn leave_behind(&self, job: u64) -> Option<Fault> {
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        let after_ms = seat.pulse.stuck_ms()?;
        if seat.job.load(Ordering::Relaxed) != job || Duration::from_millis(after_ms) < DEADLINE {
            return None;
        }
        let last = match seat.pulse.last() {
            Some(Whereabouts::Operation(at)) => LastOperation::Asked(format!("an operation at {at}")),
            Some(Whereabouts::Definition(at)) => LastOperation::Nothing { defined_at: at.to_string() },
            None => LastOperation::Nothing { defined_at: "a place that is not known".to_owned() },
        };
        seat.retired.store(true, Ordering::Relaxed);
        *seat = take_seat(&self.queue, &self.settings);
        Some(Fault::Deadline { after_ms, last })
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.lock().waiting.push_back(job);
        self.more.notify_one();
    }

    /// The next job; nothing when the lane is given up.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn take_seat(queue: &Arc<Queue>, settings: &Arc<LaneSettings>) -> Arc<Seat> {
    let pulse = Arc::new(Pulse::new());
    let seat = Arc::new(Seat { pulse, job: AtomicU64::new(0), retired: AtomicBool::new(false) });
    let (queue, settings, own) = (queue.clone(), settings.clone(), seat.clone());
    let spawned = std::thread::Builder::new().name("workflow-lane".to_owned()).spawn(move || {
        task::set_pulse(own.pulse.clone());
        let mut runs = Runs::new(settings);
        while !own.retired.load(Ordering::Relaxed) {
            let Some(job) = queue.next() else { break };
            own.job.store(job.number, Ordering::Relaxed);
            let answer = runs.carry_out(job.order);
            if own.retired.load(Ordering::Relaxed) {
                break;
            }
            drop(job.reply.send(answer));
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "a thread for workflows cannot be started");
    }
    seat
}

/// The runs that a lane has in memory, the least recently used first to go.
struct Runs {
    settings: Arc<LaneSettings>,
    runs: HashMap<String, Kept>,
    by_use: BTreeMap<u64, String>,
    /// Runs whose histories are still coming, page by page. A query may replay a run beside its workflow task.
    replays: HashMap<u64, Kept>,
    clock: u64,
    bytes: usize,
}

struct Kept {
    instance: Instance,
    /// True when a fault has ended the workflow while it was replayed: what follows in its history is no concern of it.
    over: bool,
    used: u64,
    bytes: usize,
    queries: Vec<(String, String, RawArgs)>,
    verify: Option<Vec<HistoryEvent>>,
    task_timeout: Duration,
}

impl Kept {
    fn new(instance: Instance) -> Kept {
        let task_timeout = Duration::from_secs(10);
        Kept { instance, over: false, used: 0, bytes: 0, queries: Vec::new(), verify: None, task_timeout }
    }
}

/// Whether a run may be put out of memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Idle,
    /// Its workflow task waits for local activities.
    InHand,
}

impl Runs {
    fn new(settings: Arc<LaneSettings>) -> Runs {
        Runs { settings, runs: HashMap::new(), by_use: BTreeMap::new(), replays: HashMap::new(), clock: 0, bytes: 0 }
    }

    fn carry_out(&mut self, order: Order) -> Result<Answer, Fault> {
        match order {
            Order::Task(order) => self.task(*order),
            Order::Page(page) => self.page(*page),
            Order::Forget { replay } => {
                drop(self.replays.remove(&replay));
                Ok(Answer::Noted)
            }
            Order::LocalEnded { run_id, marked } => {
                let Some(mut kept) = self.take(&run_id) else { return Ok(Answer::Gone) };
                let done = kept.instance.local_ended(*marked);
                self.go_on(run_id, kept, done, false)
            }
            Order::Flush { run_id } => {
                let Some(kept) = self.take(&run_id) else { return Ok(Answer::Gone) };
                self.go_on(run_id, kept, Ok(()), true)
            }
            Order::Evict { run_id } => {
                drop(self.take(&run_id));
                Ok(Answer::Noted)
            }
            Order::RollBack { run_id, to } => {
                if let Some(mut kept) = self.take(&run_id) {
                    kept.instance.roll_back_to(to);
                    self.keep(run_id, kept, Use::Idle);
                }
                Ok(Answer::Noted)
            }
            Order::EvictIdle => {
                for run_id in std::mem::take(&mut self.by_use).into_values() {
                    drop(self.take(&run_id));
                }
                Ok(Answer::Noted)
            }
        }
    }

    fn page(&mut self, page: Page) -> Result<Answer, Fault> {
        let Page { replay, execution, kind, events, bytes } = page;
        let mut kept = match self.replays.remove(&replay) {
            Some(kept) => kept,
            None if events.first().is_some_and(|first| first.event_id == 1) => self.fresh(execution, &kind)?,
            // The thread that had it was left behind.
            None => return Ok(Answer::Gone),
        };
        kept.instance.add_bytes(bytes);
        if !kept.over
            && let Err(fault) = kept.instance.advance(Feed { events, ..Feed::default() })
        {
            kept.over = kept.instance.end_with(&fault);
            if !kept.over {
                return Err(fault);
            }
        }
        self.replays.insert(replay, kept);
        Ok(Answer::Noted)
    }

    fn fresh(&self, execution: WorkflowExecution, kind: &str) -> Result<Kept, Fault> {
        let def = self.settings.set.find(kind)?.clone();
        Ok(Kept::new(Instance::new(&self.settings.namespace, execution, def)))
    }

    fn task(&mut self, order: TaskOrder) -> Result<Answer, Fault> {
        let run_id = order.execution.run_id.clone();
        let first = order.feed.events.first().map(|event| event.event_id);
        let fits = self.runs.get(&run_id).is_some_and(|kept| {
            // What it did last is what the server knows: its task was not lost.
            let same = kept.instance.last_started() == order.previous_started;
            // A query may come while a workflow task waits for local activities.
            same && (order.feed.live || self.by_use.contains_key(&kept.used))
        });
        // A query leaves what it cannot use to the workflow task that it came beside.
        let kept = if fits || order.feed.live { self.take(&run_id).filter(|_| fits) } else { None };
        let mut kept = match (order.replay, kept, first) {
            (Some(replay), ..) => match self.replays.remove(&replay) {
                Some(kept) => kept,
                None => return Ok(Answer::Gone),
            },
            (None, Some(kept), _) => kept,
            (None, None, Some(1)) => self.fresh(order.execution.clone(), &order.kind)?,
            (None, None, _) => return Ok(Answer::NeedHistory(Box::new(order))),
        };
        if !kept.over && first.is_some_and(|first| first > kept.instance.last_event() + 1) {
            return Ok(Answer::NeedHistory(Box::new(order)));
        }
        kept.queries = order.queries;
        kept.verify = order.verify;
        kept.instance.add_bytes(order.bytes);
        let live = order.feed.live;
        let advanced = if kept.over { Ok(()) } else { kept.instance.advance(order.feed) };
        if let Some(info) = kept.instance.info() {
            kept.task_timeout = info.task_timeout;
        }
        self.go_on(run_id, kept, advanced, !live)
    }

    /// What comes of a step of a run: it waits for local activities, or its task is done.
    fn go_on(
        &mut self,
        run_id: String,
        mut kept: Kept,
        step: Result<(), Fault>,
        at_once: bool,
    ) -> Result<Answer, Fault> {
        if let Err(fault) = step
            && !kept.instance.end_with(&fault)
        {
            return Err(fault);
        }
        let locals = kept.instance.locals();
        if locals.waiting && !at_once {
            let task_timeout = kept.task_timeout;
            self.keep(run_id, kept, Use::InHand);
            return Ok(Answer::Locals { locals, task_timeout });
        }
        let (mut answers, mut spoiled) = (Vec::new(), false);
        for (id, name, args) in std::mem::take(&mut kept.queries) {
            // A query that did more than look fails alone; what it did goes with the run.
            let answer = kept.instance.query(&name, args).unwrap_or_else(|fault| {
                spoiled = true;
                Err(Error::from_failure(fault.to_failure()))
            });
            answers.push((id, answer));
        }
        let turn = kept.instance.turn();
        if let Some(events) = kept.verify.take().filter(|_| !locals.waiting) {
            let rehearsal = Rehearsal { instance: kept.instance.again(), events };
            rehearsal.compare(&turn)?;
        }
        let beside_another = self.runs.contains_key(&run_id);
        if !spoiled && !beside_another && (!kept.instance.is_closed() || !answers.is_empty()) {
            self.keep(run_id, kept, Use::Idle);
        }
        Ok(Answer::Done(Box::new(Done { turn, answers })))
    }

    fn take(&mut self, run_id: &str) -> Option<Kept> {
        let kept = self.runs.remove(run_id)?;
        self.by_use.remove(&kept.used);
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        Some(kept)
    }

    fn keep(&mut self, run_id: String, mut kept: Kept, usage: Use) {
        self.clock += 1;
        kept.used = self.clock;
        kept.bytes = kept.instance.bytes();
        self.bytes = self.bytes.saturating_add(kept.bytes);
        if usage == Use::Idle {
            self.by_use.insert(self.clock, run_id.clone());
        }
        self.runs.insert(run_id, kept);
        while self.runs.len() > self.settings.runs_max.max(1)
            || self.bytes > self.settings.bytes_max && self.runs.len() > 1
        {
            let Some((_, oldest)) = self.by_use.first_key_value() else { break };
            let oldest = oldest.clone();
            drop(self.take(&oldest));
        }
    }
}
