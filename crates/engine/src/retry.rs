//! Retry arithmetic, for activities and workflows.

use std::time::Duration;

use mainspring_api::{
    time::{duration, from_duration, is_negative},
    v1::{
        common::RetryPolicy,
        enums::{RetryState, TimeoutType},
        failure::{Failure, failure::FailureInfo},
    },
};
use mainspring_rt::Timestamp;

const INITIAL_DEFAULT: Duration = Duration::from_secs(1);
const COEFFICIENT_DEFAULT: f64 = 2.0;
const MAXIMUM_DEFAULT_FACTOR: u32 = 100;
const TIMEOUT_PREFIX: &str = "TemporalTimeout:";

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    After(Duration),
    Stop(RetryState),
}

/// The policy with its gaps filled in, as the original does: 1 s, times 2, at most 100 times the first.
pub fn with_defaults(policy: Option<RetryPolicy>) -> RetryPolicy {
    let mut policy = policy.unwrap_or_default();
    if from_duration(policy.initial_interval.as_ref()).is_zero() && !is_negative(policy.initial_interval.as_ref()) {
        policy.initial_interval = Some(duration(INITIAL_DEFAULT));
    }
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = COEFFICIENT_DEFAULT;
    }
    if from_duration(policy.maximum_interval.as_ref()).is_zero() && !is_negative(policy.maximum_interval.as_ref()) {
        let initial = from_duration(policy.initial_interval.as_ref());
        policy.maximum_interval = Some(duration(initial.saturating_mul(MAXIMUM_DEFAULT_FACTOR)));
    }
    policy
}

/// Checks a policy that has its defaults.
///
/// # Errors
/// The original's text. A policy of one attempt is never refused.
pub fn validate(policy: &RetryPolicy) -> Result<(), String> {
    if policy.maximum_attempts == 1 {
        return Ok(());
    }
    if is_negative(policy.initial_interval.as_ref()) {
        return Err("invalid InitialInterval set on retry policy: negative duration".to_owned());
    }
    if policy.backoff_coefficient < 1.0 || policy.backoff_coefficient.is_nan() {
        return Err("BackoffCoefficient cannot be less than 1 on retry policy.".to_owned());
    }
    if is_negative(policy.maximum_interval.as_ref()) {
        return Err("invalid MaximumInterval set on retry policy: negative duration".to_owned());
    }
    if from_duration(policy.maximum_interval.as_ref()) < from_duration(policy.initial_interval.as_ref()) {
        return Err("MaximumInterval cannot be less than InitialInterval on retry policy.".to_owned());
    }
    if policy.maximum_attempts < 0 {
        return Err("MaximumAttempts cannot be negative on retry policy.".to_owned());
    }
    for name in &policy.non_retryable_error_types {
        if let Some(timeout) = name.strip_prefix(TIMEOUT_PREFIX)
            && timeout_type(timeout).is_none()
        {
            return Err(format!("Invalid timeout type value: {timeout}."));
        }
    }
    Ok(())
}

/// Decides on the attempt after `attempt`. `expires` is the end over all attempts.
pub(crate) fn decide(
    policy: Option<&RetryPolicy>,
    attempt: i32,
    failure: &Failure,
    now: Timestamp,
    expires: Timestamp,
) -> Decision {
    let Some(policy) = policy else { return Decision::Stop(RetryState::RetryPolicyNotSet) };
    if !is_retryable(failure, &policy.non_retryable_error_types) {
        return Decision::Stop(RetryState::NonRetryableFailure);
    }
    if policy.maximum_attempts > 0 && attempt >= policy.maximum_attempts {
        return Decision::Stop(RetryState::MaximumAttemptsReached);
    }
    let interval = requested_delay(failure).unwrap_or_else(|| backoff(policy, attempt));
    if now + interval > expires {
        return Decision::Stop(RetryState::Timeout);
    }
    Decision::After(interval)
}

