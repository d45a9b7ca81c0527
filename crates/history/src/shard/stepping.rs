//! Inputs applied to chains in memory, and the tasks that come of them.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use mainspring_engine::{
    Moment,
    input::{Input, StartTask, TaskKind, TaskRef},
    outcome::{Chunk, Outcome, Rejected, Reply, RunChange, TaskIntent},
    state::{Run, RunNumber},
};
use mainspring_matching::{Poller, QueueHash, QueueName, Task, TaskKey, Version};
use mainspring_rt::Timestamp;
use mainspring_store::{
    Error as StoreError, Table, keys,
    record::{self, Parked, ShardInfo, TaskRow},
};

use super::{Answered, ChainKey, Phase, Shard, Target, Waiting, Work, World, batch::Out, chains::Found, queries};
use crate::answer::{Answer, Delivered, Error, QueryReply, RunView};

/// Failures of one chain's steps after which the run is frozen.
const STRIKES_MAX: u32 = 3;

impl<A, R> Shard<A, R> {
    /// Brings work to its chain, reading the chain first if need be.
    pub(super) fn route(&mut self, target: Target, work: Work<A, R>, world: &World<'_, R>) {
        if !matches!(self.phase, Phase::Open(_)) || self.broken.is_some() {
            self.early.push_back((target, work));
            return;
        }
        let work = match work {
            // A task without a row names a query, not a run.
            Work::Start { queue, task, poller } if task.key.level == queries::LEVEL => {
                return self.start_query(task.run, &queue, poller, world);
            }
            work => work,
        };
        let key = match target {
            Target::Chain(key) => key,
            Target::Run(run) => match self.chains.key_of(run) {
                Some(key) => key.clone(),
                None => return self.load_owner(run, work),
            },
        };
        match self.chains.find(&key) {
            Found::Ready => self.apply(&key, work, world),
            Found::Loading(waiting) => waiting.push((Target::Chain(key), work)),
            Found::Absent => self.load_chain(key, work),
        }
    }

    fn apply(&mut self, key: &ChainKey, work: Work<A, R>, world: &World<'_, R>) {
        if let Some(run_id) = self.older_run_id(key, &work) {
            return self.older(key, run_id, work, world);
        }
        let newest = self.chains.run(key).map(|run| run.number);
        if let Some(reason) = newest.and_then(|run| self.frozen.get(&run)) {
            let reason = format!("the workflow is parked: {reason}");
            return self.refuse(work, Error::Internal(reason), world);
        }
        match work {
            Work::Call { input, query_results, answer } => self.call(key, *input, query_results, answer, world),
            Work::Start { queue, task, poller } => self.start(key, &queue, &task, poller, world),
            Work::Look { answer: to, .. } => self.look(key, to),
            Work::Watch { next_event_id, answer: to, .. } => self.watch(key, next_event_id, to),
            Work::Query { ask, answer } => self.query(key, *ask, answer, world),
            Work::Update { wanted, answer } => self.update(key, *wanted, answer, world),
            Work::Wake { run, due } => self.wake(key, run, due, world),
        }
    }

    /// The run id that the work names, if it is not the newest run's.
    fn older_run_id(&self, key: &ChainKey, work: &Work<A, R>) -> Option<String> {
        let named = match work {
            Work::Call { input, .. } => named_run(input),
            Work::Look { run_id, .. } | Work::Watch { run_id, .. } => run_id,
            Work::Query { ask, .. } => &ask.run_id,
            Work::Update { wanted, .. } => &wanted.run_id,
            Work::Start { .. } | Work::Wake { .. } => "",
        };
        let newest = self.chains.run(key)?;
        (!named.is_empty() && named != newest.fixed.run_id).then(|| named.to_owned())
    }

