//! Every RPC of the public API, apart from how it is carried: bytes of a request in, bytes of an answer out.
//!
//! [`Frontend::call`] decodes, finds the namespace, checks, builds the engine's input, asks history and encodes. gRPC
//! (and later HTTP/JSON) are adapters outside. One file a group of RPCs; what several share:
//!
//! - `validate`: rules and texts for fields; `search_attributes`: names, types and values of those.
//! - `error`: the one place that turns refusals and failures into gRPC statuses with their details.
//! - `token`: task tokens and page tokens, opaque to callers and checked when they come back.
//! - `long_poll`: how long a call may wait; `pages`: stored history cut into pages.
//!
//! Start reading at [`Frontend::call`].

mod activity_control;
mod activity_tasks;
mod control;
mod delete;
mod describe;
mod error;
mod history;
mod lists;
mod long_poll;
mod multi_operation;
mod namespace_updates;
mod namespaces;
mod operator;
mod pages;
mod pending;
mod queries;
mod search_attributes;
mod server_info;
mod start;
mod task_queues;
mod token;
mod updates;
mod validate;
mod workflow_tasks;

use std::{future::Future, pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::future::{Either, select};
use mainspring_api::{parts, v1::enums::NamespaceState};
use mainspring_engine::limits::Limits;
use mainspring_history::{Delivery, History, Namespace};
use mainspring_rt::{Rt, Timestamp};
use prost::{Message, Name};
use tokio::sync::watch;
use tonic::Status;
use uuid::Uuid;

pub use server_info::SERVER_VERSION;

/// Path prefix of the RPCs that SDKs use.
pub const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";
/// Path prefix of the RPCs for operators.
pub const OPERATOR_SERVICE: &str = "temporal.api.operatorservice.v1.OperatorService";

/// The states of a namespace in which it answers calls.
const USABLE: [NamespaceState; 2] = [NamespaceState::Registered, NamespaceState::Deprecated];

/// What a frontend stands on.
pub struct Config {
    pub rt: Rt,
    pub history: History,
    /// The same as history's.
    pub limits: Limits,
    /// Names the store in `GetClusterInfo`.
    pub store_name: &'static str,
}

/// All RPCs. Clones share everything.
#[derive(Clone)]
pub struct Frontend {
    shared: Arc<Shared>,
}

struct Shared {
    rt: Rt,
    history: History,
    limits: Limits,
    store_name: &'static str,
    /// Once true, whoever waits is sent home.
    closing: watch::Sender<bool>,
}

/// What a request brings along beside its bytes.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// When the caller stops waiting, if it said so.
    pub deadline: Option<Timestamp>,
    /// Which kind of client asks, such as `temporal-cli`; may be empty.
    pub client_name: String,
}

/// An encoded answer.
pub struct Answer {
    bytes: Bytes,
    /// A task handed out with the answer: dropped unsent, it goes to another poller.
    delivery: Option<Delivery>,
}

impl Answer {
    /// The answer's bytes, for a look: a task in it is not sent by that.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The answer's bytes, to be called when they go out: from here on only timeouts bring back a task in it.
    pub fn into_sent(self) -> Bytes {
        if let Some(delivery) = self.delivery {
            delivery.sent();
        }
        self.bytes
    }
}

impl From<Bytes> for Answer {
    /// One with no task in it.
    fn from(bytes: Bytes) -> Answer {
        Answer { bytes, delivery: None }
    }
}

impl Frontend {
    /// A frontend for one node.
    pub fn new(config: Config) -> Frontend {
        Frontend {
            shared: Arc::new(Shared {
                rt: config.rt,
                history: config.history,
                limits: config.limits,
                store_name: config.store_name,
                closing: watch::Sender::new(false),
            }),
        }
    }

    /// The server stops: polls and waiting reads come back empty at once, those to come as well.
    pub fn end_polls(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Answers one RPC. `path` is the one of gRPC: `/service/method`. Dropping the future takes a waiting poll out of
    /// its line at once.
    ///
    /// # Errors
    /// The gRPC status that the caller is to see.
    pub async fn call(&self, path: &str, request: Bytes, metadata: &Metadata) -> Result<Answer, Status> {
        match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some((WORKFLOW_SERVICE, method)) => self.call_workflow_service(method, request, metadata).await,
            Some((OPERATOR_SERVICE, method)) => self.call_operator_service(method, request).await,
            Some((service, _)) => Err(Status::unimplemented(format!("unknown service {service}"))),
            None => Err(Status::unimplemented(format!("malformed method name: {path:?}"))),
        }
    }

