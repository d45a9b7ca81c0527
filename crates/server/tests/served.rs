//! A server in this process, spoken to over gRPC.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

mod client;

use std::time::Duration;

use mainspring_api::v1::{
    command::{CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, Payloads},
    enums::{CommandType, EventType, HistoryEventFilterType, WorkflowExecutionStatus},
    history::history_event,
    workflowservice::{
        DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, GetWorkflowExecutionHistoryRequest,
        GetWorkflowExecutionHistoryResponse, PollActivityTaskQueueRequest, PollActivityTaskQueueResponse,
        RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse, SignalWorkflowExecutionRequest,
        SignalWorkflowExecutionResponse,
    },
};
use mainspring_server::{Config, Server, StartError, Storage};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use client::{Client, command, newest_run, queue, serve, text};

fn schedule_activity(name: &str, input: Option<Payloads>) -> Attributes {
    Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
        activity_id: "1".to_owned(),
        activity_type: Some(ActivityType { name: "Any".to_owned() }),
        task_queue: Some(queue(name)),
        input,
        start_to_close_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..Default::default()
    })
}

fn complete_workflow(result: Option<Payloads>) -> Attributes {
    Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes { result })
}

async fn close_event(client: &Client, workflow_id: &str) -> mainspring_api::v1::history::HistoryEvent {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: "default".to_owned(),
        execution: newest_run(workflow_id),
        wait_new_event: true,
        history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
        ..Default::default()
    };
    let page: GetWorkflowExecutionHistoryResponse = client.call("GetWorkflowExecutionHistory", request).await.unwrap();
    page.history.unwrap().decode_events().unwrap().remove(0)
}

/// One workflow, one activity, from the start to the result.
#[tokio::test]
async fn a_workflow_with_an_activity_runs() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    assert!(client.start("order").await.started);

    let first = client.poll("order").await.unwrap();
    assert_eq!(first.history.as_ref().unwrap().decode_events().unwrap().len(), 3);
    client.complete(&first, command(CommandType::ScheduleActivityTask, schedule_activity("order", text("in")))).await;

    let poll = PollActivityTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: Some(queue("order")),
        ..Default::default()
    };
    let activity: PollActivityTaskQueueResponse = client.call("PollActivityTaskQueue", poll).await.unwrap();
    assert_eq!((activity.input, activity.attempt), (text("in"), 1));
    let completed = RespondActivityTaskCompletedRequest {
        task_token: activity.task_token,
        result: text("out"),
        ..Default::default()
    };
    let _: RespondActivityTaskCompletedResponse = client.call("RespondActivityTaskCompleted", completed).await.unwrap();

    let second = client.poll("order").await.unwrap();
    assert_eq!(second.previous_started_event_id, 3);
    client.complete(&second, command(CommandType::CompleteWorkflowExecution, complete_workflow(text("done")))).await;

    let closed = close_event(&client, "order").await;
    let Some(history_event::Attributes::WorkflowExecutionCompletedEventAttributes(completed)) = closed.attributes
    else {
        panic!("{closed:?}");
    };
    assert_eq!(completed.result, text("done"));
    server.stop().await;
}

/// What a poller that went away would have got goes to the next one, at once.
#[tokio::test]
async fn a_cancelled_poll_leaves_its_place() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    let gone = client.clone();
    let given_up = tokio::task::spawn(async move { gone.poll("order").await });
    client.settle().await;
    given_up.abort();
    client.start("order").await;
    assert!(!client.poll("order").await.unwrap().task_token.is_empty());
    server.stop().await;
}

/// A server that stops sends home whoever waits, says so, and leaves nobody hanging.
#[tokio::test]
async fn a_stop_ends_polls_and_waiting_reads() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    client.start("order").await;
    let (poller, reader) = (client.clone(), client.clone());
    let poll = tokio::task::spawn(async move { poller.poll("nobody").await });
    let read = tokio::task::spawn(async move {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: "default".to_owned(),
            execution: newest_run("order"),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            ..Default::default()
        };
        reader.call::<_, GetWorkflowExecutionHistoryResponse>("GetWorkflowExecutionHistory", request).await
    });
    client.settle().await;
    tokio::time::timeout(Duration::from_secs(4), server.stop()).await.expect("the stop does not wait for deadlines");
    assert!(poll.await.unwrap().unwrap().task_token.is_empty());
    assert!(!read.await.unwrap().unwrap().next_page_token.is_empty());
    assert_eq!(client.poll("order").await.unwrap_err().code(), Code::Unavailable);
}