    fn call(
        &mut self,
        key: &ChainKey,
        input: Input,
        query_results: BTreeMap<u64, QueryReply>,
        answer: Option<A>,
        world: &World<'_, R>,
    ) {
        let effect = match &input {
            Input::EffectAnswered(answered) => Some((answered.run, answered.effect)),
            _ => None,
        };
        let completes = matches!(input, Input::CompleteWorkflowTask(_));
        let attached = if completes { self.detach_queries(key, &query_results) } else { Vec::new() };
        let result = self.step(key, input, world);
        if completes {
            self.settle_queries(key, attached, query_results, result.is_ok());
        }
        if let (Some((run, number)), Err(Error::Rejected(_))) = (effect, &result) {
            // The run is gone or superseded: the row has nobody else to delete it.
            self.effect_done(run, number);
        } else if let (Some((run, number)), Err(_)) = (effect, &result) {
            self.outbox.answer_lost(run, number);
        }
        let Some(to) = answer else { return };
        let result = result.map(|reply| Answered::Reply(Box::new(self.answered(key, reply))));
        // When the shard just broke down nothing of this step is written: the refusal may leave at once.
        let after = if self.broken.is_some() && result.is_err() { 0 } else { self.chains.get(key).seq };
        #[cfg(planted)]
        let after = if mainspring_rt::planted::is(3) && result.is_err() { 0 } else { after };
        self.answer(after, to, result);
    }

    /// A reply with the history that its tasks need, as far as it is in memory.
    fn answered(&mut self, key: &ChainKey, reply: Reply) -> Answer {
        let run = self.chains.run(key).map_or(RunNumber(0), |run| run.number);
        let from = match &reply {
            Reply::Completed(completed) => {
                let task = completed.next_task.iter().map(|task| task.history_from);
                task.chain(completed.activities.iter().map(|activity| activity.activity.scheduled_event_id)).min()
            }
            Reply::StartedEagerly(_, task) => Some(task.history_from),
            _ => None,
        };
        let next_task = matches!(&reply, Reply::Completed(completed) if completed.next_task.is_some());
        let queries = if next_task { self.attach_queries(key) } else { BTreeMap::new() };
        let tail = from.map_or_else(Vec::new, |from| self.tail(key, from));
        Answer { reply, run: self.run_key(run), tail, queries }
    }

    fn tail(&mut self, key: &ChainKey, from: i64) -> Vec<Chunk> {
        let tail = &self.chains.get(key).tail;
        tail.iter().filter(|chunk| chunk.next_event_id > from).cloned().collect()
    }

    fn look(&mut self, key: &ChainKey, to: A) {
        let after = self.chains.get(key).seq;
        let result = self.view(key).map(|view| Answered::View(Box::new(view)));
        self.answer(after, to, result.ok_or(Error::Rejected(Rejected::NotFound)));
    }

    fn view(&mut self, key: &ChainKey) -> Option<RunView> {
        let entry = self.chains.get(key);
        let run = entry.chain.run.clone().filter(|run| !run.execution.delete_requested)?;
        let tail = entry.tail.as_ref().clone();
        Some(RunView { key: self.run_key(run.number), namespace: key.namespace, run, tail })
    }

    fn watch(&mut self, key: &ChainKey, next_event_id: i64, to: A) {
        let entry = self.chains.get(key);
        let news = entry.chain.run.as_ref().is_none_or(|run| has_news(run, next_event_id));
        if news {
            return self.look(key, to);
        }
        entry.watchers.push((next_event_id, to));
    }

    fn notify(&mut self, key: &ChainKey) {
        let entry = self.chains.get(key);
        if entry.watchers.is_empty() {
            return;
        }
        let run = entry.chain.run.as_ref();
        let (told, waiting) = std::mem::take(&mut entry.watchers)
            .into_iter()
            .partition(|(next_event_id, _)| run.is_none_or(|run| has_news(run, *next_event_id)));
        entry.watchers = waiting;
        let told: Vec<(i64, A)> = told;
        told.into_iter().for_each(|(_, to)| self.look(key, to));
    }

    /// Another run takes the place of this one: who watched it sees its end.
    fn tell_watchers(&mut self, key: &ChainKey, run: Run) {
        let watchers = std::mem::take(&mut self.chains.get(key).watchers);
        let after = self.batch.seq();
        for (_, to) in watchers {
            // Without what is in memory: its last batches are in the store by then.
            let (number, run) = (self.run_key(run.number), run.clone());
            let view = RunView { key: number, namespace: key.namespace, run, tail: Vec::new() };
            self.answer(after, to, Ok(Answered::View(Box::new(view))));
        }
    }

