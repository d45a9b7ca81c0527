//! When a run next has to act by itself.

use std::time::Duration;

use mainspring_rt::Timestamp;

use crate::state::{Activity, Execution, Run, WorkflowTask, add_nanos, or_max};

/// A worker whose answer is on its way when its time ends is not failed for it. Upstream's timers fire up to a second
/// late (`history.timerProcessorMaxTimeShift`), and workers have come to rely on it.
const SLACK: Duration = Duration::from_millis(500);

impl Run {
    /// The earliest deadline of any kind; [`Timestamp::MAX`] when there is none.
    pub fn next_deadline(&self) -> Timestamp {
        let activities = self.activities.values().map(|activity| activity.deadline());
        let timers = self.timers.values().map(|timer| Timestamp::from_nanos(timer.fires_at));
        activities.chain(timers).min().unwrap_or(Timestamp::MAX).min(self.execution_deadline())
    }

    /// When a closed run is deleted that is kept for `retention`, unless somebody wants it to go before.
    pub fn retained_until(&self, retention: Duration) -> Timestamp {
        self.execution.retained_until(retention)
    }

    /// The earliest deadline of the run itself: its workflow task, its timeouts, its start delay.
    pub fn execution_deadline(&self) -> Timestamp {
        if !self.is_open() {
            return Timestamp::MAX;
        }
        let task = self.execution.task.as_ref().map_or(Timestamp::MAX, WorkflowTask::deadline);
        task.min(self.first_task_due()).min(self.expires_at())
    }

    /// When a run that waits for its start delay or backoff has its first workflow task.
    pub(crate) fn first_task_due(&self) -> Timestamp {
        let waits = self.execution.awaits_first_task && !self.execution.awaits_parent;
        if waits { Timestamp::from_nanos(self.fixed.execution_at) } else { Timestamp::MAX }
    }
}

impl Execution {
    /// See [`Run::retained_until`].
    pub fn retained_until(&self, retention: Duration) -> Timestamp {
        let closed_at = Timestamp::from_nanos(self.closed_at);
        if self.delete_requested { closed_at } else { closed_at + retention }
    }
}

impl WorkflowTask {
    /// When the task times out: its start on a sticky queue, or its completion.
    pub fn deadline(&self) -> Timestamp {
        if self.is_started() { add_nanos(self.started_at, self.timeout) + SLACK } else { or_max(self.start_by) }
    }
}

impl Activity {
    /// When the activity next needs the server: a retry that is due, or one of its four timeouts.
    pub fn deadline(&self) -> Timestamp {
        let attempt = if self.is_started() {
            (add_nanos(self.started_at, self.start_to_close) + SLACK).min(self.heartbeat_deadline())
        } else if self.is_paused() {
            Timestamp::MAX
        } else if self.dispatched {
            add_nanos(self.attempt_scheduled_at, self.schedule_to_start)
        } else {
            Timestamp::from_nanos(self.attempt_scheduled_at)
        };
        attempt.min(self.expires_at())
    }

    /// The end over all attempts.
    pub fn expires_at(&self) -> Timestamp {
        add_nanos(self.scheduled_at, self.schedule_to_close)
    }

    pub(crate) fn heartbeat_deadline(&self) -> Timestamp {
        add_nanos(self.last_heartbeat_at.max(self.started_at), self.heartbeat)
    }
}
