//! Starts: which run answers, and what a new run begins with. Signals, cancel requests and terminations of runs.

mod world;

use std::time::Duration;

use mainspring_api::v1::{
    common::Link,
    enums::{WorkflowExecutionStatus as Status, WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse},
};
use mainspring_engine::{
    BUFFERED, Input, Rejected, Reply,
    input::{OnConflict, RequestCancel, Signal, Start, TaskKind, Terminate},
};
use world::{commands::*, world};

/// Pitfall 14: the same request is answered as the first time, whatever the policies say and the run has become.
#[test]
fn the_same_request_is_answered_the_same() {
    let mut w = world();
    let first = w.start_with("w", |s| s.request_id = "r".into());
    let again = w.start_with("w", |s| (s.request_id, s.conflict_policy) = ("r".into(), Conflict::TerminateExisting));
    assert_eq!(again, first);
    w.work("w", vec![complete()]);
    let again = w.start_with("w", |s| (s.request_id, s.reuse_policy) = ("r".into(), Reuse::RejectDuplicate));
    assert_eq!((again.run_id.as_str(), again.started, again.status), (first.run_id.as_str(), true, Status::Completed));
    w.check("w", "1 Started 2 S 3 B 4 C 5 Completed");
}

/// A start from an outbox may be repeated after its run continued as new, and after the id was used again.
#[test]
fn requests_of_earlier_runs_are_known() {
    let mut w = world();
    let first = w.start_with("w", |s| s.request_id = "one".into());
    w.seconds(2);
    w.work("w", vec![continue_as_new()]);
    let again = w.start_with("w", |s| s.request_id = "one".into());
    assert_eq!((again.run_id, again.started), (first.run_id.clone(), true));
    w.work("w", vec![complete()]);
    let second = w.start_with("w", |s| s.request_id = "two".into());
    assert_ne!(second.first_run_id, first.run_id);
    let again = w.start_with("w", |s| s.request_id = "one".into());
    assert_eq!((again.run_id, again.first_run_id), (first.run_id.clone(), first.run_id));
    // Only the newest ten are.
    for round in 0..11 {
        w.work("w", vec![complete()]);
        w.start_with("w", |s| s.request_id = format!("more-{round}"));
    }
    assert_eq!(w.run("w").fixed.known_requests.len(), 10);
}

/// Pitfall 15: the conflict policy is about open runs.
#[test]
fn an_open_run_meets_the_conflict_policy() {
    let mut w = world();
    let first = w.start("w");
    let refused = w.try_start("w", |_| {});
    let Err(Rejected::AlreadyStarted { open: true, run_id, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(run_id, first.run_id);
    let used = w.start_with("w", |s| s.conflict_policy = Conflict::UseExisting);
    assert_eq!((used.run_id, used.started), (first.run_id, false));
    w.check("w", "1 Started 2 S");
}

/// Pitfall 15: the reuse policy is about closed runs.
#[test]
fn a_closed_run_meets_the_reuse_policy() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![complete()]);
    for policy in [Reuse::RejectDuplicate, Reuse::AllowDuplicateFailedOnly] {
        let refused = w.try_start("w", |s| s.reuse_policy = policy);
        assert!(matches!(refused, Err(Rejected::AlreadyStarted { open: false, .. })), "{refused:?}");
    }
    w.start("w");
    w.terminate("w").unwrap();
    w.start_with("w", |s| s.reuse_policy = Reuse::AllowDuplicateFailedOnly);
    w.check("w", "1 Started 2 S");
}

/// Trace 18: the new run and the end of the old one are one step.
#[test]
fn a_start_may_terminate_the_open_run() {
    let mut w = world();
    let old = w.start("w");
    w.poll("w");
    w.signal("w", "").unwrap();
    let new = w.start_with("w", |s| s.conflict_policy = Conflict::TerminateExisting);
    assert!(new.started && new.first_run_id == new.run_id);
    w.check("w", "1 Started 2 S");
    w.check_older(&old.run_id, "1 Started 2 S 3 B 4 F(FORCE_CLOSE_COMMAND) 5 Signaled 6 Terminated");
}

