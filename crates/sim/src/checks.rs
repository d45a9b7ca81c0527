//! What must be true at each step: nothing is said that is not durable, and the store is whole.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_api::v1::workflowservice::{
    PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedResponse,
};
use mainspring_engine::{
    effect::Effect,
    invariants,
    state::{ItemKey, Run, RunNumber},
};
use mainspring_rt::Timestamp;
use mainspring_store::{
    ShardId, Table, keys,
    record::{self, TaskRow},
};
use prost::Message;

use crate::{
    stored::{self, StoredRun, number_of},
    world::Sim,
};

impl Sim {
    /// A signal was acknowledged: some run has taken it.
    pub(crate) fn check_signal_stored(&self, request_id: &str) -> Result<(), String> {
        let item = ItemKey::SignalRequest(request_id.to_owned());
        let stored = self.shards().map(ShardId).any(|id| {
            stored::rows(&self.store, Table::State, keys::kind(id, b'X')).into_iter().any(|(row, _)| {
                let number = RunNumber(number_of(&row));
                self.store.get_now(Table::State, &keys::item(id, number, &item)).is_some()
            })
        });
        let archived = || self.archive().values().any(|stored| stored.run.signal_requests.contains(request_id));
        if stored || archived() { Ok(()) } else { Err(format!("{request_id} is acknowledged and not stored")) }
    }

    /// A run was shown with so many events.
    pub(crate) fn check_shown(&self, run_id: &str, events: i64) -> Result<(), String> {
        let stored = (0..crate::world::NAMESPACES.len()).find_map(|namespace| self.find_run(namespace, run_id));
        match stored {
            Some((shard, number)) => match stored::load_run(&self.store, shard, number)? {
                Some(run) if run.execution.next_event_id <= events => {
                    Err(format!("run {run_id} is shown further than it is durable"))
                }
                _ => Ok(()),
            },
            None if self.was_archived(run_id) => Ok(()),
            None => Err(format!("run {run_id} is shown and not stored")),
        }
    }

    /// The end of a workflow task was acknowledged.
    pub(crate) fn check_task_ended(&self, namespace: usize, run_id: &str, started: i64) -> Result<(), String> {
        match self.stored_run(namespace, run_id)? {
            Some(run) if run.execution.next_event_id <= started + 1 => {
                Err(format!("the end of task {started} of run {run_id} is acknowledged and not stored"))
            }
            _ => Ok(()),
        }
    }

    /// The end of an activity was acknowledged.
    pub(crate) fn check_activity_ended(&self, namespace: usize, run_id: &str, activity: &str) -> Result<(), String> {
        match self.stored_run(namespace, run_id)? {
            Some(run) if run.activities.values().any(|open| open.activity_id == activity) => {
                Err(format!("the end of activity {activity} of run {run_id} is acknowledged and not stored"))
            }
            _ => Ok(()),
        }
    }

    /// A workflow task leaves for its poller: its start must be stored.
    pub(crate) fn check_workflow_task_stored(
        &self,
        namespace: usize,
        task: &PollWorkflowTaskQueueResponse,
    ) -> Result<(), String> {
        let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
        let run = self.stored_run(namespace, &run_id)?;
        self.note_task_sent(run.as_ref(), task);
        let Some(run) = run.filter(|_| task.query.is_none()) else { return Ok(()) };
        let pending =
            run.execution.task.as_ref().filter(|pending| {
                pending.scheduled_event_id < task.started_event_id && pending.attempt == task.attempt
            });
        let waiting = pending.is_some_and(|pending| !pending.is_started());
        let behind = match pending {
            // Its events are to come, if it ever has any.
            Some(pending) if pending.speculative => pending.started_event_id != task.started_event_id,
            _ => task.attempt <= 1 && run.execution.next_event_id <= task.started_event_id,
        };
        if waiting || behind {
            return Err(format!(
                "task {} of run {run_id} is delivered before its start is durable",
                task.started_event_id
            ));
        }
        Ok(())
    }

    /// An activity leaves for its poller: its start must be stored.
    pub(crate) fn check_activity_task_stored(
        &self,
        namespace: usize,
        task: &PollActivityTaskQueueResponse,
    ) -> Result<(), String> {
        let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
        let Some(run) = self.stored_run(namespace, &run_id)? else { return Ok(()) };
        let open = run.activities.values().find(|open| open.activity_id == task.activity_id);
        if open.is_some_and(|open| open.attempt < task.attempt || (open.attempt == task.attempt && !open.is_started()))
        {
            let id = &task.activity_id;
            return Err(format!("activity {id} of run {run_id} is delivered before its start is durable"));
        }
        Ok(())
    }

