//! Local activities: run by the worker inside of a workflow task, their results kept in markers in Core's format.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainspring_api::v1::{
    command::RecordMarkerCommandAttributes,
    common::{ActivityType, Payloads},
    enums::RetryState,
    failure::{ActivityFailureInfo, Failure, failure::FailureInfo},
    history::MarkerRecordedEventAttributes,
};
use serde::{Deserialize, Serialize};

use crate::{
    call::ActivityOptions,
    error::Error,
    payload::{PROTO_JSON, Payload},
    workflow::marker::details,
};

const MARKER: &str = "core_local_activity";
const OF_GO: &str = "LocalActivity";
const DATA: &str = "data";
const RESULT: &str = "result";

/// One local activity of a run.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) seq: u32,
    /// Its number among local activities alone.
    pub(crate) nth: u32,
    pub(crate) kind: String,
    /// Taken when the worker begins with it.
    pub(crate) request: Option<Box<LocalRequest>>,
}

/// What the worker has to run.
#[derive(Clone, Debug)]
pub(crate) struct LocalRequest {
    pub(crate) seq: u32,
    pub(crate) activity_id: String,
    pub(crate) kind: String,
    pub(crate) args: Vec<Payload>,
    pub(crate) options: ActivityOptions,
    pub(crate) attempt: i32,
    pub(crate) scheduled_at: SystemTime,
}

/// How one ended, as it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) data: Data,
    /// True when `seq` counts local activities alone, as Go does.
    pub(crate) counted_alone: bool,
    pub(crate) end: Result<Option<Payloads>, Failure>,
}

/// `LocalActivityMarkerData` of Core, in the JSON that Core writes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Data {
    pub(crate) seq: u32,
    pub(crate) attempt: u32,
    pub(crate) activity_id: String,
    pub(crate) activity_type: String,
    pub(crate) complete_time: Option<SecondsNanos>,
    pub(crate) backoff: Option<SecondsNanos>,
    pub(crate) original_schedule_time: Option<SecondsNanos>,
}

/// What Go writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GoData {
    #[serde(rename = "ActivityID")]
    activity_id: String,
    activity_type: String,
    attempt: u32,
    /// Nanoseconds.
    #[serde(default)]
    backoff: u64,
}

impl From<GoData> for Data {
    fn from(data: GoData) -> Data {
        let GoData { activity_id, activity_type, attempt, backoff } = data;
        let seq = activity_id.parse().unwrap_or_default();
        let backoff = (backoff > 0).then(|| SecondsNanos::of(Duration::from_nanos(backoff)));
        Data { seq, attempt, activity_id, activity_type, backoff, ..Data::default() }
    }
}

/// A duration, or a point in time since 1970.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct SecondsNanos {
    seconds: u64,
    nanos: u32,
}

impl SecondsNanos {
    pub(crate) fn of(duration: Duration) -> SecondsNanos {
        SecondsNanos { seconds: duration.as_secs(), nanos: duration.subsec_nanos() }
    }

    pub(crate) fn since_1970(at: SystemTime) -> SecondsNanos {
        SecondsNanos::of(at.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn duration(self) -> Duration {
        Duration::from_secs(self.seconds).saturating_add(Duration::from_nanos(u64::from(self.nanos)))
    }
}

impl Local {
    /// True when that is how this one ended.
    pub(crate) fn ended_as(&self, marked: &Marked) -> bool {
        let number = if marked.counted_alone { self.nth } else { self.seq };
        number == marked.data.seq && self.kind == marked.data.activity_type
    }
}

impl Marked {
    pub(crate) fn command(&self) -> RecordMarkerCommandAttributes {
        let json = serde_json::to_vec(&self.data).unwrap_or_default();
        let data = Payload::new(PROTO_JSON, &json)
            .with_metadata("messageType", b"coresdk.external_data.LocalActivityMarkerData");
        let data = Some(Payloads { payloads: vec![data] });
        let (details, failure) = match &self.end {
            Ok(result) => (details([(DATA, data), (RESULT, result.clone())]), None),
            Err(failure) => (details([(DATA, data)]), Some(failure.clone())),
        };
        RecordMarkerCommandAttributes { marker_name: MARKER.to_owned(), details, failure, ..Default::default() }
    }

    pub(crate) fn fits(&self, event: &MarkerRecordedEventAttributes) -> bool {
        matches!(look(event), Ok(Some(found))
            if found.data.seq == self.data.seq && found.data.activity_type == self.data.activity_type)
    }

    /// The pause that the workflow has to wait for before the next attempt.
    pub(crate) fn backoff(&self) -> Option<Duration> {
        self.data.backoff.map(SecondsNanos::duration)
    }

    /// When the first attempt of all was asked for.
    pub(crate) fn first_asked(&self) -> Option<SystemTime> {
        self.data.original_schedule_time.and_then(|at| UNIX_EPOCH.checked_add(at.duration()))
    }

    /// What the workflow sees: a failure as the cause of what activities fail with.
    pub(crate) fn outcome(&self) -> Result<Option<Payloads>, Error> {
        self.end.clone().map_err(|failure| match failure.failure_info {
            Some(FailureInfo::ActivityFailureInfo(_)) => Error::from_failure(failure),
            // As other engines write it: without the frame of an activity's failure.
            _ => Error::from_failure(self.data.framed(failure, RetryState::Unspecified)),
        })
    }
}

impl Data {
    /// How it failed for good, as it is written down.
    pub(crate) fn failure(&self, error: Error, retry_state: RetryState) -> Failure {
        self.framed(error.into_failure(), retry_state)
    }

    fn framed(&self, cause: Failure, retry_state: RetryState) -> Failure {
        let info = ActivityFailureInfo {
            activity_type: Some(ActivityType { name: self.activity_type.clone() }),
            activity_id: self.activity_id.clone(),
            retry_state: retry_state as i32,
            ..ActivityFailureInfo::default()
        };
        Failure {
            message: "Activity task failed".to_owned(),
            cause: Some(Box::new(cause)),
            failure_info: Some(FailureInfo::ActivityFailureInfo(info)),
            ..Failure::default()
        }
    }
}

/// What a marker says about a local activity, if it is one of them: of Core's or of Go's.
pub(crate) fn look(marker: &MarkerRecordedEventAttributes) -> Result<Option<Marked>, String> {
    let unreadable = || "the marker of a local activity cannot be read".to_owned();
    let data = || marker.details.get(DATA).and_then(|data| data.payloads.first()).ok_or_else(unreadable);
    let data = match marker.marker_name.as_str() {
        MARKER => serde_json::from_slice(&data()?.data()).map_err(|_| unreadable())?,
        OF_GO => serde_json::from_slice::<GoData>(&data()?.data()).map_err(|_| unreadable())?.into(),
        _ => return Ok(None),
    };
    let end = match &marker.failure {
        Some(failure) => Err(failure.clone()),
        None => Ok(marker.details.get(RESULT).cloned()),
    };
    Ok(Some(Marked { data, counted_alone: marker.marker_name == OF_GO, end }))
}
