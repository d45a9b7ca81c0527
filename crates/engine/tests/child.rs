//! Children and other executions: the outbox rows between them, and what both sides record.

mod world;

use mainspring_api::v1::{
    enums::{ParentClosePolicy as Policy, WorkflowIdReusePolicy as Reuse},
    history::history_event::Attributes,
};
use mainspring_engine::{Input, Rejected, Reply};
use world::{World, commands::*, world};

/// A parent `p` that has started child `c`; the row is not sent yet.
fn parent(policy: Policy) -> World {
    let mut w = world();
    w.start("p");
    w.work("p", vec![child("c", policy)]);
    w
}

/// Pitfall 20: the child begins when its parent has recorded its start.
#[test]
fn a_child_begins_after_its_parent_knows() {
    let mut w = parent(Policy::Terminate);
    let (row, answer) = w.send_first().unwrap();
    w.check("c", "1 Started");
    w.signal("c", "").unwrap();
    w.cancel("c").unwrap();
    w.check("c", "1 Started 2 Signaled 3 CancelRequested");
    w.answer(row, answer);
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 ChildStarted 7 S");
    w.deliver();
    w.check("c", "1 Started 2 Signaled 3 CancelRequested 4 S");
    assert_eq!(w.run("c").fixed.root_workflow_id, "p");
    let child_run = w.run("c").fixed.run_id.clone();
    w.work("c", vec![complete()]);
    w.deliver();
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 ChildStarted 7 S 8 ChildCompleted");
    let Some(Attributes::ChildWorkflowExecutionCompletedEventAttributes(a)) = &w.events("p")[7].attributes else {
        panic!()
    };
    assert_eq!((a.initiated_event_id, a.started_event_id), (5, 6));
    assert_eq!(a.workflow_execution.as_ref().unwrap().run_id, child_run);
    assert_eq!(w.rows(), "");
}

/// Every send may be repeated: the target answers as the first time, the source records once.
#[test]
fn repeated_sends_change_nothing() {
    let mut w = parent(Policy::Terminate);
    let (row, answer) = w.send_first().unwrap();
    assert_eq!(w.send(row), Some(answer.clone()));
    w.check("c", "1 Started");
    w.answer(row, answer.clone());
    assert_eq!(w.rows(), "ScheduleFirstTask(c)");
    assert_eq!((w.send(0).is_some(), w.send(0).is_some()), (true, true));
    w.check("c", "1 Started 2 S");
    w.deliver();
    w.seconds(2);
    w.work("c", vec![complete()]);
    assert_eq!((w.send(0).is_some(), w.send(0).is_some()), (true, true));
    w.deliver();
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 ChildStarted 7 S 8 ChildCompleted");
}

/// Pitfall 19: the closing event names the last run of the child's chain; what lies between is not seen.
#[test]
fn the_parent_sees_the_end_of_the_chain() {
    let mut w = parent(Policy::Terminate);
    w.deliver();
    let first = w.run("c").fixed.run_id.clone();
    w.seconds(2);
    w.work("c", vec![continue_as_new()]);
    assert_eq!(w.rows(), "");
    w.work("c", vec![fail()]);
    w.deliver();
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 ChildStarted 7 S 8 ChildFailed");
    let Some(Attributes::ChildWorkflowExecutionFailedEventAttributes(a)) = &w.events("p")[7].attributes else {
        panic!()
    };
    let last = &a.workflow_execution.as_ref().unwrap().run_id;
    assert!(*last == w.run("c").fixed.run_id && *last != first);
}

/// Trace 29: a child whose id is taken.
#[test]
fn a_child_is_refused() {
    let mut w = world();
    w.start("c");
    w.work("c", vec![complete()]);
    w.start("p");
    let reject = |a: &mut mainspring_api::v1::command::StartChildWorkflowExecutionCommandAttributes| {
        a.workflow_id_reuse_policy = Reuse::RejectDuplicate as i32;
    };
    w.work("p", vec![child_with("c", Policy::Terminate, reject)]);
    w.deliver();
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 StartChildFailed(1) 7 S");
}

#[test]
fn a_child_in_an_unknown_namespace_is_refused() {
    let mut w = world();
    w.start("p");
    #[expect(deprecated, reason = "SDKs still send it")]
    let elsewhere = child_with("c", Policy::Terminate, |a| a.namespace = "nowhere".into());
    w.work("p", vec![elsewhere]);
    w.deliver();
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 StartChildFailed(2) 7 S");
}