    /// Attempts of activities that leave the server with an answer.
    pub(crate) fn note_sent(&self, method: &str, answer: &[u8]) {
        let tasks = match method {
            "PollActivityTaskQueue" => PollActivityTaskQueueResponse::decode(answer).into_iter().collect(),
            "RespondWorkflowTaskCompleted" => RespondWorkflowTaskCompletedResponse::decode(answer)
                .map(|answer| answer.activity_tasks)
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        for task in tasks {
            let run_id = task.workflow_execution.unwrap_or_default().run_id;
            self.ledger().sent(&run_id, &task.activity_id, task.attempt);
        }
    }

    /// What is in the memory of a node.
    pub(crate) fn check_node(&self) {
        let Some(node) = self.node().clone() else { return };
        self.check(node.history.matching().check());
        let used = node.history.cache_bytes();
        if used > self.plan.cache_bytes_max {
            self.saw("cache full");
        }
        if used > 1 << 40 {
            self.fail("more was taken out of the budget than was in it".to_owned());
        }
    }

    /// Every row there is, at some moment: batches are atomic, so it must always fit together.
    pub(crate) fn check_stored(&self) {
        for shard in self.shards() {
            let result = self.check_stored_shard(shard).map_err(|why| format!("store, shard {shard}: {why}"));
            self.check(result);
        }
    }

    fn check_stored_shard(&self, shard: u16) -> Result<(), String> {
        let id = ShardId(shard);
        let runs = stored::load_all(&self.store, shard)?;
        let tasks = self.task_rows(shard)?;
        let named: BTreeSet<(u64, i64, u32)> = tasks.iter().map(|task| (task.run, task.event_id, task.stamp)).collect();
        let effects = self.outbox(shard)?;
        let mut wakes = BTreeMap::new();
        let mut newest = BTreeMap::new();
        for stored in &runs {
            let run = &stored.run;
            if !run.buffered.is_empty() {
                self.saw("events held back");
            }
            check_one(stored, &named, &effects, self.latest()).map_err(|why| format!("run {}: {why}", run.number.0))?;
            if run.execution.wake_at != 0 {
                wakes.insert(run.number.0, run.execution.wake_at);
            }
            let chain = (run.fixed.namespace_id.clone(), run.fixed.workflow_id.clone());
            let last = newest.entry(chain).or_insert(run);
            if last.number <= run.number {
                *last = run;
            }
            if run.is_open() && last.number != run.number {
                return Err(format!("run {} is open and not the newest", run.number.0));
            }
        }
        for (key, _) in stored::rows(&self.store, Table::Queue, keys::kind(id, b'W')) {
            let Some((due, run)) = keys::parse_wake(&key) else { return Err("a wake row has a bad key".to_owned()) };
            match wakes.remove(&run.0) {
                Some(at) if at == due.as_nanos() => {}
                other => return Err(format!("run {}: wake row at {}, run says {other:?}", run.0, due.as_nanos())),
            }
        }
        if let Some((run, at)) = wakes.pop_first() {
            return Err(format!("run {run} has no wake row at {at}"));
        }
        if let Some((key, _)) = stored::rows(&self.store, Table::Queue, keys::kind(id, b'D')).first() {
            return Err(format!("run {} is parked", number_of(key)));
        }
        self.check_pointers(id, &runs, &newest)
    }

    fn check_pointers(
        &self,
        id: ShardId,
        runs: &[StoredRun],
        newest: &BTreeMap<(String, String), &mainspring_engine::Run>,
    ) -> Result<(), String> {
        let numbers: BTreeSet<u64> = runs.iter().map(|stored| stored.run.number.0).collect();
        let pointers = stored::rows(&self.store, Table::State, keys::kind(id, b'C'));
        let pointed: BTreeSet<u64> = pointers.iter().filter_map(|(key, value)| pointer(key, value)).collect();
        if let Some(gone) = pointed.iter().find(|number| !numbers.contains(number)) {
            return Err(format!("a workflow id points at run {gone}, which is not stored"));
        }
        if let Some(run) = newest.values().find(|run| run.is_open() && !pointed.contains(&run.number.0)) {
            return Err(format!("nothing points at open run {}", run.number.0));
        }
        for (key, value) in stored::rows(&self.store, Table::State, keys::kind(id, b'U')) {
            if pointer(&key, &value).is_none_or(|number| !numbers.contains(&number)) {
                return Err("a run id points at a run that is not stored".to_owned());
            }
        }
        for (key, _) in stored::rows(&self.store, Table::Queue, keys::kind(id, b'O')) {
            let run = keys::parse_outbox(&key).map(|(run, _)| run.0);
            if run.is_none_or(|run| !numbers.contains(&run)) {
                return Err(format!("an outbox row is left of run {run:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn task_rows(&self, shard: u16) -> Result<Vec<mainspring_matching::Task>, String> {
        let rows = stored::rows(&self.store, Table::Queue, keys::kind(ShardId(shard), b'T'));
        rows.into_iter().map(|(key, value)| TaskRow::read(shard, &key, value).map_err(|why| why.to_string())).collect()
    }

    /// What runs have under way to others: run, and the event that initiated it.
    fn outbox(&self, shard: u16) -> Result<BTreeSet<(u64, i64)>, String> {
        let rows = stored::rows(&self.store, Table::Queue, keys::kind(ShardId(shard), b'O'));
        let effect = |(key, value): (bytes::Bytes, bytes::Bytes)| {
            let (run, _) = keys::parse_outbox(&key).ok_or_else(|| "an outbox row has a bad key".to_owned())?;
            let effect: Effect = record::open(&key, value).map_err(|why| why.to_string())?;
            Ok((run.0, effect.initiated_event_id))
        };
        rows.into_iter().map(effect).collect()
    }

    /// Task rows that somebody is to use or to delete yet.
    pub(crate) fn live_task_rows(&self) -> usize {
        let wall = self.latest();
        let all = self.shards().flat_map(|shard| self.task_rows(shard).unwrap_or_default());
        all.filter(|task| task.expires.is_none_or(|at| at > wall)).count()
    }

    pub(crate) fn rows_of(&self, kind: u8) -> usize {
        let of = |shard| stored::rows(&self.store, Table::Queue, keys::kind(ShardId(shard), kind)).len();
        self.shards().map(of).sum()
    }
}

fn pointer(key: &bytes::Bytes, value: &bytes::Bytes) -> Option<u64> {
    mainspring_store::record::open::<mainspring_store::record::Current>(key, value.clone()).ok().map(|to| to.run)
}

/// A stored run is whole, equals the fold of its history, and whatever waits for a worker has a row.
fn check_one(
    stored: &StoredRun,
    tasks: &BTreeSet<(u64, i64, u32)>,
    effects: &BTreeSet<(u64, i64)>,
    now: Timestamp,
) -> Result<(), String> {
    let StoredRun { run, events, .. } = stored;
    invariants::check_run(run)?;
    invariants::check_history(events)?;
    invariants::check_fold(run, events)?;
    let number = run.number.0;
    if let Some(task) = run.execution.task.as_ref().filter(|task| !task.is_started() || task.undelivered) {
        let row = tasks.contains(&(number, task.scheduled_event_id, task.stamp));
        if !row && task.deadline() == Timestamp::MAX {
            return Err(format!("nothing hands out workflow task {}", task.scheduled_event_id));
        }
    }
    for activity in run.activities.values().filter(|activity| activity.dispatched && !activity.is_started()) {
        let row = tasks.contains(&(number, activity.scheduled_event_id, activity.stamp));
        // A row past its deadline goes before the shard, whose clock may be behind, has ended the activity.
        if !row && activity.deadline() > now {
            return Err(format!("nothing hands out activity {}", activity.scheduled_event_id));
        }
    }
    check_outward(run, effects)
}

/// Whatever waits for another execution's answer has a row that asks for it.
fn check_outward(run: &Run, effects: &BTreeSet<(u64, i64)>) -> Result<(), String> {
    let unstarted = run.children.values().filter(|child| child.started_event_id == 0);
    let waiting = unstarted.map(|child| child.initiated_event_id).chain(run.externals.keys().copied());
    match waiting.into_iter().find(|initiated| !effects.contains(&(run.number.0, *initiated))) {
        Some(initiated) => Err(format!("nothing is on its way for event {initiated}")),
        None => Ok(()),
    }
}
