//! Calls that fail or come late because a test wants it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tonic::{Code, Status};

/// By the names of methods.
#[derive(Debug, Default)]
pub(super) struct Faults {
    failures: BTreeMap<String, VecDeque<(Code, String)>>,
    delays: BTreeMap<String, Duration>,
}

impl Faults {
    pub(super) fn fail_next(&mut self, method: &str, code: Code, message: &str) {
        self.failures.entry(method.to_owned()).or_default().push_back((code, message.to_owned()));
    }

    pub(super) fn delay(&mut self, method: &str, by: Duration) {
        if by.is_zero() {
            self.delays.remove(method);
        } else {
            self.delays.insert(method.to_owned(), by);
        }
    }

    /// What happens to a call of this method.
    pub(super) fn take(&mut self, method: &str) -> (Option<Duration>, Option<Status>) {
        let failure = self.failures.get_mut(method).and_then(VecDeque::pop_front);
        (self.delays.get(method).copied(), failure.map(|(code, message)| Status::new(code, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_happens_once_and_delays_until_they_are_taken_back() {
        let mut faults = Faults::default();
        faults.fail_next("Signal", Code::Unavailable, "first");
        faults.fail_next("Signal", Code::Internal, "second");
        faults.delay("Signal", Duration::from_millis(5));
        let mut code = || {
            let (delay, failure) = faults.take("Signal");
            (delay.is_some(), failure.map(|failure| failure.code()))
        };
        assert_eq!(code(), (true, Some(Code::Unavailable)));
        assert_eq!(code(), (true, Some(Code::Internal)));
        assert_eq!(code(), (true, None));
        faults.delay("Signal", Duration::ZERO);
        assert_eq!(faults.take("Signal").0, None);
        assert_eq!(faults.take("Start").0, None);
    }
}
