//! Runs that follow each other: continue-as-new, retry.

mod world;

use std::time::Duration;

use mainspring_api::v1::{
    enums::ContinueAsNewInitiator as Initiator,
    history::{WorkflowExecutionStartedEventAttributes, history_event::Attributes},
};
use world::{World, commands::*, payloads, world};

fn started(w: &World) -> WorkflowExecutionStartedEventAttributes {
    match w.events("w")[0].attributes.clone() {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) => a,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_continues_as_new() {
    let mut w = world();
    let first = w.start_with("w", |s| {
        (s.execution_timeout, s.run_timeout) = (Duration::from_secs(100), Duration::from_secs(50));
    });
    w.seconds(2);
    w.work("w", vec![continue_as_new()]);
    w.check_older(&first.run_id, "1 Started 2 S 3 B 4 C 5 ContinuedAsNew");
    w.check("w", "1 Started 2 S");
    let start = started(&w);
    assert_eq!(start.continued_execution_run_id, first.run_id);
    assert_eq!(start.first_execution_run_id, first.run_id);
    assert_eq!((start.initiator, start.attempt), (Initiator::Workflow as i32, 1));
    assert_eq!(start.workflow_execution_expiration_time.unwrap().seconds, 1_100);
    // The chain's deadline stays where it was.
    w.work("w", vec![]);
    w.seconds(50);
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimedOut(RETRY_POLICY_NOT_SET)");
}

/// A run that continues at once waits, so that it cannot spin.
#[test]
fn continuing_at_once_waits() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![continue_as_new()]);
    w.check("w", "1 Started");
    w.seconds(1);
    w.check("w", "1 Started 2 S");
}

/// Trace 28: a failed run is tried again by its policy.
#[test]
fn a_failed_run_is_retried() {
    let mut w = world();
    let first = w.start_with("w", |s| (s.retry_policy, s.input) = (attempts(2), payloads(b"1")));
    w.work("w", vec![fail()]);
    w.check_older(&first.run_id, "1 Started 2 S 3 B 4 C 5 Failed(IN_PROGRESS)");
    w.check("w", "1 Started");
    let start = started(&w);
    assert_eq!((start.attempt, start.initiator), (2, Initiator::Retry as i32));
    assert_eq!(start.continued_failure.unwrap().message, "bad");
    assert_eq!(start.input, payloads(b"1"));
    w.seconds(1);
    w.work("w", vec![fail()]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 Failed(MAXIMUM_ATTEMPTS_REACHED)");
}

/// A run that times out is tried again too, as long as its chain lives.
#[test]
fn a_timed_out_run_is_retried() {
    let mut w = world();
    let first = w.start_with("w", |s| {
        (s.run_timeout, s.execution_timeout) = (Duration::from_secs(2), Duration::from_secs(4));
        s.retry_policy = attempts(0);
    });
    w.seconds(2);
    w.check_older(&first.run_id, "1 Started 2 S 3 TimedOut(IN_PROGRESS)");
    w.check("w", "1 Started");
    w.seconds(2);
    w.check("w", "1 Started 2 S 3 TimedOut(TIMEOUT)");
}

/// Trace 27: every run of a cron waits for its point; each knows how the last one that succeeded ended.
#[test]
fn a_cron_starts_run_after_run() {
    let mut w = world();
    let first = w.start_with("w", |s| s.cron_schedule = "* * * * *".into());
    let start = started(&w);
    assert_eq!(start.initiator, Initiator::CronSchedule as i32);
    assert_eq!(start.first_workflow_task_backoff.unwrap().seconds, 20);
    w.check("w", "1 Started");
    w.seconds(20);
    w.work("w", vec![complete()]);
    w.check_older(&first.run_id, "1 Started 2 S 3 B 4 C 5 Completed");
    let start = started(&w);
    assert_eq!(start.last_completion_result, payloads(b"1"));
    assert_eq!(
        (start.continued_execution_run_id, start.first_workflow_task_backoff.unwrap().seconds),
        (first.run_id, 60)
    );
    w.seconds(60);
    w.work("w", vec![fail()]);
    let start = started(&w);
    assert_eq!(start.last_completion_result, payloads(b"1"));
    assert_eq!(start.continued_failure.unwrap().message, "bad");
    // A cancel ends the schedule too.
    w.cancel("w").unwrap();
    w.work("w", vec![cancel()]);
    w.check("w", "1 Started 2 CancelRequested 3 S 4 B 5 C 6 Canceled");
}
