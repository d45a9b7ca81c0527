//! Retry policies of activities and workflows.

use std::time::Duration;

use mainspring_api::{time, v1::common};

/// When and how often an activity or a workflow is tried again after it failed.
///
/// What is left out takes the server's default: 1 s, doubling, up to 100 times the first interval, without end.
///
/// ```
/// use std::time::Duration;
/// use mainspring_sdk::RetryPolicy;
///
/// let policy = RetryPolicy::new().max_attempts(5).non_retryable(["CardDeclined"]).initial(Duration::from_millis(200));
/// assert_eq!(policy.max_attempts, 5);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The pause before the second attempt.
    pub initial: Option<Duration>,
    /// What the pause is multiplied with after each attempt; at least 1.
    pub backoff: Option<f64>,
    /// The longest pause.
    pub max_interval: Option<Duration>,
    /// How many attempts are made in all; 0 is without limit, 1 is no retry.
    pub max_attempts: i32,
    /// Types of failures that are not tried again.
    pub non_retryable: Vec<String>,
}

impl RetryPolicy {
    /// A policy of the server's defaults.
    pub fn new() -> RetryPolicy {
        RetryPolicy::default()
    }

    /// One attempt and no more.
    pub fn never() -> RetryPolicy {
        RetryPolicy::new().max_attempts(1)
    }

    /// Sets the pause before the second attempt.
    #[must_use]
    pub fn initial(mut self, interval: Duration) -> Self {
        self.initial = Some(interval);
        self
    }

    /// Sets what the pause is multiplied with after each attempt.
    #[must_use]
    pub fn backoff(mut self, coefficient: f64) -> Self {
        self.backoff = Some(coefficient);
        self
    }

    /// Sets the longest pause.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = Some(interval);
        self
    }

    /// Sets how many attempts are made in all; 0 is without limit.
    #[must_use]
    pub fn max_attempts(mut self, attempts: i32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the types of failures that are not tried again.
    #[must_use]
    pub fn non_retryable<S: Into<String>>(mut self, kinds: impl IntoIterator<Item = S>) -> Self {
        self.non_retryable = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// The wire form.
    pub fn to_proto(&self) -> common::RetryPolicy {
        common::RetryPolicy {
            initial_interval: self.initial.map(time::duration),
            backoff_coefficient: self.backoff.unwrap_or_default(),
            maximum_interval: self.max_interval.map(time::duration),
            maximum_attempts: self.max_attempts,
            non_retryable_error_types: self.non_retryable.clone(),
        }
    }

    /// From the wire form.
    pub fn from_proto(policy: &common::RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            initial: policy.initial_interval.as_ref().map(|span| time::from_duration(Some(span))),
            backoff: (policy.backoff_coefficient != 0.0).then_some(policy.backoff_coefficient),
            max_interval: policy.maximum_interval.as_ref().map(|span| time::from_duration(Some(span))),
            max_attempts: policy.maximum_attempts,
            non_retryable: policy.non_retryable_error_types.clone(),
        }
    }

    /// The pause after the failed attempt `attempt` (from 1); nothing when it was the last one. For local activities,
    /// which the worker itself retries.
    pub fn pause_after(&self, attempt: i32) -> Option<Duration> {
        if self.max_attempts > 0 && attempt >= self.max_attempts {
            return None;
        }
        let initial = self.initial.unwrap_or(Duration::from_secs(1));
        let longest = self.max_interval.unwrap_or(initial.saturating_mul(100)).as_secs_f64();
        let pause = initial.as_secs_f64() * self.backoff.unwrap_or(2.0).powi(attempt.saturating_sub(1));
        Some(Duration::try_from_secs_f64(pause.min(longest)).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_survive_the_wire() {
        let policy = RetryPolicy::new()
            .initial(Duration::from_millis(10))
            .backoff(1.5)
            .max_interval(Duration::from_secs(9))
            .max_attempts(3)
            .non_retryable(["A"]);
        assert_eq!(RetryPolicy::from_proto(&policy.to_proto()), policy);
        assert_eq!(RetryPolicy::from_proto(&RetryPolicy::new().to_proto()), RetryPolicy::new());
    }

    #[test]
    fn pauses_grow_to_the_longest_and_end() {
        let policy = RetryPolicy::new().max_interval(Duration::from_secs(3)).max_attempts(4);
        let pauses: Vec<_> = (1..=4).map(|attempt| policy.pause_after(attempt).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(3), None]);
        assert_eq!(RetryPolicy::new().pause_after(60), Some(Duration::from_secs(100)));
    }
}
