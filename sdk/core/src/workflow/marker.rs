//! Markers: what a workflow writes down for its own replay. The formats are those of the other SDKs, so that their
//! tools show them.

use std::collections::BTreeMap;

use mainspring_api::v1::{
    command::RecordMarkerCommandAttributes, common::Payloads, history::MarkerRecordedEventAttributes,
};
use serde::de::DeserializeOwned;

use crate::{
    payload::{FromPayload, ToPayload},
    workflow::{local_activity::Marked, patch, side_effect},
};

/// A marker that a workflow asked for.
#[derive(Debug)]
pub(crate) enum Marker {
    Patch { id: String, deprecated: bool },
    Version { id: String, version: i32 },
    SideEffect { number: i64, value: Option<Payloads> },
    Mutable { id: String, call: i64, value: Option<Payloads> },
    Local(Box<Marked>),
}

impl Marker {
    pub(crate) fn command(&self) -> RecordMarkerCommandAttributes {
        match self {
            Marker::Patch { id, deprecated } => patch::patch_command(id, *deprecated),
            Marker::Version { id, version } => patch::version_command(id, *version),
            Marker::SideEffect { number, value } => side_effect::command(*number, value.clone()),
            Marker::Mutable { id, call, value } => side_effect::mutable_command(id, *call, value.clone()),
            Marker::Local(marked) => marked.command(),
        }
    }

    pub(crate) fn fits(&self, event: &MarkerRecordedEventAttributes) -> bool {
        match self {
            Marker::Patch { id, .. } => patch::patch_of(event).is_some_and(|(found, _)| found == *id),
            Marker::Version { id, .. } => patch::version_of(event).is_some_and(|(found, _)| found == *id),
            Marker::SideEffect { number, .. } => side_effect::number_of(event) == Some(*number),
            Marker::Mutable { id, call, .. } => {
                side_effect::mutable_of(event).is_some_and(|(found, number)| found == *id && number == *call)
            }
            Marker::Local(marked) => marked.fits(event),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Marker::Patch { id, .. } => format!("patch {id:?}"),
            Marker::Version { id, version } => format!("version {version} of {id:?}"),
            Marker::SideEffect { number, .. } => format!("side effect {number}"),
            Marker::Mutable { id, .. } => format!("mutable side effect {id:?}"),
            Marker::Local(marked) => {
                format!("local activity {:?} (number {})", marked.data.activity_type, marked.data.seq)
            }
        }
    }
}

/// The details of a marker: one payload for each key.
pub(crate) fn details<'a>(
    entries: impl IntoIterator<Item = (&'a str, Option<Payloads>)>,
) -> BTreeMap<String, Payloads> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value.unwrap_or_default())).collect()
}

pub(crate) fn json(value: impl ToPayload) -> Option<Payloads> {
    value.to_payload().ok().map(|payload| Payloads { payloads: vec![payload] })
}

/// The value under a key of a marker.
pub(crate) fn read<T: DeserializeOwned + 'static>(event: &MarkerRecordedEventAttributes, key: &str) -> Option<T> {
    T::from_payload(event.details.get(key)?.payloads.first()?).ok()
}