/// What was started before a stop is there after the next start.
#[tokio::test]
async fn a_data_file_outlives_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let file = || Storage::Sqlite(directory.path().join("data.db"));
    let mut server = serve(file()).await;
    let run_id = Client::of(&server).await.start("order").await.run_id;
    server.stop().await;

    let mut server = serve(file()).await;
    let client = Client::of(&server).await;
    let request = DescribeWorkflowExecutionRequest { namespace: "default".to_owned(), execution: newest_run("order") };
    let described: DescribeWorkflowExecutionResponse = client.call("DescribeWorkflowExecution", request).await.unwrap();
    let info = described.workflow_execution_info.unwrap();
    assert_eq!(info.status(), WorkflowExecutionStatus::Running);
    assert_eq!(info.execution.unwrap().run_id, run_id);
    assert_eq!(client.poll("order").await.unwrap().started_event_id, 3);
    server.stop().await;
}

#[tokio::test]
async fn two_servers_do_not_share_a_port() {
    let mut first = serve(Storage::Memory).await;
    let second = Server::start(Config::new(first.local_addr(), Storage::Memory)).await;
    let Err(error) = second else { panic!("it started") };
    assert!(matches!(error, StartError::Listen { .. }));
    assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
    first.stop().await;
}

#[tokio::test]
async fn health_is_told_for_the_server_and_its_service() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    for service in ["", "temporal.api.workflowservice.v1.WorkflowService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer: HealthCheckResponse = client.call_any("/grpc.health.v1.Health/Check", request).await.unwrap();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    server.stop().await;
}

/// The `temporal` command line compresses whatever it sends.
#[tokio::test]
async fn health_and_reflection_take_compressed_requests() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await.compressing();
    let request = HealthCheckRequest { service: String::new() };
    let answer: HealthCheckResponse = client.call_any("/grpc.health.v1.Health/Check", request).await.unwrap();
    assert_eq!(answer.status(), ServingStatus::Serving);
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let answer: ServerReflectionResponse = client.call_any(&path, request).await.expect(version);
        assert!(matches!(answer.message_response, Some(MessageResponse::ListServicesResponse(_))), "{version}");
    }
    server.stop().await;
}

/// SDKs fail the workflow task for this text, instead of trying again and again.
#[tokio::test]
async fn too_large_a_request_is_refused_as_by_the_original() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    let request = SignalWorkflowExecutionRequest { signal_name: "x".repeat(5 << 20), ..Default::default() };
    let refused = client.call::<_, SignalWorkflowExecutionResponse>("SignalWorkflowExecution", request).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().starts_with("grpc: received message larger than max ("), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_unimplemented() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    for (path, text) in [
        (
            "/temporal.api.workflowservice.v1.WorkflowService/ResetWorkflowExecution",
            "not implemented by this server yet",
        ),
        (
            "/temporal.api.operatorservice.v1.OperatorService/AddOrUpdateRemoteCluster",
            "not implemented by this server yet",
        ),
        ("/temporal.api.workflowservice.v1.WorkflowService/NoSuch", "unknown method NoSuch"),
        ("/no.such.Service/Method", "unknown service no.such.Service"),
    ] {
        let refused = client.call_any::<_, HealthCheckResponse>(path, HealthCheckRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
        assert!(refused.message().contains(text), "{path}: {refused}");
    }
    server.stop().await;
}

/// The whole history reads the same in one piece and page by page.
#[tokio::test]
async fn pages_join_to_the_whole() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    client.start("order").await;
    for _ in 0..9 {
        let signal = SignalWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_execution: newest_run("order"),
            signal_name: "more".to_owned(),
            ..Default::default()
        };
        let _: SignalWorkflowExecutionResponse = client.call("SignalWorkflowExecution", signal).await.unwrap();
    }
    let mut ids = Vec::new();
    let mut next_page_token = bytes::Bytes::new();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: "default".to_owned(),
            execution: newest_run("order"),
            maximum_page_size: 4,
            next_page_token,
            ..Default::default()
        };
        let page: GetWorkflowExecutionHistoryResponse =
            client.call("GetWorkflowExecutionHistory", request).await.unwrap();
        let events = page.history.unwrap().decode_events().unwrap();
        assert!(events.len() <= 5, "a page ends with its batch");
        assert!(events.iter().all(|event| event.event_type() != EventType::Unspecified));
        ids.extend(events.iter().map(|event| event.event_id));
        next_page_token = page.next_page_token;
        if next_page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, (1..=11).collect::<Vec<_>>());
    server.stop().await;
}
