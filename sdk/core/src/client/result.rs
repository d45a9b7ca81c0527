//! The result of a workflow: waited for over all its runs, however it ends.

use mainspring_api::v1::{
    common::{Payloads, WorkflowExecution},
    enums::{HistoryEventFilterType, TimeoutType},
    failure::Failure,
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::GetWorkflowExecutionHistoryRequest,
};

use crate::{
    client::{Class, ClientError, WorkflowHandle, handle::not_found},
    codec::CodecCx,
    error::{Cancelled, Error, Origin, Stopped, Timeout},
    payload::{FromPayload, RawArgs, from_wire, result_from},
};

impl<O> WorkflowHandle<O> {
    /// Waits for the result. A run that another one follows (continued as new, tried again, cron) is not the end.
    /// Cancel safe: the workflow does not notice.
    ///
    /// # Errors
    /// [`ClientError::WorkflowFailed`] when it ends without a result; its cause says how.
    pub async fn result(&self) -> Result<O, ClientError>
    where
        O: FromPayload,
    {
        let mut run_id = self.run_id().to_owned();
        loop {
            let event = self.close_event(&run_id).await?;
            match outcome(event)? {
                Outcome::Goes { on } => run_id = on,
                Outcome::Result(payloads) => {
                    let mut payloads = from_wire(payloads);
                    let cx = CodecCx::new(self.client.namespace(), &self.workflow_id);
                    self.client.converter().decode(&cx, &mut payloads).await?;
                    return Ok(result_from(&payloads)?);
                }
                Outcome::Failure(failure) => {
                    let cause = Box::new(self.decoded(*failure).await?);
                    return Err(ClientError::WorkflowFailed { workflow_id: self.workflow_id.clone(), run_id, cause });
                }
                Outcome::Error(mut error) => {
                    if let Error::Cancelled(cancelled) = &mut error {
                        let cx = CodecCx::new(self.client.namespace(), &self.workflow_id);
                        self.client.converter().decode(&cx, &mut cancelled.details.0).await?;
                    }
                    let cause = Box::new(error);
                    return Err(ClientError::WorkflowFailed { workflow_id: self.workflow_id.clone(), run_id, cause });
                }
            }
        }
    }

    pub(crate) async fn decoded(&self, mut failure: Failure) -> Result<Error, ClientError> {
        let cx = CodecCx::new(self.client.namespace(), &self.workflow_id);
        self.client.converter().decode_failure(&cx, &mut failure).await?;
        Ok(Error::from_failure(failure))
    }

    /// Waits, by long polls, until the run has its closing event.
    async fn close_event(&self, run_id: &str) -> Result<HistoryEvent, ClientError> {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: self.client.namespace().to_owned(),
            execution: Some(WorkflowExecution { workflow_id: self.workflow_id.clone(), run_id: run_id.to_owned() }),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            skip_archival: true,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        loop {
            let answer = self.client.rpc().call_as(Class::LongPoll, &request).await.map_err(not_found)?;
            let events = answer.history.unwrap_or_default().decode_events();
            let events =
                events.map_err(|error| ClientError::Invalid(format!("the history does not decode: {error}")))?;
            if let Some(event) = events.into_iter().next_back() {
                return Ok(event);
            }
            request.next_page_token = answer.next_page_token;
        }
    }
}

/// What a closing event means.
enum Outcome {
    /// Another run goes on.
    Goes {
        on: String,
    },
    Result(Option<Payloads>),
    Failure(Box<Failure>),
    Error(Error),
}

fn outcome(event: HistoryEvent) -> Result<Outcome, ClientError> {
    let after = |run_id: String, otherwise: Outcome| {
        if run_id.is_empty() { otherwise } else { Outcome::Goes { on: run_id } }
    };
    let outcome = match event.attributes {
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(closed)) => {
            after(closed.new_execution_run_id, Outcome::Result(closed.result))
        }
        Some(Attributes::WorkflowExecutionFailedEventAttributes(closed)) => {
            after(closed.new_execution_run_id, Outcome::Failure(Box::new(closed.failure.unwrap_or_default())))
        }
        Some(Attributes::WorkflowExecutionTimedOutEventAttributes(closed)) => {
            let timeout = Timeout {
                message: "the workflow's time is over".to_owned(),
                kind: TimeoutType::StartToClose,
                last_heartbeat: RawArgs::default(),
                cause: None,
                origin: Origin::default(),
            };
            after(closed.new_execution_run_id, Outcome::Error(Error::Timeout(Box::new(timeout))))
        }
        Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(closed)) => {
            Outcome::Goes { on: closed.new_execution_run_id }
        }
        Some(Attributes::WorkflowExecutionCanceledEventAttributes(closed)) => {
            Outcome::Error(Error::Cancelled(Box::new(Cancelled {
                message: "the workflow was cancelled".to_owned(),
                details: RawArgs(from_wire(closed.details)),
                ..Cancelled::default()
            })))
        }
        Some(Attributes::WorkflowExecutionTerminatedEventAttributes(closed)) => {
            let reason = if closed.reason.is_empty() { "no reason was given" } else { closed.reason.as_str() };
            Outcome::Error(Error::Terminated(Box::new(Stopped {
                message: format!("the workflow was terminated: {reason}"),
                identity: closed.identity,
                non_retryable: true,
                ..Stopped::default()
            })))
        }
        _ => {
            let message = format!("a run does not close with an event of type {}", event.event_type);
            return Err(ClientError::Invalid(message));
        }
    };
    Ok(outcome)
}
