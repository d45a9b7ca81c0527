//! [`DataConverter`]: the chain of codecs, and whether it covers the texts of failures too.

use std::{fmt, sync::Arc};

use mainspring_api::{
    temporal::api::update::v1 as update,
    v1::{command::Command, failure::Failure, history::HistoryEvent, protocol::Message},
};
use prost::{Message as ProtoMessage, Name};
use serde::{Deserialize, Serialize};

use crate::{
    codec::{
        AnyCodec, Codec, CodecCx,
        visit::{self, Place, failure_places},
    },
    payload::{JSON, Payload, PayloadError},
};

/// What stands where the message of an encoded failure was, in every SDK.
const ENCODED: &str = "Encoded failure";

/// How values leave this process and arrive: always by [`ToPayload`](crate::payload::ToPayload) and
/// [`FromPayload`](crate::payload::FromPayload), then through a chain of codecs.
///
/// ```
/// use mainspring_sdk::{DataConverter, codec::{Aes256Gcm, KeyRing}};
///
/// # fn main() -> Result<(), mainspring_sdk::payload::PayloadError> {
/// let converter = DataConverter::json()
///     .codec(Aes256Gcm::new(KeyRing::new("2025", &[7; 32])?))
///     .encrypt_failures();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct DataConverter {
    codecs: Arc<Vec<Arc<dyn AnyCodec>>>,
    encrypt_failures: bool,
}

impl DataConverter {
    /// Without codecs.
    pub fn json() -> DataConverter {
        DataConverter::default()
    }

    /// Adds a codec: on the way out the first one is applied first, on the way in last.
    #[must_use]
    pub fn codec(mut self, codec: impl Codec) -> DataConverter {
        let mut codecs = self.codecs.as_ref().clone();
        codecs.push(Arc::new(codec));
        self.codecs = Arc::new(codecs);
        self
    }

    /// Lets the codecs cover messages and stack traces of failures too, which are in clear otherwise.
    #[must_use]
    pub fn encrypt_failures(mut self) -> DataConverter {
        self.encrypt_failures = true;
        self
    }

    /// True when payloads pass as they are.
    pub fn is_plain(&self) -> bool {
        self.codecs.is_empty()
    }

    /// Applies the codecs on the way out.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn encode(&self, cx: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        if payloads.is_empty() {
            return Ok(());
        }
        for codec in self.codecs.iter() {
            codec.encode(cx, payloads).await?;
        }
        Ok(())
    }

    /// Applies the codecs on the way in.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn decode(&self, cx: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        if payloads.is_empty() {
            return Ok(());
        }
        for codec in self.codecs.iter().rev() {
            codec.decode(cx, payloads).await?;
        }
        Ok(())
    }

    /// Applies the codecs to the details of a failure and of its causes, and hides its texts if that is wanted.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn encode_failure(&self, cx: &CodecCx<'_>, failure: &mut Failure) -> Result<(), PayloadError> {
        if self.encrypt_failures {
            hide_texts(failure)?;
        }
        self.encode_places(cx, failure_places(failure)).await
    }

    /// Undoes [`encode_failure`](DataConverter::encode_failure), of this or another SDK.
    ///
    /// # Errors
    /// When a codec fails.
    pub async fn decode_failure(&self, cx: &CodecCx<'_>, failure: &mut Failure) -> Result<(), PayloadError> {
        self.decode_places(cx, failure_places(failure)).await?;
        show_texts(failure);
        Ok(())
    }

    /// Applies the codecs on the way out to all of these.
    pub(crate) async fn encode_places(&self, cx: &CodecCx<'_>, places: Vec<Place<'_>>) -> Result<(), PayloadError> {
        if self.is_plain() {
            return Ok(());
        }
        for place in places {
            self.encode(cx, place.into_slice()).await?;
        }
        Ok(())
    }

    /// Applies the codecs on the way in to all of these.
    pub(crate) async fn decode_places(&self, cx: &CodecCx<'_>, places: Vec<Place<'_>>) -> Result<(), PayloadError> {
        if self.is_plain() {
            return Ok(());
        }
        for place in places {
            self.decode(cx, place.into_slice()).await?;
        }
        Ok(())
    }
}

