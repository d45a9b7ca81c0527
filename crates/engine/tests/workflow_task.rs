//! The workflow task: its attempts, refusals, buffered events, stickiness, heartbeats.

mod world;

use std::time::Duration;

use mainspring_api::v1::enums::{CommandType, WorkflowTaskFailedCause as Cause};
use mainspring_engine::{Input, Rejected, Reply, input::TaskKind, virtual_events};
use world::{commands::*, too_large, world};

/// Trace 1: a close with an unseen signal fails the task; no command of it takes effect.
#[test]
fn a_close_with_something_unseen_fails_the_task() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.signal("w", "").unwrap();
    let completed = w.complete_with("w", &task, vec![timer("t", 5), complete()], |_| {}).unwrap();
    let refused = completed.refused.unwrap();
    assert_eq!((refused.cause, refused.message.as_str()), (Cause::UnhandledCommand, "UnhandledCommand"));
    w.check("w", "1 Started 2 S 3 B 4 F(UNHANDLED_COMMAND) 5 Signaled 6 S");
    assert!(w.run("w").timers.is_empty());
}

/// Trace 2: while the close is tried again, signals wait.
#[test]
fn signals_wait_while_a_close_is_tried_again() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.signal("w", "").unwrap();
    w.complete_with("w", &task, vec![complete()], |_| {}).unwrap();
    w.signal("w", "").unwrap();
    let task = w.poll("w");
    assert!(matches!(w.signal("w", ""), Err(Rejected::Closing)));
    w.cancel("w").unwrap();
    w.complete("w", &task, vec![]);
    w.signal("w", "").unwrap();
    w.check(
        "w",
        "1 Started 2 S 3 B 4 F(UNHANDLED_COMMAND) 5 Signaled 6 S 7 Signaled 8 B 9 C 10 CancelRequested 11 S 12 Signaled",
    );
}

/// Trace 3: a bad command fails the task once; the next attempt leaves no event.
#[test]
fn a_bad_command_fails_the_task() {
    let mut w = world();
    w.start("w");
    let refused = w.refused("w", vec![activity("")]);
    assert_eq!(refused.cause, Cause::BadScheduleActivityAttributes);
    assert!(refused.message.starts_with("BadScheduleActivityAttributes: ActivityId is not set"), "{}", refused.message);
    let task = w.poll("w");
    assert_eq!(task.attempt, 2);
    assert_eq!(task.virtual_events.iter().map(|event| event.event_id).collect::<Vec<_>>(), [5, 6]);
    w.check("w", "1 Started 2 S 3 B 4 F(BAD_SCHEDULE_ACTIVITY_ATTRIBUTES)");
}

/// Attributes of another command count for nothing: a close in disguise would leave events behind it. (Found by fuzzing.)
#[test]
fn attributes_of_another_command_are_none() {
    let mut w = world();
    w.start("w");
    let disguised = command(CommandType::RecordMarker, complete().attributes.unwrap());
    let refused = w.refused("w", vec![disguised, complete()]);
    assert_eq!(refused.cause, Cause::BadRecordMarkerAttributes);
    assert!(refused.message.ends_with("RecordMarkerCommandAttributes is not set."), "{}", refused.message);
    w.check("w", "1 Started 2 S 3 B 4 F(BAD_RECORD_MARKER_ATTRIBUTES)");
}

/// Trace 4: the same at attempt 2 writes nothing, and the task ends by its timeout.
#[test]
fn a_bad_command_at_a_later_attempt_writes_nothing() {
    let mut w = world();
    w.start("w");
    w.refused("w", vec![activity("")]);
    let task = w.poll("w");
    let refused = w.complete_with("w", &task, vec![activity("")], |_| {});
    let Err(Rejected::InvalidArgument(message)) = refused else { panic!("{refused:?}") };
    assert!(message.starts_with("BadScheduleActivityAttributes: "), "{message}");
    assert!(w.run("w").has_started_task());
    w.seconds(11);
    assert_eq!(w.poll("w").attempt, 3);
    w.check("w", "1 Started 2 S 3 B 4 F(BAD_SCHEDULE_ACTIVITY_ATTRIBUTES)");
}

/// Trace 5: an answer to a task that has failed comes too late.
#[test]
fn an_outdated_token_is_refused() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.fail_task("w", &task).unwrap();
    assert!(matches!(w.fail_task("w", &task), Err(Rejected::WorkflowTaskNotFound)));
    let again = w.poll("w");
    let late = w.complete_with("w", &task, vec![], |_| {});
    assert!(matches!(late, Err(Rejected::WorkflowTaskNotFound)));
    w.complete("w", &again, vec![complete()]);
    let late = w.complete_with("w", &again, vec![], |_| {});
    assert!(matches!(late, Err(Rejected::Closed)));
}