/// When the parent closes, its policy says what becomes of the child.
#[test]
fn the_policies_of_a_parent_that_closes() {
    for (policy, child) in [
        (Policy::Unspecified, "1 Started 2 S 3 Terminated"),
        (Policy::Terminate, "1 Started 2 S 3 Terminated"),
        (Policy::RequestCancel, "1 Started 2 S 3 CancelRequested"),
        (Policy::Abandon, "1 Started 2 S"),
    ] {
        let mut w = parent(policy);
        w.deliver();
        w.work("p", vec![complete()]);
        w.deliver();
        w.check("c", child);
        assert_eq!(w.rows(), "");
    }
}

/// The parent closes before it has recorded the child's start. The row that starts the child is sent all the same here
/// (the shell drops it when it can); what the policy says comes after it.
#[test]
fn a_parent_that_closes_before_the_start_is_recorded() {
    for (policy, rows, child) in [
        (Policy::Terminate, "CloseChild(c)", "1 Started 2 Terminated"),
        (Policy::RequestCancel, "CloseChild(c) CloseChild(c)", "1 Started 2 S 3 CancelRequested"),
        (Policy::Abandon, "CloseChild(c)", "1 Started 2 S"),
    ] {
        let mut w = parent(policy);
        w.terminate("p").unwrap();
        assert_eq!(w.rows(), format!("StartChild(c) {rows}"));
        w.deliver();
        w.check("c", child);
        w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 Terminated");
        assert_eq!(w.rows(), "");
    }
}

/// A stranger of the same id is left alone when the parent closes.
#[test]
fn a_stranger_is_not_closed() {
    let mut w = parent(Policy::Terminate);
    w.terminate("p").unwrap();
    w.start("c");
    w.deliver();
    w.check("c", "1 Started 2 S");
}

/// Trace 37: the policy is carried out on continue-as-new; the next run has no children.
#[test]
fn children_do_not_go_on_with_the_next_run() {
    let mut w = parent(Policy::Unspecified);
    w.deliver();
    w.seconds(2);
    w.work("p", vec![continue_as_new()]);
    w.deliver();
    w.check("c", "1 Started 2 S 3 Terminated");
    w.check("p", "1 Started 2 S");
    assert!(w.run("p").children.is_empty());
    assert_eq!(w.rows(), "");
}

/// A child that is terminated before its start is recorded: the parent records both.
#[test]
fn every_end_of_a_child_has_a_start() {
    let mut w = parent(Policy::Terminate);
    let (row, answer) = w.send_first().unwrap();
    w.terminate("c").unwrap();
    let closed = w.outbox.len() - 1;
    let told = w.send(closed).unwrap();
    w.answer(closed, told);
    w.answer(row, answer);
    w.check("p", "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 ChildStarted 7 ChildTerminated 8 S");
    assert_eq!(w.rows(), "");
}

/// What becomes of a child while the parent's workflow task runs is held back; its start still precedes its end.
#[test]
fn a_childs_life_is_held_back_in_order() {
    let mut w = parent(Policy::Terminate);
    w.signal("p", "").unwrap();
    let task = w.poll("p");
    w.deliver();
    w.work("c", vec![complete()]);
    w.signal("p", "").unwrap();
    w.deliver();
    w.complete("p", &task, vec![]);
    w.check(
        "p",
        "1 Started 2 S 3 B 4 C 5 StartChildInitiated 6 Signaled 7 S 8 B 9 C 10 ChildStarted 11 Signaled
         12 ChildCompleted 13 S",
    );
}

#[test]
fn a_child_started_in_the_same_task_cannot_be_cancelled() {
    let mut w = world();
    w.start("p");
    let refused = w.refused("p", vec![child("c", Policy::Terminate), cancel_external("c")]);
    assert!(refused.message.contains("Start and RequestCancel for child workflow is not allowed"), "{refused:?}");
}

/// A signal and a cancel request to another execution. A workflow is none to itself: seen on the original server.
#[test]
fn others_are_signalled_and_cancelled() {
    let mut w = world();
    w.start("t");
    w.start("w");
    w.work("w", vec![signal_external("t"), cancel_external("t"), signal_external("w")]);
    // The answer to the first send is lost.
    w.send(0);
    w.deliver();
    w.check("t", "1 Started 2 S 3 Signaled 4 CancelRequested");
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 SignalExternalWorkflowExecutionInitiated
         6 RequestCancelExternalWorkflowExecutionInitiated 7 SignalExternalWorkflowExecutionInitiated
         8 ExternalWorkflowExecutionSignaled 9 S 10 ExternalWorkflowExecutionCancelRequested 
         11 SignalExternalWorkflowExecutionFailed(1)",
    );
    assert_eq!(w.rows(), "");
}

