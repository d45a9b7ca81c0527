//! What a worker did, as counters that scenarios watch.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tonic::{Code, Status};

use crate::figures::latency::Latencies;
use crate::figures::report::Report;
use crate::locked;
use crate::rpc::told;

#[derive(Default)]
pub(crate) struct Tally {
    workflow_tasks: AtomicU64,
    activities: AtomicU64,
    closed: AtomicU64,
    errors: AtomicU64,
    /// Answers that came after the server had given the task up.
    late: AtomicU64,
    first_error: Mutex<Option<String>>,
    /// Time between consecutive workflow tasks of one run, in order of arrival.
    pub(crate) steps: Mutex<Latencies>,
    /// By how much a task that a timer caused came after the timer's due time.
    pub(crate) late_polls: Mutex<Latencies>,
    /// The same of the recorded event.
    pub(crate) late_events: Mutex<Latencies>,
    progress: Notify,
}

impl Tally {
    pub(crate) fn workflow_tasks(&self) -> u64 {
        self.workflow_tasks.load(Relaxed)
    }

    pub(crate) fn activities(&self) -> u64 {
        self.activities.load(Relaxed)
    }

    /// Workflows that were completed.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    pub(crate) fn late(&self) -> u64 {
        self.late.load(Relaxed)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    pub(crate) fn first_error(&self) -> Option<String> {
        locked(&self.first_error).clone()
    }

    /// Counts the errors of the worker as errors of the run.
    pub(crate) fn blame(&self, report: &mut Report) {
        report.blame(self.errors() + self.late(), self.first_error());
    }

    /// Waits until `done` holds. Answers false when nothing moved for `stall` before that.
    pub(crate) async fn wait_until(&self, stall: Duration, done: impl Fn(&Tally) -> bool) -> bool {
        loop {
            let moved = self.progress.notified();
            if done(self) {
                return true;
            }
            if tokio::time::timeout(stall, moved).await.is_err() {
                return done(self);
            }
        }
    }

    pub(super) fn workflow_task_done(&self, closes: bool) {
        self.workflow_tasks.fetch_add(1, Relaxed);
        self.closed.fetch_add(u64::from(closes), Relaxed);
        self.progress.notify_waiters();
    }

    pub(super) fn activity_done(&self) {
        self.activities.fetch_add(1, Relaxed);
        self.progress.notify_waiters();
    }

    pub(super) fn fail(&self, call: &str, status: &Status) {
        // NOT_FOUND is what a task is answered with that has timed out meanwhile.
        let counter = if status.code() == Code::NotFound { &self.late } else { &self.errors };
        counter.fetch_add(1, Relaxed);
        locked(&self.first_error).get_or_insert_with(|| format!("worker: {call}: {}", told(status)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_when_it_is_done_or_when_nothing_moves() {
        let tally = Tally::default();
        assert!(!tally.wait_until(Duration::ZERO, |tally| tally.closed() == 1).await);
        tally.workflow_task_done(true);
        assert!(tally.wait_until(Duration::from_secs(5), |tally| tally.closed() == 1).await);
    }

    #[test]
    fn an_answer_that_came_too_late_is_told_apart() {
        let tally = Tally::default();
        tally.fail("Respond", &Status::not_found("gone"));
        tally.fail("Respond", &Status::internal("broken"));
        assert_eq!((tally.late(), tally.errors()), (1, 1));
        let mut report = Report::default();
        tally.blame(&mut report);
        assert_eq!((report.errors, report.first_error.as_deref()), (2, Some("worker: Respond: NotFound gone")));
    }
}
