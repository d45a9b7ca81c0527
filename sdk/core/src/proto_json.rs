//! Messages of the API as the JSON that protobuf defines, by the descriptors that come with it.

use std::sync::OnceLock;

use mainspring_api::DESCRIPTORS;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

/// The encoded form of a message of the type `name`. Fields that this SDK does not know are left out: newer servers may
/// write them.
pub(crate) fn read(name: &str, json: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor(name)?, &mut reader, &options);
    Ok(message.map_err(|error| error.to_string())?.encode_to_vec())
}

/// A message of the type `name` as JSON, from its encoded form.
pub(crate) fn write(name: &str, encoded: &[u8]) -> Result<Vec<u8>, String> {
    let message = DynamicMessage::decode(descriptor(name)?, encoded).map_err(|error| error.to_string())?;
    serde_json::to_vec(&message).map_err(|error| error.to_string())
}

fn descriptor(name: &str) -> Result<MessageDescriptor, String> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok()).as_ref();
    pool.and_then(|pool| pool.get_message_by_name(name))
        .ok_or_else(|| format!("the descriptors of the API have no {name}"))
}
