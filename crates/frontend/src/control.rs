//! Signals, cancel requests and terminations.

use mainspring_api::v1::workflowservice::{
    RequestCancelWorkflowExecutionRequest, RequestCancelWorkflowExecutionResponse, SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse, TerminateWorkflowExecutionRequest, TerminateWorkflowExecutionResponse,
};
use mainspring_engine::input::{Input, RequestCancel, Signal, Terminate};
use tonic::Status;

use crate::{
    Frontend,
    error::{self, About},
    start::signal_link,
    validate,
};

const TERMINATE_REASON: &str = "terminated by user via frontend";
const TERMINATE_IDENTITY: &str = "frontend-service";

impl Frontend {
    pub(crate) async fn signal_workflow_execution(
        &self,
        request: SignalWorkflowExecutionRequest,
    ) -> Result<SignalWorkflowExecutionResponse, Status> {
        let limits = &self.shared.limits;
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.workflow_execution, limits)?;
        validate::required(&request.signal_name, "SignalName", limits)?;
        validate::optional(&request.request_id, "RequestId", limits)?;
        validate::links(&request.links)?;
        validate::blob(request.input.as_ref(), limits)?;
        let link = signal_link(&namespace.name, &execution.workflow_id, &execution.run_id, request.request_id.clone());
        let signal = Signal {
            run_id: execution.run_id.clone(),
            name: request.signal_name,
            input: request.input,
            identity: request.identity,
            header: request.header,
            request_id: request.request_id,
            links: request.links,
            ..Signal::default()
        };
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let answer = self.shared.history.call(namespace.id, about.workflow_id, Input::Signal(Box::new(signal))).await;
        answer.map_err(|error| error::status(error, &about))?;
        // Without the run's id there is nothing to point at.
        Ok(SignalWorkflowExecutionResponse { link: (!about.run_id.is_empty()).then_some(link) })
    }

    pub(crate) async fn request_cancel(
        &self,
        request: RequestCancelWorkflowExecutionRequest,
    ) -> Result<RequestCancelWorkflowExecutionResponse, Status> {
        let limits = &self.shared.limits;
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.workflow_execution, limits)?;
        validate::links(&request.links)?;
        let names_chain = !request.first_execution_run_id.is_empty();
        let cancel = RequestCancel {
            run_id: execution.run_id.clone(),
            first_run_id: request.first_execution_run_id,
            identity: request.identity,
            reason: request.reason,
            links: request.links,
            ..RequestCancel::default()
        };
        let about = About { names_chain, ..About::run(&execution.workflow_id, &execution.run_id) };
        let input = Input::RequestCancel(Box::new(cancel));
        let answer = self.shared.history.call(namespace.id, about.workflow_id, input).await;
        answer.map_err(|error| error::status(error, &about))?;
        Ok(RequestCancelWorkflowExecutionResponse {})
    }

    pub(crate) async fn terminate_workflow_execution(
        &self,
        request: TerminateWorkflowExecutionRequest,
    ) -> Result<TerminateWorkflowExecutionResponse, Status> {
        let limits = &self.shared.limits;
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.workflow_execution, limits)?;
        validate::links(&request.links)?;
        validate::blob(request.details.as_ref(), limits)?;
        let names_chain = !request.first_execution_run_id.is_empty();
        let terminate = Terminate {
            run_id: execution.run_id.clone(),
            first_run_id: request.first_execution_run_id,
            reason: or(request.reason, TERMINATE_REASON),
            details: request.details,
            identity: or(request.identity, TERMINATE_IDENTITY),
            links: request.links,
            ..Terminate::default()
        };
        let about = About { names_chain, ..About::run(&execution.workflow_id, &execution.run_id) };
        let input = Input::Terminate(Box::new(terminate));
        let answer = self.shared.history.call(namespace.id, about.workflow_id, input).await;
        answer.map_err(|error| error::status(error, &about))?;
        Ok(TerminateWorkflowExecutionResponse {})
    }
}

fn or(given: String, default: &str) -> String {
    if given.is_empty() { default.to_owned() } else { given }
}
