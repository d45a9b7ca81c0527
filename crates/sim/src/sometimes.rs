//! What happened at least sometimes: a fault or a rare path that no seed of many ever meets is not tested at all.

use std::collections::BTreeMap;

/// Every fact that is counted, so that one which never holds shows as zero.
pub const FACTS: &[&str] = &[
    "activity cancelled",
    "activity completed",
    "activity completed by id",
    "activity failed",
    "activity heartbeat",
    "activity retried",
    "activity timed out",
    "all evicted",
    "answer late",
    "answer lost",
    "answer repeated",
    "buffered events",
    "chain: start deduplicated",
    "chain: already started",
    "chain: open run terminated for a new one",
    "child closed",
    "child refused",
    "child started",
    "claim unknown",
    "clock stepped back",
    "clock stood still",
    "commit not written, unknown",
    "commit refused",
    "commit written, unknown",
    "continued as new",
    "crash",
    "crash with batches in flight",
    "delivery lost",
    "effect on itself",
    "external cancel delivered",
    "external refused",
    "external signal delivered",
    "history from the store",
    "history from the tail",
    "namespace unknown",
    "poison",
    "poller left in line",
    "poller left reserved",
    "read failed",
    "retention over",
    "run retried",
    "run terminated",
    "run timed out",
    "signal to closed run refused",
    "signal limit reached",
    "signal refused while closing",
    "signal with start",
    "sticky hit",
    "sticky miss",
    "sticky queue left",
    "task row deleted unread",
    "task row matched",
    "timer cancelled",
    "timer fired",
    "undelivered",
    "unhandled command",
    "watch answered",
    "worker died with tasks",
    "workflow cancelled",
    "workflow task failed",
    "workflow task inline",
    "workflow task timed out",
    "workflow task transient",
];

/// Facts that a thousand seeds may well not meet; the second is a known bug (see `endings`).
pub const RARE: &[&str] = &["signal refused while closing"];

/// Counts by fact.
#[derive(Clone, Debug)]
pub struct Sometimes(BTreeMap<&'static str, u64>);

impl Default for Sometimes {
    fn default() -> Self {
        Sometimes(FACTS.iter().map(|fact| (*fact, 0)).collect())
    }
}

impl Sometimes {
    pub(crate) fn saw(&mut self, fact: &'static str) {
        match self.0.get_mut(fact) {
            Some(count) => *count += 1,
            None => debug_assert!(false, "{fact} is not among the facts"),
        }
    }

    /// Takes the counts of another run in.
    pub fn add(&mut self, other: &Sometimes) {
        for (fact, count) in &other.0 {
            *self.0.entry(fact).or_default() += count;
        }
    }

    /// Each fact and how often it held, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(fact, count)| (*fact, *count))
    }
}
