//! What a worker does with an activity: its type says so.

use std::time::Duration;

use mainspring_engine::{
    Input, Rejected, Reply,
    input::{ActivityInput, ActivityTarget},
    outcome::StartedActivity,
};
use mainspring_history::{Answered, Error, RunKey};

use crate::{
    checks::Expect,
    commands::{failure, fatal_failure, payloads},
    ledger::ActivityEnd,
    sim::{Alarm, Sim},
    workers::{ActivityJob, ById, Job},
};

/// Heartbeats of an activity that sends some.
const BEATS: u32 = 3;

impl ActivityJob {
    pub(crate) fn new(task: StartedActivity, run: RunKey) -> ActivityJob {
        ActivityJob { task, run, beats: 0, cancel_requested: false, request: None }
    }

    fn target(&self) -> ActivityTarget {
        ActivityTarget::Token {
            run_id: self.task.fixed.run_id.clone(),
            scheduled_event_id: self.task.task.event_id,
            attempt: self.task.activity.attempt,
            stamp: self.task.task.stamp,
        }
    }
}

pub(crate) fn completed(result: &str) -> ActivityInput {
    ActivityInput::Complete { result: payloads(result), identity: "worker".to_owned() }
}

fn failed(fatal: bool) -> ActivityInput {
    let failure = if fatal { fatal_failure("fatal") } else { failure("try again") };
    ActivityInput::Fail { failure: Box::new(failure), last_heartbeat_details: None, identity: "worker".to_owned() }
}

impl Sim {
    pub(crate) fn work_on_activity(&mut self, worker: usize, slot: usize, mut job: ActivityJob) {
        if let Some((input, _)) = job.request.clone() {
            return self.report(worker, slot, input, job);
        }
        let attempt = job.task.activity.attempt;
        if attempt > 1 {
            self.sometimes.saw("activity retried");
        }
        if self.faulty() && self.random.hits(self.plan.faults.worker_idles) {
            return;
        }
        let result = format!("result-{}", self.new_id());
        let kind = job.task.activity.activity_type.clone();
        let input = match kind.as_str() {
            "fail1" if attempt <= 1 => failed(false),
            "fail2" if attempt <= 2 => failed(false),
            "fail9" => failed(false),
            "fatal" => failed(true),
            "hang" => return,
            "hang1" if attempt <= 1 => return,
            "byid" | "byid0" => return self.leave_to_others(&job),
            "waits" if job.cancel_requested => ActivityInput::Cancel { details: None, identity: "worker".to_owned() },
            "beat" if job.beats < BEATS => return self.beat(worker, slot, job),
            "waits" if job.beats < 2 * BEATS => return self.beat(worker, slot, job),
            _ => completed(&result),
        };
        let input = Input::Activity(job.target(), input);
        job.request = Some((input.clone(), result));
        self.report(worker, slot, input, job);
    }

    fn report(&mut self, worker: usize, slot: usize, input: Input, job: ActivityJob) {
        let fixed = &job.task.fixed;
        let key = Sim::key_of(&fixed.namespace_id, &fixed.workflow_id);
        let expect = match &input {
            Input::Activity(_, ActivityInput::Complete { .. }) => {
                Expect::ActivityEnded { run: job.run, scheduled_event_id: job.task.task.event_id }
            }
            _ => Expect::Nothing,
        };
        self.tell(worker, slot, key, input, expect, Job::Activity(Box::new(job)));
    }

    fn beat(&mut self, worker: usize, slot: usize, mut job: ActivityJob) {
        job.beats += 1;
        let fixed = &job.task.fixed;
        let key = Sim::key_of(&fixed.namespace_id, &fixed.workflow_id);
        let input = Input::Activity(job.target(), ActivityInput::Heartbeat { details: payloads("beat") });
        self.tell(worker, slot, key, input, Expect::Nothing, Job::Activity(Box::new(job)));
    }

    /// The worker's part is over; somebody completes the activity by its id.
    fn leave_to_others(&mut self, job: &ActivityJob) {
        let fixed = &job.task.fixed;
        let by_id = ById {
            key: Sim::key_of(&fixed.namespace_id, &fixed.workflow_id),
            run_id: if self.random.one_in(2) { fixed.run_id.clone() } else { String::new() },
            activity_id: job.task.activity.activity_id.clone(),
        };
        let pause = Duration::from_millis(self.random.between(0, 5_000));
        self.alarm(pause, Alarm::ById(Box::new(by_id)));
    }

    pub(crate) fn activity_answered(
        &mut self,
        worker: usize,
        slot: usize,
        mut job: ActivityJob,
        result: Result<Answered, Error>,
    ) {
        match result {
            Ok(Answered::Reply(answer)) => match (answer.reply, job.request.take()) {
                (Reply::Heartbeat { cancel_requested, .. }, None) => {
                    self.sometimes.saw("activity heartbeat");
                    job.cancel_requested = cancel_requested;
                    let pause = Duration::from_millis(self.random.between(100, 2_500));
                    self.pause(worker, slot, Some(Job::Activity(Box::new(job))), pause);
                }
                (Reply::Done, Some((input, result))) => {
                    if matches!(input, Input::Activity(_, ActivityInput::Complete { .. })) {
                        let (shard, run) = (job.run.shard, job.run.run.0);
                        self.ledger.activities.push(ActivityEnd { shard, run, result });
                    }
                }
                (reply, _) => self.fail(format!("an activity's worker is told {reply:?}")),
            },
            Ok(Answered::View(_) | Answered::Query(_) | Answered::Update(_)) => {
                self.fail("an activity's worker gets a view".to_owned())
            }
            Err(Error::Rejected(
                Rejected::ActivityNotFound
                | Rejected::NotFound
                | Rejected::Closed
                | Rejected::OtherRun
                | Rejected::CancelNotRequested,
            )) => {}
            Err(error) => self.fail(format!("an activity's worker is refused with {error:?}")),
        }
    }
}
