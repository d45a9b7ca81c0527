//! The shapes of requests that several scenarios share.

use std::time::Duration;

use bytes::Bytes;
use mainspring_api::{
    history::count_events,
    time,
    v1::{
        Payload,
        common::{Payloads, WorkflowExecution, WorkflowType},
        enums::{HistoryEventFilterType, TaskQueueKind},
        taskqueue::TaskQueue,
        workflowservice::{GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest},
    },
};
use tonic::Status;

use crate::rpc::Pool;

pub(crate) const IDENTITY: &str = "mainspring-bench";

pub(crate) fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.to_owned(), kind: TaskQueueKind::Normal as i32, ..TaskQueue::default() })
}

pub(crate) fn sticky_queue(name: &str, normal: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.to_owned(), kind: TaskQueueKind::Sticky as i32, normal_name: normal.to_owned() })
}

/// One JSON string of that many bytes, at least two.
pub(crate) fn payloads(bytes: usize) -> Payloads {
    let text = format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)));
    Payloads { payloads: vec![Payload::new("json/plain", text.as_bytes())] }
}

pub(crate) fn seconds(seconds: u64) -> Option<prost_types::Duration> {
    Some(time::duration(Duration::from_secs(seconds)))
}

pub(crate) fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() })
}

pub(crate) fn start(namespace: &str, queue_name: &str, kind: &str, id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        workflow_id: id.to_owned(),
        workflow_type: Some(WorkflowType { name: kind.to_owned() }),
        task_queue: queue(queue_name),
        identity: IDENTITY.to_owned(),
        request_id: id.to_owned(),
        workflow_task_timeout: seconds(10),
        ..StartWorkflowExecutionRequest::default()
    }
}

/// Waits, by long poll, until the run has its closing event.
///
/// # Errors
/// What the server answers.
pub(crate) async fn wait_closed(pool: &Pool, namespace: &str, id: &str, run_id: &str) -> Result<(), Status> {
    let mut next_page_token = Bytes::new();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: namespace.to_owned(),
            execution: execution(id, run_id),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            next_page_token,
            skip_archival: true,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let page = pool.call(request).await?;
        if !page.history.is_empty() {
            return Ok(());
        }
        next_page_token = page.next_page_token;
    }
}

/// How much a history is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) pages: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Fetches a whole history and counts it.
///
/// # Errors
/// What the server answers, and DATA_LOSS when events cannot be told apart.
pub(crate) async fn fetch_history(pool: &Pool, namespace: &str, id: &str, run_id: &str) -> Result<Fetched, Status> {
    let mut fetched = Fetched::default();
    fetch_pages(pool, namespace, id, run_id, |page| {
        let events = count_events(&page).map_err(|error| Status::data_loss(error.to_string()))?;
        fetched.pages += 1;
        fetched.events += events as u64;
        fetched.bytes += page.len() as u64;
        Ok(())
    })
    .await?;
    Ok(fetched)
}

/// Fetches a whole history page by page.
///
/// # Errors
/// What the server answers, or `take` does.
pub(crate) async fn fetch_pages(
    pool: &Pool,
    namespace: &str,
    id: &str,
    run_id: &str,
    mut take: impl FnMut(Bytes) -> Result<(), Status>,
) -> Result<(), Status> {
    let mut next_page_token = Bytes::new();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: namespace.to_owned(),
            execution: execution(id, run_id),
            next_page_token,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let page = pool.call(request).await?;
        take(page.history)?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        next_page_token = page.next_page_token;
    }
}
