//! The two messages that pass through as bytes: histories and payloads.

use bytes::Bytes;
use mainspring_api::{
    history::{count_events, first_events, skip_events},
    v1::{History, Payload},
};
use mainspring_engine::invariants;
use prost::Message;

/// A stored chunk. What can be decoded is counted and cut at the same places.
pub(crate) fn history(bytes: &[u8]) {
    let chunk = Bytes::copy_from_slice(bytes);
    let history = History::from_chunks(vec![chunk.clone()]);
    let counted = count_events(&chunk);
    if let Ok(events) = history.decode_events() {
        assert_eq!(counted, Ok(events.len()));
        drop(invariants::check_history(&events));
    }
    for cut in 0..=counted.unwrap_or(2).min(8) {
        let (head, tail) = (first_events(&chunk, cut), skip_events(&chunk, cut));
        assert_eq!([head, tail].concat(), bytes, "nothing is lost between the first {cut} events and the rest");
    }
    if let Ok(message) = History::decode(bytes) {
        let again = message.encode_to_vec();
        assert_eq!(again.len(), message.encoded_len());
        assert_eq!(History::decode(&again[..]).expect("own encoding"), message);
    }
}

/// A payload keeps its bytes, however odd they are.
pub(crate) fn payload(bytes: &[u8]) {
    let Ok(payload) = Payload::decode(bytes) else { return };
    assert_eq!(Payload::decode(payload.encode_to_vec().as_slice()).expect("own encoding"), payload);
    payload.metadata("encoding");
    payload.is_empty_value();
    let marked = payload.with_metadata("type", b"Keyword");
    assert_eq!(marked.metadata("type").as_deref(), Some(&b"Keyword"[..]));
    assert_eq!(payload.detached().data(), payload.data());
}
