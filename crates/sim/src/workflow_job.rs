//! A workflow task in a worker's hands: its history is read and checked, its commands are decided, its answer is taken.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainspring_api::{
    time::duration,
    v1::{
        common::WorkflowExecution,
        enums::{EventType, QueryResultType, WorkflowTaskFailedCause as Cause},
        history::HistoryEvent,
        query::{WorkflowQuery, WorkflowQueryResult},
        taskqueue::StickyExecutionAttributes,
        workflowservice::{
            GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, PollWorkflowTaskQueueResponse,
            ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse, RespondQueryTaskCompletedRequest,
            RespondQueryTaskCompletedResponse, RespondWorkflowTaskCompletedRequest,
            RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest, RespondWorkflowTaskFailedResponse,
            respond_workflow_task_completed_request::Capabilities,
        },
    },
};
use prost::Message;
use tonic::{Code, Status};

use crate::{
    commands::{self, payloads, text_of},
    facts::Facts,
    network::{Check, no_check},
    program::{Program, Type},
    update_job::{Asked, Said},
    worker::Worker,
    world::NAMESPACES,
};

/// A run as a task shows it.
struct Read {
    facts: Facts,
    /// As it was when the task before this one started.
    before: Facts,
}

/// How long a task waits on a worker's own queue.
const STICKY: Duration = Duration::from_secs(3);

impl Worker {
    /// Works on the task, and on those that come with its answer.
    pub(crate) async fn work_on_workflow(self: Arc<Self>, namespace: usize, task: PollWorkflowTaskQueueResponse) {
        let mut next = Some(task);
        while let Some(task) = next.take() {
            if task.attempt > 1 {
                self.sim.saw("workflow task transient");
            }
            if let Some(query) = &task.query {
                return self.answer_query(namespace, &task, query).await;
            }
            let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
            let Read { facts, before } = match self.facts_for(namespace, &task).await {
                Ok(Some(read)) => read,
                Ok(None) => return,
                Err(why) => {
                    let started = task.started_event_id;
                    return self.sim.fail(format!("workflow task {started} of run {run_id}: {why}"));
                }
            };
            self.cache().insert(run_id.clone(), facts.clone());
            let faults = &self.sim.plan.faults;
            if self.sim.strikes(faults.worker_idles) {
                return self.sim.saw("worker idled");
            }
            if self.sim.strikes(faults.worker_errs) {
                self.cache().remove(&run_id);
                return self.report_failure(namespace, &task, Cause::WorkflowWorkerUnhandledFailure).await;
            }
            next = self.clone().complete(namespace, &task, facts, before).await;
        }
    }

    async fn answer_query(&self, namespace: usize, task: &PollWorkflowTaskQueueResponse, query: &WorkflowQuery) {
        self.sim.saw("query task");
        let answer = answer_to(query);
        let request = RespondQueryTaskCompletedRequest {
            task_token: task.task_token.clone(),
            completed_type: QueryResultType::Answered as i32,
            query_result: answer.answer,
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        };
        let answer: Result<RespondQueryTaskCompletedResponse, Status> =
            self.sim.ask("RespondQueryTaskCompleted", &request, &no_check()).await;
        if let Err(status) = answer {
            self.sim.refused("the answer to a query", &status, &[Code::NotFound]);
        }
    }

    /// The run up to the task's start; `None` when the worker gives up on it.
    async fn facts_for(&self, namespace: usize, task: &PollWorkflowTaskQueueResponse) -> Result<Option<Read>, String> {
        let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
        let history = task.history.clone().unwrap_or_default();
        let mut events = history.decode_events().map_err(|why| why.to_string())?;
        let first = events.first().map_or(0, |event| event.event_id);
        let cached = self.cache().remove(&run_id);
        let cached = cached.filter(|facts| first > 1 && facts.last_event_id + 1 == first);
        if first > 1 {
            self.sim.saw(if cached.is_some() { "sticky hit" } else { "sticky miss" });
        }
        let mut facts = cached.unwrap_or_default();
        if first > 1 && facts.last_event_id == 0 {
            if self.sim.random().one_in(3) {
                self.give_up(namespace, task).await;
                return Ok(None);
            }
            match self.whole_history(namespace, task).await? {
                Some(whole) => events = whole,
                None => return Ok(None),
            }
        } else if !task.next_page_token.is_empty() {
            let token = task.next_page_token.clone();
            match self.pages(namespace, task, token).await? {
                Some(rest) => events.extend(rest),
                None => return Ok(None),
            }
        }
        let mut before = Facts::default();
        for event in &events {
            if facts.last_event_id == task.previous_started_event_id {
                before = facts.clone();
            }
            facts.apply(event)?;
        }
        check_last(task, events.last())?;
        for message in &task.messages {
            facts.asked.push(Asked::read(message)?);
        }
        Ok(Some(Read { facts, before }))
    }

