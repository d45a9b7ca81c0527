//! Values to payloads and back: [`ToPayload`], [`FromPayload`], and lists of them.
//!
//! The encodings are those of the other SDKs, so that any language reads what another one wrote:
//!
//! | value | encoding |
//! |---|---|
//! | `()`, `None`, whatever serde writes as `null` | `binary/null` |
//! | `Vec<u8>`, `&[u8]`, [`bytes::Bytes`] | `binary/plain` |
//! | [`ProtoJson<M>`] | `json/protobuf` |
//! | [`Proto<M>`] | `binary/protobuf` |
//! | everything else that serde can write | `json/plain` |
//! | [`Raw`] | its own, untouched |
//!
//! A type of yours has a payload as soon as it has serde's traits. For another format, implement the two traits for a
//! wrapper of your own, as [`Proto`] does.

use std::{
    any::{Any, TypeId},
    fmt,
    io::{self, Write},
};

use bytes::Bytes;
use mainspring_api::v1::common::Payloads;
use prost::{Message, Name};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::ser::Formatter;

pub use mainspring_api::v1::Payload;

pub(crate) const NULL: &str = "binary/null";
pub(crate) const PLAIN: &str = "binary/plain";
pub(crate) const JSON: &str = "json/plain";
pub(crate) const PROTO_JSON: &str = "json/protobuf";
pub(crate) const PROTO: &str = "binary/protobuf";
const ENCODING: &str = "encoding";
pub(crate) const MESSAGE_TYPE: &str = "messageType";

/// A value that can be sent: an argument, a result, details of a failure or a heartbeat.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a payload",
    label = "no payload for this type",
    note = "derive `serde::Serialize` for it, or wrap a protobuf message in `Proto`"
)]
pub trait ToPayload {
    /// The value's payload.
    ///
    /// # Errors
    /// When the value has no such form, for example a map whose keys are no text.
    fn to_payload(&self) -> Result<Payload, PayloadError>;
}

/// A value that can be received.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made from a payload",
    label = "no payload for this type",
    note = "derive `serde::Deserialize` for it (owned, without lifetimes), or wrap a protobuf message in `Proto`"
)]
pub trait FromPayload: Sized + 'static {
    /// The value in a payload.
    ///
    /// # Errors
    /// When the payload holds something else, or has an encoding that this type does not know.
    fn from_payload(payload: &Payload) -> Result<Self, PayloadError>;
}

/// A value could not be turned into a payload, or a payload into a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PayloadError {
    message: String,
}

impl PayloadError {
    /// With a sentence about what is wrong.
    pub fn new(message: impl fmt::Display) -> PayloadError {
        PayloadError { message: message.to_string() }
    }
}

impl<T: Serialize + ?Sized> ToPayload for T {
    fn to_payload(&self) -> Result<Payload, PayloadError> {
        if is_octets::<T>() {
            let mut octets = Vec::new();
            let mut writer = serde_json::Serializer::with_formatter(&mut octets, Octets);
            self.serialize(&mut writer).map_err(|error| cannot_write::<T>(&error))?;
            return Ok(Payload::new(PLAIN, &octets));
        }
        let json = serde_json::to_vec(self).map_err(|error| cannot_write::<T>(&error))?;
        // What other languages call nil, None or null has an encoding of its own.
        if json == b"null" { Ok(null()) } else { Ok(Payload::new(JSON, &json)) }
    }
}

impl<T: DeserializeOwned + 'static> FromPayload for T {
    fn from_payload(payload: &Payload) -> Result<T, PayloadError> {
        let (metadata, data) = payload.parts().map_err(PayloadError::new)?;
        let encoding = metadata.get(ENCODING).map(|bytes| bytes.as_ref()).unwrap_or_default();
        match encoding {
            b"json/plain" | b"json/protobuf" => serde_json::from_slice(&data),
            b"binary/null" => serde_json::from_slice(b"null"),
            b"binary/plain" => return from_octets(data),
            other => return Err(unknown_encoding::<T>(other)),
        }
        .map_err(|error| cannot_read::<T>(&error))
    }
}

/// The payload of nothing.
pub fn null() -> Payload {
    Payload::new(NULL, b"")
}

