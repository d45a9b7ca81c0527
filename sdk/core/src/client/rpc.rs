//! Unary calls over gRPC: any request of the public services, with deadlines and retries by class of call.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use mainspring_api::{
    google::rpc,
    v1::{operatorservice::*, workflowservice::*},
};
use prost::{Message, Name};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::Channel,
};

/// Far above what servers take or send; they say themselves what is too large.
const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// The connection to a server. Copies share it.
#[derive(Clone)]
pub struct Rpc {
    inner: Arc<Inner>,
}

struct Inner {
    /// Replaced when the certificates changed.
    channel: RwLock<Channel>,
    namespace: String,
    headers: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
    api_key: Option<ApiKey>,
    retry: RpcRetry,
}

/// Where the bearer token of a call comes from.
#[derive(Clone)]
pub(crate) enum ApiKey {
    /// It is set from outside.
    Set(Arc<RwLock<String>>),
    /// It is asked for, for each call.
    Asked(Arc<dyn Fn() -> String + Send + Sync>),
}

/// How calls are tried again that failed for a reason which may pass.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RpcRetry {
    /// The pause before the second attempt.
    pub initial: Duration,
    /// The longest pause.
    pub max_interval: Duration,
    /// What the pause is multiplied with after each attempt.
    pub backoff: f64,
    /// No attempt begins later than this after the first.
    pub max_elapsed: Duration,
    /// How many attempts are made in all.
    pub max_attempts: u32,
}

impl Default for RpcRetry {
    /// 100 ms, growing by 1.7 to 5 s, for 10 s and at most 10 attempts, as in the other SDKs.
    fn default() -> RpcRetry {
        RpcRetry {
            initial: Duration::from_millis(100),
            max_interval: Duration::from_secs(5),
            backoff: 1.7,
            max_elapsed: Duration::from_secs(10),
            max_attempts: 10,
        }
    }
}

impl RpcRetry {
    /// One attempt and no more.
    pub fn never() -> RpcRetry {
        RpcRetry { max_attempts: 1, ..RpcRetry::default() }
    }

    /// Sets how long attempts go on.
    #[must_use]
    pub fn max_elapsed(mut self, longest: Duration) -> RpcRetry {
        self.max_elapsed = longest;
        self
    }

    /// The pause after `attempt` (from 1), without chance.
    pub(crate) fn pause_after(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.backoff.powi(exponent);
        Duration::try_from_secs_f64(grown.min(self.max_interval.as_secs_f64())).unwrap_or(self.max_interval)
    }
}

/// What a call is for, which says how long it may take and how it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A request of a user.
    Normal,
    /// A wait of a user for something to happen. Each attempt returns empty after a while; it is tried again for ever.
    LongPoll,
    /// A worker that waits for a task. The poller tries again itself.
    TaskPoll,
    /// A call that is not tried again.
    Once,
    /// A worker that says how a task went: worth more patience, since the task would be done again.
    Report,
}

impl Class {
    /// The real server refuses a long poll without a deadline.
    fn deadline(self) -> Duration {
        match self {
            Class::Normal | Class::Report | Class::Once => Duration::from_secs(30),
            Class::LongPoll | Class::TaskPoll => Duration::from_secs(70),
        }
    }

    fn retry(self, normal: &RpcRetry) -> RpcRetry {
        match self {
            Class::Normal => *normal,
            Class::TaskPoll | Class::Once => RpcRetry::never(),
            Class::LongPoll => RpcRetry { max_elapsed: Duration::MAX, max_attempts: u32::MAX, ..*normal },
            Class::Report => RpcRetry { max_elapsed: Duration::from_secs(60), max_attempts: 20, ..*normal },
        }
    }
}

/// A request of the public services, and what answers it.
pub trait Unary: Message + Name {
    /// The answer.
    type Answer: Message + Default + 'static;
    /// The service.
    const SERVICE: &'static str;

    /// The method's name: the request's, without its last word.
    fn method() -> &'static str {
        Self::NAME.strip_suffix("Request").unwrap_or(Self::NAME)
    }
}

