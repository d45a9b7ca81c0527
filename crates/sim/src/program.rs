//! What workflows do: a small program, drawn from the workflow type, and its next commands, decided by history alone.
//!
//! So any worker can go on with any run, and the same history always gives the same commands.

use std::time::Duration;

use mainspring_api::v1::{command::Command, enums::ParentClosePolicy};

use crate::{
    commands::{self, ActivityPlan, ChildPlan},
    facts::{Facts, Item},
    random::Random,
    update_job::{self, Said},
};

/// Workflow ids that clients and workflows use.
pub(crate) const WORKFLOW_IDS: u64 = 5;

/// A workflow type: `w<seed>.<depth>.<generation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    pub(crate) seed: u64,
    /// How many parents it has.
    pub(crate) depth: u64,
    /// How often it has continued as new.
    pub(crate) generation: u64,
}

impl Type {
    pub(crate) fn name(self) -> String {
        format!("w{}.{}.{}", self.seed, self.depth, self.generation)
    }

    pub(crate) fn parse(name: &str) -> Option<Type> {
        let mut numbers = name.strip_prefix('w')?.split('.').map(|number| number.parse::<u64>().ok());
        Some(Type { seed: numbers.next()??, depth: numbers.next()??, generation: numbers.next()?? })
    }
}

pub(crate) struct Program {
    kind: Type,
    steps: Vec<Step>,
    end: End,
    /// Ends when it is asked to, between two steps.
    minds_cancel: bool,
    /// Does not end before the updates that it took are done.
    minds_updates: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Activities(Vec<ActivityPlan>),
    /// Starts an activity and cancels it when a timer has fired.
    CancelActivity(ActivityPlan, u64),
    Timer(u64),
    /// Cancels the longer timer when the shorter has fired.
    TimerRace(u64),
    /// Waits until so many signals have come, but only so many seconds.
    Signals(u64, u64),
    SignalOther {
        namespace: String,
        workflow_id: String,
    },
    CancelOther {
        workflow_id: String,
    },
    Child {
        plan: ChildPlan,
        await_end: bool,
        signal: bool,
    },
    Marker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Fail,
    ContinueAsNew,
}

impl Program {
    pub(crate) fn of(kind: Type) -> Program {
        let random = Random::new(kind.seed.wrapping_add(kind.depth << 40).wrapping_add(kind.generation << 50));
        let count = random.between(0, 4);
        let steps = (0..count).map(|_| step(&random, kind)).collect();
        let end = match random.below(8) {
            0 => End::Fail,
            1 | 2 if kind.generation < 2 => End::ContinueAsNew,
            _ => End::Complete,
        };
        Program { kind, steps, end, minds_cancel: random.one_in(2), minds_updates: random.one_in(2) }
    }

    /// What the history and the updates that came with the task ask for. `unique` is in no other completion.
    pub(crate) fn decide(&self, facts: &Facts, workflow_id: &str, unique: u64) -> Said {
        let mut said = Said::default();
        let updated = update_job::go_on(facts, unique, &mut said);
        said.commands.extend(self.commands(facts, workflow_id, updated));
        said
    }

    fn commands(&self, facts: &Facts, workflow_id: &str, updated: bool) -> Vec<Command> {
        let mut out = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            if self.minds_cancel && facts.cancel_requested {
                break;
            }
            if !go_on(step, index, facts, workflow_id, &mut out) {
                return out;
            }
        }
        let cancelled = self.minds_cancel && facts.cancel_requested;
        if !cancelled && !updated && self.minds_updates {
            return out;
        }
        out.push(if cancelled {
            commands::cancel_workflow()
        } else {
            match self.end {
                End::Complete => commands::complete(),
                End::Fail => commands::fail(),
                End::ContinueAsNew => {
                    let next = Type { generation: self.kind.generation + 1, ..self.kind };
                    commands::continue_as_new(&next.name())
                }
            }
        });
        out
    }
}

fn step(random: &Random, kind: Type) -> Step {
    match random.below(16) {
        0..=3 => Step::Activities((0..random.between(1, 3)).map(|_| activity(random)).collect()),
        4 => Step::CancelActivity(activity(random), random.between(1, 4)),
        5 | 6 => Step::Timer(random.between(0, 30).max(1)),
        7 => Step::TimerRace(random.between(1, 5)),
        8 => Step::Signals(random.between(1, 3), random.between(1, 20)),
        9 | 10 => {
            let namespace = match random.below(6) {
                0 => "nowhere",
                1 | 2 => "one",
                3 => "two",
                _ => "",
            };
            Step::SignalOther { namespace: namespace.to_owned(), workflow_id: some_workflow_id(random) }
        }
        11 => Step::CancelOther { workflow_id: some_workflow_id(random) },
        12..=14 if kind.depth < 2 => child(random, kind),
        _ => Step::Marker,
    }
}

fn some_workflow_id(random: &Random) -> String {
    format!("wf-{}", random.below(WORKFLOW_IDS))
}

fn activity(random: &Random) -> ActivityPlan {
    let behaviour = *random.pick(&[
        "ok", "ok", "ok", "ok", "fail1", "fail2", "fail9", "fatal", "beat", "hang", "hang1", "byid", "byid0", "waits",
    ]);
    ActivityPlan {
        behaviour,
        attempts: i32::try_from(random.between(1, 4)).unwrap_or(1),
        eager: random.one_in(5),
        to_close: Duration::from_secs(random.between(2, 12)),
        over_all: if random.one_in(3) { Duration::from_secs(random.between(1, 40)) } else { Duration::ZERO },
        to_start: if random.one_in(4) { Duration::from_secs(random.between(1, 10)) } else { Duration::ZERO },
        heartbeat: if random.one_in(2) { Duration::from_secs(random.between(1, 3)) } else { Duration::ZERO },
    }
}

