//! What must be true when faults have stopped and everything has ended; and when retention has removed it all.

use std::collections::BTreeMap;

use mainspring_api::v1::{
    enums::{EventType, WorkflowExecutionStatus as Status},
    history::{HistoryEvent, history_event::Attributes as A},
};
use mainspring_rt::Timestamp;
use mainspring_store::Table;

use crate::{
    clients::Client,
    commands::text_of,
    sim::Sim,
    stored::{self, StoredRun},
    workers::Doing,
};

/// What became of a signal in the eyes of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Delivered,
    Refused,
}

/// A signal to another workflow.
struct Sent {
    /// What it carries: no other carries the same.
    unique: String,
    namespace: String,
    workflow_id: String,
    told: Told,
}

impl Sim {
    /// Nothing is on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        let node = self.node.as_ref().is_some_and(crate::node::Node::is_idle);
        node && self.store.pending().is_empty()
            && self.network.is_empty()
            && self.held_up.is_empty()
            && self.sendings.is_empty()
    }

    /// Everything has ended that was begun.
    pub(crate) fn is_finished(&self) -> bool {
        let asking = self
            .workers
            .iter()
            .flat_map(|worker| &worker.slots)
            .any(|slot| matches!(slot.doing, Doing::Asking(..) | Doing::Working(_) | Doing::Pausing(Some(_))));
        !asking
            && self.clients.iter().all(Client::is_idle)
            && self.rows_of(b'O') == 0
            && self.rows_of(b'V') == 0
            && self.live_task_rows() == 0
            && self.open_runs().is_empty()
    }

    fn open_runs(&self) -> Vec<StoredRun> {
        let runs = (0..self.plan.shards).flat_map(|shard| stored::load_all(&self.store, shard).unwrap_or_default());
        runs.filter(|stored| stored.run.is_open()).collect()
    }

    /// Only what the data format keeps for ever is left, and task rows that nobody can take any more.
    pub(crate) fn is_empty(&self) -> bool {
        let rows = self.store.snapshot();
        rows.keys().all(|(table, key)| *table == Table::Meta || (*table == Table::Queue && key.get(2) == Some(&b'T')))
    }

    pub(crate) fn check_empty(&mut self) {
        let live = self.live_task_rows();
        if live > 0 {
            self.fail(format!("{live} task rows are left for ever"));
        }
    }

    /// For a failure: what has not ended.
    pub(crate) fn what_is_open(&self) -> String {
        let mut text = String::new();
        for stored in self.open_runs() {
            let run = &stored.run;
            let last = stored.events.last().map(|event| event.event_type().as_str_name());
            text += &format!(
                "\n  run {} of {} in shard {}: last event {last:?}, task {:?}, {} activities, {} timers, {} children, \
                 wake at {}",
                run.number.0,
                run.fixed.workflow_id,
                stored.shard,
                run.execution.task,
                run.activities.len(),
                run.timers.len(),
                run.children.len(),
                run.execution.wake_at
            );
        }
        let node = self.node.as_ref().map(|node| {
            let mails: Vec<usize> = node.mailboxes.iter().map(std::collections::VecDeque::len).collect();
            let idle: Vec<bool> = node.shards.iter().map(mainspring_history::shard::Shard::is_idle).collect();
            format!("mail {mails:?}, idle {idle:?}, reads {}, scans {}", node.reads.len(), node.scans.len())
        });
        text += &format!(
            "\n  {} outbox rows, {} rows of unindexed runs, {} live task rows, {} rows of wakes, {} parcels, {} effects sent, node {node:?}",
            self.rows_of(b'O'),
            self.rows_of(b'V'),
            self.live_task_rows(),
            self.rows_of(b'W'),
            self.network.len(),
            self.sendings.len(),
        );
        let (wall, tasks) =
            (self.wall(), (0..self.plan.shards).flat_map(|shard| self.task_rows(shard).unwrap_or_default()));
        for task in tasks.filter(|task| task.expires.is_none_or(|at| at > wall)) {
            text += &format!("\n  {task:?}");
        }
        text
    }

    /// Everything has ended: is all of it right?
    pub(crate) fn check_finished(&mut self) {
        self.check_stored();
        if let Some((call, expect)) = self.unanswered.first_key_value() {
            let why = format!("call {} was never answered: {expect:?}", call.0);
            return self.fail(why);
        }
        let runs = match self.all_runs() {
            Ok(runs) => runs,
            Err(why) => return self.fail(why),
        };
        let external = self.check_external_signals(&runs);
        let checks = [
            self.check_starts(&runs),
            self.check_signals(&runs),
            self.check_activities(&runs),
            external,
            check_children(&runs),
        ];
        checks.into_iter().for_each(|result| self.check(result));
        runs.iter().for_each(|stored| self.count_facts(stored));
        (0..self.ledger.repeated).for_each(|_| self.sometimes.saw("chain: start deduplicated"));
        self.check_memory();
    }

    /// What need not be in memory can leave it, and then nothing is counted.
    fn check_memory(&mut self) {
        for shard in 0..usize::from(self.plan.shards) {
            self.run_shard(shard, 0);
        }
        let Some(node) = &mut self.node else { return };
        let shards = node.shards.len();
        let (used, most) = (node.budget.used(), self.plan.cache_bytes_max);
        let in_memory: usize = node.shards.iter().map(|shard| shard.runs().count()).sum();
        node.shards.iter_mut().for_each(mainspring_history::shard::Shard::evict_all);
        let rest = node.budget.used();
        if used > most && in_memory > shards {
            self.fail(format!("{used} bytes of runs are in memory, {most} are allowed"));
        }
        if rest != 0 {
            self.fail(format!("{rest} bytes are counted with nothing in memory"));
        }
    }

    fn check_starts(&self, runs: &[StoredRun]) -> Result<(), String> {
        let mut made: BTreeMap<&str, Vec<&StoredRun>> = BTreeMap::new();
        for stored in runs.iter().filter(|stored| stored.run.fixed.continued_run_id.is_empty()) {
            made.entry(&stored.run.fixed.create_request_id).or_default().push(stored);
        }
        for (request_id, of) in &made {
            for pair in of.windows(2) {
                let gone_at = Timestamp::from_nanos(pair[0].run.execution.closed_at) + self.plan.retention;
                if Timestamp::from_nanos(pair[1].run.fixed.started_at) < gone_at {
                    return Err(format!("request {request_id} has started two runs"));
                }
            }
        }
        for (request_id, start) in &self.ledger.starts {
            let found = runs.iter().find(|stored| stored.run.fixed.run_id == start.run_id);
            let Some(found) = found else { return Err(format!("the run that {request_id} was told is lost")) };
            if start.made && found.run.fixed.create_request_id != *request_id {
                return Err(format!("{request_id} was told run {}, which another request made", start.run_id));
            }
            if *found.run.fixed.workflow_id != *start.key.workflow_id {
                return Err(format!("{request_id} was told a run of another workflow"));
            }
        }
        Ok(())
    }

    /// Signals of clients: each at most once in a run, and somewhere if it was acknowledged.
    fn check_signals(&self, runs: &[StoredRun]) -> Result<(), String> {
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for stored in runs {
            let mut here: BTreeMap<String, u64> = BTreeMap::new();
            for event in &stored.events {
                if let Some(A::WorkflowExecutionSignaledEventAttributes(a)) = &event.attributes {
                    *here.entry(a.request_id.clone()).or_default() += 1;
                }
            }
            if let Some((request_id, count)) = here.iter().find(|(_, count)| **count > 1) {
                return Err(format!("{request_id} is {count} times in run {}", stored.run.number.0));
            }
            here.into_iter().for_each(|(request_id, count)| *found.entry(request_id).or_default() += count);
        }
        let dropped = |request_id: &String| {
            runs.iter().any(|stored| stored.run.signal_requests.contains(request_id) && drops_what_it_holds(stored))
        };
        let mut lost = self.ledger.signals.iter().filter(|(request_id, _)| !found.contains_key(*request_id));
        match lost.find(|(request_id, _)| !dropped(request_id)) {
            Some((request_id, key)) => Err(format!("{request_id} to {} was acknowledged and is lost", key.workflow_id)),
            None => Ok(()),
        }
    }

    fn check_activities(&self, runs: &[StoredRun]) -> Result<(), String> {
        for end in &self.ledger.activities {
            let run = runs.iter().find(|stored| (stored.shard, stored.run.number.0) == (end.shard, end.run));
            let Some(run) = run else { return Err(format!("the run of {} is lost", end.result)) };
            let is = |event: &&HistoryEvent| match &event.attributes {
                Some(A::ActivityTaskCompletedEventAttributes(a)) => {
                    text_of(a.result.as_ref()).as_deref() == Some(&end.result)
                }
                _ => false,
            };
            let count = run.events.iter().filter(is).count();
            if count != 1 && !(count == 0 && drops_what_it_holds(run)) {
                return Err(format!("{} of run {} was acknowledged and is there {count} times", end.result, end.run));
            }
        }
        Ok(())
    }

    /// Signals between workflows: both sides say the same.
    fn check_external_signals(&mut self, runs: &[StoredRun]) -> Result<(), String> {
        let mut received: BTreeMap<String, Vec<(u16, u64)>> = BTreeMap::new();
        for stored in runs {
            for event in &stored.events {
                if let Some(A::WorkflowExecutionSignaledEventAttributes(a)) = &event.attributes
                    && a.signal_name == "from-workflow"
                {
                    let unique = text_of(a.input.as_ref()).unwrap_or_default();
                    received.entry(unique).or_default().push((stored.shard, stored.run.number.0));
                }
            }
        }
        for stored in runs {
            for sent in sent_signals(&stored.events) {
                let taken = received.get(&sent.unique).map_or(&[][..], Vec::as_slice);
                if !self.both_sides_agree(&sent, taken, runs) {
                    return Err(format!(
                        "signal {}: {:?} to its sender, received by {taken:?}",
                        sent.unique, sent.told
                    ));
                }
            }
        }
        Ok(())
    }

    /// The chain takes a signal once, and answers a repeat as it did at first, whichever run is the newest by then.
    fn both_sides_agree(&self, sent: &Sent, taken: &[(u16, u64)], runs: &[StoredRun]) -> bool {
        let once = taken.len() <= 1;
        let is_target = |stored: &&StoredRun| {
            let fixed = &stored.run.fixed;
            (&fixed.namespace, &fixed.workflow_id) == (&sent.namespace, &sent.workflow_id)
        };
        let mut targets = runs.iter().filter(is_target);
        match sent.told {
            Told::Nothing => once,
            Told::Delivered => once && (!taken.is_empty() || targets.any(drops_what_it_holds)),
            Told::Refused => taken.iter().all(|run| self.archive.contains_key(run)),
        }
    }

    fn count_facts(&mut self, stored: &StoredRun) {
        for event in &stored.events {
            if let Some(fact) = fact_of(event) {
                self.sometimes.saw(fact);
            }
        }
        if stored.run.status() == Status::Running {
            self.fail(format!("run {} is open", stored.run.number.0));
        }
    }
}

