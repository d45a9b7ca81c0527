//! What happened at least sometimes: a fault or a rare path that no seed of many ever meets is not tested at all.

use std::collections::BTreeMap;

/// Every fact that is counted, so that one which never holds shows as zero.
pub const FACTS: &[&str] = &[
    "activity cancelled",
    "activity completed",
    "activity completed by id",
    "activity eager",
    "activity failed",
    "activity heartbeat",
    "activity retried",
    "activity timed out",
    "all evicted",
    "answer dropped unsent",
    "answer late",
    "answer lost",
    "answer to nobody",
    "cache full",
    "call cut",
    "chain: already started",
    "chain: open run terminated for a new one",
    "chain: start deduplicated",
    "child closed",
    "child refused",
    "child started",
    "clock jumped forward",
    "clock stepped back",
    "close awaited",
    "commit not written, unknown",
    "commit refused",
    "commit written, unknown",
    "continued as new",
    "crash",
    "crash with batches in flight",
    "events held back",
    "external cancel delivered",
    "external refused",
    "external signal delivered",
    "history followed",
    "history followed to its end",
    "history read by a worker",
    "node could not start",
    "poison",
    "poller left",
    "query answered",
    "query task",
    "query unanswered",
    "query with a workflow task",
    "read failed",
    "read slow",
    "refused for want of room",
    "replaced with batches in flight",
    "request late",
    "request lost",
    "request repeated",
    "retention over",
    "run retried",
    "run terminated",
    "run timed out",
    "signal limit reached",
    "signal to closed run refused",
    "signal with start",
    "sticky hit",
    "sticky miss",
    "sticky queue left",
    "sticky queue reset",
    "stopped in good order",
    "task held up",
    "speculative workflow task",
    "speculative workflow task made real",
    "timer cancelled",
    "timer fired",
    "unhandled command",
    "update aborted by the run's end",
    "update accepted",
    "update accepted and no further",
    "update admitted and no further",
    "update asked for by another",
    "update completed",
    "update given up for a failing task",
    "update known to the worker alone",
    "update limit reached",
    "update lost and brought again",
    "update of a run that closed first",
    "update rejected",
    "update rejected without a trace",
    "update that no worker answered",
    "update to closed run refused",
    "update to no run refused",
    "update to wait for room",
    "update with start",
    "update with start of a run there is",
    "update with start refused",
    "update's outcome awaited",
    "worker died",
    "worker died with tasks",
    "worker idled",
    "workflow cancelled",
    "workflow task failed",
    "workflow task heartbeat",
    "workflow task inline",
    "workflow task timed out",
    "workflow task transient",
    "write slow",
];

/// Facts that two thousand seeds may well not meet.
pub const RARE: &[&str] = &[];

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
