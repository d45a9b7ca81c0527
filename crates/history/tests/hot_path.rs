//! The hot path as design.md counts it: how many commits a workflow takes, and what a worker that goes away costs.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failure is what a test is for")]

use std::{sync::Arc, time::Duration};

use mainspring_api::{
    ids::{NamespaceId, QueueKind},
    v1::{
        History as Events,
        command::{
            Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
            command::Attributes,
        },
        common::ActivityType,
        enums::{CommandType, WorkflowExecutionStatus},
        taskqueue::TaskQueue,
    },
};
use mainspring_engine::{
    Limits,
    input::{ActivityInput, ActivityTarget, CompleteWorkflowTask, Input, Start, WorkflowTaskToken},
    outcome::{Rejected, Reply, StartedActivity, StartedWorkflowTask},
};
use mainspring_history::{Config, Delivered, Delivery, Error, History, Namespace, PollTask, ReadLimits, Tuning};
use mainspring_matching::{QueueName, Version};
use mainspring_rt::{Rt, Timestamp};
use mainspring_store::{Store, memory::MemoryStore};
use mainspring_visibility::Index;
use uuid::Uuid;

const NAMESPACE: NamespaceId = NamespaceId(Uuid::from_u128(7));
const QUEUE: &str = "queue";

struct Node {
    history: History,
    store: MemoryStore,
}

async fn node() -> Node {
    let store = MemoryStore::automatic();
    let config = Config {
        rt: Rt::real(),
        store: Arc::new(store.clone()),
        index: Index::memory().unwrap(),
        limits: Limits::default(),
        cache_bytes_max: 64 << 20,
        tuning: Tuning::default(),
    };
    let history = History::open(config).await.unwrap();
    let namespace = Namespace {
        id: NAMESPACE,
        name: "default".to_owned(),
        state: 1,
        description: String::new(),
        owner_email: String::new(),
        retention: Duration::from_secs(86_400),
        data: Default::default(),
        search_attributes: Default::default(),
        created_at: Timestamp::ZERO,
    };
    history.namespaces().register(namespace).await.unwrap();
    Node { history, store }
}

impl Node {
    async fn start(&self, workflow_id: &str) {
        let start = Start {
            namespace_id: NAMESPACE.to_string(),
            namespace: "default".to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: "W".to_owned(),
            task_queue: QUEUE.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            ..Start::default()
        };
        self.history.call(NAMESPACE, workflow_id, Input::Start(Box::new(start))).await.unwrap();
    }

    /// Lines up and comes back once the poller is known to wait.
    async fn line_up(&self, kind: QueueKind) -> tokio::task::JoinHandle<Option<Delivery>> {
        let queue = QueueName { namespace: NAMESPACE, name: QUEUE.into(), kind };
        let waiting = self.history.matching().describe(&queue, Rt::real().now()).stats.waiting_pollers;
        let (history, poll) = (self.history.clone(), poll(queue.clone()));
        let line = tokio::task::spawn(async move { history.poll(poll).await.unwrap() });
        while self.history.matching().describe(&queue, Rt::real().now()).stats.waiting_pollers == waiting {
            tokio::task::yield_now().await;
        }
        line
    }

    async fn complete(&self, workflow_id: &str, task: &StartedWorkflowTask, commands: Vec<Command>) {
        let token = WorkflowTaskToken {
            run_id: task.fixed.run_id.clone(),
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            stamp: task.task.stamp,
        };
        let input = CompleteWorkflowTask { token, commands, ..CompleteWorkflowTask::default() };
        let answer = self.history.call(NAMESPACE, workflow_id, Input::CompleteWorkflowTask(Box::new(input))).await;
        assert!(matches!(answer.unwrap().reply, Reply::Completed(completed) if completed.refused.is_none()));
    }
}

fn poll(queue: QueueName) -> PollTask {
    PollTask { queue, sticky: false, identity: "worker".to_owned(), version: Version::UNVERSIONED, rate: None }
}

fn workflow_task(delivery: &Delivery) -> StartedWorkflowTask {
    match delivery.task() {
        Delivered::Workflow { task, .. } => task.as_ref().clone(),
        other => panic!("a workflow task was due, not {other:?}"),
    }
}

fn activity_task(delivery: &Delivery) -> StartedActivity {
    match delivery.task() {
        Delivered::Activity { task, .. } => task.as_ref().clone(),
        other => panic!("an activity task was due, not {other:?}"),
    }
}

