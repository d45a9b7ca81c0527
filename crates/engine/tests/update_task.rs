//! The workflow tasks that bring updates: those that have no events until it turns out that they need them.

mod world;

use std::time::Duration;

use mainspring_api::v1::enums::TaskQueueKind;
use mainspring_api::v1::history::history_event::Attributes;
use mainspring_engine::{
    Input, Rejected, Reply,
    input::{CompleteWorkflowTask, TaskKind},
    outcome::StartedWorkflowTask,
    virtual_events,
};
use world::{World, commands::*, updates::*, world};

/// An idle run whose worker has the task of an update in its hands.
fn asked() -> (World, StartedWorkflowTask) {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").expect("an update");
    let task = w.poll("w");
    (w, task)
}

fn sticky(input: &mut CompleteWorkflowTask) {
    input.sticky = Some(("sticky".to_owned(), Duration::from_secs(5)));
}

/// Trace 23: rejected while nothing else is pending, it leaves no event, and the worker goes back.
#[test]
fn a_rejected_update_leaves_no_event() {
    let (mut w, task) = asked();
    let ids: Vec<i64> = task.virtual_events.iter().map(|event| event.event_id).collect();
    assert_eq!((ids, task.attempt), (vec![5, 6], 1));
    assert_eq!(virtual_events(w.run("w")), task.virtual_events, "readers of the history see what the worker saw");
    let completed = w.say("w", &task, vec![reject("u")], vec![]);
    assert_eq!(completed.reset_history_event_id, 3);
    assert_eq!(w.ended(), "u: no");
    w.check("w", "1 Started 2 S 3 B 4 C");
    assert!(virtual_events(w.run("w")).is_empty());
    // The next task has the same ids, and this one's answer is no answer to it.
    w.update("w", "v").unwrap();
    let next = w.poll("w");
    assert_eq!(next.started_event_id, 6);
    let late = w.say_with("w", &task, vec![reject("v")], vec![], |_| {});
    assert!(matches!(late, Err(Rejected::WorkflowTaskNotFound)), "{late:?}");
    w.signal("w", "").unwrap();
    w.say("w", &next, vec![reject("v")], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 Signaled 9 S");
}

/// A worker that was shown events has to be shown them once only: the task stays, unless the worker can unsee them.
#[test]
fn a_task_that_showed_events_leaves_a_trace() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![timer("t", 60)]);
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    let completed = w.say("w", &task, vec![reject("u")], vec![]);
    assert_eq!(completed.reset_history_event_id, 0);
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 S 7 B 8 C");
}

#[test]
fn a_task_that_showed_events_leaves_none_if_they_can_be_unseen() {
    for (shown, stays) in [(10, false), (11, true)] {
        let mut w = world();
        w.start("w");
        w.work("w", (0..shown).map(|number| timer(&format!("t{number}"), 60)).collect());
        let before = w.events("w").len();
        w.update("w", "u").unwrap();
        let task = w.poll("w");
        let completed = w.say_with("w", &task, vec![reject("u")], vec![], |input| input.discards_events = true);
        assert_eq!(completed.unwrap().reset_history_event_id, if stays { 0 } else { 3 });
        assert_eq!(w.events("w").len() - before, if stays { 3 } else { 0 }, "{shown} events were shown");
    }
}

/// A command beside the rejection, or the wish for another task, makes the task count.
#[test]
fn a_rejection_is_not_all_that_was_said() {
    let (mut w, task) = asked();
    w.say("w", &task, vec![reject("u")], vec![timer("t", 60)]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 TimerStarted(t)");
    let (mut w, task) = asked();
    w.say_with("w", &task, vec![reject("u")], vec![], |input| input.force_new_task = true).unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 S");
    let (mut w, task) = asked();
    w.update("w", "v").unwrap();
    w.forget("w");
    w.update("w", "u").unwrap();
    let refused = w.say_with("w", &task, vec![reject("u")], vec![], |_| {}).unwrap().refused.unwrap();
    assert!(refused.message.ends_with("received *update.Rejection message while in state Admitted"), "{refused:?}");
}

/// What happens while the task waits comes after it, and it becomes a task like others.
#[test]
fn a_signal_while_the_task_waits() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.signal("w", "").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 Signaled");
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.virtual_events.len()), ("u@6", 0));
    let completed = w.say("w", &task, vec![reject("u")], vec![]);
    assert_eq!(completed.reset_history_event_id, 0);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 Signaled 7 B 8 C");
}