macro_rules! unary {
    ($service:literal: $($request:ident => $answer:ident,)*) => {
        $(impl Unary for $request {
            type Answer = $answer;
            const SERVICE: &'static str = $service;
        })*
    };
}

unary! { "temporal.api.workflowservice.v1.WorkflowService":
    CountWorkflowExecutionsRequest => CountWorkflowExecutionsResponse,
    CreateScheduleRequest => CreateScheduleResponse,
    DeleteScheduleRequest => DeleteScheduleResponse,
    DeleteWorkflowExecutionRequest => DeleteWorkflowExecutionResponse,
    DescribeNamespaceRequest => DescribeNamespaceResponse,
    DescribeScheduleRequest => DescribeScheduleResponse,
    DescribeTaskQueueRequest => DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest => DescribeWorkflowExecutionResponse,
    ExecuteMultiOperationRequest => ExecuteMultiOperationResponse,
    GetSystemInfoRequest => GetSystemInfoResponse,
    GetWorkflowExecutionHistoryRequest => GetWorkflowExecutionHistoryResponse,
    ListSchedulesRequest => ListSchedulesResponse,
    ListWorkflowExecutionsRequest => ListWorkflowExecutionsResponse,
    PatchScheduleRequest => PatchScheduleResponse,
    PollActivityTaskQueueRequest => PollActivityTaskQueueResponse,
    PollNexusTaskQueueRequest => PollNexusTaskQueueResponse,
    PollWorkflowExecutionUpdateRequest => PollWorkflowExecutionUpdateResponse,
    PollWorkflowTaskQueueRequest => PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest => QueryWorkflowResponse,
    RecordActivityTaskHeartbeatRequest => RecordActivityTaskHeartbeatResponse,
    RecordActivityTaskHeartbeatByIdRequest => RecordActivityTaskHeartbeatByIdResponse,
    RegisterNamespaceRequest => RegisterNamespaceResponse,
    RequestCancelWorkflowExecutionRequest => RequestCancelWorkflowExecutionResponse,
    ResetStickyTaskQueueRequest => ResetStickyTaskQueueResponse,
    ResetWorkflowExecutionRequest => ResetWorkflowExecutionResponse,
    RespondActivityTaskCanceledByIdRequest => RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest => RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest => RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest => RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest => RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest => RespondActivityTaskFailedResponse,
    RespondNexusTaskCompletedRequest => RespondNexusTaskCompletedResponse,
    RespondNexusTaskFailedRequest => RespondNexusTaskFailedResponse,
    RespondQueryTaskCompletedRequest => RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest => RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest => RespondWorkflowTaskFailedResponse,
    ShutdownWorkerRequest => ShutdownWorkerResponse,
    SignalWithStartWorkflowExecutionRequest => SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest => SignalWorkflowExecutionResponse,
    StartBatchOperationRequest => StartBatchOperationResponse,
    StartWorkflowExecutionRequest => StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest => TerminateWorkflowExecutionResponse,
    UpdateScheduleRequest => UpdateScheduleResponse,
    UpdateWorkflowExecutionRequest => UpdateWorkflowExecutionResponse,
}

unary! { "temporal.api.operatorservice.v1.OperatorService":
    AddSearchAttributesRequest => AddSearchAttributesResponse,
    CreateNexusEndpointRequest => CreateNexusEndpointResponse,
    ListSearchAttributesRequest => ListSearchAttributesResponse,
}

/// A call that failed: the method and what the server, or the connection, said.
#[derive(Clone, Debug)]
pub struct RpcError {
    method: &'static str,
    status: Status,
}

impl RpcError {
    pub(crate) fn new(method: &'static str, status: Status) -> RpcError {
        RpcError { method, status }
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        // Tonic calls its own deadline a cancellation.
        if self.status.code() == Code::Cancelled && self.status.message() == "Timeout expired" {
            return Code::DeadlineExceeded;
        }
        self.status.code()
    }

    /// What the server said.
    pub fn message(&self) -> &str {
        self.status.message()
    }

    /// True when the connection failed, rather than the server.
    pub fn is_transport(&self) -> bool {
        std::error::Error::source(&self.status).is_some()
    }

