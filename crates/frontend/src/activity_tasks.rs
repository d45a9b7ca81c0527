//! Activity tasks: polling for one, heartbeats, and the three ways to end it, by token or by ids.

use bytes::Bytes;
use mainspring_api::{
    ids::QueueKind,
    time::timestamp,
    v1::{
        common::{ActivityType, Payloads, Priority, WorkflowExecution, WorkflowType},
        failure::{Failure, failure::FailureInfo},
        history::{ActivityTaskScheduledEventAttributes, history_event::Attributes},
        workflowservice::{
            PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatByIdRequest,
            RecordActivityTaskHeartbeatByIdResponse, RecordActivityTaskHeartbeatRequest,
            RecordActivityTaskHeartbeatResponse, RespondActivityTaskCanceledByIdRequest,
            RespondActivityTaskCanceledByIdResponse, RespondActivityTaskCanceledRequest,
            RespondActivityTaskCanceledResponse, RespondActivityTaskCompletedByIdRequest,
            RespondActivityTaskCompletedByIdResponse, RespondActivityTaskCompletedRequest,
            RespondActivityTaskCompletedResponse, RespondActivityTaskFailedByIdRequest,
            RespondActivityTaskFailedByIdResponse, RespondActivityTaskFailedRequest, RespondActivityTaskFailedResponse,
        },
    },
};
use mainspring_engine::{
    input::{ActivityInput, ActivityTarget, Input},
    outcome::{Chunk, Reply, StartedActivity},
};
use mainspring_history::{Delivered, PollTask, RunKey};
use mainspring_matching::{QueueName, Version};
use mainspring_rt::Timestamp;
use tonic::Status;

use crate::{
    Answer, Frontend, Metadata, encode,
    error::{self, About, invalid, not_implemented},
    long_poll,
    pending::span,
    start::unexpected,
    token::{TaskToken, Token},
    validate,
};

