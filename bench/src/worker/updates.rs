//! Updates: accepted and completed in the same workflow task.

use mainspring_api::temporal::api::update::v1::{Acceptance, Outcome, Request, Response, outcome::Value};
use mainspring_api::v1::{
    command::{Command, ProtocolMessageCommandAttributes, command::Attributes},
    enums::CommandType,
    protocol::{Message, message::SequencingId},
};
use prost::{Message as _, Name};
use prost_types::Any;

use crate::requests::payloads;
use crate::worker::behavior::Decision;

/// An acceptance and a response for each request among the messages, each with the command that orders it.
pub(super) fn answer(messages: &[Message], payload: usize) -> Decision {
    let mut decision = Decision::default();
    for message in messages {
        let Some(request) = message.body.as_ref().and_then(|body| Request::decode(body.value.as_slice()).ok()) else {
            continue;
        };
        let accept = Acceptance {
            accepted_request_message_id: message.id.clone(),
            accepted_request_sequencing_event_id: match message.sequencing_id {
                Some(SequencingId::EventId(event_id)) => event_id,
                _ => 0,
            },
            accepted_request: Some(request.clone()),
        };
        let outcome = Outcome { value: Some(Value::Success(payloads(payload))) };
        let complete = Response { meta: request.meta, outcome: Some(outcome) };
        send(&mut decision, message, "accept", &accept);
        send(&mut decision, message, "complete", &complete);
    }
    decision
}

fn send<B: prost::Message + Name>(decision: &mut Decision, to: &Message, suffix: &str, body: &B) {
    let id = format!("{}/{suffix}", to.protocol_instance_id);
    let body = Any { type_url: format!("type.googleapis.com/{}", B::full_name()), value: body.encode_to_vec() };
    let attributes = ProtocolMessageCommandAttributes { message_id: id.clone() };
    decision.commands.push(Command {
        command_type: CommandType::ProtocolMessage as i32,
        attributes: Some(Attributes::ProtocolMessageCommandAttributes(attributes)),
        ..Command::default()
    });
    decision.messages.push(Message {
        id,
        protocol_instance_id: to.protocol_instance_id.clone(),
        body: Some(body),
        ..Message::default()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_accepted_and_then_answered() {
        let request = Any { type_url: String::new(), value: Request::default().encode_to_vec() };
        let message = Message { protocol_instance_id: "u1".to_owned(), body: Some(request), ..Message::default() };
        let decision = answer(&[message, Message::default()], 8);
        let ids: Vec<&str> = decision.messages.iter().map(|message| message.id.as_str()).collect();
        assert_eq!(ids, ["u1/accept", "u1/complete"]);
        assert_eq!(decision.commands.len(), 2);
        let url = decision.messages[1].body.as_ref().map(|body| body.type_url.as_str());
        assert_eq!(url, Some("type.googleapis.com/temporal.api.update.v1.Response"));
    }
}
