//! Activities: retries, timeouts, cancels, heartbeats.

mod world;

use mainspring_api::v1::{
    failure::failure::FailureInfo,
    history::{HistoryEvent, history_event::Attributes},
};
use mainspring_engine::{
    Input, Rejected, Reply,
    input::{ActivityInput, TaskKind},
};
use world::{World, commands::*, payloads, too_large, world};

fn done() -> ActivityInput {
    ActivityInput::Complete { result: None, identity: "worker".into() }
}

fn failed() -> ActivityInput {
    ActivityInput::Fail { failure: Box::new(failure("bad")), last_heartbeat_details: None, identity: "worker".into() }
}

fn canceled() -> ActivityInput {
    ActivityInput::Cancel { details: None, identity: "worker".into() }
}

/// A run with one activity, scheduled at event 5.
fn with(command: mainspring_api::v1::command::Command) -> World {
    let mut w = world();
    w.start("w");
    w.work("w", vec![command]);
    w
}

fn last_failure(event: &HistoryEvent) -> mainspring_api::v1::failure::Failure {
    match event.attributes.clone().expect("attributes") {
        Attributes::ActivityTaskFailedEventAttributes(a) => a.failure.expect("a failure"),
        Attributes::ActivityTaskTimedOutEventAttributes(a) => a.failure.expect("a failure"),
        other => panic!("{other:?}"),
    }
}

/// The failure of the activity's end, which a workflow task follows.
fn end(w: &World) -> mainspring_api::v1::failure::Failure {
    let events = w.events("w");
    last_failure(&events[events.len() - 2])
}

/// Pitfall 1: the start is written with the end; retries leave no events.
#[test]
fn retries_leave_no_events() {
    let mut w = with(activity("a"));
    for attempt in 1..=2 {
        let activity = w.poll_activity("w");
        assert_eq!(activity.activity.attempt, attempt);
        w.answer_activity("w", &activity, failed()).unwrap();
        w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled");
        w.seconds(2);
    }
    let activity = w.poll_activity("w");
    w.answer_activity("w", &activity, done()).unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskStarted(3) 7 ActivityTaskCompleted 8 S");
}

/// Trace 8: an activity that no worker has is cancelled at once.
#[test]
fn an_unstarted_activity_is_cancelled_at_once() {
    let mut w = with(activity("a"));
    w.signal("w", "").unwrap();
    w.work("w", vec![cancel_activity(5)]);
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 Signaled 7 S 8 B 9 C 10 ActivityTaskCancelRequested
         11 ActivityTaskCanceled 12 S",
    );
    assert!(matches!(w.take(w.task("w", TaskKind::Activity).task, None), Err(Rejected::TaskOutdated)));
}

/// A started one learns of it by its heartbeat, and may then say that it is cancelled; it is not tried again.
#[test]
fn a_started_activity_hears_of_the_cancel() {
    let mut w = with(activity("a"));
    let activity = w.poll_activity("w");
    assert!(matches!(w.answer_activity("w", &activity, canceled()), Err(Rejected::CancelNotRequested)));
    w.signal("w", "").unwrap();
    w.work("w", vec![cancel_activity(5)]);
    let beat = w.answer_activity("w", &activity, ActivityInput::Heartbeat { details: None });
    assert!(matches!(beat, Ok(Reply::Heartbeat { cancel_requested: true, .. })));
    w.answer_activity("w", &activity, canceled()).unwrap();
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 Signaled 7 S 8 B 9 C 10 ActivityTaskCancelRequested
         11 ActivityTaskStarted(1) 12 ActivityTaskCanceled 13 S",
    );
}

/// An activity that ended unseen may be cancelled; one that never was may not.
#[test]
fn cancelling_what_is_not_there() {
    let mut w = with(activity("a"));
    let activity = w.poll_activity("w");
    w.signal("w", "").unwrap();
    let task = w.poll("w");
    w.answer_activity("w", &activity, done()).unwrap();
    w.complete("w", &task, vec![cancel_activity(5)]);
    assert!(w.refused("w", vec![cancel_activity(4)]).message.starts_with("BadRequestCancelActivityAttributes"));
}