/// Trace 6: force and return new: the next task is started in the same step.
#[test]
fn the_next_task_is_started_inline() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    let sticky = Some(("sticky".to_owned(), Duration::from_secs(5)));
    let completed = w.complete_with("w", &task, vec![activity("a"), timer("t", 60)], |input| {
        (input.force_new_task, input.return_new_task, input.sticky) = (true, true, sticky);
    });
    let next = completed.unwrap().next_task.unwrap();
    assert_eq!((next.history_from, next.next_event_id, next.previous_started_event_id), (4, 9, 3));
    w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 TimerStarted(t) 7 S 8 B");
    assert_eq!(w.run("w").execution.task.as_ref().unwrap().request_id, "request-from-RespondWorkflowTaskCompleted");
    w.complete("w", &next, vec![complete()]);
}

/// Trace 7, and the same of activities.
#[test]
fn ids_of_open_items_are_unique() {
    let mut w = world();
    w.start("w");
    assert_eq!(w.refused("w", vec![timer("t", 1), timer("t", 1)]).cause, Cause::StartTimerDuplicateId);
    w.check("w", "1 Started 2 S 3 B 4 F(START_TIMER_DUPLICATE_ID)");
    let mut w = world();
    w.start("w");
    assert_eq!(w.refused("w", vec![activity("a"), activity("a")]).cause, Cause::ScheduleActivityDuplicateId);
}

/// Trace 10: a command's payload over the limit ends the workflow.
#[test]
fn an_oversized_command_terminates() {
    let mut w = world();
    w.start("w");
    let refused = w.refused("w", vec![activity_with("a", |a| a.input = too_large())]);
    assert_eq!(
        refused.message,
        "BadScheduleActivityAttributes: ScheduleActivityTaskCommandAttributes.Input exceeds size limit."
    );
    w.check("w", "1 Started 2 S 3 B 4 F(BAD_SCHEDULE_ACTIVITY_ATTRIBUTES) 5 Terminated");
}

/// Trace 12: an activity's queue is not inherited.
#[test]
fn an_activity_needs_a_queue() {
    let mut w = world();
    w.start("w");
    let refused = w.refused("w", vec![activity_with("a", |a| a.task_queue = None)]);
    assert!(refused.message.contains("taskQueue is not set"), "{}", refused.message);
}

/// Pitfall 2 and the retry pacing: attempts above 1 write nothing until one completes.
#[test]
fn later_attempts_are_written_when_one_completes() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.fail_task("w", &task).unwrap();
    for attempt in 2..=3 {
        assert_eq!(w.poll("w").attempt, attempt);
        w.seconds(11);
    }
    let task = w.poll("w");
    assert_eq!(task.attempt, 4);
    w.complete("w", &task, vec![]);
    w.check("w", "1 Started 2 S 3 B 4 F(WORKFLOW_WORKER_UNHANDLED_FAILURE) 5 S(4) 6 B 7 C");
}

/// Pitfall 4: from attempt 4 the timeout grows: 5 s, 10 s, ... on top of the configured 10 s.
#[test]
fn the_timeout_is_the_backoff() {
    let mut w = world();
    w.start("w");
    let mut timeouts = Vec::new();
    for _ in 1..=6 {
        w.poll("w");
        let timeout = w.run("w").execution.task.as_ref().unwrap().timeout / 1_000_000_000;
        timeouts.push(timeout);
        w.seconds(u64::try_from(timeout).unwrap() + 1);
    }
    assert_eq!(timeouts, [10, 10, 10, 15, 20, 30]);
    w.check("w", "1 Started 2 S 3 B 4 T(START_TO_CLOSE)");
}

/// Pitfall 3: on a sticky queue the first failure only ends the stickiness.
#[test]
fn a_failure_on_a_sticky_queue_keeps_the_attempt() {
    let mut w = world();
    w.start("w");
    sticky_completion(&mut w);
    w.signal("w", "").unwrap();
    assert!(w.task("w", TaskKind::Workflow).sticky);
    let task = w.poll("w");
    assert_eq!(task.history_from, 4);
    w.fail_task("w", &task).unwrap();
    let task = w.poll("w");
    assert_eq!((task.attempt, task.history_from), (1, 1));
    w.fail_task("w", &task).unwrap();
    assert_eq!(w.poll("w").attempt, 2);
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 Signaled 6 S 7 B 8 F(WORKFLOW_WORKER_UNHANDLED_FAILURE) 9 S 10 B
         11 F(WORKFLOW_WORKER_UNHANDLED_FAILURE)",
    );
}

