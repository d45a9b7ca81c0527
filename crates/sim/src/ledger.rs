//! What callers were told is done: all of it must be found in the histories, once. And what left the server for whom.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_rt::Timestamp;

use crate::{update_checks::UpdateLedger, world::Key};

/// An acknowledged start.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) key: Key,
    pub(crate) run_id: String,
    /// The request made the run; else it used one that was open.
    pub(crate) made: bool,
}

/// An acknowledged end of an activity.
#[derive(Clone, Debug)]
pub(crate) struct ActivityEnd {
    pub(crate) run_id: String,
    pub(crate) result: String,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// By request id.
    pub(crate) starts: BTreeMap<String, Start>,
    /// By request id.
    pub(crate) signals: BTreeMap<String, Key>,
    pub(crate) activities: Vec<ActivityEnd>,
    pub(crate) updates: UpdateLedger,
    /// Start requests that were answered more than once.
    pub(crate) repeated: u64,
    /// Attempts of activities that have left the server: run id, activity id, attempt.
    sent: BTreeSet<(String, String, i32)>,
    /// When a started activity was last lost without anybody's fault.
    excused: Timestamp,
}

impl Ledger {
    /// The same request must be told the same run, until that run's retention is over.
    pub(crate) fn started(
        &mut self,
        request_id: &str,
        start: Start,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let told = start.run_id.clone();
        match self.starts.insert(request_id.to_owned(), start) {
            Some(before) if before.made && before.run_id != told && !is_gone(&before.run_id) => {
                Err(format!("{request_id} was told run {}, now {told}", before.run_id))
            }
            Some(_) => {
                self.repeated += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn signalled(&mut self, key: &Key, request_id: &str) {
        self.signals.insert(request_id.to_owned(), key.clone());
    }

    /// The runs of a workflow id that clients know of.
    pub(crate) fn run_ids(&self, key: &Key) -> Vec<String> {
        self.starts.values().filter(|start| start.key == *key).map(|start| start.run_id.clone()).collect()
    }

    pub(crate) fn sent(&mut self, run_id: &str, activity_id: &str, attempt: i32) {
        self.sent.insert((run_id.to_owned(), activity_id.to_owned(), attempt));
    }

    /// A process has died, a commit's outcome is unknown, or the like: what was started then may have reached nobody.
    pub(crate) fn excuse(&mut self, at: Timestamp) {
        self.excused = self.excused.max(at);
    }

    /// Whether an attempt that ran out of time has left the server, or need not have.
    pub(crate) fn was_sent(&self, run_id: &str, activity_id: &str, attempt: i32, started: Timestamp) -> bool {
        let left = self.sent.contains(&(run_id.to_owned(), activity_id.to_owned(), attempt));
        left || self.excused >= started
    }
}
