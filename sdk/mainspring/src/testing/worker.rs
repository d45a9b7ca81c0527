//! [`TestWorker`]: a worker of a test, on a runtime and a connection of its own, so that it can be killed like a process.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use mainspring_sdk::{Client, VerifyReplay, Worker, WorkerBuilder, WorkerError, WorkerHandle, worker::Register};
use tokio::task::JoinHandle;

use super::server::{Background, TestServer};

/// Where workers of tests work.
const NAMESPACE: &str = "default";

/// What a worker of a test runs: [`TestServer::worker`].
#[derive(Debug)]
#[must_use = "spawn it"]
pub struct TestWorkerBuilder<'t> {
    server: &'t TestServer,
    builder: WorkerBuilder,
    runtime: Background,
}

/// A worker of a test, which runs in the background until it is stopped or killed or its server is dropped. Copies are the
/// same worker.
#[derive(Clone)]
pub struct TestWorker(Arc<Inner>);

struct Inner {
    handle: WorkerHandle,
    /// By these the server knows what it has in hand.
    identity: String,
    sticky_queue: String,
    server: mainspring_server::Harness,
    running: Mutex<Option<Running>>,
}

struct Running {
    task: JoinHandle<Result<(), WorkerError>>,
    _runtime: Background,
}

impl<'t> TestWorkerBuilder<'t> {
    pub(super) fn new(server: &'t TestServer, queue: String) -> TestWorkerBuilder<'t> {
        let runtime = Background::new("mainspring-test-worker", 1);
        let identity = format!("worker-{}@{queue}", server.worker_count() + 1);
        let client = {
            let _inside = runtime.handle().enter();
            connect_lazily(server)
        };
        let builder = Worker::builder(&client, queue).identity(identity).verify_replay(VerifyReplay::Always);
        TestWorkerBuilder { server, builder, runtime }
    }

    /// Adds a definition: of an activity or a workflow, or several of them.
    pub fn register(self, definition: impl Register) -> Self {
        self.configure(|worker| worker.register(definition))
    }

    /// Adds all activities of an `impl` block with `#[activities]`, on this value or what an `Arc` of it shares.
    pub fn activities(self, resource: impl Register) -> Self {
        self.configure(|worker| worker.activities(resource))
    }

    /// Adds a stand-in, such as `charge::with(|cents, card| Ok(..))`. It takes the place of what has the same name, whether
    /// that is registered before or after it.
    pub fn mock(self, definition: impl Register) -> Self {
        self.configure(|worker| worker.replace(definition))
    }

    /// Sets any other option: `configure(|worker| worker.cache(0))`.
    pub fn configure(mut self, change: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When nothing is registered, two definitions have one name, or an option makes no sense.
    #[track_caller]
    pub fn spawn(self) -> TestWorker {
        let TestWorkerBuilder { server, builder, runtime } = self;
        let worker = builder.build().unwrap_or_else(|error| panic!("the worker cannot be: {error}"));
        let (identity, sticky_queue) = (worker.identity().to_owned(), worker.sticky_queue());
        let handle = worker.handle();
        let task = runtime.handle().spawn(worker.run());
        let running = Mutex::new(Some(Running { task, _runtime: runtime }));
        let worker =
            TestWorker(Arc::new(Inner { handle, identity, sticky_queue, server: server.harness().clone(), running }));
        server.keep(worker.clone());
        worker
    }
}

impl TestWorker {
    /// Ends it at once, as a crash of its process does: what it has in hand is lost, nobody is told. Nobody waits for that
    /// either: the server's clock may skip to where its tasks time out.
    pub async fn kill(&self) {
        if let Some(running) = self.take() {
            drop(running);
            self.0.server.lose_worker(NAMESPACE, &self.0.identity, &self.0.sticky_queue).await;
        }
    }

    /// Ends it with its server, which need not know.
    pub(super) fn end(&self) {
        drop(self.take());
    }

    /// Asks it to stop and waits until it has finished what it has in hand.
    ///
    /// # Errors
    /// When it ended by itself.
    pub async fn stop(&self) -> Result<(), WorkerError> {
        self.0.handle.stop();
        let Some(running) = self.take() else { return Ok(()) };
        running.task.await.unwrap_or(Err(WorkerError::Panicked))
    }

    /// Puts all its runs out of memory: their next tasks replay them from their histories.
    pub fn evict_all(&self) {
        self.0.handle.evict_all();
    }

    fn take(&self) -> Option<Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for TestWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestWorker").field(&self.0.identity).finish()
    }
}

/// A connection that belongs to the current runtime and dies with it.
fn connect_lazily(server: &TestServer) -> Client {
    let connecting = pin!(Client::connect(server.connect().lazy()));
    match connecting.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(client)) => client,
        Poll::Ready(Err(error)) => panic!("the worker cannot connect: {error}"),
        Poll::Pending => unreachable!("without TLS there is nothing to wait for before the first call"),
    }
}
