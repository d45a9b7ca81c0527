//! Workflow tasks: polling for one, completing or failing it, forgetting a sticky queue.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainspring_api::{
    ids::QueueKind,
    time::{from_duration, timestamp},
    v1::{
        command::{Command, command::Attributes},
        common::{SearchAttributes, WorkflowExecution, WorkflowType},
        enums::{TaskQueueKind, WorkflowTaskFailedCause as Cause},
        failure::{Failure, ServerFailureInfo, failure::FailureInfo},
        query::WorkflowQuery,
        taskqueue::{StickyExecutionAttributes, TaskQueue},
        workflowservice::{
            PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, ResetStickyTaskQueueRequest,
            ResetStickyTaskQueueResponse, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse,
            RespondWorkflowTaskFailedRequest, RespondWorkflowTaskFailedResponse, ShutdownWorkerRequest,
            ShutdownWorkerResponse,
        },
    },
};
use mainspring_engine::{
    input::{CompleteWorkflowTask, FailWorkflowTask, Input, WorkflowTaskToken},
    outcome::{Chunk, CompletedWorkflowTask, Reply, StartedWorkflowTask},
};
use mainspring_history::{self as history, Delivered, Namespace, PollTask, RunKey};
use mainspring_matching::{QueueName, Version};
use tonic::Status;

use crate::{
    Answer, Frontend, Metadata, encode,
    error::{self, About, invalid},
    long_poll,
    pages::BATCHES_MAX,
    queries, search_attributes,
    start::unexpected,
    token::{PageToken, TaskToken, Token},
    validate,
};

