//! Tokens that clients hand back: as they come, and with a checksum that fits, as nobody but us makes them.

use bytes::Bytes;
use mainspring_api::v1::{
    common::WorkflowExecution,
    workflowservice::{
        GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryReverseRequest, ListNamespacesRequest,
        ListWorkflowExecutionsRequest, RecordActivityTaskHeartbeatRequest, RespondActivityTaskCanceledRequest,
        RespondActivityTaskCompletedRequest, RespondActivityTaskFailedRequest, RespondQueryTaskCompletedRequest,
        RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest,
    },
};

use crate::{
    filters,
    world::{self, NAMESPACE},
};

/// The bytes as each kind of token, on every method that takes that kind.
pub(crate) fn run(bytes: &[u8]) {
    for token in [Bytes::copy_from_slice(bytes), sealed(b"task", bytes)] {
        task(&token);
    }
    for token in [Bytes::copy_from_slice(bytes), sealed(b"page", bytes)] {
        page(&token);
    }
    for token in [bytes.to_vec(), sealed(b"query", bytes).to_vec()] {
        let query = RespondQueryTaskCompletedRequest {
            namespace: NAMESPACE.to_owned(),
            task_token: token.into(),
            ..Default::default()
        };
        drop(world::ask("RespondQueryTaskCompleted", &query));
    }
    let names =
        ListNamespacesRequest { next_page_token: sealed(b"namespaces", bytes).to_vec().into(), ..Default::default() };
    drop(world::ask("ListNamespaces", &names));
    let list = ListWorkflowExecutionsRequest {
        namespace: NAMESPACE.to_owned(),
        next_page_token: filters::sealed(bytes).into(),
        ..Default::default()
    };
    drop(world::ask("ListWorkflowExecutions", &list));
}

fn task(token: &Bytes) {
    macro_rules! give {
        ($($method:literal: $request:ident),+ $(,)?) => {$(
            let request = $request { namespace: NAMESPACE.to_owned(), task_token: token.to_vec().into(), ..Default::default() };
            drop(world::ask($method, &request));
        )+};
    }
    give! {
        "RespondWorkflowTaskCompleted": RespondWorkflowTaskCompletedRequest,
        "RespondWorkflowTaskFailed": RespondWorkflowTaskFailedRequest,
        "RecordActivityTaskHeartbeat": RecordActivityTaskHeartbeatRequest,
        "RespondActivityTaskCompleted": RespondActivityTaskCompletedRequest,
        "RespondActivityTaskFailed": RespondActivityTaskFailedRequest,
        "RespondActivityTaskCanceled": RespondActivityTaskCanceledRequest,
    }
}

fn page(token: &Bytes) {
    let execution = Some(WorkflowExecution { workflow_id: "w".to_owned(), run_id: String::new() });
    for wait_new_event in [false, true] {
        let read = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.to_owned(),
            execution: execution.clone(),
            next_page_token: token.to_vec().into(),
            wait_new_event,
            ..Default::default()
        };
        drop(world::ask("GetWorkflowExecutionHistory", &read));
    }
    let reverse = GetWorkflowExecutionHistoryReverseRequest {
        namespace: NAMESPACE.to_owned(),
        execution,
        next_page_token: token.to_vec().into(),
        ..Default::default()
    };
    drop(world::ask("GetWorkflowExecutionHistoryReverse", &reverse));
}

/// As the frontend seals tokens of that kind: a test compares.
fn sealed(kind: &[u8], message: &[u8]) -> Bytes {
    let sum = crc32c::crc32c_append(crc32c::crc32c(kind), message).to_be_bytes();
    [message, &sum].concat().into()
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::workflowservice::PollWorkflowTaskQueueResponse;
    use prost::Message;

    use super::*;

    #[test]
    fn tokens_are_sealed_as_the_frontend_does() {
        let task =
            PollWorkflowTaskQueueResponse::decode(world::World::new().poll(world::NAMESPACE, "w")).expect("an answer");
        let (message, _) = task.task_token.split_at(task.task_token.len() - 4);
        assert_eq!(sealed(b"task", message), task.task_token);
    }
}
