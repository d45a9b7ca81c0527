//! [`TestServer`]: a server in this process, and the test's hand on its clock and its calls.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mainspring_rt::Timestamp;
use mainspring_sdk::{Client, Connect, DataConverter, client::Code};
use mainspring_server::{Config, Harness, Hold, SearchAttributeType, Server, Storage};
use tokio::runtime::{Builder, Runtime};

use super::worker::{TestWorker, TestWorkerBuilder};

/// A server of one test: in memory, with a clock that skips. See the [module](crate::testing) for when it does.
///
/// It listens on a free port of this machine, so that other processes reach it too ([`TestServer::address`]). It ends when
/// it is dropped, and its workers with it, however the test ends.
pub struct TestServer {
    client: Client,
    connect: Connect,
    address: SocketAddr,
    harness: Harness,
    workers: Mutex<Vec<TestWorker>>,
    _server: Server,
    _runtime: Background,
}

/// What a test wants of its server: [`TestServer::options`].
#[derive(Clone, Default)]
#[must_use = "start it"]
pub struct TestServerOptions {
    converter: DataConverter,
    namespaces: Vec<String>,
    search_attributes: Vec<(String, SearchAttributeType)>,
}

/// While it is there, the clock does not skip for clients that wait.
#[must_use = "the clock skips again when this is dropped"]
pub struct HeldTime {
    _hold: Hold,
}

/// A runtime that ends with everything on it when it is dropped, also within another one.
#[derive(Debug)]
pub(super) struct Background(Option<Runtime>);

impl TestServer {
    /// Starts a server that has the namespace `default`, and connects to it.
    ///
    /// # Panics
    /// When the machine has no port or no thread left.
    pub async fn start() -> TestServer {
        TestServer::options().start().await
    }

    /// A server that is told more before it starts.
    pub fn options() -> TestServerOptions {
        TestServerOptions::default()
    }

    /// A client of the namespace `default`.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How to connect to it, for clients with another namespace or identity.
    pub fn connect(&self) -> Connect {
        self.connect.clone()
    }

    /// Where it listens: `127.0.0.1` with a port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A worker for the task queue `queue`. It verifies replays ([`VerifyReplay::Always`](crate::VerifyReplay::Always)).
    pub fn worker(&self, queue: impl Into<String>) -> TestWorkerBuilder<'_> {
        TestWorkerBuilder::new(self, queue.into())
    }

    /// What the server's clock shows. It began with the machine's.
    pub fn now(&self) -> SystemTime {
        system_time(self.harness.now())
    }

    /// Lets `time` pass without waiting for it: from deadline to deadline, and at each of them until nothing is in hand any
    /// more. What was due by then has been done when this returns, as far as workers do it.
    ///
    /// While something is in hand, time goes as usual; a skip over an activity that never ends takes as long as it says.
    pub async fn skip(&self, time: Duration) {
        self.harness.skip_to(self.harness.now() + time).await;
    }

    /// Skips until the clock shows `at`; see [`TestServer::skip`].
    pub async fn skip_until(&self, at: SystemTime) {
        self.harness.skip_to(timestamp(at)).await;
    }

    /// Moves the clock ahead by `time` at once, whatever is in hand: timers fire late, activities that run time out, and so
    /// do tasks that no worker takes.
    pub fn jump(&self, time: Duration) {
        self.harness.jump_to(self.harness.now() + time);
    }

    /// Keeps the clock from skipping while clients wait, as long as the answer is kept. [`TestServer::skip`] and
    /// [`TestServer::jump`] move it all the same.
    pub fn hold_time(&self) -> HeldTime {
        HeldTime { _hold: self.harness.hold() }
    }

    /// Lets the server refuse the next call of this method, such as `"SignalWorkflowExecution"`, without looking at it. Calls
    /// that are refused twice are given to it twice.
    pub fn fail_next(&self, method: &str, code: Code) {
        self.harness.fail_next(method, code, "the test wants it so");
    }

    /// Lets each call of this method wait, by the machine's clock, before the server looks at it. Zero ends that.
    pub fn delay(&self, method: &str, by: Duration) {
        self.harness.delay(method, by);
    }

    /// Puts all runs out of the memory of all workers of [`TestServer::worker`]: their next tasks replay their histories.
    pub fn evict_all(&self) {
        self.workers().iter().for_each(TestWorker::evict_all);
    }

    /// Kills all workers of [`TestServer::worker`] that run: see [`TestWorker::kill`].
    pub async fn kill_workers(&self) {
        let workers = self.workers().clone();
        for worker in workers {
            worker.kill().await;
        }
    }

    pub(super) fn harness(&self) -> &Harness {
        &self.harness
    }

    /// Remembers a worker, to end it with the server. Its number, from 1.
    pub(super) fn keep(&self, worker: TestWorker) {
        self.workers().push(worker);
    }

    pub(super) fn worker_count(&self) -> usize {
        self.workers().len()
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<TestWorker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.workers().iter().for_each(TestWorker::end);
    }
}

impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl TestServerOptions {
    /// Sets what [`TestServer::client`] and the workers do with values: codecs, for instance.
    pub fn converter(mut self, converter: DataConverter) -> Self {
        self.converter = converter;
        self
    }

    /// Adds a namespace beside `default`.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespaces.push(name.into());
        self
    }

    /// Adds a search attribute to all namespaces.
    pub fn search_attribute(mut self, name: impl Into<String>, kind: SearchAttributeType) -> Self {
        self.search_attributes.push((name.into(), kind));
        self
    }

    /// Starts the server and connects to it.
    ///
    /// # Panics
    /// When the machine has no port or no thread left, or an option cannot be.
    pub async fn start(self) -> TestServer {
        let harness = Harness::new();
        let mut config = Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Storage::Memory);
        config.namespaces = self.namespaces;
        config.search_attributes = self.search_attributes;
        config.harness = Some(harness.clone());
        let runtime = Background::new("mainspring-test-server", 1);
        let starting = runtime.handle().spawn(Server::start(config)).await;
        let server = starting.expect("starting a server does not panic");
        let server = server.unwrap_or_else(|error| panic!("the test server does not start: {error}"));
        let address = server.local_addr();
        let connect = Connect::to(address.to_string()).converter(self.converter);
        let client = Client::connect(connect.clone()).await;
        let client = client.unwrap_or_else(|error| panic!("the test server does not answer: {error}"));
        TestServer { client, connect, address, harness, workers: Mutex::default(), _server: server, _runtime: runtime }
    }
}

impl fmt::Debug for TestServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServerOptions").finish_non_exhaustive()
    }
}

impl fmt::Debug for HeldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldTime")
    }
}

impl Background {
    pub(super) fn new(name: &str, threads: usize) -> Background {
        let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
        Background(Some(runtime.expect("the machine has threads for a test")))
    }

    pub(super) fn handle(&self) -> &tokio::runtime::Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::ZERO + time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH + time.since(Timestamp::ZERO)
}