impl Frontend {
    /// Waits for a task, and answers empty when none comes.
    pub(crate) async fn poll_workflow_task_queue(
        &self,
        request: PollWorkflowTaskQueueRequest,
        metadata: &Metadata,
    ) -> Result<Answer, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let end = long_poll::task_poll_end(&self.shared.rt, metadata)?;
        let sticky = request.task_queue.as_ref().is_some_and(|queue| queue.kind == TaskQueueKind::Sticky as i32);
        let name = validate::task_queue(request.task_queue, &self.shared.limits)?;
        let poll = PollTask {
            queue: QueueName { namespace: namespace.id, name: name.into(), kind: QueueKind::Workflow },
            sticky,
            identity: request.identity,
            version: Version::UNVERSIONED,
            rate: None,
        };
        let waiting = Box::pin(self.shared.history.poll(poll));
        let come = self.wait_until(end, waiting).await.unwrap_or(Ok(None));
        let Some(delivery) = come.map_err(|error| error::status(error, &About::default()))? else {
            return Ok(Answer { bytes: Bytes::new(), delivery: None });
        };
        let response = match delivery.task() {
            Delivered::Workflow { task, run, tail, queries } => {
                self.workflow_task(task, *run, tail, queries.clone()).await
            }
            Delivered::Query(task) => self.query_task(&namespace, task).await,
            Delivered::Activity { .. } => Err(Status::internal("an activity task on a workflow task queue")),
        };
        let Some(response) = long_poll::unless_gone(response)? else {
            return Ok(Answer { bytes: Bytes::new(), delivery: None });
        };
        Ok(Answer { bytes: encode(&response), delivery: Some(delivery) })
    }

    /// What a worker gets: the task and the first page of the history that it needs.
    pub(crate) async fn workflow_task(
        &self,
        task: &StartedWorkflowTask,
        run: RunKey,
        tail: &[Chunk],
        queries: BTreeMap<String, WorkflowQuery>,
    ) -> Result<PollWorkflowTaskQueueResponse, Status> {
        let fixed = &task.fixed;
        let about = About::run(&fixed.workflow_id, &fixed.run_id);
        let mut page = self.page(run, tail, task.history_from..task.next_event_id, BATCHES_MAX, &about).await?;
        let mut next_page_token = Bytes::new();
        if page.next_event_id < task.next_event_id {
            let (next_event_id, end_event_id) = (page.next_event_id, task.next_event_id);
            next_page_token = PageToken { run_id: fixed.run_id.clone(), next_event_id, end_event_id }.seal();
        } else if !task.virtual_events.is_empty() {
            page.history.push(mainspring_api::history::encode_events(&task.virtual_events));
        }
        let token = TaskToken {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            stamp: task.task.stamp,
            ..TaskToken::new(&fixed.namespace_id, &fixed.workflow_id, &fixed.run_id)
        };
        Ok(PollWorkflowTaskQueueResponse {
            task_token: token.seal(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: fixed.workflow_id.clone(),
                run_id: fixed.run_id.clone(),
            }),
            workflow_type: Some(WorkflowType { name: fixed.workflow_type.clone() }),
            previous_started_event_id: task.previous_started_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            history: Some(page.history),
            next_page_token,
            workflow_execution_task_queue: Some(normal_queue(&fixed.task_queue)),
            scheduled_time: Some(timestamp(task.scheduled_at)),
            started_time: Some(timestamp(task.started_at)),
            messages: task.messages.clone(),
            queries,
            ..PollWorkflowTaskQueueResponse::default()
        })
    }

    pub(crate) async fn respond_workflow_task_completed(
        &self,
        mut request: RespondWorkflowTaskCompletedRequest,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        let (token, namespace) = self.task_token(&request.task_token, &request.namespace)?;
        if request.intermediate_page || request.page_number != 0 {
            return Err(Status::failed_precondition("paginated workflow task completion is not enabled"));
        }
        if let Err(text) = mark_search_attributes(&namespace, &mut request.commands) {
            return Err(self.refuse_search_attributes(&namespace, &token, request.identity, &text).await);
        }
        let about = About::run(&token.workflow_id, &token.run_id);
        let replies = queries::replies(std::mem::take(&mut request.query_results), &self.shared.limits)?;
        let completion = self.completion(&token, request);
        let answer = self.shared.history.complete(namespace.id, &token.workflow_id, completion, replies).await;
        let history::Answer { reply, run, tail, queries } = answer.map_err(|error| error::status(error, &about))?;
        match reply {
            Reply::Completed(completed) => self.completed(*completed, run, &tail, queries, &about).await,
            other => Err(unexpected(&other)),
        }
    }

    #[expect(deprecated, reason = "workers without deployments name their build so")]
    fn completion(&self, token: &TaskToken, request: RespondWorkflowTaskCompletedRequest) -> CompleteWorkflowTask {
        CompleteWorkflowTask {
            token: workflow_task_token(token),
            namespaces: self.namespaces_named_by(&request.commands),
            commands: request.commands,
            messages: request.messages,
            discards_events: request
                .capabilities
                .is_some_and(|capabilities| capabilities.discard_speculative_workflow_task_with_events),
            identity: request.identity,
            sticky: request.sticky_attributes.and_then(sticky),
            return_new_task: request.return_new_workflow_task,
            force_new_task: request.force_create_new_workflow_task,
            binary_checksum: request.binary_checksum,
            sdk_metadata: request.sdk_metadata,
            metering_metadata: request.metering_metadata,
            worker_version: request.worker_version_stamp,
        }
    }

    async fn completed(
        &self,
        completed: CompletedWorkflowTask,
        run: RunKey,
        tail: &[Chunk],
        queries: BTreeMap<String, WorkflowQuery>,
        about: &About<'_>,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        if let Some(refused) = &completed.refused {
            return Err(error::refused_completion(refused));
        }
        let workflow_task = match &completed.next_task {
            Some(task) => Some(self.workflow_task(task, run, tail, queries).await?),
            None => None,
        };
        let mut activity_tasks = Vec::with_capacity(completed.activities.len());
        for activity in &completed.activities {
            activity_tasks.push(self.activity_task(activity, run, tail, about).await?);
        }
        let reset_history_event_id = completed.reset_history_event_id;
        Ok(RespondWorkflowTaskCompletedResponse { workflow_task, activity_tasks, reset_history_event_id })
    }

    /// The ids of the namespaces that commands name; those that do not exist are left out.
    #[expect(deprecated, reason = "most SDKs name the namespace by this field")]
    fn namespaces_named_by(&self, commands: &[Command]) -> BTreeMap<String, String> {
        let names = commands.iter().filter_map(|command| match command.attributes.as_ref()? {
            Attributes::StartChildWorkflowExecutionCommandAttributes(child) => Some(&child.namespace),
            Attributes::SignalExternalWorkflowExecutionCommandAttributes(signal) => Some(&signal.namespace),
            Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(cancel) => Some(&cancel.namespace),
            _ => None,
        });
        let ids = names.filter(|name| !name.is_empty()).filter_map(|name| {
            let namespace = self.shared.history.namespaces().by_name(name)?;
            Some((name.clone(), namespace.id.to_string()))
        });
        ids.collect()
    }

    /// Fails the task on record, once: as for any bad command, later attempts end by their timeout.
    async fn refuse_search_attributes(
        &self,
        namespace: &Namespace,
        token: &TaskToken,
        identity: String,
        text: &str,
    ) -> Status {
        let message = format!("BadSearchAttributes: {text}");
        if token.attempt > 1 {
            return invalid(message);
        }
        let info = FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true });
        let failed = FailWorkflowTask {
            token: workflow_task_token(token),
            cause: Cause::BadSearchAttributes,
            failure: Some(Failure { message: message.clone(), failure_info: Some(info), ..Failure::default() }),
            identity,
            binary_checksum: String::new(),
            worker_version: None,
        };
        let input = Input::FailWorkflowTask(Box::new(failed));
        match self.shared.history.call(namespace.id, &token.workflow_id, input).await {
            Ok(_) => invalid(message),
            Err(error) => error::status(error, &About::run(&token.workflow_id, &token.run_id)),
        }
    }

    #[expect(deprecated, reason = "workers without deployments name their build so")]
    pub(crate) async fn respond_workflow_task_failed(
        &self,
        request: RespondWorkflowTaskFailedRequest,
    ) -> Result<RespondWorkflowTaskFailedResponse, Status> {
        let (token, namespace) = self.task_token(&request.task_token, &request.namespace)?;
        let about = About::run(&token.workflow_id, &token.run_id);
        let failed = FailWorkflowTask {
            token: workflow_task_token(&token),
            cause: request.cause(),
            failure: request.failure,
            identity: request.identity,
            binary_checksum: request.binary_checksum,
            worker_version: request.worker_version,
        };
        let input = Input::FailWorkflowTask(Box::new(failed));
        let answer = self.shared.history.call(namespace.id, &token.workflow_id, input).await;
        answer.map_err(|error| error::status(error, &about))?;
        Ok(RespondWorkflowTaskFailedResponse {})
    }

    pub(crate) async fn reset_sticky_task_queue(
        &self,
        request: ResetStickyTaskQueueRequest,
    ) -> Result<ResetStickyTaskQueueResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.execution, &self.shared.limits)?;
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let input = Input::ResetSticky { run_id: execution.run_id.clone() };
        let answer = self.shared.history.call(namespace.id, about.workflow_id, input).await;
        answer.map_err(|error| error::status(error, &about))?;
        Ok(ResetStickyTaskQueueResponse {})
    }

    /// A courtesy of workers that leave: their polls end by themselves, and tasks that come for their sticky queue go to
    /// the normal one at once.
    pub(crate) async fn shutdown_worker(
        &self,
        request: ShutdownWorkerRequest,
    ) -> Result<ShutdownWorkerResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        if !request.sticky_task_queue.is_empty() {
            self.shared.history.worker_left(namespace.id, &request.sticky_task_queue);
        }
        Ok(ShutdownWorkerResponse {})
    }

    /// The task that a worker speaks of, and its namespace.
    pub(crate) fn task_token(
        &self,
        sealed: &[u8],
        namespace: &str,
    ) -> Result<(TaskToken, std::sync::Arc<Namespace>), Status> {
        if sealed.is_empty() {
            return Err(invalid("Task token not set on request."));
        }
        let token = TaskToken::open(sealed).ok_or_else(|| invalid("Error deserializing task token."))?;
        let found = self.shared.history.namespaces().by_id(token.namespace());
        let found = found.ok_or_else(|| error::namespace_not_found(&token.namespace().to_string()))?;
        crate::check_state(&found, &crate::USABLE)?;
        if !namespace.is_empty() && self.namespace(namespace)?.id != found.id {
            return Err(invalid("Operation requested with a token from a different namespace."));
        }
        Ok((token, found))
    }
}