/// A sticky task that no worker takes in time goes to the normal queue.
#[test]
fn a_sticky_task_falls_back_in_time() {
    let mut w = world();
    w.start("w");
    sticky_completion(&mut w);
    w.signal("w", "").unwrap();
    let task = w.task("w", TaskKind::Workflow);
    let in_five_seconds = w.now + Duration::from_secs(5);
    assert_eq!((task.sticky, task.expires), (true, Some(in_five_seconds)), "its row goes even if nobody looks at it");
    w.seconds(5);
    let task = w.task("w", TaskKind::Workflow);
    assert_eq!((task.sticky, task.expires), (false, None));
    w.check("w", "1 Started 2 S 3 B 4 C 5 Signaled 6 S 7 T(SCHEDULE_TO_START) 8 S");
}

/// A sticky queue without a worker: the same task goes to the normal queue at once, with the whole history.
#[test]
fn a_sticky_task_falls_back_at_once() {
    let mut w = world();
    w.start("w");
    sticky_completion(&mut w);
    w.signal("w", "").unwrap();
    let sticky = w.task("w", TaskKind::Workflow).task;
    w.input("w", Input::StickyUnavailable(sticky)).unwrap();
    assert!(matches!(w.take(sticky, Some("sticky")), Err(Rejected::TaskOutdated)));
    let task = w.poll("w");
    assert_eq!(task.history_from, 1);
    w.check("w", "1 Started 2 S 3 B 4 C 5 Signaled 6 S 7 B");
    w.complete("w", &task, vec![complete()]);
}

#[test]
fn the_sticky_queue_can_be_forgotten() {
    let mut w = world();
    w.start("w");
    sticky_completion(&mut w);
    w.input("w", Input::ResetSticky { run_id: String::new() }).unwrap();
    w.signal("w", "").unwrap();
    assert!(!w.task("w", TaskKind::Workflow).sticky);
}

fn sticky_completion(w: &mut world::World) {
    let task = w.poll("w");
    let sticky = Some(("sticky".to_owned(), Duration::from_secs(5)));
    w.complete_with("w", &task, vec![], |input| input.sticky = sticky).expect("a completion");
}

/// Pitfall 5: what comes while a task runs is held back; ends of activities go last.
#[test]
fn events_are_held_back_while_a_task_runs() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![activity("a"), timer("t", 1)]);
    w.signal("w", "").unwrap();
    let activity = w.poll_activity("w");
    let task = w.poll("w");
    w.answer_activity("w", &activity, done()).unwrap();
    w.seconds(1);
    w.signal("w", "").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 TimerStarted(t) 7 Signaled 8 S 9 B");
    w.complete("w", &task, vec![timer("u", 9)]);
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled 6 TimerStarted(t) 7 Signaled 8 S 9 B 10 C 11 TimerStarted(u)
         12 ActivityTaskStarted(1) 13 TimerFired(t) 14 Signaled 15 ActivityTaskCompleted 16 S",
    );
}

fn done() -> mainspring_engine::input::ActivityInput {
    mainspring_engine::input::ActivityInput::Complete { result: None, identity: "worker".to_owned() }
}

/// Pitfall 7: cancelling a timer that fired unseen takes its event back; then the run may close.
#[test]
fn cancelling_a_timer_takes_back_that_it_fired() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![timer("t", 1)]);
    w.signal("w", "").unwrap();
    let task = w.poll("w");
    w.seconds(1);
    assert_eq!(w.run("w").buffered.len(), 1);
    w.complete("w", &task, vec![cancel_timer("t"), complete()]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 Signaled 7 S 8 B 9 C 10 TimerCanceled(t) 11 Completed");
}

/// Pitfall 8: a close that is not last is refused with nothing written.
#[test]
fn a_close_has_to_be_last() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    let refused = w.complete_with("w", &task, vec![complete(), timer("t", 1)], |_| {});
    let Err(Rejected::InvalidArgument(message)) = refused else { panic!("{refused:?}") };
    assert!(message.starts_with("invalid command sequence"), "{message}");
    assert!(w.run("w").has_started_task());
    w.complete("w", &task, vec![complete()]);
}

/// Over 100 events held back: the task is failed so that they come through.
#[test]
fn too_many_events_held_back_fail_the_task() {
    let mut w = world();
    w.limits.buffered_events_max = 2;
    w.start("w");
    w.poll("w");
    for _ in 0..3 {
        w.signal("w", "").unwrap();
    }
    w.check("w", "1 Started 2 S 3 B 4 F(FORCE_CLOSE_COMMAND) 5 Signaled 6 Signaled 7 Signaled 8 S");
}

