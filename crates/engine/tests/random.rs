//! Random worlds: whatever clients, workers, outboxes and the clock do, the invariants hold after every step, the same
//! seed gives the same bytes, and when the faults stop every row is answered.

mod world;

use std::time::Duration;

use mainspring_api::v1::{
    command::Command,
    enums::{ParentClosePolicy as Policy, WorkflowIdConflictPolicy as Conflict},
    protocol::Message,
};
use mainspring_engine::{
    Input,
    input::ActivityInput,
    outcome::{StartedActivity, StartedWorkflowTask, UpdateEnd},
};
use world::{World, commands::*, payloads, updates, world};

const SEEDS: u64 = 150;
const STEPS: usize = 250;
const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// SplitMix64, and what workers hold in their hands.
struct Chaos {
    state: u64,
    w: World,
    tasks: Vec<(String, StartedWorkflowTask)>,
    activities: Vec<(String, StartedActivity)>,
}

impl Chaos {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).expect("below a usize")
    }

    fn id(&mut self) -> &'static str {
        IDS[self.below(IDS.len())]
    }

    fn act(&mut self) {
        let id = self.id();
        match self.below(20) {
            0 => self.start(id),
            1 => drop(self.w.signal_with_start(id, |_| {})),
            2 => {
                let request_id = format!("r{}", self.below(5));
                drop(self.w.signal(id, &request_id));
            }
            3 if self.below(4) == 0 => drop(self.w.terminate(id)),
            3 => drop(self.w.cancel(id)),
            4..=6 => self.poll(),
            7..=9 => self.answer_task(),
            10 => self.answer_activity(),
            11 | 12 => self.send(),
            13 => self.undeliver(),
            14..=16 => self.update(id),
            // The server that held the run is gone: what is never stored is lost.
            17 if self.below(4) == 0 => self.w.forget(id),
            18 if self.below(8) == 0 => self.w.now = self.w.now - Duration::from_secs(self.below(20) as u64),
            _ => {
                let millis = [10, 500, 1_000, 4_000, 11_000][self.below(5)];
                self.w.pass(Duration::from_millis(millis));
            }
        }
    }

    fn start(&mut self, id: &str) {
        let (conflict, delay, retries) = (self.below(3), self.below(4), self.below(3));
        let (run_timeout, cron) = (self.below(3), self.below(12));
        let request = self.below(12);
        drop(self.w.try_start(id, |s| {
            s.request_id = format!("start-{request}");
            s.conflict_policy = [Conflict::Fail, Conflict::UseExisting, Conflict::TerminateExisting][conflict];
            s.input = payloads(b"1");
            if delay == 0 {
                s.start_delay = Duration::from_secs(3);
            }
            if retries == 0 {
                s.retry_policy = attempts(3);
            }
            if run_timeout == 0 {
                s.run_timeout = Duration::from_secs(30);
            }
            if cron == 0 {
                s.cron_schedule = "@every 5s".into();
            }
        }));
    }

    fn update(&mut self, id: &str) {
        let update_id = format!("u{}", self.below(30));
        if self.below(4) == 0 {
            let conflict = [Conflict::Fail, Conflict::UseExisting, Conflict::TerminateExisting][self.below(3)];
            drop(self.w.update_with_start(id, &update_id, |s| s.conflict_policy = conflict));
        } else {
            drop(self.w.update(id, &update_id));
        }
    }

    /// What a worker says of the updates that it was brought, and of those that it accepted.
    fn messages(&mut self, id: &str, task: &StartedWorkflowTask) -> Vec<Message> {
        let mut messages = Vec::new();
        for request in &task.messages {
            let update_id = request.protocol_instance_id.as_str();
            match self.below(24) {
                0..=11 => messages.push(updates::accept(task, update_id)),
                12..=14 => messages.extend([updates::accept(task, update_id), updates::respond(update_id)]),
                15..=20 => messages.push(updates::reject(update_id)),
                // A worker that does not know the rules.
                21 => messages.push(updates::respond(update_id)),
                _ => {}
            }
        }
        let done = self.below(12) == 0;
        let accepted = self.w.chains[id].run.iter().flat_map(|run| &run.updates);
        let open: Vec<&String> =
            accepted.filter(|(_, update)| done || update.completed_event_id == 0).map(|(id, _)| id).collect();
        messages.extend(open.first().map(|update_id| updates::respond(update_id)));
        messages
    }

    fn poll(&mut self) {
        if self.w.tasks.is_empty() {
            return;
        }
        let index = self.below(self.w.tasks.len());
        // A task that is kept comes a second time.
        let task = if self.below(5) == 0 { self.w.tasks[index].clone() } else { self.w.tasks.remove(index) };
        let sticky = task.sticky.then(|| task.queue.clone());
        if sticky.is_some() && self.below(3) == 0 {
            let owner = self.owner(&task.task.run);
            drop(owner.map(|id| self.w.input(&id, Input::StickyUnavailable(task.task))));
            return;
        }
        let Some(id) = self.owner(&task.task.run) else { return };
        match self.w.take(task.task, sticky.as_deref()) {
            Ok(mainspring_engine::Reply::WorkflowTask(task)) => self.tasks.push((id, *task)),
            Ok(mainspring_engine::Reply::ActivityTask(activity)) => self.activities.push((id, *activity)),
            _ => {}
        }
    }

    fn owner(&self, number: &mainspring_engine::RunNumber) -> Option<String> {
        let chains = self.w.chains.iter();
        let mut mine = chains.filter(|(_, chain)| chain.run.as_ref().is_some_and(|run| run.number == *number));
        mine.next().map(|(id, _)| id.clone())
    }

    fn answer_task(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let index = self.below(self.tasks.len());
        let (id, task) = self.tasks.swap_remove(index);
        if self.below(6) == 0 {
            drop(self.w.fail_task(&id, &task));
            return;
        }
        let commands: Vec<Command> = (0..self.below(4)).map(|_| self.command(&id)).collect();
        let (force, inline, sticky) = (self.below(5) == 0, self.below(2) == 0, self.below(2) == 0);
        let messages = self.messages(&id, &task);
        let discards = self.below(2) == 0;
        let completed = self.w.say_with(&id, &task, messages, commands, |input| {
            input.discards_events = discards;
            (input.force_new_task, input.return_new_task) = (force, inline);
            input.sticky = sticky.then(|| (format!("sticky-{id}"), Duration::from_secs(5)));
        });
        let Ok(completed) = completed else { return };
        self.tasks.extend(completed.next_task.map(|task| (id.clone(), *task)));
        self.activities.extend(completed.activities.into_iter().map(|activity| (id.clone(), activity)));
    }

    fn command(&mut self, id: &str) -> Command {
        let item = format!("i{}", self.below(4));
        let other = self.id();
        match self.below(24) {
            0..=3 => timer(&item, self.below(6) as u64),
            4 => self.w.chains[id]
                .run
                .as_ref()
                .and_then(|run| run.timers.values().next())
                .map_or_else(|| timer("x", 1), |timer| cancel_timer(&timer.timer_id)),
            5..=8 => {
                let (eager, heartbeat, retries) = (self.below(3) == 0, self.below(3), self.below(3));
                activity_with(&item, |a| {
                    a.request_eager_execution = eager;
                    a.heartbeat_timeout = seconds(heartbeat as u64);
                    a.retry_policy = attempts(i32::try_from(retries).expect("a few"));
                })
            }
            9 => self.w.chains[id]
                .run
                .as_ref()
                .and_then(|run| run.activities.keys().next())
                .map_or_else(|| timer("y", 1), |scheduled_event_id| cancel_activity(*scheduled_event_id)),
            10..=12 => child(other, [Policy::Terminate, Policy::RequestCancel, Policy::Abandon][self.below(3)]),
            13 | 14 => signal_external(other),
            15 => cancel_external(other),
            16 => signal_external("nobody"),
            17 => fail(),
            18 => continue_as_new(),
            19 | 20 => complete(),
            21 => cancel(),
            _ => timer(&format!("long-{item}"), 60),
        }
    }

    fn answer_activity(&mut self) {
        if self.activities.is_empty() {
            return;
        }
        let index = self.below(self.activities.len());
        let (id, activity) = self.activities[index].clone();
        let identity = "worker".to_owned();
        let input = match self.below(5) {
            0 => ActivityInput::Heartbeat { details: payloads(b"7") },
            1 => ActivityInput::Fail { failure: Box::new(failure("bad")), last_heartbeat_details: None, identity },
            2 => ActivityInput::Cancel { details: None, identity },
            _ => ActivityInput::Complete { result: None, identity },
        };
        drop(self.w.answer_activity(&id, &activity, input));
    }

    /// Sends a row, in order for its target; its answer may be lost.
    fn send(&mut self) {
        if self.w.outbox.is_empty() {
            return;
        }
        let index = self.below(self.w.outbox.len());
        let row = &self.w.outbox[index];
        let (run, target) = (row.run, row.effect.workflow_id.clone());
        let first =
            self.w.outbox.iter().position(|row| row.run == run && row.effect.workflow_id == target).expect("this one");
        let Some(answer) = self.w.send(first) else { return };
        if self.below(3) != 0 {
            self.w.answer(self.position(run, &target), answer);
        }
    }

    /// A send may have added rows; this one is still the first of its run to its target.
    fn position(&self, run: mainspring_engine::RunNumber, target: &str) -> usize {
        self.w
            .outbox
            .iter()
            .position(|row| row.run == run && row.effect.workflow_id == target)
            .expect("not answered yet")
    }

    fn undeliver(&mut self) {
        if let Some((id, task)) = self.tasks.pop() {
            drop(self.w.input(&id, Input::Undelivered(task.task)));
        } else if let Some((id, activity)) = self.activities.pop() {
            drop(self.w.input(&id, Input::Undelivered(activity.task)));
        }
    }
}

