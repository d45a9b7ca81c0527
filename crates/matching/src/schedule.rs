//! When `tick` is next wanted.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard},
};

use mainspring_rt::Timestamp;

use crate::name::QueueHash;

/// The wake times of the queues, and the sweep. The innermost lock: held for a few instructions under any other.
#[derive(Default)]
pub(crate) struct Schedule(Mutex<Times>);

#[derive(Default)]
struct Times {
    wakes: BTreeSet<(Timestamp, QueueHash)>,
    /// `None` while no queue is in memory.
    sweep: Option<Timestamp>,
}

impl Schedule {
    /// A queue wants to be woken at another time than before, or no more.
    pub(crate) fn change(&self, queue: QueueHash, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before != after {
            let mut times = self.lock();
            before.map(|at| times.wakes.remove(&(at, queue)));
            times.wakes.extend(after.map(|at| (at, queue)));
        }
    }

    /// A queue came into memory: sweep at `at` unless that is to happen sooner.
    pub(crate) fn sweep_by(&self, at: Timestamp) {
        let mut times = self.lock();
        times.sweep = Some(times.sweep.map_or(at, |sooner| sooner.min(at)));
    }

    /// No queue is in memory.
    pub(crate) fn stop_sweeping(&self) {
        self.lock().sweep = None;
    }

    /// The queues whose time has come, in the order of their times.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<QueueHash> {
        self.lock().wakes.iter().take_while(|(at, _)| *at <= now).map(|(_, queue)| *queue).collect()
    }

    /// Whether to sweep now; if so the next sweep is at `next`.
    pub(crate) fn begin_sweep(&self, now: Timestamp, next: Timestamp) -> bool {
        let mut times = self.lock();
        let due = times.sweep.is_some_and(|at| at <= now);
        if due {
            times.sweep = Some(next);
        }
        due
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        let times = self.lock();
        let wake = times.wakes.first().map(|(at, _)| *at);
        wake.into_iter().chain(times.sweep).min()
    }

    /// Whether exactly these queues are to be woken, and whether a sweep is planned.
    pub(crate) fn check(&self, wakes: BTreeSet<(Timestamp, QueueHash)>, sweeps: bool) -> Result<(), String> {
        let times = self.lock();
        if times.wakes != wakes {
            return Err("the wake times differ from what the queues want".into());
        }
        match times.sweep.is_some() == sweeps {
            true => Ok(()),
            false => Err("a sweep is planned without need, or is not".into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().expect("nothing in here panics")
    }
}
