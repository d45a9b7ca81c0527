//! A workflow task in a worker's hands: its history is read and checked, its commands are decided, its answer is taken.

use std::time::Duration;

use mainspring_api::v1::{
    enums::{EventType, WorkflowTaskFailedCause},
    history::{HistoryEvent, history_event::Attributes},
};
use mainspring_engine::{
    Input, Rejected, Reply,
    input::{CompleteWorkflowTask, FailWorkflowTask, WorkflowTaskToken},
    outcome::{Chunk, CompletedWorkflowTask, StartedWorkflowTask},
};
use mainspring_history::{Answered, Error, RunKey};

use crate::{
    checks::Expect,
    commands,
    facts::Facts,
    program::{Program, Type},
    sim::Sim,
    stored,
    workers::{ActivityJob, Doing, Job},
    world::{NAMESPACES, namespace_id},
};

/// How long a task waits on a worker's own queue.
const STICKY: Duration = Duration::from_secs(3);

pub(crate) struct WorkflowJob {
    pub(crate) task: StartedWorkflowTask,
    run: RunKey,
    facts: Facts,
    /// Asked, and asked again when no answer came.
    request: Option<Input>,
}

impl WorkflowJob {
    fn token(&self) -> WorkflowTaskToken {
        WorkflowTaskToken {
            run_id: self.task.fixed.run_id.clone(),
            scheduled_event_id: self.task.scheduled_event_id,
            started_event_id: self.task.started_event_id,
            attempt: self.task.attempt,
            stamp: self.task.task.stamp,
        }
    }
}

impl Sim {
    /// A task has come: the worker takes in what it was told of the history.
    pub(crate) fn receive_workflow(
        &mut self,
        worker: usize,
        slot: usize,
        task: StartedWorkflowTask,
        run: RunKey,
        tail: &[Chunk],
    ) {
        if task.attempt > 1 {
            self.sometimes.saw("workflow task transient");
        }
        match self.facts_for(worker, &task, run, tail) {
            Ok(Some(facts)) => {
                self.workers[worker].cache.insert(task.fixed.run_id.clone(), facts.clone());
                let job = WorkflowJob { task, run, facts, request: None };
                *self.doing(worker, slot) = Doing::Working(Job::Workflow(Box::new(job)));
            }
            Ok(None) => {}
            Err(why) => self.fail(format!(
                "workflow task {} of {} run {}: {why}",
                task.started_event_id, task.fixed.workflow_id, run.run.0
            )),
        }
    }

    /// The run up to the task's start; `None` when retention has taken it meanwhile.
    fn facts_for(
        &mut self,
        worker: usize,
        task: &StartedWorkflowTask,
        run: RunKey,
        tail: &[Chunk],
    ) -> Result<Option<Facts>, String> {
        let from = task.history_from;
        let cached = self.workers[worker].cache.remove(&task.fixed.run_id);
        let cached = cached.filter(|facts| from > 1 && facts.last_event_id + 1 == from);
        if from > 1 {
            self.sometimes.saw(if cached.is_some() { "sticky hit" } else { "sticky miss" });
        }
        let (mut facts, from) = match cached {
            Some(facts) => (facts, from),
            None => (Facts::default(), 1),
        };
        let in_tail = tail.first().is_some_and(|first| first.first_event_id <= from);
        self.sometimes.saw(if in_tail { "history from the tail" } else { "history from the store" });
        let events = if in_tail {
            stored::events_of(tail.iter().map(|chunk| &chunk.bytes))?
        } else {
            match stored::history(&self.store, run.shard, run.run.0)? {
                events if events.is_empty() => return Ok(None),
                events => events,
            }
        };
        let told = events.iter().filter(|event| (from..task.next_event_id).contains(&event.event_id));
        let told: Vec<&HistoryEvent> = told.chain(&task.virtual_events).collect();
        for event in &told {
            facts.apply(event)?;
        }
        check_last(task, told.last().copied())?;
        Ok(Some(facts))
    }

    pub(crate) fn work_on_workflow(&mut self, worker: usize, slot: usize, mut job: WorkflowJob) {
        let faulty = self.faulty();
        let key = Sim::key_of(&job.task.fixed.namespace_id, &job.task.fixed.workflow_id);
        let input = match job.request.take() {
            Some(input) => input,
            None if faulty && self.random.hits(self.plan.faults.worker_idles) => return,
            None if faulty && self.random.hits(self.plan.faults.worker_errs) => {
                self.workers[worker].cache.remove(&job.task.fixed.run_id);
                failure(&job)
            }
            None => self.completion(worker, &job),
        };
        job.request = Some(input.clone());
        let expect = Expect::TaskEnded { run: job.run, started_event_id: job.task.started_event_id };
        let expect = if job.task.attempt > 1 { Expect::Nothing } else { expect };
        self.tell(worker, slot, key, input, expect, Job::Workflow(Box::new(job)));
    }

