//! Updates: asking a workflow's code for something, and waiting for what comes of it.

use std::time::Duration;

use mainspring_api::{
    status::with_detail,
    v1::{
        common::{Link, WorkflowExecution, link},
        enums::{EventType, UpdateWorkflowExecutionLifecycleStage as Stage},
        errordetails::PermissionDeniedFailure,
        history::history_event::Attributes,
        update::{Outcome, UpdateRef, WaitPolicy, outcome},
        workflowservice::{
            PollWorkflowExecutionUpdateRequest, PollWorkflowExecutionUpdateResponse, UpdateWorkflowExecutionRequest,
            UpdateWorkflowExecutionResponse,
        },
    },
};
use mainspring_engine::input::{AdmitUpdate, Input};
use mainspring_history::{Await, Error, Namespace, UpdateOutcome, UpdateStage, UpdateView};
use tonic::{Code, Status};

use crate::{
    Frontend,
    error::{self, About, invalid, not_implemented},
    long_poll, start, validate,
};

/// History answers at the deadline; it has so long for it.
const GRACE: Duration = Duration::from_secs(5);

impl Frontend {
    pub(crate) async fn update_workflow_execution(
        &self,
        request: UpdateWorkflowExecutionRequest,
    ) -> Result<UpdateWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let update = self.checked_update(request)?;
        let (workflow_id, admit, stage) = (update.workflow_id, update.admit, update.stage);
        let about = About { names_chain: !admit.first_run_id.is_empty(), ..About::run(&workflow_id, &admit.run_id) };
        let update_id = update.update_id;
        let wanted = Await {
            run_id: admit.run_id.clone(),
            update_id: update_id.clone(),
            stage,
            deadline: long_poll::update_end(&self.shared.rt),
            input: Some(Box::new(Input::Update(Box::new(admit.clone())))),
        };
        let view = self.await_update(&namespace, &workflow_id, wanted).await;
        let view = view.map_err(|error| error::status(error, &about))?;
        self.updated(&namespace, &workflow_id, update_id, &view).await
    }

    pub(crate) async fn poll_update(
        &self,
        request: PollWorkflowExecutionUpdateRequest,
    ) -> Result<PollWorkflowExecutionUpdateResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let Some(named) = request.update_ref else { return Err(invalid("UpdateRef is not set on request.")) };
        let execution = validate::execution(named.workflow_execution, &self.shared.limits)?;
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let stage = match wanted_stage(request.wait_policy.as_ref()) {
            // A look at how things are.
            Stage::Unspecified | Stage::Admitted => UpdateStage::Admitted,
            Stage::Accepted => UpdateStage::Accepted,
            Stage::Completed => UpdateStage::Completed,
        };
        let wanted = Await {
            run_id: execution.run_id.clone(),
            update_id: named.update_id.clone(),
            input: None,
            stage,
            deadline: long_poll::update_end(&self.shared.rt),
        };
        let view = self.await_update(&namespace, about.workflow_id, wanted).await;
        let view = view.map_err(|error| error::status(error, &about))?;
        let outcome = self.outcome(&view, &About::run(about.workflow_id, &view.run_id)).await?;
        Ok(PollWorkflowExecutionUpdateResponse {
            outcome,
            stage: wire_stage(view.stage) as i32,
            update_ref: Some(update_ref(about.workflow_id, named.update_id, &view)),
        })
    }

    /// A request to update with everything checked and its defaults filled in.
    pub(crate) fn checked_update(&self, request: UpdateWorkflowExecutionRequest) -> Result<CheckedUpdate, Status> {
        let limits = &self.shared.limits;
        let execution = validate::execution(request.workflow_execution, limits)?;
        let mut wanted = request.request.unwrap_or_default();
        let Some(meta) = &mut wanted.meta else { return Err(invalid("Update meta is not set on request.")) };
        validate::optional(&meta.update_id, "UpdateId", limits)?;
        let Some(input) = &wanted.input else { return Err(invalid("Update input is not set on request.")) };
        if input.name.is_empty() {
            return Err(invalid("Update name is not set on request."));
        }
        validate::blob(input.args.as_ref(), limits)?;
        validate::links(&wanted.links)?;
        if !wanted.completion_callbacks.is_empty() {
            return Err(not_implemented("completion_callbacks of an update"));
        }
        if meta.update_id.is_empty() {
            meta.update_id = self.random_uuid().to_string();
        }
        let stage = match wanted_stage(request.wait_policy.as_ref()) {
            Stage::Admitted => {
                let text = "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not \
                            supported.";
                return Err(with_detail(Code::PermissionDenied, text, &PermissionDeniedFailure::default()));
            }
            Stage::Accepted => UpdateStage::Accepted,
            Stage::Unspecified | Stage::Completed => UpdateStage::Completed,
        };
        let update_id = meta.update_id.clone();
        let first_run_id = request.first_execution_run_id;
        let admit = AdmitUpdate { run_id: execution.run_id, first_run_id, request: wanted };
        Ok(CheckedUpdate { workflow_id: execution.workflow_id, update_id, stage, admit })
    }

    /// Waits for an update; when the server stops, the caller is to ask another one.
    pub(crate) async fn await_update(
        &self,
        namespace: &Namespace,
        workflow_id: &str,
        wanted: Await,
    ) -> Result<UpdateView, Error> {
        let end = wanted.deadline + GRACE;
        let waiting = Box::pin(self.shared.history.update(namespace.id, workflow_id, wanted));
        let come = self.wait_until(end, waiting).await;
        come.unwrap_or_else(|| Err(Error::Unavailable("the server is shutting down".to_owned())))
    }

    /// The answer to an update, as far as it got.
    pub(crate) async fn updated(
        &self,
        namespace: &Namespace,
        workflow_id: &str,
        update_id: String,
        view: &UpdateView,
    ) -> Result<UpdateWorkflowExecutionResponse, Status> {
        let outcome = self.outcome(view, &About::run(workflow_id, &view.run_id)).await?;
        Ok(UpdateWorkflowExecutionResponse {
            link: link_to(&namespace.name, workflow_id, view),
            update_ref: Some(update_ref(workflow_id, update_id, view)),
            outcome,
            stage: wire_stage(view.stage) as i32,
        })
    }

    async fn outcome(&self, view: &UpdateView, about: &About<'_>) -> Result<Option<Outcome>, Status> {
        match &view.outcome {
            None => Ok(None),
            Some(UpdateOutcome::Failure(failure)) => {
                Ok(Some(Outcome { value: Some(outcome::Value::Failure(failure.as_ref().clone())) }))
            }
            Some(UpdateOutcome::Event(event_id)) => {
                let event = self.stored_event(view.run, &view.tail, *event_id, about).await?;
                match event.attributes {
                    Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(completed)) => {
                        Ok(completed.outcome)
                    }
                    _ => Err(Status::data_loss("the event that completed the update is another one")),
                }
            }
        }
    }
}

