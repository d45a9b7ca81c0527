//! A deadline came: everything that is due is done at once, in the order in which it was due.

use mainspring_rt::Timestamp;

use crate::{
    moment::Moment,
    outcome::{Outcome, Rejected, Reply, RunChange, WakeMove},
    state::{Chain, ItemKey},
    step,
    transition::Transition,
    workflow::{activity, close, task, timer},
};

/// Wakes the newest run. When nothing is due, only the wake row moves.
pub(crate) fn wake(chain: &mut Chain, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    if let Some(outcome) = expire(chain, at) {
        return Ok(outcome);
    }
    step::advance_woken(chain, at, |t| {
        while act(t) {}
        Ok(Reply::Done)
    })
}

/// A closed run that was kept long enough goes, with every row it has; the outcome hands it over as superseded.
fn expire(chain: &mut Chain, at: &Moment<'_>) -> Option<Outcome> {
    let run = chain.run.take_if(|run| !run.is_open() && run.retained_until(at.retention) <= at.now)?;
    let requests = run.signal_requests.iter().cloned().map(ItemKey::SignalRequest);
    let wake = Some(WakeMove { from: Timestamp::from_nanos(run.execution.wake_at), to: Timestamp::ZERO });
    let change = RunChange { expired: true, touched: requests.collect(), wake, ..RunChange::default() };
    Some(Outcome { superseded: Some(Box::new((run, change))), current: None, reply: Reply::Done })
}

/// Does what was due first. False when nothing is due any more.
fn act(t: &mut Transition<'_>) -> bool {
    let due = t.run.next_deadline();
    if !t.run.is_open() || due > t.at.now {
        return false;
    }
    if t.run.expires_at() == due {
        close::time_out(t);
    } else if t.run.first_task_due() == due {
        task::begin_first(t);
    } else if t.run.execution.task.as_ref().is_some_and(|task| task.deadline() == due) {
        task::time_out_if_due(t);
    } else if let Some(id) = t.run.activities.iter().find(|(_, activity)| activity.deadline() == due).map(|(id, _)| *id)
    {
        activity::act_if_due(t, id);
    } else {
        timer::fire_due(t);
    }
    true
}
