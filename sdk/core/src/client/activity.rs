//! Activities that are completed from outside: see [`Activity::complete_later`](crate::Activity::complete_later).

use crate::{
    activity::{CancelReason, TaskToken},
    client::{Client, ClientError, handle::not_found},
    codec::CodecCx,
    error::Error,
    payload::{Args, ToPayload, to_wire},
};
use mainspring_api::v1::{
    common::Payloads,
    failure::Failure,
    workflowservice::{
        RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatRequest,
        RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCanceledRequest,
        RespondActivityTaskCompletedByIdRequest, RespondActivityTaskCompletedRequest,
        RespondActivityTaskFailedByIdRequest, RespondActivityTaskFailedRequest,
    },
};

/// An activity whose result comes from this client.
#[derive(Clone, Debug)]
pub struct ActivityHandle {
    client: Client,
    address: Address,
}

/// How the server finds the activity.
#[derive(Clone, Debug)]
enum Address {
    Token(TaskToken),
    Id { workflow_id: String, run_id: String, activity_id: String },
}

impl Client {
    /// The activity with this token.
    pub fn activity(&self, token: TaskToken) -> ActivityHandle {
        ActivityHandle { client: self.clone(), address: Address::Token(token) }
    }

    /// The activity with this id, of the newest run of a workflow.
    pub fn activity_by_id(&self, workflow_id: impl Into<String>, activity_id: impl Into<String>) -> ActivityHandle {
        self.activity_of_run(workflow_id, "", activity_id)
    }

    /// The activity with this id, of one run of a workflow.
    pub fn activity_of_run(
        &self,
        workflow_id: impl Into<String>,
        run_id: impl Into<String>,
        activity_id: impl Into<String>,
    ) -> ActivityHandle {
        let address =
            Address::Id { workflow_id: workflow_id.into(), run_id: run_id.into(), activity_id: activity_id.into() };
        ActivityHandle { client: self.clone(), address }
    }
}

/// One answer about an activity, by either of the two requests that there are for it.
macro_rules! answer {
    ($handle:ident, $by_token:ident, $by_id:ident, $field:ident, |$reply:pat_param| $then:expr) => {{
        let namespace = $handle.client.namespace().to_owned();
        let identity = $handle.client.identity().to_owned();
        match $handle.address.clone() {
            Address::Token(TaskToken(task_token)) => {
                let request = $by_token { task_token, $field, identity, namespace, ..$by_token::default() };
                let $reply = $handle.client.rpc().call(&request).await.map_err(not_found)?;
                $then
            }
            Address::Id { workflow_id, run_id, activity_id } => {
                let request =
                    $by_id { namespace, workflow_id, run_id, activity_id, $field, identity, ..$by_id::default() };
                let $reply = $handle.client.rpc().call(&request).await.map_err(not_found)?;
                $then
            }
        }
    }};
}

impl ActivityHandle {
    /// Completes the activity.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when nobody waits for it any longer.
    pub async fn complete(&self, result: impl ToPayload) -> Result<(), ClientError> {
        let result = self.encoded(result).await?;
        answer!(self, RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedByIdRequest, result, |_| Ok(()))
    }

    /// Fails the activity: it is tried again, as its policy says.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when nobody waits for it any longer.
    pub async fn fail(&self, error: impl Into<Error>) -> Result<(), ClientError> {
        let mut failure: Failure = error.into().into_failure();
        self.client.converter().encode_failure(&self.codec_cx(), &mut failure).await?;
        let failure = Some(failure);
        answer!(self, RespondActivityTaskFailedRequest, RespondActivityTaskFailedByIdRequest, failure, |_| Ok(()))
    }

    /// Says that the activity stopped as it was asked to. The server takes this only then.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when nobody waits for it any longer.
    pub async fn cancelled(&self, details: impl ToPayload) -> Result<(), ClientError> {
        let details = self.encoded(details).await?;
        answer!(self, RespondActivityTaskCanceledRequest, RespondActivityTaskCanceledByIdRequest, details, |_| Ok(()))
    }

    /// Tells the server that the attempt lives; says whether it is to stop.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] when nobody waits for it any longer.
    pub async fn heartbeat(&self, details: impl ToPayload) -> Result<Option<CancelReason>, ClientError> {
        let details = self.encoded(details).await?;
        answer!(self, RecordActivityTaskHeartbeatRequest, RecordActivityTaskHeartbeatByIdRequest, details, |reply| Ok(
            CancelReason::of_reply(reply.cancel_requested, reply.activity_reset, reply.activity_paused)
        ))
    }

    async fn encoded(&self, value: impl ToPayload) -> Result<Option<Payloads>, ClientError> {
        let mut args = Args::new();
        args.push(value);
        let mut payloads = args.into_payloads()?;
        self.client.converter().encode(&self.codec_cx(), &mut payloads).await?;
        Ok(to_wire(payloads))
    }

    fn codec_cx(&self) -> CodecCx<'_> {
        let workflow_id = match &self.address {
            Address::Token(_) => "",
            Address::Id { workflow_id, .. } => workflow_id,
        };
        CodecCx::new(self.client.namespace(), workflow_id)
    }
}
