//! Queries: questions to a workflow's code, answered by a worker and written nowhere.
//!
//! A query of a run with a workflow task pending goes with that task, or the next, so that its answer knows of
//! everything before it. Else it is a task of its own: matching gets it as a task of [`LEVEL`], which has no row and
//! goes before all others. Either way it is handed out only when what it was asked of is durable.

use std::{collections::BTreeMap, time::Duration};

use mainspring_api::{
    ids::QueueKind,
    v1::{
        enums::{QueryRejectCondition, WorkflowExecutionStatus as Status},
        query::WorkflowQuery,
    },
};
use mainspring_engine::{outcome::Rejected, state::Run};
use mainspring_matching::{Poller, QueueName, Task, TaskKey, Version};
use mainspring_rt::Timestamp;

use super::{Action, Answered, ChainKey, Pause, Shard, Waiting, World, batch::Out};
use crate::answer::{Delivered, Error, QueryReply, QueryTask};

/// The level of tasks that are queries: before every other.
pub(super) const LEVEL: u8 = 0;
/// Queries of one run that wait for a workflow task. `history.MaxBufferedQueryCount`
const BUFFERED_MAX: usize = 1;
/// Workflow tasks that fail so often say that the worker cannot answer either.
const ATTEMPTS_MAX: i32 = 3;
/// How often abandoned queries are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Empty: the newest run.
    pub run_id: String,
    pub query: WorkflowQuery,
    pub reject: QueryRejectCondition,
    /// Nobody waits for the answer any more from then on.
    pub deadline: Timestamp,
}

/// The questions under way.
pub(super) struct Queries<A> {
    next: u64,
    open: BTreeMap<u64, Query<A>>,
    /// Before they are next looked through.
    pause: Pause,
}

struct Query<A> {
    key: ChainKey,
    run_id: String,
    answer: A,
    deadline: Timestamp,
    query: WorkflowQuery,
    place: Place,
}

enum Place {
    /// Waits for a workflow task.
    Buffered,
    /// Went out with a workflow task.
    Attached,
    /// Its answer came and is not durable yet.
    Answered,
    /// A task of its own, in matching or with a worker.
    Direct(Box<Direct>),
}

struct Direct {
    task: QueryTask,
    queue: QueueName,
    /// Where it goes when nobody takes it from the sticky queue in time.
    fallback: Option<(Timestamp, QueueName)>,
}

impl<A> Queries<A> {
    /// Ids begin somewhere else in each process, so that an answer to an earlier one's query is not taken for ours.
    pub(super) fn new(seed: u64) -> Queries<A> {
        Queries { next: seed >> 16, open: BTreeMap::new(), pause: Pause::default() }
    }

    pub(super) fn next_sweep(&self) -> Timestamp {
        if self.open.is_empty() { Timestamp::MAX } else { self.pause.until() }
    }

    /// Forgets all; hands out who waited.
    pub(super) fn clear(&mut self) -> Vec<A> {
        std::mem::take(&mut self.open).into_values().map(|query| query.answer).collect()
    }

    fn waiting(&self, key: &ChainKey) -> Vec<u64> {
        if self.open.is_empty() {
            return Vec::new();
        }
        let waiting = self.open.iter().filter(|(_, query)| matches!(query.place, Place::Buffered) && query.key == *key);
        waiting.map(|(id, _)| *id).collect()
    }
}

impl<A, R> Shard<A, R> {
    pub(super) fn query(&mut self, key: &ChainKey, ask: Ask, answer: A, world: &World<'_, R>) {
        let Some(run) = self.chains.run(key).cloned() else {
            let after = self.chains.get(key).seq;
            return self.answer(after, answer, Err(Error::Rejected(Rejected::NotFound)));
        };
        self.query_run(key, &run, ask, answer, world);
    }

    /// Asks a run, the newest or an older one.
    pub(super) fn query_run(&mut self, key: &ChainKey, run: &Run, ask: Ask, answer: A, world: &World<'_, R>) {
        let newest = self.chains.run(key).is_some_and(|newest| newest.number == run.number);
        let after = if newest { self.chains.get(key).seq } else { 0 };
        if is_rejected(ask.reject, run.status()) {
            let reply = Answered::Query(Box::new(QueryReply::Rejected(run.status())));
            return self.answer(after, answer, Ok(reply));
        }
        if let Err(error) = check(run) {
            return self.answer(after, answer, Err(error));
        }
        self.queries.next += 1;
        let id = self.queries.next;
        let direct = !run.is_open() || (run.execution.task.is_none() && run.execution.previous_started_event_id != 0);
        if !direct && self.queries.waiting(key).len() >= BUFFERED_MAX {
            let why = "consistent query buffer is full, this may be caused by too many queries and workflow not able \
                       to process query fast enough";
            return self.answer(after, answer, Err(Error::BusyWorkflow(why)));
        }
        let query = Query {
            key: key.clone(),
            run_id: run.fixed.run_id.clone(),
            answer,
            deadline: ask.deadline,
            query: ask.query,
            place: Place::Buffered,
        };
        self.queries.open.insert(id, query);
        if direct {
            self.dispatch_query(id, run, world);
        }
    }

