//! [`Worker`]: polls a task queue and runs what it was given to run.
//!
//! - `builder`: options; `registry`: what is registered, and [`Register`] for everything that can be.
//! - `activities`: polls, slots, eager tasks; `attempt`: one attempt of an activity, whatever its code does;
//!   `report`: how it went, told to the server; `local`: local activities.
//! - `poll`: long polls and what is done when they fail; `pollers`: how many of them.
//! - `lane`: threads that run workflow code; `pages`: long histories on their way there.
//! - `size`: values that the server would not take.

pub(crate) mod activities;
pub(crate) mod attempt;
mod builder;
mod lane;
pub(crate) mod local;
mod pages;
pub(crate) mod poll;
pub(crate) mod pollers;
mod registry;
mod report;
pub(crate) mod size;
mod tell;
mod verify;
mod workflows;

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use mainspring_api::v1::{
    deployment::WorkerDeploymentOptions,
    enums::TaskQueueType,
    namespace::namespace_info::Capabilities,
    workflowservice::{DescribeNamespaceRequest, ShutdownWorkerRequest},
};
use tokio::{sync::watch, task::JoinHandle};
use tonic::Code;

use self::{
    activities::ActivityWorker,
    lane::Lanes,
    local::LocalWorker,
    size::Sizes,
    workflows::{Parts, WorkflowWorker},
};
pub use self::{
    builder::{Slots, Versioning, WorkerBuilder},
    pollers::Pollers,
    registry::{Register, Registry},
    verify::VerifyReplay,
};
use crate::{client::Client, client::RpcError};

/// Calls that end the worker's life have this long.
const FAREWELL: Duration = Duration::from_secs(5);

/// A worker that is built but does not run yet.
///
/// ```no_run
/// # use mainspring_sdk::{Client, Connect, Worker, activity::ActivityDef};
/// # async fn example(double: ActivityDef) -> mainspring_sdk::Result<()> {
/// let client = Client::connect(Connect::from_env()?).await?;
/// let worker = Worker::builder(&client, "orders").register(double).build()?;
/// let handle = worker.handle();
/// tokio::spawn(async move {
///     tokio::signal::ctrl_c().await.ok();
///     handle.stop();
/// });
/// worker.run().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    registry: Registry,
    settings: Settings,
    stop: watch::Sender<bool>,
    lanes: Arc<OnceLock<Weak<Lanes>>>,
}

/// Stops a worker. Copies stop the same one.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    stop: watch::Sender<bool>,
    /// There once it runs workflows.
    lanes: Arc<OnceLock<Weak<Lanes>>>,
}

/// A worker that runs in the background.
#[derive(Debug)]
pub struct RunningWorker {
    handle: WorkerHandle,
    task: JoinHandle<Result<(), WorkerError>>,
}

/// Why a worker cannot be built, or ended by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Nothing is registered.
    #[error("the worker for {queue:?} has nothing to run; register an activity or a workflow")]
    Empty {
        /// The task queue.
        queue: String,
    },
    /// Two definitions have one name.
    #[error("{kind} {name:?} is registered twice; give one of them another name")]
    Clash {
        /// An activity or a workflow.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An option makes no sense.
    #[error("{0}")]
    Option(&'static str),
    /// There is no such namespace.
    #[error("there is no namespace {0:?}")]
    NoNamespace(String),
    /// The server refused, or could not be reached, when the worker started.
    #[error("the worker cannot start: {0}")]
    Start(RpcError),
    /// The worker's own code panicked.
    #[error("the worker panicked; this is a bug of the SDK")]
    Panicked,
}

/// What all parts of a worker know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) queue: String,
    pub(crate) identity: String,
    /// Unique for each worker: the server tells by it whose polls are whose.
    pub(crate) instance_key: String,
    /// Which version of which deployment it is, and what its workflows do when there is a newer one.
    pub(crate) deployment: Option<(WorkerDeploymentOptions, Versioning)>,
    /// What the server says of the namespace; set when the worker starts.
    pub(crate) namespace: OnceLock<Known>,
    /// True from when the worker is to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// What a namespace lets a worker do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    capabilities: Capabilities,
    sizes: Sizes,
}

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) slots: Slots,
    pub(crate) pollers: Pollers,
    pub(crate) drain: Duration,
    pub(crate) activities_per_second: Option<f64>,
    pub(crate) queue_activities_per_second: Option<f64>,
    pub(crate) cached_runs: usize,
    pub(crate) cached_bytes: usize,
    pub(crate) lanes: Option<usize>,
    pub(crate) verify_replay: VerifyReplay,
    /// True when values are looked at before they are sent.
    pub(crate) checks_sizes: bool,
}

