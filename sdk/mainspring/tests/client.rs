//! What a client does, on workflows that the test drives.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[expect(dead_code, reason = "the tests of activities use more of it")]
mod rig;

use std::time::SystemTime;

use mainspring::{
    Raw,
    client::QueryReject,
    payload::{Args, FromPayload, ToPayload},
    prelude::*,
};
use mainspring_api::v1::{
    command::{
        CancelWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes, command::Attributes,
    },
    common::WorkflowType,
    enums::{CommandType, WorkflowExecutionStatus},
    history::history_event,
    taskqueue::TaskQueue,
};
use rig::{Flow, PATIENCE, Rig, unique};

fn text(raw: &Raw) -> String {
    String::from_payload(&raw.0).unwrap()
}

/// An id that is taken is told apart, and may be shared on demand.
#[tokio::test]
async fn a_workflow_is_started_once() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let flow = Flow::start(&client).await;
    let call = || Call::named("Driven").id(flow.handle.id()).queue(&flow.queue);
    match client.start(call()).await {
        Err(ClientError::AlreadyStarted { workflow_id, run_id }) => {
            assert_eq!((workflow_id.as_str(), run_id.as_str()), (flow.handle.id(), flow.handle.run_id()));
        }
        other => panic!("{other:?}"),
    }
    let same = client.start(call().on_conflict(OnConflict::UseExisting)).await.unwrap();
    assert_eq!(same.run_id(), flow.handle.run_id());
    let instead = client.start(call().on_conflict(OnConflict::TerminateExisting)).await.unwrap();
    assert_ne!(instead.run_id(), flow.handle.run_id());
    instead.terminate("done").await.unwrap();
    let error = client.start(call().id_reuse(IdReuse::RejectDuplicate)).await.unwrap_err();
    assert!(matches!(error, ClientError::AlreadyStarted { .. }), "{error}");

    let error = client.start(Call::named("NoQueue").id("x")).await.unwrap_err();
    assert!(error.to_string().contains("without a task queue"), "{error}");
}

/// All that a call says reaches the server.
#[tokio::test]
async fn options_of_a_start_arrive() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("options");
    let call = Call::named("Driven")
        .arg(1)
        .arg("two")
        .summary("a line")
        .header("tenant", "blue".to_payload().unwrap())
        .id(&queue)
        .queue(&queue)
        .memo("reason", "test")
        .details("a text")
        .run_timeout(hours(1))
        .execution_timeout(hours(2))
        .task_timeout(secs(7))
        .retry(RetryPolicy::new().max_attempts(2));
    let handle = client.start(call).await.unwrap();
    let first = handle.history().next().await.unwrap().unwrap();
    let metadata = first.user_metadata.clone().unwrap();
    assert_eq!(String::from_payload(&metadata.summary.unwrap()).unwrap(), "a line");
    let Some(history_event::Attributes::WorkflowExecutionStartedEventAttributes(started)) = first.attributes else {
        panic!("the first event starts");
    };
    assert_eq!(started.input.unwrap().payloads.len(), 2);
    assert_eq!(started.workflow_run_timeout.unwrap().seconds, 3600);
    assert_eq!(started.workflow_task_timeout.unwrap().seconds, 7);
    assert_eq!(started.retry_policy.unwrap().maximum_attempts, 2);
    assert_eq!(started.header.unwrap().fields["tenant"].data(), "\"blue\"");
    let description = handle.describe().await.unwrap();
    assert_eq!(description.execution.memo::<String>("reason").unwrap().as_deref(), Some("test"));
    assert_eq!(description.execution.status, WorkflowExecutionStatus::Running);
    assert_eq!((description.execution.workflow_type.as_str(), description.execution.queue), ("Driven", queue));
    handle.terminate("done").await.unwrap();
}

/// A signal starts what is not there, and reaches what is.
#[tokio::test]
async fn a_signal_starts_a_workflow() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("signals");
    let call = || Call::named("Driven").returns::<Raw>().id(&queue).queue(&queue);
    let add = |number: i32| Signal::named("add").arg(number).arg("twice");
    let handle = client.signal_with_start(call(), add(1)).await.unwrap();
    let again = client.signal_with_start(call(), add(2)).await.unwrap();
    assert_eq!(again.run_id(), handle.run_id());
    handle.signal(add(3)).await.unwrap();
    let mut flow = Flow::of(&client, &handle, &queue);
    let task = flow.task().await;
    let mut seen = Vec::new();
    for event in task.history.unwrap().decode_events().unwrap() {
        if let Some(history_event::Attributes::WorkflowExecutionSignaledEventAttributes(signal)) = event.attributes {
            assert_eq!(signal.signal_name, "add");
            seen.push(i32::from_payload(&signal.input.unwrap().payloads[0]).unwrap());
        }
    }
    assert_eq!(seen, [1, 2, 3]);
    handle.terminate("done").await.unwrap();
    let error = handle.signal(add(4)).await.unwrap_err();
    assert!(matches!(error, ClientError::NotFound(_)), "{error}");
    let error = client.workflow::<()>("nobody").describe().await.unwrap_err();
    assert!(matches!(error, ClientError::NotFound(_)), "{error}");
}

