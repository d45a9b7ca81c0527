//! What callers were told is done: all of it must be found in the histories, once.

use std::collections::BTreeMap;

use mainspring_engine::outcome::StartedRun;
use mainspring_history::shard::ChainKey;

/// An acknowledged start.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) key: ChainKey,
    pub(crate) run_id: String,
    /// The request made the run; else it used one that was open.
    pub(crate) made: bool,
}

/// An acknowledged end of an activity.
#[derive(Clone, Debug)]
pub(crate) struct ActivityEnd {
    pub(crate) shard: u16,
    pub(crate) run: u64,
    pub(crate) result: String,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// By request id.
    pub(crate) starts: BTreeMap<String, Start>,
    /// By request id.
    pub(crate) signals: BTreeMap<String, ChainKey>,
    pub(crate) activities: Vec<ActivityEnd>,
    /// Start requests that were answered more than once.
    pub(crate) repeated: u64,
}

impl Ledger {
    /// The same request must be told the same run, until that run's retention is over.
    pub(crate) fn started(
        &mut self,
        key: &ChainKey,
        request_id: &str,
        told: &StartedRun,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let start = Start { key: key.clone(), run_id: told.run_id.clone(), made: told.started };
        match self.starts.insert(request_id.to_owned(), start.clone()) {
            Some(before) if before.made && before.run_id != start.run_id && !is_gone(&before.run_id) => {
                Err(format!("{request_id} was told run {}, now {}", before.run_id, start.run_id))
            }
            Some(_) => {
                self.repeated += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn signalled(&mut self, key: &ChainKey, request_id: &str) {
        self.signals.insert(request_id.to_owned(), key.clone());
    }

    /// The runs of a workflow id that clients know of.
    pub(crate) fn run_ids(&self, key: &ChainKey) -> Vec<String> {
        self.starts.values().filter(|start| start.key == *key).map(|start| start.run_id.clone()).collect()
    }
}
