//! [`ClientError`]: the outcomes of a client's calls that a program acts on.

use mainspring_api::v1::enums::WorkflowExecutionStatus;

use crate::{client::RpcError, error::Error, payload::PayloadError};

/// What a client asked for did not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A workflow with this id is open, or was, and the policies forbid another.
    #[error("workflow {workflow_id:?} was started already, as run {run_id}")]
    AlreadyStarted {
        /// The workflow's id.
        workflow_id: String,
        /// The run there is.
        run_id: String,
    },
    /// There is no such workflow, run or update, or it is closed.
    #[error("not found: {0}")]
    NotFound(String),
    /// The workflow ended otherwise than with a result.
    #[error("workflow {workflow_id:?} (run {run_id}): {cause:?}")]
    WorkflowFailed {
        /// The workflow's id.
        workflow_id: String,
        /// The run that ended.
        run_id: String,
        /// How: an application failure, [`Error::Cancelled`], [`Error::Terminated`] or [`Error::Timeout`].
        cause: Box<Error>,
    },
    /// The update was rejected, or failed.
    #[error("update {name:?}: {cause:?}")]
    UpdateFailed {
        /// The update's name.
        name: String,
        /// Why.
        cause: Box<Error>,
    },
    /// The query's handler failed, or there is none.
    #[error("query {name:?}: {message}")]
    QueryFailed {
        /// The query's name.
        name: String,
        /// What the worker said.
        message: String,
        /// The failure the worker sent.
        cause: Option<Box<Error>>,
    },
    /// The workflow's status is none that the query is allowed for.
    #[error("the query was rejected: the workflow is {status:?}")]
    QueryRejected {
        /// The workflow's status.
        status: WorkflowExecutionStatus,
    },
    /// The call itself cannot be made as it is.
    #[error("{0}")]
    Invalid(String),
    /// A value could not be converted, or a codec failed.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The server refused, or could not be reached.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl ClientError {
    /// The failure that came from the other side, if one did.
    pub fn failure(&self) -> Option<&Error> {
        match self {
            ClientError::WorkflowFailed { cause, .. } | ClientError::UpdateFailed { cause, .. } => Some(cause),
            ClientError::QueryFailed { cause, .. } => cause.as_deref(),
            _ => None,
        }
    }

    /// Takes the failure that came from the other side, if one did.
    pub(crate) fn take_failure(self) -> Option<Error> {
        match self {
            ClientError::WorkflowFailed { cause, .. } | ClientError::UpdateFailed { cause, .. } => Some(*cause),
            ClientError::QueryFailed { cause, .. } => cause.map(|cause| *cause),
            _ => None,
        }
    }
}
