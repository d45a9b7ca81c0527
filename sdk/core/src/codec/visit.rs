//! Where in a message payloads are that codecs apply to.

use mainspring_api::v1::{
    common::Payloads,
    failure::{Failure, failure::FailureInfo},
};

use crate::payload::Payload;

/// A place in a message: a list, or one by itself.
pub(crate) enum Place<'a> {
    /// Arguments, results, details.
    List(&'a mut Payloads),
    /// A value of a memo, a summary.
    One(&'a mut Payload),
}

impl<'a> Place<'a> {
    /// The payloads at the place.
    pub(crate) fn into_slice(self) -> &'a mut [Payload] {
        match self {
            Place::List(list) => &mut list.payloads,
            Place::One(payload) => std::slice::from_mut(payload),
        }
    }
}

/// The places of a failure and its causes.
pub(crate) fn failure_places(failure: &mut Failure) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    let mut current = Some(failure);
    while let Some(failure) = current {
        places.extend(failure.encoded_attributes.as_mut().map(Place::One));
        let list = match &mut failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => info.details.as_mut(),
            Some(FailureInfo::TimeoutFailureInfo(info)) => info.last_heartbeat_details.as_mut(),
            Some(FailureInfo::CanceledFailureInfo(info)) => info.details.as_mut(),
            Some(FailureInfo::ResetWorkflowFailureInfo(info)) => info.last_heartbeat_details.as_mut(),
            _ => None,
        };
        places.extend(list.map(Place::List));
        current = failure.cause.as_deref_mut();
    }
    places
}
