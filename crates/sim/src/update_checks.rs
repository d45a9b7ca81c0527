//! What is said of updates: it is stored when it leaves the server, and stays true.

use std::collections::{BTreeMap, btree_map::Entry};

use mainspring_api::v1::{
    enums::{EventType, UpdateWorkflowExecutionLifecycleStage as Stage},
    history::{HistoryEvent, history_event::Attributes as A},
    update::{Outcome, UpdateRef, outcome::Value},
    workflowservice::{PollWorkflowTaskQueueResponse, UpdateWorkflowExecutionResponse},
};
use mainspring_engine::state::Run;

use crate::{
    stored::StoredRun,
    update_job::{handling_of, rejected_text},
    world::{Key, Sim},
};

/// How far an update got, in the eyes of a caller.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) run_id: String,
    update_id: String,
    pub(crate) stage: Stage,
    outcome: Option<Outcome>,
}

/// Where an outcome comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The workflow completed the update: an event says so.
    Event,
    /// Its validator said no.
    Validator,
    /// The worker said nothing.
    Silence,
    /// The run took the update and closed before it was done.
    Closed,
}

impl Seen {
    pub(crate) fn of(answer: &UpdateWorkflowExecutionResponse) -> Result<Seen, String> {
        Seen::new(answer.update_ref.clone(), answer.stage(), answer.outcome.clone())
    }

    /// # Errors
    /// The answer does not fit together.
    pub(crate) fn new(of: Option<UpdateRef>, stage: Stage, outcome: Option<Outcome>) -> Result<Seen, String> {
        let UpdateRef { workflow_execution, update_id } = of.unwrap_or_default();
        let run_id = workflow_execution.unwrap_or_default().run_id;
        if run_id.is_empty() || outcome.is_some() != (stage == Stage::Completed) {
            return Err(format!("an update of run {run_id:?} is {stage:?} and its outcome is {outcome:?}"));
        }
        Ok(Seen { run_id, update_id, stage, outcome })
    }

    fn source(&self) -> Option<Source> {
        Some(match &self.outcome.as_ref()?.value {
            Some(Value::Failure(failure)) if failure.message == rejected_text(&self.update_id) => Source::Validator,
            Some(Value::Failure(failure)) if failure.message.contains("wasn't processed by worker") => Source::Silence,
            Some(Value::Failure(failure)) if failure.message.contains("because the Workflow completed") => {
                Source::Closed
            }
            _ => Source::Event,
        })
    }

    /// What its caller met with.
    pub(crate) fn fact(&self) -> &'static str {
        match self.source() {
            None => "update accepted",
            Some(Source::Event) => "update completed",
            Some(Source::Validator) => "update rejected",
            Some(Source::Silence) => "update that no worker answered",
            Some(Source::Closed) => "update of a run that closed first",
        }
    }

    /// Whether events bear it out.
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(self.source(), None | Some(Source::Event | Source::Closed))
    }
}

/// Everything that was said of updates.
#[derive(Default)]
pub(crate) struct UpdateLedger {
    /// What left the server: by run id and update id, the outcome once there is one for good.
    told: BTreeMap<(String, String), Option<Outcome>>,
    /// What callers have heard to be accepted: the workflow, the run, the update.
    pub(crate) heard: Vec<(Key, String, String)>,
    /// By run id and update id: the process that gave the update to a worker.
    carried: BTreeMap<(String, String), u32>,
    /// Workflow tasks without events: run id, and the id that their start would have.
    speculative: Vec<(String, i64)>,
}

impl Sim {
    /// An answer that leaves the server says how far an update got.
    pub(crate) fn check_update_told(&self, namespace: usize, id: &str, seen: &Seen) -> Result<(), String> {
        let run_id = &seen.run_id;
        if seen.update_id != id {
            return Err(format!("asked for update {id}, told of {}", seen.update_id));
        }
        if seen.stage == Stage::Admitted {
            return Ok(());
        }
        let archived = || self.archive().values().find(|stored| stored.run.fixed.run_id == *run_id).cloned();
        let run = self.stored_run(namespace, run_id)?.or_else(|| archived().map(|stored| stored.run));
        let Some(run) = run else { return Err(format!("update {id} of run {run_id}, which was never stored")) };
        check_stored(&run, seen).map_err(|why| format!("update {id} of run {run_id} {why}"))?;
        if seen.is_for_good() { self.ledger().updates.told(seen) } else { Ok(()) }
    }

    /// A task leaves for its poller: which updates it brings, and whether it has events.
    pub(crate) fn note_task_sent(&self, run: Option<&Run>, task: &PollWorkflowTaskQueueResponse) {
        let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
        let node = self.node().as_ref().map_or(0, |node| node.number);
        let mut ledger = self.ledger();
        for message in &task.messages {
            let update = (run_id.clone(), message.protocol_instance_id.clone());
            if ledger.updates.carried.insert(update, node).is_some_and(|before| before != node) {
                self.saw("update lost and brought again");
            }
        }
        let pending = run.and_then(|run| run.execution.task.as_ref());
        if pending.is_some_and(|pending| pending.speculative && pending.started_event_id == task.started_event_id) {
            ledger.updates.speculative.push((run_id, task.started_event_id));
            self.saw("speculative workflow task");
        }
    }

