//! Updates: a request to a workflow's code that it may reject, and answers when it has done it.

use std::marker::PhantomData;

use mainspring_api::{
    temporal::api::update::v1::{Input, Meta, Outcome, Request, UpdateRef, WaitPolicy, outcome::Value},
    v1::{
        common::WorkflowExecution,
        enums::UpdateWorkflowExecutionLifecycleStage as Stage,
        failure::Failure,
        workflowservice::{PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest},
    },
};

use crate::{
    call::UpdateCall,
    client::{Class, Client, ClientError, WorkflowHandle, handle::not_found},
    codec::CodecCx,
    payload::{FromPayload, from_wire, result_from},
};

/// An update that a workflow accepted, with a result of type `O`.
#[derive(Clone, Debug)]
pub struct UpdateHandle<O = ()> {
    workflow: WorkflowHandle,
    update_id: String,
    name: String,
    outcome: Option<Outcome>,
    returns: PhantomData<fn() -> O>,
}

impl<O> WorkflowHandle<O> {
    /// Sends an update and waits for its result.
    ///
    /// Waits as long as it takes, for a worker too; wrap it in `tokio::time::timeout` to wait no longer. An update with
    /// an id of its own may be sent again then.
    ///
    /// # Errors
    /// [`ClientError::UpdateFailed`] when it is rejected or fails, [`ClientError::NotFound`] when the workflow is not
    /// there or closed.
    pub async fn update<T: FromPayload>(&self, update: UpdateCall<T>) -> Result<T, ClientError> {
        self.send_update(update, Stage::Completed).await?.result().await
    }

    /// Sends an update and waits until the workflow accepted it.
    ///
    /// # Errors
    /// As for [`update`](WorkflowHandle::update).
    pub async fn start_update<T>(&self, update: UpdateCall<T>) -> Result<UpdateHandle<T>, ClientError> {
        let handle = self.send_update(update, Stage::Accepted).await?;
        handle.check_rejected().await?;
        Ok(handle)
    }

    /// An update by its id. Asks nobody, so the update need not be there.
    pub fn update_handle<T>(&self, update_id: impl Into<String>) -> UpdateHandle<T> {
        let update_id = update_id.into();
        let workflow = self.returns();
        UpdateHandle { workflow, name: update_id.clone(), update_id, outcome: None, returns: PhantomData }
    }

    async fn send_update<T>(&self, update: UpdateCall<T>, wait: Stage) -> Result<UpdateHandle<T>, ClientError> {
        let name = update.name().to_owned();
        let client = &self.client;
        let request = client.update_request(&self.workflow_id, &self.run_id, &self.first_run_id, update, wait).await?;
        loop {
            let answer = client.rpc().call_as(Class::LongPoll, &request).await.map_err(not_found)?;
            if answer.stage >= Stage::Accepted as i32 || answer.outcome.is_some() {
                let run = answer.update_ref.and_then(|reference| reference.workflow_execution).unwrap_or_default();
                let id = id_of(&request);
                let workflow_id = self.workflow_id.clone();
                return Ok(UpdateHandle::new(client, workflow_id, run.run_id, id, name, answer.outcome));
            }
        }
    }
}

impl<O> UpdateHandle<O> {
    pub(crate) fn new(
        client: &Client,
        workflow_id: String,
        run_id: String,
        update_id: String,
        name: String,
        outcome: Option<Outcome>,
    ) -> Self {
        let workflow = client.workflow(workflow_id).pinned(run_id);
        Self { workflow, update_id, name, outcome, returns: PhantomData }
    }

    /// The update's id.
    pub fn id(&self) -> &str {
        &self.update_id
    }

    /// Waits for the result. Cancel safe: the update does not notice.
    ///
    /// # Errors
    /// As for [`WorkflowHandle::update`].
    pub async fn result(&self) -> Result<O, ClientError>
    where
        O: FromPayload,
    {
        let outcome = match &self.outcome {
            Some(outcome) => outcome.clone(),
            None => self.poll().await?,
        };
        let client = &self.workflow.client;
        match outcome.value {
            Some(Value::Failure(failure)) => Err(self.failed(failure).await?),
            Some(Value::Success(payloads)) => {
                let mut payloads = from_wire(Some(payloads));
                let cx = CodecCx::new(client.namespace(), &self.workflow.workflow_id);
                client.converter().decode(&cx, &mut payloads).await?;
                Ok(result_from(&payloads)?)
            }
            None => Ok(result_from(&[])?),
        }
    }

    /// An update that is known to have failed already was rejected.
    pub(crate) async fn check_rejected(&self) -> Result<(), ClientError> {
        match self.outcome.as_ref().and_then(|outcome| outcome.value.as_ref()) {
            Some(Value::Failure(failure)) => Err(self.failed(failure.clone()).await?),
            _ => Ok(()),
        }
    }

    async fn failed(&self, failure: Failure) -> Result<ClientError, ClientError> {
        let cause = Box::new(self.workflow.decoded(failure).await?);
        Ok(ClientError::UpdateFailed { name: self.name.clone(), cause })
    }

    async fn poll(&self) -> Result<Outcome, ClientError> {
        let client = &self.workflow.client;
        let request = PollWorkflowExecutionUpdateRequest {
            namespace: client.namespace().to_owned(),
            update_ref: Some(UpdateRef {
                workflow_execution: self.workflow.execution(),
                update_id: self.update_id.clone(),
            }),
            identity: client.identity().to_owned(),
            wait_policy: Some(WaitPolicy { lifecycle_stage: Stage::Completed as i32 }),
        };
        loop {
            let answer = client.rpc().call_as(Class::LongPoll, &request).await.map_err(not_found)?;
            if let Some(outcome) = answer.outcome {
                return Ok(outcome);
            }
        }
    }
}

impl Client {
    pub(crate) async fn update_request<T>(
        &self,
        workflow_id: &str,
        run_id: &str,
        first_run_id: &str,
        update: UpdateCall<T>,
        wait: Stage,
    ) -> Result<UpdateWorkflowExecutionRequest, ClientError> {
        let update_id = update.update_id().map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let (name, args, header) = update.into_parts();
        let meta = Meta { update_id, identity: self.identity().to_owned() };
        let args = self.encoded(workflow_id, args).await?;
        let header = self.encoded_header(workflow_id, header).await?;
        let input = Input { header, name, args };
        let run = WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: run_id.to_owned() };
        Ok(UpdateWorkflowExecutionRequest {
            namespace: self.namespace().to_owned(),
            workflow_execution: Some(run),
            first_execution_run_id: first_run_id.to_owned(),
            wait_policy: Some(WaitPolicy { lifecycle_stage: wait as i32 }),
            request: Some(Request { meta: Some(meta), input: Some(input), ..Request::default() }),
        })
    }
}

/// The id that the update of a request has.
pub(crate) fn id_of(request: &UpdateWorkflowExecutionRequest) -> String {
    let meta = request.request.as_ref().and_then(|request| request.meta.as_ref());
    meta.map(|meta| meta.update_id.clone()).unwrap_or_default()
}
