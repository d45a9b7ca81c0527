//! Workers: they poll, check what they are given, and answer; or idle, err, leave their line and die.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainspring_api::ids::QueueKind;
use mainspring_engine::{
    Input,
    input::{ActivityTarget, TaskKind},
    outcome::StartedActivity,
};
use mainspring_history::{
    Answered, Delivered, Error, RunKey,
    shard::{ChainKey, Event, Target, Work},
};
use mainspring_matching::{Poll, PollerId, QueueName, Version};

use crate::{
    checks::Expect,
    commands::QUEUE,
    facts::Facts,
    node::{CallId, Line, PollId},
    sim::{Alarm, Phase, Sim},
    workflow_job::WorkflowJob,
    world::{Caller, chain_key, namespace_id, task_of},
};

/// A worker process.
pub(crate) struct Worker {
    pub(crate) index: usize,
    /// Rises with each death.
    pub(crate) life: u32,
    /// Runs in its memory, by run id.
    pub(crate) cache: BTreeMap<String, Facts>,
    pub(crate) slots: Vec<Slot>,
    /// Activities that came with a completed workflow task.
    pub(crate) eager: Vec<ActivityJob>,
}

/// One thread of a worker.
pub(crate) struct Slot {
    pub(crate) namespace: usize,
    kind: QueueKind,
    sticky: bool,
    pub(crate) doing: Doing,
}

pub(crate) enum Doing {
    Idle,
    Waiting(PollId),
    /// Goes on when an alarm rings.
    Pausing(Option<Job>),
    Working(Job),
    Asking(CallId, Job),
}

pub(crate) enum Job {
    Workflow(Box<WorkflowJob>),
    Activity(Box<ActivityJob>),
}

/// An activity attempt in a worker's hands.
pub(crate) struct ActivityJob {
    pub(crate) task: StartedActivity,
    pub(crate) run: RunKey,
    pub(crate) beats: u32,
    pub(crate) cancel_requested: bool,
    /// Asked, and asked again when no answer came.
    pub(crate) request: Option<(Input, String)>,
}

/// A completion by id, to come.
#[derive(Clone, Debug)]
pub(crate) struct ById {
    pub(crate) key: ChainKey,
    pub(crate) run_id: String,
    pub(crate) activity_id: String,
}

/// A poll under way.
pub(crate) struct Polling {
    worker: usize,
    life: u32,
    slot: usize,
    queue: QueueName,
    id: Option<PollerId>,
    /// The poller went away.
    gone: bool,
    /// A task was handed over for it.
    pub(crate) answered: bool,
}

impl Worker {
    pub(crate) fn new(index: usize) -> Worker {
        let mut slots = Vec::new();
        for namespace in 0..crate::world::NAMESPACES.len() {
            for (kind, sticky) in
                [(QueueKind::Workflow, false), (QueueKind::Workflow, true), (QueueKind::Activity, false)]
            {
                slots.push(Slot { namespace, kind, sticky, doing: Doing::Idle });
            }
        }
        Worker { index, life: 0, cache: BTreeMap::new(), slots, eager: Vec::new() }
    }

    pub(crate) fn name(&self) -> String {
        format!("worker-{}", self.index)
    }

    /// Of this life of it.
    pub(crate) fn sticky_queue(&self) -> String {
        format!("sticky-{}-{}", self.index, self.life)
    }

    fn queue(&self, slot: &Slot) -> QueueName {
        let name = if slot.sticky { self.sticky_queue() } else { QUEUE.to_owned() };
        QueueName { namespace: namespace_id(slot.namespace), name: name.into(), kind: slot.kind }
    }
}

impl Sim {
    /// Slots that have something to do.
    pub(crate) fn ready_slots(&self) -> usize {
        self.workers.iter().flat_map(|worker| &worker.slots).filter(|slot| self.is_slot_ready(slot)).count()
    }

    fn is_slot_ready(&self, slot: &Slot) -> bool {
        match slot.doing {
            Doing::Idle => self.phase != Phase::Retire && self.node.is_some(),
            Doing::Working(_) => true,
            _ => false,
        }
    }

