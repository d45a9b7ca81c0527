//! Starts: of a workflow, with a signal, with an update.

use mainspring_api::{
    time,
    v1::{
        common::{Header, Payloads, WorkflowType},
        enums::UpdateWorkflowExecutionLifecycleStage,
        errordetails::{MultiOperationExecutionFailure, WorkflowExecutionAlreadyStartedFailure},
        sdk::UserMetadata,
        taskqueue::TaskQueue,
        workflowservice::{
            ExecuteMultiOperationRequest, SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest,
            UpdateWorkflowExecutionResponse, execute_multi_operation_request as multi_request,
            execute_multi_operation_response as multi_response,
        },
    },
};
use prost::{Message, Name};
use tonic::Code;

use crate::{
    call::{Headers, IntoWorkflowCall, SignalCall, UpdateCall, WorkflowCall, WorkflowOptions, header_to_wire},
    client::{Class, Client, ClientError, RpcError, UpdateHandle, WorkflowHandle, update},
    codec::CodecCx,
    payload::{Args, FromPayload, Payload, ToPayload, to_wire},
};

impl Client {
    /// Starts a workflow. Its call needs an id and a task queue.
    ///
    /// ```no_run
    /// # use mainspring_sdk::{Call, Client, OnConflict};
    /// # async fn example(client: Client) -> mainspring_sdk::Result<()> {
    /// let call = Call::named("Order").arg("sku-7").returns::<u64>().id("order-7").queue("orders");
    /// let order = client.start(call.on_conflict(OnConflict::UseExisting)).await?;
    /// let cents = order.result().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::AlreadyStarted`] when the id is taken.
    pub async fn start<C: IntoWorkflowCall>(&self, call: C) -> Result<WorkflowHandle<C::Output>, ClientError> {
        let request = self.start_request(call.into_workflow_call()).await?;
        let answer = self.rpc().call(&request).await.map_err(|error| started_already(&request.workflow_id, error))?;
        Ok(WorkflowHandle::started(self, request.workflow_id, answer.run_id))
    }

    /// Starts a workflow and waits for its result.
    ///
    /// # Errors
    /// As for [`start`](Client::start) and [`WorkflowHandle::result`].
    pub async fn execute<C>(&self, call: C) -> Result<C::Output, ClientError>
    where
        C: IntoWorkflowCall,
        C::Output: FromPayload,
    {
        self.start(call).await?.result().await
    }

    /// Sends a signal to a workflow, and starts it first if it is not open: in one step.
    ///
    /// # Errors
    /// [`ClientError::AlreadyStarted`] when a closed workflow's id may not be used again.
    pub async fn signal_with_start<C: IntoWorkflowCall>(
        &self,
        call: C,
        signal: SignalCall,
    ) -> Result<WorkflowHandle<C::Output>, ClientError> {
        let start = self.start_request(call.into_workflow_call()).await?;
        let (signal_name, args, header) = signal.into_parts();
        // The two share one header; the start's own values win.
        let mut header = self.encoded_header(&start.workflow_id, header).await?.unwrap_or_default();
        header.fields.extend(start.header.map(|header| header.fields).unwrap_or_default());
        let request = SignalWithStartWorkflowExecutionRequest {
            namespace: start.namespace,
            workflow_type: start.workflow_type,
            task_queue: start.task_queue,
            input: start.input,
            workflow_execution_timeout: start.workflow_execution_timeout,
            workflow_run_timeout: start.workflow_run_timeout,
            workflow_task_timeout: start.workflow_task_timeout,
            identity: start.identity,
            request_id: start.request_id,
            workflow_id_reuse_policy: start.workflow_id_reuse_policy,
            workflow_id_conflict_policy: start.workflow_id_conflict_policy,
            signal_input: self.encoded(&start.workflow_id, args).await?,
            signal_name,
            retry_policy: start.retry_policy,
            cron_schedule: start.cron_schedule,
            memo: start.memo,
            search_attributes: start.search_attributes,
            header: header_to_wire(header.fields),
            workflow_start_delay: start.workflow_start_delay,
            user_metadata: start.user_metadata,
            priority: start.priority,
            workflow_id: start.workflow_id,
            ..SignalWithStartWorkflowExecutionRequest::default()
        };
        let answer = self.rpc().call(&request).await.map_err(|error| started_already(&request.workflow_id, error))?;
        Ok(WorkflowHandle::started(self, request.workflow_id, answer.run_id))
    }