/// Trace 17 and pitfall 16: the signal of a signal-with-start is the second event.
#[test]
fn signal_with_start_signals_before_the_first_task() {
    let mut w = world();
    let new = w.signal_with_start("w", |s| s.request_id = "r".into()).unwrap();
    assert_eq!((new.started, new.signal_event_id), (true, 2));
    w.check("w", "1 Started 2 Signaled 3 S");
    let again = w.signal_with_start("w", |s| s.request_id = "r".into()).unwrap();
    assert_eq!((again.started, again.run_id.as_str()), (false, new.run_id.as_str()));
    w.check("w", "1 Started 2 Signaled 3 S");
    let other = w.signal_with_start("w", |s| s.request_id = "q".into()).unwrap();
    assert_eq!((other.started, other.signal_event_id), (false, 4));
    let other = w.signal_with_start("w", |s| s.request_id = "q".into()).unwrap();
    assert!(!other.started);
    w.check("w", "1 Started 2 Signaled 3 S 4 Signaled");
    let refused = w.signal_with_start("w", |s| s.conflict_policy = Conflict::Fail);
    assert!(matches!(refused, Err(Rejected::AlreadyStarted { open: true, .. })));
    w.work("w", vec![complete()]);
    assert!(w.signal_with_start("w", |_| {}).unwrap().started);
    w.check("w", "1 Started 2 Signaled 3 S");
}

/// Trace 19 and pitfall 17: a signal does not end a start delay.
#[test]
fn a_signal_waits_for_the_start_delay() {
    let mut w = world();
    w.start_with("w", |s| s.start_delay = Duration::from_secs(60));
    w.signal("w", "").unwrap();
    w.seconds(59);
    w.check("w", "1 Started 2 Signaled");
    w.seconds(1);
    w.check("w", "1 Started 2 Signaled 3 S");
    assert_eq!(w.events("w")[2].event_time.unwrap().seconds, 1_060);
}

/// Pitfall 17: a cancel request does.
#[test]
fn a_cancel_request_ends_the_start_delay() {
    let mut w = world();
    w.start_with("w", |s| s.start_delay = Duration::from_secs(60));
    w.cancel("w").unwrap();
    w.check("w", "1 Started 2 CancelRequested 3 S");
    w.work("w", vec![]);
    w.seconds(60);
    w.check("w", "1 Started 2 CancelRequested 3 S 4 B 5 C");
}

#[test]
fn a_signal_is_taken_once() {
    let mut w = world();
    w.start("w");
    w.signal("w", "r").unwrap();
    w.signal("w", "r").unwrap();
    w.check("w", "1 Started 2 S 3 Signaled");
    w.work("w", vec![complete()]);
    // Answered as the first time, though the run has closed.
    w.signal("w", "r").unwrap();
    assert!(matches!(w.signal("w", "q"), Err(Rejected::Closed)));
    assert!(matches!(w.signal("v", "q"), Err(Rejected::NotFound)));
}

#[test]
fn a_run_takes_so_many_signals() {
    let mut w = world();
    w.limits.signals_max = 1;
    w.start("w");
    w.signal("w", "").unwrap();
    assert!(matches!(w.signal("w", ""), Err(Rejected::SignalLimit)));
}

/// Pitfall 18: cancelling a closed run is no error; signalling or terminating it is.
#[test]
fn what_a_closed_run_answers() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![complete()]);
    assert!(matches!(w.cancel("w"), Ok(Reply::Done)));
    assert!(matches!(w.signal("w", ""), Err(Rejected::Closed)));
    assert!(matches!(w.terminate("w"), Err(Rejected::Closed)));
    assert!(matches!(w.cancel("v"), Err(Rejected::NotFound)));
    w.check("w", "1 Started 2 S 3 B 4 C 5 Completed");
}

/// A run id that is not the newest run's is another run; a first run id has to be the chain's.
#[test]
fn runs_are_addressed() {
    let mut w = world();
    let first = w.start("w");
    w.seconds(2);
    w.work("w", vec![continue_as_new()]);
    let signal = Signal { run_id: first.run_id.clone(), ..Signal::default() };
    assert!(matches!(w.input("w", Input::Signal(Box::new(signal))), Err(Rejected::OtherRun)));
    let stranger = RequestCancel { first_run_id: "none".into(), ..RequestCancel::default() };
    assert!(matches!(w.cancel_with("w", stranger), Err(Rejected::NotFound)));
    let mine = RequestCancel { first_run_id: first.run_id.clone(), ..RequestCancel::default() };
    w.cancel_with("w", mine.clone()).unwrap();
    w.cancel_with("w", mine).unwrap();
    let stranger = Terminate { first_run_id: "none".into(), ..Terminate::default() };
    assert!(matches!(w.terminate_with("w", stranger), Err(Rejected::NotFound)));
    w.check("w", "1 Started 2 S 3 CancelRequested");
    w.terminate_with("w", Terminate { first_run_id: first.run_id, ..Terminate::default() }).unwrap();
    w.check("w", "1 Started 2 S 3 CancelRequested 4 Terminated");
}

