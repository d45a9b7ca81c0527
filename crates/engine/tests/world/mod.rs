//! A small world around the engine: workflow ids with their stored histories, tasks, outbox rows and one virtual clock.
//! Every step is checked against the engine's invariants.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod commands;
mod render;
pub(crate) mod updates;

use std::{collections::BTreeMap, time::Duration};

use mainspring_api::{
    history::History,
    v1::{Payload, command::Command, common::Payloads, enums::WorkflowTaskFailedCause, history::HistoryEvent},
};
use mainspring_engine::{
    Chain, Effect, Input, Limits, Moment, Outcome, Rejected, Reply, Run, RunChange, RunNumber,
    input::{
        ActivityInput, ActivityTarget, Answer, CompleteWorkflowTask, EffectAnswered, FailWorkflowTask, RequestCancel,
        Signal, Start, StartTask, TaskKind, TaskRef, Terminate, WorkflowTaskToken,
    },
    invariants,
    outcome::{
        CompletedWorkflowTask, RefusedCompletion, StartedActivity, StartedRun, StartedWorkflowTask, TaskIntent,
        UpdateEnd,
    },
    step,
};
use mainspring_rt::Timestamp;

pub(crate) const RETENTION: Duration = Duration::from_secs(86_400);
pub(crate) const NAMESPACE: &str = "default";
pub(crate) const NAMESPACE_ID: &str = "00000000-0000-0000-0000-000000000001";

/// An outbox row: whose, its number, what.
pub(crate) struct Row {
    pub(crate) workflow_id: String,
    pub(crate) run: RunNumber,
    pub(crate) number: u64,
    pub(crate) effect: Effect,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) limits: Limits,
    pub(crate) chains: BTreeMap<String, Chain>,
    /// By run number.
    pub(crate) histories: BTreeMap<RunNumber, Vec<HistoryEvent>>,
    /// Runs that are no longer the newest.
    pub(crate) older: BTreeMap<RunNumber, Run>,
    pub(crate) tasks: Vec<TaskIntent>,
    pub(crate) outbox: Vec<Row>,
    pub(crate) expired: Vec<RunNumber>,
    /// Updates that ended without an event, by their ids.
    pub(crate) ended: Vec<(String, UpdateEnd)>,
    steps: u64,
    polls: u64,
}

pub(crate) fn world() -> World {
    World {
        now: Timestamp::from_millis(1_000_000),
        limits: Limits::default(),
        chains: BTreeMap::new(),
        histories: BTreeMap::new(),
        older: BTreeMap::new(),
        tasks: Vec::new(),
        outbox: Vec::new(),
        expired: Vec::new(),
        ended: Vec::new(),
        steps: 0,
        polls: 0,
    }
}

impl World {
    /// One step; what it leaves is stored and checked.
    #[track_caller]
    pub(crate) fn input(&mut self, id: &str, input: Input) -> Result<Reply, Rejected> {
        self.steps += 1;
        let limits = self.limits.clone();
        let moment = Moment::new(self.now, self.steps, &limits, RETENTION, RunNumber(self.steps));
        let chain = self.chains.entry(id.to_owned()).or_default();
        let before = chain.clone();
        match step(chain, input, &moment) {
            Ok(outcome) => Ok(self.store(id, outcome)),
            Err(refused) => {
                assert!(*chain == before, "a refusal changed the chain: {refused:?}");
                Err(refused)
            }
        }
    }

    #[track_caller]
    fn store(&mut self, id: &str, outcome: Outcome) -> Reply {
        if let Some((run, change)) = outcome.superseded.map(|superseded| *superseded) {
            if change.expired {
                self.expired.push(run.number);
            }
            self.store_change(id, &run, change);
            self.older.insert(run.number, run);
        }
        if let Some(change) = outcome.current {
            let run = self.chains[id].run.clone().expect("a change has a run");
            self.store_change(id, &run, change);
        }
        outcome.reply
    }

