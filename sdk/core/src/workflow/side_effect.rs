//! Side effects: values made once, outside of determinism, and remembered by markers.

use std::{cell::RefCell, collections::BTreeMap};

use mainspring_api::v1::{
    command::RecordMarkerCommandAttributes, common::Payloads, history::MarkerRecordedEventAttributes,
};

use crate::{
    error::Result,
    payload::{FromPayload, MESSAGE_TYPE, PROTO_JSON, Payload, ToPayload, result_from},
    proto_json,
    workflow::{
        fault::{At, Fault},
        history::Recorded,
        marker::{Marker, details, json, read},
        ops::What,
        run::Run,
    },
};

const SIDE_EFFECT: &str = "SideEffect";
const MUTABLE: &str = "MutableSideEffect";
const ID: &str = "side-effect-id";
const DATA: &str = "data";
const CALL: &str = "mutable-side-effect-call-counter";
const PAYLOADS: &str = "temporal.api.common.v1.Payloads";

/// The side effects of a run.
#[derive(Debug, Default)]
pub(crate) struct SideEffects {
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: i64,
    recorded: BTreeMap<i64, Option<Payloads>>,
    recorded_mutable: BTreeMap<(String, i64), Option<Payloads>>,
    /// The number of calls and the value that counts, by id.
    mutable: BTreeMap<String, (i64, Option<Payload>)>,
}

impl SideEffects {
    pub(crate) fn learn(&self, recorded: &mut Recorded) {
        let mut inner = self.inner.borrow_mut();
        inner.recorded.append(&mut recorded.side_effects);
        inner.recorded_mutable.append(&mut recorded.mutable);
    }
}

impl Run {
    pub(crate) fn side_effect<T: ToPayload + FromPayload>(&self, make: impl FnOnce() -> T, at: At) -> Result<T> {
        let (number, known) = {
            let mut inner = self.side_effects.inner.borrow_mut();
            inner.next += 1;
            let number = inner.next;
            (number, inner.recorded.remove(&number))
        };
        let value = match known {
            Some(value) => value,
            None if self.replaying.get() => {
                self.fail(Fault::Unusable(format!(
                    "[TMPRL1100] nondeterminism: the workflow asked for side effect {number}, at {at}; the history has \
                     none there"
                )));
                return Err(crate::Error::cancelled());
            }
            None => Some(Payloads { payloads: vec![make().to_payload()?] }),
        };
        let payloads = value.clone().unwrap_or_default().payloads;
        self.issue(What::Marker(Box::new(Marker::SideEffect { number, value })), at);
        Ok(result_from(&payloads)?)
    }

    pub(crate) fn mutable_side_effect<T>(&self, id: &str, make: impl FnOnce() -> T, at: At) -> Result<T>
    where
        T: ToPayload + FromPayload,
    {
        let (call, known, last) = {
            let mut inner = self.side_effects.inner.borrow_mut();
            let entry = inner.mutable.entry(id.to_owned()).or_default();
            entry.0 += 1;
            let (call, last) = entry.clone();
            (call, inner.recorded_mutable.remove(&(id.to_owned(), call)), last)
        };
        let changed = match known {
            Some(value) => Some(value.unwrap_or_default().payloads.into_iter().next().unwrap_or_default()),
            None if self.replaying.get() => None,
            None => Some(make().to_payload()?).filter(|value| last.as_ref() != Some(value)),
        };
        let Some(value) = changed.clone().or(last) else {
            self.fail(Fault::Unusable(format!(
                "[TMPRL1100] nondeterminism: the workflow asked for mutable side effect {id:?}, at {at}; the history \
                 has no value of it"
            )));
            return Err(crate::Error::cancelled());
        };
        if let Some(payload) = changed {
            self.side_effects.inner.borrow_mut().mutable.insert(id.to_owned(), (call, Some(payload.clone())));
            let value = Some(Payloads { payloads: vec![payload] });
            self.issue(What::Marker(Box::new(Marker::Mutable { id: id.to_owned(), call, value })), at);
        }
        Ok(T::from_payload(&value)?)
    }
}

pub(crate) fn command(number: i64, value: Option<Payloads>) -> RecordMarkerCommandAttributes {
    RecordMarkerCommandAttributes {
        marker_name: SIDE_EFFECT.to_owned(),
        details: details([(ID, json(number)), (DATA, value)]),
        ..RecordMarkerCommandAttributes::default()
    }
}

/// In the format of the Go SDK: the data are the id and, as a message of its own, the value.
pub(crate) fn mutable_command(id: &str, call: i64, value: Option<Payloads>) -> RecordMarkerCommandAttributes {
    let value = value.unwrap_or_default();
    let value = proto_json::write(PAYLOADS, &prost::Message::encode_to_vec(&value))
        .ok()
        .map(|value| Payload::new(PROTO_JSON, &value).with_metadata(MESSAGE_TYPE, PAYLOADS.as_bytes()));
    let payloads = id.to_payload().ok().into_iter().chain(value).collect();
    RecordMarkerCommandAttributes {
        marker_name: MUTABLE.to_owned(),
        details: details([(ID, json(format!("{id}_{call}"))), (CALL, json(call)), (DATA, Some(Payloads { payloads }))]),
        ..RecordMarkerCommandAttributes::default()
    }
}

pub(crate) fn number_of(marker: &MarkerRecordedEventAttributes) -> Option<i64> {
    if marker.marker_name == SIDE_EFFECT { read(marker, ID) } else { None }
}

/// The id of a mutable side effect's marker, and the number of the call.
pub(crate) fn mutable_of(marker: &MarkerRecordedEventAttributes) -> Option<(String, i64)> {
    if marker.marker_name == MUTABLE { Some((read(marker, DATA)?, read(marker, CALL)?)) } else { None }
}

fn mutable_value(marker: &MarkerRecordedEventAttributes) -> Option<Payloads> {
    let encoded = proto_json::read(PAYLOADS, &marker.details.get(DATA)?.payloads.get(1)?.data()).ok()?;
    prost::Message::decode(encoded.as_slice()).ok()
}

pub(crate) fn look(marker: &MarkerRecordedEventAttributes, recorded: &mut Recorded) -> Result<(), String> {
    match marker.marker_name.as_str() {
        SIDE_EFFECT => {
            let number = number_of(marker).ok_or("the marker of a side effect has no number")?;
            recorded.side_effects.insert(number, marker.details.get(DATA).cloned());
        }
        MUTABLE => {
            let key = mutable_of(marker).ok_or("the marker of a mutable side effect has no id")?;
            let value = mutable_value(marker).ok_or("the marker of a mutable side effect has no value")?;
            recorded.mutable.insert(key, Some(value));
        }
        _ => {}
    }
    Ok(())
}