    /// A worker's slot goes on: polls, or answers the task that it has.
    pub(crate) fn work(&mut self, index: usize) {
        let slots = self.workers.iter().enumerate().flat_map(|(worker, of)| {
            of.slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| self.is_slot_ready(slot))
                .map(move |(slot, _)| (worker, slot))
        });
        let Some((worker, slot)) = slots.into_iter().nth(index) else { return };
        match std::mem::replace(self.doing(worker, slot), Doing::Idle) {
            Doing::Working(Job::Workflow(job)) => self.work_on_workflow(worker, slot, *job),
            Doing::Working(Job::Activity(job)) => self.work_on_activity(worker, slot, *job),
            _ => match self.workers[worker].eager.pop() {
                Some(job) => *self.doing(worker, slot) = Doing::Working(Job::Activity(Box::new(job))),
                None => self.poll(worker, slot),
            },
        }
    }

    pub(crate) fn doing(&mut self, worker: usize, slot: usize) -> &mut Doing {
        &mut self.workers[worker].slots[slot].doing
    }

    fn poll(&mut self, worker: usize, slot: usize) {
        let poll = PollId(self.new_id());
        let (life, wall) = (self.workers[worker].life, self.wall());
        let of = &self.workers[worker];
        let (queue, sticky) = (of.queue(&of.slots[slot]), of.slots[slot].sticky);
        let identity: Arc<str> = of.name().into();
        let handle = Line { identity: identity.clone(), request_id: format!("poll-{}", poll.0), sticky, reply: poll };
        let Some(node) = &self.node else { return };
        let entry = Poll { handle, version: Version::UNVERSIONED, identity };
        let Ok((id, directives)) = node.matching.poll(&queue, entry, None, wall) else {
            return self.pause(worker, slot, None, Duration::from_secs(1));
        };
        self.note(|| format!("worker {worker}.{life} polls {} {:?} as {}", queue.name, queue.kind, poll.0));
        let leaves = self.faulty() && self.random.hits(self.plan.faults.poller_leaves);
        let end = if leaves { self.random.between(1, 3_000) } else { 60_000 };
        let polling = Polling { worker, life, slot, queue, id: Some(id), gone: false, answered: false };
        self.polls.insert(poll, polling);
        *self.doing(worker, slot) = Doing::Waiting(poll);
        self.alarm(Duration::from_millis(end), Alarm::PollTimeout(poll));
        self.carry_out(directives);
    }

    /// The client of a long poll gives up.
    pub(crate) fn poll_timed_out(&mut self, poll: PollId) {
        let wall = self.wall();
        let Some(polling) = self.polls.get_mut(&poll).filter(|polling| !polling.gone) else { return };
        let (worker, life, slot) = (polling.worker, polling.life, polling.slot);
        polling.gone = true;
        let in_line = match (polling.id, &self.node) {
            (Some(id), Some(node)) => node.matching.cancel(&polling.queue, id, wall),
            _ => false,
        };
        if in_line {
            self.polls.remove(&poll);
        }
        self.sometimes.saw(if in_line { "poller left in line" } else { "poller left reserved" });
        self.slot_is_free(worker, life, slot, poll);
    }

    /// Matching sends a poller home.
    pub(crate) fn poll_ended(&mut self, poll: PollId) {
        let Some(polling) = self.polls.remove(&poll) else { return };
        self.slot_is_free(polling.worker, polling.life, polling.slot, poll);
    }

    fn slot_is_free(&mut self, worker: usize, life: u32, slot: usize, poll: PollId) {
        if self.workers[worker].life == life && matches!(self.doing(worker, slot), Doing::Waiting(at) if *at == poll) {
            *self.doing(worker, slot) = Doing::Idle;
        }
    }

    /// The node is gone, and every connection with it.
    pub(crate) fn polls_lost(&mut self) {
        self.polls.clear();
        for slot in self.workers.iter_mut().flat_map(|worker| &mut worker.slots) {
            if matches!(slot.doing, Doing::Waiting(_)) {
                slot.doing = Doing::Idle;
            }
        }
    }

    pub(crate) fn stop_polling(&mut self) {
        let open: Vec<PollId> = self.polls.keys().copied().collect();
        open.into_iter().for_each(|poll| self.poll_timed_out(poll));
    }

    /// A task arrives at the poller, if that is still there.
    pub(crate) fn delivered(&mut self, poll: PollId, delivered: Delivered) {
        let polling = self.polls.remove(&poll);
        let present = polling.filter(|polling| {
            let worker = &self.workers[polling.worker];
            let waits = matches!(worker.slots[polling.slot].doing, Doing::Waiting(at) if at == poll);
            !polling.gone && worker.life == polling.life && waits
        });
        let Some(polling) = present else {
            self.sometimes.saw("undelivered");
            let run = delivered.run();
            let event = match (task_of(&delivered), &delivered) {
                (Some(task), _) => {
                    self.note(|| format!("poll {} is gone: {task:?} goes back", poll.0));
                    Event::Work(Target::Run(run.run), Work::call(Input::Undelivered(task), None))
                }
                (None, Delivered::Query(query)) => Event::QueryUndelivered(query.id),
                _ => return,
            };
            return self.post(usize::from(run.shard), event);
        };
        let (worker, slot) = (polling.worker, polling.slot);
        *self.doing(worker, slot) = Doing::Idle;
        if self.faulty() && self.random.hits(self.plan.faults.delivery_lost) {
            self.sometimes.saw("delivery lost");
            return;
        }
        match delivered {
            Delivered::Query(_) => self.fail("a query comes, and nobody asked".to_owned()),
            Delivered::Workflow { task, run, tail, .. } => {
                if polling.queue.kind != QueueKind::Workflow {
                    return self.fail("a workflow task comes from an activity queue".to_owned());
                }
                self.receive_workflow(worker, slot, *task, run, &tail);
            }
            Delivered::Activity { task, run, .. } => {
                if polling.queue.kind != QueueKind::Activity || task.task.kind != TaskKind::Activity {
                    return self.fail("an activity task comes from a workflow queue".to_owned());
                }
                let job = ActivityJob::new(*task, run);
                *self.doing(worker, slot) = Doing::Working(Job::Activity(Box::new(job)));
            }
        }
    }

    /// The process dies with all that it has in hand.
    pub(crate) fn kill_worker(&mut self, worker: usize) {
        let of = &mut self.workers[worker];
        let busy = of.slots.iter().any(|slot| matches!(slot.doing, Doing::Working(_) | Doing::Pausing(Some(_))));
        of.life += 1;
        of.cache.clear();
        of.eager.clear();
        let slots = std::mem::take(&mut of.slots);
        of.slots = slots.into_iter().map(|slot| Slot { doing: Doing::Idle, ..slot }).collect();
        let life = of.life;
        if busy {
            self.sometimes.saw("worker died with tasks");
        }
        self.note(|| format!("worker {worker} dies; its life {life} begins"));
        let lost: Vec<PollId> = self
            .polls
            .iter()
            .filter(|(_, polling)| polling.worker == worker && polling.life < life)
            .map(|(poll, _)| *poll)
            .collect();
        lost.into_iter().for_each(|poll| self.poll_timed_out(poll));
    }

    pub(crate) fn pause(&mut self, worker: usize, slot: usize, job: Option<Job>, pause: Duration) {
        *self.doing(worker, slot) = Doing::Pausing(job);
        let life = self.workers[worker].life;
        self.alarm(pause, Alarm::Slot { worker, life, slot });
    }

    pub(crate) fn slot_goes_on(&mut self, worker: usize, life: u32, slot: usize) {
        if self.workers[worker].life != life {
            return;
        }
        let doing = self.doing(worker, slot);
        *doing = match std::mem::replace(doing, Doing::Idle) {
            Doing::Pausing(Some(job)) => Doing::Working(job),
            Doing::Pausing(None) => Doing::Idle,
            other => other,
        };
    }

    /// Sends a worker's answer; the slot waits for what the server says.
    pub(crate) fn tell(&mut self, worker: usize, slot: usize, key: ChainKey, input: Input, expect: Expect, job: Job) {
        let life = self.workers[worker].life;
        let call = self.call(key, input, Caller::Slot { worker, life, slot }, expect);
        *self.doing(worker, slot) = Doing::Asking(call, job);
    }

    /// The server has answered a worker, or has not.
    pub(crate) fn slot_answered(
        &mut self,
        worker: usize,
        life: u32,
        slot: usize,
        call: CallId,
        result: Option<Result<Answered, Error>>,
    ) {
        let asks = matches!(self.doing(worker, slot), Doing::Asking(asked, _) if *asked == call);
        if self.workers[worker].life != life || !asks {
            return;
        }
        let Doing::Asking(_, job) = std::mem::replace(self.doing(worker, slot), Doing::Idle) else { return };
        if matches!(result, None | Some(Err(Error::Unavailable(_) | Error::Busy(_)))) {
            let pause = Duration::from_millis(self.random.between(1, 1_000));
            return self.pause(worker, slot, Some(job), pause);
        }
        let Some(result) = result else { return };
        match job {
            Job::Workflow(job) => self.workflow_answered(worker, slot, &job, result),
            Job::Activity(job) => self.activity_answered(worker, slot, *job, result),
        }
    }

    /// Somebody who is no worker completes an activity by its id.
    pub(crate) fn complete_by_id(&mut self, by_id: ById) {
        let result = format!("by-id-{}", self.new_id());
        let target = ActivityTarget::Id { run_id: by_id.run_id.clone(), activity_id: by_id.activity_id.clone() };
        let input = Input::Activity(target, crate::activity_job::completed(&result));
        self.sometimes.saw("activity completed by id");
        self.call(by_id.key, input, Caller::Nobody, Expect::Nothing);
    }

    /// The workflow that a task belongs to.
    pub(crate) fn key_of(namespace_id: &str, workflow_id: &str) -> ChainKey {
        let known = (0..crate::world::NAMESPACES.len())
            .find(|index| crate::world::namespace_id(*index).to_string() == namespace_id)
            .unwrap_or(0);
        chain_key(known, workflow_id)
    }
}