/// Trace 26: the cancel of a workflow that waits for a timer.
#[test]
fn a_workflow_cancels_itself_when_asked() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![timer("t", 60)]);
    w.cancel("w").unwrap();
    w.work("w", vec![cancel_timer("t"), cancel()]);
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 CancelRequested 7 S 8 B 9 C 10 TimerCanceled(t) 11 Canceled",
    );
}

/// Trace 34: a started first attempt is failed, then the run ends.
#[test]
fn termination_fails_the_task_that_runs() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.terminate("w").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 F(FORCE_CLOSE_COMMAND) 5 Terminated");
    assert!(matches!(w.complete_with("w", &task, vec![], |_| {}), Err(Rejected::Closed)));
}

/// A later attempt leaves no event when the run is terminated.
#[test]
fn termination_drops_a_later_attempt() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.fail_task("w", &task).unwrap();
    w.poll("w");
    w.terminate("w").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 F(WORKFLOW_WORKER_UNHANDLED_FAILURE) 5 Terminated");
}

/// A closed run goes when its time is over; its id is then free of it.
#[test]
fn a_closed_run_is_kept_for_its_time() {
    let mut w = world();
    w.start_with("w", |s| s.request_id = "r".into());
    w.signal("w", "s").unwrap();
    w.work("w", vec![complete()]);
    let number = w.run("w").number;
    w.pass(world::RETENTION - Duration::from_secs(1));
    assert!(w.chains["w"].run.is_some());
    w.seconds(1);
    assert!(w.chains["w"].run.is_none());
    assert_eq!(w.expired, [number]);
    assert!(matches!(w.signal("w", "s"), Err(Rejected::NotFound)));
    assert!(matches!(w.input("w", Input::Wake(number)), Err(Rejected::OtherRun)));
    assert!(w.start_with("w", |s| s.request_id = "r".into()).started);
}

/// A start that replaces a closed run leaves that one's rows alone; its own wake expires it.
#[test]
fn a_run_that_was_followed_expires_as_a_chain_of_its_own() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![complete()]);
    let old = w.run("w").clone();
    w.start("w");
    assert!(matches!(w.input("w", Input::Wake(old.number)), Err(Rejected::OtherRun)));
    w.chains.insert("alone".into(), mainspring_engine::Chain { run: Some(old.clone()) });
    w.pass(world::RETENTION);
    assert_eq!(w.expired, [old.number]);
}

/// Over so many events, or so many bytes, a run is terminated.
#[test]
fn a_history_may_not_grow_for_ever() {
    let mut w = world();
    w.limits.history_events_max = 5;
    w.start("w");
    w.work("w", vec![]);
    w.signal("w", "").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 Signaled 6 S 7 Terminated");
    let mut w = world();
    w.limits.history_bytes_max = 1_000;
    w.start("w");
    w.poll("w");
    while w.run("w").is_open() {
        w.signal("w", "a-rather-long-request-id").ok();
        w.signal("w", "").unwrap();
    }
    let reason = format!("{:?}", w.events("w").last());
    assert!(reason.contains("Workflow history size exceeds limit."), "{reason}");
}

/// Trace 25: a task's timeout is cut to the run's; the timeout of a run follows the last event directly.
#[test]
fn a_run_times_out() {
    let mut w = world();
    w.start_with("w", |s| s.run_timeout = Duration::from_secs(2));
    assert_eq!(w.run("w").fixed.task_timeout, 2_000_000_000);
    w.seconds(2);
    w.check("w", "1 Started 2 S 3 TimedOut(RETRY_POLICY_NOT_SET)");
}

/// The execution timeout of the chain ends it, with the task that runs failed and what was held back lost.
#[test]
fn a_chain_times_out() {
    let mut w = world();
    w.start_with("w", |s| (s.execution_timeout, s.retry_policy) = (Duration::from_secs(5), attempts(0)));
    w.poll("w");
    w.signal("w", "").unwrap();
    w.seconds(5);
    w.check("w", "1 Started 2 S 3 B 4 F(FORCE_CLOSE_COMMAND) 5 TimedOut(TIMEOUT)");
}

/// All timers that are due fire in one step, by time, and make one workflow task.
#[test]
fn timers_fire_together_in_order() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![timer("b", 2), timer("a", 1), timer("c", 2), timer("z", 9)]);
    let number = w.run("w").number;
    w.now = w.now + Duration::from_secs(3);
    w.input("w", Input::Wake(number)).unwrap();
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 TimerStarted(b) 6 TimerStarted(a) 7 TimerStarted(c) 8 TimerStarted(z)
         9 TimerFired(a) 10 TimerFired(b) 11 TimerFired(c) 12 S",
    );
    assert_eq!(w.tasks.iter().filter(|task| task.task.kind == TaskKind::Workflow).count(), 2);
}

