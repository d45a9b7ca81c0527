//! Queries: QueryWorkflow, and the answers of workers, alone or with a workflow task.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mainspring_api::{
    ids::QueueKind,
    status::with_detail,
    v1::{
        common::{Payloads, WorkflowExecution, WorkflowType},
        enums::{QueryRejectCondition, QueryResultType},
        errordetails::QueryFailedFailure,
        failure::Failure,
        query::{QueryRejected, WorkflowQueryResult},
        workflowservice::{
            PollWorkflowTaskQueueResponse, QueryWorkflowRequest, QueryWorkflowResponse,
            RespondQueryTaskCompletedRequest, RespondQueryTaskCompletedResponse,
        },
    },
};
use mainspring_engine::limits::Limits;
use mainspring_history::{Ask, Namespace, QueryReply, QueryTask};
use mainspring_matching::QueueName;
use prost::Message;
use tonic::{Code, Status};

use crate::{
    Frontend, Metadata,
    error::{self, About, invalid},
    long_poll,
    pages::BATCHES_MAX,
    token::{PageToken, QueryToken, Token},
    validate,
    workflow_tasks::normal_queue,
};

/// A queue that nobody polled for so long has no worker. `matching.queryPollerUnavailableWindow`
const POLLER_GONE: Duration = Duration::from_secs(20);

impl Frontend {
    pub(crate) async fn query_workflow(
        &self,
        request: QueryWorkflowRequest,
        metadata: &Metadata,
    ) -> Result<QueryWorkflowResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = validate::execution(request.execution, &self.shared.limits)?;
        let reject = QueryRejectCondition::try_from(request.query_reject_condition).unwrap_or_default();
        let Some(query) = request.query else { return Err(invalid("WorkflowQuery is not set on request.")) };
        if query.query_type.is_empty() {
            return Err(invalid("QueryType is not set on request."));
        }
        validate::blob(query.query_args.as_ref(), &self.shared.limits)?;
        let end = long_poll::query_end(&self.shared.rt, metadata);
        let about = About::run(&execution.workflow_id, &execution.run_id);
        let ask = Ask { run_id: execution.run_id.clone(), query, reject, deadline: end };
        let asking = Box::pin(self.shared.history.query(namespace.id, about.workflow_id, ask));
        match self.wait_until(end, asking).await {
            Some(reply) => answered(reply.map_err(|error| error::status(error, &about))?),
            None => Err(self.query_timed_out(&namespace, &about).await),
        }
    }

    /// Nobody answered in time: because nobody is there, or because whoever is there is busy.
    async fn query_timed_out(&self, namespace: &Namespace, about: &About<'_>) -> Status {
        if *self.shared.closing.borrow() {
            return Status::unavailable("the server is shutting down");
        }
        let now = self.shared.rt.now();
        if let Ok(view) = self.shared.history.look(namespace.id, about.workflow_id, about.run_id).await {
            let name = view.run.fixed.task_queue.as_str().into();
            let queue = QueueName { namespace: namespace.id, name, kind: QueueKind::Workflow };
            let known = self.shared.history.matching().describe(&queue, now);
            let seen = known.pollers.iter().any(|poller| now.since(poller.last_access) < POLLER_GONE);
            if !seen && known.stats.waiting_pollers == 0 {
                return Status::failed_precondition("no poller seen for task queue recently, worker may be down");
            }
        }
        Status::deadline_exceeded("query timed out before a worker could process it")
    }

    /// What a worker gets for a query that goes by itself.
    pub(crate) async fn query_task(
        &self,
        namespace: &Namespace,
        task: &QueryTask,
    ) -> Result<PollWorkflowTaskQueueResponse, Status> {
        let fixed = &task.fixed;
        let about = About::run(&fixed.workflow_id, &fixed.run_id);
        let events = task.history_from..task.next_event_id;
        let page = self.page(task.run, &task.tail, events, BATCHES_MAX, &about).await?;
        let mut next_page_token = Bytes::new();
        if page.next_event_id < task.next_event_id {
            let (next_event_id, end_event_id) = (page.next_event_id, task.next_event_id);
            next_page_token = PageToken { run_id: fixed.run_id.clone(), next_event_id, end_event_id }.seal();
        }
        let token = QueryToken::new(namespace.id, task.run.shard, task.id);
        Ok(PollWorkflowTaskQueueResponse {
            task_token: token.seal(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: fixed.workflow_id.clone(),
                run_id: fixed.run_id.clone(),
            }),
            workflow_type: Some(WorkflowType { name: fixed.workflow_type.clone() }),
            previous_started_event_id: task.previous_started_event_id,
            history: Some(page.history),
            next_page_token,
            query: Some(task.query.clone()),
            workflow_execution_task_queue: Some(normal_queue(&fixed.task_queue)),
            ..PollWorkflowTaskQueueResponse::default()
        })
    }

    /// A query that nobody waits for any more is answered into the void.
    pub(crate) async fn respond_query_task_completed(
        &self,
        request: RespondQueryTaskCompletedRequest,
    ) -> Result<RespondQueryTaskCompletedResponse, Status> {
        if request.task_token.is_empty() {
            return Err(invalid("Task token not set on request."));
        }
        let token = QueryToken::open(&request.task_token).ok_or_else(|| invalid("Error deserializing task token."))?;
        if !request.namespace.is_empty() && self.namespace(&request.namespace)?.id != token.namespace() {
            return Err(invalid("Operation requested with a token from a different namespace."));
        }
        let result = WorkflowQueryResult {
            result_type: request.completed_type,
            answer: request.query_result,
            error_message: request.error_message,
            failure: request.failure,
        };
        let shard = u16::try_from(token.shard).map_err(|_| invalid("Error deserializing task token."))?;
        let reply = reply(result, &self.shared.limits)?;
        self.shared.history.answer_query(shard, token.query, reply);
        Ok(RespondQueryTaskCompletedResponse {})
    }
}

