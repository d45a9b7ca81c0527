//! [`WorkerBuilder`]: what a worker runs and how much of it at a time.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use mainspring_api::v1::{deployment::WorkerDeploymentOptions, enums::WorkerVersioningMode};
use tokio::sync::watch;

use crate::{
    activity::{Activity, ActivityDef},
    client::Client,
    error::Result,
    payload::{Payload, RawArgs},
    worker::{Pollers, Register, Registry, RunningWorker, Settings, Shared, VerifyReplay, Worker, WorkerError},
    workflow::{Ctx, WorkflowDef},
};

/// What a worker runs and how much of it at a time.
#[derive(Debug)]
#[must_use = "build it, or spawn it"]
pub struct WorkerBuilder {
    client: Client,
    queue: String,
    identity: Option<String>,
    registry: Registry,
    replacements: Registry,
    settings: Settings,
    deployment: Option<(WorkerDeploymentOptions, Versioning)>,
}

/// What a workflow does when there is a newer version of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It stays with the version that it started on.
    Pinned,
    /// It moves to the newest version with its next task.
    AutoUpgrade,
}

/// How many tasks a worker has in hand at a time. A slot is taken before the worker polls, so that it never takes more
/// than it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slots {
    /// Workflow tasks; 100 if not set.
    pub workflows: usize,
    /// Activities, blocking ones included; 100 if not set.
    pub activities: usize,
    /// Local activities; 100 if not set.
    pub local: usize,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { workflows: 100, activities: 100, local: 100 }
    }
}

impl Slots {
    /// As many as are set, whatever the machine does.
    pub fn fixed() -> Slots {
        Slots::default()
    }

    /// Sets how many workflow tasks.
    #[must_use]
    pub fn workflows(mut self, slots: usize) -> Slots {
        self.workflows = slots;
        self
    }

    /// Sets how many activities.
    #[must_use]
    pub fn activities(mut self, slots: usize) -> Slots {
        self.activities = slots;
        self
    }

    /// Sets how many local activities.
    #[must_use]
    pub fn local(mut self, slots: usize) -> Slots {
        self.local = slots;
        self
    }
}

impl WorkerBuilder {
    pub(crate) fn new(client: &Client, queue: String) -> WorkerBuilder {
        let settings = Settings {
            slots: Slots::default(),
            pollers: Pollers::default(),
            drain: Duration::from_secs(10),
            activities_per_second: None,
            queue_activities_per_second: None,
            cached_runs: 10_000,
            cached_bytes: 512 << 20,
            lanes: None,
            verify_replay: VerifyReplay::default(),
            checks_sizes: true,
        };
        WorkerBuilder {
            client: client.clone(),
            queue,
            identity: None,
            registry: Registry::default(),
            replacements: Registry::default(),
            settings,
            deployment: None,
        }
    }

    /// Adds a definition: of an activity or a workflow, or several of them.
    pub fn register(mut self, definition: impl Register) -> Self {
        definition.add_to(&mut self.registry);
        self
    }

    /// Adds all activities of an `impl` block with `#[activities]`, on this value or what an `Arc` of it shares.
    pub fn activities(self, resource: impl Register) -> Self {
        self.register(resource)
    }

    /// Adds definitions in the place of those with the same names, whether they are here already or come later: for tests.
    pub fn replace(mut self, definition: impl Register) -> Self {
        definition.add_to(&mut self.replacements);
        self
    }

    /// Runs activities of types that are not registered: the type is in the context's info.
    pub fn activity_fallback<F, R>(mut self, body: F) -> Self
    where
        F: Fn(Activity, RawArgs) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload>> + Send + 'static,
    {
        self.registry.set_activity_fallback(ActivityDef::future("", body));
        self
    }

    /// Runs workflows of types that are not registered: the type is in the context's info.
    #[track_caller]
    pub fn workflow_fallback<F, R>(mut self, begin: F) -> Self
    where
        F: Fn(Ctx, RawArgs) -> Result<R> + Send + Sync + 'static,
        R: Future<Output = Result<Payload>> + 'static,
    {
        self.registry.set_workflow_fallback(WorkflowDef::new("", begin));
        self
    }

    /// Sets how many runs are kept in memory between their workflow tasks; 10,000 if not set. With 0 each task replays
    /// its history.
    pub fn cache(mut self, runs: usize) -> Self {
        self.settings.cached_runs = runs;
        self
    }