/// `initial * coefficient ^ (attempt - 1)`, at most the maximum.
fn backoff(policy: &RetryPolicy, attempt: i32) -> Duration {
    let initial = from_duration(policy.initial_interval.as_ref());
    let maximum = from_duration(policy.maximum_interval.as_ref());
    let factor = policy.backoff_coefficient.powi(attempt.saturating_sub(1));
    let interval = Duration::try_from_secs_f64(initial.as_secs_f64() * factor).unwrap_or(Duration::MAX);
    if maximum.is_zero() { interval } else { interval.min(maximum) }
}

fn requested_delay(failure: &Failure) -> Option<Duration> {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            info.next_retry_delay.as_ref().map(|delay| from_duration(Some(delay)))
        }
        _ => None,
    }
}

/// Only the outermost failure is looked at, never its cause.
fn is_retryable(failure: &Failure, refused: &[String]) -> bool {
    let listed = |name: &str| refused.iter().any(|refused| refused == name);
    match &failure.failure_info {
        Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => false,
        Some(FailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::ApplicationFailureInfo(info)) => !info.non_retryable && !listed(&info.r#type),
        Some(FailureInfo::TimeoutFailureInfo(info)) => match info.timeout_type() {
            TimeoutType::StartToClose => !listed("TemporalTimeout:StartToClose"),
            TimeoutType::Heartbeat => !listed("TemporalTimeout:Heartbeat"),
            _ => false,
        },
        _ => true,
    }
}

fn timeout_type(name: &str) -> Option<TimeoutType> {
    Some(match name {
        "StartToClose" => TimeoutType::StartToClose,
        "ScheduleToStart" => TimeoutType::ScheduleToStart,
        "ScheduleToClose" => TimeoutType::ScheduleToClose,
        "Heartbeat" => TimeoutType::Heartbeat,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use mainspring_api::v1::failure::ApplicationFailureInfo;

    use super::*;

    fn application(non_retryable: bool, r#type: &str) -> Failure {
        let info = ApplicationFailureInfo { non_retryable, r#type: r#type.to_owned(), ..Default::default() };
        Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
    }

    fn next(policy: &RetryPolicy, attempt: i32, failure: &Failure, expires_ms: i64) -> Decision {
        decide(Some(policy), attempt, failure, Timestamp::ZERO, Timestamp::from_millis(expires_ms))
    }

    #[test]
    fn intervals_grow_to_the_maximum() {
        let policy = with_defaults(None);
        let seconds = |attempt| match next(&policy, attempt, &application(false, ""), i64::MAX) {
            Decision::After(interval) => interval.as_secs(),
            Decision::Stop(_) => 0,
        };
        assert_eq!([1, 2, 3, 8, 60].map(seconds), [1, 2, 4, 100, 100]);
    }

    #[test]
    fn stops_say_why() {
        let policy = RetryPolicy {
            maximum_attempts: 3,
            non_retryable_error_types: vec!["Fatal".to_owned()],
            ..with_defaults(None)
        };
        let far = i64::MAX;
        assert_eq!(next(&policy, 3, &application(false, ""), far), Decision::Stop(RetryState::MaximumAttemptsReached));
        assert_eq!(next(&policy, 1, &application(true, ""), far), Decision::Stop(RetryState::NonRetryableFailure));
        assert_eq!(
            next(&policy, 1, &application(false, "Fatal"), far),
            Decision::Stop(RetryState::NonRetryableFailure)
        );
        assert_eq!(next(&policy, 2, &application(false, ""), 1_999), Decision::Stop(RetryState::Timeout));
        assert_eq!(
            decide(None, 1, &application(false, ""), Timestamp::ZERO, Timestamp::MAX),
            Decision::Stop(RetryState::RetryPolicyNotSet)
        );
    }

    #[test]
    fn bad_policies_are_refused_unless_they_never_retry() {
        let bad = RetryPolicy { backoff_coefficient: 0.5, ..with_defaults(None) };
        assert!(validate(&bad).is_err());
        assert!(validate(&RetryPolicy { maximum_attempts: 1, ..bad }).is_ok());
        let bad =
            RetryPolicy { non_retryable_error_types: vec!["TemporalTimeout:Never".into()], ..with_defaults(None) };
        assert!(validate(&bad).is_err());
    }
}
