//! `temporal.api.common.v1.Payload`, kept as the bytes it came in.
//!
//! Fields we do not know and the order of map entries survive, so what a worker sealed is what another one opens.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

/// One serialized value with its metadata: the encoded message, verbatim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Payload {
    encoded: Bytes,
}

impl Payload {
    /// A payload with one `encoding` entry in its metadata.
    pub fn new(encoding: &str, data: &[u8]) -> Payload {
        let message = Plain {
            metadata: [("encoding".to_owned(), Bytes::copy_from_slice(encoding.as_bytes()))].into(),
            data: Bytes::copy_from_slice(data),
        };
        Payload { encoded: message.encode_to_vec().into() }
    }

    /// A payload of these metadata entries and data.
    pub fn from_parts(metadata: BTreeMap<String, Bytes>, data: Bytes) -> Payload {
        Payload { encoded: Plain { metadata, data }.encode_to_vec().into() }
    }

    /// The metadata and the data, which shares its memory with the payload.
    ///
    /// # Errors
    /// When the payload is no well-formed message.
    pub fn parts(&self) -> Result<(BTreeMap<String, Bytes>, Bytes), DecodeError> {
        Plain::decode(self.encoded.clone()).map(|plain| (plain.metadata, plain.data))
    }

    /// The same payload with one more metadata entry; an entry of that key already there is replaced.
    #[must_use]
    pub fn with_metadata(&self, key: &str, value: &[u8]) -> Payload {
        let mut message = Plain::decode(self.encoded.clone()).unwrap_or_default();
        message.metadata.insert(key.to_owned(), Bytes::copy_from_slice(value));
        Payload { encoded: message.encode_to_vec().into() }
    }

    /// The encoded message.
    pub fn as_bytes(&self) -> &Bytes {
        &self.encoded
    }

    /// The metadata entry `key`, if the payload is well formed and has it. Of doubled entries the last counts.
    pub fn metadata(&self, key: &str) -> Option<Bytes> {
        Plain::decode(self.encoded.clone()).ok()?.metadata.remove(key)
    }

    /// The data; empty when absent.
    pub fn data(&self) -> Bytes {
        Plain::decode(self.encoded.clone()).map(|plain| plain.data).unwrap_or_default()
    }

    /// True for what SDKs send to remove a key: encoding `binary/null`, or a JSON `null` or empty list.
    pub fn is_empty_value(&self) -> bool {
        let Ok(plain) = Plain::decode(self.encoded.clone()) else { return false };
        let encoding = plain.metadata.get("encoding").map(|bytes| bytes.as_ref()).unwrap_or_default();
        encoding == b"binary/null" || (encoding == b"json/plain" && matches!(plain.data.as_ref(), b"null" | b"[]"))
    }

    /// A copy that does not share its memory with the message it was decoded from.
    #[must_use]
    pub fn detached(&self) -> Payload {
        Payload { encoded: Bytes::copy_from_slice(&self.encoded) }
    }
}

/// The message as it is defined, for the few places that look inside.
#[derive(Clone, PartialEq, Message)]
struct Plain {
    #[prost(btree_map = "string, bytes", tag = "1")]
    metadata: BTreeMap<String, Bytes>,
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

impl Message for Payload {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.encoded);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Prost hands over the fields one by one; each is written back as it came. The whole stays byte-equal because
        // keys and lengths are varints in their shortest form in every encoder that is in use.
        let mut whole =
            std::mem::take(&mut self.encoded).try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
        match wire_type {
            WireType::LengthDelimited => {
                let length = encoding::decode_varint(buf)?;
                let size = usize::try_from(length).unwrap_or(usize::MAX);
                if size > buf.remaining() {
                    return Err(truncated(ctx));
                }
                whole.reserve(size + 11);
                encoding::encode_key(tag, wire_type, &mut whole);
                encoding::encode_varint(length, &mut whole);
                whole.put(buf.take(size));
            }
            WireType::Varint => {
                let value = encoding::decode_varint(buf)?;
                encoding::encode_key(tag, wire_type, &mut whole);
                encoding::encode_varint(value, &mut whole);
            }
            WireType::ThirtyTwoBit => {
                let mut value = 0u32;
                encoding::fixed32::merge(wire_type, &mut value, buf, ctx)?;
                encoding::fixed32::encode(tag, &value, &mut whole);
            }
            WireType::SixtyFourBit => {
                let mut value = 0u64;
                encoding::fixed64::merge(wire_type, &mut value, buf, ctx)?;
                encoding::fixed64::encode(tag, &value, &mut whole);
            }
            WireType::StartGroup | WireType::EndGroup => encoding::skip_field(wire_type, tag, buf, ctx)?,
        }
        self.encoded = whole.freeze();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.encoded.len()
    }

    fn clear(&mut self) {
        self.encoded = Bytes::new();
    }
}

/// Prost has no public constructor for errors; decoding a short buffer makes the right one.
pub(crate) fn truncated(ctx: DecodeContext) -> DecodeError {
    let mut sink = Bytes::new();
    match encoding::bytes::merge(WireType::LengthDelimited, &mut sink, &mut [1u8].as_slice(), ctx) {
        Err(error) => error,
        Ok(()) => unreachable!("a length of one with no byte after it cannot be decoded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_and_order_survive() {
        // data first, metadata second, then an unknown varint field 9.
        let wire: &[u8] = &[0x12, 2, b'h', b'i', 0x0a, 5, 0x0a, 1, b'k', 0x12, 0, 0x48, 7];
        let payload = Payload::decode(wire).expect("a legal message");
        assert_eq!(payload.encode_to_vec(), wire);
        assert_eq!(payload.data(), Bytes::from_static(b"hi"));
        assert_eq!(payload.metadata("k"), Some(Bytes::new()));
    }

    #[test]
    fn a_length_beyond_the_buffer_is_an_error() {
        assert!(Payload::decode([0x12, 200, 1].as_slice()).is_err());
    }

    #[test]
    fn parts_make_the_payload_again() {
        let payload = Payload::new("json/plain", b"1").with_metadata("messageType", b"m");
        let (metadata, data) = payload.parts().expect("well formed");
        assert_eq!((metadata.len(), data.as_ref()), (2, b"1".as_slice()));
        assert_eq!(Payload::from_parts(metadata, data), payload);
        assert!(Payload::decode([0x0a, 1, 7].as_slice()).expect("a legal field").parts().is_err());
    }

    #[test]
    fn null_and_empty_lists_remove_a_key() {
        assert!(Payload::new("binary/null", b"").is_empty_value());
        assert!(Payload::new("json/plain", b"[]").is_empty_value());
        assert!(!Payload::new("json/plain", b"1").is_empty_value());
    }
}