/// The results that came with a workflow task's completion, by the ids that the queries had there. An id that is none
/// of ours belongs to nobody.
pub(crate) fn replies(
    results: BTreeMap<String, WorkflowQueryResult>,
    limits: &Limits,
) -> Result<BTreeMap<u64, QueryReply>, Status> {
    let known = results.into_iter().filter_map(|(id, result)| Some((id.parse().ok()?, result)));
    known.map(|(id, result)| Ok((id, reply(result, limits)?))).collect()
}

fn reply(result: WorkflowQueryResult, limits: &Limits) -> Result<QueryReply, Status> {
    match result.result_type() {
        QueryResultType::Answered if is_too_large(result.answer.as_ref(), limits) => {
            let (size, limit) = (result.answer.map_or(0, |answer| answer.encoded_len()), limits.blob_bytes_max);
            Ok(QueryReply::Failed {
                message: format!("query result size ({size}) exceeds limit ({limit})"),
                failure: None,
            })
        }
        QueryResultType::Answered => Ok(QueryReply::Answered(result.answer)),
        QueryResultType::Failed => {
            Ok(QueryReply::Failed { message: result.error_message, failure: result.failure.map(Box::new) })
        }
        QueryResultType::Unspecified => Err(invalid("Invalid query task completed type.")),
    }
}

fn is_too_large(answer: Option<&Payloads>, limits: &Limits) -> bool {
    answer.is_some_and(|answer| answer.encoded_len() > limits.blob_bytes_max)
}

fn answered(reply: QueryReply) -> Result<QueryWorkflowResponse, Status> {
    match reply {
        QueryReply::Answered(query_result) => Ok(QueryWorkflowResponse { query_result, ..Default::default() }),
        QueryReply::Rejected(status) => {
            let rejected = QueryRejected { status: status as i32 };
            Ok(QueryWorkflowResponse { query_rejected: Some(rejected), ..Default::default() })
        }
        QueryReply::Failed { message, failure } => Err(failed(message, failure.map(|failure| *failure))),
    }
}

fn failed(message: String, failure: Option<Failure>) -> Status {
    with_detail(Code::InvalidArgument, message, &QueryFailedFailure { failure })
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::{Payload, enums::WorkflowExecutionStatus};

    use super::*;

    fn answer(bytes: usize) -> WorkflowQueryResult {
        let payload = Payload::new("json/plain", &vec![b'1'; bytes]);
        WorkflowQueryResult {
            result_type: QueryResultType::Answered as i32,
            answer: Some(Payloads { payloads: vec![payload] }),
            ..WorkflowQueryResult::default()
        }
    }

    #[test]
    fn an_answer_too_large_is_a_failure() {
        let limits = Limits::default();
        assert!(matches!(reply(answer(10), &limits), Ok(QueryReply::Answered(Some(_)))));
        assert!(matches!(reply(answer(limits.blob_bytes_max), &limits), Ok(QueryReply::Failed { .. })));
    }

    #[test]
    fn foreign_ids_are_nobodys() {
        let results = [("7".to_owned(), answer(1)), ("foreign".to_owned(), answer(1))].into();
        let replies = replies(results, &Limits::default()).unwrap();
        assert_eq!(replies.keys().collect::<Vec<_>>(), [&7]);
    }

    #[test]
    fn a_failure_is_invalid_and_carries_its_detail() {
        let status = answered(QueryReply::Failed { message: "bad".to_owned(), failure: None }).unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "bad"));
        assert!(!status.details().is_empty());
    }

    #[test]
    fn a_rejection_is_an_answer() {
        let response = answered(QueryReply::Rejected(WorkflowExecutionStatus::Completed)).unwrap();
        assert_eq!(response.query_rejected.unwrap().status, WorkflowExecutionStatus::Completed as i32);
    }
}