/// An event that comes while a later attempt waits makes it a normal first attempt.
#[test]
fn a_new_event_makes_an_attempt_normal() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.fail_task("w", &task).unwrap();
    assert_eq!(virtual_events(w.run("w")).len(), 1);
    w.signal("w", "").unwrap();
    assert_eq!(virtual_events(w.run("w")).len(), 0);
    let task = w.poll("w");
    assert_eq!(task.attempt, 1);
    w.check("w", "1 Started 2 S 3 B 4 F(WORKFLOW_WORKER_UNHANDLED_FAILURE) 5 Signaled 6 S 7 B");
    w.complete("w", &task, vec![complete()]);
}

/// A chain of empty heartbeats may not last for ever.
#[test]
fn heartbeats_end() {
    let mut w = world();
    w.limits.task_heartbeat_max = Duration::from_secs(20);
    w.start("w");
    let mut task = w.poll("w");
    let mut refused = None;
    for _ in 0..5 {
        w.seconds(6);
        let beat =
            w.complete_with("w", &task, vec![], |i| (i.force_new_task, i.return_new_task) = (true, true)).unwrap();
        refused = beat.refused;
        let Some(next) = beat.next_task else { break };
        task = *next;
    }
    assert_eq!(refused.unwrap().message, "workflow task heartbeat timeout");
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 S 9 B 10 C 11 S 12 B 13 T(START_TO_CLOSE) 14 S");
}

/// A task that did not reach its poller goes, same token, to the next one.
#[test]
fn an_undelivered_task_goes_to_the_next_poller() {
    let mut w = world();
    w.start("w");
    let first = w.task("w", TaskKind::Workflow).task;
    let Ok(Reply::WorkflowTask(lost)) = w.take_as(first, "one", None) else { panic!() };
    assert!(matches!(w.take_as(first, "two", None), Err(Rejected::TaskOutdated)));
    assert!(matches!(w.take_as(first, "one", None), Ok(Reply::WorkflowTask(_))));
    w.input("w", Input::Undelivered(first)).unwrap();
    let again = w.poll("w");
    assert_eq!(world::token(&again), world::token(&lost));
    assert!(matches!(w.take_as(first, "three", None), Err(Rejected::TaskOutdated)));
    w.complete("w", &again, vec![complete()]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 Completed");
}

/// One that was for a sticky queue goes, same token and with the whole history, to any worker when that queue is dead.
#[test]
fn an_undelivered_sticky_task_can_leave_its_queue() {
    let mut w = world();
    w.start("w");
    sticky_completion(&mut w);
    w.signal("w", "").unwrap();
    let lost = w.poll("w");
    w.input("w", Input::Undelivered(lost.task)).unwrap();
    let again = w.task("w", TaskKind::Workflow);
    assert!(again.sticky);
    w.input("w", Input::StickyUnavailable(again.task)).unwrap();
    assert!(!w.task("w", TaskKind::Workflow).sticky);
    let again = w.poll("w");
    assert_eq!((world::token(&again), again.history_from), (world::token(&lost), 1));
    w.complete("w", &again, vec![complete()]);
}

/// A workflow task that is scheduled in the step that ends the run is not handed out.
#[test]
fn a_run_that_ends_late_hands_out_nothing() {
    let mut w = world();
    w.start_with("w", |start| start.run_timeout = Duration::from_secs(10));
    w.work("w", vec![timer("t", 5)]);
    let before = w.tasks.len();
    w.now = w.now + Duration::from_secs(60);
    w.input("w", Input::Wake(w.run("w").number)).unwrap();
    assert_eq!(w.tasks.len(), before, "the timer fired and the run timed out in one step");
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 TimerFired(t) 7 S 8 TimedOut(RETRY_POLICY_NOT_SET)");
}

/// Times in a history never fall, whatever the clock does.
#[test]
fn a_clock_that_steps_back_is_waited_for() {
    let mut w = world();
    w.start("w");
    let before = w.now;
    w.seconds(5);
    w.work("w", vec![timer("t", 1)]);
    w.now = before;
    w.signal("w", "").unwrap();
    let task = w.poll("w");
    w.seconds(6);
    w.complete("w", &task, vec![cancel_timer("t"), complete()]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 Signaled 7 S 8 B 9 C 10 TimerCanceled(t) 11 Completed");
}

/// A sticky queue that would be waited for beyond the end of time is waited for until then.
#[test]
fn an_endless_sticky_timeout_is_no_overflow() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    let endless = Some(("sticky".to_owned(), Duration::MAX));
    w.complete_with("w", &task, vec![], |input| (input.force_new_task, input.sticky) = (true, endless)).unwrap();
    assert!(w.task("w", TaskKind::Workflow).sticky);
    w.seconds(3_600);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S");
}

/// A worker that answers just as its time ends is heard: upstream's timers are late, and workers rely on it.
#[test]
fn an_answer_at_the_last_moment_counts() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.pass(Duration::from_millis(10_400));
    w.complete("w", &task, vec![complete()]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 Completed");
}
