//! What must be true at each step: nothing is said that is not durable, and the store is whole.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_engine::{
    Reply, invariants,
    state::{ItemKey, RunNumber},
};
use mainspring_history::{Answered, Delivered, RunKey, shard::ChainKey};
use mainspring_rt::Timestamp;
use mainspring_store::{ShardId, Table, keys, record::TaskRow};

use crate::{
    sim::Sim,
    stored::{self, StoredRun},
    world::{NAMESPACES, namespace_id, shard_id, task_of},
};

/// What a good answer to a call says, and what must therefore be durable.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    Nothing,
    Started,
    Signalled { key: ChainKey, request_id: String },
    View { run_id: String },
    TaskEnded { run: RunKey, started_event_id: i64 },
    ActivityEnded { run: RunKey, scheduled_event_id: i64 },
}

impl Sim {
    /// A good answer leaves: what it says must be in the store.
    pub(crate) fn check_answer(&mut self, expect: &Expect, answered: &Answered) {
        let result = match (expect, answered) {
            (_, Answered::View(view)) => self.check_view(expect, view),
            (_, Answered::Query(_) | Answered::Update(_)) => Ok(()),
            (_, Answered::Reply(answer)) => {
                if let Reply::Started(started) = &answer.reply {
                    self.check_started(answer.run.shard, &started.run_id)
                } else {
                    self.check_done(expect)
                }
            }
        };
        self.check(result);
    }

    fn check_view(&self, expect: &Expect, view: &mainspring_history::RunView) -> Result<(), String> {
        let number = view.run.number.0;
        if let Expect::View { run_id } = expect
            && !run_id.is_empty()
            && view.run.fixed.run_id != *run_id
        {
            return Err(format!("asked for run {run_id}, shown {}", view.run.fixed.run_id));
        }
        let Some(stored) = stored::load(&self.store, view.key.shard, number)? else {
            return self.was_kept(view.key.shard, number, "a run is shown that is not stored");
        };
        if stored.run.execution.state_transitions < view.run.execution.state_transitions {
            return Err(format!("run {number} is shown further than it is durable"));
        }
        Ok(())
    }

    fn check_started(&self, shard: u16, run_id: &str) -> Result<(), String> {
        let id = uuid::Uuid::parse_str(run_id).map_err(|_| format!("{run_id} is no run id"))?;
        let known = (0..NAMESPACES.len()).any(|namespace| {
            let key = keys::run_id(ShardId(shard), namespace_id(namespace), mainspring_api::ids::RunId(id));
            self.store.get_now(Table::State, &key).is_some()
        });
        let archived = self.archive.values().any(|stored| stored.run.fixed.run_id == run_id);
        if known || archived { Ok(()) } else { Err(format!("run {run_id} is acknowledged and not stored")) }
    }

    fn check_done(&self, expect: &Expect) -> Result<(), String> {
        match expect {
            Expect::Signalled { key, request_id } => {
                let shard = mainspring_api::ids::shard_of(key.namespace, &key.workflow_id, self.plan.shards);
                let item = ItemKey::SignalRequest(request_id.clone());
                let id = ShardId(shard);
                let stored =
                    stored::rows(&self.store, Table::State, keys::kind(id, b'X')).into_iter().any(|(row, _)| {
                        let number = RunNumber(number_of(&row));
                        self.store.get_now(Table::State, &keys::item(id, number, &item)).is_some()
                    });
                let archived = self.archive.values().any(|stored| stored.run.signal_requests.contains(request_id));
                if stored || archived { Ok(()) } else { Err(format!("{request_id} is acknowledged and not stored")) }
            }
            Expect::TaskEnded { run, started_event_id } => match stored::load(&self.store, run.shard, run.run.0)? {
                Some(stored) if stored.run.execution.next_event_id <= started_event_id + 1 => {
                    Err(format!("the end of task {started_event_id} is acknowledged and not stored"))
                }
                Some(_) => Ok(()),
                None => self.was_kept(run.shard, run.run.0, "a task's end is acknowledged and its run not stored"),
            },
            Expect::ActivityEnded { run, scheduled_event_id } => {
                match stored::load(&self.store, run.shard, run.run.0)? {
                    Some(stored) if stored.run.activities.contains_key(scheduled_event_id) => {
                        Err(format!("the end of activity {scheduled_event_id} is acknowledged and not stored"))
                    }
                    Some(_) => Ok(()),
                    None => self.was_kept(run.shard, run.run.0, "an activity's end is acknowledged without its run"),
                }
            }
            Expect::Nothing | Expect::Started | Expect::View { .. } => Ok(()),
        }
    }

    fn was_kept(&self, shard: u16, number: u64, why: &str) -> Result<(), String> {
        if self.archive.contains_key(&(shard, number)) { Ok(()) } else { Err(format!("{why}: {number}")) }
    }

