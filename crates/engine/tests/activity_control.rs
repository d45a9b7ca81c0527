//! Operators pause activities, let them go on and reset them. None of it is an event.

mod world;

use std::time::Duration;

use mainspring_api::{time::duration, v1::common::RetryPolicy};
use mainspring_engine::{
    Input, Rejected, Reply,
    input::{ActivitiesNamed, ActivityControl, ActivityInput, ControlActivities, TaskKind},
    outcome::StartedActivity,
    state::Activity,
};
use world::{World, commands::*, payloads, world};

const SCHEDULED: &str = "1 Started 2 S 3 B 4 C 5 ActivityTaskScheduled";

fn control(w: &mut World, which: ActivitiesNamed, control: ActivityControl) -> Result<Reply, Rejected> {
    w.input("w", Input::ControlActivities(Box::new(ControlActivities { run_id: String::new(), which, control })))
}

fn pause(w: &mut World) {
    let pause = ActivityControl::Pause { identity: "operator".into(), reason: "broken".into() };
    control(w, ActivitiesNamed::Id("a".into()), pause).expect("it is pending");
}

fn unpause(w: &mut World) {
    let unpause = ActivityControl::Unpause { reset_attempts: false, reset_heartbeat: false, jitter: Duration::ZERO };
    control(w, ActivitiesNamed::All, unpause).expect("it is open");
}

fn reset(w: &mut World, reset_heartbeat: bool, keep_paused: bool) {
    let reset = ActivityControl::Reset { reset_heartbeat, keep_paused, jitter: Duration::ZERO };
    control(w, ActivitiesNamed::Id("a".into()), reset).expect("it is pending");
}

fn pending(w: &World) -> Activity {
    w.run("w").activities[&5].as_ref().clone()
}

fn fail(w: &mut World, started: &StartedActivity) {
    let failed = ActivityInput::Fail {
        failure: Box::new(failure("bad")),
        last_heartbeat_details: None,
        identity: String::new(),
    };
    w.answer_activity("w", started, failed).expect("it runs");
}

fn once() -> RetryPolicy {
    RetryPolicy { maximum_attempts: 1, ..RetryPolicy::default() }
}

fn scheduled() -> World {
    let mut w = world();
    w.start("w");
    w.work("w", vec![activity("a")]);
    w
}

/// What waits in a queue is outdated by a pause; the attempt comes when the activity is let go.
#[test]
fn a_paused_activity_is_not_started() {
    let mut w = scheduled();
    let waiting = w.task("w", TaskKind::Activity).task;
    pause(&mut w);
    pause(&mut w);
    assert_eq!(w.take(waiting, None).unwrap_err(), Rejected::TaskOutdated);
    assert_eq!(pending(&w).paused.unwrap().reason, "broken");
    w.seconds(3_600);
    unpause(&mut w);
    assert_eq!(w.poll_activity("w").activity.attempt, 1);
    w.check("w", SCHEDULED);
}

/// An attempt that runs goes on and hears of it. Its failure counts, and no other attempt starts meanwhile, not even
/// when it was the last that the policy allows.
#[test]
fn a_running_attempt_hears_of_the_pause() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![activity_with("a", |a| a.retry_policy = Some(once()))]);
    let started = w.poll_activity("w");
    pause(&mut w);
    let beat = w.answer_activity("w", &started, ActivityInput::Heartbeat { details: None });
    assert!(matches!(beat, Ok(Reply::Heartbeat { cancel_requested: false, paused: true, reset: false })));
    fail(&mut w, &started);
    w.seconds(60);
    assert!(!pending(&w).dispatched && pending(&w).attempt == 2);
    unpause(&mut w);
    let started = w.poll_activity("w");
    fail(&mut w, &started);
    w.check("w", &format!("{SCHEDULED} 6 ActivityTaskStarted(2) 7 ActivityTaskFailed(MAXIMUM_ATTEMPTS_REACHED) 8 S"));
}

/// A pause holds up attempts, not the time over all of them.
#[test]
fn the_time_over_all_attempts_goes_on() {
    let mut w = world();
    w.start("w");
    w.work("w", vec![activity_with("a", |a| a.schedule_to_close_timeout = Some(duration(Duration::from_secs(10))))]);
    pause(&mut w);
    w.seconds(11);
    w.check("w", &format!("{SCHEDULED} 6 ActivityTaskTimedOut(TIMEOUT) 7 S"));
}

/// The attempt that runs is told, may still report, and the next one counts from the first, without the heartbeat.
#[test]
fn a_reset_counts_attempts_anew() {
    let mut w = scheduled();
    for _ in 0..2 {
        let started = w.poll_activity("w");
        fail(&mut w, &started);
        w.seconds(60);
    }
    let started = w.poll_activity("w");
    assert_eq!(started.activity.attempt, 3);
    w.answer_activity("w", &started, ActivityInput::Heartbeat { details: payloads(b"7") }).unwrap();
    reset(&mut w, true, false);
    let beat = w.answer_activity("w", &started, ActivityInput::Heartbeat { details: payloads(b"8") });
    assert!(matches!(beat, Ok(Reply::Heartbeat { reset: true, .. })));
    fail(&mut w, &started);
    w.seconds(60);
    let next = w.poll_activity("w").activity;
    assert_eq!((next.attempt, next.reset, next.heartbeat_details.is_none()), (2, false, true));
}

/// Between attempts a reset starts the first one at once; a paused activity stays so only if asked.
#[test]
fn a_reset_between_attempts_begins_at_once() {
    let mut w = scheduled();
    let started = w.poll_activity("w");
    fail(&mut w, &started);
    pause(&mut w);
    reset(&mut w, false, true);
    assert!(pending(&w).is_paused() && pending(&w).attempt == 1 && !pending(&w).dispatched);
    reset(&mut w, false, false);
    assert_eq!(w.poll_activity("w").activity.attempt, 1);
}

/// Whoever names nothing that is pending is told so; everything may be nothing.
#[test]
fn what_is_named_has_to_be_there() {
    let mut w = scheduled();
    let pause = || ActivityControl::Pause { identity: String::new(), reason: String::new() };
    let absent = control(&mut w, ActivitiesNamed::Id("b".into()), pause());
    assert_eq!(absent.unwrap_err(), Rejected::NoActivityNamed);
    let absent = control(&mut w, ActivitiesNamed::Type("B".into()), pause());
    assert_eq!(absent.unwrap_err(), Rejected::NoActivityNamed);
    w.terminate("w").unwrap();
    assert_eq!(control(&mut w, ActivitiesNamed::All, pause()).unwrap_err(), Rejected::Closed);
}
