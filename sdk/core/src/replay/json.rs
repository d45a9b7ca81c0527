//! Histories as JSON, in the form that protobuf defines: what the CLI and the user interface write.

use std::sync::OnceLock;

use bytes::Bytes;
use mainspring_api::{DESCRIPTORS, v1::history::HistoryEvent};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};

use crate::replay::ReplayError;

const HISTORY: &str = "temporal.api.history.v1.History";

/// The events of a history.
pub(crate) fn events(json: &[u8]) -> Result<Vec<HistoryEvent>, ReplayError> {
    let unreadable = |error: &dyn std::fmt::Display| ReplayError::Unreadable(error.to_string());
    let Some(history) = pool().and_then(|pool| pool.get_message_by_name(HISTORY)) else {
        return Err(unreadable(&"the descriptors of the API cannot be read"));
    };
    let mut reader = serde_json::Deserializer::from_slice(json);
    // Newer servers may write fields that this SDK does not know.
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(history, &mut reader, &options);
    let message = message.map_err(|error| unreadable(&error))?;
    let chunk = Bytes::from(message.encode_to_vec());
    let events = mainspring_api::v1::History::from_chunks(vec![chunk]).decode_events();
    events.map_err(|error| unreadable(&error))
}

fn pool() -> Option<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok()).as_ref()
}
