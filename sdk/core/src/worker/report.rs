//! How an attempt of an activity went, told to the server.

use mainspring_api::v1::{
    failure::Failure,
    workflowservice::{
        RespondActivityTaskCanceledRequest, RespondActivityTaskCompletedRequest, RespondActivityTaskFailedRequest,
    },
};
use tonic::Code;

use crate::{
    activity::{CancelReason, TaskToken},
    client::{Class, RpcError, Unary},
    codec::CodecCx,
    error::Error,
    payload::{Payload, PayloadError, to_wire},
    worker::{Shared, attempt::Ending},
};

/// Tells the server. `last_heartbeat` are details that were not sent yet.
pub(crate) async fn ending(
    shared: &Shared,
    token: &TaskToken,
    workflow_id: &str,
    ending: Ending,
    last_heartbeat: Option<Vec<Payload>>,
) {
    let reporter = Reporter { shared, token, codec_cx: CodecCx::new(shared.client.namespace(), workflow_id) };
    let told = match ending {
        Ending::Later => return,
        Ending::Returned(payload) => reporter.completed(payload).await,
        Ending::Failed(error) => reporter.failed(error, last_heartbeat).await,
        Ending::Cancelled(reason, error) => match misnamed(reason) {
            Some(error) => reporter.failed(error, last_heartbeat).await,
            None => reporter.cancelled(error).await,
        },
        Ending::Left => {
            tracing::warn!("the activity did not stop with its worker and is left behind");
            reporter.failed(worker_shutdown(), last_heartbeat).await
        }
    };
    match told {
        Ok(()) => {}
        Err(error) if error.code() == Code::NotFound => {
            tracing::debug!(%error, "nobody waits for the activity any longer");
        }
        Err(error) => tracing::error!(%error, "the server does not hear how the activity went"),
    }
}

/// The failure that stands for a cancellation which nobody asked for: the server takes no other answer then.
fn misnamed(reason: CancelReason) -> Option<Error> {
    match reason {
        CancelReason::Requested | CancelReason::Gone => None,
        CancelReason::Paused => Some(Error::application("ActivityPaused", "the activity was paused")),
        CancelReason::Reset => Some(Error::application("ActivityReset", "the activity was reset")),
        CancelReason::TimedOut => Some(Error::application("TimedOut", "the time of this attempt is over")),
        CancelReason::WorkerShutdown => Some(worker_shutdown()),
    }
}

fn worker_shutdown() -> Error {
    Error::application("WorkerShutdown", "the worker shuts down")
}

struct Reporter<'a> {
    shared: &'a Shared,
    token: &'a TaskToken,
    codec_cx: CodecCx<'a>,
}

impl Reporter<'_> {
    async fn completed(&self, payload: Payload) -> Result<(), RpcError> {
        let mut result = [payload];
        if let Err(error) = self.shared.client.converter().encode(&self.codec_cx, &mut result).await {
            return self.failed(error.into(), None).await;
        }
        if let Err(error) = self.shared.sizes().check("the activity's result", &result) {
            return self.failed(error.into(), None).await;
        }
        let request = RespondActivityTaskCompletedRequest {
            task_token: self.token.0.clone(),
            result: to_wire(result.into()),
            identity: self.shared.identity.clone(),
            namespace: self.shared.client.namespace().to_owned(),
            deployment_options: self.shared.deployment_options(),
            ..RespondActivityTaskCompletedRequest::default()
        };
        match self.send(&request).await {
            // The server's words are what the workflow is to hear, rather than a timeout.
            Err(error) if error.is_too_large() || error.code() == Code::InvalidArgument => {
                let message = format!("the server does not take the result: {}", error.message());
                self.failed(Error::application("ResultRefused", message).non_retryable(), None).await
            }
            other => other,
        }
    }

    async fn failed(&self, error: Error, last_heartbeat: Option<Vec<Payload>>) -> Result<(), RpcError> {
        if error.as_application().is_some_and(|failure| failure.benign) {
            tracing::debug!(?error, "activity failed");
        } else {
            tracing::warn!(?error, "activity failed");
        }
        let failure = self.encoded_failure(error).await;
        let mut details = last_heartbeat.unwrap_or_default();
        if let Err(error) = self.shared.client.converter().encode(&self.codec_cx, &mut details).await {
            tracing::warn!(%error, "the last heartbeat is lost");
            details.clear();
        }
        let request = RespondActivityTaskFailedRequest {
            task_token: self.token.0.clone(),
            failure: Some(failure),
            identity: self.shared.identity.clone(),
            namespace: self.shared.client.namespace().to_owned(),
            deployment_options: self.shared.deployment_options(),
            last_heartbeat_details: to_wire(details),
            ..RespondActivityTaskFailedRequest::default()
        };
        self.send(&request).await
    }

    async fn cancelled(&self, error: Error) -> Result<(), RpcError> {
        let mut details = match error {
            Error::Cancelled(cancelled) => cancelled.details.0,
            _ => Vec::new(),
        };
        if let Err(error) = self.shared.client.converter().encode(&self.codec_cx, &mut details).await {
            return self.failed(error.into(), None).await;
        }
        let request = RespondActivityTaskCanceledRequest {
            task_token: self.token.0.clone(),
            details: to_wire(details),
            identity: self.shared.identity.clone(),
            namespace: self.shared.client.namespace().to_owned(),
            deployment_options: self.shared.deployment_options(),
            ..RespondActivityTaskCanceledRequest::default()
        };
        self.send(&request).await
    }

    /// A failure whose details do not encode says so instead of being lost.
    async fn encoded_failure(&self, error: Error) -> Failure {
        let converter = self.shared.client.converter();
        let mut failure = error.into_failure();
        match converter.encode_failure(&self.codec_cx, &mut failure).await {
            Ok(()) => failure,
            Err(error) => codec_failed(&error).into_failure(),
        }
    }

    async fn send<Q: Unary>(&self, request: &Q) -> Result<(), RpcError> {
        self.shared.client.rpc().call_as(Class::Report, request).await.map(|_| ())
    }
}

/// Says only that the codec failed: what the failure held was to be encoded and must not leave in clear.
fn codec_failed(error: &PayloadError) -> Error {
    Error::application("PayloadError", format!("the activity failed, and its failure could not be encoded: {error}"))
}
