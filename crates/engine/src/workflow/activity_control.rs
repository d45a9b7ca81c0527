//! What operators do with pending activities: pause, unpause, reset. None of it is an event.
//!
//! A paused activity has no next attempt until it is let go; the one that runs goes on and hears of it with its next
//! heartbeat.

use std::time::Duration;

use crate::{
    input::{ActivitiesNamed, ActivityControl, ControlActivities},
    outcome::{Rejected, Reply},
    state::{Activity, Pause},
    transition::Transition,
    workflow::activity::{change, dispatch},
};

/// Does as the operator says with every activity that is meant.
///
/// # Errors
/// Closed, or none is meant though one was named.
pub(crate) fn control(t: &mut Transition<'_>, input: &ControlActivities) -> Result<Reply, Rejected> {
    if !t.run.is_open() {
        return Err(Rejected::Closed);
    }
    let meant: Vec<i64> =
        t.run.activities.iter().filter(|(_, activity)| is_meant(activity, &input.which)).map(|(id, _)| *id).collect();
    if meant.is_empty() && input.which != ActivitiesNamed::All {
        return Err(Rejected::NoActivityNamed);
    }
    for scheduled_event_id in meant {
        match &input.control {
            ActivityControl::Pause { identity, reason } => pause(t, scheduled_event_id, identity, reason),
            ActivityControl::Unpause { reset_attempts, reset_heartbeat, jitter } => {
                unpause(t, scheduled_event_id, *reset_attempts, *reset_heartbeat, *jitter);
            }
            ActivityControl::Reset { reset_heartbeat, keep_paused, jitter } => {
                reset(t, scheduled_event_id, *reset_heartbeat, *keep_paused, *jitter);
            }
        }
    }
    Ok(Reply::Done)
}

/// The attempt that a reset meant is over.
pub(crate) fn end_reset(activity: &mut Activity) {
    activity.reset = false;
    if std::mem::take(&mut activity.forget_heartbeat) {
        activity.heartbeat_details = None;
    }
}

fn is_meant(activity: &Activity, which: &ActivitiesNamed) -> bool {
    match which {
        ActivitiesNamed::Id(id) => activity.activity_id == *id,
        ActivitiesNamed::Type(name) => activity.activity_type == *name,
        ActivitiesNamed::All => true,
    }
}

fn pause(t: &mut Transition<'_>, scheduled_event_id: i64, identity: &str, reason: &str) {
    if t.run.activities.get(&scheduled_event_id).is_some_and(|activity| activity.is_paused()) {
        return;
    }
    let (at, stamp) = (t.now(), t.next_stamp());
    let Some(activity) = change(t, scheduled_event_id) else { return };
    activity.paused = Some(Pause { at, identity: identity.to_owned(), reason: reason.to_owned() });
    if !activity.is_started() {
        // Whatever waits in a queue is outdated.
        activity.stamp = stamp;
        activity.dispatched = false;
    }
}

fn unpause(t: &mut Transition<'_>, scheduled_event_id: i64, attempts: bool, heartbeat: bool, jitter: Duration) {
    let Some(activity) = change(t, scheduled_event_id) else { return };
    if activity.paused.take().is_none() {
        return;
    }
    if attempts {
        activity.attempt = 1;
    }
    if heartbeat {
        forget_heartbeat(activity);
    }
    if !activity.is_started() {
        begin_after(t, scheduled_event_id, jitter);
    }
}

fn reset(t: &mut Transition<'_>, scheduled_event_id: i64, heartbeat: bool, keep_paused: bool, jitter: Duration) {
    let Some(activity) = change(t, scheduled_event_id) else { return };
    activity.attempt = 1;
    activity.reset = activity.is_started();
    if heartbeat {
        forget_heartbeat(activity);
    }
    if !keep_paused {
        activity.paused = None;
    }
    if !activity.is_started() && !activity.is_paused() {
        begin_after(t, scheduled_event_id, jitter);
    }
}

/// An attempt that runs keeps what it told; the next one begins without.
fn forget_heartbeat(activity: &mut Activity) {
    if activity.is_started() {
        activity.forget_heartbeat = true;
    } else {
        activity.heartbeat_details = None;
    }
}

/// The next attempt is due now, or some time within `jitter`.
fn begin_after(t: &mut Transition<'_>, scheduled_event_id: i64, jitter: Duration) {
    let within = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
    let wait = if within == 0 { 0 } else { t.at.random() % within };
    let due = t.at.now + Duration::from_nanos(wait);
    let stamp = t.next_stamp();
    if let Some(activity) = change(t, scheduled_event_id) {
        activity.attempt_scheduled_at = due.as_nanos();
        activity.retry_interval = i64::try_from(wait).unwrap_or(i64::MAX);
        activity.dispatched = false;
        activity.stamp = stamp;
    }
    if wait == 0 {
        dispatch(t, scheduled_event_id);
    }
}
