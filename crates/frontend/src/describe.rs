//! DescribeWorkflowExecution: a run as it stands, ahead of its history when events are buffered.

use std::collections::BTreeMap;

use mainspring_api::{
    time::duration,
    v1::{
        common::{Memo, SearchAttributes, WorkflowExecution, WorkflowType},
        enums::EventType,
        history::history_event::Attributes,
        sdk::UserMetadata,
        workflow::{
            RequestIdInfo, ResetPoints, WorkflowExecutionConfig, WorkflowExecutionExtendedInfo, WorkflowExecutionInfo,
        },
        workflowservice::{DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse},
    },
};
use mainspring_engine::{
    BUFFERED,
    state::{Fixed, Run},
};
use mainspring_history::RunView;
use mainspring_rt::Timestamp;
use tonic::Status;

use crate::{
    Frontend,
    error::{self, About},
    pending::{self, deadline, span, time},
    validate,
    workflow_tasks::normal_queue,
};

impl Frontend {
    pub(crate) async fn describe_workflow_execution(
        &self,
        request: DescribeWorkflowExecutionRequest,
    ) -> Result<DescribeWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.execution, &self.shared.limits)?;
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let view = self.shared.history.look(namespace.id, about.workflow_id, about.run_id).await;
        let view = view.map_err(|error| error::status(error, &about))?;
        let user_metadata = self.user_metadata(&view, &about).await?;
        Ok(described(&view.run, user_metadata))
    }

    /// Summary and details stand in the first event, and nowhere else.
    async fn user_metadata(&self, view: &RunView, about: &About<'_>) -> Result<Option<UserMetadata>, Status> {
        let event = self.stored_event(view.key, &view.tail, 1, about).await?;
        debug_assert!(matches!(event.attributes, Some(Attributes::WorkflowExecutionStartedEventAttributes(_))));
        Ok(event.user_metadata)
    }
}

fn described(run: &Run, user_metadata: Option<UserMetadata>) -> DescribeWorkflowExecutionResponse {
    let is_open = run.is_open();
    DescribeWorkflowExecutionResponse {
        execution_config: Some(WorkflowExecutionConfig {
            task_queue: Some(normal_queue(&run.fixed.task_queue)),
            workflow_execution_timeout: span(run.fixed.execution_timeout),
            workflow_run_timeout: span(run.fixed.run_timeout),
            default_workflow_task_timeout: span(run.fixed.task_timeout),
            user_metadata,
        }),
        workflow_execution_info: Some(info(run)),
        pending_activities: run.activities.values().map(|activity| pending::activity(activity)).collect(),
        pending_children: run.children.values().map(|child| pending::child(child)).collect(),
        pending_workflow_task: run.execution.task.as_ref().filter(|_| is_open).map(pending::workflow_task),
        workflow_extended_info: Some(WorkflowExecutionExtendedInfo {
            execution_expiration_time: time(run.fixed.execution_expires_at),
            run_expiration_time: deadline(run.expires_at()),
            cancel_requested: run.execution.cancel_requested,
            original_start_time: time(run.fixed.started_at),
            request_id_infos: requests(run),
            ..WorkflowExecutionExtendedInfo::default()
        }),
        ..DescribeWorkflowExecutionResponse::default()
    }
}

/// The requests that this run answers, and the events they wrote.
fn requests(run: &Run) -> BTreeMap<String, RequestIdInfo> {
    let started = RequestIdInfo {
        event_type: EventType::WorkflowExecutionStarted as i32,
        event_id: 1,
        ..RequestIdInfo::default()
    };
    let attached = run.properties.attached_requests.iter().map(|attached| {
        let buffered = attached.event_id == BUFFERED;
        let event_id = if buffered { 0 } else { attached.event_id };
        let event_type = EventType::WorkflowExecutionOptionsUpdated as i32;
        (attached.request_id.clone(), RequestIdInfo { event_type, event_id, buffered })
    });
    attached.chain([(run.fixed.create_request_id.clone(), started)]).collect()
}

fn info(run: &Run) -> WorkflowExecutionInfo {
    let (fixed, execution) = (&*run.fixed, &run.execution);
    let parent = fixed.parent.clone();
    let lasted = (execution.closed_at != 0)
        .then(|| Timestamp::from_nanos(execution.closed_at).since(Timestamp::from_nanos(fixed.execution_at)));
    WorkflowExecutionInfo {
        execution: Some(WorkflowExecution { workflow_id: fixed.workflow_id.clone(), run_id: fixed.run_id.clone() }),
        r#type: Some(WorkflowType { name: fixed.workflow_type.clone() }),
        start_time: time(fixed.started_at),
        close_time: time(execution.closed_at),
        status: execution.status,
        history_length: execution.next_event_id - 1,
        parent_namespace_id: parent.as_ref().map(|parent| parent.namespace_id.clone()).unwrap_or_default(),
        parent_execution: parent
            .map(|parent| WorkflowExecution { workflow_id: parent.workflow_id, run_id: parent.run_id }),
        execution_time: time(fixed.execution_at),
        memo: Some(Memo { fields: run.properties.memo.clone() }),
        search_attributes: Some(SearchAttributes { indexed_fields: run.properties.search_attributes.clone() }),
        auto_reset_points: Some(ResetPoints::default()),
        task_queue: fixed.task_queue.clone(),
        state_transition_count: execution.state_transitions,
        history_size_bytes: execution.history_bytes,
        execution_duration: lasted.map(duration),
        root_execution: Some(root(fixed)),
        first_run_id: fixed.first_run_id.clone(),
        priority: fixed.priority.clone(),
        ..WorkflowExecutionInfo::default()
    }
}

/// A workflow without a parent is its own root.
fn root(fixed: &Fixed) -> WorkflowExecution {
    if fixed.root_workflow_id.is_empty() {
        return WorkflowExecution { workflow_id: fixed.workflow_id.clone(), run_id: fixed.run_id.clone() };
    }
    WorkflowExecution { workflow_id: fixed.root_workflow_id.clone(), run_id: fixed.root_run_id.clone() }
}
