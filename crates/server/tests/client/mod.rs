//! A bare gRPC client: any method by name, any pair of messages.

use std::{net::SocketAddr, time::Duration};

use mainspring_api::v1::{
    command::{Command, command::Attributes},
    common::{Payloads, WorkflowExecution, WorkflowType},
    enums::CommandType,
    taskqueue::TaskQueue,
    workflowservice::{
        GetSystemInfoRequest, GetSystemInfoResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
        RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse, StartWorkflowExecutionRequest,
        StartWorkflowExecutionResponse,
    },
};
use mainspring_server::{Config, Server, Storage};
use prost::Message;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::CompressionEncoding,
    transport::{self, Channel},
};
use tonic_prost::ProstCodec;

/// Far above what a call takes, so that only one that hangs meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn serve(storage: Storage) -> Server {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(Config::new(anywhere, storage)).await.expect("the server starts")
}

#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    compressing: bool,
}

impl Client {
    pub(crate) async fn of(server: &Server) -> Client {
        Client::try_of(server).await.expect("the server listens")
    }

    pub(crate) async fn try_of(server: &Server) -> Result<Client, transport::Error> {
        let endpoint = Channel::from_shared(format!("http://{}", server.local_addr())).unwrap();
        Ok(Client::over(endpoint.connect().await?))
    }

    pub(crate) fn over(channel: Channel) -> Client {
        Client { channel, compressing: false }
    }

    /// The same, with requests compressed.
    pub(crate) fn compressing(self) -> Client {
        Client { compressing: true, ..self }
    }

    /// Calls a method of the workflow service.
    pub(crate) async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + 'static,
        A: Message + Default + Send + 'static,
    {
        self.call_any(&format!("/temporal.api.workflowservice.v1.WorkflowService/{method}"), request).await
    }

    /// Calls any method.
    pub(crate) async fn call_any<Q, A>(&self, path: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + 'static,
        A: Message + Default + Send + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        if self.compressing {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(request);
        request.set_timeout(PATIENCE);
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.unary(request, path.parse().unwrap(), codec).await?.into_inner())
    }

    /// Whatever was sent before, over the same connection, has arrived when this returns.
    pub(crate) async fn settle(&self) {
        for _ in 0..3 {
            let _: GetSystemInfoResponse =
                self.call("GetSystemInfo", GetSystemInfoRequest {}).await.expect("it is always answered");
        }
    }

    /// Starts a workflow whose id is its queue's name.
    pub(crate) async fn start(&self, name: &str) -> StartWorkflowExecutionResponse {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: name.to_owned(),
            workflow_type: Some(WorkflowType { name: "Any".to_owned() }),
            task_queue: Some(queue(name)),
            ..Default::default()
        };
        self.call("StartWorkflowExecution", request).await.expect("it starts")
    }

    pub(crate) async fn poll(&self, name: &str) -> Result<PollWorkflowTaskQueueResponse, Status> {
        let request = PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: Some(queue(name)),
            ..Default::default()
        };
        self.call("PollWorkflowTaskQueue", request).await
    }

    pub(crate) async fn complete(&self, task: &PollWorkflowTaskQueueResponse, command: Command) {
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands: vec![command],
            ..Default::default()
        };
        let _: RespondWorkflowTaskCompletedResponse =
            self.call("RespondWorkflowTaskCompleted", request).await.expect("it is taken");
    }
}

pub(crate) fn queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), ..TaskQueue::default() }
}

pub(crate) fn newest_run(workflow_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() })
}

pub(crate) fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() }
}

pub(crate) fn text(text: &str) -> Option<Payloads> {
    let payload = mainspring_api::v1::Payload::new("json/plain", format!("{text:?}").as_bytes());
    Some(Payloads { payloads: vec![payload] })
}