    /// The detail of this type, if the server sent one.
    pub fn detail<D: Message + Name + Default>(&self) -> Option<D> {
        let status = rpc::Status::decode(self.status.details()).ok()?;
        let name = D::full_name();
        let any = status.details.into_iter().find(|any| any.type_url.rsplit('/').next() == Some(name.as_str()))?;
        D::decode(any.value.as_slice()).ok()
    }

    /// True when the same call may go well later.
    pub fn is_transient(&self) -> bool {
        match self.code() {
            Code::Unavailable | Code::Internal | Code::Unknown | Code::Aborted | Code::DataLoss => true,
            Code::ResourceExhausted => !self.is_too_large(),
            // So says the transport of calls that were under way when a connection closed.
            Code::Cancelled => self.is_transport(),
            _ => false,
        }
    }

    /// True when the request or the answer is larger than what one of the two ends takes.
    pub fn is_too_large(&self) -> bool {
        let says = self.message();
        // The words of grpc-go, of tonic, and of proxies that pass them on.
        says.contains("larger than max") || says.contains("message length too large")
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.method, self.code(), self.message())?;
        let mut source = std::error::Error::source(&self.status);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}

impl Rpc {
    pub(crate) fn new(
        channel: Channel,
        namespace: String,
        headers: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
        api_key: Option<ApiKey>,
        retry: RpcRetry,
    ) -> Rpc {
        Rpc { inner: Arc::new(Inner { channel: RwLock::new(channel), namespace, headers, api_key, retry }) }
    }

    /// Calls, as a user does. Cancel safe: dropped, the server hears that nobody waits.
    ///
    /// # Errors
    /// When the server refuses, or cannot be reached within the patience of the class.
    pub async fn call<Q: Unary>(&self, request: &Q) -> Result<Q::Answer, RpcError> {
        self.call_as(Class::Normal, request).await
    }

    /// Calls with the patience of `class`.
    ///
    /// # Errors
    /// When the server refuses, or cannot be reached within the patience of the class.
    pub async fn call_as<Q: Unary>(&self, class: Class, request: &Q) -> Result<Q::Answer, RpcError> {
        let body = Bytes::from(request.encode_to_vec());
        let retry = class.retry(&self.inner.retry);
        let first = Instant::now();
        let mut attempt = 1;
        loop {
            let error = match self.once::<Q>(body.clone(), class.deadline()).await {
                Ok(answer) => return Ok(answer),
                Err(status) => RpcError::new(Q::method(), status),
            };
            let elapsed_poll = class == Class::LongPoll && error.code() == Code::DeadlineExceeded;
            if !elapsed_poll && (!error.is_transient() || attempt >= retry.max_attempts) {
                return Err(error);
            }
            let pause = if elapsed_poll { Duration::ZERO } else { jittered(retry.pause_after(attempt)) };
            if first.elapsed().saturating_add(pause) > retry.max_elapsed {
                return Err(error);
            }
            if !elapsed_poll {
                tracing::debug!(%error, attempt, ?pause, "call failed, trying again");
            }
            tokio::time::sleep(pause).await;
            attempt = if elapsed_poll { 1 } else { attempt.saturating_add(1) };
        }
    }

