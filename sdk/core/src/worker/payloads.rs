//! Where the payloads of a workflow task are: of the events and messages that come, the commands and messages that go.

use mainspring_api::{
    temporal::api::update::v1 as update,
    v1::{
        command::{Command, command},
        common::{Header, Memo, Payloads},
        history::{HistoryEvent, history_event},
        protocol::Message,
        sdk::UserMetadata,
    },
};
use prost::Message as _;

use crate::{
    codec::{
        CodecCx,
        visit::{Place, failure_places},
    },
    convert::DataConverter,
    payload::PayloadError,
};

/// The places of an event. Search attributes and what other engines keep in markers are in clear.
pub(crate) fn event_places(event: &mut HistoryEvent) -> Vec<Place<'_>> {
    use history_event::Attributes as A;
    let mut places = Vec::new();
    metadata(event.user_metadata.as_mut(), &mut places);
    let Some(attributes) = &mut event.attributes else { return places };
    match attributes {
        A::WorkflowExecutionStartedEventAttributes(a) => {
            list(&mut a.input, &mut places);
            list(&mut a.last_completion_result, &mut places);
            memo(&mut a.memo, &mut places);
            header(&mut a.header, &mut places);
            places.extend(a.continued_failure.as_mut().into_iter().flat_map(failure_places));
        }
        A::WorkflowExecutionSignaledEventAttributes(a) => {
            list(&mut a.input, &mut places);
            header(&mut a.header, &mut places);
        }
        A::ActivityTaskCompletedEventAttributes(a) => list(&mut a.result, &mut places),
        A::ActivityTaskFailedEventAttributes(a) => {
            places.extend(a.failure.as_mut().into_iter().flat_map(failure_places))
        }
        A::ActivityTaskTimedOutEventAttributes(a) => {
            places.extend(a.failure.as_mut().into_iter().flat_map(failure_places));
        }
        A::ActivityTaskCanceledEventAttributes(a) => list(&mut a.details, &mut places),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => list(&mut a.result, &mut places),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => {
            places.extend(a.failure.as_mut().into_iter().flat_map(failure_places));
        }
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => list(&mut a.details, &mut places),
        A::MarkerRecordedEventAttributes(a) => {
            places.extend(a.details.iter_mut().filter(|(key, _)| is_users(key)).map(|(_, list)| Place::List(list)));
            places.extend(a.failure.as_mut().into_iter().flat_map(failure_places));
        }
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => request(a.accepted_request.as_mut(), &mut places),
        A::WorkflowExecutionUpdateAdmittedEventAttributes(a) => request(a.request.as_mut(), &mut places),
        _ => {}
    }
    places
}

fn command_places(command: &mut Command) -> Vec<Place<'_>> {
    use command::Attributes as A;
    let mut places = Vec::new();
    metadata(command.user_metadata.as_mut(), &mut places);
    let Some(attributes) = &mut command.attributes else { return places };
    match attributes {
        A::ScheduleActivityTaskCommandAttributes(a) => {
            list(&mut a.input, &mut places);
            header(&mut a.header, &mut places);
        }
        A::CompleteWorkflowExecutionCommandAttributes(a) => list(&mut a.result, &mut places),
        A::CancelWorkflowExecutionCommandAttributes(a) => list(&mut a.details, &mut places),
        A::RecordMarkerCommandAttributes(a) => {
            places.extend(a.details.iter_mut().filter(|(key, _)| is_users(key)).map(|(_, list)| Place::List(list)));
        }
        A::ContinueAsNewWorkflowExecutionCommandAttributes(a) => {
            list(&mut a.input, &mut places);
            memo(&mut a.memo, &mut places);
            header(&mut a.header, &mut places);
        }
        A::StartChildWorkflowExecutionCommandAttributes(a) => {
            list(&mut a.input, &mut places);
            memo(&mut a.memo, &mut places);
            header(&mut a.header, &mut places);
        }
        A::SignalExternalWorkflowExecutionCommandAttributes(a) => {
            list(&mut a.input, &mut places);
            header(&mut a.header, &mut places);
        }
        A::ModifyWorkflowPropertiesCommandAttributes(a) => memo(&mut a.upserted_memo, &mut places),
        _ => {}
    }
    places
}

/// In the markers of all SDKs, a user's values have these keys; the others are the engine's.
fn is_users(key: &str) -> bool {
    matches!(key, "result" | "data")
}

fn list<'a>(payloads: &'a mut Option<Payloads>, places: &mut Vec<Place<'a>>) {
    places.extend(payloads.as_mut().map(Place::List));
}

fn header<'a>(header: &'a mut Option<Header>, places: &mut Vec<Place<'a>>) {
    places.extend(header.iter_mut().flat_map(|header| header.fields.values_mut()).map(Place::One));
}

fn memo<'a>(memo: &'a mut Option<Memo>, places: &mut Vec<Place<'a>>) {
    places.extend(memo.iter_mut().flat_map(|memo| memo.fields.values_mut()).map(Place::One));
}

