//! A worker process: slots that poll, work and report, as SDKs do; they idle, err, leave their line, and die with it all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use mainspring_api::v1::{
    enums::TaskQueueKind,
    taskqueue::TaskQueue,
    workflowservice::{
        PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest,
        PollWorkflowTaskQueueResponse,
    },
};
use prost::Message;

use crate::{
    clients::queue,
    commands::QUEUE,
    executor::{Class, Owner},
    facts::Facts,
    network::{Check, Failed},
    world::{NAMESPACES, Sim},
};

/// One life of a worker.
pub(crate) struct Worker {
    pub(crate) sim: Sim,
    index: usize,
    life: u32,
    /// Runs in its memory, by run id.
    cache: Mutex<BTreeMap<String, Facts>>,
}

/// A task in hand, counted for as long as it is.
struct InHand(Sim);

impl InHand {
    fn new(sim: &Sim) -> InHand {
        sim.workers_busy.fetch_add(1, Ordering::Relaxed);
        InHand(sim.clone())
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.workers_busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sim {
    pub(crate) fn start_worker(&self, index: usize, life: u32) {
        let worker = Arc::new(Worker { sim: self.clone(), index, life, cache: Mutex::default() });
        for namespace in 0..NAMESPACES.len() {
            for sticky in [false, true] {
                let slot = worker.clone();
                worker.spawn(async move { slot.be_a_workflow_slot(namespace, sticky).await });
            }
            let slot = worker.clone();
            worker.spawn(async move { slot.be_an_activity_slot(namespace).await });
        }
    }

    /// The process dies with all that it has in hand, and another begins.
    pub(crate) fn kill_worker(&self, lives: &mut [u32]) {
        let index = self.random().index(lives.len());
        let owner = Owner::Worker(index, lives[index]);
        let busy = self.workers_busy.load(Ordering::Relaxed);
        self.executor.kill_all_of(owner);
        self.saw("worker died");
        if self.workers_busy.load(Ordering::Relaxed) < busy {
            self.saw("worker died with tasks");
        }
        lives[index] += 1;
        self.note(|| format!("worker {index} dies; its life {} begins", lives[index]));
        self.start_worker(index, lives[index]);
    }

    pub(crate) fn stop_workers(&self, lives: &[u32]) {
        for (index, life) in lives.iter().enumerate() {
            self.executor.kill_all_of(Owner::Worker(index, *life));
        }
    }
}

impl Worker {
    /// Runs something for as long as this life lasts.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let owner = Owner::Worker(self.index, self.life);
        self.sim.executor.spawn(owner, Class::World, Box::pin(task));
    }

    pub(crate) fn name(&self) -> String {
        format!("worker-{}-{}", self.index, self.life)
    }

    /// Of this life of it.
    pub(crate) fn sticky_queue(&self) -> TaskQueue {
        let name = format!("sticky-{}-{}", self.index, self.life);
        TaskQueue { name, kind: TaskQueueKind::Sticky as i32, normal_name: QUEUE.to_owned() }
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, BTreeMap<String, Facts>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn be_a_workflow_slot(self: Arc<Self>, namespace: usize, sticky: bool) {
        let request = PollWorkflowTaskQueueRequest {
            namespace: NAMESPACES[namespace].to_owned(),
            task_queue: Some(if sticky { self.sticky_queue() } else { queue() }),
            identity: self.name(),
            ..Default::default()
        };
        let check: Check = Arc::new(move |sim, answer| match answer {
            Ok(bytes) if !bytes.is_empty() => {
                let task = PollWorkflowTaskQueueResponse::decode(bytes.clone()).map_err(|why| why.to_string())?;
                sim.check_workflow_task_stored(namespace, &task)
            }
            _ => Ok(()),
        });
        while self.sim.polling() {
            let come: Option<PollWorkflowTaskQueueResponse> =
                self.poll("PollWorkflowTaskQueue", &request, &check).await;
            let Some(task) = come.filter(|task| !task.task_token.is_empty()) else { continue };
            let _in_hand = InHand::new(&self.sim);
            self.clone().work_on_workflow(namespace, task).await;
        }
    }

    async fn be_an_activity_slot(self: Arc<Self>, namespace: usize) {
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACES[namespace].to_owned(),
            task_queue: Some(queue()),
            identity: self.name(),
            ..Default::default()
        };
        let check: Check = Arc::new(move |sim, answer| match answer {
            Ok(bytes) if !bytes.is_empty() => {
                let task = PollActivityTaskQueueResponse::decode(bytes.clone()).map_err(|why| why.to_string())?;
                sim.check_activity_task_stored(namespace, &task)
            }
            _ => Ok(()),
        });
        while self.sim.polling() {
            let come: Option<PollActivityTaskQueueResponse> =
                self.poll("PollActivityTaskQueue", &request, &check).await;
            let Some(task) = come.filter(|task| !task.task_token.is_empty()) else { continue };
            self.run_activity(namespace, task).await;
        }
    }

    pub(crate) async fn run_activity(&self, namespace: usize, task: PollActivityTaskQueueResponse) {
        let _in_hand = InHand::new(&self.sim);
        self.work_on_activity(namespace, task).await;
    }

    /// One long poll, unless the poller leaves before its end.
    async fn poll<S: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
        check: &Check,
    ) -> Option<S> {
        let sim = &self.sim;
        let patience = Duration::from_secs(sim.random().between(5, 70));
        let asking = sim.call(method, request, patience, check);
        let heard = if sim.strikes(sim.plan.faults.poller_leaves) {
            let leaves = Duration::from_millis(sim.random().between(1, 4_000));
            let heard = sim.within(leaves, asking).await;
            if heard.is_none() {
                sim.saw("poller left");
            }
            heard?
        } else {
            asking.await
        };
        match heard {
            Ok(come) => Some(come),
            Err(failed) => {
                if let Failed::Refused(status) = failed {
                    self.check_poll_refusal(method, &status);
                }
                sim.pause(10, 1_000).await;
                None
            }
        }
    }

    fn check_poll_refusal(&self, method: &str, status: &tonic::Status) {
        // The server's clock may jump while a call is on its way.
        let too_short = status.code() == tonic::Code::FailedPrecondition;
        if !crate::network::is_passing(status) && !too_short {
            self.sim.fail(format!("{method} is refused: {:?} {}", status.code(), status.message()));
        }
    }
}