/// Whole messages of workflow tasks, on their way to and from the code of a workflow.
#[allow(dead_code, reason = "the part of the worker that runs workflows calls it")]
impl DataConverter {
    /// Decodes what a workflow's code is to see of an event of the history of `cx`.
    ///
    /// # Errors
    /// When a codec fails.
    pub(crate) async fn decode_event(&self, cx: &CodecCx<'_>, event: &mut HistoryEvent) -> Result<(), PayloadError> {
        let owner = if self.is_plain() { None } else { visit::owner_of_event(event) };
        let cx = CodecCx { workflow_id: owner.as_deref().unwrap_or(cx.workflow_id), ..*cx };
        let (places, failures) = visit::event_places(event).into_parts();
        self.decode_places(&cx, places).await?;
        for failure in failures {
            self.decode_failure(&cx, failure).await?;
        }
        Ok(())
    }

    /// Encodes a command of the workflow of `cx`.
    ///
    /// # Errors
    /// When a codec fails.
    pub(crate) async fn encode_command(&self, cx: &CodecCx<'_>, command: &mut Command) -> Result<(), PayloadError> {
        let owner = if self.is_plain() { None } else { visit::owner_of_command(command) };
        let cx = CodecCx { workflow_id: owner.as_deref().unwrap_or(cx.workflow_id), ..*cx };
        let (places, failures) = visit::command_places(command).into_parts();
        self.encode_places(&cx, places).await?;
        for failure in failures {
            self.encode_failure(&cx, failure).await?;
        }
        Ok(())
    }

    /// Decodes the arguments of an update that a message brings.
    ///
    /// # Errors
    /// When the message is none, or a codec fails.
    pub(crate) async fn decode_message(&self, cx: &CodecCx<'_>, message: &mut Message) -> Result<(), PayloadError> {
        let Some(body) = message.body.as_mut().filter(|_| !self.is_plain()) else { return Ok(()) };
        if let Some(mut request) = body_as::<update::Request>(body)? {
            if let Some(args) = request.input.as_mut().and_then(|input| input.args.as_mut()) {
                self.decode(cx, &mut args.payloads).await?;
            }
            body.value = request.encode_to_vec();
        }
        Ok(())
    }

    /// Encodes the outcome, or the rejection, of an update that a message brings.
    ///
    /// # Errors
    /// When the message is none, or a codec fails.
    pub(crate) async fn encode_message(&self, cx: &CodecCx<'_>, message: &mut Message) -> Result<(), PayloadError> {
        let untouched = self.is_plain() && !self.encrypt_failures;
        let Some(body) = message.body.as_mut().filter(|_| !untouched) else { return Ok(()) };
        if let Some(mut response) = body_as::<update::Response>(body)? {
            match response.outcome.as_mut().and_then(|outcome| outcome.value.as_mut()) {
                Some(update::outcome::Value::Success(result)) => self.encode(cx, &mut result.payloads).await?,
                Some(update::outcome::Value::Failure(failure)) => self.encode_failure(cx, failure).await?,
                None => {}
            }
            body.value = response.encode_to_vec();
        } else if let Some(mut rejection) = body_as::<update::Rejection>(body)? {
            if let Some(failure) = rejection.failure.as_mut() {
                self.encode_failure(cx, failure).await?;
            }
            self.encode_request(cx, rejection.rejected_request.as_mut()).await?;
            body.value = rejection.encode_to_vec();
        } else if let Some(mut acceptance) = body_as::<update::Acceptance>(body)? {
            self.encode_request(cx, acceptance.accepted_request.as_mut()).await?;
            body.value = acceptance.encode_to_vec();
        }
        Ok(())
    }