/// An update that may be brought to history.
pub(crate) struct CheckedUpdate {
    pub(crate) workflow_id: String,
    pub(crate) update_id: String,
    pub(crate) stage: UpdateStage,
    pub(crate) admit: AdmitUpdate,
}

fn wanted_stage(policy: Option<&WaitPolicy>) -> Stage {
    policy.map(WaitPolicy::lifecycle_stage).unwrap_or_default()
}

fn wire_stage(stage: UpdateStage) -> Stage {
    match stage {
        UpdateStage::Admitted => Stage::Admitted,
        UpdateStage::Accepted => Stage::Accepted,
        UpdateStage::Completed => Stage::Completed,
    }
}

fn update_ref(workflow_id: &str, update_id: String, view: &UpdateView) -> UpdateRef {
    let execution = WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: view.run_id.clone() };
    UpdateRef { workflow_execution: Some(execution), update_id }
}

/// To the event of the acceptance, or to the workflow when there is no such event.
fn link_to(namespace: &str, workflow_id: &str, view: &UpdateView) -> Option<Link> {
    use link::workflow_event::{Reference, RequestIdReference};
    match &view.outcome {
        None if view.stage == UpdateStage::Admitted => None,
        Some(UpdateOutcome::Failure(_)) => {
            let workflow = link::Workflow {
                namespace: namespace.to_owned(),
                workflow_id: workflow_id.to_owned(),
                run_id: view.run_id.clone(),
                reason: "Update rejected".to_owned(),
            };
            Some(Link { variant: Some(link::Variant::Workflow(workflow)) })
        }
        _ => {
            let event_type = EventType::WorkflowExecutionUpdateAccepted as i32;
            let reference = Reference::RequestIdRef(RequestIdReference { request_id: String::new(), event_type });
            Some(start::link(namespace, workflow_id, &view.run_id, reference))
        }
    }
}