    fn wake(&mut self, key: &ChainKey, run: RunNumber, due: Timestamp, world: &World<'_, R>) {
        let Some(newest) = self.chains.run(key).filter(|newest| newest.number == run) else {
            return self.retire(key, run, due);
        };
        if !newest.is_open() {
            return self.retire(key, run, due);
        }
        let wake_at = newest.execution.wake_at;
        if wake_at == 0 || wake_at > due.as_nanos() {
            // The row has moved since this wake was read. One that was postponed comes after its row.
            return;
        }
        if let Err(error) = self.step(key, Input::Wake(run), world)
            && self.broken.is_none()
        {
            tracing::error!(shard = self.id.0, run = run.0, %error, "a wake-up was refused");
            self.wakes.postpone(run, self.clock + std::time::Duration::from_secs(1));
        }
    }

    /// Starts a task of the backlog. Its row goes, be it started or found outdated.
    fn start(
        &mut self,
        key: &ChainKey,
        queue: &QueueName,
        task: &Task,
        poller: Poller<Waiting<R>>,
        world: &World<'_, R>,
    ) {
        let kind = match queue.kind {
            mainspring_api::ids::QueueKind::Workflow => TaskKind::Workflow,
            mainspring_api::ids::QueueKind::Activity => TaskKind::Activity,
        };
        let task_ref = TaskRef { run: RunNumber(task.run), kind, event_id: task.event_id, stamp: task.stamp };
        let result = self.start_for(key, queue, task_ref, &poller, world);
        if self.broken.is_none() {
            self.delete_task_row(&queue.hash(), task.key);
        }
        self.hand_over(key, queue, poller, result, world);
    }

    fn start_for(
        &mut self,
        key: &ChainKey,
        queue: &QueueName,
        task: TaskRef,
        poller: &Poller<Waiting<R>>,
        world: &World<'_, R>,
    ) -> Result<Reply, Error> {
        let waiting = &poller.handle;
        let input = StartTask {
            task,
            request_id: waiting.request_id.clone(),
            identity: waiting.identity.to_string(),
            sticky_queue: waiting.sticky.then(|| queue.name.to_string()),
        };
        self.step(key, Input::StartTask(Box::new(input)), world)
    }

    /// The poller gets its task once the start is durable; if there is none it goes back to its place.
    fn hand_over(
        &mut self,
        key: &ChainKey,
        queue: &QueueName,
        poller: Poller<Waiting<R>>,
        result: Result<Reply, Error>,
        world: &World<'_, R>,
    ) {
        match result.ok().and_then(|reply| self.delivered(key, reply)) {
            Some(delivered) => {
                let after = self.chains.get(key).seq;
                let queue = queue.clone();
                if after <= self.batch.durable() {
                    self.actions.push(super::Action::Deliver { poller, delivered });
                } else {
                    self.batch.hold(after, Out::Deliver { queue, poller, delivered });
                }
            }
            None => {
                let directives = world.matching.give_back(queue, poller, world.now);
                self.direct(directives);
            }
        }
    }

    fn delivered(&mut self, key: &ChainKey, reply: Reply) -> Option<Delivered> {
        match reply {
            Reply::WorkflowTask(task) => {
                let (run, tail) = (self.run_key(task.task.run), self.tail(key, task.history_from));
                let queries = self.attach_queries(key);
                Some(Delivered::Workflow { task, run, tail, queries })
            }
            Reply::ActivityTask(task) => {
                let scheduled = task.activity.scheduled_event_id;
                let mut tail = self.tail(key, scheduled);
                tail.retain(|chunk| chunk.first_event_id <= scheduled);
                Some(Delivered::Activity { run: self.run_key(task.task.run), task, tail })
            }
            _ => None,
        }
    }

