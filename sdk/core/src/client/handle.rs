//! [`WorkflowHandle`]: one workflow, wherever it runs.

use std::marker::PhantomData;

use mainspring_api::v1::{
    common::WorkflowExecution,
    workflowservice::{
        DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, RequestCancelWorkflowExecutionRequest,
        SignalWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
    },
};
use tonic::Code;

use crate::{
    call::SignalCall,
    client::{Client, ClientError, Execution, History, RpcError},
    payload::Args,
};

/// One workflow, with a result of type `O`, wherever it runs.
///
/// A handle that [`Client::start`] returned, or [`Client::workflow`], talks to the newest run of the workflow. One that
/// was [pinned](WorkflowHandle::pinned) talks to that run only.
#[derive(Debug)]
pub struct WorkflowHandle<O = ()> {
    pub(crate) client: Client,
    pub(crate) workflow_id: String,
    /// The run that messages go to; empty for the newest.
    pub(crate) run_id: String,
    /// The run whose chain this is about: results are followed from it, and another chain is not cancelled instead.
    pub(crate) first_run_id: String,
    returns: PhantomData<fn() -> O>,
}

/// What the server knows about a workflow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// What lists show too.
    pub execution: Execution,
    /// All of it: activities, children and tasks that are pending, timeouts, callbacks.
    pub raw: DescribeWorkflowExecutionResponse,
}

impl Client {
    /// A workflow by its id: the newest run. Asks nobody, so the workflow need not be there.
    ///
    /// ```no_run
    /// # use mainspring_sdk::{Client, Signal};
    /// # async fn example(client: Client) -> mainspring_sdk::Result<()> {
    /// let order = client.workflow::<u64>("order-7");
    /// order.signal(Signal::named("approve").arg("ann")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn workflow<O>(&self, workflow_id: impl Into<String>) -> WorkflowHandle<O> {
        WorkflowHandle {
            client: self.clone(),
            workflow_id: workflow_id.into(),
            run_id: String::new(),
            first_run_id: String::new(),
            returns: PhantomData,
        }
    }
}

impl<O> Clone for WorkflowHandle<O> {
    fn clone(&self) -> Self {
        self.clone_as()
    }
}

impl<O> WorkflowHandle<O> {
    pub(crate) fn started(client: &Client, workflow_id: String, first_run_id: String) -> Self {
        Self { first_run_id, ..client.workflow(workflow_id) }
    }

    /// The workflow's id.
    pub fn id(&self) -> &str {
        &self.workflow_id
    }

    /// The run that was started, or that this handle is pinned to; empty for one by its id.
    pub fn run_id(&self) -> &str {
        if self.run_id.is_empty() { &self.first_run_id } else { &self.run_id }
    }

    /// The same for one run only.
    #[must_use]
    pub fn pinned(&self, run_id: impl Into<String>) -> Self {
        let run_id = run_id.into();
        Self { first_run_id: run_id.clone(), run_id, ..self.clone() }
    }

    /// The same with a result of another type.
    #[must_use]
    pub fn returns<P>(&self) -> WorkflowHandle<P> {
        self.clone_as()
    }

    /// Sends a signal. When this returns, the server will deliver it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there or closed.
    pub async fn signal(&self, signal: SignalCall) -> Result<(), ClientError> {
        let (signal_name, args, header) = signal.into_parts();
        let request = SignalWorkflowExecutionRequest {
            namespace: self.client.namespace().to_owned(),
            workflow_execution: self.execution(),
            signal_name,
            input: self.client.encoded(&self.workflow_id, args).await?,
            identity: self.client.identity().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            header: self.client.encoded_header(&self.workflow_id, header).await?,
            ..SignalWorkflowExecutionRequest::default()
        };
        self.client.rpc().call(&request).await.map_err(not_found)?;
        Ok(())
    }

    /// Asks the workflow to stop. When this returns, the server will deliver it; what the workflow does is its matter.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there or closed.
    pub async fn cancel(&self) -> Result<(), ClientError> {
        self.cancel_because("").await
    }

    /// The same with a reason, for people.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there or closed.
    pub async fn cancel_because(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let request = RequestCancelWorkflowExecutionRequest {
            namespace: self.client.namespace().to_owned(),
            workflow_execution: self.execution(),
            identity: self.client.identity().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            first_execution_run_id: self.first_run_id.clone(),
            reason: reason.into(),
            ..RequestCancelWorkflowExecutionRequest::default()
        };
        self.client.rpc().call(&request).await.map_err(not_found)?;
        Ok(())
    }

    /// Ends the workflow at once: its code hears nothing of it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there or closed.
    pub async fn terminate(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        self.terminate_with(reason, Args::new()).await
    }

    /// The same with values that go with it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there or closed.
    pub async fn terminate_with(&self, reason: impl Into<String>, details: Args) -> Result<(), ClientError> {
        let request = TerminateWorkflowExecutionRequest {
            namespace: self.client.namespace().to_owned(),
            workflow_execution: self.execution(),
            reason: reason.into(),
            details: self.client.encoded(&self.workflow_id, details).await?,
            identity: self.client.identity().to_owned(),
            first_execution_run_id: self.first_run_id.clone(),
            ..TerminateWorkflowExecutionRequest::default()
        };
        self.client.rpc().call(&request).await.map_err(not_found)?;
        Ok(())
    }

    /// What the server knows about the workflow.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when the workflow is not there.
    pub async fn describe(&self) -> Result<Description, ClientError> {
        let request = DescribeWorkflowExecutionRequest {
            namespace: self.client.namespace().to_owned(),
            execution: self.execution(),
        };
        let raw = self.client.rpc().call(&request).await.map_err(not_found)?;
        let info = raw.workflow_execution_info.clone().unwrap_or_default();
        let execution = Execution::decoded(&self.client, info).await?;
        Ok(Description { execution, raw })
    }

    /// The run's history, event by event.
    pub fn history(&self) -> History {
        History::new(&self.client, self.execution())
    }

    pub(crate) fn execution(&self) -> Option<WorkflowExecution> {
        Some(WorkflowExecution { workflow_id: self.workflow_id.clone(), run_id: self.run_id.clone() })
    }

    fn clone_as<P>(&self) -> WorkflowHandle<P> {
        WorkflowHandle {
            client: self.client.clone(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            first_run_id: self.first_run_id.clone(),
            returns: PhantomData,
        }
    }
}

/// The error of a call about one workflow, told apart.
pub(crate) fn not_found(error: RpcError) -> ClientError {
    match error.code() {
        Code::NotFound => ClientError::NotFound(error.message().to_owned()),
        _ => error.into(),
    }
}