/// Trace 9: a result over the limit fails the activity, and the caller is told that all is well.
#[test]
fn an_oversized_result_fails_the_activity() {
    let mut w = with(activity("a"));
    let activity = w.poll_activity("w");
    let large = ActivityInput::Complete { result: too_large(), identity: String::new() };
    w.answer_activity("w", &activity, large).unwrap();
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskStarted(1)
         7 ActivityTaskFailed(NON_RETRYABLE_FAILURE) 8 S",
    );
    assert_eq!(end(&w).message, "Complete result exceeds size limit.");
    assert!(matches!(end(&w).failure_info, Some(FailureInfo::ServerFailureInfo(info)) if info.non_retryable));
}

/// Trace 31 and pitfall 23: when the next attempt would pass the deadline, the failure stands with state TIMEOUT.
#[test]
fn a_retry_past_the_deadline_is_a_failure() {
    // It is over at 4 s; the third attempt starts at 3 s.
    let mut w = with(activity_with("a", |a| a.schedule_to_close_timeout = seconds(4)));
    for pause in [1, 2, 0] {
        let activity = w.poll_activity("w");
        w.answer_activity("w", &activity, failed()).unwrap();
        w.seconds(pause);
    }
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskStarted(3) 7 ActivityTaskFailed(TIMEOUT) 8 S",
    );
    assert_eq!(end(&w).message, "bad");
}

/// Trace 32: no worker takes it in time: there is no start.
#[test]
fn schedule_to_start_has_no_start() {
    let mut w = with(activity_with("a", |a| a.schedule_to_start_timeout = seconds(1)));
    w.seconds(1);
    w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskTimedOut(NON_RETRYABLE_FAILURE) 7 S");
    assert_eq!(end(&w).message, "activity ScheduleToStart timeout");
}

/// Trace 33: a missing heartbeat, with one attempt allowed.
#[test]
fn a_missing_heartbeat_times_out() {
    let mut w = with(activity_with("a", |a| (a.heartbeat_timeout, a.retry_policy) = (seconds(2), attempts(1))));
    let activity = w.poll_activity("w");
    for _ in 0..3 {
        w.seconds(1);
        let beat = ActivityInput::Heartbeat { details: payloads(b"7") };
        w.answer_activity("w", &activity, beat).unwrap();
    }
    w.seconds(2);
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskStarted(1)
         7 ActivityTaskTimedOut(MAXIMUM_ATTEMPTS_REACHED) 8 S",
    );
    assert_eq!(end(&w).message, "activity Heartbeat timeout");
    let Some(FailureInfo::TimeoutFailureInfo(info)) = end(&w).failure_info else { panic!() };
    assert_eq!(info.last_heartbeat_details, payloads(b"7"));
}

/// Start-to-close is tried again; the end over all attempts is not.
#[test]
fn attempts_time_out_until_all_of_them_do() {
    let mut w = with(activity_with("a", |a| {
        (a.start_to_close_timeout, a.schedule_to_close_timeout) = (seconds(3), seconds(10));
    }));
    w.poll_activity("w");
    w.pass(std::time::Duration::from_millis(4_500));
    assert_eq!(w.poll_activity("w").activity.attempt, 2);
    w.seconds(6);
    w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskTimedOut(TIMEOUT) 7 S");
    let failure = end(&w);
    assert_eq!(failure.message, "activity ScheduleToClose timeout");
    assert_eq!(failure.cause.unwrap().message, "activity StartToClose timeout");
}

