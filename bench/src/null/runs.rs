//! The cycle of a workflow, kept in memory and nowhere else.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mainspring_api::v1::{
    History,
    command::command::Attributes,
    common::{WorkflowExecution, WorkflowType},
    enums::EventType,
    history::HistoryEvent,
    workflowservice as service,
};
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use crate::locked;
use crate::null::{VERSION, log::Log};
use crate::requests::payloads;

const POLL: Duration = Duration::from_secs(60);
const LONG_POLL: Duration = Duration::from_secs(20);

/// All runs and the queues that their tasks wait in.
pub(super) struct Runs {
    queues: Mutex<HashMap<String, Arc<Queues>>>,
    runs: Mutex<HashMap<u64, Run>>,
    next: AtomicU64,
    log: Option<Arc<Log>>,
}

struct Run {
    workflow_id: String,
    run_id: String,
    queues: Arc<Queues>,
    started_event_id: i64,
    previous_started_event_id: i64,
    next_event_id: i64,
    is_closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Queues {
    workflow_tasks: Line,
    activity_tasks: Line,
}

/// Keys of runs in the order they came, and one permit for each.
struct Line {
    keys: Mutex<VecDeque<u64>>,
    ready: Semaphore,
}

impl Default for Line {
    fn default() -> Line {
        Line { keys: Mutex::default(), ready: Semaphore::new(0) }
    }
}

impl Line {
    fn push(&self, key: u64) {
        locked(&self.keys).push_back(key);
        self.ready.add_permits(1);
    }

    /// Nothing when the poll is over.
    async fn pop(&self) -> Option<u64> {
        tokio::time::timeout(POLL, self.ready.acquire()).await.ok()?.ok()?.forget();
        locked(&self.keys).pop_front()
    }
}

impl Runs {
    pub(super) fn new(log: Option<Arc<Log>>) -> Runs {
        Runs { queues: Mutex::default(), runs: Mutex::default(), next: AtomicU64::new(0), log }
    }

    pub(super) async fn start(
        self: Arc<Self>,
        request: service::StartWorkflowExecutionRequest,
    ) -> Result<service::StartWorkflowExecutionResponse, Status> {
        let key = self.next.fetch_add(1, Relaxed);
        let queues = self.queues(&request.task_queue.unwrap_or_default().name);
        let run_id = format!("00000000-0000-4000-8000-{key:012x}");
        let run = Run {
            workflow_id: request.workflow_id,
            run_id: run_id.clone(),
            queues: queues.clone(),
            started_event_id: 0,
            previous_started_event_id: 0,
            next_event_id: 3,
            is_closed: watch::channel(false).0,
        };
        locked(&self.runs).insert(key, run);
        self.durable().await;
        queues.workflow_tasks.push(key);
        Ok(service::StartWorkflowExecutionResponse { run_id, started: true, ..Default::default() })
    }