    /// One step of the engine, with everything that follows from it.
    pub(super) fn step(&mut self, key: &ChainKey, input: Input, world: &World<'_, R>) -> Result<Reply, Error> {
        let Phase::Open(claim) = self.phase else { return Err(Error::Unavailable("the shard is closed".to_owned())) };
        if self.broken.is_some() {
            return Err(Error::Unavailable("the shard is being reloaded".to_owned()));
        }
        if self.chains.run(key).is_some_and(|run| !run.is_open()) {
            // It may be superseded in this step, and would then be out of reach at the flush.
            self.write_dirty(key);
        }
        let settings = self.settings.clone();
        let next_run = RunNumber((claim.epoch << 32) | (self.runs_started + 1));
        let retention = (settings.retention)(key.namespace);
        let moment = Moment::new(self.clock, self.random.next(), &settings.limits, retention, next_run);
        let entry = self.chains.get(key);
        let before = entry.chain.run.as_ref().map(|run| run.number);
        match catch_unwind(AssertUnwindSafe(|| (settings.step)(&mut entry.chain, input, &moment))) {
            Ok(Ok(outcome)) => {
                if outcome.current.as_ref().is_some_and(|change| change.created) {
                    self.runs_started += 1;
                }
                Ok(self.record(key, before, outcome, world))
            }
            Ok(Err(rejected)) => Err(Error::Rejected(rejected)),
            Err(panic) => Err(self.break_down(key, before, &panic_text(&panic))),
        }
    }

    /// Takes a step's outcome into the batch.
    fn record(&mut self, key: &ChainKey, before: Option<RunNumber>, outcome: Outcome, world: &World<'_, R>) -> Reply {
        let Outcome { superseded, current, reply } = outcome;
        let mut tasks = Vec::new();
        if let Some(superseded) = superseded {
            let (run, mut change) = *superseded;
            tasks.append(&mut self.record_superseded(key, &run, &mut change));
            self.settle_superseded(key, &run, &change.updates_ended);
            self.tell_watchers(key, run);
        }
        if let Some(mut change) = current {
            tasks.append(&mut self.record_current(key, before, &mut change));
            self.settle_updates(key, &change.updates_ended);
        }
        self.notify(key);
        self.release_queries(key, world);
        tasks.into_iter().for_each(|intent| self.dispatch(key, intent, world));
        reply
    }

    fn record_superseded(&mut self, key: &ChainKey, run: &Run, change: &mut RunChange) -> Vec<TaskIntent> {
        let mut dirty = self.batch.pop_dirty(key).unwrap_or_default();
        dirty.add(change, run);
        self.write_run(key, run, dirty);
        self.chains.get(key).seq = self.batch.seq();
        self.record_rest(run.number, change)
    }

    fn record_current(&mut self, key: &ChainKey, before: Option<RunNumber>, change: &mut RunChange) -> Vec<TaskIntent> {
        let number = self.chains.run(key).map(|run| run.number);
        if number != before {
            self.chains.renumber(key, before, number);
        }
        self.chains.extend_tail(key, &change.chunks);
        if let Some(run) = self.chains.run(key) {
            self.batch.dirty(key).add(change, run);
        }
        self.chains.get(key).seq = self.batch.seq();
        number.map_or_else(Vec::new, |number| self.record_rest(number, change))
    }

    fn record_rest(&mut self, run: RunNumber, change: &mut RunChange) -> Vec<TaskIntent> {
        if let Some(wake) = change.wake {
            self.wakes.moved(self.batch.seq(), run, wake);
        }
        self.add_effects(run, std::mem::take(&mut change.effects));
        for number in std::mem::take(&mut change.effects_done) {
            self.effect_done(run, number);
        }
        std::mem::take(&mut change.tasks)
    }

    /// Finds a worker for a task in the same batch, or leaves a row.
    fn dispatch(&mut self, key: &ChainKey, intent: TaskIntent, world: &World<'_, R>) {
        let queue =
            QueueName { namespace: key.namespace, name: intent.queue.as_str().into(), kind: intent.task.kind.queue() };
        let reserved = world.matching.reserve(&queue, intent.level, &Version::UNVERSIONED, world.now);
        if let Some(poller) = reserved {
            let result = self.start_for(key, &queue, intent.task, &poller, world);
            return self.hand_over(key, &queue, poller, result, world);
        }
        if intent.sticky && !world.matching.is_alive(&queue, world.now) {
            let moved = self.step(key, Input::StickyUnavailable(intent.task), world);
            debug_assert!(moved.is_ok() || self.broken.is_some(), "a task just scheduled can leave its sticky queue");
            return;
        }
        self.write_task_row(queue, intent);
    }

