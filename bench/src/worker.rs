//! A worker without an SDK: long polls for tasks, answers with fixed commands.
//!
//! [`behavior`] decides what a workflow does next, [`updates`] answers updates, [`tally`] counts.

pub(crate) mod behavior;
pub(crate) mod tally;
mod updates;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainspring_api::v1::{
    enums::QueryResultType, query::WorkflowQueryResult, taskqueue::StickyExecutionAttributes, taskqueue::TaskQueue,
    workflowservice as service,
};
use tokio::sync::watch;

use crate::requests::{IDENTITY, payloads, queue, seconds, sticky_queue};
use crate::rpc::Pool;
use crate::worker::behavior::{Behavior, RunState};
use crate::worker::tally::Tally;

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Where a worker polls and what its workflows do.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) namespace: String,
    pub(crate) queue: String,
    /// Polls for workflow tasks, and as many for activity tasks.
    pub(crate) pollers: usize,
    pub(crate) sticky: bool,
    pub(crate) eager: bool,
    pub(crate) payload: usize,
    pub(crate) behavior: Behavior,
    /// How long it holds a task before it answers.
    pub(crate) think: Duration,
    /// After which an activity that is not answered for is given to another worker.
    pub(crate) activity_seconds: u64,
}

/// Polls until it is dropped. Then it is gone at once: tasks in hand stay unanswered, calls under way are cancelled.
pub(crate) struct Worker {
    pub(crate) tally: Arc<Tally>,
    gone: watch::Sender<bool>,
}

impl Worker {
    pub(crate) fn spawn(config: Config, polls: &Pool, calls: &Pool) -> Worker {
        static WORKERS: AtomicU64 = AtomicU64::new(0);
        let gone = watch::channel(false).0;
        let sticky_name = format!("{}-sticky-{}", config.queue, WORKERS.fetch_add(1, Relaxed));
        let tally = Arc::new(Tally::default());
        let hands = Arc::new(Hands {
            config,
            polls: polls.clone(),
            calls: calls.clone(),
            tally: tally.clone(),
            runs: Mutex::default(),
            sticky_name,
            gone: gone.subscribe(),
        });
        for _ in 0..hands.config.pollers {
            hands.spawn(hands.clone().poll_workflow_tasks(queue(&hands.config.queue)));
            if hands.config.sticky {
                hands.spawn(hands.clone().poll_workflow_tasks(hands.sticky_queue()));
            }
            hands.spawn(hands.clone().poll_activity_tasks());
        }
        Worker { tally, gone }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.gone.send_replace(true);
    }
}

/// What all tasks of a worker share.
struct Hands {
    config: Config,
    polls: Pool,
    calls: Pool,
    tally: Arc<Tally>,
    runs: Mutex<HashMap<String, RunState>>,
    sticky_name: String,
    gone: watch::Receiver<bool>,
}

