//! A bare client: any method of the workflow service by name, and the requests that we make.

use std::time::Duration;

use mainspring_api::v1::{
    Payload,
    common::{Payloads, WorkflowExecution, WorkflowType},
    history::HistoryEvent,
    taskqueue::TaskQueue,
    workflow::WorkflowExecutionInfo,
    workflowservice::{
        GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, ListWorkflowExecutionsRequest,
        ListWorkflowExecutionsResponse, SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse,
        StartWorkflowExecutionRequest, StartWorkflowExecutionResponse,
    },
};
use prost::Message;
use tonic::{Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const QUEUE: &str = "errands";

/// Short, because each round waits for tasks that were in a worker's hands when power went.
pub(crate) const TASK_TIMEOUT: prost_types::Duration = prost_types::Duration { seconds: 1, nanos: 0 };

const DEADLINE: Duration = Duration::from_secs(20);
const SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService";

/// One connection.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(address: &str) -> anyhow::Result<Client> {
        let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
        Ok(Client { channel })
    }

    pub(crate) async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(request);
        request.set_timeout(DEADLINE);
        let path = format!("{SERVICE}/{method}").parse().map_err(|_| Status::internal("no such method"))?;
        Ok(grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }

    /// Starts a workflow; a repeat with the same request id is the same start. Returns the run's id.
    pub(crate) async fn start(&self, id: &str, payload_bytes: usize) -> Result<String, Status> {
        let request = StartWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_id: id.to_owned(),
            workflow_type: Some(WorkflowType { name: "Errand".to_owned() }),
            task_queue: Some(queue()),
            input: text(&"x".repeat(payload_bytes)),
            workflow_task_timeout: Some(TASK_TIMEOUT),
            request_id: format!("start {id}"),
            ..Default::default()
        };
        let started: StartWorkflowExecutionResponse = self.call("StartWorkflowExecution", request).await?;
        Ok(started.run_id)
    }

    /// Signals a workflow; a repeat with the same text is the same signal.
    pub(crate) async fn signal(&self, id: &str, said: &str) -> Result<(), Status> {
        let request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            workflow_execution: Some(execution(id)),
            signal_name: "note".to_owned(),
            input: text(said),
            request_id: format!("signal {said}"),
            ..Default::default()
        };
        self.call("SignalWorkflowExecution", request).await.map(|_: SignalWorkflowExecutionResponse| ())
    }

    /// The whole history of the newest run.
    pub async fn history(&self, id: &str) -> Result<Vec<HistoryEvent>, Status> {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.to_owned(),
            execution: Some(execution(id)),
            ..Default::default()
        };
        let mut events = Vec::new();
        loop {
            let page: GetWorkflowExecutionHistoryResponse =
                self.call("GetWorkflowExecutionHistory", request.clone()).await?;
            events.extend(page.history.unwrap_or_default().decode_events().map_err(undecodable)?);
            if page.next_page_token.is_empty() {
                return Ok(events);
            }
            request.next_page_token = page.next_page_token;
        }
    }

    /// Every execution that lists show.
    pub async fn list(&self) -> anyhow::Result<Vec<WorkflowExecutionInfo>> {
        let mut request =
            ListWorkflowExecutionsRequest { namespace: NAMESPACE.to_owned(), page_size: 500, ..Default::default() };
        let mut executions = Vec::new();
        loop {
            let page: ListWorkflowExecutionsResponse = self.call("ListWorkflowExecutions", request.clone()).await?;
            executions.extend(page.executions);
            if page.next_page_token.is_empty() {
                return Ok(executions);
            }
            request.next_page_token = page.next_page_token;
        }
    }
}

fn undecodable(error: prost::DecodeError) -> Status {
    Status::data_loss(format!("a history cannot be decoded: {error}"))
}

pub(crate) fn queue() -> TaskQueue {
    TaskQueue { name: QUEUE.to_owned(), ..TaskQueue::default() }
}

pub(crate) fn text(text: &str) -> Option<Payloads> {
    Some(Payloads { payloads: vec![Payload::new("json/plain", format!("{text:?}").as_bytes())] })
}

pub(crate) fn read_text(payloads: Option<&Payloads>) -> String {
    let data = payloads.and_then(|payloads| payloads.payloads.first()).map(Payload::data).unwrap_or_default();
    String::from_utf8_lossy(&data).trim_matches('"').to_owned()
}

fn execution(id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: id.to_owned(), run_id: String::new() }
}
