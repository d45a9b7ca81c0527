//! A process of the server: opened on the store, stopped in good order, dead between any two polls.

use std::{sync::Arc, time::Duration};

use mainspring_api::v1::enums::NamespaceState;
use mainspring_frontend::Frontend;
use mainspring_history::{Config, History, Namespace, RegisterError};
use mainspring_rt::{BoxFuture, Driver, Rt, Timestamp};
use mainspring_store::{Error as StoreError, memory::Fate};
use mainspring_visibility::Index;

use crate::{
    disk::Disk,
    executor::{Class, Owner},
    random::Random,
    world::{NAMESPACES, Phase, Sim, namespace_id},
};

/// A stop in good order that takes longer is not waited for; without faults that is wrong.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How to reach the process that lives.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) number: u32,
    pub(crate) frontend: Frontend,
    pub(crate) history: History,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// What the store was not done with is lost, but for a part that nobody heard of.
    Crash,
    /// Another process takes its place; the store goes on with what it was given.
    Replaced,
    /// It stopped by itself, and left nothing.
    Stopped,
}

/// The world as a process sees it.
struct World {
    sim: Sim,
    owner: Owner,
    random: Random,
}

impl Driver for World {
    fn now(&self) -> Timestamp {
        self.sim.wall()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<()> {
        // As on a machine: how long is fixed now, whatever becomes of the clock meanwhile.
        let pause = at.since(self.now());
        Box::pin(self.sim.executor.sleep_until(self.sim.time() + pause))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.sim.executor.spawn(self.owner, Class::Node, task);
    }

    fn blocking(&self, job: Box<dyn FnOnce() + Send>) {
        self.spawn(Box::pin(async move { job() }));
    }

    fn random(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.random.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Sim {
    /// Starts a process, again and again until one stands.
    pub(crate) async fn start_node(&self) {
        loop {
            let number = u32::try_from(self.new_id()).unwrap_or(u32::MAX);
            self.note(|| format!("node {number} starts"));
            let (stands, stood) = tokio::sync::oneshot::channel();
            let sim = self.clone();
            let opening = async move {
                let _ = stands.send(sim.open_node(number).await);
            };
            self.executor.spawn(Owner::Node(number), Class::Node, Box::pin(opening));
            match stood.await {
                Ok(Ok(node)) => {
                    self.watch(&node);
                    *self.node() = Some(node);
                    return;
                }
                Ok(Err(error)) => {
                    self.note(|| format!("node {number} cannot start: {error}"));
                    self.saw("node could not start");
                    self.executor.kill_all_of(Owner::Node(number));
                    // A store that has failed for good works again in the next process only.
                    self.store.crash();
                }
                Err(_) => return self.fail(format!("node {number} ends before it stands")),
            }
            self.pause(1, 2_000).await;
        }
    }

    async fn open_node(&self, number: u32) -> Result<Node, StoreError> {
        let plan = &self.plan;
        let random = self.random().fork();
        let rt = Rt::from_driver(World { sim: self.clone(), owner: Owner::Node(number), random });
        let config = Config {
            rt: rt.clone(),
            store: Arc::new(Disk::new(self.clone())),
            index: Index::memory().map_err(|error| StoreError::Unknown(error.to_string()))?,
            limits: plan.limits.clone(),
            cache_bytes_max: plan.cache_bytes_max,
            tuning: plan.tuning.clone(),
        };
        let history = History::open(config).await?;
        for (index, name) in NAMESPACES.iter().enumerate() {
            let namespace = Namespace {
                id: namespace_id(index),
                name: (*name).to_owned(),
                state: NamespaceState::Registered as i32,
                description: String::new(),
                owner_email: String::new(),
                retention: plan.retention,
                data: Default::default(),
                search_attributes: Default::default(),
                created_at: rt.now(),
            };
            match history.namespaces().register(namespace).await {
                Ok(()) | Err(RegisterError::Exists) => {}
                Err(RegisterError::Store(error)) => return Err(error),
            }
        }
        let limits = plan.limits.clone();
        let frontend =
            Frontend::new(mainspring_frontend::Config { rt, history: history.clone(), limits, store_name: "memory" });
        Ok(Node { number, frontend, history })
    }

    /// A process whose store failed for good stops by itself.
    fn watch(&self, node: &Node) {
        let (sim, number, mut failed) = (self.clone(), node.number, node.history.failed());
        self.spawn(async move {
            if failed.wait_for(Option::is_some).await.is_ok() && sim.is_alive(number) {
                sim.end_node(End::Crash);
            }
        });
    }

    fn is_alive(&self, number: u32) -> bool {
        self.node().as_ref().is_some_and(|node| node.number == number)
    }

    /// The process ends between two polls of its tasks, and another one starts some time later.
    pub(crate) fn end_node(&self, end: End) {
        let Some(node) = self.node().take() else { return };
        self.note(|| format!("node {} ends: {end:?}", node.number));
        match end {
            End::Crash => {
                self.saw("crash");
                if !self.store.pending().is_empty() {
                    self.saw("crash with batches in flight");
                }
                for shard in self.store.pending() {
                    while self.random().one_in(3) && self.store.execute(shard, Fate::Unheard) {}
                }
            }
            End::Replaced => {
                if !self.store.pending().is_empty() {
                    self.saw("replaced with batches in flight");
                }
            }
            End::Stopped => {
                self.saw("stopped in good order");
                // A shard that waits for a broken store has nothing to lose, and is not waited for.
                if !self.store.pending().is_empty() && !self.faulty() {
                    self.fail("the node has stopped with batches in flight".to_owned());
                }
            }
        }
        let owner = Owner::Node(node.number);
        drop(node);
        self.executor.kill_all_of(owner);
        if end == End::Crash {
            self.store.crash();
        }
        self.ledger().excuse(self.latest());
        self.check_stored();
        if self.phase() < Phase::Retire {
            self.start_later();
        }
    }

    fn start_later(&self) {
        let sim = self.clone();
        self.spawn(async move {
            sim.pause(0, 3_000).await;
            if sim.random().one_in(3) {
                sim.jump_clock();
            }
            sim.start_node().await;
        });
    }

    /// Sends everybody home, waits for the store, and ends the process.
    pub(crate) fn stop_node(&self) {
        let Some(node) = self.node().clone() else { return };
        let sim = self.clone();
        self.spawn(async move {
            sim.note(|| format!("node {} is asked to stop", node.number));
            let stopping = async {
                node.frontend.end_polls();
                node.history.close().await;
            };
            let calm = !sim.faulty();
            let stopped = sim.within(STOP_MAX, stopping).await.is_some();
            let number = node.number;
            drop(node);
            if !sim.is_alive(number) {
                return;
            }
            if !stopped && calm {
                sim.fail("the node does not stop".to_owned());
            }
            sim.end_node(if stopped { End::Stopped } else { End::Crash });
        });
    }

    pub(crate) fn jump_clock(&self) {
        if !self.faulty() {
            return;
        }
        let (plan, millis) = (&self.plan.faults, i64::try_from(self.random().between(1, 30_000)).unwrap_or(1));
        if plan.clock_steps_back > 0 && self.random().one_in(2) {
            self.saw("clock stepped back");
            self.bend_clock(-millis * 1_000_000);
        } else if plan.clock_jumps > 0 {
            self.saw("clock jumped forward");
            self.bend_clock(millis * 1_000_000);
        }
    }

    /// What the future comes to, unless that takes too long: then it is dropped.
    pub(crate) async fn within<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Option<T> {
        use futures_util::future::{Either, select};
        match select(std::pin::pin!(future), self.sleep(patience)).await {
            Either::Left((come, _)) => Some(come),
            Either::Right(_) => None,
        }
    }
}
