//! How a workflow task went, told to the server: completed, failed, or a query answered.

use std::{collections::BTreeMap, time::Duration};

use mainspring_api::{
    time,
    v1::{
        command::{Command, command::Attributes},
        common::{Payloads, WorkflowExecution},
        enums::{QueryResultType, TaskQueueKind, VersioningBehavior, WorkflowTaskFailedCause},
        errordetails::NamespaceNotFoundFailure,
        failure::Failure,
        protocol::Message,
        query::WorkflowQueryResult,
        sdk::WorkflowTaskCompletedMetadata,
        taskqueue::StickyExecutionAttributes,
        workflowservice::{
            PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
            RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest,
            respond_workflow_task_completed_request::Capabilities,
        },
    },
};
use tonic::Code;

use crate::{
    client::{Class, RpcError},
    codec::CodecCx,
    error::{Error, Result},
    payload::Payload,
    worker::{
        Versioning,
        activities::Slot,
        lane::{Done, Order},
        workflows::{Failed, InHand, Inner, queue},
    },
    workflow::Fault,
};

/// How long a task waits for this process before another one may have it, as in the other SDKs.
const STICKY_TIME: Duration = Duration::from_secs(10);
/// So many activities may come back at once with the completion of a workflow task.
const EAGER_MAX: usize = 3;

/// What Core's engines have to know to replay our histories: that ids and types are compared, that a patch is followed by
/// its entry in the search attribute, and that the end of the workflow goes after what was asked for later.
const CORE_FLAGS: [u32; 3] = [1, 2, 3];

