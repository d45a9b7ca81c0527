//! The failures that the server makes of an activity's end, and cuts to size.

use mainspring_api::v1::{
    enums::{RetryState, TimeoutType},
    failure::{Failure, ServerFailureInfo, TimeoutFailureInfo, failure::FailureInfo},
};
use prost::Message;

use crate::state::Activity;

/// An attempt, or all of them, took too long.
pub(crate) fn timeout_failure(activity: &Activity, kind: TimeoutType) -> Failure {
    let name = match kind {
        TimeoutType::ScheduleToStart => "ScheduleToStart",
        TimeoutType::StartToClose => "StartToClose",
        TimeoutType::Heartbeat => "Heartbeat",
        _ => "ScheduleToClose",
    };
    Failure {
        message: format!("activity {name} timeout"),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: kind as i32,
            last_heartbeat_details: activity.heartbeat_details.clone(),
        })),
        ..Failure::default()
    }
}

/// The failure of the last attempt stands behind the timeout over all of them.
pub(crate) fn with_cause(failure: Failure, activity: &Activity) -> Failure {
    Failure { cause: activity.last_failure.clone().map(Box::new), ..failure }
}

/// A timeout after which no attempt fits is one over all attempts, caused by that of the attempt.
pub(crate) fn end_of_retries(failure: Failure, activity: &Activity, state: RetryState) -> Failure {
    if state != RetryState::Timeout {
        return failure;
    }
    Failure { cause: Some(Box::new(failure)), ..timeout_failure(activity, TimeoutType::ScheduleToClose) }
}

/// What a worker reported is too large.
pub(crate) fn size_failure(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true })),
        ..Failure::default()
    }
}

/// The failure as it is kept between attempts.
pub(crate) fn truncated_if_over(failure: &Failure, bytes_max: usize) -> Failure {
    if failure.encoded_len() <= bytes_max { failure.clone() } else { truncated(failure, bytes_max, &failure.message) }
}

/// A server failure that stands for one too large to keep; what fits of its text is its cause.
pub(crate) fn truncated(failure: &Failure, bytes_max: usize, message: &str) -> Failure {
    let cut = |text: &str| {
        let mut end = text.len().min(bytes_max / 4);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    let cause = Failure {
        message: cut(&failure.message),
        source: cut(&failure.source),
        stack_trace: cut(&failure.stack_trace),
        failure_info: failure.failure_info.clone().filter(|_| failure_info_bytes(failure) < bytes_max / 4),
        ..Failure::default()
    };
    let non_retryable =
        matches!(&failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(info)) if info.non_retryable);
    Failure {
        message: cut(message),
        source: "Server".to_owned(),
        cause: Some(Box::new(cause)),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable })),
        ..Failure::default()
    }
}

fn failure_info_bytes(failure: &Failure) -> usize {
    Failure { failure_info: failure.failure_info.clone(), ..Failure::default() }.encoded_len()
}