impl Hands {
    /// Runs until its end or until the worker is gone.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut gone = self.gone.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = gone.wait_for(|gone| *gone) => {}
            }
        });
    }

    async fn poll_workflow_tasks(self: Arc<Self>, task_queue: Option<TaskQueue>) {
        loop {
            let request = service::PollWorkflowTaskQueueRequest {
                namespace: self.config.namespace.clone(),
                task_queue: task_queue.clone(),
                identity: IDENTITY.to_owned(),
                ..Default::default()
            };
            match self.polls.call(request).await {
                Ok(task) if task.task_token.is_empty() => {}
                Ok(task) => self.spawn(self.clone().handle_workflow_task(task)),
                Err(status) => {
                    self.tally.fail("PollWorkflowTaskQueue", &status);
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    async fn poll_activity_tasks(self: Arc<Self>) {
        loop {
            let request = service::PollActivityTaskQueueRequest {
                namespace: self.config.namespace.clone(),
                task_queue: queue(&self.config.queue),
                identity: IDENTITY.to_owned(),
                ..Default::default()
            };
            match self.polls.call(request).await {
                Ok(task) if task.task_token.is_empty() => {}
                Ok(task) => self.spawn(self.clone().handle_activity_task(task)),
                Err(status) => {
                    self.tally.fail("PollActivityTaskQueue", &status);
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    async fn handle_activity_task(self: Arc<Self>, task: service::PollActivityTaskQueueResponse) {
        self.think().await;
        let request = service::RespondActivityTaskCompletedRequest {
            namespace: self.config.namespace.clone(),
            task_token: task.task_token,
            result: Some(payloads(self.config.payload)),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        match self.calls.call(request).await {
            Ok(_) => self.tally.activity_done(),
            Err(status) => self.tally.fail("RespondActivityTaskCompleted", &status),
        }
    }

    async fn handle_workflow_task(self: Arc<Self>, mut task: service::PollWorkflowTaskQueueResponse) {
        loop {
            self.think().await;
            if task.query.is_some() {
                return self.answer_query(task).await;
            }
            match self.complete_workflow_task(task).await {
                Some(next) => task = next,
                None => return,
            }
        }
    }

    /// A query that came as a task of its own.
    async fn answer_query(&self, task: service::PollWorkflowTaskQueueResponse) {
        let request = service::RespondQueryTaskCompletedRequest {
            namespace: self.config.namespace.clone(),
            task_token: task.task_token,
            completed_type: QueryResultType::Answered as i32,
            query_result: Some(payloads(self.config.payload)),
            poller_group_id: task.poller_group_id,
            ..Default::default()
        };
        if let Err(status) = self.calls.call(request).await {
            self.tally.fail("RespondQueryTaskCompleted", &status);
        }
    }

    /// Answers with the commands that the behavior decides on; returns the next task, if one came along.
    async fn complete_workflow_task(
        self: &Arc<Self>,
        task: service::PollWorkflowTaskQueueResponse,
    ) -> Option<service::PollWorkflowTaskQueueResponse> {
        let decision = self.decide(&task).await;
        let answer = || WorkflowQueryResult {
            result_type: QueryResultType::Answered as i32,
            answer: Some(payloads(self.config.payload)),
            ..Default::default()
        };
        let request = service::RespondWorkflowTaskCompletedRequest {
            namespace: self.config.namespace.clone(),
            query_results: task.queries.keys().map(|id| (id.clone(), answer())).collect(),
            task_token: task.task_token,
            commands: decision.commands,
            messages: decision.messages,
            identity: IDENTITY.to_owned(),
            sticky_attributes: self.config.sticky.then(|| StickyExecutionAttributes {
                worker_task_queue: self.sticky_queue(),
                schedule_to_start_timeout: seconds(5),
            }),
            return_new_workflow_task: true,
            force_create_new_workflow_task: decision.wants_another,
            capabilities: Some(service::respond_workflow_task_completed_request::Capabilities {
                discard_speculative_workflow_task_with_events: true,
            }),
            ..Default::default()
        };
        let answered = match self.calls.call(request).await {
            Ok(answered) => answered,
            Err(status) => {
                self.tally.fail("RespondWorkflowTaskCompleted", &status);
                return None;
            }
        };
        if decision.closes {
            let run_id = task.workflow_execution.map(|execution| execution.run_id).unwrap_or_default();
            crate::locked(&self.runs).remove(&run_id);
        }
        self.tally.workflow_task_done(decision.closes);
        for activity in answered.activity_tasks {
            self.spawn(self.clone().handle_activity_task(activity));
        }
        answered.workflow_task.filter(|next| !next.task_token.is_empty())
    }

    async fn think(&self) {
        if !self.config.think.is_zero() {
            tokio::time::sleep(self.config.think).await;
        }
    }

    fn sticky_queue(&self) -> Option<TaskQueue> {
        sticky_queue(&self.sticky_name, &self.config.queue)
    }
}