impl Shared {
    /// The queue of this worker alone, for runs that it has in memory.
    pub(crate) fn sticky_queue(&self) -> String {
        format!("{}-{}", self.identity, self.instance_key)
    }
}

/// The part of a worker that runs workflows.
fn workflow_worker(
    shared: &Arc<Shared>,
    registry: &Registry,
    settings: &Settings,
    activities: &ActivityWorker,
) -> WorkflowWorker {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let lanes = Lanes::new(
        settings.lanes.unwrap_or(cores),
        shared.client.namespace(),
        &registry.workflows(),
        settings.cached_runs,
        settings.cached_bytes,
    );
    // With one slot, a poll of one queue would keep the other one waiting.
    let sticky = settings.cached_runs > 0 && settings.slots.workflows > 1;
    let polls = if sticky { settings.slots.workflows / 2 } else { settings.slots.workflows };
    WorkflowWorker::new(Parts {
        shared: shared.clone(),
        lanes: Arc::new(lanes),
        activities: activities.clone(),
        local: LocalWorker::new(shared.client.clone(), registry.activities(), settings.slots.local),
        slots: settings.slots.workflows,
        pollers: settings.pollers.at_most_slots(polls),
        sticky: sticky.then(|| shared.sticky_queue()),
        verify: settings.verify_replay,
    })
}

impl Shared {
    /// True when the server ends the polls of a worker that says farewell, so that none need be dropped.
    pub(crate) fn polls_end_themselves(&self) -> bool {
        self.namespace.get().is_some_and(|known| known.capabilities.worker_poll_complete_on_shutdown)
    }

    /// How large values may be.
    pub(crate) fn sizes(&self) -> Sizes {
        self.namespace.get().map_or(Sizes::default(), |known| known.sizes)
    }

    /// What polls and answers say about the version, if the worker has one.
    pub(crate) fn deployment_options(&self) -> Option<WorkerDeploymentOptions> {
        self.deployment.as_ref().map(|(options, _)| options.clone())
    }
}

impl Worker {
    /// A worker for the task queue `queue`.
    pub fn builder(client: &Client, queue: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(client, queue.into())
    }

    /// By which it is stopped.
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle { stop: self.stop.clone(), lanes: self.lanes.clone() }
    }

    /// Who the worker says it is.
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// The queue of this worker alone, for runs that it has in memory.
    pub fn sticky_queue(&self) -> String {
        self.shared.sticky_queue()
    }

    /// Runs until [`WorkerHandle::stop`]: then no more tasks are taken, those that run are finished, and activities
    /// that take longer than the drain time are told to stop.
    ///
    /// # Errors
    /// When the namespace is not there or the server refuses it.
    pub async fn run(self) -> Result<(), WorkerError> {
        let Worker { shared, registry, settings, lanes, stop: _stop } = self;
        let mut known = check_namespace(&shared).await?;
        if !settings.checks_sizes {
            known.sizes = Sizes::default();
        }
        let _ = shared.namespace.set(known);
        let activities = ActivityWorker::new(shared.clone(), &registry, &settings);
        tracing::info!(queue = %shared.queue, identity = %shared.identity, "worker started");
        let workflows = registry.has_workflows().then(|| workflow_worker(&shared, &registry, &settings, &activities));
        if let Some(workflows) = &workflows {
            let _ = lanes.set(workflows.lanes());
        }
        let run_workflows = async {
            if let Some(workflows) = &workflows {
                workflows.run().await;
            }
        };
        let run = async { tokio::join!(activities.run(), run_workflows) };
        if shared.polls_end_themselves() {
            tokio::join!(farewell(&shared), run);
        } else {
            // A server that sees a poll end counts its worker among those that may come again: so polls end first.
            run.await;
            farewell(&shared).await;
        }
        if let Some(workflows) = &workflows {
            workflows.drain(settings.drain).await;
        }
        activities.drain(settings.drain).await;
        tracing::info!(queue = %shared.queue, "worker stopped");
        Ok(())
    }

    /// Runs in the background.
    pub fn spawn(self) -> RunningWorker {
        let handle = self.handle();
        RunningWorker { handle, task: tokio::spawn(self.run()) }
    }
}