fn metadata<'a>(metadata: Option<&'a mut UserMetadata>, places: &mut Vec<Place<'a>>) {
    let Some(metadata) = metadata else { return };
    places.extend(metadata.summary.as_mut().map(Place::One));
    places.extend(metadata.details.as_mut().map(Place::One));
}

fn request<'a>(request: Option<&'a mut update::Request>, places: &mut Vec<Place<'a>>) {
    let Some(input) = request.and_then(|request| request.input.as_mut()) else { return };
    header(&mut input.header, places);
    list(&mut input.args, places);
}

/// Decodes events, all of one workflow.
pub(crate) async fn decode_events(
    converter: &DataConverter,
    cx: &CodecCx<'_>,
    events: &mut [HistoryEvent],
) -> Result<(), PayloadError> {
    for event in events {
        if !converter.is_plain() {
            let places = event_places(event);
            converter.decode_places(cx, places).await?;
        }
        if let Some(failure) = failure_of(event) {
            // The codecs are through with its details; its texts may be hidden too, which is undone without any.
            if failure.encoded_attributes.is_some() {
                DataConverter::json().decode_failure(cx, failure).await?;
            }
        }
    }
    Ok(())
}

fn failure_of(event: &mut HistoryEvent) -> Option<&mut mainspring_api::v1::failure::Failure> {
    use history_event::Attributes as A;
    match event.attributes.as_mut()? {
        A::ActivityTaskFailedEventAttributes(a) => a.failure.as_mut(),
        A::ActivityTaskTimedOutEventAttributes(a) => a.failure.as_mut(),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => a.failure.as_mut(),
        A::MarkerRecordedEventAttributes(a) => a.failure.as_mut(),
        A::WorkflowExecutionStartedEventAttributes(a) => a.continued_failure.as_mut(),
        _ => None,
    }
}

/// Encodes commands.
pub(crate) async fn encode_commands(
    converter: &DataConverter,
    cx: &CodecCx<'_>,
    commands: &mut [Command],
) -> Result<(), PayloadError> {
    for command in commands {
        if !converter.is_plain() {
            let places = command_places(command);
            converter.encode_places(cx, places).await?;
        }
        use command::Attributes as A;
        let failure = match &mut command.attributes {
            Some(A::FailWorkflowExecutionCommandAttributes(a)) => a.failure.as_mut(),
            Some(A::RecordMarkerCommandAttributes(a)) => a.failure.as_mut(),
            Some(A::ContinueAsNewWorkflowExecutionCommandAttributes(a)) => a.failure.as_mut(),
            _ => None,
        };
        if let Some(failure) = failure {
            converter.encode_failure(cx, failure).await?;
        }
    }
    Ok(())
}

/// Decodes the updates that come with a workflow task.
pub(crate) async fn decode_messages(
    converter: &DataConverter,
    cx: &CodecCx<'_>,
    messages: &mut [Message],
) -> Result<(), PayloadError> {
    if converter.is_plain() {
        return Ok(());
    }
    for message in messages {
        let Some(body) = message.body.as_mut().filter(|body| body.type_url.ends_with(".Request")) else { continue };
        let Ok(mut asked) = update::Request::decode(body.value.as_ref()) else { continue };
        let mut places = Vec::new();
        request(Some(&mut asked), &mut places);
        converter.decode_places(cx, places).await?;
        body.value = asked.encode_to_vec();
    }
    Ok(())
}

/// Encodes the answers to updates.
pub(crate) async fn encode_messages(
    converter: &DataConverter,
    cx: &CodecCx<'_>,
    messages: &mut [Message],
) -> Result<(), PayloadError> {
    for message in messages {
        let Some(body) = &mut message.body else { continue };
        if body.type_url.ends_with(".Acceptance") {
            let Ok(mut acceptance) = update::Acceptance::decode(body.value.as_ref()) else { continue };
            let mut places = Vec::new();
            request(acceptance.accepted_request.as_mut(), &mut places);
            converter.encode_places(cx, places).await?;
            body.value = acceptance.encode_to_vec();
        } else if body.type_url.ends_with(".Rejection") {
            let Ok(mut rejection) = update::Rejection::decode(body.value.as_ref()) else { continue };
            let mut places = Vec::new();
            request(rejection.rejected_request.as_mut(), &mut places);
            converter.encode_places(cx, places).await?;
            if let Some(failure) = &mut rejection.failure {
                converter.encode_failure(cx, failure).await?;
            }
            body.value = rejection.encode_to_vec();
        } else if body.type_url.ends_with(".Response") {
            let Ok(mut response) = update::Response::decode(body.value.as_ref()) else { continue };
            match response.outcome.as_mut().and_then(|outcome| outcome.value.as_mut()) {
                Some(update::outcome::Value::Success(result)) => {
                    converter.encode_places(cx, vec![Place::List(result)]).await?;
                }
                Some(update::outcome::Value::Failure(failure)) => converter.encode_failure(cx, failure).await?,
                None => {}
            }
            body.value = response.encode_to_vec();
        }
    }
    Ok(())
}