impl Frontend {
    /// Waits for a task, and answers empty when none comes.
    pub(crate) async fn poll_activity_task_queue(
        &self,
        request: PollActivityTaskQueueRequest,
        metadata: &Metadata,
    ) -> Result<Answer, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let end = long_poll::task_poll_end(&self.shared.rt, metadata)?;
        let name = validate::task_queue(request.task_queue, &self.shared.limits)?;
        let poll = PollTask {
            queue: QueueName { namespace: namespace.id, name: name.into(), kind: QueueKind::Activity },
            sticky: false,
            identity: request.identity,
            version: Version::UNVERSIONED,
            rate: request.task_queue_metadata.and_then(|metadata| metadata.max_tasks_per_second),
        };
        let waiting = Box::pin(self.shared.history.poll(poll));
        let come = self.wait_until(end, waiting).await.unwrap_or(Ok(None));
        let Some(delivery) = come.map_err(|error| error::status(error, &About::default()))? else {
            return Ok(Answer { bytes: Bytes::new(), delivery: None });
        };
        let response = match delivery.task() {
            Delivered::Activity { task, run, tail } => {
                let about = About::run(&task.fixed.workflow_id, &task.fixed.run_id);
                self.activity_task(task, *run, tail, &about).await
            }
            Delivered::Workflow { .. } | Delivered::Query(_) => {
                Err(Status::internal("a workflow task on an activity task queue"))
            }
        };
        let Some(response) = long_poll::unless_gone(response)? else {
            return Ok(Answer { bytes: Bytes::new(), delivery: None });
        };
        Ok(Answer { bytes: encode(&response), delivery: Some(delivery) })
    }

    /// What a worker gets. Input and header stand in the event that scheduled the activity, and nowhere else.
    pub(crate) async fn activity_task(
        &self,
        task: &StartedActivity,
        run: RunKey,
        tail: &[Chunk],
        about: &About<'_>,
    ) -> Result<PollActivityTaskQueueResponse, Status> {
        let (fixed, activity) = (&task.fixed, &task.activity);
        let event = self.stored_event(run, tail, activity.scheduled_event_id, about).await?;
        let scheduled = scheduled(event.attributes)?;
        let token = TaskToken {
            scheduled_event_id: activity.scheduled_event_id,
            attempt: activity.attempt,
            stamp: task.task.stamp,
            ..TaskToken::new(&fixed.namespace_id, &fixed.workflow_id, &fixed.run_id)
        };
        let at = |nanos| Some(timestamp(Timestamp::from_nanos(nanos)));
        Ok(PollActivityTaskQueueResponse {
            task_token: token.seal(),
            workflow_namespace: fixed.namespace.clone(),
            workflow_type: Some(WorkflowType { name: fixed.workflow_type.clone() }),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: fixed.workflow_id.clone(),
                run_id: fixed.run_id.clone(),
            }),
            activity_type: Some(ActivityType { name: activity.activity_type.clone() }),
            activity_id: activity.activity_id.clone(),
            header: scheduled.header,
            input: scheduled.input,
            heartbeat_details: activity.heartbeat_details.clone(),
            scheduled_time: at(activity.scheduled_at),
            current_attempt_scheduled_time: at(activity.attempt_scheduled_at),
            started_time: at(activity.started_at),
            attempt: activity.attempt,
            schedule_to_close_timeout: span(activity.schedule_to_close),
            start_to_close_timeout: span(activity.start_to_close),
            heartbeat_timeout: span(activity.heartbeat),
            retry_policy: activity.retry_policy.clone(),
            priority: priority(activity.priority_key),
            ..PollActivityTaskQueueResponse::default()
        })
    }

    pub(crate) async fn record_heartbeat(
        &self,
        request: RecordActivityTaskHeartbeatRequest,
    ) -> Result<RecordActivityTaskHeartbeatResponse, Status> {
        let heartbeat = ActivityInput::Heartbeat { details: request.details };
        let reply = self.respond_by_token(&request.task_token, &request.namespace, heartbeat).await?;
        let Beat { cancel_requested, paused, reset } = beat(&reply)?;
        Ok(RecordActivityTaskHeartbeatResponse { cancel_requested, activity_paused: paused, activity_reset: reset })
    }

    pub(crate) async fn record_heartbeat_by_id(
        &self,
        request: RecordActivityTaskHeartbeatByIdRequest,
    ) -> Result<RecordActivityTaskHeartbeatByIdResponse, Status> {
        let heartbeat = ActivityInput::Heartbeat { details: request.details };
        let ids = Ids::new(request.workflow_id, request.run_id, request.activity_id);
        let reply = self.respond_by_id(&request.namespace, ids, heartbeat).await?;
        let Beat { cancel_requested, paused, reset } = beat(&reply)?;
        Ok(RecordActivityTaskHeartbeatByIdResponse { cancel_requested, activity_paused: paused, activity_reset: reset })
    }

    pub(crate) async fn respond_activity_completed(
        &self,
        request: RespondActivityTaskCompletedRequest,
    ) -> Result<RespondActivityTaskCompletedResponse, Status> {
        let complete = ActivityInput::Complete { result: request.result, identity: request.identity };
        self.respond_by_token(&request.task_token, &request.namespace, complete).await?;
        Ok(RespondActivityTaskCompletedResponse {})
    }

    pub(crate) async fn respond_activity_completed_by_id(
        &self,
        request: RespondActivityTaskCompletedByIdRequest,
    ) -> Result<RespondActivityTaskCompletedByIdResponse, Status> {
        let complete = ActivityInput::Complete { result: request.result, identity: request.identity };
        let ids = Ids::new(request.workflow_id, request.run_id, request.activity_id);
        self.respond_by_id(&request.namespace, ids, complete).await?;
        Ok(RespondActivityTaskCompletedByIdResponse {})
    }

    pub(crate) async fn respond_activity_failed(
        &self,
        request: RespondActivityTaskFailedRequest,
    ) -> Result<RespondActivityTaskFailedResponse, Status> {
        // The token is looked at first: with a bad one the rest says nothing.
        self.task_token(&request.task_token, &request.namespace)?;
        let fail = fail(request.failure, request.last_heartbeat_details, request.identity)?;
        self.respond_by_token(&request.task_token, &request.namespace, fail).await?;
        Ok(RespondActivityTaskFailedResponse::default())
    }

    pub(crate) async fn respond_activity_failed_by_id(
        &self,
        request: RespondActivityTaskFailedByIdRequest,
    ) -> Result<RespondActivityTaskFailedByIdResponse, Status> {
        let fail = fail(request.failure, request.last_heartbeat_details, request.identity)?;
        let ids = Ids::new(request.workflow_id, request.run_id, request.activity_id);
        self.respond_by_id(&request.namespace, ids, fail).await?;
        Ok(RespondActivityTaskFailedByIdResponse::default())
    }

    pub(crate) async fn respond_activity_canceled(
        &self,
        request: RespondActivityTaskCanceledRequest,
    ) -> Result<RespondActivityTaskCanceledResponse, Status> {
        let cancel = ActivityInput::Cancel { details: request.details, identity: request.identity };
        self.respond_by_token(&request.task_token, &request.namespace, cancel).await?;
        Ok(RespondActivityTaskCanceledResponse {})
    }

    pub(crate) async fn respond_activity_canceled_by_id(
        &self,
        request: RespondActivityTaskCanceledByIdRequest,
    ) -> Result<RespondActivityTaskCanceledByIdResponse, Status> {
        let cancel = ActivityInput::Cancel { details: request.details, identity: request.identity };
        let ids = Ids::new(request.workflow_id, request.run_id, request.activity_id);
        self.respond_by_id(&request.namespace, ids, cancel).await?;
        Ok(RespondActivityTaskCanceledByIdResponse {})
    }

    async fn respond_by_token(&self, sealed: &[u8], namespace: &str, input: ActivityInput) -> Result<Reply, Status> {
        let (token, namespace) = self.task_token(sealed, namespace)?;
        let about = About::run(&token.workflow_id, &token.run_id);
        let target = ActivityTarget::Token {
            run_id: token.run_id.clone(),
            scheduled_event_id: token.scheduled_event_id,
            attempt: token.attempt,
            stamp: token.stamp,
        };
        let input = Input::Activity(target, input);
        let answer = self.shared.history.call(namespace.id, &token.workflow_id, input).await;
        Ok(answer.map_err(|error| error::status(error, &about))?.reply)
    }

    async fn respond_by_id(&self, namespace: &str, ids: Ids, input: ActivityInput) -> Result<Reply, Status> {
        let limits = &self.shared.limits;
        let namespace = self.namespace(namespace)?;
        validate::required(&ids.activity_id, "ActivityId", limits)?;
        if ids.workflow_id.is_empty() {
            return Err(not_implemented("an activity without a workflow"));
        }
        validate::workflow_id(&ids.workflow_id, limits)?;
        validate::run_id(&ids.run_id, "RunId is not valid UUID.")?;
        let about = About::run(&ids.workflow_id, &ids.run_id);
        let target = ActivityTarget::Id { run_id: ids.run_id.clone(), activity_id: ids.activity_id };
        let input = Input::Activity(target, input);
        let answer = self.shared.history.call(namespace.id, &ids.workflow_id, input).await;
        Ok(answer.map_err(|error| error::status(error, &about))?.reply)
    }
}