    /// A request that a worker sends back, which it had decoded.
    async fn encode_request(
        &self,
        cx: &CodecCx<'_>,
        request: Option<&mut update::Request>,
    ) -> Result<(), PayloadError> {
        match request.and_then(|request| request.input.as_mut()).and_then(|input| input.args.as_mut()) {
            Some(args) => self.encode(cx, &mut args.payloads).await,
            None => Ok(()),
        }
    }
}

/// The message in a body, if it is of this type.
fn body_as<M: ProtoMessage + Name + Default>(body: &prost_types::Any) -> Result<Option<M>, PayloadError> {
    if body.type_url.rsplit('/').next() != Some(M::full_name().as_str()) {
        return Ok(None);
    }
    M::decode(body.value.as_slice()).map(Some).map_err(PayloadError::new)
}

impl fmt::Debug for DataConverter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataConverter")
            .field("codecs", &self.codecs.len())
            .field("encrypt_failures", &self.encrypt_failures)
            .finish()
    }
}

/// The texts of a failure as every SDK puts them into a payload.
#[derive(Serialize, Deserialize)]
struct Texts {
    message: String,
    #[serde(default)]
    stack_trace: String,
}

/// Moves the texts of a failure and its causes into a payload each, which codecs then cover.
pub(crate) fn hide_texts(failure: &mut Failure) -> Result<(), PayloadError> {
    let mut current = Some(failure);
    while let Some(failure) = current {
        if failure.encoded_attributes.is_none() {
            let texts = Texts {
                message: std::mem::replace(&mut failure.message, ENCODED.to_owned()),
                stack_trace: std::mem::take(&mut failure.stack_trace),
            };
            let json = serde_json::to_vec(&texts).map_err(PayloadError::new)?;
            failure.encoded_attributes = Some(Payload::new(JSON, &json));
        }
        current = failure.cause.as_deref_mut();
    }
    Ok(())
}