fn child(random: &Random, kind: Type) -> Step {
    let policies = [ParentClosePolicy::Terminate, ParentClosePolicy::Abandon, ParentClosePolicy::RequestCancel];
    let program = Type { seed: random.below(1 << 30), depth: kind.depth + 1, generation: 0 };
    let shared = random.one_in(8);
    let plan = ChildPlan {
        kind: program.name(),
        namespace: if random.one_in(4) { "two" } else { "" },
        shared_id: shared.then(|| some_workflow_id(random)),
        policy: *random.pick(&policies),
        attempts: if random.one_in(4) { 2 } else { 0 },
    };
    Step::Child { plan, await_end: random.one_in(2), signal: random.one_in(3) }
}

/// Adds what the step still has to ask for. True when it is over.
fn go_on(step: &Step, index: usize, facts: &Facts, workflow_id: &str, out: &mut Vec<Command>) -> bool {
    let name = |part: &str| format!("s{index}{part}");
    match step {
        Step::Activities(plans) => {
            let mut done = true;
            for (number, plan) in plans.iter().enumerate() {
                let id = name(&format!("-{number}"));
                done &= begun(facts.activities.get(&id), out, || commands::activity(&id, plan));
            }
            done
        }
        Step::CancelActivity(plan, seconds) => cancel_activity(&name("-0"), &name("-t"), plan, *seconds, facts, out),
        Step::Timer(seconds) => {
            let id = name("-t");
            begun(facts.timers.get(&id), out, || commands::timer(&id, *seconds))
        }
        Step::TimerRace(seconds) => {
            let (short, long) = (name("-t"), name("-u"));
            let fired = begun(facts.timers.get(&short), out, || commands::timer(&short, *seconds));
            let over = begun(facts.timers.get(&long), out, || commands::timer(&long, seconds + 1));
            if fired && !over {
                out.push(commands::cancel_timer(&long));
            }
            fired
        }
        Step::Signals(count, seconds) => {
            let id = name("-t");
            let timer = facts.timers.get(&id);
            let come = facts.signals >= *count;
            match timer {
                None if come => true,
                Some(timer) if come && !timer.done => {
                    out.push(commands::cancel_timer(&id));
                    true
                }
                _ => begun(timer, out, || commands::timer(&id, *seconds)),
            }
        }
        Step::SignalOther { namespace, workflow_id } => {
            let control = name("-x");
            let unique = format!("{}/{control}", facts.run_id);
            begun(facts.externals.get(&control), out, || {
                commands::signal_other(namespace, workflow_id, &control, &unique)
            })
        }
        Step::CancelOther { workflow_id } => {
            let reason = name("-x");
            begun(facts.externals.get(&reason), out, || commands::cancel_other(workflow_id, &reason))
        }
        Step::Child { plan, await_end, signal } => {
            let id = plan.shared_id.clone().unwrap_or_else(|| format!("{workflow_id}/{}", name("-c")));
            if plan.shared_id.is_some() && id == workflow_id {
                return true;
            }
            child_step(&id, &name("-x"), plan, *await_end, *signal, facts, out)
        }
        Step::Marker => {
            let marker = name("-m");
            if !facts.markers.contains_key(&marker) {
                out.push(commands::marker(&marker));
            }
            true
        }
    }
}

/// Asks for an item unless that was done. True when the item is over.
fn begun(item: Option<&Item>, out: &mut Vec<Command>, command: impl FnOnce() -> Command) -> bool {
    match item {
        Some(item) => item.done,
        None => {
            out.push(command());
            false
        }
    }
}

fn cancel_activity(
    id: &str,
    timer: &str,
    plan: &ActivityPlan,
    seconds: u64,
    facts: &Facts,
    out: &mut Vec<Command>,
) -> bool {
    let activity = facts.activities.get(id);
    let done = begun(activity, out, || commands::activity(id, plan));
    let fired = begun(facts.timers.get(timer), out, || commands::timer(timer, seconds));
    if let Some(activity) = activity.filter(|activity| fired && !activity.done && !activity.cancel_requested) {
        out.push(commands::cancel_activity(activity.event_id));
    }
    done && fired
}

fn child_step(
    id: &str,
    control: &str,
    plan: &ChildPlan,
    await_end: bool,
    signal: bool,
    facts: &Facts,
    out: &mut Vec<Command>,
) -> bool {
    let child = facts.children.get(id).copied();
    let done = begun(child.as_ref(), out, || commands::child(id, plan));
    let Some(child) = child.filter(|child| child.started || child.done) else { return false };
    let mut over = done || !await_end;
    if signal && child.started {
        let unique = format!("{}/{control}", facts.run_id);
        over &=
            begun(facts.externals.get(control), out, || commands::signal_other(plan.namespace, id, control, &unique));
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back() {
        let kind = Type { seed: 7, depth: 1, generation: 2 };
        assert_eq!(Type::parse(&kind.name()), Some(kind));
        assert_eq!(Type::parse("other"), None);
    }

    #[test]
    fn the_same_history_gives_the_same_commands() {
        let program = Program::of(Type { seed: 3, depth: 0, generation: 0 });
        let facts = Facts::default();
        assert_eq!(program.decide(&facts, "wf", 1), program.decide(&facts, "wf", 1));
    }
}
