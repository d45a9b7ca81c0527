//! The loop: of all that is ready the seed picks the next, or a fault strikes; time moves when nothing is ready.
//!
//! The director is a task like the others and leads a run through its phases: chaos (faults strike, clients make
//! requests), drain (no faults: all that was begun must end), retire (retention removes every row, the node stops).

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    disk::Stalls,
    executor::{CLASSES, TaskId},
    node::End,
    world::{Phase, Sim},
};

/// Steps of a run after which it is said to have no end.
const STEPS_MAX: u64 = 400_000;
/// Steps without any time passing after which time is said to stand still.
const STANDSTILL_MAX: u64 = 50_000;
/// Steps of chaos at most.
const CHAOS_STEPS_MAX: u64 = 6_000;
/// Virtual time of chaos at most.
const CHAOS_MAX: Duration = Duration::from_secs(1_200);
/// Virtual time in which everything must have ended once faults stop.
const DRAIN_MAX: Duration = Duration::from_secs(2 * 3_600);
/// Virtual time after retention in which every row must be gone.
const RETIRE_MAX: Duration = Duration::from_secs(3_600);
/// Between two looks at all that is stored, in steps of chaos.
const CHECK_EACH: u64 = 400;

/// One run of the loop.
pub(crate) struct Loop {
    sim: Sim,
    stalls: Stalls,
    /// The life of each worker.
    lives: Vec<u32>,
    pub(crate) steps: u64,
    chaos_steps: u64,
    since_time_moved: u64,
}

impl Loop {
    pub(crate) fn new(sim: Sim) -> Loop {
        let lives = vec![0; sim.plan.workers];
        Loop { sim, stalls: Stalls::default(), lives, steps: 0, chaos_steps: 0, since_time_moved: 0 }
    }

    /// To the end, or to the first broken invariant.
    pub(crate) fn run(&mut self) {
        let director = self.sim.clone();
        self.sim.spawn(async move { director.direct().await });
        for (worker, life) in self.lives.iter().enumerate() {
            self.sim.start_worker(worker, *life);
        }
        while self.sim.phase() != Phase::Over && !self.sim.has_failed() {
            self.step();
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        self.since_time_moved += 1;
        if self.steps > STEPS_MAX || self.since_time_moved > STANDSTILL_MAX {
            let why = if self.steps > STEPS_MAX { "too many steps" } else { "time stands still" };
            return self.sim.fail(format!("{why}: {}", self.sim.what_is_open()));
        }
        match self.sim.phase() {
            Phase::Chaos => self.chaos(),
            Phase::Retire => self.sim.stop_workers(&std::mem::take(&mut self.lives)),
            _ => {}
        }
        self.take_next();
        if let Some(panic) = crate::panics::take() {
            self.sim.fail(format!("a panic: {panic}"));
        }
    }

    fn take_next(&mut self) {
        let sim = &self.sim;
        let (ready, writable) = (sim.executor.ready(), sim.writable(&self.stalls));
        let counts: [usize; CLASSES + 1] = std::array::from_fn(|i| ready.get(i).copied().unwrap_or(writable.len()));
        let weights =
            std::array::from_fn::<u64, { CLASSES + 1 }, _>(|i| if counts[i] > 0 { sim.plan.weights[i] } else { 0 });
        if weights.iter().sum::<u64>() == 0 {
            return self.pass_time();
        }
        let class = sim.random().weighted(&weights).unwrap_or(0);
        let index = sim.random().index(counts[class]);
        if class == CLASSES {
            sim.mix(u64::from(writable[index].0));
            return sim.execute(writable[index], &mut self.stalls);
        }
        let task = sim.executor.take_ready(class, index);
        if sim.strikes(sim.plan.faults.task_held_up) {
            return self.hold_up(task);
        }
        sim.mix(task.0);
        sim.executor.poll(task);
    }

    /// The machine has no time for the task, for a while.
    fn hold_up(&self, task: TaskId) {
        let sim = self.sim.clone();
        sim.saw("task held up");
        self.sim.spawn(async move {
            sim.pause(1, 1_000).await;
            sim.executor.wake(task);
        });
    }

    fn pass_time(&mut self) {
        self.since_time_moved = 0;
        if !self.sim.executor.advance() {
            self.sim.fail(format!("nothing will ever happen: {}", self.sim.what_is_open()));
        }
        self.sim.mix(u64::try_from(self.sim.time().as_nanos()).unwrap_or(0));
    }

    /// A fault, if the seed says so.
    fn chaos(&mut self) {
        self.chaos_steps += 1;
        let (sim, faults) = (&self.sim, &self.sim.plan.faults);
        if self.chaos_steps > CHAOS_STEPS_MAX {
            sim.set_phase(Phase::Drain);
        }
        if sim.strikes(faults.crash) {
            sim.end_node(End::Crash);
        }
        if sim.strikes(faults.replaced) {
            sim.end_node(End::Replaced);
        }
        if sim.strikes(faults.stop) {
            sim.stop_node();
        }
        if sim.strikes(faults.evict_all)
            && let Some(node) = &*sim.node()
        {
            node.history.evict_all();
            sim.saw("all evicted");
        }
        if sim.strikes(faults.clock_steps_back) || sim.strikes(faults.clock_jumps) {
            sim.jump_clock();
        }
        if sim.strikes(faults.worker_dies) {
            sim.kill_worker(&mut self.lives);
        }
        if self.chaos_steps.is_multiple_of(CHECK_EACH) {
            sim.check_stored();
            sim.check_node();
        }
    }
}

impl Sim {
    async fn direct(&self) {
        self.start_node().await;
        self.set_phase(Phase::Chaos);
        self.start_clients();
        let began = self.time();
        while self.phase() == Phase::Chaos {
            self.pause(10, 2_000).await;
            let idle = self.clients_busy.load(Ordering::Relaxed) == 0 && self.random().one_in(3);
            if (idle || self.time().since(began) > CHAOS_MAX) && self.phase() == Phase::Chaos {
                self.set_phase(Phase::Drain);
            }
        }
        self.drain().await;
        self.check_finished();
        self.check_node();
        self.check_lists().await;
        self.check_memory().await;
        self.set_phase(Phase::Retire);
        self.retire().await;
        self.stop_node();
        while self.node().is_some() && !self.has_failed() {
            self.pause(10, 100).await;
        }
        self.set_phase(Phase::Over);
    }

    async fn drain(&self) {
        let began = self.time();
        while !self.is_finished() {
            if self.time().since(began) > DRAIN_MAX {
                return self.fail(format!("not everything ends: {}", self.what_is_open()));
            }
            self.pause(500, 1_500).await;
        }
    }

    async fn retire(&self) {
        self.sleep(self.plan.retention).await;
        let began = self.time();
        while !self.is_empty() {
            if self.time().since(began) > RETIRE_MAX {
                return self.fail(format!("rows are left for ever: {}", self.what_is_open()));
            }
            self.sleep(Duration::from_secs(5)).await;
        }
    }
}
