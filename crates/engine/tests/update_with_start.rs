//! An update that comes with a start: which run takes it.

mod world;

use mainspring_api::v1::enums::{WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse};
use mainspring_engine::{Input, Rejected};
use world::{commands::*, updates::*, world};

/// A new run's first workflow task brings the update, and accepts it at once.
#[test]
fn a_new_run_begins_with_the_update() {
    let mut w = world();
    let started = w.update_with_start("w", "u", |_| {}).unwrap();
    assert!(started.started);
    let task = w.poll("w");
    assert_eq!(brought(&task), "u@2");
    w.say("w", &task, vec![accept(&task, "u"), respond("u")], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 UpdateAccepted(u) 6 UpdateCompleted(5)");
}

/// Rejected, it leaves the run that it began.
#[test]
fn a_rejected_update_leaves_its_run() {
    let mut w = world();
    w.update_with_start("w", "u", |_| {}).unwrap();
    let task = w.poll("w");
    w.say("w", &task, vec![reject("u")], vec![]);
    assert_eq!(w.ended(), "u: no");
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// The conflict policy says whether an open run may serve.
#[test]
fn an_open_run_meets_the_conflict_policy() {
    let mut w = world();
    let first = w.start("w");
    w.work("w", vec![]);
    let refused = w.update_with_start("w", "u", |_| {});
    assert!(matches!(refused, Err(Rejected::AlreadyStarted { open: true, .. })), "{refused:?}");
    let refused = w.update_with_start("w", "u", |s| s.conflict_policy = Conflict::Fail);
    assert!(matches!(refused, Err(Rejected::AlreadyStarted { open: true, .. })), "{refused:?}");
    let used = w.update_with_start("w", "u", |s| s.conflict_policy = Conflict::UseExisting).unwrap();
    assert_eq!((used.run_id, used.started), (first.run_id, false));
    assert_eq!(brought(&w.poll("w")), "u@5");
    w.check("w", "1 Started 2 S 3 B 4 C");
    let new = w.update_with_start("w", "v", |s| s.conflict_policy = Conflict::TerminateExisting).unwrap();
    assert!(new.started);
    assert_eq!(w.ended(), "u aborted: workflow update was aborted by closing workflow");
    assert_eq!(brought(&w.poll("w")), "v@2");
}

/// An update that the run knows is the same update, whatever the policies say: under way, accepted, completed.
#[test]
fn a_known_update_serves_itself() {
    let mut w = world();
    let first = w.update_with_start("w", "u", |_| {}).unwrap();
    let again = w.update_with_start("w", "u", |_| {}).unwrap();
    assert_eq!((&again.run_id, again.started), (&first.run_id, false));
    let task = w.poll("w");
    w.say("w", &task, vec![accept(&task, "u")], vec![timer("t", 1)]);
    let again = w.update_with_start("w", "u", |s| s.conflict_policy = Conflict::TerminateExisting).unwrap();
    assert_eq!((&again.run_id, again.started), (&first.run_id, false));
    w.seconds(1);
    let task = w.poll("w");
    w.say("w", &task, vec![respond("u")], vec![complete()]);
    let again = w.update_with_start("w", "u", |s| s.reuse_policy = Reuse::RejectDuplicate).unwrap();
    assert_eq!((&again.run_id, again.started), (&first.run_id, false));
}

/// A start that was answered before is answered the same; the update is for its run.
#[test]
fn a_known_start_takes_another_update() {
    let mut w = world();
    let first = w.start_with("w", |s| s.request_id = "r".into());
    let again = w.update_with_start("w", "u", |s| s.request_id = "r".into()).unwrap();
    assert_eq!(again, first);
    let task = w.poll("w");
    assert_eq!(brought(&task), "u@2");
    w.say("w", &task, vec![reject("u")], vec![complete()]);
    let refused = w.update_with_start("w", "v", |s| s.request_id = "r".into());
    assert!(matches!(refused, Err(Rejected::Closed)), "{refused:?}");
    w.check("w", "1 Started 2 S 3 B 4 C 5 Completed");
}

/// A closed run is followed by a new one if the reuse policy says so.
#[test]
fn a_closed_run_meets_the_reuse_policy() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![complete()]);
    let refused = w.update_with_start("w", "u", |s| s.reuse_policy = Reuse::RejectDuplicate);
    assert!(matches!(refused, Err(Rejected::AlreadyStarted { open: false, .. })), "{refused:?}");
    let new = w.update_with_start("w", "u", |_| {}).unwrap();
    assert!(new.started);
    assert_eq!(brought(&w.poll("w")), "u@2");
}

/// A refused update refuses the whole, and a run that may serve is not touched.
#[test]
fn a_refused_update_refuses_both() {
    let mut w = world();
    w.limits.updates_in_flight_max = 1;
    w.start("w");
    w.update("w", "one").unwrap();
    let refused = w.update_with_start("w", "two", |s| s.conflict_policy = Conflict::UseExisting);
    assert!(matches!(refused, Err(Rejected::UpdatesInFlight { max: 1 })), "{refused:?}");
}

/// What a deleted run knew is as good as gone.
#[test]
fn a_deleted_run_serves_no_more() {
    let mut w = world();
    let run_id = w.start("w").run_id;
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.say("w", &task, vec![accept(&task, "u"), respond("u")], vec![complete()]);
    w.input("w", Input::Delete { run_id }).unwrap();
    let new = w.update_with_start("w", "u", |_| {}).unwrap();
    assert!(new.started);
    assert_eq!(brought(&w.poll("w")), "u@2");
}