    async fn once<Q: Unary>(&self, body: Bytes, deadline: Duration) -> Result<Q::Answer, Status> {
        let mut grpc = Grpc::new(self.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(body);
        request.set_timeout(deadline);
        let metadata = request.metadata_mut();
        for (key, value) in &self.inner.headers {
            metadata.insert(key, value.clone());
        }
        if let Some(key) = &self.inner.api_key {
            let bearer = format!("Bearer {}", key.get()).parse();
            let bearer =
                bearer.map_err(|_| Status::invalid_argument("the API key has characters no header may have"))?;
            metadata.insert("authorization", bearer);
        }
        let path = format!("/{}/{}", Q::SERVICE, Q::method());
        let path = path.parse().map_err(|_| Status::internal("a method's name is no path"))?;
        Ok(grpc.unary(request, path, Encoded::<Q::Answer>::default()).await?.into_inner())
    }

    fn channel(&self) -> Channel {
        self.inner.channel.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As long as somebody uses the connection, what replaces it.
    pub(crate) fn downgrade(&self) -> WeakRpc {
        WeakRpc(Arc::downgrade(&self.inner))
    }

    pub(crate) fn api_key(&self) -> Option<&ApiKey> {
        self.inner.api_key.as_ref()
    }
}

/// Does not keep the connection open.
pub(crate) struct WeakRpc(Weak<Inner>);

impl WeakRpc {
    pub(crate) fn is_used(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Later calls go over this channel; those under way keep the old one.
    pub(crate) fn replace_channel(&self, channel: Channel) {
        if let Some(inner) = self.0.upgrade() {
            *inner.channel.write().unwrap_or_else(PoisonError::into_inner) = channel;
        }
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").field("namespace", &self.inner.namespace).finish_non_exhaustive()
    }
}

impl ApiKey {
    pub(crate) fn set(key: String) -> ApiKey {
        ApiKey::Set(Arc::new(RwLock::new(key)))
    }

    fn get(&self) -> String {
        match self {
            ApiKey::Set(key) => key.read().unwrap_or_else(PoisonError::into_inner).clone(),
            ApiKey::Asked(ask) => ask(),
        }
    }
}

/// A pause, a fifth longer or shorter, so that those who failed together do not return together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    // The lowest bits of a random UUID are random.
    let chance = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    pause.mul_f64(0.8 + 0.4 * chance)
}

/// Takes requests that are encoded already, so that another attempt costs nothing; decodes answers.
struct Encoded<A>(std::marker::PhantomData<fn() -> A>);

impl<A> Default for Encoded<A> {
    fn default() -> Self {
        Encoded(std::marker::PhantomData)
    }
}

struct Verbatim;

struct Decode<A>(std::marker::PhantomData<fn() -> A>);

impl<A: Message + Default + 'static> Codec for Encoded<A> {
    type Encode = Bytes;
    type Decode = A;
    type Encoder = Verbatim;
    type Decoder = Decode<A>;

    fn encoder(&mut self) -> Verbatim {
        Verbatim
    }

    fn decoder(&mut self) -> Decode<A> {
        Decode(std::marker::PhantomData)
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl<A: Message + Default + 'static> Decoder for Decode<A> {
    type Item = A;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<A>, Status> {
        A::decode(buffer).map(Some).map_err(|error| Status::internal(format!("the answer does not decode: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_by_their_requests() {
        assert_eq!(StartWorkflowExecutionRequest::method(), "StartWorkflowExecution");
    }

    #[test]
    fn pauses_grow_and_keep_near_each_other() {
        let retry = RpcRetry::default();
        let pauses: Vec<u128> = [1, 2, 3, 50].map(|attempt| retry.pause_after(attempt).as_millis()).into();
        assert_eq!(pauses, [100, 170, 289, 5000]);
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1));
            assert!(pause >= Duration::from_millis(800) && pause <= Duration::from_millis(1200), "{pause:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_tried_again() {
        let large =
            RpcError::new("Any", Status::resource_exhausted("grpc: received message larger than max (5 vs. 4)"));
        assert!(large.is_too_large() && !large.is_transient());
        let busy = RpcError::new("Any", Status::resource_exhausted("namespace rate limit exceeded"));
        assert!(!busy.is_too_large() && busy.is_transient());
        assert!(!RpcError::new("Any", Status::cancelled("by the caller")).is_transient());
    }

    #[test]
    fn details_are_found_by_their_type() {
        use mainspring_api::v1::errordetails::{NotFoundFailure, QueryFailedFailure};

        let detail = NotFoundFailure { current_cluster: "a".to_owned(), active_cluster: String::new() };
        let status = mainspring_api::status::with_detail(Code::NotFound, "no", &detail);
        let error = RpcError::new("Any", status);
        assert_eq!(error.detail::<NotFoundFailure>(), Some(detail));
        assert_eq!(error.detail::<QueryFailedFailure>(), None);
        assert_eq!(error.to_string(), "Any: NotFound: no");
        assert!(!error.is_transient());
    }
}