    /// A task leaves for its poller: its start must be in the store.
    pub(crate) fn check_delivered(&mut self, delivered: &Delivered) {
        let run = delivered.run();
        let result = match stored::load(&self.store, run.shard, run.run.0) {
            Ok(Some(stored)) => check_start(&stored, delivered),
            Ok(None) => self.was_kept(run.shard, run.run.0, "a task is delivered and its run not stored"),
            Err(why) => Err(why),
        };
        self.check(result.map_err(|why| format!("{:?}: {why}", task_of(delivered))));
    }

    /// What is in memory of a shard, after a step; and the queues.
    pub(crate) fn check_shard(&mut self, shard: usize) {
        let Some(node) = &self.node else { return };
        let mut result = node.matching.check();
        for (key, run) in node.shards[shard].runs() {
            if let Err(why) = invariants::check_run(run) {
                result = Err(format!("{} run {}: {why}", key.workflow_id, run.number.0));
                break;
            }
        }
        if node.budget.used() > 1 << 40 {
            result = Err("more was taken out of the budget than was in it".to_owned());
        }
        if let Some(panic) = crate::panics::take() {
            result = Err(format!("a step panicked: {panic}"));
        }
        self.check(result);
        if let Some(fact) = self.node.as_ref().and_then(|node| {
            node.shards[shard].runs().any(|(_, run)| !run.buffered.is_empty()).then_some("buffered events")
        }) {
            self.sometimes.saw(fact);
        }
    }

    /// Every row there is, at some moment: batches are atomic, so it must always fit together.
    pub(crate) fn check_stored(&mut self) {
        for shard in 0..self.plan.shards {
            let result = self.check_stored_shard(shard).map_err(|why| format!("store, shard {shard}: {why}"));
            self.check(result);
        }
    }

    fn check_stored_shard(&self, shard: u16) -> Result<(), String> {
        let id = ShardId(shard);
        let runs = stored::load_all(&self.store, shard)?;
        let tasks = self.task_rows(shard)?;
        let named: BTreeSet<(u64, i64, u32)> = tasks.iter().map(|task| (task.run, task.event_id, task.stamp)).collect();
        let mut wakes = BTreeMap::new();
        let mut newest = BTreeMap::new();
        for stored in &runs {
            let run = &stored.run;
            check_one(stored, &named, self.time).map_err(|why| format!("run {}: {why}", run.number.0))?;
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

    /// Task rows that somebody is to use or to delete yet.
    pub(crate) fn live_task_rows(&self) -> usize {
        let wall = self.wall();
        let all = (0..self.plan.shards).flat_map(|shard| self.task_rows(shard).unwrap_or_default());
        all.filter(|task| task.expires.is_none_or(|at| at > wall)).count()
    }

    pub(crate) fn rows_of(&self, kind: u8) -> usize {
        let of = |shard: usize| stored::rows(&self.store, Table::Queue, keys::kind(shard_id(shard), kind)).len();
        (0..usize::from(self.plan.shards)).map(of).sum()
    }
}

fn number_of(key: &[u8]) -> u64 {
    key.get(3..11).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn pointer(key: &bytes::Bytes, value: &bytes::Bytes) -> Option<u64> {
    mainspring_store::record::open::<mainspring_store::record::Current>(key, value.clone()).ok().map(|to| to.run)
}

/// A stored run is whole, equals the fold of its history, and whatever waits for a worker has a row.
fn check_one(stored: &StoredRun, tasks: &BTreeSet<(u64, i64, u32)>, now: Timestamp) -> Result<(), String> {
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
    Ok(())
}

fn check_start(stored: &StoredRun, delivered: &Delivered) -> Result<(), String> {
    match delivered {
        Delivered::Workflow { task, .. } if task.virtual_events.is_empty() => {
            if stored.run.execution.next_event_id <= task.started_event_id {
                return Err("delivered before its start is durable".to_owned());
            }
        }
        Delivered::Workflow { task, .. } => {
            let pending = stored.run.execution.task.as_ref();
            if pending.is_some_and(|pending| pending.stamp == task.task.stamp && !pending.is_started())
                || stored.run.execution.task_stamp < task.task.stamp
            {
                return Err("delivered before its start is durable".to_owned());
            }
        }
        Delivered::Query(_) => {}
        Delivered::Activity { task, .. } => {
            let event_id = task.task.event_id;
            let row = stored.run.activities.get(&event_id);
            if stored.run.execution.next_event_id <= event_id
                || row.is_some_and(|row| row.stamp == task.task.stamp && !row.is_started())
                || row.is_some_and(|row| row.stamp < task.task.stamp)
            {
                return Err("delivered before its start is durable".to_owned());
            }
        }
    }
    Ok(())
}
