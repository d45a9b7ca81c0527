//! One input, one step: finds the run that is meant, lets its feature decide, keeps the ceilings.

use crate::{
    input::{Input, StartTask, TaskKind, TaskRef},
    moment::Moment,
    outcome::{Outcome, Rejected, Reply},
    state::{Chain, Run, RunNumber},
    transition::Transition,
    workflow::{
        activity, activity_control, cancel, child, completion, delete, external, signal, start, task, terminate,
        update, wake,
    },
};

use mainspring_rt::Timestamp;

/// Advances one workflow id by one input. Does no I/O and reads no clock.
///
/// Time does not run backwards within a chain: a moment before its newest event counts as that event's time.
///
/// # Errors
/// A refusal, which is an answer like any other: the chain is unchanged and nothing is to be committed.
pub fn step(chain: &mut Chain, input: Input, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    let newest_event_at = chain.run.as_ref().map_or(0, |run| run.execution.last_event_at);
    let moment = at.not_before(Timestamp::from_nanos(newest_event_at));
    let outcome = dispatch(chain, input, &moment);
    at.continue_from(&moment);
    outcome
}

fn dispatch(chain: &mut Chain, input: Input, at: &Moment<'_>) -> Result<Outcome, Rejected> {
    match input {
        Input::Start(input) => start::start(chain, *input, at),
        Input::SignalWithStart(start, signal) => start::signal_with_start(chain, *start, &signal, at),
        Input::Signal(input) => {
            named(chain, &input.run_id)?;
            advance(chain, at, |t| signal::signal(t, &input).map(|_| Reply::Done))
        }
        Input::Update(input) => {
            named(chain, &input.run_id)?;
            advance(chain, at, |t| update::admit(t, &input).map(|()| Reply::Done))
        }
        Input::UpdateWithStart(start, input) => start::update_with_start(chain, *start, &input, at),
        Input::RequestCancel(input) => {
            named(chain, &input.run_id)?;
            advance(chain, at, |t| cancel::request(t, &input))
        }
        Input::Terminate(input) => {
            named(chain, &input.run_id)?;
            advance(chain, at, |t| terminate::terminate(t, &input))
        }
        Input::Delete { run_id } => {
            named(chain, &run_id)?;
            advance(chain, at, delete::delete)
        }
        Input::StartTask(input) => {
            numbered(chain, input.task.run).map_err(|_| Rejected::TaskOutdated)?;
            advance(chain, at, |t| start_task(t, &input))
        }
        Input::Undelivered(task) => {
            numbered(chain, task.run).map_err(|_| Rejected::TaskOutdated)?;
            advance(chain, at, |t| undelivered(t, &task))
        }
        Input::StickyUnavailable(task) => {
            numbered(chain, task.run).map_err(|_| Rejected::TaskOutdated)?;
            advance(chain, at, |t| task::leave_sticky(t, &task).map(|()| Reply::Done))
        }
        Input::CompleteWorkflowTask(input) => {
            named(chain, &input.token.run_id)?;
            advance(chain, at, |t| completion::complete(t, &input))
        }
        Input::FailWorkflowTask(input) => {
            named(chain, &input.token.run_id)?;
            advance(chain, at, |t| task::fail_by_worker(t, &input))
        }
        Input::ResetSticky { run_id } => {
            named(chain, &run_id)?;
            advance(chain, at, task::reset_sticky)
        }
        Input::Activity(target, input) => {
            named(chain, target.run_id())?;
            advance(chain, at, |t| activity::respond(t, &target, &input))
        }
        Input::ControlActivities(input) => {
            named(chain, &input.run_id)?;
            advance(chain, at, |t| activity_control::control(t, &input))
        }
        Input::Wake(number) => {
            numbered(chain, number)?;
            wake::wake(chain, at)
        }
        Input::ScheduleFirstTask { run_id, child_of_run_id } => {
            if chain.run.is_none() {
                return Ok(Outcome::unchanged(Reply::Done));
            }
            advance(chain, at, |t| Ok(child::schedule_first_task(t, &run_id, child_of_run_id.as_deref())))
        }
        Input::EffectAnswered(input) => {
            numbered(chain, input.run)?;
            advance(chain, at, |t| Ok(external::answered(t, &input)))
        }
        Input::ChildClosed(input) => {
            // A parent that is gone, or followed by another run, is closed: it has no open child.
            if named(chain, &input.run_id).is_err() {
                return Ok(Outcome::unchanged(Reply::Done));
            }
            advance(chain, at, |t| Ok(child::closed(t, &input)))
        }
    }
}