impl Inner {
    /// Says that a workflow task is done.
    pub(super) async fn complete(
        &self,
        in_hand: &InHand,
        done: Done,
        heartbeat: bool,
    ) -> Result<Option<PollWorkflowTaskQueueResponse>, Failed> {
        let shared = &self.parts.shared;
        let cx = CodecCx::new(shared.client.namespace(), &in_hand.execution.workflow_id);
        let converter = shared.client.converter();
        let Done { turn, answers } = done;
        let (mut commands, mut messages): (Vec<Command>, Vec<Message>) = (turn.commands, turn.messages);
        converter.encode_commands(&cx, &mut commands).await?;
        converter.encode_messages(&cx, &mut messages).await?;
        if let Err(error) = shared.sizes().check_task(&commands, &messages) {
            return Err(Fault::TooLarge(error.to_string()).into());
        }
        let mut slots = self.reserve_eager(&mut commands);
        let mut query_results = BTreeMap::new();
        for (id, answer) in answers {
            query_results.insert(id, self.query_result(&cx, answer).await);
        }
        let stopping = *shared.stopping.borrow();
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: in_hand.token.clone(),
            commands,
            messages,
            query_results,
            identity: shared.identity.clone(),
            namespace: shared.client.namespace().to_owned(),
            sticky_attributes: self.parts.sticky.as_ref().filter(|_| !stopping).map(|name| StickyExecutionAttributes {
                worker_task_queue: Some(queue(name, &shared.queue, TaskQueueKind::Sticky)),
                schedule_to_start_timeout: Some(time::duration(STICKY_TIME)),
            }),
            return_new_workflow_task: !stopping || heartbeat,
            force_create_new_workflow_task: heartbeat,
            sdk_metadata: in_hand.first.then(|| WorkflowTaskCompletedMetadata {
                core_used_flags: CORE_FLAGS.to_vec(),
                sdk_name: "mainspring-rust".to_owned(),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..WorkflowTaskCompletedMetadata::default()
            }),
            capabilities: Some(Capabilities { discard_speculative_workflow_task_with_events: true }),
            worker_instance_key: shared.instance_key.clone(),
            deployment_options: shared.deployment_options(),
            versioning_behavior: shared.deployment.as_ref().map_or(0, |(_, versioning)| behavior(*versioning) as i32),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        let answer = match shared.client.rpc().call_as(Class::Report, &request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(in_hand, &error).await),
        };
        let RespondWorkflowTaskCompletedResponse { workflow_task, activity_tasks, reset_history_event_id } = answer;
        for task in activity_tasks {
            match slots.pop() {
                Some(slot) => self.parts.activities.dispatch(task, slot),
                None => tracing::warn!("the server sent more activities than this worker asked for"),
            }
        }
        let run_id = &in_hand.execution.run_id;
        if reset_history_event_id > 0 {
            let order = Order::RollBack { run_id: run_id.clone(), to: reset_history_event_id };
            self.parts.lanes.call(run_id, order).await?;
        }
        if self.parts.sticky.is_none() && workflow_task.is_none() {
            self.evict(run_id).await;
        }
        Ok(workflow_task.filter(|task| !task.task_token.is_empty()))
    }

    /// Room for activities that may come back at once; the others go through their queue.
    fn reserve_eager(&self, commands: &mut [Command]) -> Vec<Slot> {
        let mut slots = Vec::new();
        for command in commands {
            let Some(Attributes::ScheduleActivityTaskCommandAttributes(command)) = &mut command.attributes else {
                continue;
            };
            if !command.request_eager_execution {
                continue;
            }
            let name = command.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
            let known = self.parts.activities.set().find(name).is_some();
            let slot = if known && slots.len() < EAGER_MAX { self.parts.activities.reserve() } else { None };
            command.request_eager_execution = slot.is_some();
            slots.extend(slot);
        }
        slots
    }

    /// The server did not take a completion.
    async fn refused(&self, in_hand: &InHand, error: &RpcError) -> Failed {
        let workflow_id = &in_hand.execution.workflow_id;
        match error.code() {
            // Of a namespace that a command names: the original says so in place of answering the command.
            Code::NotFound if error.detail::<NamespaceNotFoundFailure>().is_some() => {
                tracing::warn!(%workflow_id, %error, "the server refuses what the workflow asked for");
                Failed::Fault(Fault::Unusable(format!("the server refuses what the workflow asked for: {error}")))
            }
            Code::NotFound => {
                tracing::debug!(%workflow_id, %error, "the workflow task was lost");
                Failed::Lost
            }
            Code::InvalidArgument if error.message().contains("UnhandledCommand") => {
                tracing::debug!(%workflow_id, "something happened while the workflow was closing; it is told first");
                Failed::Lost
            }
            Code::InvalidArgument => {
                tracing::warn!(%workflow_id, %error, "the server refuses what the workflow asked for");
                Failed::Fault(Fault::Unusable(format!("the server refuses what the workflow asked for: {error}")))
            }
            Code::ResourceExhausted if error.message().contains("message larger than max") => {
                let cause = WorkflowTaskFailedCause::GrpcMessageTooLarge;
                let fault = Fault::Unusable(format!("what the workflow asked for is too large to be sent: {error}"));
                self.report(in_hand, cause, fault.to_failure()).await;
                Failed::Lost
            }
            _ => {
                tracing::warn!(%workflow_id, %error, "the server did not take the workflow task");
                Failed::Lost
            }
        }
    }

    /// Answers a query that came by itself.
    pub(super) async fn answer(
        &self,
        in_hand: &InHand,
        done: Done,
    ) -> Result<Option<PollWorkflowTaskQueueResponse>, Failed> {
        let cx = CodecCx::new(self.parts.shared.client.namespace(), &in_hand.execution.workflow_id);
        let answer = done.answers.into_iter().next().map(|(_, answer)| answer);
        let answer = answer.unwrap_or_else(|| Err(Error::msg("the query was not asked")));
        let result = self.query_result(&cx, answer).await;
        self.answer_query(in_hand, result).await;
        Ok(None)
    }

    async fn query_result(&self, cx: &CodecCx<'_>, answer: Result<Payload>) -> WorkflowQueryResult {
        match self.encoded_answer(cx, answer).await {
            Ok(payloads) => WorkflowQueryResult {
                result_type: QueryResultType::Answered as i32,
                answer: Some(Payloads { payloads }),
                ..WorkflowQueryResult::default()
            },
            Err(error) => query_failed(self.encoded_failure(cx, error.into_failure()).await),
        }
    }

    async fn encoded_answer(&self, cx: &CodecCx<'_>, answer: Result<Payload>) -> Result<Vec<Payload>> {
        let mut payloads = vec![answer?];
        self.parts.shared.client.converter().encode(cx, &mut payloads).await?;
        self.parts.shared.sizes().check("the answer", &payloads)?;
        Ok(payloads)
    }

    /// A failure that does not encode says so instead of leaving in clear.
    async fn encoded_failure(&self, cx: &CodecCx<'_>, mut failure: Failure) -> Failure {
        match self.parts.shared.client.converter().encode_failure(cx, &mut failure).await {
            Ok(()) => failure,
            Err(error) => {
                tracing::warn!(workflow_id = cx.workflow_id, %error, "a failure cannot be encoded");
                Failure { message: error.to_string(), ..Failure::default() }
            }
        }
    }

    async fn answer_query(&self, in_hand: &InHand, result: WorkflowQueryResult) {
        let client = &self.parts.shared.client;
        let request = RespondQueryTaskCompletedRequest {
            task_token: in_hand.token.clone(),
            completed_type: result.result_type,
            query_result: result.answer,
            error_message: result.error_message,
            failure: result.failure,
            namespace: client.namespace().to_owned(),
            ..RespondQueryTaskCompletedRequest::default()
        };
        if let Err(error) = client.rpc().call_as(Class::Report, &request).await {
            tracing::debug!(workflow_id = %in_hand.execution.workflow_id, %error, "the answer to a query was not taken");
        }
    }

    /// Says that a task failed. From the second attempt on nothing is said: the task then times out, with growing time
    /// between attempts, instead of failing as fast as it can.
    pub(super) async fn fail(&self, in_hand: &InHand, fault: &Fault) {
        let WorkflowExecution { workflow_id, run_id } = &in_hand.execution;
        tracing::warn!(%workflow_id, %run_id, workflow_type = in_hand.kind, attempt = in_hand.attempt, %fault, "workflow task failed");
        let cx = CodecCx::new(self.parts.shared.client.namespace(), workflow_id);
        if in_hand.is_query {
            let result = query_failed(self.encoded_failure(&cx, fault.to_failure()).await);
            return self.answer_query(in_hand, result).await;
        }
        if in_hand.attempt > 1 {
            return;
        }
        let failure = self.encoded_failure(&cx, fault.to_failure()).await;
        self.report(in_hand, fault.cause(), failure).await;
    }

    async fn report(&self, in_hand: &InHand, cause: WorkflowTaskFailedCause, failure: Failure) {
        let shared = &self.parts.shared;
        let request = RespondWorkflowTaskFailedRequest {
            task_token: in_hand.token.clone(),
            cause: cause as i32,
            failure: Some(failure),
            identity: shared.identity.clone(),
            namespace: shared.client.namespace().to_owned(),
            deployment_options: shared.deployment_options(),
            ..RespondWorkflowTaskFailedRequest::default()
        };
        if let Err(error) = shared.client.rpc().call_as(Class::Report, &request).await {
            tracing::debug!(workflow_id = %in_hand.execution.workflow_id, %error, "the failure of a workflow task was not taken");
        }
    }
}

/// The server shows `error_message` to whoever asked, so it says no more than the failure does in clear.
fn query_failed(failure: Failure) -> WorkflowQueryResult {
    WorkflowQueryResult {
        result_type: QueryResultType::Failed as i32,
        error_message: failure.message.clone(),
        failure: Some(failure),
        ..WorkflowQueryResult::default()
    }
}

fn behavior(versioning: Versioning) -> VersioningBehavior {
    match versioning {
        Versioning::Pinned => VersioningBehavior::Pinned,
        Versioning::AutoUpgrade => VersioningBehavior::AutoUpgrade,
    }
}
