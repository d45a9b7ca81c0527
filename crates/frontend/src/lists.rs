//! Lists and counts of workflow executions, from the visibility index.

use std::sync::Arc;

use mainspring_api::{
    time::{duration, from_timestamp, timestamp},
    v1::{
        common::{Memo, SearchAttributes, WorkflowExecution, WorkflowType},
        enums::WorkflowExecutionStatus as Status_,
        filter::{StartTimeFilter, StatusFilter, WorkflowExecutionFilter, WorkflowTypeFilter},
        workflow::WorkflowExecutionInfo,
        workflowservice::{
            CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, ListClosedWorkflowExecutionsRequest,
            ListClosedWorkflowExecutionsResponse, ListOpenWorkflowExecutionsRequest,
            ListOpenWorkflowExecutionsResponse, ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse,
            ScanWorkflowExecutionsRequest, ScanWorkflowExecutionsResponse, count_workflow_executions_response,
            list_closed_workflow_executions_request as closed, list_open_workflow_executions_request as open,
        },
    },
};
use mainspring_history::Namespace;
use mainspring_rt::Timestamp;
use mainspring_visibility::{
    Error as IndexError, Filter, Kind, Record,
    filter::{Column, Node, Order, Test, Value},
};
use tonic::Status;

use crate::{Frontend, error::invalid};

/// Runs of one page, at most and when nothing is asked for. `frontend.visibilityMaxPageSize`
const PAGE_SIZE_MAX: usize = 1_000;

impl Frontend {
    pub(crate) async fn list_workflow_executions(
        &self,
        request: ListWorkflowExecutionsRequest,
    ) -> Result<ListWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let filter = parse(&namespace, &request.query)?;
        let (executions, next_page_token) =
            self.page_of(&namespace, filter, request.page_size, &request.next_page_token).await?;
        Ok(ListWorkflowExecutionsResponse { executions, next_page_token })
    }

    /// The same as a list, as it is upstream.
    pub(crate) async fn scan_workflow_executions(
        &self,
        request: ScanWorkflowExecutionsRequest,
    ) -> Result<ScanWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let filter = parse(&namespace, &request.query)?;
        let (executions, next_page_token) =
            self.page_of(&namespace, filter, request.page_size, &request.next_page_token).await?;
        Ok(ScanWorkflowExecutionsResponse { executions, next_page_token })
    }

    pub(crate) async fn list_open_workflow_executions(
        &self,
        request: ListOpenWorkflowExecutionsRequest,
    ) -> Result<ListOpenWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let mut conditions = vec![status_is(Status_::Running)];
        conditions.extend(between(Column::StartTime, request.start_time_filter.as_ref())?);
        conditions.extend(match request.filters {
            Some(open::Filters::ExecutionFilter(filter)) => Some(by_workflow(filter)),
            Some(open::Filters::TypeFilter(filter)) => Some(by_type(filter)),
            None => None,
        });
        let filter = Filter::all_of(conditions);
        let (executions, next_page_token) =
            self.page_of(&namespace, filter, request.maximum_page_size, &request.next_page_token).await?;
        Ok(ListOpenWorkflowExecutionsResponse { executions, next_page_token })
    }

    pub(crate) async fn list_closed_workflow_executions(
        &self,
        request: ListClosedWorkflowExecutionsRequest,
    ) -> Result<ListClosedWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let mut conditions = vec![Node::Not(Box::new(status_is(Status_::Running)))];
        conditions.extend(between(Column::CloseTime, request.start_time_filter.as_ref())?);
        conditions.extend(match request.filters {
            Some(closed::Filters::ExecutionFilter(filter)) => Some(by_workflow(filter)),
            Some(closed::Filters::TypeFilter(filter)) => Some(by_type(filter)),
            Some(closed::Filters::StatusFilter(filter)) => Some(by_status(&filter)?),
            None => None,
        });
        let filter = Filter::all_of(conditions);
        let (executions, next_page_token) =
            self.page_of(&namespace, filter, request.maximum_page_size, &request.next_page_token).await?;
        Ok(ListClosedWorkflowExecutionsResponse { executions, next_page_token })
    }

    pub(crate) async fn count_workflow_executions(
        &self,
        request: CountWorkflowExecutionsRequest,
    ) -> Result<CountWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let filter = parse(&namespace, &request.query)?;
        let count = self.shared.history.count(namespace.id, filter).await.map_err(index_error)?;
        let group =
            |(group_values, count)| count_workflow_executions_response::AggregationGroup { group_values, count };
        Ok(CountWorkflowExecutionsResponse {
            count: count.total,
            groups: count.groups.into_iter().map(group).collect(),
        })
    }

    async fn page_of(
        &self,
        namespace: &Namespace,
        filter: Filter,
        page_size: i32,
        token: &[u8],
    ) -> Result<(Vec<WorkflowExecutionInfo>, bytes::Bytes), Status> {
        let page_size = match usize::try_from(page_size) {
            Ok(0) => PAGE_SIZE_MAX,
            Ok(size) => size.min(PAGE_SIZE_MAX),
            Err(_) => return Err(invalid("Invalid PageSize.")),
        };
        let page = self.shared.history.list(namespace.id, filter, page_size, token.to_vec()).await;
        let page = page.map_err(index_error)?;
        Ok((page.records.into_iter().map(info).collect(), page.next_page_token.into()))
    }
}