/// The newest run, if it is the one named. An empty id names the newest.
fn named<'c>(chain: &'c Chain, run_id: &str) -> Result<&'c Run, Rejected> {
    let run = chain.run.as_ref().ok_or(Rejected::NotFound)?;
    if run_id.is_empty() || run.fixed.run_id == run_id { Ok(run) } else { Err(Rejected::OtherRun) }
}

/// The newest run, if it is the one numbered.
fn numbered(chain: &Chain, number: RunNumber) -> Result<&Run, Rejected> {
    chain.run.as_ref().filter(|run| run.number == number).ok_or(Rejected::OtherRun)
}

/// Lets `decide` change the newest run. It refuses before it changes anything, or not at all.
pub(crate) fn advance(
    chain: &mut Chain,
    at: &Moment<'_>,
    decide: impl FnOnce(&mut Transition<'_>) -> Result<Reply, Rejected>,
) -> Result<Outcome, Rejected> {
    advance_at(chain, at, false, decide)
}

/// As [`advance`]; the run's wake row was used up.
pub(crate) fn advance_woken(
    chain: &mut Chain,
    at: &Moment<'_>,
    decide: impl FnOnce(&mut Transition<'_>) -> Result<Reply, Rejected>,
) -> Result<Outcome, Rejected> {
    advance_at(chain, at, true, decide)
}

fn advance_at(
    chain: &mut Chain,
    at: &Moment<'_>,
    woken: bool,
    decide: impl FnOnce(&mut Transition<'_>) -> Result<Reply, Rejected>,
) -> Result<Outcome, Rejected> {
    let run = chain.run.as_mut().ok_or(Rejected::NotFound)?;
    let mut t = Transition::new(run, at);
    let reply = decide(&mut t)?;
    keep_ceilings(&mut t);
    let follow_up = t.follow_up.take();
    let change = t.finish(woken);
    let Some(follow_up) = follow_up else {
        return Ok(Outcome { superseded: None, current: change, reply });
    };
    let ended = chain.run.take();
    let (run, created) = start::create(follow_up.run_id, follow_up.start, None, ended.as_ref(), at);
    chain.run = Some(run);
    let superseded = ended.zip(change).map(Box::new);
    Ok(Outcome { superseded, current: created, reply })
}

/// Ends a workflow task that holds back too much, and a run whose history is too long.
fn keep_ceilings(t: &mut Transition<'_>) {
    if !t.run.is_open() {
        return;
    }
    if task::holds_too_much(t) {
        task::fail_overfull(t);
    }
    t.seal();
    let limits = t.at.limits;
    if t.run.execution.next_event_id - 1 > limits.history_events_max {
        terminate::by_server_now(t, "Workflow history count exceeds limit.");
    } else if t.run.execution.history_bytes > limits.history_bytes_max {
        terminate::by_server_now(t, "Workflow history size exceeds limit.");
    }
}

fn start_task(t: &mut Transition<'_>, input: &StartTask) -> Result<Reply, Rejected> {
    match input.task.kind {
        TaskKind::Workflow => task::start(t, input),
        TaskKind::Activity => activity::start(t, input),
    }
}

fn undelivered(t: &mut Transition<'_>, task: &TaskRef) -> Result<Reply, Rejected> {
    match task.kind {
        TaskKind::Workflow => task::undelivered(t, task)?,
        TaskKind::Activity => activity::undelivered(t, task)?,
    }
    Ok(Reply::Done)
}