    /// Sets about how many bytes of runs are kept in memory; 512 MiB if not set.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.settings.cached_bytes = bytes;
        self
    }

    /// Sets how many threads run workflow code; as many as the machine has cores if not set.
    pub fn lanes(mut self, threads: usize) -> Self {
        self.settings.lanes = Some(threads);
        self
    }

    /// Does workflow tasks a second time from their histories, before their results are sent, and fails those that come
    /// out differently.
    pub fn verify_replay(mut self, which: VerifyReplay) -> Self {
        self.settings.verify_replay = which;
        self
    }

    /// Sets how many tasks it has in hand at a time.
    pub fn slots(mut self, slots: Slots) -> Self {
        self.settings.slots = slots;
        self
    }

    /// Sets how many polls of each kind wait at a time: a number, or [`Pollers::auto`]; 5 if not set.
    pub fn pollers(mut self, pollers: impl Into<Pollers>) -> Self {
        self.settings.pollers = pollers.into();
        self
    }

    /// Sends values of any size. Otherwise a task fails, and is done again, when it would send more than the namespace
    /// allows: the server would end the workflow, or fail the activity for good. For workers behind a proxy that makes
    /// payloads smaller.
    pub fn without_size_checks(mut self) -> Self {
        self.settings.checks_sizes = false;
        self
    }

    /// Makes the worker one version of a deployment: the server then gives each workflow to the version it belongs to.
    /// `versioning` is for workflows whose type says nothing itself.
    pub fn deployment(mut self, name: impl Into<String>, build_id: impl Into<String>, versioning: Versioning) -> Self {
        let options = WorkerDeploymentOptions {
            deployment_name: name.into(),
            build_id: build_id.into(),
            worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
        };
        self.deployment = Some((options, versioning));
        self
    }

    /// Sets how long activities may go on when the worker stops, before they are told to; 10 s if not set.
    pub fn drain(mut self, time: Duration) -> Self {
        self.settings.drain = time;
        self
    }

    /// Sets who the worker says it is; the client's identity if not set.
    pub fn identity(mut self, name: impl Into<String>) -> Self {
        self.identity = Some(name.into());
        self
    }

    /// Starts no more activities a second than this, in this worker.
    pub fn activities_per_second(mut self, rate: f64) -> Self {
        self.settings.activities_per_second = Some(rate);
        self
    }

    /// Lets the server hand out no more activities a second than this, to all workers of the queue.
    pub fn queue_activities_per_second(mut self, rate: f64) -> Self {
        self.settings.queue_activities_per_second = Some(rate);
        self
    }

    /// The worker, which does not run yet.
    ///
    /// # Errors
    /// When nothing is registered, two definitions have one name, or an option makes no sense.
    pub fn build(self) -> Result<Worker, WorkerError> {
        let WorkerBuilder { client, queue, identity, mut registry, replacements, settings, deployment } = self;
        registry.replace(replacements);
        if registry.is_empty() {
            return Err(WorkerError::Empty { queue });
        }
        registry.check()?;
        if queue.is_empty() {
            return Err(WorkerError::Option("a worker needs the name of a task queue"));
        }
        if settings.pollers.is_none() {
            return Err(WorkerError::Option("a worker needs at least one poller"));
        }
        let Slots { workflows, activities, local } = settings.slots;
        if workflows == 0 || activities == 0 || local == 0 {
            return Err(WorkerError::Option("a worker needs at least one slot of each kind"));
        }
        let rates = [settings.activities_per_second, settings.queue_activities_per_second];
        if rates.into_iter().flatten().any(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(WorkerError::Option("a rate of activities must be above zero"));
        }
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            identity: identity.unwrap_or_else(|| client.identity().to_owned()),
            client,
            queue,
            deployment,
            namespace: OnceLock::new(),
            instance_key: uuid::Uuid::new_v4().to_string(),
            stopping,
        };
        Ok(Worker { shared: Arc::new(shared), registry, settings, stop, lanes: Arc::default() })
    }

    /// The worker, running in the background.
    ///
    /// # Errors
    /// As for [`build`](WorkerBuilder::build).
    pub fn spawn(self) -> Result<RunningWorker, WorkerError> {
        Ok(self.build()?.spawn())
    }

    /// Runs the worker until it is stopped.
    ///
    /// # Errors
    /// As for [`build`](WorkerBuilder::build) and [`Worker::run`].
    pub async fn run(self) -> Result<(), WorkerError> {
        self.build()?.run().await
    }
}