    #[track_caller]
    fn store_change(&mut self, id: &str, run: &Run, change: RunChange) {
        let history = self.histories.entry(run.number).or_default();
        for chunk in change.chunks {
            let events = History::from_chunks(vec![chunk.bytes]).decode_events().expect("own chunk");
            assert_eq!(events.first().map(|event| event.event_id), Some(chunk.first_event_id));
            assert_eq!(events.last().map(|event| event.event_id + 1), Some(chunk.next_event_id));
            history.extend(events);
        }
        self.tasks.extend(change.tasks);
        for (number, effect) in change.effects {
            self.outbox.push(Row { workflow_id: id.to_owned(), run: run.number, number, effect });
        }
        self.outbox.retain(|row| row.run != run.number || !change.effects_done.contains(&row.number));
        for (update, _) in &change.updates_ended {
            let known = run.updates.contains_key(update) || updates::admitted(run).contains(update);
            assert!(!known, "{id}: update {update} ended and goes on");
        }
        self.ended.extend(change.updates_ended);
        let checks = [
            invariants::check_history(&self.histories[&run.number]),
            invariants::check_fold(run, &self.histories[&run.number]),
            invariants::check_run(run),
        ];
        for check in checks {
            if let Err(why) = check {
                panic!("{id}: {why}\n{}", self.history_of(run.number));
            }
        }
    }

    /// The newest run.
    #[track_caller]
    pub(crate) fn run(&self, id: &str) -> &Run {
        self.chains[id].run.as_ref().expect("a run")
    }

    pub(crate) fn history_of(&self, number: RunNumber) -> String {
        render::history(&self.histories[&number])
    }

    /// The newest run's history reads as expected.
    #[track_caller]
    pub(crate) fn check(&self, id: &str, expected: &str) {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(self.history_of(self.run(id).number), expected.join(" "));
    }

    /// As [`World::check`], of a run that is no longer the newest.
    #[track_caller]
    pub(crate) fn check_older(&self, run_id: &str, expected: &str) {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let run = self.older.values().find(|run| run.fixed.run_id == run_id).expect("an older run");
        assert_eq!(self.history_of(run.number), expected.join(" "));
    }

    pub(crate) fn events(&self, id: &str) -> &[HistoryEvent] {
        &self.histories[&self.run(id).number]
    }