/// True for the types that are bytes and not lists of numbers.
fn is_octets<T: ?Sized>() -> bool {
    let id = typeid::of::<T>();
    id == TypeId::of::<Vec<u8>>()
        || id == TypeId::of::<Bytes>()
        || id == TypeId::of::<[u8]>()
        || id == TypeId::of::<&[u8]>()
        || id == TypeId::of::<&Vec<u8>>()
        || id == TypeId::of::<&Bytes>()
}

fn from_octets<T: DeserializeOwned + 'static>(data: Bytes) -> Result<T, PayloadError> {
    let mut value: Option<T> = None;
    let slot: &mut dyn Any = &mut value;
    if let Some(slot) = slot.downcast_mut::<Option<Vec<u8>>>() {
        *slot = Some(data.into());
    } else if let Some(slot) = slot.downcast_mut::<Option<Bytes>>() {
        *slot = Some(data);
    } else {
        // Serde has types of bytes of its own, such as those of `serde_bytes`.
        let reader = serde::de::value::BytesDeserializer::<serde::de::value::Error>::new(&data);
        return T::deserialize(reader).map_err(|error| cannot_read::<T>(&error));
    }
    value.ok_or_else(|| PayloadError::new("the value was put there above"))
}

fn cannot_write<T: ?Sized>(error: &dyn fmt::Display) -> PayloadError {
    PayloadError::new(format!("cannot write {} as a payload: {error}", std::any::type_name::<T>()))
}

fn cannot_read<T>(error: &dyn fmt::Display) -> PayloadError {
    PayloadError::new(format!("cannot read {} from the payload: {error}", std::any::type_name::<T>()))
}

fn unknown_encoding<T>(encoding: &[u8]) -> PayloadError {
    let encoding = String::from_utf8_lossy(encoding);
    let wanted = std::any::type_name::<T>();
    let hint = match encoding.as_ref() {
        "binary/encrypted" => "; the client needs the codec that it was encrypted with",
        "binary/zstd" | "binary/zlib" => "; the client needs the codec that it was compressed with",
        PROTO => "; wrap the type in `Proto`",
        "" => "; it names none",
        _ => "",
    };
    PayloadError::new(format!("cannot read {wanted} from a payload with the encoding {encoding:?}{hint}"))
}

/// A payload that goes through as it is: for values of types that are known at run time only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Payload);

impl ToPayload for Raw {
    fn to_payload(&self) -> Result<Payload, PayloadError> {
        Ok(self.0.clone())
    }
}

impl FromPayload for Raw {
    fn from_payload(payload: &Payload) -> Result<Raw, PayloadError> {
        Ok(Raw(payload.clone()))
    }
}

/// A protobuf message, sent in its binary form (`binary/protobuf`).
///
/// ```
/// use mainspring_sdk::payload::{FromPayload, Proto, ToPayload};
///
/// # fn main() -> Result<(), mainspring_sdk::payload::PayloadError> {
/// let sent = Proto(mainspring_api::v1::common::WorkflowType { name: "Order".to_owned() });
/// assert_eq!(Proto::from_payload(&sent.to_payload()?)?, sent);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proto<M>(pub M);

impl<M: Message + Name> ToPayload for Proto<M> {
    fn to_payload(&self) -> Result<Payload, PayloadError> {
        Ok(Payload::new(PROTO, &self.0.encode_to_vec()).with_metadata(MESSAGE_TYPE, M::full_name().as_bytes()))
    }
}

impl<M: Message + Name + Default + 'static> FromPayload for Proto<M> {
    fn from_payload(payload: &Payload) -> Result<Proto<M>, PayloadError> {
        match payload.metadata(ENCODING).unwrap_or_default().as_ref() {
            b"binary/protobuf" => M::decode(payload.data()).map(Proto).map_err(|error| cannot_read::<M>(&error)),
            b"binary/null" => Ok(Proto(M::default())),
            b"json/protobuf" => Err(PayloadError::new(format!(
                "{} arrived as JSON (`json/protobuf`); receive it as `ProtoJson`, with serde's traits from pbjson",
                M::full_name()
            ))),
            other => Err(unknown_encoding::<M>(other)),
        }
    }
}