    /// The queries that go with a workflow task that is being started.
    pub(super) fn attach_queries(&mut self, key: &ChainKey) -> BTreeMap<String, WorkflowQuery> {
        let mut attached = BTreeMap::new();
        for id in self.queries.waiting(key) {
            if let Some(query) = self.queries.open.get_mut(&id) {
                query.place = Place::Attached;
                attached.insert(id.to_string(), query.query.clone());
            }
        }
        attached
    }

    /// The run changed: queries that went with a task that is over wait again, and those that wait for a task that will
    /// not come become tasks of their own.
    pub(super) fn release_queries(&mut self, key: &ChainKey, world: &World<'_, R>) {
        if self.queries.open.is_empty() {
            return;
        }
        let Some(run) = self.chains.run(key).cloned() else { return };
        let running = run.has_started_task();
        let mut idle = Vec::new();
        for (id, query) in self.queries.open.iter_mut().filter(|(_, query)| query.key == *key) {
            if query.run_id != run.fixed.run_id || matches!(query.place, Place::Direct(_) | Place::Answered) {
                continue;
            }
            if !running {
                query.place = Place::Buffered;
            }
            if run.execution.task.is_none() {
                idle.push(*id);
            }
        }
        for id in idle {
            match check(&run) {
                Ok(()) => self.dispatch_query(id, &run, world),
                Err(error) => self.end_query(id, Err(error)),
            }
        }
    }

    /// Makes a query a task of its own.
    fn dispatch_query(&mut self, id: u64, run: &Run, world: &World<'_, R>) {
        let Some(query) = self.queries.open.get(&id) else { return };
        let key = query.key.clone();
        let name = |name: &str| QueueName { namespace: key.namespace, name: name.into(), kind: QueueKind::Workflow };
        let normal = name(&run.fixed.task_queue);
        let sticky = run.execution.sticky.as_ref().filter(|_| run.is_open());
        let sticky = sticky.map(|sticky| (name(&sticky.queue), sticky.schedule_to_start));
        let sticky = sticky.filter(|(queue, _)| world.matching.is_alive(queue, world.now));
        let newest = self.chains.run(&key).is_some_and(|newest| newest.number == run.number);
        let (after, tail) = if newest {
            let entry = self.chains.get(&key);
            (entry.seq, entry.tail.as_ref().clone())
        } else {
            (0, Vec::new())
        };
        let task = QueryTask {
            id,
            query: query.query.clone(),
            run: self.run_key(run.number),
            fixed: run.fixed.clone(),
            previous_started_event_id: run.execution.previous_started_event_id,
            history_from: 1,
            next_event_id: run.execution.next_event_id,
            tail,
        };
        let direct = match sticky {
            Some((queue, wait)) => {
                let until = self.now + Duration::from_nanos(u64::try_from(wait).unwrap_or(0));
                let history_from = task.next_event_id;
                let task = QueryTask { history_from, ..task };
                Direct { task, queue, fallback: Some((until, normal)) }
            }
            None => Direct { task, queue: normal, fallback: None },
        };
        let queue = direct.queue.clone();
        if let Some(query) = self.queries.open.get_mut(&id) {
            query.place = Place::Direct(Box::new(direct));
        }
        self.offer_query(id, queue, after, world);
    }

    /// Puts a query into line once what it asks of is durable.
    fn offer_query(&mut self, id: u64, queue: QueueName, after: u64, world: &World<'_, R>) {
        let Some(query) = self.queries.open.get(&id) else { return };
        let task = Task {
            key: TaskKey { level: LEVEL, task_id: id, shard: self.id.0 },
            run: id,
            event_id: 0,
            stamp: 0,
            version: Version::UNVERSIONED,
            // Matching's time never goes back either.
            expires: Some(self.clock + query.deadline.since(self.now)),
        };
        let out = Out::Offer { queue, task };
        if after <= self.batch.durable() {
            self.release(out, world);
        } else {
            self.batch.hold(after, out);
        }
    }