/// Parents and children: both sides say the same.
fn check_children(runs: &[StoredRun]) -> Result<(), String> {
    let mut children: BTreeMap<(String, i64), Vec<&StoredRun>> = BTreeMap::new();
    for stored in runs.iter().filter(|stored| stored.run.fixed.continued_run_id.is_empty()) {
        if let Some(parent) = &stored.run.fixed.parent {
            children.entry((parent.run_id.clone(), parent.initiated_event_id)).or_default().push(stored);
        }
    }
    for stored in runs {
        let run_id = &stored.run.fixed.run_id;
        let mut refused = Vec::new();
        let mut started = Vec::new();
        for event in &stored.events {
            match &event.attributes {
                Some(A::ChildWorkflowExecutionStartedEventAttributes(a)) => {
                    let child = a.workflow_execution.clone().unwrap_or_default();
                    started.push((a.initiated_event_id, child.run_id));
                }
                Some(A::StartChildWorkflowExecutionFailedEventAttributes(a)) => refused.push(a.initiated_event_id),
                _ => {}
            }
        }
        for (initiated, child) in started {
            let of = children.get(&(run_id.clone(), initiated)).map_or(&[][..], Vec::as_slice);
            if of.len() != 1 || of[0].run.fixed.run_id != child {
                let found: Vec<&str> = of.iter().map(|stored| stored.run.fixed.run_id.as_str()).collect();
                return Err(format!("run {run_id} started child {child} by event {initiated}; there is {found:?}"));
            }
        }
        for initiated in refused {
            if children.contains_key(&(run_id.clone(), initiated)) {
                return Err(format!("run {run_id} was refused child {initiated}, which runs"));
            }
        }
    }
    match children.into_iter().find(|(_, of)| of.len() > 1) {
        Some(((run_id, initiated), of)) => {
            Err(format!("event {initiated} of run {run_id} started {} children", of.len()))
        }
        None => Ok(()),
    }
}

