//! What is open in a run, as DescribeWorkflowExecution shows it.

use std::time::Duration;

use mainspring_api::{
    time::{duration, timestamp},
    v1::{
        activity::ActivityOptions,
        common::ActivityType,
        enums::{PendingActivityState, PendingWorkflowTaskState},
        workflow::{
            PendingActivityInfo, PendingChildExecutionInfo, PendingWorkflowTaskInfo,
            pending_activity_info::{
                PauseInfo,
                pause_info::{Manual, PausedBy},
            },
        },
    },
};
use mainspring_engine::state::{Activity, Child, Pause, WorkflowTask};
use mainspring_rt::Timestamp;

use crate::{activity_tasks::priority, workflow_tasks::normal_queue};

/// A stored span of nanoseconds; 0 is none, told as zero.
pub(crate) fn span(nanos: i64) -> Option<prost_types::Duration> {
    Some(duration(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
}

/// A stored time; 0 is never.
pub(crate) fn time(nanos: i64) -> Option<prost_types::Timestamp> {
    (nanos != 0).then(|| timestamp(Timestamp::from_nanos(nanos)))
}

/// A deadline, if there is one.
pub(crate) fn deadline(at: Timestamp) -> Option<prost_types::Timestamp> {
    (at != Timestamp::MAX).then(|| timestamp(at))
}

pub(crate) fn workflow_task(task: &WorkflowTask) -> PendingWorkflowTaskInfo {
    let state = if task.is_started() { PendingWorkflowTaskState::Started } else { PendingWorkflowTaskState::Scheduled };
    let original = if task.original_scheduled_at == 0 { task.scheduled_at } else { task.original_scheduled_at };
    PendingWorkflowTaskInfo {
        state: state as i32,
        scheduled_time: time(task.scheduled_at),
        original_scheduled_time: time(original),
        started_time: time(task.started_at),
        attempt: task.attempt,
    }
}

pub(crate) fn activity(activity: &Activity) -> PendingActivityInfo {
    let policy = activity.retry_policy.clone().unwrap_or_default();
    let waits_for_retry = !activity.is_started() && !activity.dispatched && activity.retry_interval != 0;
    PendingActivityInfo {
        activity_id: activity.activity_id.clone(),
        activity_type: Some(ActivityType { name: activity.activity_type.clone() }),
        state: activity_state(activity) as i32,
        heartbeat_details: activity.heartbeat_details.clone(),
        last_heartbeat_time: time(activity.last_heartbeat_at),
        last_started_time: time(activity.started_at),
        attempt: activity.attempt,
        maximum_attempts: policy.maximum_attempts,
        scheduled_time: time(if activity.is_started() { activity.scheduled_at } else { activity.attempt_scheduled_at }),
        expiration_time: deadline(activity.expires_at()),
        last_failure: activity.last_failure.clone(),
        last_worker_identity: worker_of(activity),
        current_retry_interval: span(activity.retry_interval).filter(|_| waits_for_retry),
        last_attempt_complete_time: time(activity.last_attempt_complete_at),
        next_attempt_schedule_time: time(activity.attempt_scheduled_at).filter(|_| waits_for_retry),
        priority: priority(activity.priority_key),
        paused: activity.is_paused(),
        pause_info: activity.paused.as_ref().map(pause_info),
        activity_options: Some(ActivityOptions {
            task_queue: Some(normal_queue(&activity.task_queue)),
            schedule_to_close_timeout: span(activity.schedule_to_close),
            schedule_to_start_timeout: span(activity.schedule_to_start),
            start_to_close_timeout: span(activity.start_to_close),
            heartbeat_timeout: span(activity.heartbeat),
            retry_policy: Some(policy),
            priority: priority(activity.priority_key),
            start_delay: None,
        }),
        ..PendingActivityInfo::default()
    }
}

fn activity_state(activity: &Activity) -> PendingActivityState {
    match (activity.is_started(), activity.is_paused()) {
        (false, false) => PendingActivityState::Scheduled,
        (false, true) => PendingActivityState::Paused,
        (true, _) if activity.cancel_requested_event_id != 0 => PendingActivityState::CancelRequested,
        (true, false) => PendingActivityState::Started,
        (true, true) => PendingActivityState::PauseRequested,
    }
}

fn pause_info(pause: &Pause) -> PauseInfo {
    let manual = Manual { identity: pause.identity.clone(), reason: pause.reason.clone() };
    PauseInfo { pause_time: time(pause.at), paused_by: Some(PausedBy::Manual(manual)) }
}

fn worker_of(activity: &Activity) -> String {
    if activity.is_started() { activity.started_identity.clone() } else { activity.last_worker_identity.clone() }
}

pub(crate) fn child(child: &Child) -> PendingChildExecutionInfo {
    PendingChildExecutionInfo {
        workflow_id: child.workflow_id.clone(),
        run_id: child.run_id.clone(),
        workflow_type_name: child.workflow_type.clone(),
        initiated_id: child.initiated_event_id,
        parent_close_policy: child.parent_close_policy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Activity {
        Activity { attempt: 1, dispatched: true, scheduled_at: 10, attempt_scheduled_at: 10, ..Activity::default() }
    }

    #[test]
    fn a_waiting_activity_is_scheduled_and_shows_no_retry() {
        let shown = activity(&waiting());
        assert_eq!(shown.state(), PendingActivityState::Scheduled);
        assert!(shown.next_attempt_schedule_time.is_none() && shown.expiration_time.is_none());
    }

    #[test]
    fn a_started_one_shows_its_worker_and_whether_it_is_to_stop() {
        let started = Activity { started_at: 20, started_identity: "worker".to_owned(), ..waiting() };
        let shown = activity(&started);
        assert_eq!((shown.state(), shown.last_worker_identity.as_str()), (PendingActivityState::Started, "worker"));
        let stopping = activity(&Activity { cancel_requested_event_id: 7, ..started });
        assert_eq!(stopping.state(), PendingActivityState::CancelRequested);
    }

    #[test]
    fn between_attempts_it_shows_when_the_next_is_due() {
        let between =
            Activity { attempt: 2, dispatched: false, retry_interval: 5, attempt_scheduled_at: 25, ..waiting() };
        let shown = activity(&between);
        assert_eq!(shown.next_attempt_schedule_time, time(25));
        assert_eq!(shown.current_retry_interval, span(5));
    }

    #[test]
    fn a_workflow_task_is_scheduled_until_it_is_started() {
        let task = WorkflowTask { scheduled_at: 10, attempt: 1, ..WorkflowTask::default() };
        assert_eq!(workflow_task(&task).state(), PendingWorkflowTaskState::Scheduled);
        let started = workflow_task(&WorkflowTask { started_event_id: 3, started_at: 20, ..task });
        assert_eq!(started.state(), PendingWorkflowTaskState::Started);
        assert_eq!(started.original_scheduled_time, time(10));
    }
}
