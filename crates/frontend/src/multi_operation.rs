//! Several operations on one workflow id in one call: a start together with an update.

use mainspring_api::{
    google::rpc,
    status::with_detail,
    v1::{
        errordetails::{MultiOperationExecutionFailure, multi_operation_execution_failure::OperationStatus},
        failure::MultiOperationExecutionAborted,
        workflowservice::{
            ExecuteMultiOperationRequest, ExecuteMultiOperationResponse, StartWorkflowExecutionRequest,
            UpdateWorkflowExecutionRequest,
            execute_multi_operation_request::operation::Operation,
            execute_multi_operation_response::{Response, response},
        },
    },
};
use mainspring_engine::input::{Input, Start};
use mainspring_engine::outcome::Rejected;
use mainspring_history::{Await, Error, Namespace, UpdateView};
use prost::{Message, Name};
use tonic::{Code, Status};

use crate::{
    Frontend,
    error::{self, About, invalid},
    long_poll,
    updates::CheckedUpdate,
};

const FAILED: &str = "Update-with-Start could not be executed.";

impl Frontend {
    pub(crate) async fn execute_multi_operation(
        &self,
        request: ExecuteMultiOperationRequest,
    ) -> Result<ExecuteMultiOperationResponse, Status> {
        let namespace = self.namespace_for_starts(&request.namespace)?;
        let (start, update) = pair(request)?;
        let start = self.start_of_pair(&namespace, start).map_err(|status| failed(Part::Start(status)))?;
        let update = self.update_of_pair(&namespace, &start, update).map_err(|status| failed(Part::Update(status)))?;
        let request_id = start.request_id.clone();
        let view = self.bring(&namespace, start, &update).await?;
        let Some(started) = view.started.clone() else { return Err(Status::internal("the start was not answered")) };
        let updated = self.updated(&namespace, &update.workflow_id, update.update_id, &view).await?;
        let started = crate::start::response(&namespace.name, &update.workflow_id, started, request_id, None);
        let response = |response| Response { response: Some(response) };
        let responses = vec![
            response(response::Response::StartWorkflow(started)),
            response(response::Response::UpdateWorkflow(updated)),
        ];
        Ok(ExecuteMultiOperationResponse { responses })
    }

    fn start_of_pair(&self, namespace: &Namespace, request: StartWorkflowExecutionRequest) -> Result<Start, Status> {
        check_namespace(&request.namespace, namespace)?;
        if !request.cron_schedule.is_empty() {
            return Err(invalid("CronSchedule is not allowed."));
        }
        if request.request_eager_execution {
            return Err(invalid("RequestEagerExecution is not supported."));
        }
        if request.workflow_start_delay.is_some() {
            return Err(invalid("WorkflowStartDelay is not supported."));
        }
        self.checked_start(namespace, request)
    }

    fn update_of_pair(
        &self,
        namespace: &Namespace,
        start: &Start,
        request: UpdateWorkflowExecutionRequest,
    ) -> Result<CheckedUpdate, Status> {
        check_namespace(&request.namespace, namespace)?;
        let execution = request.workflow_execution.clone().unwrap_or_default();
        if !request.first_execution_run_id.is_empty() {
            return Err(invalid("FirstExecutionRunId is not allowed."));
        }
        if !execution.run_id.is_empty() {
            return Err(invalid("RunId is not allowed."));
        }
        if execution.workflow_id != start.workflow_id {
            return Err(invalid("WorkflowId is not consistent with previous operation(s)."));
        }
        self.checked_update(request)
    }

    /// Brings both to history at once. A refusal is the start's or the update's.
    async fn bring(&self, namespace: &Namespace, start: Start, update: &CheckedUpdate) -> Result<UpdateView, Status> {
        let about = About { workflow_id: &update.workflow_id, reuse_policy: start.reuse_policy, ..About::default() };
        let input = Input::UpdateWithStart(Box::new(start), Box::new(update.admit.clone()));
        let wanted = Await {
            run_id: String::new(),
            update_id: update.update_id.clone(),
            input: Some(Box::new(input)),
            stage: update.stage,
            deadline: long_poll::update_end(&self.shared.rt),
        };
        self.await_update(namespace, &update.workflow_id, wanted).await.map_err(|error| {
            let part = match &error {
                Error::Rejected(Rejected::AlreadyStarted { .. }) => Part::Start,
                // The start was done, the update came to nothing.
                Error::Rejected(Rejected::UpdateAborted | Rejected::NotReady(_)) => Part::UpdateAlone,
                Error::Rejected(_) => Part::Update,
                // Nothing can be said of either.
                _ => return error::status(error, &about),
            };
            failed(part(error::status(error, &about)))
        })
    }
}

/// A start and an update, in this order: nothing else is known.
fn pair(
    request: ExecuteMultiOperationRequest,
) -> Result<(StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest), Status> {
    let mut operations = request.operations.into_iter().filter_map(|operation| operation.operation);
    match (operations.next(), operations.next(), operations.next()) {
        (Some(Operation::StartWorkflow(start)), Some(Operation::UpdateWorkflow(update)), None) => Ok((start, update)),
        _ => Err(invalid("Operations have to be exactly [Start, Update].")),
    }
}

fn check_namespace(named: &str, namespace: &Namespace) -> Result<(), Status> {
    if named == namespace.name {
        Ok(())
    } else {
        Err(invalid("Operation namespace did not match request's namespace."))
    }
}

/// Whose fault it is.
enum Part {
    Start(Status),
    Update(Status),
    /// The start succeeded.
    UpdateAlone(Status),
}

/// The status of the one that failed, and for each of the two what became of it.
fn failed(part: Part) -> Status {
    let (code, statuses) = match part {
        Part::Start(status) => (status.code(), vec![operation_status(&status), aborted()]),
        Part::Update(status) => (status.code(), vec![aborted(), operation_status(&status)]),
        Part::UpdateAlone(status) => (status.code(), vec![OperationStatus::default(), operation_status(&status)]),
    };
    with_detail(code, FAILED, &MultiOperationExecutionFailure { statuses })
}

fn operation_status(status: &Status) -> OperationStatus {
    let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    OperationStatus { code: status.code() as i32, message: status.message().to_owned(), details }
}

fn aborted() -> OperationStatus {
    let type_url = format!("type.googleapis.com/{}", MultiOperationExecutionAborted::full_name());
    OperationStatus {
        code: Code::Aborted as i32,
        message: "Operation was aborted.".to_owned(),
        details: vec![prost_types::Any { type_url, value: Vec::new() }],
    }
}