/// A run that is ended from outside drops the events that it holds back meanwhile, as in the original
/// (workflow-engine.md, section 4).
fn drops_what_it_holds(stored: &StoredRun) -> bool {
    stored.events.last().is_some_and(|event| {
        matches!(event.event_type(), EventType::WorkflowExecutionTerminated | EventType::WorkflowExecutionTimedOut)
    })
}

/// Each signal to another workflow, and what its sender knows of it.
fn sent_signals(events: &[HistoryEvent]) -> Vec<Sent> {
    let mut sent: BTreeMap<i64, Sent> = BTreeMap::new();
    for event in events {
        let (initiated, told) = match &event.attributes {
            Some(A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a)) => {
                let signal = Sent {
                    unique: text_of(a.input.as_ref()).unwrap_or_default(),
                    namespace: a.namespace.clone(),
                    workflow_id: a.workflow_execution.clone().unwrap_or_default().workflow_id,
                    told: Told::Nothing,
                };
                sent.insert(event.event_id, signal);
                continue;
            }
            Some(A::ExternalWorkflowExecutionSignaledEventAttributes(a)) => (a.initiated_event_id, Told::Delivered),
            Some(A::SignalExternalWorkflowExecutionFailedEventAttributes(a)) => (a.initiated_event_id, Told::Refused),
            _ => continue,
        };
        if let Some(signal) = sent.get_mut(&initiated) {
            signal.told = told;
        }
    }
    sent.into_values().collect()
}

