//! Lists of workflows, and histories: page by page, as they are asked for.

use std::{collections::BTreeMap, collections::VecDeque, time::SystemTime};

use bytes::Bytes;
use mainspring_api::v1::{
    common::WorkflowExecution,
    enums::WorkflowExecutionStatus,
    history::HistoryEvent,
    workflow::WorkflowExecutionInfo,
    workflowservice::{
        CountWorkflowExecutionsRequest, GetWorkflowExecutionHistoryRequest, ListWorkflowExecutionsRequest,
    },
};

use crate::{
    call::SearchAttributes,
    client::{Client, ClientError, handle::not_found},
    codec::CodecCx,
    payload::{FromPayload, Payload, PayloadError},
    worker::activities::system_time,
};

/// A workflow as lists show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Execution {
    /// The workflow's id.
    pub workflow_id: String,
    /// The run's id.
    pub run_id: String,
    /// The workflow's type.
    pub workflow_type: String,
    /// The task queue.
    pub queue: String,
    /// Whether it runs, or how it ended.
    pub status: WorkflowExecutionStatus,
    /// When it started.
    pub started_at: SystemTime,
    /// When it ended.
    pub closed_at: Option<SystemTime>,
    /// How many events it has; 0 while the server does not know.
    pub history_length: i64,
    /// The id of its parent, if it has one.
    pub parent_id: Option<String>,
    /// Values it is found by.
    pub search_attributes: SearchAttributes,
    /// Values that describe it, decoded.
    memo: BTreeMap<String, Payload>,
    /// All of it, as the server sent it.
    pub raw: WorkflowExecutionInfo,
}

impl Execution {
    pub(crate) async fn decoded(client: &Client, info: WorkflowExecutionInfo) -> Result<Execution, ClientError> {
        let run = info.execution.clone().unwrap_or_default();
        let cx = CodecCx::new(client.namespace(), &run.workflow_id);
        let mut memo = info.memo.clone().unwrap_or_default().fields;
        for payload in memo.values_mut() {
            client.converter().decode(&cx, std::slice::from_mut(payload)).await?;
        }
        Ok(Execution {
            workflow_id: run.workflow_id,
            run_id: run.run_id,
            workflow_type: info.r#type.clone().unwrap_or_default().name,
            queue: info.task_queue.clone(),
            status: info.status(),
            started_at: system_time(info.start_time),
            closed_at: info.close_time.map(|at| system_time(Some(at))),
            history_length: info.history_length,
            parent_id: info.parent_execution.clone().map(|parent| parent.workflow_id),
            search_attributes: SearchAttributes::from_proto(info.search_attributes.clone().unwrap_or_default()),
            memo,
            raw: info,
        })
    }

    /// A value of the memo; nothing when it is not set.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn memo<T: FromPayload>(&self, key: &str) -> Result<Option<T>, PayloadError> {
        self.memo.get(key).map(T::from_payload).transpose()
    }
}

/// Workflows of a list, page by page.
#[derive(Debug)]
pub struct Executions {
    client: Client,
    query: String,
    page: VecDeque<WorkflowExecutionInfo>,
    next: Next,
}

/// Where the next page is.
#[derive(Debug)]
enum Next {
    Page(Bytes),
    Nowhere,
}

impl Next {
    fn after(token: Bytes) -> Next {
        if token.is_empty() { Next::Nowhere } else { Next::Page(token) }
    }
}

impl Client {
    /// Workflows that match a query, such as `WorkflowType = 'Order' AND ExecutionStatus = 'Running'`; newest first.
    /// An empty query matches all.
    ///
    /// ```no_run
    /// # use mainspring_sdk::Client;
    /// # async fn example(client: Client) -> mainspring_sdk::Result<()> {
    /// let mut open = client.list("ExecutionStatus = 'Running'");
    /// while let Some(workflow) = open.next().await? {
    ///     println!("{} {}", workflow.workflow_type, workflow.workflow_id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, query: impl Into<String>) -> Executions {
        Executions { client: self.clone(), query: query.into(), page: VecDeque::new(), next: Next::Page(Bytes::new()) }
    }

    /// How many workflows match a query.
    ///
    /// # Errors
    /// When the query is wrong.
    pub async fn count(&self, query: impl Into<String>) -> Result<i64, ClientError> {
        let request = CountWorkflowExecutionsRequest { namespace: self.namespace().to_owned(), query: query.into() };
        Ok(self.rpc().call(&request).await?.count)
    }
}

impl Executions {
    /// The next one; nothing after the last. Cancel safe.
    ///
    /// # Errors
    /// When the query is wrong.
    pub async fn next(&mut self) -> Result<Option<Execution>, ClientError> {
        loop {
            if let Some(info) = self.page.pop_front() {
                return Execution::decoded(&self.client, info).await.map(Some);
            }
            let Next::Page(token) = &self.next else { return Ok(None) };
            let request = ListWorkflowExecutionsRequest {
                namespace: self.client.namespace().to_owned(),
                next_page_token: token.clone(),
                query: self.query.clone(),
                ..ListWorkflowExecutionsRequest::default()
            };
            let answer = self.client.rpc().call(&request).await?;
            self.page = answer.executions.into();
            self.next = Next::after(answer.next_page_token);
        }
    }

    /// All that are left.
    ///
    /// # Errors
    /// When the query is wrong.
    pub async fn collect(mut self) -> Result<Vec<Execution>, ClientError> {
        let mut all = Vec::new();
        while let Some(execution) = self.next().await? {
            all.push(execution);
        }
        Ok(all)
    }
}

/// Events of a run, page by page. Payloads in them are as the server has them, not decoded by codecs.
#[derive(Debug)]
pub struct History {
    client: Client,
    execution: Option<WorkflowExecution>,
    page: VecDeque<HistoryEvent>,
    next: Next,
}

impl History {
    pub(crate) fn new(client: &Client, execution: Option<WorkflowExecution>) -> History {
        let next = Next::Page(Bytes::new());
        History { client: client.clone(), execution, page: VecDeque::new(), next }
    }

    /// The next event; nothing after the last. Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there.
    pub async fn next(&mut self) -> Result<Option<HistoryEvent>, ClientError> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Ok(Some(event));
            }
            let Next::Page(token) = &self.next else { return Ok(None) };
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.client.namespace().to_owned(),
                execution: self.execution.clone(),
                next_page_token: token.clone(),
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let answer = self.client.rpc().call(&request).await.map_err(not_found)?;
            let events = answer.history.unwrap_or_default().decode_events();
            let events =
                events.map_err(|error| ClientError::Invalid(format!("the history does not decode: {error}")))?;
            self.page = events.into();
            self.next = Next::after(answer.next_page_token);
        }
    }

    /// All events that are left.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there.
    pub async fn collect(mut self) -> Result<Vec<HistoryEvent>, ClientError> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await? {
            all.push(event);
        }
        Ok(all)
    }
}