    /// A worker that cannot go on with part of a history has the run's own queue forgotten, and the task done again.
    async fn give_up(&self, namespace: usize, task: &PollWorkflowTaskQueueResponse) {
        let request = ResetStickyTaskQueueRequest {
            namespace: NAMESPACES[namespace].to_owned(),
            execution: task.workflow_execution.clone(),
        };
        let answer: Result<ResetStickyTaskQueueResponse, Status> =
            self.sim.ask("ResetStickyTaskQueue", &request, &no_check()).await;
        if let Err(status) = answer {
            self.sim.refused("a reset of the sticky queue", &status, &[Code::NotFound]);
        }
        self.report_failure(namespace, task, Cause::ResetStickyTaskQueue).await;
    }

    /// Events up to the task's start; `None` when the task is over meanwhile.
    async fn whole_history(
        &self,
        namespace: usize,
        task: &PollWorkflowTaskQueueResponse,
    ) -> Result<Option<Vec<HistoryEvent>>, String> {
        let Some(mut events) = self.pages(namespace, task, bytes::Bytes::new()).await? else { return Ok(None) };
        let is_start = |event: &HistoryEvent| event.event_type() == EventType::WorkflowTaskStarted;
        events.retain(|event| event.event_id <= task.started_event_id);
        let whole = events.last().is_some_and(|last| last.event_id == task.started_event_id && is_start(last));
        Ok(whole.then_some(events))
    }

