//! What must be true when faults have stopped and everything has ended; and when retention has removed it all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use mainspring_api::{
    time::from_timestamp,
    v1::{
        enums::{EventType, WorkflowExecutionStatus},
        history::{HistoryEvent, history_event::Attributes as A},
        workflow::WorkflowExecutionInfo,
        workflowservice::{ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse},
    },
};
use mainspring_engine::Run;
use mainspring_store::Table;
use tonic::Status;

use crate::{
    commands::text_of,
    network::no_check,
    stored::{StoredRun, made_by},
    world::{NAMESPACES, Sim},
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

/// What the index shows of a run: run id and status.
type Shown = BTreeSet<(String, i32)>;

impl Sim {
    /// Everything has ended that was begun.
    pub(crate) fn is_finished(&self) -> bool {
        self.clients_busy.load(Ordering::Relaxed) == 0
            && self.workers_busy.load(Ordering::Relaxed) == 0
            && self.store.pending().is_empty()
            && self.rows_of(b'O') == 0
            && self.rows_of(b'V') == 0
            && self.live_task_rows() == 0
            && self.stored_runs().iter().all(|run| !run.is_open())
    }

    /// Only what the data format keeps for ever is left, and task rows that nobody can take any more.
    pub(crate) fn is_empty(&self) -> bool {
        let rows = self.store.snapshot();
        let gone = |key: &[u8]| key.get(2) == Some(&b'T');
        self.live_task_rows() == 0
            && rows.keys().all(|(table, key)| *table == Table::Meta || (*table == Table::Queue && gone(key)))
    }

    /// For a failure: what has not ended.
    pub(crate) fn what_is_open(&self) -> String {
        let mut text = String::new();
        for run in self.stored_runs().iter().filter(|run| run.is_open()) {
            text += &format!(
                "\n  run {} of {}: task {:?}, {} activities, {} timers, {} children, {} on their way, wake at {}",
                run.number.0,
                run.fixed.workflow_id,
                run.execution.task,
                run.activities.len(),
                run.timers.len(),
                run.children.len(),
                run.externals.len(),
                run.execution.wake_at
            );
        }
        text += &format!(
            "\n  {} clients, {} tasks with workers, {} outbox rows, {} rows of unindexed runs, {} live task rows, \
             {} rows of wakes, writes of {:?} waiting",
            self.clients_busy.load(Ordering::Relaxed),
            self.workers_busy.load(Ordering::Relaxed),
            self.rows_of(b'O'),
            self.rows_of(b'V'),
            self.live_task_rows(),
            self.rows_of(b'W'),
            self.store.pending(),
        );
        let mut kinds: BTreeMap<(Table, Option<char>), usize> = BTreeMap::new();
        for (table, key) in self.store.snapshot().keys() {
            *kinds.entry((*table, key.get(2).map(|kind| char::from(*kind)))).or_default() += 1;
        }
        text += &format!("\n  rows: {kinds:?}");
        for task in self.shards().flat_map(|shard| self.task_rows(shard).unwrap_or_default()) {
            text += &format!("\n  {task:?}");
        }
        text
    }

    /// Everything has ended: is all of it right?
    pub(crate) fn check_finished(&self) {
        self.check_stored();
        let runs = match self.all_runs() {
            Ok(runs) => runs,
            Err(why) => return self.fail(why),
        };
        let checks = [
            self.check_starts(&runs),
            self.check_signals(&runs),
            self.check_activities(&runs),
            self.check_external_signals(&runs),
            self.check_updates(&runs),
            check_children(&runs),
        ];
        checks.into_iter().for_each(|result| self.check(result));
        for stored in &runs {
            self.check(self.check_attempts(stored));
            self.count_facts(stored);
        }
        let repeated = self.ledger().repeated;
        (0..repeated).for_each(|_| self.saw("chain: start deduplicated"));
    }

    /// Every run that is stored is listed as it stands, and no other, once the index has heard of all.
    pub(crate) async fn check_lists(&self) {
        const TRIES: u32 = 60;
        for namespace in 0..NAMESPACES.len() {
            for left in (0..TRIES).rev() {
                let Some(listed) = self.listed(namespace).await else { return };
                let stored: Shown = self.stored_shown(namespace);
                if listed == stored {
                    break;
                }
                if left == 0 {
                    return self.fail(format!("stored: {stored:?}, listed: {listed:?}"));
                }
                self.pause(500, 1_500).await;
            }
        }
    }

    fn stored_shown(&self, namespace: usize) -> Shown {
        let of = |run: &&Run| run.fixed.namespace == NAMESPACES[namespace];
        self.stored_runs().iter().filter(of).map(|run| (run.fixed.run_id.clone(), run.execution.status)).collect()
    }

    async fn listed(&self, namespace: usize) -> Option<Shown> {
        let mut shown = Shown::new();
        let mut request = ListWorkflowExecutionsRequest {
            namespace: NAMESPACES[namespace].to_owned(),
            page_size: 7,
            ..Default::default()
        };
        loop {
            let answer: Result<ListWorkflowExecutionsResponse, Status> =
                self.ask("ListWorkflowExecutions", &request, &no_check()).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(status) => {
                    self.refused("a list", &status, &[]);
                    return None;
                }
            };
            let row = |info: WorkflowExecutionInfo| (info.execution.unwrap_or_default().run_id, info.status);
            shown.extend(answer.executions.into_iter().map(row));
            if answer.next_page_token.is_empty() {
                return Some(shown);
            }
            request.next_page_token = answer.next_page_token;
        }
    }

    /// The ceiling holds, and what need not be in memory can leave it; then nothing is counted.
    pub(crate) async fn check_memory(&self) {
        /// Of the one chain that each shard may keep, with its newest history.
        const CHAIN_BYTES_MAX: usize = 64 << 10;
        let Some(node) = self.node().clone() else { return };
        let used = node.history.cache_bytes();
        if used > self.plan.cache_bytes_max + usize::from(self.plan.tuning.shards) * CHAIN_BYTES_MAX {
            self.fail(format!("{used} bytes of runs are in memory, {} are allowed", self.plan.cache_bytes_max));
        }
        // Retention may bring a chain back into memory at any moment, but not each time; and the last fault may hold the
        // shard's task up for a second.
        let mut rest = used;
        for _ in 0..40 {
            node.history.evict_all();
            self.pause(1, 100).await;
            rest = node.history.cache_bytes();
            if rest == 0 {
                return;
            }
        }
        self.fail(format!("{rest} bytes are counted with nothing in memory"));
    }

    /// An attempt that ran out of time was in a worker's hands: what reaches nobody is handed out again.
    fn check_attempts(&self, stored: &StoredRun) -> Result<(), String> {
        let event = |id: i64| stored.events.get(usize::try_from(id - 1).ok()?);
        for ended in &stored.events {
            let Some(A::ActivityTaskTimedOutEventAttributes(end)) = &ended.attributes else { continue };
            let Some(started) = event(end.started_event_id) else { continue };
            let (Some(A::ActivityTaskStartedEventAttributes(start)), Some(scheduled)) =
                (&started.attributes, event(end.scheduled_event_id))
            else {
                continue;
            };
            let Some(A::ActivityTaskScheduledEventAttributes(of)) = &scheduled.attributes else { continue };
            // A start is written with the end, and with its time: this is the earliest that it can have been.
            let since = from_timestamp(scheduled.event_time.as_ref());
            let run_id = &stored.run.fixed.run_id;
            if !self.ledger().was_sent(run_id, &of.activity_id, start.attempt, since) {
                let (id, attempt) = (&of.activity_id, start.attempt);
                return Err(format!("attempt {attempt} of activity {id} of run {run_id} has reached nobody"));
            }
        }
        Ok(())
    }

    fn check_starts(&self, runs: &[StoredRun]) -> Result<(), String> {
        // One that is gone was looked at when it went.
        let mut made = BTreeSet::new();
        for run in runs.iter().map(|stored| &stored.run).filter(|run| !self.was_archived(&run.fixed.run_id)) {
            if let Some(request_id) = made_by(run).filter(|request_id| !made.insert(*request_id)) {
                return Err(format!("request {request_id} has started two runs"));
            }
        }
        for (request_id, start) in &self.ledger().starts {
            let found = runs.iter().find(|stored| stored.run.fixed.run_id == start.run_id);
            let Some(found) = found else { return Err(format!("the run that {request_id} was told is lost")) };
            if start.made && found.run.fixed.create_request_id != *request_id {
                return Err(format!("{request_id} was told run {}, which another request made", start.run_id));
            }
            if found.run.fixed.workflow_id != start.key.workflow_id {
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
        let ledger = self.ledger();
        let mut lost = ledger.signals.iter().filter(|(request_id, _)| !found.contains_key(*request_id));
        match lost.find(|(request_id, _)| !dropped(request_id)) {
            Some((request_id, key)) => Err(format!("{request_id} to {} was acknowledged and is lost", key.workflow_id)),
            None => Ok(()),
        }
    }

    fn check_activities(&self, runs: &[StoredRun]) -> Result<(), String> {
        for end in &self.ledger().activities {
            let run = runs.iter().find(|stored| stored.run.fixed.run_id == end.run_id);
            let Some(run) = run else { return Err(format!("the run of {} is lost", end.result)) };
            let is = |event: &&HistoryEvent| match &event.attributes {
                Some(A::ActivityTaskCompletedEventAttributes(a)) => {
                    text_of(a.result.as_ref()).as_deref() == Some(&end.result)
                }
                _ => false,
            };
            let count = run.events.iter().filter(is).count();
            if count != 1 && !(count == 0 && drops_what_it_holds(run)) {
                return Err(format!(
                    "{} of run {} was acknowledged and is there {count} times",
                    end.result, end.run_id
                ));
            }
        }
        Ok(())
    }

    /// Signals between workflows: both sides say the same.
    fn check_external_signals(&self, runs: &[StoredRun]) -> Result<(), String> {
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
            Told::Refused => taken.iter().all(|run| self.archive().contains_key(run)),
        }
    }

    fn count_facts(&self, stored: &StoredRun) {
        for event in &stored.events {
            if let Some(fact) = fact_of(event) {
                self.saw(fact);
            }
        }
        if stored.run.status() == WorkflowExecutionStatus::Running {
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
