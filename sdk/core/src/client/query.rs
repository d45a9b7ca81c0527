//! Queries: a question to a workflow's code, answered by a worker, written nowhere.

use mainspring_api::v1::{
    enums::QueryRejectCondition, errordetails::QueryFailedFailure, failure::Failure, query::WorkflowQuery,
    workflowservice::QueryWorkflowRequest,
};

use crate::{
    call::QueryCall,
    client::{ClientError, WorkflowHandle, handle::not_found},
    codec::CodecCx,
    payload::{FromPayload, from_wire, result_from},
};

/// For which workflows a query is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueryReject {
    /// It is asked for all of them.
    #[default]
    Never,
    /// Not for closed ones.
    NotOpen,
    /// Not for those that closed otherwise than by completing.
    NotCompletedCleanly,
}

impl<O> WorkflowHandle<O> {
    /// Asks a question that a worker answers from the workflow's state. Closed workflows answer too.
    ///
    /// # Errors
    /// [`ClientError::QueryFailed`] when the handler fails or is not there, a deadline when no worker answers.
    pub async fn query<T: FromPayload>(&self, query: QueryCall<T>) -> Result<T, ClientError> {
        self.query_unless(QueryReject::Never, query).await
    }

    /// The same, but not for workflows of some states.
    ///
    /// # Errors
    /// [`ClientError::QueryRejected`] for those; otherwise as for [`query`](WorkflowHandle::query).
    pub async fn query_unless<T: FromPayload>(
        &self,
        reject: QueryReject,
        query: QueryCall<T>,
    ) -> Result<T, ClientError> {
        let (name, args, header) = query.into_parts();
        let condition = match reject {
            QueryReject::Never => QueryRejectCondition::None,
            QueryReject::NotOpen => QueryRejectCondition::NotOpen,
            QueryReject::NotCompletedCleanly => QueryRejectCondition::NotCompletedCleanly,
        };
        let request = QueryWorkflowRequest {
            namespace: self.client.namespace().to_owned(),
            execution: self.execution(),
            query: Some(WorkflowQuery {
                query_type: name.clone(),
                query_args: self.client.encoded(&self.workflow_id, args).await?,
                header: self.client.encoded_header(&self.workflow_id, header).await?,
            }),
            query_reject_condition: condition as i32,
        };
        let answer = match self.client.rpc().call(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                let Some(detail) = error.detail::<QueryFailedFailure>() else { return Err(not_found(error)) };
                return Err(self.query_failed(name, error.message(), detail.failure).await?);
            }
        };
        if let Some(rejected) = answer.query_rejected {
            return Err(ClientError::QueryRejected { status: rejected.status() });
        }
        let mut payloads = from_wire(answer.query_result);
        let cx = CodecCx::new(self.client.namespace(), &self.workflow_id);
        self.client.converter().decode(&cx, &mut payloads).await?;
        Ok(result_from(&payloads)?)
    }

    /// The server's message is in clear, so the failure's own stands for it when there is one.
    async fn query_failed(
        &self,
        name: String,
        message: &str,
        failure: Option<Failure>,
    ) -> Result<ClientError, ClientError> {
        let Some(failure) = failure else {
            return Ok(ClientError::QueryFailed { name, message: message.to_owned(), cause: None });
        };
        let cause = self.decoded(failure).await?;
        let message = cause.as_application().map_or_else(|| message.to_owned(), |cause| cause.message.clone());
        Ok(ClientError::QueryFailed { name, message, cause: Some(Box::new(cause)) })
    }
}
