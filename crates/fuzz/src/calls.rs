//! Whole requests, as the gRPC adapter hands them over: any method with any bytes.

use bytes::Bytes;

use crate::world;

/// The methods, in an order that only grows: a corpus names them by their number.
pub const METHODS: &[&str] = &[
    "StartWorkflowExecution",
    "SignalWithStartWorkflowExecution",
    "UpdateWorkflowExecution",
    "PollWorkflowExecutionUpdate",
    "ExecuteMultiOperation",
    "SignalWorkflowExecution",
    "RequestCancelWorkflowExecution",
    "TerminateWorkflowExecution",
    "DeleteWorkflowExecution",
    "DescribeWorkflowExecution",
    "ListWorkflowExecutions",
    "ScanWorkflowExecutions",
    "CountWorkflowExecutions",
    "ListOpenWorkflowExecutions",
    "ListClosedWorkflowExecutions",
    "QueryWorkflow",
    "GetWorkflowExecutionHistory",
    "GetWorkflowExecutionHistoryReverse",
    "PollWorkflowTaskQueue",
    "RespondWorkflowTaskCompleted",
    "RespondWorkflowTaskFailed",
    "RespondQueryTaskCompleted",
    "ResetStickyTaskQueue",
    "ShutdownWorker",
    "PollActivityTaskQueue",
    "RecordActivityTaskHeartbeat",
    "RecordActivityTaskHeartbeatById",
    "RespondActivityTaskCompleted",
    "RespondActivityTaskCompletedById",
    "RespondActivityTaskFailed",
    "RespondActivityTaskFailedById",
    "RespondActivityTaskCanceled",
    "RespondActivityTaskCanceledById",
    "PauseActivity",
    "UnpauseActivity",
    "ResetActivity",
    "RegisterNamespace",
    "DescribeNamespace",
    "ListNamespaces",
    "UpdateNamespace",
    "DeprecateNamespace",
    "DescribeTaskQueue",
    "ListTaskQueuePartitions",
    "GetSearchAttributes",
    "GetSystemInfo",
    "GetClusterInfo",
    "AddSearchAttributes",
    "RemoveSearchAttributes",
    "ListSearchAttributes",
    "ListClusters",
];

/// The first byte is the method's number, the rest the request.
pub(crate) fn run(bytes: &[u8]) {
    let Some((method, request)) = bytes.split_first() else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    drop(world::call(method, Bytes::copy_from_slice(request)));
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn the_frontend_has_each_of_them() {
        for method in METHODS {
            let answered = world::call(method, Bytes::new());
            assert!(
                !matches!(&answered, Err(status) if status.code() == Code::Unimplemented),
                "{method}: {answered:?}"
            );
        }
    }
}