fn run(seed: u64) -> Chaos {
    let mut chaos = Chaos { state: seed, w: world(), tasks: Vec::new(), activities: Vec::new() };
    chaos.w.limits.buffered_events_max = 6;
    for _ in 0..STEPS {
        chaos.act();
    }
    chaos
}

#[test]
fn the_invariants_hold_whatever_happens() {
    let (mut events, mut closed) = (0, 0);
    // Accepted, completed, rejected, aborted.
    let mut updates = [0; 4];
    for seed in 0..SEEDS {
        let seeded = std::panic::catch_unwind(|| {
            let mut chaos = run(seed);
            // The faults stop: all rows are answered, and time brings all that is due.
            chaos.w.deliver();
            let waits = |world: &World| {
                world
                    .chains
                    .values()
                    .filter_map(|chain| chain.run.clone())
                    .any(|run| run.is_open() && run.execution.awaits_parent)
            };
            assert!(!waits(&chaos.w), "a child waits for its parent for ever");
            chaos.w.seconds(600);
            let sum: usize = chaos.w.histories.values().map(Vec::len).sum();
            let runs = chaos.w.older.values().chain(chaos.w.chains.values().filter_map(|chain| chain.run.as_ref()));
            let updates: Vec<i64> = runs.flat_map(|run| run.updates.values()).map(|u| u.completed_event_id).collect();
            let done = updates.iter().filter(|completed_event_id| **completed_event_id != 0).count();
            let no = chaos.w.ended.iter().filter(|(_, end)| matches!(end, UpdateEnd::Rejected(_))).count();
            (sum, chaos.w.older.len(), [updates.len(), done, no, chaos.w.ended.len() - no])
        });
        let Ok((more, older, ends)) = seeded else { panic!("seed {seed}") };
        (events, closed) = (events + more, closed + older);
        updates = std::array::from_fn(|kind| updates[kind] + ends[kind]);
    }
    assert!(updates.iter().all(|count| *count > 200), "too few updates: {updates:?}");
    assert!(events > 5_000 && closed > 200, "too little happened: {events} events, {closed} runs followed by others");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..5 {
        let (one, two) = (run(seed), run(seed));
        assert!(one.w.histories == two.w.histories && one.w.chains == two.w.chains, "seed {seed}");
    }
}