    pub(super) async fn poll_workflow_task(
        self: Arc<Self>,
        request: service::PollWorkflowTaskQueueRequest,
    ) -> Result<service::PollWorkflowTaskQueueResponse, Status> {
        let queues = self.queues(&request.task_queue.unwrap_or_default().name);
        let Some(key) = queues.workflow_tasks.pop().await else { return Ok(Default::default()) };
        self.durable().await;
        let mut runs = locked(&self.runs);
        let Some(run) = runs.get_mut(&key) else { return Ok(Default::default()) };
        run.started_event_id = run.next_event_id;
        run.next_event_id += 1;
        let events: Vec<_> =
            (1..=run.started_event_id).map(|event_id| event(event_id, EventType::WorkflowTaskScheduled)).collect();
        Ok(service::PollWorkflowTaskQueueResponse {
            task_token: Bytes::copy_from_slice(&key.to_be_bytes()),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: run.workflow_id.clone(),
                run_id: run.run_id.clone(),
            }),
            workflow_type: Some(WorkflowType { name: VERSION.to_owned() }),
            previous_started_event_id: run.previous_started_event_id,
            started_event_id: run.started_event_id,
            attempt: 1,
            history: Some(History::from_events(&events)),
            ..Default::default()
        })
    }

    pub(super) async fn complete_workflow_task(
        self: Arc<Self>,
        request: service::RespondWorkflowTaskCompletedRequest,
    ) -> Result<service::RespondWorkflowTaskCompletedResponse, Status> {
        self.durable().await;
        let key = key_in(&request.task_token)?;
        let mut runs = locked(&self.runs);
        let Some(run) = runs.get_mut(&key) else { return Err(Status::not_found("no such run")) };
        run.previous_started_event_id = run.started_event_id;
        run.next_event_id += 1;
        for command in &request.commands {
            run.next_event_id += 1;
            match &command.attributes {
                Some(Attributes::ScheduleActivityTaskCommandAttributes(_)) => run.queues.activity_tasks.push(key),
                Some(Attributes::CompleteWorkflowExecutionCommandAttributes(_)) => {
                    run.is_closed.send_replace(true);
                }
                _ => {}
            }
        }
        Ok(Default::default())
    }

    pub(super) async fn poll_activity_task(
        self: Arc<Self>,
        request: service::PollActivityTaskQueueRequest,
    ) -> Result<service::PollActivityTaskQueueResponse, Status> {
        let queues = self.queues(&request.task_queue.unwrap_or_default().name);
        let Some(key) = queues.activity_tasks.pop().await else { return Ok(Default::default()) };
        self.durable().await;
        Ok(service::PollActivityTaskQueueResponse {
            task_token: Bytes::copy_from_slice(&key.to_be_bytes()),
            activity_id: "0".to_owned(),
            input: Some(payloads(64)),
            attempt: 1,
            ..Default::default()
        })
    }

    pub(super) async fn complete_activity_task(
        self: Arc<Self>,
        request: service::RespondActivityTaskCompletedRequest,
    ) -> Result<service::RespondActivityTaskCompletedResponse, Status> {
        self.durable().await;
        let key = key_in(&request.task_token)?;
        if let Some(run) = locked(&self.runs).get_mut(&key) {
            run.next_event_id += 3;
            run.queues.workflow_tasks.push(key);
        }
        Ok(Default::default())
    }

    pub(super) async fn history(
        self: Arc<Self>,
        request: service::GetWorkflowExecutionHistoryRequest,
    ) -> Result<service::GetWorkflowExecutionHistoryResponse, Status> {
        let run_id = request.execution.unwrap_or_default().run_id;
        let key = run_id.rsplit('-').next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let watch = key.and_then(|key| locked(&self.runs).get(&key).map(|run| run.is_closed.subscribe()));
        let Some(mut watch) = watch else { return Err(Status::not_found("no such run")) };
        let is_closed = tokio::time::timeout(LONG_POLL, watch.wait_for(|closed| *closed)).await.is_ok();
        let events = if is_closed { vec![event(11, EventType::WorkflowExecutionCompleted)] } else { Vec::new() };
        Ok(service::GetWorkflowExecutionHistoryResponse {
            history: Some(History::from_events(&events)),
            ..Default::default()
        })
    }

    #[expect(clippy::unused_async, reason = "all calls have one shape")]
    pub(super) async fn info(
        self: Arc<Self>,
        _: service::GetSystemInfoRequest,
    ) -> Result<service::GetSystemInfoResponse, Status> {
        Ok(service::GetSystemInfoResponse { server_version: VERSION.to_owned(), ..Default::default() })
    }

    fn queues(&self, name: &str) -> Arc<Queues> {
        locked(&self.queues).entry(name.to_owned()).or_default().clone()
    }

    async fn durable(&self) {
        if let Some(log) = &self.log {
            log.append().await;
        }
    }
}

fn event(event_id: i64, kind: EventType) -> HistoryEvent {
    HistoryEvent { event_id, event_type: kind as i32, ..HistoryEvent::default() }
}

fn key_in(token: &[u8]) -> Result<u64, Status> {
    Ok(u64::from_be_bytes(token.try_into().map_err(|_| Status::invalid_argument("not a task token"))?))
}