fn parse(namespace: &Arc<Namespace>, query: &str) -> Result<Filter, Status> {
    let custom = |name: &str| namespace.search_attributes.get(name).and_then(|kind| Kind::from_wire(*kind));
    Filter::parse(query, &custom).map_err(|error| invalid(error.to_string()))
}

fn index_error(error: IndexError) -> Status {
    match error {
        IndexError::Token => invalid(error.to_string()),
        IndexError::Rejected(_) | IndexError::Broken(_) => Status::unavailable(error.to_string()),
    }
}

fn equals(column: Column, value: Value) -> Node {
    Node::Test(column, Test::Compare(Order::Equal, value))
}

fn status_is(status: Status_) -> Node {
    equals(Column::Status, Value::Int(i64::from(status as i32)))
}

fn by_workflow(filter: WorkflowExecutionFilter) -> Node {
    let workflow = equals(Column::WorkflowId, Value::Keyword(filter.workflow_id));
    if filter.run_id.is_empty() {
        return workflow;
    }
    Node::And(vec![workflow, equals(Column::RunId, Value::Keyword(filter.run_id))])
}

fn by_type(filter: WorkflowTypeFilter) -> Node {
    equals(Column::WorkflowType, Value::Keyword(filter.name))
}

fn by_status(filter: &StatusFilter) -> Result<Node, Status> {
    match filter.status() {
        Status_::Unspecified | Status_::Running => {
            Err(invalid("StatusFilter must be specified and must be not Running."))
        }
        status => Ok(status_is(status)),
    }
}

fn between(column: Column, filter: Option<&StartTimeFilter>) -> Result<Option<Node>, Status> {
    let Some(filter) = filter else { return Ok(None) };
    let earliest = from_timestamp(filter.earliest_time.as_ref());
    let latest = filter.latest_time.as_ref().map_or(Timestamp::MAX, |latest| from_timestamp(Some(latest)));
    if earliest > latest {
        return Err(invalid("EarliestTime in StartTimeFilter should not be larger than LatestTime."));
    }
    Ok(Some(Node::Test(column, Test::Between(Value::Time(earliest), Value::Time(latest)))))
}

/// A run as lists show it; sizes are known once it is closed.
fn info(record: Record) -> WorkflowExecutionInfo {
    let execution = |workflow_id: &str, run_id: &str| {
        (!workflow_id.is_empty())
            .then(|| WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() })
    };
    let open = record.close_time.is_zero();
    let itself = execution(&record.workflow_id, &record.run_id);
    WorkflowExecutionInfo {
        r#type: Some(WorkflowType { name: record.workflow_type }),
        start_time: Some(timestamp(record.start_time)),
        close_time: (!open).then(|| timestamp(record.close_time)),
        execution_time: Some(timestamp(record.execution_time)),
        execution_duration: (!open).then(|| duration(record.close_time.since(record.execution_time))),
        status: record.status,
        history_length: if open { 0 } else { record.history_length },
        history_size_bytes: if open { 0 } else { record.history_bytes },
        state_transition_count: if open { 0 } else { record.state_transitions },
        parent_execution: execution(&record.parent_workflow_id, &record.parent_run_id),
        root_execution: execution(&record.root_workflow_id, &record.root_run_id).or_else(|| itself.clone()),
        execution: itself,
        memo: Some(Memo { fields: record.memo }),
        search_attributes: Some(SearchAttributes { indexed_fields: record.search_attributes }),
        task_queue: record.task_queue,
        ..WorkflowExecutionInfo::default()
    }
}