    /// Lets time pass; every wake row that comes due wakes its run, in order.
    #[track_caller]
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.chains.iter().filter_map(|(id, chain)| {
                let run = chain.run.as_ref().filter(|run| run.execution.wake_at != 0)?;
                Some((run.execution.wake_at, id.clone(), run.number))
            });
            let Some((at, id, number)) = next.min().filter(|(at, ..)| *at <= end.as_nanos()) else { break };
            self.now = self.now.max(Timestamp::from_nanos(at));
            self.input(&id, Input::Wake(number)).expect("a wake is never refused");
        }
        self.now = end;
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    // What clients ask.

    #[track_caller]
    pub(crate) fn start(&mut self, id: &str) -> StartedRun {
        self.start_with(id, |_| {})
    }

    #[track_caller]
    pub(crate) fn start_with(&mut self, id: &str, change: impl FnOnce(&mut Start)) -> StartedRun {
        self.try_start(id, change).expect("a start")
    }

    pub(crate) fn try_start(&mut self, id: &str, change: impl FnOnce(&mut Start)) -> Result<StartedRun, Rejected> {
        let mut start = self.start_input(id);
        change(&mut start);
        self.input(id, Input::Start(Box::new(start))).map(started)
    }

    pub(crate) fn start_input(&mut self, id: &str) -> Start {
        self.polls += 1;
        Start {
            namespace_id: NAMESPACE_ID.to_owned(),
            namespace: NAMESPACE.to_owned(),
            workflow_id: id.to_owned(),
            workflow_type: "Type".to_owned(),
            task_queue: "queue".to_owned(),
            request_id: format!("start-{}", self.polls),
            ..Start::default()
        }
    }

    #[track_caller]
    pub(crate) fn signal_with_start(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Start),
    ) -> Result<StartedRun, Rejected> {
        let mut start = self.start_input(id);
        change(&mut start);
        let signal = Signal { name: "s".to_owned(), request_id: start.request_id.clone(), ..Signal::default() };
        self.input(id, Input::SignalWithStart(Box::new(start), Box::new(signal))).map(started)
    }

    pub(crate) fn signal(&mut self, id: &str, request_id: &str) -> Result<Reply, Rejected> {
        let signal = Signal { name: "s".to_owned(), request_id: request_id.to_owned(), ..Signal::default() };
        self.input(id, Input::Signal(Box::new(signal)))
    }

    pub(crate) fn cancel(&mut self, id: &str) -> Result<Reply, Rejected> {
        self.input(id, Input::RequestCancel(Box::default()))
    }

    pub(crate) fn cancel_with(&mut self, id: &str, cancel: RequestCancel) -> Result<Reply, Rejected> {
        self.input(id, Input::RequestCancel(Box::new(cancel)))
    }

    pub(crate) fn terminate(&mut self, id: &str) -> Result<Reply, Rejected> {
        self.input(id, Input::Terminate(Box::default()))
    }

    pub(crate) fn terminate_with(&mut self, id: &str, terminate: Terminate) -> Result<Reply, Rejected> {
        self.input(id, Input::Terminate(Box::new(terminate)))
    }

    // What workers do.

    /// The task that matching last got for the newest run.
    #[track_caller]
    pub(crate) fn task(&self, id: &str, kind: TaskKind) -> TaskIntent {
        let number = self.run(id).number;
        let mine = |intent: &&TaskIntent| intent.task.run == number && intent.task.kind == kind;
        self.tasks.iter().rev().find(mine).expect("a task was handed to matching").clone()
    }

    pub(crate) fn take(&mut self, task: TaskRef, sticky_queue: Option<&str>) -> Result<Reply, Rejected> {
        self.polls += 1;
        let request_id = format!("poll-{}", self.polls);
        self.take_as(task, &request_id, sticky_queue)
    }

    pub(crate) fn take_as(
        &mut self,
        task: TaskRef,
        request_id: &str,
        sticky_queue: Option<&str>,
    ) -> Result<Reply, Rejected> {
        let owner = |chain: &&Chain| chain.run.as_ref().is_some_and(|run| run.number == task.run);
        let id = self.chains.values().find(owner).and_then(|chain| chain.run.as_ref());
        let id = id.map(|run| run.fixed.workflow_id.clone()).ok_or(Rejected::TaskOutdated)?;
        let start = StartTask {
            task,
            request_id: request_id.to_owned(),
            identity: "worker".to_owned(),
            sticky_queue: sticky_queue.map(str::to_owned),
        };
        self.input(&id, Input::StartTask(Box::new(start)))
    }

    /// A worker takes the workflow task from wherever it waits.
    #[track_caller]
    pub(crate) fn poll(&mut self, id: &str) -> StartedWorkflowTask {
        let intent = self.task(id, TaskKind::Workflow);
        let sticky = intent.sticky.then(|| intent.queue.clone());
        match self.take(intent.task, sticky.as_deref()) {
            Ok(Reply::WorkflowTask(task)) => *task,
            other => panic!("no workflow task: {other:?}"),
        }
    }

    /// A worker takes the activity that was last handed out.
    #[track_caller]
    pub(crate) fn poll_activity(&mut self, id: &str) -> StartedActivity {
        match self.take(self.task(id, TaskKind::Activity).task, None) {
            Ok(Reply::ActivityTask(activity)) => *activity,
            other => panic!("no activity task: {other:?}"),
        }
    }

    pub(crate) fn complete_with(
        &mut self,
        id: &str,
        task: &StartedWorkflowTask,
        commands: Vec<Command>,
        change: impl FnOnce(&mut CompleteWorkflowTask),
    ) -> Result<CompletedWorkflowTask, Rejected> {
        let mut input = CompleteWorkflowTask {
            token: token(task),
            commands,
            identity: "worker".to_owned(),
            ..CompleteWorkflowTask::default()
        };
        change(&mut input);
        match self.input(id, Input::CompleteWorkflowTask(Box::new(input)))? {
            Reply::Completed(completed) => Ok(*completed),
            other => panic!("not a completion: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn complete(
        &mut self,
        id: &str,
        task: &StartedWorkflowTask,
        commands: Vec<Command>,
    ) -> CompletedWorkflowTask {
        let completed = self.complete_with(id, task, commands, |_| {}).expect("a completion");
        assert_eq!(completed.refused, None);
        completed
    }

    /// Takes the workflow task and completes it.
    #[track_caller]
    pub(crate) fn work(&mut self, id: &str, commands: Vec<Command>) -> CompletedWorkflowTask {
        let task = self.poll(id);
        self.complete(id, &task, commands)
    }

    /// Takes the workflow task and completes it so that it fails: why.
    #[track_caller]
    pub(crate) fn refused(&mut self, id: &str, commands: Vec<Command>) -> RefusedCompletion {
        let task = self.poll(id);
        let completed = self.complete_with(id, &task, commands, |_| {}).expect("a refusal that is written");
        completed.refused.expect("a refusal")
    }

    pub(crate) fn fail_task(&mut self, id: &str, task: &StartedWorkflowTask) -> Result<Reply, Rejected> {
        let input = FailWorkflowTask {
            token: token(task),
            cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
            failure: None,
            identity: "worker".to_owned(),
            binary_checksum: String::new(),
            worker_version: None,
        };
        self.input(id, Input::FailWorkflowTask(Box::new(input)))
    }

    pub(crate) fn answer_activity(
        &mut self,
        id: &str,
        activity: &StartedActivity,
        input: ActivityInput,
    ) -> Result<Reply, Rejected> {
        let target = ActivityTarget::Token {
            run_id: activity.fixed.run_id.clone(),
            scheduled_event_id: activity.task.event_id,
            attempt: activity.activity.attempt,
            stamp: activity.task.stamp,
        };
        self.input(id, Input::Activity(target, input))
    }

    pub(crate) fn activity_by_id(
        &mut self,
        id: &str,
        activity_id: &str,
        input: ActivityInput,
    ) -> Result<Reply, Rejected> {
        let target = ActivityTarget::Id { run_id: String::new(), activity_id: activity_id.to_owned() };
        self.input(id, Input::Activity(target, input))
    }

    // What the shard does with outbox rows.

    /// Sends rows and brings the answers back until none is left.
    #[track_caller]
    pub(crate) fn deliver(&mut self) {
        while let Some((index, answer)) = self.send_first() {
            self.answer(index, answer);
        }
    }

    /// Sends the first row that can be answered; the answer is not brought back yet.
    #[track_caller]
    pub(crate) fn send_first(&mut self) -> Option<(usize, Answer)> {
        (0..self.outbox.len()).find_map(|index| Some((index, self.send(index)?)))
    }

    /// Sends a row.
    #[track_caller]
    pub(crate) fn send(&mut self, index: usize) -> Option<Answer> {
        let effect = self.outbox[index].effect.clone();
        if effect.namespace != NAMESPACE {
            return Some(effect.namespace_unknown());
        }
        let input = match effect.to_input(self.outbox[index].number, NAMESPACE_ID) {
            Ok(input) => input,
            Err(answer) => return Some(answer),
        };
        let answer = self.input(&effect.workflow_id, input.clone());
        let answer = match answer {
            Err(Rejected::OtherRun) => self.ask_older(&effect.workflow_id, input),
            answer => answer,
        };
        effect.answer(&answer)
    }

    /// An older run is a chain of its own, and closed.
    fn ask_older(&mut self, id: &str, input: Input) -> Result<Reply, Rejected> {
        let Input::Signal(signal) = &input else { return Err(Rejected::OtherRun) };
        let older = self.older.values().find(|run| run.fixed.workflow_id == id && run.fixed.run_id == signal.run_id);
        let mut chain = Chain { run: Some(older.cloned().ok_or(Rejected::OtherRun)?) };
        let limits = self.limits.clone();
        step(&mut chain, input, &Moment::new(self.now, 0, &limits, RETENTION, RunNumber(0)))
            .map(|outcome| outcome.reply)
    }

    /// Brings the answer to a row back to its sender.
    #[track_caller]
    pub(crate) fn answer(&mut self, index: usize, answer: Answer) {
        let row = &self.outbox[index];
        let (id, run, number) = (row.workflow_id.clone(), row.run, row.number);
        let initiated_event_id = row.effect.initiated_event_id;
        let input = EffectAnswered { run, effect: number, initiated_event_id, answer };
        match self.input(&id, Input::EffectAnswered(Box::new(input))) {
            Ok(_) => {}
            Err(Rejected::OtherRun) => self.outbox.retain(|row| row.run != run || row.number != number),
            Err(other) => panic!("an answer was refused: {other:?}"),
        }
    }

    /// The outbox, as text.
    pub(crate) fn rows(&self) -> String {
        self.outbox.iter().map(|row| render::effect(&row.effect)).collect::<Vec<_>>().join(" ")
    }
}

pub(crate) fn token(task: &StartedWorkflowTask) -> WorkflowTaskToken {
    WorkflowTaskToken {
        run_id: task.fixed.run_id.clone(),
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        attempt: task.attempt,
        stamp: task.task.stamp,
    }
}

#[track_caller]
fn started(reply: Reply) -> StartedRun {
    match reply {
        Reply::Started(started) => started,
        other => panic!("not a start: {other:?}"),
    }
}

pub(crate) fn payloads(data: &[u8]) -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload::new("json/plain", data)] })
}

/// More than any payload field may hold.
pub(crate) fn too_large() -> Option<Payloads> {
    payloads(&vec![b'x'; (2 << 20) + 1])
}
