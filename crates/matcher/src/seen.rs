//! The poller history: who asked lately.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainspring_rt::Timestamp;

use crate::{
    limits::{IDENTITIES_MAX, IDENTITY_TTL},
    task::Version,
};

/// A worker that polled within the last five minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its name for itself.
    pub identity: Arc<str>,
    /// The version it last polled with.
    pub version: Version,
    /// When it last polled.
    pub last_access: Timestamp,
    /// The tasks per second that it last asked for at most.
    pub rate: Option<f64>,
}

/// The latest [`IDENTITIES_MAX`] identities.
#[derive(Default)]
pub(crate) struct PollerHistory {
    by_identity: BTreeMap<Arc<str>, LastPoll>,
    by_time: BTreeSet<(Timestamp, Arc<str>)>,
}

struct LastPoll {
    at: Timestamp,
    version: Version,
    rate: Option<f64>,
}

impl PollerHistory {
    pub(crate) fn record(&mut self, identity: Arc<str>, version: Version, rate: Option<f64>, now: Timestamp) {
        let poll = LastPoll { at: now, version, rate };
        if let Some(before) = self.by_identity.insert(identity.clone(), poll) {
            self.by_time.remove(&(before.at, identity.clone()));
        }
        self.by_time.insert((now, identity));
        while let Some((oldest, identity)) = self.by_time.first() {
            if self.by_time.len() <= IDENTITIES_MAX && *oldest + IDENTITY_TTL > now {
                break;
            }
            self.by_identity.remove(identity);
            self.by_time.pop_first();
        }
    }

    /// By identity.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<Seen> {
        let fresh = self.by_identity.iter().filter(|(_, last)| last.at + IDENTITY_TTL > now);
        fresh
            .map(|(identity, last)| Seen {
                identity: identity.clone(),
                version: last.version.clone(),
                last_access: last.at,
                rate: last.rate,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn identities(history: &PollerHistory, now: Timestamp) -> Vec<(String, Timestamp)> {
        history.list(now).into_iter().map(|seen| (seen.identity.to_string(), seen.last_access)).collect()
    }

    #[test]
    fn an_identity_is_listed_for_five_minutes_after_its_last_poll() {
        let mut history = PollerHistory::default();
        history.record("a".into(), Version::UNVERSIONED, None, at(0));
        history.record("b".into(), Version::UNVERSIONED, None, at(10));
        history.record("a".into(), Version::UNVERSIONED, None, at(20));
        assert_eq!(identities(&history, at(30)), [("a".into(), at(20)), ("b".into(), at(10))]);
        assert_eq!(identities(&history, at(310)), [("a".into(), at(20))]);
        history.record("c".into(), Version::UNVERSIONED, None, at(400));
        assert_eq!(history.by_identity.len(), 1);
    }

    #[test]
    fn the_oldest_identities_make_room() {
        let mut history = PollerHistory::default();
        for n in 0..IDENTITIES_MAX + 5 {
            history.record(
                format!("{n:05}").into(),
                Version::UNVERSIONED,
                None,
                at(0) + std::time::Duration::from_nanos(n as u64),
            );
        }
        let listed = identities(&history, at(1));
        assert_eq!((listed.len(), listed[0].0.as_str()), (IDENTITIES_MAX, "00005"));
        assert_eq!(history.by_time.len(), IDENTITIES_MAX);
    }
}