    async fn pages(
        &self,
        namespace: usize,
        task: &PollWorkflowTaskQueueResponse,
        token: bytes::Bytes,
    ) -> Result<Option<Vec<HistoryEvent>>, String> {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACES[namespace].to_owned(),
            execution: Some(WorkflowExecution { ..task.workflow_execution.clone().unwrap_or_default() }),
            next_page_token: token,
            ..Default::default()
        };
        let mut events = Vec::new();
        loop {
            let answer: Result<GetWorkflowExecutionHistoryResponse, Status> =
                self.sim.ask("GetWorkflowExecutionHistory", &request, &no_check()).await;
            let answer = match answer {
                Ok(answer) => answer,
                // Retention has taken it meanwhile.
                Err(status) if status.code() == Code::NotFound => return Ok(None),
                Err(status) => return Err(format!("a history is refused: {status:?}")),
            };
            events.extend(answer.history.unwrap_or_default().decode_events().map_err(|why| why.to_string())?);
            if answer.next_page_token.is_empty() {
                self.sim.saw("history read by a worker");
                return Ok(Some(events));
            }
            request.next_page_token = answer.next_page_token;
        }
    }

    async fn complete(
        self: Arc<Self>,
        namespace: usize,
        task: &PollWorkflowTaskQueueResponse,
        mut facts: Facts,
        before: Facts,
    ) -> Option<PollWorkflowTaskQueueResponse> {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let request = self.completion(namespace, task, &facts, &execution.workflow_id);
        if !request.force_create_new_workflow_task {
            facts.asked.clear();
        }
        self.cache().insert(execution.run_id.clone(), facts);
        let check = task_ended(namespace, task);
        let number = self.node_number();
        let answer: Result<RespondWorkflowTaskCompletedResponse, Status> =
            self.sim.ask("RespondWorkflowTaskCompleted", &request, &check).await;
        match answer {
            Ok(answer) => {
                if answer.reset_history_event_id > 0 {
                    self.saw_nothing_happen(&execution.run_id, answer.reset_history_event_id, before);
                }
                if number != self.node_number() && accepts(&request) {
                    self.sim.saw("update known to the worker alone");
                }
                for activity in answer.activity_tasks {
                    self.sim.saw("activity eager");
                    let worker = self.clone();
                    self.spawn(async move { worker.run_activity(namespace, activity).await });
                }
                answer.workflow_task.inspect(|_| self.sim.saw("workflow task inline"))
            }
            Err(status) => {
                self.cache().remove(&execution.run_id);
                if status.message().contains("UnhandledCommand") {
                    self.sim.saw("unhandled command");
                }
                self.sim.refused("a completion", &status, &[Code::NotFound, Code::InvalidArgument]);
                None
            }
        }
    }

    fn completion(
        &self,
        namespace: usize,
        task: &PollWorkflowTaskQueueResponse,
        facts: &Facts,
        workflow_id: &str,
    ) -> RespondWorkflowTaskCompletedRequest {
        let program = Type::parse(&facts.workflow_type).map(Program::of);
        let unique = self.sim.new_id();
        let said = program.map_or_else(Said::default, |program| program.decide(facts, workflow_id, unique));
        let Said { mut commands, mut messages } = said;
        let odd = self.sim.strikes(self.sim.plan.faults.worker_errs);
        let beats = self.sim.strikes(300);
        if beats {
            self.sim.saw("workflow task heartbeat");
            commands.clear();
            messages.clear();
        } else if odd {
            let other = self.sim.random().one_in(2);
            commands.insert(0, if other { commands::complete() } else { commands::cancel_timer("no") });
        }
        let (sticks, new) = (!self.sim.random().one_in(4), self.sim.random().one_in(2));
        let query_results: BTreeMap<String, WorkflowQueryResult> =
            task.queries.iter().map(|(id, query)| (id.clone(), answer_to(query))).collect();
        if !query_results.is_empty() {
            self.sim.saw("query with a workflow task");
        }
        RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands,
            messages,
            capabilities: Some(Capabilities { discard_speculative_workflow_task_with_events: !sticks || new }),
            identity: self.name(),
            sticky_attributes: sticks.then(|| StickyExecutionAttributes {
                worker_task_queue: Some(self.sticky_queue()),
                schedule_to_start_timeout: Some(duration(STICKY)),
            }),
            return_new_workflow_task: new,
            force_create_new_workflow_task: beats,
            query_results,
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        }
    }

    /// The task was about updates alone and none was taken: its events have never been.
    fn saw_nothing_happen(&self, run_id: &str, event_id: i64, mut before: Facts) {
        self.sim.saw("update rejected without a trace");
        self.cache().remove(run_id);
        if before.last_event_id == event_id {
            before.asked.clear();
            self.cache().insert(run_id.to_owned(), before);
        }
    }

    fn node_number(&self) -> u32 {
        self.sim.node().as_ref().map_or(0, |node| node.number)
    }

    async fn report_failure(&self, namespace: usize, task: &PollWorkflowTaskQueueResponse, cause: Cause) {
        let request = RespondWorkflowTaskFailedRequest {
            task_token: task.task_token.clone(),
            cause: cause as i32,
            failure: Some(commands::failure("the worker has a bug")),
            identity: self.name(),
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        };
        let answer: Result<RespondWorkflowTaskFailedResponse, Status> =
            self.sim.ask("RespondWorkflowTaskFailed", &request, &no_check()).await;
        if let Err(status) = answer {
            self.sim.refused("the failure of a workflow task", &status, &[Code::NotFound]);
        }
    }
}

/// The end of a task that leaves events is stored when it is acknowledged.
fn task_ended(namespace: usize, task: &PollWorkflowTaskQueueResponse) -> Check {
    let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
    let (started, first) = (task.started_event_id, task.attempt <= 1);
    Arc::new(move |sim, answer| {
        let Ok(bytes) = answer else { return Ok(()) };
        let answer = RespondWorkflowTaskCompletedResponse::decode(bytes.clone()).map_err(|why| why.to_string())?;
        if first && answer.reset_history_event_id == 0 {
            return sim.check_task_ended(namespace, &run_id, started);
        }
        Ok(())
    })
}

fn accepts(request: &RespondWorkflowTaskCompletedRequest) -> bool {
    request.messages.iter().any(|message| message.id.ends_with("/accept"))
}

/// The one answer to a question, so that a mix-up shows.
fn answer_to(query: &WorkflowQuery) -> WorkflowQueryResult {
    let question = text_of(query.query_args.as_ref()).unwrap_or_default();
    WorkflowQueryResult {
        result_type: QueryResultType::Answered as i32,
        answer: payloads(&format!("answer to {question}")),
        ..Default::default()
    }
}

/// What a worker is told ends with the start of its task.
fn check_last(task: &PollWorkflowTaskQueueResponse, last: Option<&HistoryEvent>) -> Result<(), String> {
    let Some(last) = last else { return Err("no event is told".to_owned()) };
    if last.event_type() == EventType::WorkflowTaskStarted && last.event_id == task.started_event_id {
        return Ok(());
    }
    let (kind, id) = (last.event_type().as_str_name(), last.event_id);
    Err(format!("the last event is {kind} {id}, not the task's start {}", task.started_event_id))
}