    /// At the end: histories have what was told, once, and nothing of what was rejected.
    pub(crate) fn check_updates(&self, runs: &[StoredRun]) -> Result<(), String> {
        let by_run_id: BTreeMap<&str, Vec<&StoredRun>> = runs.iter().fold(BTreeMap::new(), |mut all, stored| {
            all.entry(stored.run.fixed.run_id.as_str()).or_insert_with(Vec::new).push(stored);
            all
        });
        let find = |run_id: &str| by_run_id.get(run_id).and_then(|of| of.last());
        let mut taken: BTreeMap<(&str, &str), Option<&Outcome>> = BTreeMap::new();
        for stored in runs {
            let run_id = stored.run.fixed.run_id.as_str();
            for event in &stored.events {
                take_event(&mut taken, run_id, event).map_err(|why| format!("run {run_id}: {why}"))?;
            }
        }
        let ledger = self.ledger();
        for ((run_id, id), outcome) in &ledger.updates.told {
            let Some(in_history) = taken.get(&(run_id.as_str(), id.as_str())) else {
                return Err(format!("update {id} was told to be accepted by run {run_id}, which knows nothing of it"));
            };
            match outcome {
                Some(outcome) if !says_closed(outcome) && *in_history != Some(outcome) => {
                    return Err(format!("update {id} of run {run_id} was told {outcome:?}, stored is {in_history:?}"));
                }
                Some(outcome) if says_closed(outcome) && in_history.is_some() => {
                    return Err(format!("update {id} of run {run_id} is done and was told to have been too late"));
                }
                _ => {}
            }
        }
        for (run_id, started) in &ledger.updates.speculative {
            let event = find(run_id).and_then(|stored| stored.events.get(usize::try_from(started - 1).ok()?));
            if event.is_some_and(|event| event.event_type() == EventType::WorkflowTaskStarted) {
                self.saw("speculative workflow task made real");
            }
        }
        Ok(())
    }
}

impl UpdateLedger {
    /// An outcome never changes, and what was accepted is never lost.
    fn told(&mut self, seen: &Seen) -> Result<(), String> {
        match self.told.entry((seen.run_id.clone(), seen.update_id.clone())) {
            Entry::Vacant(entry) => {
                entry.insert(seen.outcome.clone());
            }
            Entry::Occupied(mut entry) => match (entry.get(), &seen.outcome) {
                (Some(before), Some(now)) if before != now => {
                    let id = &seen.update_id;
                    return Err(format!("the outcome of update {id} was {before:?}, now it is {now:?}"));
                }
                (None, Some(now)) => {
                    entry.insert(Some(now.clone()));
                }
                _ => {}
            },
        }
        Ok(())
    }
}

/// The stored run bears out what was said.
fn check_stored(run: &Run, seen: &Seen) -> Result<(), String> {
    let stored = run.updates.get(&seen.update_id);
    let right = match (seen.source(), stored) {
        (Some(Source::Validator), None) => true,
        // It may have been brought and taken since.
        (Some(Source::Silence), _) => true,
        (None, Some(_)) => true,
        (Some(Source::Event), Some(update)) => update.completed_event_id != 0,
        (Some(Source::Closed), Some(update)) => update.completed_event_id == 0 && !run.is_open(),
        _ => false,
    };
    if right {
        return Ok(());
    }
    Err(format!("is told to be {:?} by {:?}, and stored as {stored:?}", seen.stage, seen.source()))
}

fn says_closed(outcome: &Outcome) -> bool {
    matches!(&outcome.value, Some(Value::Failure(failure)) if failure.message.contains("because the Workflow completed"))
}

/// Updates as histories tell of them: accepted once, completed once and only then.
fn take_event<'r>(
    taken: &mut BTreeMap<(&'r str, &'r str), Option<&'r Outcome>>,
    run_id: &'r str,
    event: &'r HistoryEvent,
) -> Result<(), String> {
    match &event.attributes {
        Some(A::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => {
            let id = a.protocol_instance_id.as_str();
            if !handling_of(a.accepted_request.as_ref()).is_some_and(|handling| handling.is_taken()) {
                return Err(format!("update {id} was accepted by nobody"));
            }
            if taken.insert((run_id, id), None).is_some() {
                return Err(format!("update {id} was accepted twice"));
            }
        }
        Some(A::WorkflowExecutionUpdateCompletedEventAttributes(a)) => {
            let id = a.meta.as_ref().map_or("", |meta| &meta.update_id);
            match taken.get_mut(&(run_id, id)) {
                Some(outcome @ None) => *outcome = a.outcome.as_ref(),
                other => return Err(format!("update {id} was completed; it was {other:?} before")),
            }
        }
        _ => {}
    }
    Ok(())
}