/// Moves the texts back. What is no such payload stays, as it may be another SDK's.
pub(crate) fn show_texts(failure: &mut Failure) {
    let mut current = Some(failure);
    while let Some(failure) = current {
        let texts = failure
            .encoded_attributes
            .as_ref()
            .and_then(|payload| serde_json::from_slice::<Texts>(&payload.data()).ok());
        if let Some(texts) = texts {
            failure.message = texts.message;
            failure.stack_trace = texts.stack_trace;
            failure.encoded_attributes = None;
        }
        current = failure.cause.as_deref_mut();
    }
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::{
        command::{
            CompleteWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
            StartChildWorkflowExecutionCommandAttributes, command,
        },
        common::{Payloads, WorkflowExecution},
        history::{
            ChildWorkflowExecutionCompletedEventAttributes, WorkflowExecutionSignaledEventAttributes, history_event,
        },
    };

    use super::*;
    use crate::{
        codec::{Aes256Gcm, KeyRing},
        payload::ToPayload,
    };

    const OWN: CodecCx<'static> = CodecCx { namespace: "default", workflow_id: "own" };

    fn converter() -> DataConverter {
        DataConverter::json().codec(Aes256Gcm::new(KeyRing::new("k", &[7; 32]).unwrap()).bound_to_workflow())
    }

    fn payloads() -> Option<Payloads> {
        Some(Payloads { payloads: vec!["secret".to_payload().unwrap()] })
    }

    async fn encoded(attributes: command::Attributes) -> command::Attributes {
        let mut command = Command { attributes: Some(attributes), ..Command::default() };
        converter().encode_command(&OWN, &mut command).await.unwrap();
        command.attributes.unwrap()
    }

    async fn decoded(attributes: history_event::Attributes) -> history_event::Attributes {
        let mut event = HistoryEvent { attributes: Some(attributes), ..HistoryEvent::default() };
        converter().decode_event(&OWN, &mut event).await.unwrap();
        event.attributes.unwrap()
    }

    #[tokio::test]
    async fn what_goes_to_a_child_is_bound_to_the_child_and_its_result_too() {
        let command = StartChildWorkflowExecutionCommandAttributes {
            workflow_id: "child".to_owned(),
            input: payloads(),
            ..Default::default()
        };
        let command = encoded(command::Attributes::StartChildWorkflowExecutionCommandAttributes(command)).await;
        let command::Attributes::StartChildWorkflowExecutionCommandAttributes(command) = command else { panic!() };
        let mut input = command.input.clone().unwrap().payloads;
        assert!(converter().decode(&OWN, &mut input).await.is_err());
        converter().decode(&CodecCx::new("default", "child"), &mut input).await.unwrap();

        let event = ChildWorkflowExecutionCompletedEventAttributes {
            workflow_execution: Some(WorkflowExecution { workflow_id: "child".to_owned(), run_id: String::new() }),
            result: command.input,
            ..Default::default()
        };
        let event = decoded(history_event::Attributes::ChildWorkflowExecutionCompletedEventAttributes(event)).await;
        let history_event::Attributes::ChildWorkflowExecutionCompletedEventAttributes(event) = event else { panic!() };
        assert_eq!(event.result, payloads());
    }

    #[tokio::test]
    async fn results_and_signals_are_the_workflows_own() {
        let command = CompleteWorkflowExecutionCommandAttributes { result: payloads() };
        let command = encoded(command::Attributes::CompleteWorkflowExecutionCommandAttributes(command)).await;
        let command::Attributes::CompleteWorkflowExecutionCommandAttributes(command) = command else { panic!() };
        assert_ne!(command.result, payloads());
        let event = WorkflowExecutionSignaledEventAttributes { input: command.result, ..Default::default() };
        let event = decoded(history_event::Attributes::WorkflowExecutionSignaledEventAttributes(event)).await;
        let history_event::Attributes::WorkflowExecutionSignaledEventAttributes(event) = event else { panic!() };
        assert_eq!(event.input, payloads());
    }

    #[tokio::test]
    async fn of_markers_only_the_values_of_users_are_encoded() {
        let marker = |name: &str| RecordMarkerCommandAttributes {
            marker_name: name.to_owned(),
            details: ["data", "result"].map(|key| (key.to_owned(), payloads().unwrap())).into(),
            ..Default::default()
        };
        for (name, clear) in [("core_local_activity", vec!["data"]), ("core_patch", vec!["data", "result"])] {
            let command = encoded(command::Attributes::RecordMarkerCommandAttributes(marker(name))).await;
            let command::Attributes::RecordMarkerCommandAttributes(command) = command else { panic!() };
            let left: Vec<&str> = command
                .details
                .iter()
                .filter(|(_, list)| Some(*list) == payloads().as_ref())
                .map(|(key, _)| key.as_str())
                .collect();
            assert_eq!(left, clear, "{name}");
        }
    }

    #[tokio::test]
    async fn bodies_of_update_messages_are_covered() {
        let message = |name: &str, value: Vec<u8>| Message {
            body: Some(prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value }),
            ..Message::default()
        };
        let outcome = update::Outcome { value: Some(update::outcome::Value::Success(payloads().unwrap())) };
        let response = update::Response { outcome: Some(outcome), ..Default::default() };
        let mut sent = message(&update::Response::full_name(), response.encode_to_vec());
        converter().encode_message(&OWN, &mut sent).await.unwrap();
        let response = update::Response::decode(sent.body.unwrap().value.as_slice()).unwrap();
        let Some(update::outcome::Value::Success(result)) = response.outcome.unwrap().value else { panic!() };
        assert_ne!(Some(&result), payloads().as_ref());

        let input = update::Input { args: Some(result), ..Default::default() };
        let request = update::Request { input: Some(input), ..Default::default() };
        let mut come = message(&update::Request::full_name(), request.encode_to_vec());
        converter().decode_message(&OWN, &mut come).await.unwrap();
        let request = update::Request::decode(come.body.unwrap().value.as_slice()).unwrap();
        assert_eq!(request.input.unwrap().args, payloads());
    }
}
