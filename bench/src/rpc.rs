//! Connections and unary calls. The wire types of `mainspring-api` come without clients, so the few lines of one are here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::uri::PathAndQuery;
use mainspring_api::v1::workflowservice as service;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

const MESSAGE_BYTES_MAX: usize = 128 << 20;
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// The server answers a poll with nothing after a minute.
const POLL_DEADLINE: Duration = Duration::from_secs(70);

/// A request that has a method: its name and what it is answered with.
pub(crate) trait Call: Message + 'static {
    type Answer: Message + Default + 'static;
    const PATH: &'static str;
    /// How long the caller waits; the server is told.
    const DEADLINE: Duration = CALL_DEADLINE;
}

macro_rules! calls {
    ($($method:literal: $request:ident => $answer:ty, $deadline:ident;)*) => {$(
        impl Call for service::$request {
            type Answer = $answer;
            const PATH: &'static str = concat!("/temporal.api.workflowservice.v1.WorkflowService/", $method);
            const DEADLINE: Duration = $deadline;
        }
    )*};
}

calls! {
    "GetSystemInfo": GetSystemInfoRequest => service::GetSystemInfoResponse, CALL_DEADLINE;
    "RegisterNamespace": RegisterNamespaceRequest => service::RegisterNamespaceResponse, CALL_DEADLINE;
    "StartWorkflowExecution": StartWorkflowExecutionRequest => service::StartWorkflowExecutionResponse, CALL_DEADLINE;
    "SignalWorkflowExecution": SignalWorkflowExecutionRequest => service::SignalWorkflowExecutionResponse, CALL_DEADLINE;
    "TerminateWorkflowExecution": TerminateWorkflowExecutionRequest => service::TerminateWorkflowExecutionResponse, CALL_DEADLINE;
    "QueryWorkflow": QueryWorkflowRequest => service::QueryWorkflowResponse, CALL_DEADLINE;
    "UpdateWorkflowExecution": UpdateWorkflowExecutionRequest => service::UpdateWorkflowExecutionResponse, CALL_DEADLINE;
    "CountWorkflowExecutions": CountWorkflowExecutionsRequest => service::CountWorkflowExecutionsResponse, CALL_DEADLINE;
    "ListWorkflowExecutions": ListWorkflowExecutionsRequest => service::ListWorkflowExecutionsResponse, CALL_DEADLINE;
    "GetWorkflowExecutionHistory": GetWorkflowExecutionHistoryRequest => HistoryPage, POLL_DEADLINE;
    "PollWorkflowTaskQueue": PollWorkflowTaskQueueRequest => service::PollWorkflowTaskQueueResponse, POLL_DEADLINE;
    "RespondWorkflowTaskCompleted": RespondWorkflowTaskCompletedRequest => service::RespondWorkflowTaskCompletedResponse, CALL_DEADLINE;
    "RespondQueryTaskCompleted": RespondQueryTaskCompletedRequest => service::RespondQueryTaskCompletedResponse, CALL_DEADLINE;
    "PollActivityTaskQueue": PollActivityTaskQueueRequest => service::PollActivityTaskQueueResponse, POLL_DEADLINE;
    "RespondActivityTaskCompleted": RespondActivityTaskCompletedRequest => service::RespondActivityTaskCompletedResponse, CALL_DEADLINE;
}

/// `GetWorkflowExecutionHistoryResponse` with its history left as bytes, so that a fetch costs the generator nothing.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HistoryPage {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) history: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) next_page_token: Bytes,
}

/// A fixed set of HTTP/2 connections, used in turn.
#[derive(Clone)]
pub(crate) struct Pool {
    channels: Arc<Vec<Channel>>,
    next: Arc<AtomicUsize>,
}

impl Pool {
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn connect(address: &str, connections: usize) -> anyhow::Result<Self> {
        let mut channels = Vec::new();
        for _ in 0..connections.max(1) {
            let endpoint = Endpoint::from_shared(address.to_owned())?
                .tcp_nodelay(true)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20);
            channels.push(endpoint.connect().await.with_context(|| format!("cannot reach {address}"))?);
        }
        Ok(Self { channels: Arc::new(channels), next: Arc::default() })
    }

    /// One call on the next connection.
    ///
    /// # Errors
    /// What the server answers, or UNAVAILABLE.
    pub(crate) async fn call<C: Call>(&self, request: C) -> Result<C::Answer, Status> {
        self.call_within(request, C::DEADLINE).await
    }

    /// # Errors
    /// As [`Pool::call`].
    pub(crate) async fn call_within<C: Call>(&self, request: C, deadline: Duration) -> Result<C::Answer, Status> {
        let turn = self.next.fetch_add(1, Relaxed) % self.channels.len();
        let mut grpc = Grpc::new(self.channels[turn].clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(request);
        request.set_timeout(deadline);
        let codec = ProstCodec::<C, C::Answer>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(C::PATH), codec).await?;
        Ok(answer.into_inner())
    }
}

/// What of a status goes into a report.
pub(crate) fn told(status: &Status) -> String {
    format!("{:?} {}", status.code(), status.message())
}
