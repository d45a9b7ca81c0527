//! What a worker makes of a workflow task: any commands, on a run with something open, straight into the engine.

use std::time::Duration;

use mainspring_api::{
    history::History,
    v1::{command::Command, history::HistoryEvent, workflowservice::RespondWorkflowTaskCompletedRequest},
};
use mainspring_engine::{
    Chain, Input, Limits, Moment, Outcome, Rejected, Reply, RunNumber,
    input::{CompleteWorkflowTask, Signal, Start, StartTask, WorkflowTaskToken},
    invariants,
    outcome::{StartedWorkflowTask, TaskIntent},
    step,
};
use mainspring_rt::Timestamp;
use prost::Message;

use crate::world;

/// The first byte says what has happened before; the rest is a `RespondWorkflowTaskCompletedRequest`, whose commands are
/// given twice, on one workflow task and on the next. After each step the invariants hold. Or it goes to a whole node, with
/// the token of a task that is there.
pub(crate) fn run(bytes: &[u8]) {
    let Some((before, rest)) = bytes.split_first() else { return };
    let Ok(request) = RespondWorkflowTaskCompletedRequest::decode(rest) else { return };
    if before & 16 == 16 {
        return world::complete(request);
    }
    let mut world = World::new();
    if before & 1 == 1 {
        world.signal();
    }
    for _ in 0..2 {
        let Some(task) = world.take() else { return };
        if before & 2 == 2 {
            // Held back while the worker has the task.
            world.signal();
        }
        world.complete(&task, request.commands.clone(), before & 4 == 4);
        if before & 8 == 8 {
            world.signal();
        }
    }
}

struct World {
    chain: Chain,
    limits: Limits,
    /// Of the newest run.
    number: RunNumber,
    history: Vec<HistoryEvent>,
    tasks: Vec<TaskIntent>,
    steps: u64,
}

impl World {
    fn new() -> World {
        let mut world = World {
            chain: Chain::default(),
            limits: Limits::default(),
            number: RunNumber(0),
            history: Vec::new(),
            tasks: Vec::new(),
            steps: 0,
        };
        let start = Start {
            namespace_id: uuid::Uuid::from_u128(1).to_string(),
            namespace: "default".to_owned(),
            workflow_id: "w".to_owned(),
            workflow_type: "Order".to_owned(),
            task_queue: "orders".to_owned(),
            request_id: "start".to_owned(),
            ..Start::default()
        };
        world.step(Input::Start(Box::new(start))).expect("a start");
        world
    }

    fn signal(&mut self) {
        let request_id = format!("signal {}", self.steps);
        let signal = Signal { name: "s".to_owned(), request_id, ..Signal::default() };
        drop(self.step(Input::Signal(Box::new(signal))));
    }

    fn take(&mut self) -> Option<StartedWorkflowTask> {
        let task = self.tasks.pop()?.task;
        let start = StartTask {
            task,
            request_id: format!("poll {}", self.steps),
            identity: "worker".to_owned(),
            sticky_queue: None,
        };
        match self.step(Input::StartTask(Box::new(start))) {
            Ok(Reply::WorkflowTask(task)) => Some(*task),
            _ => None,
        }
    }

    fn complete(&mut self, task: &StartedWorkflowTask, commands: Vec<Command>, return_new_task: bool) {
        let token = WorkflowTaskToken {
            run_id: task.fixed.run_id.clone(),
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            stamp: task.task.stamp,
        };
        let completion = CompleteWorkflowTask {
            token,
            commands,
            return_new_task,
            identity: "worker".to_owned(),
            namespaces: [("default".to_owned(), task.fixed.namespace_id.clone())].into(),
            ..CompleteWorkflowTask::default()
        };
        drop(self.step(Input::CompleteWorkflowTask(Box::new(completion))));
    }

    fn step(&mut self, input: Input) -> Result<Reply, Rejected> {
        self.steps += 1;
        let now = Timestamp::from_millis(1_000_000 + i64::try_from(self.steps).unwrap_or(0));
        let retention = Duration::from_secs(1);
        let moment = Moment::new(now, self.steps, &self.limits, retention, RunNumber(self.steps));
        let outcome = step(&mut self.chain, input, &moment)?;
        Ok(self.keep(outcome))
    }

    fn keep(&mut self, outcome: Outcome) -> Reply {
        if outcome.superseded.is_some() {
            self.history.clear();
        }
        let Some(change) = outcome.current else { return outcome.reply };
        let run = self.chain.run.as_ref().expect("a change has a run");
        if run.number != self.number {
            self.number = run.number;
            self.history.clear();
            self.tasks.clear();
        }
        for chunk in change.chunks {
            self.history.extend(History::from_chunks(vec![chunk.bytes]).decode_events().expect("own chunk"));
        }
        let workflow_tasks =
            change.tasks.into_iter().filter(|task| task.task.kind == mainspring_engine::input::TaskKind::Workflow);
        self.tasks.extend(workflow_tasks);
        let checks = [
            invariants::check_history(&self.history),
            invariants::check_fold(run, &self.history),
            invariants::check_run(run),
        ];
        for check in checks {
            let types: Vec<_> = self.history.iter().map(|event| event.event_type().as_str_name()).collect();
            assert_eq!(check, Ok(()), "{types:?}");
        }
        outcome.reply
    }
}
