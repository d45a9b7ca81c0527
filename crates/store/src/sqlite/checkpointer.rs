//! The thread that works behind the commits: it moves the log into the database and records what was acknowledged.
//!
//! It sleeps without a timer while nothing was committed, so that an idle server stays idle.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::watch;

use super::{
    acked::AckedFile,
    failure::{Health, Trouble},
};

/// The acknowledged number is recorded at least this often while it rises.
const ACKED_DELAY: Duration = Duration::from_secs(1);

/// What the committer tells the checkpointer.
pub(super) struct Upkeep {
    state: Mutex<State>,
    changed: Condvar,
    acked: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The newest acknowledged group, and the newest one recorded beside the database.
    committed: u64,
    recorded: u64,
    checkpoint_due: bool,
    /// The pass that was asked for last has ended, and nobody knows yet.
    checkpointed: bool,
    closing: bool,
}

impl Upkeep {
    /// Everything up to `group` is committed and recorded.
    pub(super) fn new(group: u64) -> Upkeep {
        let state = State { committed: group, recorded: group, ..State::default() };
        Upkeep { state: Mutex::new(state), changed: Condvar::new(), acked: watch::Sender::new(group) }
    }

    /// Follows the newest group that is recorded as acknowledged.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.acked.subscribe()
    }

    /// Group `group` is durable. The thread is woken only for the first one since it last looked.
    pub(super) fn committed(&self, group: u64) {
        let mut state = self.lock();
        let was_clean = state.committed == state.recorded;
        state.committed = group;
        drop(state);
        if was_clean {
            self.changed.notify_one();
        }
    }

    /// The log has grown enough.
    pub(super) fn checkpoint(&self) {
        let mut state = self.lock();
        state.checkpoint_due = true;
        state.checkpointed = false;
        drop(state);
        self.changed.notify_one();
    }

    /// True once after each pass over the log: then little is left in it.
    pub(super) fn take_checkpointed(&self) -> bool {
        std::mem::take(&mut self.lock().checkpointed)
    }

    /// Lets the thread record what is left and end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
    }

    /// Waits for a checkpoint to be due, for the delay after the first unrecorded commit, or for the end.
    fn wait(&self) -> Turn {
        let woken = |state: &State| state.checkpoint_due || state.closing;
        let state = self.lock();
        let state = self
            .changed
            .wait_while(state, |state| !woken(state) && state.committed == state.recorded)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, ACKED_DELAY, |state| !woken(state))
            .unwrap_or_else(PoisonError::into_inner);
        let checkpoint = std::mem::take(&mut state.checkpoint_due);
        let record = (state.committed > state.recorded).then_some(state.committed);
        Turn { checkpoint, record, closing: state.closing }
    }

    fn recorded(&self, group: u64) {
        self.lock().recorded = group;
        self.acked.send_replace(group);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Turn {
    checkpoint: bool,
    record: Option<u64>,
    closing: bool,
}

/// The thread's own things.
pub(super) struct Checkpointer {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) acked: AckedFile,
    pub(super) upkeep: Arc<Upkeep>,
    pub(super) health: Arc<Health>,
}

impl Checkpointer {
    /// Works until the store is closed, by then the last connection to the file.
    pub(super) fn run(mut self) {
        loop {
            let turn = self.upkeep.wait();
            // After a failed sync the log is all there is: nothing may move it any more.
            if self.health.check().is_ok() {
                if turn.checkpoint {
                    self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
                    self.upkeep.lock().checkpointed = true;
                }
                if let Some(group) = turn.record {
                    self.record(group);
                }
            }
            if turn.closing {
                return self.finish();
            }
            if self.health.check().is_err() {
                return;
            }
        }
    }

    fn checkpoint(&self, pragma: &str) {
        if let Err(error) = checkpoint(&self.connection, pragma) {
            self.health.report(&Trouble::from(&error), "moving the log into the database");
        }
    }

    fn record(&mut self, group: u64) {
        match self.acked.write(group) {
            Ok(()) => self.upkeep.recorded(group),
            Err(error) => {
                let doing = format!("recording the acknowledged group beside {}", self.path.display());
                self.health.report(&Trouble::from(&error), &doing);
            }
        }
    }

    /// Leaves one file behind, without a log, if all is well.
    fn finish(self) {
        if self.health.check().is_err() {
            return;
        }
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        if self.health.check().is_ok() {
            // Should this fail, an empty log stays behind, which does no harm.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

/// Runs a checkpoint; false if a reader or another checkpoint kept it from finishing.
pub(super) fn checkpoint(connection: &Connection, pragma: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached(pragma)?.query_row([], |row| Ok(row.get::<_, i64>(0)? == 0))
}
