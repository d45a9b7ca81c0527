//! `temporal.api.history.v1.History` as stored chunks, joined without decoding.
//!
//! A history batch is stored as the encoding of `History{events}`. Encodings of a message with one repeated field
//! concatenate, so an answer is the stored bytes one after another. [`History::events`] walks them by length prefix.

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use crate::{payload::truncated, temporal::api::history::v1::HistoryEvent};

const EVENTS: u32 = 1;

/// A list of events as they are stored: chunks, each the encoding of a `History` with whole events.
#[derive(Clone, Debug, Default)]
pub struct History {
    chunks: Vec<Bytes>,
}

impl History {
    /// From stored chunks, in order.
    pub fn from_chunks(chunks: Vec<Bytes>) -> History {
        History { chunks }
    }

    /// Encodes events into one chunk.
    pub fn from_events(events: &[HistoryEvent]) -> History {
        History { chunks: vec![encode_events(events)] }
    }

    /// Adds a stored chunk at the end.
    pub fn push(&mut self, chunk: Bytes) {
        self.chunks.push(chunk);
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// True when no event is there.
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(Bytes::is_empty)
    }

    /// Decodes the events one after another.
    ///
    /// # Errors
    /// Yields the error of the first event that cannot be decoded, then ends.
    pub fn events(&self) -> impl Iterator<Item = Result<HistoryEvent, DecodeError>> + '_ {
        self.chunks.iter().flat_map(|chunk| Events { rest: chunk.clone() })
    }

    /// All events, decoded.
    ///
    /// # Errors
    /// When a chunk is damaged.
    pub fn decode_events(&self) -> Result<Vec<HistoryEvent>, DecodeError> {
        self.events().collect()
    }
}

impl PartialEq for History {
    /// Equal when the joined bytes are.
    fn eq(&self, other: &Self) -> bool {
        self.encode_to_vec() == other.encode_to_vec()
    }
}

/// The stored form of a batch of events.
pub fn encode_events(events: &[HistoryEvent]) -> Bytes {
    let size = events.iter().map(|event| encoding::message::encoded_len(EVENTS, event)).sum();
    let mut chunk = BytesMut::with_capacity(size);
    for event in events {
        encoding::message::encode(EVENTS, event, &mut chunk);
    }
    chunk.freeze()
}

/// How many events a chunk holds; only lengths are looked at.
///
/// # Errors
/// When the chunk is damaged.
pub fn count_events(chunk: &Bytes) -> Result<usize, DecodeError> {
    let mut rest = chunk.as_ref();
    let mut count = 0;
    while !rest.is_empty() {
        rest = &rest[next_event(rest)?.end..];
        count += 1;
    }
    Ok(count)
}

/// The chunk without its first `count` events; empty when it has no more than that, or is damaged before.
pub fn skip_events(chunk: &Bytes, count: usize) -> Bytes {
    let mut skipped = 0;
    for _ in 0..count {
        match next_event(&chunk[skipped..]) {
            Ok(event) => skipped += event.end,
            Err(_) => return Bytes::new(),
        }
    }
    chunk.slice(skipped..)
}

/// The first `count` events of a chunk; all of it when it has no more, or is damaged before.
pub fn first_events(chunk: &Bytes, count: usize) -> Bytes {
    chunk.slice(..chunk.len() - skip_events(chunk, count).len())
}

/// Walks a chunk event by event, without copying the payloads out of it.
struct Events {
    rest: Bytes,
}

impl Iterator for Events {
    type Item = Result<HistoryEvent, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let event = next_event(&self.rest).and_then(|place| {
            let event = self.rest.slice(place.clone());
            self.rest.advance(place.end);
            HistoryEvent::decode(event)
        });
        if event.is_err() {
            self.rest.clear();
        }
        Some(event)
    }
}

/// Where the bytes of the next event stand; fields other than `events` are passed over. A history has thousands of
/// events, so nothing but lengths is read.
fn next_event(chunk: &[u8]) -> Result<Range<usize>, DecodeError> {
    let mut rest = chunk;
    loop {
        let (tag, wire_type) = encoding::decode_key(&mut rest)?;
        if tag != EVENTS {
            encoding::skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
            continue;
        }
        encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
        let length = usize::try_from(encoding::decode_varint(&mut rest)?).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(truncated(DecodeContext::default()));
        }
        let start = chunk.len() - rest.len();
        return Ok(start..start + length);
    }
}

impl Message for History {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for chunk in &self.chunks {
            buf.put_slice(chunk);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != EVENTS {
            return encoding::skip_field(wire_type, tag, buf, ctx);
        }
        let mut event = Bytes::new();
        encoding::bytes::merge(wire_type, &mut event, buf, ctx)?;
        let mut chunk = BytesMut::with_capacity(event.len() + 6);
        encoding::bytes::encode(EVENTS, &event, &mut chunk);
        self.chunks.push(chunk.freeze());
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn clear(&mut self) {
        self.chunks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_id: i64) -> HistoryEvent {
        HistoryEvent { event_id, task_id: event_id * 7, ..Default::default() }
    }

    #[test]
    fn joined_chunks_are_one_history() {
        let mut history = History::from_events(&[event(1), event(2)]);
        history.push(encode_events(&[event(3)]));
        let again = History::decode(history.encode_to_vec().as_slice()).expect("own encoding");
        let ids: Vec<i64> = again.decode_events().expect("own events").iter().map(|event| event.event_id).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(again, history);
    }

    #[test]
    fn events_are_counted_and_skipped_by_their_lengths() {
        let chunk = encode_events(&[event(1), event(2), event(3)]);
        assert_eq!(count_events(&chunk), Ok(3));
        let rest = History::from_chunks(vec![skip_events(&chunk, 2)]);
        assert_eq!(rest.decode_events().expect("own events"), [event(3)]);
        assert!(skip_events(&chunk, 4).is_empty());
        let head = History::from_chunks(vec![first_events(&chunk, 2)]);
        assert_eq!(head.decode_events().expect("own events"), [event(1), event(2)]);
        assert_eq!(first_events(&chunk, 4), chunk);
        assert!(count_events(&chunk.slice(1..)).is_err());
    }

    #[test]
    fn a_damaged_chunk_gives_an_error_and_ends() {
        let history = History::from_chunks(vec![Bytes::from_static(&[0x0a, 0x20, 1])]);
        let mut events = history.events();
        assert!(events.next().is_some_and(|event| event.is_err()));
        assert!(events.next().is_none());
    }
}
