//! Timers.

use std::sync::Arc;

use mainspring_api::{
    time::{duration, from_duration, is_negative},
    v1::{
        command::{CancelTimerCommandAttributes, StartTimerCommandAttributes},
        enums::WorkflowTaskFailedCause as Cause,
        history::{
            TimerCanceledEventAttributes, TimerFiredEventAttributes, TimerStartedEventAttributes,
            history_event::Attributes,
        },
    },
};

use crate::{
    limits::SPAN_MAX,
    transition::{Extras, Transition},
    workflow::{
        command::{Context, Refusal},
        task,
    },
};

/// The command that starts a timer.
pub(crate) fn start(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: StartTimerCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    let bad = |message: String| Err(Refusal::new(Cause::BadStartTimerAttributes, message));
    if a.timer_id.is_empty() {
        return bad("TimerId is not set on StartTimerCommand.".to_owned());
    }
    if a.timer_id.len() > t.at.limits.id_bytes_max {
        return bad(format!(
            "TimerId on StartTimerCommand exceeds length limit. TimerId={} Length={} Limit={}",
            a.timer_id,
            a.timer_id.len(),
            t.at.limits.id_bytes_max
        ));
    }
    if is_negative(a.start_to_fire_timeout.as_ref()) {
        return bad(format!(
            "An invalid StartToFireTimeout is set on StartTimerCommand: negative duration. TimerId={}",
            a.timer_id
        ));
    }
    if t.run.timer_by_id(&a.timer_id).is_some() {
        return Err(Refusal::new(Cause::StartTimerDuplicateId, format!("TimerId={}", a.timer_id)));
    }
    let span = from_duration(a.start_to_fire_timeout.as_ref()).min(SPAN_MAX);
    let started = TimerStartedEventAttributes {
        timer_id: a.timer_id,
        start_to_fire_timeout: Some(duration(span)),
        workflow_task_completed_event_id: context.completed_event_id,
    };
    t.record_with(Attributes::TimerStartedEventAttributes(started), extras);
    Ok(())
}

/// The command that cancels a timer. One that fired unseen is taken back: the workflow never learns of it.
pub(crate) fn cancel(
    t: &mut Transition<'_>,
    context: &Context<'_>,
    a: &CancelTimerCommandAttributes,
    extras: Extras,
) -> Result<(), Refusal> {
    if a.timer_id.is_empty() {
        return Err(Refusal::new(Cause::BadCancelTimerAttributes, "TimerId is not set on CancelTimerCommand."));
    }
    let pending = t.run.timer_by_id(&a.timer_id).map(|timer| timer.started_event_id);
    let Some(started_event_id) = pending.or_else(|| take_back_fired(t, &a.timer_id)) else {
        let message = format!("Timer with ID {} is not found", a.timer_id);
        return Err(Refusal::new(Cause::BadCancelTimerAttributes, message));
    };
    let canceled = TimerCanceledEventAttributes {
        timer_id: a.timer_id.clone(),
        started_event_id,
        workflow_task_completed_event_id: context.completed_event_id,
        identity: String::new(),
    };
    t.record_with(Attributes::TimerCanceledEventAttributes(canceled), extras);
    Ok(())
}

fn take_back_fired(t: &mut Transition<'_>, timer_id: &str) -> Option<i64> {
    let (index, started_event_id) =
        t.run.buffered.iter().enumerate().find_map(|(index, event)| match &event.attributes {
            Some(Attributes::TimerFiredEventAttributes(fired)) if fired.timer_id == timer_id => {
                Some((index, fired.started_event_id))
            }
            _ => None,
        })?;
    t.touch_buffered();
    t.run.buffered.remove(index);
    Some(started_event_id)
}

/// Fires every timer that is due, by time and then by event id. True if any was.
pub(crate) fn fire_due(t: &mut Transition<'_>) -> bool {
    let now = t.now();
    let mut due: Vec<_> = t.run.timers.values().filter(|timer| timer.fires_at <= now).map(Arc::clone).collect();
    due.sort_by_key(|timer| (timer.fires_at, timer.started_event_id));
    for timer in &due {
        t.record(Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes {
            timer_id: timer.timer_id.clone(),
            started_event_id: timer.started_event_id,
        }));
    }
    if !due.is_empty() {
        task::schedule(t);
    }
    !due.is_empty()
}