impl WorkerHandle {
    /// Asks the worker to stop. Returns at once.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Puts all runs out of memory that have no task in hand: their next tasks replay them from their histories.
    pub fn evict_all(&self) {
        if let Some(lanes) = self.lanes.get().and_then(Weak::upgrade) {
            lanes.evict_all();
        }
    }
}

impl RunningWorker {
    /// By which it is stopped.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Asks the worker to stop and waits until it has.
    ///
    /// # Errors
    /// When it ended by itself.
    pub async fn stop(self) -> Result<(), WorkerError> {
        self.handle.stop();
        self.ended().await
    }

    /// Waits until the worker ends, by itself or by a handle.
    ///
    /// # Errors
    /// When it ended by itself.
    pub async fn ended(self) -> Result<(), WorkerError> {
        match self.task.await {
            Ok(result) => result,
            Err(_) => Err(WorkerError::Panicked),
        }
    }
}

/// Resolves when the worker is to stop; at once if it is.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could stop it but by dropping it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A wrong namespace is the most frequent mistake; polls would hide it behind their retries.
async fn check_namespace(shared: &Shared) -> Result<Known, WorkerError> {
    let namespace = shared.client.namespace().to_owned();
    let request = DescribeNamespaceRequest { namespace: namespace.clone(), ..DescribeNamespaceRequest::default() };
    match shared.client.rpc().call(&request).await {
        Ok(answer) => {
            let info = answer.namespace_info.unwrap_or_default();
            let sizes = Sizes::of(&info.limits.unwrap_or_default());
            Ok(Known { capabilities: info.capabilities.unwrap_or_default(), sizes })
        }
        Err(error) if error.code() == Code::NotFound => Err(WorkerError::NoNamespace(namespace)),
        // Some are allowed to poll, and not to look at the namespace.
        Err(error) if matches!(error.code(), Code::Unimplemented | Code::PermissionDenied) => Ok(Known::default()),
        Err(error) => Err(WorkerError::Start(error)),
    }
}

/// Tells the server, when the worker is to stop, that it polls no more. Servers that do not know the call find out by
/// themselves.
async fn farewell(shared: &Shared) {
    stopped(&mut shared.stopping.clone()).await;
    let request = ShutdownWorkerRequest {
        namespace: shared.client.namespace().to_owned(),
        identity: shared.identity.clone(),
        reason: "graceful shutdown".to_owned(),
        worker_instance_key: shared.instance_key.clone(),
        task_queue: shared.queue.clone(),
        sticky_task_queue: shared.sticky_queue(),
        task_queue_types: vec![TaskQueueType::Workflow as i32, TaskQueueType::Activity as i32],
        ..ShutdownWorkerRequest::default()
    };
    match tokio::time::timeout(FAREWELL, shared.client.rpc().call(&request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the server did not take the farewell"),
        Err(_) => tracing::debug!("the server did not answer the farewell in time"),
    }
}