/// Trace 35: what an activity is between two attempts.
#[test]
fn between_two_attempts() {
    let mut w = with(activity_with("a", |a| a.schedule_to_close_timeout = seconds(60)));
    let activity = w.poll_activity("w");
    let beat = ActivityInput::Heartbeat { details: payloads(b"7") };
    w.answer_activity("w", &activity, beat).unwrap();
    w.answer_activity("w", &activity, failed()).unwrap();
    let pending = w.run("w").activities[&5].clone();
    assert!(!pending.is_started() && !pending.dispatched);
    assert_eq!((pending.attempt, pending.retry_interval), (2, 1_000_000_000));
    assert_eq!(pending.attempt_scheduled_at, w.now.as_nanos() + 1_000_000_000);
    assert_eq!(pending.last_failure.as_ref().unwrap().message, "bad");
    assert_eq!(pending.last_worker_identity, "worker");
    assert_eq!(pending.heartbeat_details, payloads(b"7"));
    assert!(matches!(w.answer_activity("w", &activity, done()), Err(Rejected::ActivityNotFound)));
}

/// Pitfall 22: completing by id does not need a start; failing by id does.
#[test]
fn by_id_completes_what_has_not_started() {
    let mut w = with(activity("a"));
    assert!(matches!(w.activity_by_id("w", "a", failed()), Err(Rejected::ActivityNotFound)));
    assert!(matches!(w.activity_by_id("w", "b", done()), Err(Rejected::ActivityIdNotFound { .. })));
    w.activity_by_id("w", "a", done()).unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskStarted(1) 7 ActivityTaskCompleted 8 S");
}

/// Pitfall 9: heartbeat details over the limit fail the activity; the worker is told to stop.
#[test]
fn an_oversized_heartbeat_fails_the_activity() {
    let mut w = with(activity("a"));
    let activity = w.poll_activity("w");
    let beat = w.answer_activity("w", &activity, ActivityInput::Heartbeat { details: too_large() });
    assert!(matches!(beat, Ok(Reply::Heartbeat { cancel_requested: true, .. })));
    assert_eq!(end(&w).message, "Heartbeat details exceed size limit.");
}

/// A poll that is repeated is answered again; another poller gets nothing.
#[test]
fn a_start_is_idempotent() {
    let mut w = with(activity("a"));
    let task = w.task("w", TaskKind::Activity).task;
    for _ in 0..2 {
        assert!(matches!(w.take_as(task, "one", None), Ok(Reply::ActivityTask(_))));
    }
    assert!(matches!(w.take_as(task, "two", None), Err(Rejected::TaskOutdated)));
}

/// An activity that did not reach its poller waits again, the same attempt.
#[test]
fn an_undelivered_activity_waits_again() {
    let mut w = with(activity("a"));
    let lost = w.poll_activity("w");
    w.input("w", Input::Undelivered(lost.task)).unwrap();
    assert!(matches!(w.answer_activity("w", &lost, done()), Err(Rejected::ActivityNotFound)));
    let again = w.poll_activity("w");
    assert_eq!(again.activity.attempt, 1);
    w.answer_activity("w", &again, done()).unwrap();
}

/// With eager execution the completion starts the activity and no task is handed to matching.
#[test]
fn an_eager_activity_is_started_with_the_completion() {
    let mut w = world();
    w.start("w");
    let completed = w.work("w", vec![activity_with("a", |a| a.request_eager_execution = true)]);
    assert_eq!(completed.activities.len(), 1);
    assert!(!w.tasks.iter().any(|task| task.task.kind == TaskKind::Activity));
    w.answer_activity("w", &completed.activities[0].clone(), done()).unwrap();
}

/// The policy decides how often.
#[test]
fn attempts_are_counted() {
    let mut w = with(activity_with("a", |a| a.retry_policy = attempts(2)));
    for _ in 0..2 {
        let activity = w.poll_activity("w");
        w.answer_activity("w", &activity, failed()).unwrap();
        w.seconds(1);
    }
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 ActivityTaskStarted(2)
         7 ActivityTaskFailed(MAXIMUM_ATTEMPTS_REACHED) 8 S",
    );
}
