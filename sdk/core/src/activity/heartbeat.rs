//! Heartbeats: the newest details wait here until it is time to send them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::payload::Payload;

/// What is sent at most this often when the activity has no heartbeat timeout.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
/// What is sent at least this often when the activity tells more often.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The details that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    waiting: Mutex<Option<Vec<Payload>>>,
    come: Notify,
    /// Set by tests, which want every one of them.
    all: Option<Mutex<Vec<Vec<Payload>>>>,
}

impl Pulse {
    /// One that keeps all that is told.
    pub(crate) fn recording() -> Pulse {
        Pulse { all: Some(Mutex::default()), ..Pulse::default() }
    }

    /// Replaces what waits.
    pub(crate) fn beat(&self, details: Vec<Payload>) {
        if let Some(all) = &self.all {
            all.lock().unwrap_or_else(PoisonError::into_inner).push(details.clone());
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(details);
        self.come.notify_one();
    }

    /// What waits, which no longer does.
    pub(crate) fn take(&self) -> Option<Vec<Payload>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for details, which no longer wait then. Cancel safe.
    pub(crate) async fn next(&self) -> Vec<Payload> {
        loop {
            if let Some(details) = self.take() {
                return details;
            }
            self.come.notified().await;
        }
    }

    /// All that was told, of one that [records](Pulse::recording).
    pub(crate) fn recorded(&self) -> Vec<Vec<Payload>> {
        self.all.as_ref().map(|all| all.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }
}

/// How often details are sent at most.
pub(crate) fn interval(timeout: Option<Duration>) -> Duration {
    match timeout.filter(|timeout| !timeout.is_zero()) {
        Some(timeout) => timeout.mul_f64(0.8).min(INTERVAL_MAX),
        None => INTERVAL_DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_other_sdks() {
        let of = |seconds| interval(Some(Duration::from_secs(seconds)));
        assert_eq!(of(10), Duration::from_secs(8));
        assert_eq!(of(600), Duration::from_secs(60));
        assert_eq!((of(0), interval(None)), (Duration::from_secs(30), Duration::from_secs(30)));
    }

    #[tokio::test]
    async fn only_the_newest_details_wait() {
        let pulse = Pulse::default();
        pulse.beat(vec![]);
        pulse.beat(vec![crate::payload::null()]);
        assert_eq!(pulse.next().await.len(), 1);
        assert_eq!(pulse.take(), None);
    }
}