    async fn call_workflow_service(&self, method: &str, request: Bytes, metadata: &Metadata) -> Result<Answer, Status> {
        match method {
            "StartWorkflowExecution" => answer(request, |r| self.start_workflow_execution(r)).await,
            "SignalWithStartWorkflowExecution" => answer(request, |r| self.signal_with_start(r)).await,
            "SignalWorkflowExecution" => answer(request, |r| self.signal_workflow_execution(r)).await,
            "UpdateWorkflowExecution" => answer(request, |r| self.update_workflow_execution(r)).await,
            "PollWorkflowExecutionUpdate" => answer(request, |r| self.poll_update(r)).await,
            "ExecuteMultiOperation" => answer(request, |r| self.execute_multi_operation(r)).await,
            "RequestCancelWorkflowExecution" => answer(request, |r| self.request_cancel(r)).await,
            "TerminateWorkflowExecution" => answer(request, |r| self.terminate_workflow_execution(r)).await,
            "DeleteWorkflowExecution" => answer(request, |r| self.delete_workflow_execution(r)).await,
            "DescribeWorkflowExecution" => answer(request, |r| self.describe_workflow_execution(r)).await,
            "ListWorkflowExecutions" => answer(request, |r| self.list_workflow_executions(r)).await,
            "ScanWorkflowExecutions" => answer(request, |r| self.scan_workflow_executions(r)).await,
            "CountWorkflowExecutions" => answer(request, |r| self.count_workflow_executions(r)).await,
            "ListOpenWorkflowExecutions" => answer(request, |r| self.list_open_workflow_executions(r)).await,
            "ListClosedWorkflowExecutions" => answer(request, |r| self.list_closed_workflow_executions(r)).await,
            "QueryWorkflow" => answer(request, |r| self.query_workflow(r, metadata)).await,
            "GetWorkflowExecutionHistory" => answer(request, |r| self.get_history(r, metadata)).await,
            "GetWorkflowExecutionHistoryReverse" => answer(request, |r| self.get_history_reverse(r)).await,
            "PollWorkflowTaskQueue" => self.poll_workflow_task_queue(decode(request)?, metadata).await,
            "RespondWorkflowTaskCompleted" => answer(request, |r| self.respond_workflow_task_completed(r)).await,
            "RespondWorkflowTaskFailed" => answer(request, |r| self.respond_workflow_task_failed(r)).await,
            "RespondQueryTaskCompleted" => answer(request, |r| self.respond_query_task_completed(r)).await,
            "ResetStickyTaskQueue" => answer(request, |r| self.reset_sticky_task_queue(r)).await,
            "ShutdownWorker" => answer(request, |r| self.shutdown_worker(r)).await,
            "PollActivityTaskQueue" => self.poll_activity_task_queue(decode(request)?, metadata).await,
            "RecordActivityTaskHeartbeat" => answer(request, |r| self.record_heartbeat(r)).await,
            "RecordActivityTaskHeartbeatById" => answer(request, |r| self.record_heartbeat_by_id(r)).await,
            "RespondActivityTaskCompleted" => answer(request, |r| self.respond_activity_completed(r)).await,
            "RespondActivityTaskCompletedById" => answer(request, |r| self.respond_activity_completed_by_id(r)).await,
            "RespondActivityTaskFailed" => answer(request, |r| self.respond_activity_failed(r)).await,
            "RespondActivityTaskFailedById" => answer(request, |r| self.respond_activity_failed_by_id(r)).await,
            "RespondActivityTaskCanceled" => answer(request, |r| self.respond_activity_canceled(r)).await,
            "RespondActivityTaskCanceledById" => answer(request, |r| self.respond_activity_canceled_by_id(r)).await,
            "PauseActivity" => answer(request, |r| self.pause_activity(r)).await,
            "UnpauseActivity" => answer(request, |r| self.unpause_activity(r)).await,
            "ResetActivity" => answer(request, |r| self.reset_activity(r)).await,
            "RegisterNamespace" => answer(request, |r| self.register_namespace(r)).await,
            "DescribeNamespace" => answer(request, |r| self.describe_namespace(r)).await,
            "ListNamespaces" => answer(request, |r| self.list_namespaces(r)).await,
            "UpdateNamespace" => answer(request, |r| self.update_namespace(r)).await,
            "DeprecateNamespace" => answer(request, |r| self.deprecate_namespace(r)).await,
            "DescribeTaskQueue" => answer(request, |r| self.describe_task_queue(r)).await,
            "ListTaskQueuePartitions" => answer(request, |r| self.list_task_queue_partitions(r)).await,
            "GetSearchAttributes" => answer(request, |r| self.get_search_attributes(r)).await,
            "GetSystemInfo" => answer(request, |r| self.get_system_info(r)).await,
            "GetClusterInfo" => answer(request, |r| self.get_cluster_info(r)).await,
            _ => Err(server_info::unimplemented(WORKFLOW_SERVICE, method)),
        }
    }