/// Trace 30: nobody is there.
#[test]
fn nobody_is_there() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![signal_external("t"), cancel_external("t")]);
    w.deliver();
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 SignalExternalWorkflowExecutionInitiated
         6 RequestCancelExternalWorkflowExecutionInitiated 7 SignalExternalWorkflowExecutionFailed(1) 8 S
         9 RequestCancelExternalWorkflowExecutionFailed(1)",
    );
}

/// A signal whose answer was lost is answered as delivered, though its target has closed since.
#[test]
fn a_signal_repeated_after_the_close_was_delivered() {
    let mut w = world();
    w.start("t");
    w.start("w");
    w.work("w", vec![signal_external("t")]);
    w.send(0);
    w.work("t", vec![complete()]);
    w.deliver();
    assert!(w.history_of(w.run("w").number).ends_with("6 ExternalWorkflowExecutionSignaled 7 S"));
}

/// A closed target cannot be signalled; one that takes no more signals says so; one that is closing is asked again.
#[test]
fn signals_that_do_not_arrive() {
    let mut w = world();
    w.limits.signals_max = 1;
    w.start("t");
    w.start("w");
    w.signal("t", "").unwrap();
    w.work("w", vec![signal_external("t")]);
    w.deliver();
    assert!(w.history_of(w.run("w").number).ends_with("6 SignalExternalWorkflowExecutionFailed(3) 7 S"));
    w.work("t", vec![complete()]);
    w.work("w", vec![signal_external("t"), signal_external_with("c", |a| a.child_workflow_only = true)]);
    w.start("c");
    w.deliver();
    let history = w.history_of(w.run("w").number);
    assert!(history.contains("SignalExternalWorkflowExecutionFailed(1) 13 S 14 SignalExternal"), "{history}");
}

#[test]
fn a_signal_to_a_closing_target_is_sent_again() {
    let mut w = world();
    w.start("t");
    let task = w.poll("t");
    w.signal("t", "").unwrap();
    w.complete_with("t", &task, vec![complete()], |_| {}).unwrap();
    let task = w.poll("t");
    w.start("w");
    w.work("w", vec![signal_external("t")]);
    w.deliver();
    assert_eq!(w.rows(), "Signal(t)");
    w.complete("t", &task, vec![]);
    w.deliver();
    assert_eq!(w.rows(), "");
}

/// Answers that come when the run has closed only remove their row.
#[test]
fn an_answer_to_a_closed_run_removes_the_row() {
    let mut w = world();
    w.start("t");
    w.start("w");
    w.work("w", vec![signal_external("t")]);
    w.terminate("w").unwrap();
    w.deliver();
    w.check("t", "1 Started 2 S 3 Signaled");
    w.check("w", "1 Started 2 S 3 B 4 C 5 SignalExternalWorkflowExecutionInitiated 6 Terminated");
    assert_eq!(w.rows(), "");
}

#[test]
fn so_many_may_be_pending() {
    let mut w = world();
    (w.limits.pending_children_max, w.limits.pending_signals_max, w.limits.pending_cancels_max) = (1, 1, 1);
    w.limits.pending_activities_max = 1;
    for (commands, cause) in [
        (vec![child("a", Policy::Abandon), child("b", Policy::Abandon)], "PendingChildWorkflowsLimitExceeded"),
        (vec![signal_external("a"), signal_external("b")], "PendingSignalsLimitExceeded"),
        (vec![cancel_external("a"), cancel_external("b")], "PendingRequestCancelLimitExceeded"),
        (vec![activity("a"), activity("b")], "PendingActivitiesLimitExceeded"),
    ] {
        w.start(cause);
        let refused = w.refused(cause, commands);
        assert!(refused.message.starts_with(cause), "{}", refused.message);
    }
}

/// A message from the parent to a child that is not there, or not waiting, changes nothing.
#[test]
fn a_first_task_is_scheduled_once() {
    let mut w = world();
    let stray = |run_id: &str| Input::ScheduleFirstTask { run_id: run_id.into(), child_of_run_id: None };
    assert!(matches!(w.input("c", stray("none")), Ok(Reply::Done)));
    w.start("c");
    assert!(matches!(w.input("c", stray("")), Ok(Reply::Done)));
    w.check("c", "1 Started 2 S");
    assert!(matches!(w.signal("none", ""), Err(Rejected::NotFound)));
}

/// A signal whose answer was lost comes again; the run that followed its target meanwhile knows it.
#[test]
fn a_repeated_signal_is_known_across_continue_as_new() {
    let mut w = world();
    w.start("t");
    w.start("w");
    w.work("w", vec![signal_external("t")]);
    w.send(0);
    w.work("t", vec![continue_as_new()]);
    w.deliver();
    w.seconds(2);
    w.check("t", "1 Started 2 S");
    assert_eq!(w.rows(), "");
}
