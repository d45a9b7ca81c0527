//! How many parts a message has, told from its bytes: a part of two bytes may take up a kilobyte once it is decoded, so that
//! the size of a message is no bound on what it takes up.

use bytes::Buf;
use prost::{
    Name,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// A field that is a message, or that may be there many times and is held one by one.
struct Part {
    number: u32,
    repeated: bool,
    /// The place of the message that it is.
    child: Option<usize>,
}

/// Every message by its name, in the order of the names.
static MESSAGES: &[(&str, &[Part])] = include!(concat!(env!("OUT_DIR"), "/parts.rs"));

/// Elements of all lists of a message: none has use for more of them than a history may have events.
pub const ELEMENTS_MAX: usize = 51_200;
/// As deep as decoders go.
const DEPTH_MAX: usize = 100;
/// A key and a length.
const PART_BYTES_MIN: usize = 2;

/// Whether the message has more than [`ELEMENTS_MAX`] elements in all its lists, at any depth. What cannot be read is left
/// to whoever decodes it. Payloads and histories count as one: they are not decoded.
pub fn are_too_many<M: Name>(bytes: &[u8]) -> bool {
    has_more::<M>(bytes, ELEMENTS_MAX)
}

fn has_more<M: Name>(bytes: &[u8], max: usize) -> bool {
    if bytes.len() / PART_BYTES_MIN <= max {
        return false;
    }
    let name = M::full_name();
    let Ok(place) = MESSAGES.binary_search_by(|(known, _)| (*known).cmp(name.as_str())) else {
        debug_assert!(false, "{name} is not among the messages");
        return false;
    };
    count(place, bytes, max, DEPTH_MAX) > max
}

/// The elements; no more than one above `max` are counted.
fn count(place: usize, mut bytes: &[u8], max: usize, depth: usize) -> usize {
    let (parts, mut elements) = (MESSAGES[place].1, 0);
    while elements <= max && depth > 0 {
        let Ok((number, wire_type)) = decode_key(&mut bytes) else { break };
        let part = parts.iter().find(|part| part.number == number).filter(|_| wire_type == WireType::LengthDelimited);
        let Some(part) = part else {
            if skip_field(wire_type, number, &mut bytes, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        };
        let Some(length) = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok()) else {
            break;
        };
        let Some(inner) = bytes.get(..length) else { break };
        elements += usize::from(part.repeated);
        if let Some(child) = part.child {
            elements += count(child, inner, max.saturating_sub(elements), depth - 1);
        }
        bytes.advance(length);
    }
    elements
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::v1::{
        command::Command,
        common::{Link, Payloads},
        workflowservice::{
            ExecuteMultiOperationRequest, RespondWorkflowTaskCompletedRequest, SignalWorkflowExecutionRequest,
            StartWorkflowExecutionRequest,
            execute_multi_operation_request::{Operation, operation},
        },
    };

    #[test]
    fn elements_count_at_any_depth() {
        let start = StartWorkflowExecutionRequest { links: vec![Link::default(); 1_000], ..Default::default() };
        assert!(has_more::<StartWorkflowExecutionRequest>(&start.encode_to_vec(), 999));
        assert!(!has_more::<StartWorkflowExecutionRequest>(&start.encode_to_vec(), 1_000));
        let operation = Operation { operation: Some(operation::Operation::StartWorkflow(start)) };
        let pair = ExecuteMultiOperationRequest { operations: vec![operation], ..Default::default() };
        assert!(has_more::<ExecuteMultiOperationRequest>(&pair.encode_to_vec(), 1_000));
        assert!(!has_more::<ExecuteMultiOperationRequest>(&pair.encode_to_vec(), 1_001));
    }

    #[test]
    fn what_is_in_a_payload_is_not_looked_at() {
        let payload = crate::payload::Payload::new("binary/plain", &[0x0a, 0].repeat(1_000));
        let input = Some(Payloads { payloads: vec![payload] });
        let signal = SignalWorkflowExecutionRequest { input, ..Default::default() };
        assert!(!has_more::<SignalWorkflowExecutionRequest>(&signal.encode_to_vec(), 1));
    }

    #[test]
    fn what_cannot_be_read_counts_no_further() {
        let commands = vec![Command::default(); 100];
        let bytes = RespondWorkflowTaskCompletedRequest { commands, ..Default::default() }.encode_to_vec();
        assert!(has_more::<RespondWorkflowTaskCompletedRequest>(&bytes, 99));
        let cut = [&bytes[..100], &[0x0f], &bytes[100..]].concat();
        assert!(!has_more::<RespondWorkflowTaskCompletedRequest>(&cut, 99));
    }
}