    fn completion(&mut self, worker: usize, job: &WorkflowJob) -> Input {
        let program = Type::parse(&job.facts.workflow_type).map(Program::of);
        let mut commands =
            program.map_or_else(Vec::new, |program| program.decide(&job.facts, &job.task.fixed.workflow_id));
        let odd = self.faulty() && self.random.hits(self.plan.faults.worker_errs);
        let beats = self.faulty() && self.random.one_in(30);
        if beats {
            commands.clear();
        } else if odd {
            commands.insert(0, if self.random.one_in(2) { commands::complete() } else { commands::cancel_timer("no") });
        }
        let of = &self.workers[worker];
        let sticky = (of.sticky_queue(), STICKY);
        let identity = of.name();
        let namespaces = NAMESPACES.iter().enumerate();
        Input::CompleteWorkflowTask(Box::new(CompleteWorkflowTask {
            token: job.token(),
            commands,
            identity,
            sticky: (!self.random.one_in(4)).then_some(sticky),
            return_new_task: self.random.one_in(2),
            force_new_task: beats,
            namespaces: namespaces.map(|(id, name)| ((*name).to_owned(), namespace_id(id).to_string())).collect(),
            ..CompleteWorkflowTask::default()
        }))
    }

    pub(crate) fn workflow_answered(
        &mut self,
        worker: usize,
        slot: usize,
        job: &WorkflowJob,
        result: Result<Answered, Error>,
    ) {
        let run_id = &job.task.fixed.run_id;
        match result {
            Ok(Answered::Reply(answer)) => match answer.reply {
                Reply::Completed(completed) => self.completed(worker, slot, job, *completed, &answer.tail),
                Reply::Done => {}
                reply => self.fail(format!("a workflow task's worker is told {reply:?}")),
            },
            Ok(Answered::View(_) | Answered::Query(_) | Answered::Update(_)) => {
                self.fail("a workflow task's worker gets a view".to_owned())
            }
            Err(Error::Rejected(
                Rejected::WorkflowTaskNotFound
                | Rejected::NotFound
                | Rejected::Closed
                | Rejected::OtherRun
                | Rejected::InvalidArgument(_),
            )) => {
                self.workers[worker].cache.remove(run_id);
            }
            Err(error) => self.fail(format!("a workflow task's worker is refused with {error:?}")),
        }
    }

    fn completed(
        &mut self,
        worker: usize,
        slot: usize,
        job: &WorkflowJob,
        completed: CompletedWorkflowTask,
        tail: &[Chunk],
    ) {
        if let Some(refused) = completed.refused {
            self.workers[worker].cache.remove(&job.task.fixed.run_id);
            if refused.cause == WorkflowTaskFailedCause::UnhandledCommand {
                self.sometimes.saw("unhandled command");
            }
        }
        let activities = completed.activities.into_iter().map(|activity| ActivityJob::new(activity, job.run));
        self.workers[worker].eager.extend(activities);
        if let Some(next) = completed.next_task {
            self.sometimes.saw("workflow task inline");
            self.receive_workflow(worker, slot, *next, job.run, tail);
        }
    }
}

fn failure(job: &WorkflowJob) -> Input {
    Input::FailWorkflowTask(Box::new(FailWorkflowTask {
        token: job.token(),
        cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
        failure: Some(commands::failure("the worker has a bug")),
        identity: "worker".to_owned(),
        binary_checksum: String::new(),
        worker_version: None,
    }))
}

/// What a worker is told ends with the start of its task.
fn check_last(task: &StartedWorkflowTask, last: Option<&HistoryEvent>) -> Result<(), String> {
    let Some(last) = last else { return Err("no event is told".to_owned()) };
    if last.event_type() != EventType::WorkflowTaskStarted || last.event_id != task.started_event_id {
        let (kind, id) = (last.event_type().as_str_name(), last.event_id);
        return Err(format!("the last event is {kind} {id}, not the task's start"));
    }
    match &last.attributes {
        Some(Attributes::WorkflowTaskStartedEventAttributes(started))
            if started.scheduled_event_id == task.scheduled_event_id =>
        {
            Ok(())
        }
        other => Err(format!("the task's start names another task: {other:?}")),
    }
}