/// What an event shows to have happened.
fn fact_of(event: &HistoryEvent) -> Option<&'static str> {
    use EventType as E;
    if let Some(A::WorkflowExecutionStartedEventAttributes(a)) = &event.attributes {
        return (a.attempt > 1).then_some("run retried");
    }
    Some(match event.event_type() {
        E::WorkflowExecutionTimedOut => "run timed out",
        E::WorkflowExecutionTerminated => match &event.attributes {
            Some(A::WorkflowExecutionTerminatedEventAttributes(a)) if a.reason.contains("TerminateIfRunning") => {
                "chain: open run terminated for a new one"
            }
            _ => "run terminated",
        },
        E::WorkflowExecutionCanceled => "workflow cancelled",
        E::WorkflowExecutionContinuedAsNew => "continued as new",
        E::WorkflowTaskFailed => "workflow task failed",
        E::WorkflowTaskTimedOut => match &event.attributes {
            Some(A::WorkflowTaskTimedOutEventAttributes(a)) if a.started_event_id == 0 => "sticky queue left",
            _ => "workflow task timed out",
        },
        E::ActivityTaskCompleted => "activity completed",
        E::ActivityTaskFailed => "activity failed",
        E::ActivityTaskTimedOut => "activity timed out",
        E::ActivityTaskCanceled => "activity cancelled",
        E::TimerFired => "timer fired",
        E::TimerCanceled => "timer cancelled",
        E::ChildWorkflowExecutionStarted => "child started",
        E::StartChildWorkflowExecutionFailed => "child refused",
        E::ChildWorkflowExecutionCompleted
        | E::ChildWorkflowExecutionFailed
        | E::ChildWorkflowExecutionCanceled
        | E::ChildWorkflowExecutionTimedOut
        | E::ChildWorkflowExecutionTerminated => "child closed",
        E::ExternalWorkflowExecutionSignaled => "external signal delivered",
        E::ExternalWorkflowExecutionCancelRequested => "external cancel delivered",
        E::SignalExternalWorkflowExecutionFailed | E::RequestCancelExternalWorkflowExecutionFailed => {
            "external refused"
        }
        _ => return None,
    })
}