/// What happens while it runs is held back until it is done.
#[test]
fn a_signal_while_the_task_runs() {
    let (mut w, task) = asked();
    w.signal("w", "").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B");
    let completed = w.say_with("w", &task, vec![reject("u")], vec![], |input| input.return_new_task = true).unwrap();
    assert_eq!(completed.reset_history_event_id, 0);
    assert_eq!(brought(&completed.next_task.unwrap()), "");
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 Signaled 9 S 10 B");
}

/// A timer that fires is like a signal.
#[test]
fn a_timer_while_the_task_waits() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![timer("t", 5)]);
    w.update("w", "u").unwrap();
    w.seconds(5);
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 S 7 TimerFired(t)");
    assert_eq!(brought(&w.poll("w")), "u@7");
}

/// An update that comes while a task runs goes out with the next one, in the same answer if the worker wants it.
#[test]
fn a_second_update_while_the_task_runs() {
    let (mut w, task) = asked();
    w.update("w", "v").unwrap();
    let completed = w.say_with("w", &task, vec![reject("u")], vec![], |input| input.return_new_task = true).unwrap();
    assert_eq!(completed.reset_history_event_id, 3);
    let next = completed.next_task.unwrap();
    assert_eq!((brought(&next).as_str(), next.started_event_id, next.history_from), ("v@5", 6, 4));
    w.check("w", "1 Started 2 S 3 B 4 C");
    w.say("w", &next, vec![accept(&next, "v"), respond("v")], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 UpdateAccepted(v) 9 UpdateCompleted(8)");
}

#[test]
fn a_second_update_waits_for_the_next_poll() {
    let (mut w, task) = asked();
    w.update("w", "v").unwrap();
    w.say("w", &task, vec![accept(&task, "u")], vec![]);
    assert_eq!(brought(&w.poll("w")), "v@9");
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 UpdateAccepted(u)");
}

/// A task that failed brings its updates again; a sticky worker's failure only ends its stickiness.
#[test]
fn a_failed_task_is_tried_again() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.complete_with("w", &task, vec![], sticky).unwrap();
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.update("w", "v").unwrap();
    w.fail_task("w", &task).unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 F(WORKFLOW_WORKER_UNHANDLED_FAILURE) 8 S");
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.attempt), ("u@8 v@8", 1));
    w.fail_task("w", &task).unwrap();
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.attempt), ("u@11 v@11", 2));
    w.say("w", &task, vec![accept(&task, "u"), accept(&task, "v")], vec![]);
}

/// A task that is not answered in time leaves its events, and brings its updates again.
#[test]
fn a_task_times_out() {
    let (mut w, _) = asked();
    w.seconds(11);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 T(START_TO_CLOSE)");
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.attempt), ("u@8", 2));
    w.say("w", &task, vec![reject("u")], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 T(START_TO_CLOSE) 8 S(2) 9 B 10 C");
    assert_eq!(w.ended(), "u: no");
}

/// On a normal queue it waits as long as it takes: no worker, no events.
#[test]
fn a_task_waits_for_its_worker() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.seconds(3_600);
    w.check("w", "1 Started 2 S 3 B 4 C");
    let task = w.poll("w");
    assert_eq!(brought(&task), "u@5");
    w.say("w", &task, vec![reject("u")], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// On a sticky queue it waits as long as its worker said, and then goes to the others.
#[test]
fn a_sticky_task_waits_for_a_while() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.complete_with("w", &task, vec![], sticky).unwrap();
    w.update("w", "u").unwrap();
    let waits = w.task("w", TaskKind::Workflow);
    assert_eq!((waits.sticky, waits.queue.as_str()), (true, "sticky"));
    w.seconds(5);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 T(SCHEDULE_TO_START) 7 S");
    let queue = |index: usize| match &w.events("w")[index].attributes {
        Some(Attributes::WorkflowTaskScheduledEventAttributes(a)) => a.task_queue.clone().unwrap().kind(),
        other => panic!("{other:?}"),
    };
    assert_eq!((queue(4), queue(6)), (TaskQueueKind::Sticky, TaskQueueKind::Normal));
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.history_from), ("u@7", 1));
}