    /// Sends an update to a workflow, and starts it first if it is not open: in one step. Returns when the workflow has
    /// accepted the update.
    ///
    /// The call needs [`on_conflict`](WorkflowCall::on_conflict), which says what an open workflow means.
    ///
    /// # Errors
    /// [`ClientError::AlreadyStarted`] when the id is taken, [`ClientError::UpdateFailed`] when the update is rejected.
    pub async fn update_with_start<C: IntoWorkflowCall, U>(
        &self,
        call: C,
        update: UpdateCall<U>,
    ) -> Result<(WorkflowHandle<C::Output>, UpdateHandle<U>), ClientError> {
        let start = self.start_request(call.into_workflow_call()).await?;
        if start.workflow_id_conflict_policy == 0 {
            let message = "update_with_start needs on_conflict: say what an open workflow of this id means";
            return Err(ClientError::Invalid(message.to_owned()));
        }
        let workflow_id = start.workflow_id.clone();
        let name = update.name().to_owned();
        let accepted = UpdateWorkflowExecutionLifecycleStage::Accepted;
        let update_request = self.update_request(&workflow_id, "", "", update, accepted).await?;
        let update_id = update::id_of(&update_request);
        let operation = |operation| multi_request::Operation { operation: Some(operation) };
        let request = ExecuteMultiOperationRequest {
            namespace: self.namespace().to_owned(),
            operations: vec![
                operation(multi_request::operation::Operation::StartWorkflow(start)),
                operation(multi_request::operation::Operation::UpdateWorkflow(update_request)),
            ],
            ..ExecuteMultiOperationRequest::default()
        };
        // An update that the server did not see accepted in time is asked for again: its id makes that safe.
        let (run_id, updated) = loop {
            let answer = self.rpc().call_as(Class::LongPoll, &request).await;
            let answer = answer.map_err(|error| multi_failed(&workflow_id, error))?;
            let mut run_id = String::new();
            let mut updated = UpdateWorkflowExecutionResponse::default();
            for response in answer.responses {
                match response.response {
                    Some(multi_response::response::Response::StartWorkflow(started)) => run_id = started.run_id,
                    Some(multi_response::response::Response::UpdateWorkflow(answer)) => updated = answer,
                    None => {}
                }
            }
            if updated.stage >= accepted as i32 {
                break (run_id, updated);
            }
        };
        let handle = WorkflowHandle::started(self, workflow_id.clone(), run_id.clone());
        let update = UpdateHandle::new(self, workflow_id, run_id, update_id, name, updated.outcome);
        update.check_rejected().await?;
        Ok((handle, update))
    }

