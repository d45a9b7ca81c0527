//! Heartbeats: the newest details wait here until it is time to send them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
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
    state: Mutex<State>,
    come: Notify,
    /// Set by tests, which want every one of them.
    all: Option<Mutex<Vec<Vec<Payload>>>>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest, unless they are being sent.
    waiting: Option<Vec<Payload>>,
    /// On their way, perhaps.
    sending: Option<Vec<Payload>>,
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
        self.state().waiting = Some(details);
        self.come.notify_one();
    }

    /// Waits for details to send; [`sent`](Pulse::sent) says that they were. Cancel safe.
    pub(crate) async fn next(&self) -> Vec<Payload> {
        loop {
            {
                let mut state = self.state();
                if let Some(details) = state.waiting.take() {
                    state.sending = Some(details.clone());
                    return details;
                }
            }
            self.come.notified().await;
        }
    }

    /// What was to be sent has arrived.
    pub(crate) fn sent(&self) {
        self.state().sending = None;
    }

    /// The newest details that the server may not have, for the end of the activity.
    pub(crate) fn unsent(&self) -> Option<Vec<Payload>> {
        let mut state = self.state();
        state.waiting.take().or(state.sending.take())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    }

    #[tokio::test]
    async fn details_that_were_not_sent_are_not_lost() {
        let pulse = Pulse::default();
        assert_eq!(pulse.unsent(), None);
        pulse.beat(vec![crate::payload::null()]);
        let details = pulse.next().await;
        assert_eq!(pulse.unsent(), Some(details));
        pulse.beat(vec![]);
        pulse.next().await;
        pulse.sent();
        assert_eq!(pulse.unsent(), None);
    }
}