    async fn call_operator_service(&self, method: &str, request: Bytes) -> Result<Answer, Status> {
        match method {
            "AddSearchAttributes" => answer(request, |r| self.add_search_attributes(r)).await,
            "RemoveSearchAttributes" => answer(request, |r| self.remove_search_attributes(r)).await,
            "ListSearchAttributes" => answer(request, |r| self.list_search_attributes(r)).await,
            "ListClusters" => answer(request, |r| self.list_clusters(r)).await,
            _ => Err(server_info::unimplemented(OPERATOR_SERVICE, method)),
        }
    }

    /// The namespace that a request names, unless it is deleted.
    fn namespace(&self, name: &str) -> Result<Arc<Namespace>, Status> {
        let namespace = self.namespace_in_any_state(name)?;
        check_state(&namespace, &USABLE)?;
        Ok(namespace)
    }

    /// The namespace that a request names, if new workflows may start in it.
    fn namespace_for_starts(&self, name: &str) -> Result<Arc<Namespace>, Status> {
        let namespace = self.namespace_in_any_state(name)?;
        check_state(&namespace, &[NamespaceState::Registered])?;
        Ok(namespace)
    }

    fn namespace_in_any_state(&self, name: &str) -> Result<Arc<Namespace>, Status> {
        if name.is_empty() {
            return Err(error::invalid("Namespace is empty."));
        }
        if name.len() > self.shared.limits.id_bytes_max {
            return Err(error::invalid("Namespace length exceeds limit."));
        }
        self.shared.history.namespaces().by_name(name).ok_or_else(|| error::namespace_not_found(name))
    }

    /// What `waiting` comes to, or nothing at `end` or when the server stops; then it is dropped. The wait is a caller's,
    /// by whose clock it ends.
    async fn wait_until<T>(&self, end: Timestamp, waiting: impl Future<Output = T>) -> Option<T> {
        let mut closing = self.shared.closing.subscribe();
        let closed = pin!(closing.wait_for(|closing| *closing));
        let over = select(self.shared.rt.sleep_unskipped(end), closed);
        match select(pin!(waiting), over).await {
            Either::Left((come, _)) => Some(come),
            Either::Right(_) => None,
        }
    }

    fn random_uuid(&self) -> Uuid {
        let rt = &self.shared.rt;
        let random = (u128::from(rt.random_u64()) << 64) | u128::from(rt.random_u64());
        uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid()
    }
}

fn check_state(namespace: &Namespace, allowed: &[NamespaceState]) -> Result<(), Status> {
    let is_allowed = allowed.iter().any(|state| *state as i32 == namespace.state);
    if is_allowed { Ok(()) } else { Err(error::namespace_state(namespace, allowed)) }
}

/// Decodes the request, has it handled, encodes the answer. The handler's future is boxed: it is far larger than
/// this one, which every call pays for.
async fn answer<Request, Response, Handling>(
    request: Bytes,
    handle: impl FnOnce(Request) -> Handling,
) -> Result<Answer, Status>
where
    Request: Message + Default + Name,
    Response: Message,
    Handling: Future<Output = Result<Response, Status>>,
{
    let response = Box::pin(handle(decode(request)?)).await?;
    Ok(Answer { bytes: encode(&response), delivery: None })
}

fn decode<Request: Message + Default + Name>(request: Bytes) -> Result<Request, Status> {
    if parts::are_too_many::<Request>(&request) {
        return Err(error::invalid(format!("The request has more than {} elements.", parts::ELEMENTS_MAX)));
    }
    Request::decode(request).map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))
}

fn encode(response: &impl Message) -> Bytes {
    response.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest as Completion;

    use super::*;

    /// Found by fuzzing: a request of a megabyte took up more than half a gigabyte.
    #[test]
    fn a_request_of_very_many_elements_is_refused_before_it_is_decoded() {
        let commands = |count: usize| Bytes::from([0x12, 0].repeat(count));
        assert_eq!(decode::<Completion>(commands(parts::ELEMENTS_MAX)).unwrap().commands.len(), parts::ELEMENTS_MAX);
        let refused = decode::<Completion>(commands(parts::ELEMENTS_MAX + 1)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(
            decode::<Completion>(Bytes::from_static(&[0x12, 9]))
                .is_err_and(|error| error.code() == tonic::Code::Internal)
        );
    }
}