    fn write_task_row(&mut self, queue: QueueName, intent: TaskIntent) {
        let millis = u64::try_from(self.clock.as_millis()).unwrap_or(0);
        self.task_id = (self.task_id + 1).max(millis << 20);
        let task = Task {
            key: TaskKey { level: intent.level, task_id: self.task_id, shard: self.id.0 },
            run: intent.task.run.0,
            event_id: intent.task.event_id,
            stamp: intent.task.stamp,
            version: Version::UNVERSIONED,
            expires: intent.expires,
        };
        let key = keys::task(self.id, &queue.hash(), task.key.level, task.key.task_id);
        self.batch.put(Table::Queue, key, record::seal(&TaskRow::of(&task)));
        let info = record::seal(&ShardInfo { task_id: self.task_id });
        self.batch.put(Table::Meta, keys::shard_info(self.id), info);
        self.batch.hold(self.batch.seq(), Out::Offer { queue, task });
    }

    pub(super) fn delete_task_row(&mut self, queue: &QueueHash, key: TaskKey) {
        if matches!(self.phase, Phase::Open(_)) {
            self.batch.delete(Table::Queue, keys::task(self.id, queue, key.level, key.task_id));
        }
    }

    /// The run that work is about has no rows any more.
    pub(super) fn run_gone(&mut self, run: RunNumber, work: Work<A, R>, world: &World<'_, R>) {
        match &work {
            Work::Start { queue, task, .. } => self.delete_task_row(&queue.hash(), task.key),
            Work::Wake { due, .. } => self.batch.delete(Table::Queue, keys::wake(self.id, *due, run)),
            Work::Call { input, .. } => {
                if let Input::EffectAnswered(answered) = input.as_ref() {
                    self.effect_done(run, answered.effect);
                }
            }
            Work::Look { .. } | Work::Watch { .. } | Work::Query { .. } | Work::Update { .. } => {}
        }
        self.refuse(work, Error::Rejected(Rejected::NotFound), world);
    }

    /// A step failed outright: what is in memory of this shard cannot be trusted any more. The third time the run is
    /// frozen, so that the shard goes on without it.
    fn break_down(&mut self, key: &ChainKey, run: Option<RunNumber>, why: &str) -> Error {
        tracing::error!(shard = self.id.0, workflow_id = %key.workflow_id, why, "a step failed; the shard is reloaded");
        let strikes = self.strikes.entry(key.clone()).or_default();
        *strikes += 1;
        if *strikes >= STRIKES_MAX
            && let Some(run) = run
        {
            self.strikes.remove(key);
            self.frozen.insert(run, why.to_owned());
            let parked =
                Parked { workflow_id: key.workflow_id.to_string(), reason: why.to_owned(), at: self.clock.as_nanos() };
            self.to_park.push((run, parked));
        }
        self.broken = Some(StoreError::Unknown("a step failed".to_owned()));
        Error::Internal(format!("a step failed: {why}"))
    }

    /// Writes the rows of runs that were frozen when the shard was last lost.
    pub(super) fn write_parked(&mut self) {
        for (run, parked) in std::mem::take(&mut self.to_park) {
            self.batch.put(Table::Queue, keys::parked(self.id, run), record::seal(&parked));
        }
    }
}

/// Events beyond what a reader has, or the end.
fn has_news(run: &Run, next_event_id: i64) -> bool {
    !run.is_open() || run.execution.next_event_id > next_event_id
}

/// The run id that an input names; empty for the newest run.
fn named_run(input: &Input) -> &str {
    match input {
        Input::Signal(signal) => &signal.run_id,
        Input::Update(update) => &update.run_id,
        Input::RequestCancel(cancel) => &cancel.run_id,
        Input::Terminate(terminate) => &terminate.run_id,
        Input::CompleteWorkflowTask(complete) => &complete.token.run_id,
        Input::FailWorkflowTask(fail) => &fail.token.run_id,
        Input::ControlActivities(control) => &control.run_id,
        Input::Delete { run_id } | Input::ResetSticky { run_id } | Input::ScheduleFirstTask { run_id, .. } => run_id,
        Input::ChildClosed(closed) => &closed.run_id,
        Input::Activity(target, _) => target.run_id(),
        Input::Start(_)
        | Input::SignalWithStart(..)
        | Input::UpdateWithStart(..)
        | Input::StartTask(_)
        | Input::Undelivered(_)
        | Input::StickyUnavailable(_)
        | Input::Wake(_)
        | Input::EffectAnswered(_) => "",
    }
}

fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
