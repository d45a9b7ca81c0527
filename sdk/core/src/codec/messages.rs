//! The messages of a workflow task through the codecs: events and updates on their way in, commands and outcomes on their
//! way out. Where their payloads are is in [`visit`].

use mainspring_api::{
    temporal::api::update::v1 as update,
    v1::{command::Command, history::HistoryEvent, protocol::Message},
};
use prost::{Message as ProtoMessage, Name};

use crate::{
    codec::{CodecCx, visit},
    convert::DataConverter,
    payload::PayloadError,
};

impl DataConverter {
    /// Decodes what a workflow's code is to see of events, all of the history of `cx`.
    ///
    /// # Errors
    /// When a codec fails.
    pub(crate) async fn decode_events(
        &self,
        cx: &CodecCx<'_>,
        events: &mut [HistoryEvent],
    ) -> Result<(), PayloadError> {
        for event in events {
            self.decode_event(cx, event).await?;
        }
        Ok(())
    }

    /// Encodes commands of the workflow of `cx`.
    ///
    /// # Errors
    /// When a codec fails.
    pub(crate) async fn encode_commands(&self, cx: &CodecCx<'_>, commands: &mut [Command]) -> Result<(), PayloadError> {
        for command in commands {
            self.encode_command(cx, command).await?;
        }
        Ok(())
    }

    /// Decodes the arguments of updates that messages bring.
    ///
    /// # Errors
    /// When a message is none, or a codec fails.
    pub(crate) async fn decode_messages(&self, cx: &CodecCx<'_>, messages: &mut [Message]) -> Result<(), PayloadError> {
        for message in messages {
            self.decode_message(cx, message).await?;
        }
        Ok(())
    }

    /// Encodes the outcomes and rejections of updates that messages bring.
    ///
    /// # Errors
    /// When a message is none, or a codec fails.
    pub(crate) async fn encode_messages(&self, cx: &CodecCx<'_>, messages: &mut [Message]) -> Result<(), PayloadError> {
        for message in messages {
            self.encode_message(cx, message).await?;
        }
        Ok(())
    }

    async fn decode_event(&self, cx: &CodecCx<'_>, event: &mut HistoryEvent) -> Result<(), PayloadError> {
        let owner = if self.is_plain() { None } else { visit::owner_of_event(event) };
        let cx = owner.as_ref().map_or(*cx, |owner| owner.cx(cx));
        if !self.is_plain() {
            self.decode_places(&cx, visit::event_places(event)).await?;
        }
        match visit::event_failure(event) {
            Some(failure) => self.decode_failure(&cx, failure).await,
            None => Ok(()),
        }
    }

    async fn encode_command(&self, cx: &CodecCx<'_>, command: &mut Command) -> Result<(), PayloadError> {
        let owner = if self.is_plain() { None } else { visit::owner_of_command(command) };
        let cx = owner.as_ref().map_or(*cx, |owner| owner.cx(cx));
        if !self.is_plain() {
            self.encode_places(&cx, visit::command_places(command)).await?;
            if let Some(header) = visit::command_header(command) {
                self.encode_headers(&cx, &mut header.fields).await?;
            }
        }
        match visit::command_failure(command) {
            Some(failure) => self.encode_failure(&cx, failure).await,
            None => Ok(()),
        }
    }

    async fn decode_message(&self, cx: &CodecCx<'_>, message: &mut Message) -> Result<(), PayloadError> {
        let Some(body) = message.body.as_mut().filter(|_| !self.is_plain()) else { return Ok(()) };
        if let Some(mut request) = body_as::<update::Request>(body)? {
            if let Some(args) = request.input.as_mut().and_then(|input| input.args.as_mut()) {
                self.decode(cx, &mut args.payloads).await?;
            }
            body.value = request.encode_to_vec();
        }
        Ok(())
    }

    async fn encode_message(&self, cx: &CodecCx<'_>, message: &mut Message) -> Result<(), PayloadError> {
        let untouched = self.is_plain() && !self.hides_failures();
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
    #[expect(deprecated, reason = "other namespaces, which our server has")]
    async fn what_goes_to_a_child_is_bound_to_the_child_and_its_result_too() {
        let command = StartChildWorkflowExecutionCommandAttributes {
            namespace: "other".to_owned(),
            workflow_id: "child".to_owned(),
            input: payloads(),
            ..Default::default()
        };
        let command = encoded(command::Attributes::StartChildWorkflowExecutionCommandAttributes(command)).await;
        let command::Attributes::StartChildWorkflowExecutionCommandAttributes(command) = command else { panic!() };
        let mut input = command.input.clone().unwrap().payloads;
        assert!(converter().decode(&OWN, &mut input).await.is_err());
        assert!(converter().decode(&CodecCx::new("default", "child"), &mut input).await.is_err());
        converter().decode(&CodecCx::new("other", "child"), &mut input).await.unwrap();

        let event = ChildWorkflowExecutionCompletedEventAttributes {
            namespace: "other".to_owned(),
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