    /// Matching found a poller for a query.
    pub(super) fn start_query(&mut self, id: u64, queue: &QueueName, poller: Poller<Waiting<R>>, world: &World<'_, R>) {
        let open = self.queries.open.get(&id).filter(|query| query.deadline > self.now);
        match open.map(|query| &query.place) {
            Some(Place::Direct(direct)) if direct.queue == *queue => {
                let delivered = Delivered::Query(Box::new(direct.task.clone()));
                self.actions.push(Action::Deliver { poller, delivered });
            }
            _ => {
                let directives = world.matching.give_back(queue, poller, world.now);
                self.direct(directives);
            }
        }
    }

    pub(super) fn query_undelivered(&mut self, id: u64, world: &World<'_, R>) {
        if let Some(Place::Direct(direct)) = self.queries.open.get(&id).map(|query| &query.place) {
            let queue = direct.queue.clone();
            self.offer_query(id, queue, 0, world);
        }
    }

    pub(super) fn query_answered(&mut self, id: u64, reply: QueryReply) {
        self.end_query(id, Ok(Answered::Query(Box::new(reply))));
    }

    /// A workflow task is being completed. Those of its queries that the completion answers are left alone by the step;
    /// the others wait again. Gives the ids of all.
    pub(super) fn detach_queries(&mut self, key: &ChainKey, results: &BTreeMap<u64, QueryReply>) -> Vec<u64> {
        let mut attached = Vec::new();
        for (id, query) in self.queries.open.iter_mut().filter(|(_, query)| query.key == *key) {
            if matches!(query.place, Place::Attached) {
                attached.push(*id);
                query.place = if results.contains_key(id) { Place::Answered } else { Place::Buffered };
            }
        }
        attached
    }

    /// The completion was taken: its answers leave when it is durable. Or it was refused, and all is as before.
    pub(super) fn settle_queries(
        &mut self,
        key: &ChainKey,
        attached: Vec<u64>,
        mut results: BTreeMap<u64, QueryReply>,
        taken: bool,
    ) {
        for id in attached {
            if !taken {
                if let Some(query) = self.queries.open.get_mut(&id) {
                    query.place = Place::Attached;
                }
            } else if let Some(reply) = results.remove(&id)
                && let Some(query) = self.queries.open.remove(&id)
            {
                let after = self.chains.get(key).seq;
                self.answer(after, query.answer, Ok(Answered::Query(Box::new(reply))));
            }
        }
    }

    fn end_query(&mut self, id: u64, result: Result<Answered, Error>) {
        if let Some(query) = self.queries.open.remove(&id) {
            self.actions.push(Action::Answer { to: query.answer, result });
        }
    }

    /// Forgets queries that nobody waits for, and moves those on that their sticky queue left alone.
    pub(super) fn sweep_queries(&mut self, world: &World<'_, R>) {
        if self.queries.open.is_empty() || !self.queries.pause.is_over(self.now) {
            return;
        }
        let now = self.now;
        self.queries.pause = Pause::begin(now, SWEEP);
        self.queries.open.retain(|_, query| query.deadline > now);
        let mut moved = Vec::new();
        for (id, query) in &mut self.queries.open {
            let Place::Direct(direct) = &mut query.place else { continue };
            if let Some((_, queue)) = direct.fallback.take_if(|(until, _)| *until <= now) {
                direct.task.history_from = 1;
                direct.queue = queue.clone();
                moved.push((*id, queue));
            }
        }
        for (id, queue) in moved {
            self.offer_query(id, queue, 0, world);
        }
    }
}

fn is_rejected(reject: QueryRejectCondition, status: Status) -> bool {
    match reject {
        QueryRejectCondition::NotOpen => status != Status::Running,
        QueryRejectCondition::NotCompletedCleanly => !matches!(status, Status::Running | Status::Completed),
        _ => status == Status::Paused,
    }
}

/// Whether a worker could answer for the run at all.
fn check(run: &Run) -> Result<(), Error> {
    let completed_one = run.execution.previous_started_event_id != 0;
    if !run.is_open() && !completed_one {
        return Err(Error::NotReady("Workflow completed before any workflow task was completed."));
    }
    if run.is_open() && run.execution.task_attempt >= ATTEMPTS_MAX {
        return Err(Error::NotReady("Cannot query workflow due to Workflow Task in failed state."));
    }
    if run.is_open() && run.execution.task.is_none() && !completed_one {
        return Err(Error::NotReady("Workflow task is not scheduled yet."));
    }
    Ok(())
}