/// A sticky worker gets no history but what is new, and stays sticky after it said no.
#[test]
fn a_sticky_worker_rejects() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.complete_with("w", &task, vec![], sticky).unwrap();
    for _ in 0..2 {
        w.update("w", "u").unwrap();
        let task = w.poll("w");
        assert_eq!((task.history_from, task.next_event_id, task.virtual_events.len()), (4, 5, 2));
        let completed = w.say_with("w", &task, vec![reject("u")], vec![], sticky).unwrap();
        assert_eq!(completed.reset_history_event_id, 3);
    }
    assert_eq!(w.run("w").execution.sticky.as_ref().unwrap().queue, "sticky");
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// No worker listens on the sticky queue: the same task goes to the normal one, still without events.
#[test]
fn a_task_leaves_a_sticky_queue_without_a_worker() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.complete_with("w", &task, vec![], sticky).unwrap();
    w.update("w", "u").unwrap();
    let waits = w.task("w", TaskKind::Workflow);
    w.input("w", Input::StickyUnavailable(waits.task)).unwrap();
    assert!(!w.task("w", TaskKind::Workflow).sticky);
    w.check("w", "1 Started 2 S 3 B 4 C");
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.history_from), ("u@5", 1));
}

/// A worker that asks for more time keeps its updates: they are neither rejected nor sent a second time.
#[test]
fn a_heartbeat_keeps_the_updates() {
    let (mut w, task) = asked();
    let more = |input: &mut CompleteWorkflowTask| (input.force_new_task, input.return_new_task) = (true, true);
    let completed = w.say_with("w", &task, vec![], vec![], more).unwrap();
    let next = completed.next_task.unwrap();
    assert_eq!((brought(&next).as_str(), next.previous_started_event_id, next.started_event_id), ("", 6, 9));
    assert_eq!(w.ended(), "");
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 S 9 B");
    w.say("w", &next, vec![accept(&next, "u"), respond("u")], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 S 9 B 10 C 11 UpdateAccepted(u) 12 UpdateCompleted(11)");
}

#[test]
fn an_update_that_is_not_answered_after_a_heartbeat_is_rejected() {
    let (mut w, task) = asked();
    let completed = w.say_with("w", &task, vec![], vec![], |input| input.force_new_task = true).unwrap();
    assert!(completed.next_task.is_none());
    w.work("w", vec![]);
    assert!(w.ended().starts_with("u: Workflow Update is rejected"));
}

/// The run's time ends while the task waits or runs: one that no worker has taken leaves no trace.
#[test]
fn the_run_times_out_meanwhile() {
    for runs in [false, true] {
        let mut w = world();
        w.start_with("w", |s| s.run_timeout = Duration::from_secs(30));
        w.work("w", vec![]);
        w.seconds(25);
        w.update("w", "u").unwrap();
        if runs {
            w.poll("w");
        }
        w.seconds(5);
        let task = if runs { "5 S 6 B 7 F(FORCE_CLOSE_COMMAND) 8" } else { "5" };
        w.check("w", &format!("1 Started 2 S 3 B 4 C {task} TimedOut(RETRY_POLICY_NOT_SET)"));
        assert_eq!(w.ended(), "u aborted: workflow update was aborted by closing workflow");
    }
}

/// Trace 20: an update does not wait for a delayed start. Rejected, it leaves the run as it was.
#[test]
fn a_rejected_update_leaves_a_delay_as_it_is() {
    let mut w = world();
    w.start_with("w", |s| s.start_delay = Duration::from_secs(60));
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    let ids: Vec<i64> = task.virtual_events.iter().map(|event| event.event_id).collect();
    assert_eq!((brought(&task).as_str(), ids, task.previous_started_event_id), ("u@2", vec![2, 3], 0));
    let completed = w.say("w", &task, vec![reject("u")], vec![]);
    assert_eq!(completed.reset_history_event_id, 0);
    w.check("w", "1 Started");
    assert!(w.run("w").execution.awaits_first_task);
    w.seconds(60);
    w.check("w", "1 Started 2 S");
    assert_eq!(brought(&w.poll("w")), "");
}

/// Accepted, it has begun the workflow: there is nothing left to wait for.
#[test]
fn an_accepted_update_ends_a_delay() {
    let mut w = world();
    w.start_with("w", |s| s.start_delay = Duration::from_secs(60));
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.say("w", &task, vec![accept(&task, "u")], vec![]);
    w.seconds(60);
    w.check("w", "1 Started 2 S 3 B 4 C 5 UpdateAccepted(u)");
}

/// The delay ends while the update's task waits or runs: that is the first task.
#[test]
fn the_delay_ends_meanwhile() {
    for runs in [false, true] {
        let mut w = world();
        w.start_with("w", |s| s.start_delay = Duration::from_secs(5));
        w.update("w", "u").unwrap();
        let started = runs.then(|| w.poll("w"));
        w.seconds(5);
        assert_eq!(w.events("w").len(), if runs { 3 } else { 2 });
        let task = started.unwrap_or_else(|| w.poll("w"));
        let completed = w.say("w", &task, vec![reject("u")], vec![]);
        assert_eq!(completed.reset_history_event_id, 0);
        w.check("w", "1 Started 2 S 3 B 4 C");
    }
}

/// A signal in that state ends the wait of the update's task, as a task that counts it is the first.
#[test]
fn a_signal_during_a_delay_meets_an_update() {
    let mut w = world();
    w.start_with("w", |s| s.start_delay = Duration::from_secs(60));
    w.update("w", "u").unwrap();
    w.signal("w", "").unwrap();
    w.check("w", "1 Started 2 S 3 Signaled");
    let task = w.poll("w");
    w.say("w", &task, vec![reject("u")], vec![]);
    w.check("w", "1 Started 2 S 3 Signaled 4 B 5 C");
}

/// The update is lost with the server's memory, its task is not: it goes as it came, and the update may be asked again.
#[test]
fn a_task_outlives_its_update() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.forget("w");
    let task = w.poll("w");
    assert_eq!(brought(&task), "");
    w.update("w", "u").unwrap();
    let completed = w.say_with("w", &task, vec![], vec![], |input| input.return_new_task = true).unwrap();
    assert_eq!(completed.reset_history_event_id, 3);
    assert_eq!(brought(&completed.next_task.unwrap()), "u@5");
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// A poll that is repeated, or whose answer did not arrive, is answered with the same updates.
#[test]
fn an_undelivered_task_brings_the_same_updates() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    let waits = w.task("w", TaskKind::Workflow).task;
    let take = |w: &mut World| match w.take_as(waits, "poll", None) {
        Ok(Reply::WorkflowTask(task)) => brought(&task),
        other => panic!("{other:?}"),
    };
    assert_eq!((take(&mut w), take(&mut w)), ("u@5".to_owned(), "u@5".to_owned()));
    w.input("w", Input::Undelivered(waits)).unwrap();
    assert_eq!(brought(&w.poll("w")), "u@5");
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// A refused completion tells the callers of the updates that it was about; others go out with the next attempt.
#[test]
fn a_refused_completion_keeps_the_updates_that_came_meanwhile() {
    let (mut w, task) = asked();
    w.update("w", "v").unwrap();
    let completed = w.complete_with("w", &task, vec![activity("")], |_| {}).unwrap();
    assert!(completed.refused.is_some());
    assert!(w.ended().starts_with("u aborted"));
    assert_eq!(brought(&w.poll("w")), "v@8");
}