fn schedule_activity() -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".to_owned(),
        activity_type: Some(ActivityType { name: "A".to_owned() }),
        task_queue: Some(TaskQueue { name: QUEUE.to_owned(), ..TaskQueue::default() }),
        start_to_close_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..ScheduleActivityTaskCommandAttributes::default()
    };
    Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(attributes)),
        ..Command::default()
    }
}

fn complete_workflow() -> Command {
    let attributes = CompleteWorkflowExecutionCommandAttributes { result: None };
    Command {
        command_type: CommandType::CompleteWorkflowExecution as i32,
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(attributes)),
        ..Command::default()
    }
}

/// Goal: schedule and start share a commit wherever a worker waits.
#[tokio::test]
async fn a_workflow_with_one_activity_takes_four_commits() {
    let node = node().await;
    // Opens the shard, so that only the workflow itself is counted.
    assert!(node.history.look(NAMESPACE, "w", "").await.is_err());
    let first = node.line_up(QueueKind::Workflow).await;
    let activity = node.line_up(QueueKind::Activity).await;
    let second = node.line_up(QueueKind::Workflow).await;
    let before = node.store.stats().commits;

    node.start("w").await;
    let task = first.await.unwrap().expect("a task");
    node.complete("w", &workflow_task(&task), vec![schedule_activity()]).await;
    task.sent();
    let task = activity.await.unwrap().expect("a task");
    let started = activity_task(&task);
    task.sent();
    let target = ActivityTarget::Token {
        run_id: started.fixed.run_id.clone(),
        scheduled_event_id: started.activity.scheduled_event_id,
        attempt: started.activity.attempt,
        stamp: started.activity.stamp,
    };
    let done = ActivityInput::Complete { result: None, identity: "worker".to_owned() };
    node.history.call(NAMESPACE, "w", Input::Activity(target, done)).await.unwrap();
    let task = second.await.unwrap().expect("a task");
    node.complete("w", &workflow_task(&task), vec![complete_workflow()]).await;
    task.sent();

    assert_eq!(node.store.stats().commits - before, 4);
    let view = node.history.look(NAMESPACE, "w", "").await.unwrap();
    assert_eq!(view.run.status(), WorkflowExecutionStatus::Completed);
    let next = view.run.execution.next_event_id;
    let all = ReadLimits { batches_max: usize::MAX, bytes_max: usize::MAX };
    let chunks = node.history.read(view.key, &[], 1..next, all).await.unwrap();
    let events = Events::from_chunks(chunks.into_iter().map(|chunk| chunk.bytes).collect()).decode_events().unwrap();
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, (1..next).collect::<Vec<_>>());
    mainspring_engine::invariants::check_history(&events).unwrap();
    node.history.close().await;
}

/// Goal: a task whose poller went away is not lost, and keeps its token.
#[tokio::test]
async fn an_undelivered_task_goes_to_the_next_poller() {
    let node = node().await;
    let first = node.line_up(QueueKind::Workflow).await;
    node.start("w").await;
    let lost = first.await.unwrap().expect("a task");
    let token = workflow_task(&lost).started_event_id;
    drop(lost);
    let queue = QueueName { namespace: NAMESPACE, name: QUEUE.into(), kind: QueueKind::Workflow };
    let task = node.history.poll(poll(queue)).await.unwrap().expect("a task");
    assert_eq!(workflow_task(&task).started_event_id, token);
    node.complete("w", &workflow_task(&task), vec![complete_workflow()]).await;
    task.sent();
    node.history.close().await;
}

/// Goal: a reader who looked just before a run was deleted hears that it is gone, not that its history is damaged.
#[tokio::test]
async fn a_run_that_goes_while_it_is_read_is_not_found() {
    let node = node().await;
    node.start("w").await;
    let view = node.history.look(NAMESPACE, "w", "").await.unwrap();
    node.history.call(NAMESPACE, "w", Input::Delete { run_id: String::new() }).await.unwrap();
    let end = loop {
        match node
            .history
            .read(view.key, &[], 1..2, ReadLimits { batches_max: usize::MAX, bytes_max: usize::MAX })
            .await
        {
            Ok(chunks) if !chunks.is_empty() => tokio::task::yield_now().await,
            end => break end,
        }
    };
    assert_eq!(end, Err(Error::Rejected(Rejected::NotFound)));
    node.history.close().await;
}

/// Goal: what waits in line when the server stops is sent home, and the next call is refused.
#[tokio::test]
async fn closing_sends_pollers_home() {
    let node = node().await;
    let line = node.line_up(QueueKind::Workflow).await;
    node.history.close().await;
    assert!(line.await.unwrap().is_none());
    assert!(node.history.look(NAMESPACE, "w", "").await.is_err());
}
