//! Histories as JSON, in the form that protobuf defines: what the CLI and the user interface write.

use bytes::Bytes;
use mainspring_api::v1::history::HistoryEvent;

use crate::{proto_json, replay::ReplayError};

/// The events of a history.
pub(crate) fn events(json: &[u8]) -> Result<Vec<HistoryEvent>, ReplayError> {
    let encoded = proto_json::read("temporal.api.history.v1.History", json).map_err(ReplayError::Unreadable)?;
    let events = mainspring_api::v1::History::from_chunks(vec![Bytes::from(encoded)]).decode_events();
    events.map_err(|error| ReplayError::Unreadable(error.to_string()))
}