/// A result is waited for, also before there is one, and however it ends.
#[tokio::test]
async fn every_end_is_told_apart() {
    let rig = Rig::start().await;
    let client = rig.client().await;

    let mut flow = Flow::start(&client).await;
    let handle = flow.handle.clone();
    let waiting = tokio::spawn(async move { handle.result().await });
    flow.complete("well").await;
    assert_eq!(text(&waiting.await.unwrap().unwrap()), "well");
    let wrong = flow.handle.returns::<u64>().result().await.unwrap_err();
    assert!(matches!(wrong, ClientError::Payload(_)), "{wrong}");

    let mut flow = Flow::start(&client).await;
    flow.fail(Error::application("Broken", "badly").details(5)).await;
    let error = flow.handle.result().await.unwrap_err();
    let failure = error.failure().and_then(Error::as_application).unwrap();
    assert_eq!((failure.kind.as_str(), failure.detail(0)), ("Broken", Ok(5)));

    let flow = Flow::start(&client).await;
    flow.handle.terminate_with("enough", Args::new()).await.unwrap();
    let error = flow.handle.result().await.unwrap_err();
    let Some(Error::Terminated(stopped)) = error.failure() else { panic!("{error}") };
    assert!(stopped.message.contains("enough"));

    let mut flow = Flow::start(&client).await;
    flow.handle.cancel_because("changed my mind").await.unwrap();
    let task = flow.task().await;
    let attributes =
        Attributes::CancelWorkflowExecutionCommandAttributes(CancelWorkflowExecutionCommandAttributes::default());
    flow.answer(task, CommandType::CancelWorkflowExecution, attributes).await;
    let error = flow.handle.result().await.unwrap_err();
    assert!(error.failure().unwrap().is_cancelled(), "{error}");

    let call = Call::named("Driven").returns::<Raw>().id(unique("late")).queue(unique("late"));
    let error = client.execute(call.run_timeout(secs(1))).await.unwrap_err();
    assert!(matches!(error.failure(), Some(Error::Timeout(_))), "{error}");
}

/// A run that goes on as another is not the end.
#[tokio::test]
async fn a_result_is_followed_over_runs() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut flow = Flow::start(&client).await;
    let first_run = flow.handle.run_id().to_owned();
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: "Driven".to_owned() }),
        task_queue: Some(TaskQueue { name: flow.queue.clone(), ..TaskQueue::default() }),
        ..Default::default()
    };
    let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes);
    let task = flow.task().await;
    flow.answer(task, CommandType::ContinueAsNewWorkflowExecution, attributes).await;
    flow.complete("second").await;
    assert_eq!(text(&flow.handle.result().await.unwrap()), "second");
    assert_eq!(text(&flow.handle.pinned(&first_run).result().await.unwrap()), "second");
    let newest = client.workflow::<Raw>(flow.handle.id());
    assert_ne!(newest.describe().await.unwrap().execution.run_id, first_run);
    assert_eq!(flow.handle.pinned(&first_run).describe().await.unwrap().execution.run_id, first_run);
}

/// Queries are answered by a worker, refused by it, or not asked.
#[tokio::test]
async fn queries_are_asked() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut flow = Flow::start(&client).await;
    let task = flow.task().await;
    flow.answer_nothing(task).await;
    let ask = |handle: WorkflowHandle<Raw>| {
        tokio::spawn(async move { handle.query(Query::named("sum").arg(1).arg(2).returns::<u64>()).await })
    };
    let asked = ask(flow.handle.clone());
    flow.answer_query(Ok(3.to_payload().unwrap())).await;
    assert_eq!(asked.await.unwrap().unwrap(), 3);
    let asked = ask(flow.handle.clone());
    flow.answer_query(Err("there is no sum")).await;
    match asked.await.unwrap() {
        Err(ClientError::QueryFailed { name, message, .. }) => {
            assert_eq!((name.as_str(), message.as_str()), ("sum", "there is no sum"));
        }
        other => panic!("{other:?}"),
    }
    flow.handle.terminate("done").await.unwrap();
    match flow.handle.query_unless(QueryReject::NotOpen, Query::named("sum")).await {
        Err(ClientError::QueryRejected { status }) => assert_eq!(status, WorkflowExecutionStatus::Terminated),
        other => panic!("{other:?}"),
    }
}

/// Lists and counts see what was started, page by page.
#[tokio::test]
async fn workflows_are_listed() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let kind = unique("Listed");
    for number in 0..3 {
        let call = Call::named(&kind).id(format!("{kind}-{number}")).queue(&kind).memo("number", number);
        client.start(call).await.unwrap();
    }
    let query = format!("WorkflowType = '{kind}'");
    let listed = tokio::time::timeout(PATIENCE, async {
        while client.count(&query).await.unwrap() < 3 {
            tokio::task::yield_now().await;
        }
        client.list(&query).collect().await.unwrap()
    });
    let listed = listed.await.expect("lists follow in time");
    let mut numbers: Vec<i32> = listed.iter().map(|workflow| workflow.memo("number").unwrap().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(listed.iter().all(|workflow| workflow.started_at <= SystemTime::now() && workflow.closed_at.is_none()));
    let error = client.list("no query at all (").next().await.unwrap_err();
    assert!(error.to_string().contains("InvalidArgument"), "{error}");
    for workflow in listed {
        client.workflow::<()>(workflow.workflow_id).terminate("done").await.unwrap();
    }
}

/// The whole history, event by event.
#[tokio::test]
async fn a_history_is_read() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut flow = Flow::start(&client).await;
    flow.complete(()).await;
    let events = flow.handle.history().collect().await.unwrap();
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}