fn workflow_task_token(token: &TaskToken) -> WorkflowTaskToken {
    WorkflowTaskToken {
        run_id: token.run_id.clone(),
        scheduled_event_id: token.scheduled_event_id,
        started_event_id: token.started_event_id,
        attempt: token.attempt,
        stamp: token.stamp,
    }
}

/// A worker that names no queue has no cache to come back to.
fn sticky(attributes: StickyExecutionAttributes) -> Option<(String, std::time::Duration)> {
    let queue = attributes.worker_task_queue?.name;
    let schedule_to_start = from_duration(attributes.schedule_to_start_timeout.as_ref());
    (!queue.is_empty()).then_some((queue, schedule_to_start))
}

/// Checks the search attributes that commands set and marks them with their types.
fn mark_search_attributes(namespace: &Namespace, commands: &mut [Command]) -> Result<(), String> {
    for attributes in commands.iter_mut().filter_map(search_attributes_of) {
        search_attributes::check(namespace, &mut attributes.indexed_fields)?;
    }
    Ok(())
}

fn search_attributes_of(command: &mut Command) -> Option<&mut SearchAttributes> {
    match command.attributes.as_mut()? {
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(upsert) => upsert.search_attributes.as_mut(),
        Attributes::StartChildWorkflowExecutionCommandAttributes(child) => child.search_attributes.as_mut(),
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(next) => next.search_attributes.as_mut(),
        _ => None,
    }
}

pub(crate) fn normal_queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: TaskQueueKind::Normal as i32, ..TaskQueue::default() }
}