/// A protobuf message, sent as JSON (`json/protobuf`), which is what the other SDKs send by default.
///
/// Serde's traits of the message must write the JSON that protobuf defines, as those generated by pbjson do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProtoJson<M>(pub M);

impl<M: Serialize + Name> ToPayload for ProtoJson<M> {
    fn to_payload(&self) -> Result<Payload, PayloadError> {
        let json = serde_json::to_vec(&self.0).map_err(|error| cannot_write::<M>(&error))?;
        Ok(Payload::new(PROTO_JSON, &json).with_metadata(MESSAGE_TYPE, M::full_name().as_bytes()))
    }
}

impl<M: DeserializeOwned + Name + Default + 'static> FromPayload for ProtoJson<M> {
    fn from_payload(payload: &Payload) -> Result<ProtoJson<M>, PayloadError> {
        match payload.metadata(ENCODING).unwrap_or_default().as_ref() {
            b"json/protobuf" | b"json/plain" => {
                serde_json::from_slice(&payload.data()).map(ProtoJson).map_err(|error| cannot_read::<M>(&error))
            }
            b"binary/protobuf" => M::decode(payload.data()).map(ProtoJson).map_err(|error| cannot_read::<M>(&error)),
            b"binary/null" => Ok(ProtoJson(M::default())),
            other => Err(unknown_encoding::<M>(other)),
        }
    }
}

/// Arguments of a call, one payload each. A value that could not be converted is remembered and reported by whoever
/// runs the call, so that describing one never fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    payloads: Vec<Payload>,
    error: Option<PayloadError>,
}

impl Args {
    /// No arguments.
    pub fn new() -> Args {
        Args::default()
    }

    /// Adds one.
    pub fn push<T: ToPayload>(&mut self, value: T) {
        match value.to_payload() {
            Ok(payload) => self.payloads.push(payload),
            Err(error) => {
                let position = self.payloads.len() + 1;
                self.error.get_or_insert(PayloadError::new(format!("argument {position}: {error}")));
                self.payloads.push(null());
            }
        }
    }

    /// The payloads, in order.
    ///
    /// # Errors
    /// When a value could not be converted.
    pub fn into_payloads(self) -> Result<Vec<Payload>, PayloadError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.payloads),
        }
    }
}

/// Arguments or details that were received. Missing ones read as `null`, so that contracts can grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawArgs(pub Vec<Payload>);

impl RawArgs {
    /// The value at `index`, from 0.
    ///
    /// # Errors
    /// When something else is there; or nothing, and the type takes no `null`.
    pub fn get<T: FromPayload>(&self, index: usize) -> Result<T, PayloadError> {
        let value = match self.0.get(index) {
            Some(payload) => T::from_payload(payload),
            None => T::from_payload(&null()),
        };
        value.map_err(|error| {
            let missing = if index < self.0.len() { "" } else { " (it is missing)" };
            PayloadError::new(format!("argument {}{missing}: {error}", index + 1))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A list for the wire; absent when it is empty.
pub(crate) fn to_wire(payloads: Vec<Payload>) -> Option<Payloads> {
    (!payloads.is_empty()).then_some(Payloads { payloads })
}

/// A list from the wire.
pub(crate) fn from_wire(payloads: Option<Payloads>) -> Vec<Payload> {
    payloads.map(|list| list.payloads).unwrap_or_default()
}

/// The result in a list from the wire: the first one; nothing is `null`.
pub(crate) fn result_from<T: FromPayload>(payloads: &[Payload]) -> Result<T, PayloadError> {
    match payloads.first() {
        Some(payload) => T::from_payload(payload),
        None => T::from_payload(&null()),
    }
}

/// Writes the bytes of a list themselves instead of JSON. Through serde, since a type that is known to be `Vec<u8>` only
/// at run time, and may be borrowed, cannot be cast.
struct Octets;

impl Formatter for Octets {
    fn write_u8<W: Write + ?Sized>(&mut self, writer: &mut W, octet: u8) -> io::Result<()> {
        writer.write_all(&[octet])
    }

    fn write_byte_array<W: Write + ?Sized>(&mut self, writer: &mut W, octets: &[u8]) -> io::Result<()> {
        writer.write_all(octets)
    }

    fn begin_array<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn end_array<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
