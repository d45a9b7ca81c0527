//! DeleteWorkflowExecution: the run is terminated if it is open, and then goes with all it has.

use mainspring_api::v1::workflowservice::{DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse};
use mainspring_engine::input::Input;
use tonic::Status;

use crate::{
    Frontend,
    error::{self, About},
    validate,
};

impl Frontend {
    /// Nobody sees the run from the answer on; its rows and its entry in lists go soon after.
    pub(crate) async fn delete_workflow_execution(
        &self,
        request: DeleteWorkflowExecutionRequest,
    ) -> Result<DeleteWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.workflow_execution, &self.shared.limits)?;
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let input = Input::Delete { run_id: execution.run_id.clone() };
        let answer = self.shared.history.call(namespace.id, about.workflow_id, input).await;
        answer.map_err(|error| error::status(error, &about))?;
        Ok(DeleteWorkflowExecutionResponse {})
    }
}