/// How an activity is named from outside.
struct Ids {
    workflow_id: String,
    run_id: String,
    activity_id: String,
}

impl Ids {
    fn new(workflow_id: String, run_id: String, activity_id: String) -> Ids {
        Ids { workflow_id, run_id, activity_id }
    }
}

/// Workers report application failures only; the others are the server's to make. No failure at all is let pass.
fn fail(
    failure: Option<Failure>,
    last_heartbeat_details: Option<Payloads>,
    identity: String,
) -> Result<ActivityInput, Status> {
    match failure.as_ref().map(|failure| failure.failure_info.as_ref()) {
        None | Some(Some(FailureInfo::ApplicationFailureInfo(_))) => {
            let failure = Box::new(failure.unwrap_or_default());
            Ok(ActivityInput::Fail { failure, last_heartbeat_details, identity })
        }
        Some(_) => Err(invalid("Failure must have ApplicationFailureInfo.")),
    }
}

/// What a worker hears when it says that it is still there.
struct Beat {
    cancel_requested: bool,
    paused: bool,
    reset: bool,
}

fn beat(reply: &Reply) -> Result<Beat, Status> {
    match *reply {
        Reply::Heartbeat { cancel_requested, paused, reset } => Ok(Beat { cancel_requested, paused, reset }),
        // The details were too large: the activity has failed, and its worker is to stop.
        Reply::Done => Ok(Beat { cancel_requested: true, paused: false, reset: false }),
        _ => Err(unexpected(reply)),
    }
}

fn scheduled(attributes: Option<Attributes>) -> Result<ActivityTaskScheduledEventAttributes, Status> {
    match attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => Ok(scheduled),
        _ => Err(Status::data_loss("the event that scheduled the activity is another one")),
    }
}

/// The middle is the default and goes unsaid.
pub(crate) fn priority(priority_key: i32) -> Option<Priority> {
    (priority_key != 0).then(|| Priority { priority_key, ..Priority::default() })
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::failure::{ApplicationFailureInfo, ServerFailureInfo};

    use super::*;

    fn failed(info: Option<FailureInfo>) -> Result<ActivityInput, Status> {
        fail(Some(Failure { failure_info: info, ..Failure::default() }), None, String::new())
    }

    #[test]
    fn only_application_failures_come_from_workers() {
        assert!(failed(Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default()))).is_ok());
        for info in [None, Some(FailureInfo::ServerFailureInfo(ServerFailureInfo::default()))] {
            let refused = failed(info).unwrap_err();
            assert_eq!(refused.message(), "Failure must have ApplicationFailureInfo.");
        }
    }

    #[test]
    fn an_oversized_heartbeat_stops_its_worker() {
        assert!(beat(&Reply::Done).unwrap().cancel_requested);
        let paused = Reply::Heartbeat { cancel_requested: false, paused: true, reset: false };
        let told = beat(&paused).unwrap();
        assert!(!told.cancel_requested && told.paused && !told.reset);
    }
}