    pub(crate) async fn start_request<O>(
        &self,
        call: WorkflowCall<O>,
    ) -> Result<StartWorkflowExecutionRequest, ClientError> {
        let (name, args, options) = call.into_parts();
        let missing = |what: &str| ClientError::Invalid(format!("workflow {name:?} cannot be started without {what}"));
        let workflow_id =
            options.id.clone().ok_or_else(|| missing("an id: .id(..), a name that your business knows it by"))?;
        let queue = options.queue.clone().ok_or_else(|| missing("a task queue: .queue(..), the one of its workers"))?;
        let cx = CodecCx::new(self.namespace(), &workflow_id);
        let mut memo = options.memo_to_wire()?;
        for payload in memo.iter_mut().flat_map(|memo| memo.fields.values_mut()) {
            self.converter().encode(&cx, std::slice::from_mut(payload)).await?;
        }
        Ok(StartWorkflowExecutionRequest {
            namespace: self.namespace().to_owned(),
            input: self.encoded(&workflow_id, args).await?,
            user_metadata: self.metadata(&cx, &options).await?,
            header: self.encoded_header(&workflow_id, options.header).await?,
            workflow_id,
            workflow_type: Some(WorkflowType { name }),
            task_queue: Some(TaskQueue { name: queue, ..TaskQueue::default() }),
            workflow_execution_timeout: options.execution_timeout.map(time::duration),
            workflow_run_timeout: options.run_timeout.map(time::duration),
            workflow_task_timeout: options.task_timeout.map(time::duration),
            identity: self.identity().to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            workflow_id_reuse_policy: options.id_reuse.map_or(0, |policy| policy.to_proto() as i32),
            workflow_id_conflict_policy: options.on_conflict.map_or(0, |policy| policy.to_proto() as i32),
            retry_policy: options.retry.as_ref().map(|policy| policy.to_proto()),
            cron_schedule: options.cron.unwrap_or_default(),
            memo,
            search_attributes: options.search_attributes.to_proto(),
            workflow_start_delay: options.start_delay.map(time::duration),
            priority: options.priority.as_ref().map(|priority| priority.to_proto()),
            ..StartWorkflowExecutionRequest::default()
        })
    }

    /// Arguments, encoded for a workflow.
    pub(crate) async fn encoded(&self, workflow_id: &str, args: Args) -> Result<Option<Payloads>, ClientError> {
        let mut payloads = args.into_payloads()?;
        self.converter().encode(&CodecCx::new(self.namespace(), workflow_id), &mut payloads).await?;
        Ok(to_wire(payloads))
    }

    /// Headers, encoded for a workflow if that is wanted.
    pub(crate) async fn encoded_header(
        &self,
        workflow_id: &str,
        mut header: Headers,
    ) -> Result<Option<Header>, ClientError> {
        self.converter().encode_headers(&CodecCx::new(self.namespace(), workflow_id), &mut header).await?;
        Ok(header_to_wire(header))
    }

    async fn metadata(&self, cx: &CodecCx<'_>, options: &WorkflowOptions) -> Result<Option<UserMetadata>, ClientError> {
        let summary = self.encoded_text(cx, options.summary.as_deref()).await?;
        let details = self.encoded_text(cx, options.details.as_deref()).await?;
        Ok((summary.is_some() || details.is_some()).then_some(UserMetadata { summary, details }))
    }

    async fn encoded_text(&self, cx: &CodecCx<'_>, text: Option<&str>) -> Result<Option<Payload>, ClientError> {
        let Some(text) = text else { return Ok(None) };
        let mut payload = text.to_payload()?;
        self.converter().encode(cx, std::slice::from_mut(&mut payload)).await?;
        Ok(Some(payload))
    }
}

/// The error of a start, told apart.
fn started_already(workflow_id: &str, error: RpcError) -> ClientError {
    match error.detail::<WorkflowExecutionAlreadyStartedFailure>() {
        Some(there) if error.code() == Code::AlreadyExists => {
            ClientError::AlreadyStarted { workflow_id: workflow_id.to_owned(), run_id: there.run_id }
        }
        _ => error.into(),
    }
}

/// Of two operations that failed together, the one that failed by itself.
fn multi_failed(workflow_id: &str, error: RpcError) -> ClientError {
    let Some(failure) = error.detail::<MultiOperationExecutionFailure>() else { return error.into() };
    for status in failure.statuses {
        if status.code == Code::Ok as i32 || status.code == Code::Aborted as i32 {
            continue;
        }
        let wanted = WorkflowExecutionAlreadyStartedFailure::full_name();
        let detail = status.details.iter().find(|any| any.type_url.ends_with(&wanted));
        let detail = detail.and_then(|any| WorkflowExecutionAlreadyStartedFailure::decode(any.value.as_slice()).ok());
        return match detail {
            Some(there) => ClientError::AlreadyStarted { workflow_id: workflow_id.to_owned(), run_id: there.run_id },
            None => RpcError::new("ExecuteMultiOperation", tonic::Status::new(Code::from(status.code), status.message))
                .into(),
        };
    }
    error.into()
}