/// A wake that comes too early only stands again where it stood; one for a run without deadlines is not written.
#[test]
fn an_early_wake_stands_again() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![timer("t", 10)]);
    let run = w.run("w").clone();
    w.input("w", Input::Wake(run.number)).unwrap();
    assert_eq!(w.run("w").execution.wake_at, run.execution.wake_at);
    w.check("w", "1 Started 2 S 3 B 4 C 5 TimerStarted(t)");
}

/// A worker that starts a workflow gets its first task with the answer, and again with the repeated answer, as long as
/// nothing else has happened. Compared with the original server: the event names the start's request and identity.
#[test]
fn an_eager_start_brings_the_first_task() {
    let mut w = world();
    let eager = Start { eager: true, ..w.start_input("w") };
    let reply = w.input("w", Input::Start(Box::new(eager.clone())));
    let Ok(Reply::StartedEagerly(started, task)) = reply else { panic!("{reply:?}") };
    assert_eq!((started.started, task.started_event_id, task.history_from), (true, 3, 1));
    w.check("w", "1 Started 2 S 3 B");
    let again = w.input("w", Input::Start(Box::new(eager.clone())));
    assert!(matches!(again, Ok(Reply::StartedEagerly(..))), "{again:?}");
    w.seconds(11);
    let late = w.input("w", Input::Start(Box::new(eager)));
    assert!(matches!(late, Ok(Reply::Started(_))), "{late:?}");
}

/// An eager start that has to wait has no task to give.
#[test]
fn a_delayed_start_is_not_eager() {
    let mut w = world();
    let delayed = Start { eager: true, start_delay: Duration::from_secs(5), ..w.start_input("w") };
    let reply = w.input("w", Input::Start(Box::new(delayed)));
    assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    w.check("w", "1 Started");
}

/// A request that uses the open run may leave its id there: it is answered by that run from then on.
#[test]
fn a_request_is_attached_to_the_run_it_uses() {
    let mut w = world();
    let first = w.start("w");
    let attach = |s: &mut Start| {
        s.request_id = "second".into();
        s.conflict_policy = Conflict::UseExisting;
        s.on_conflict = Some(OnConflict { attach_request_id: true, attach_links: true });
        s.links = vec![Link::default()];
    };
    let used = w.start_with("w", attach);
    assert_eq!((used.run_id.as_str(), used.started, used.attached), (first.run_id.as_str(), false, true));
    w.check("w", "1 Started 2 S 3 OptionsUpdated");
    let event = w.events("w").last().cloned().unwrap();
    assert!(event.worker_may_ignore && event.links.len() == 1);
    assert_eq!(w.run("w").properties.attached_requests[0].event_id, 3);
    // The same again, under any policy and after the run's end.
    let again = w.start_with("w", |s| s.request_id = "second".into());
    assert_eq!(again, used);
    w.check("w", "1 Started 2 S 3 OptionsUpdated");
    w.terminate("w").unwrap();
    let again = w.start_with("w", attach);
    assert_eq!((again.run_id, again.status), (first.run_id, Status::Terminated));
}

/// While a workflow task runs the event is held back, and has its number once that is done.
#[test]
fn an_attached_request_waits_for_the_workflow_task() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.start_with("w", |s| {
        s.conflict_policy = Conflict::UseExisting;
        s.on_conflict = Some(OnConflict { attach_request_id: true, attach_links: false });
    });
    assert_eq!(w.run("w").properties.attached_requests[0].event_id, BUFFERED);
    w.complete("w", &task, vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 OptionsUpdated 6 S");
    assert_eq!(w.run("w").properties.attached_requests[0].event_id, 5);
}

/// Without options a run that is used stays as it is; with empty ones it notes that it was used.
#[test]
fn only_a_request_with_options_leaves_an_event() {
    let mut w = world();
    w.start("w");
    w.start_with("w", |s| s.conflict_policy = Conflict::UseExisting);
    w.check("w", "1 Started 2 S");
    let used = w.start_with("w", |s| {
        (s.conflict_policy, s.on_conflict) = (Conflict::UseExisting, Some(OnConflict::default()));
    });
    assert!(!used.attached && w.run("w").properties.attached_requests.is_empty());
    w.check("w", "1 Started 2 S 3 OptionsUpdated");
}
