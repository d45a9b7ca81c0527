//! A whole node in memory under a frontend, made anew now and then so that it does not grow.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use mainspring_api::{
    ids::NamespaceId,
    v1::{
        common::WorkflowType,
        taskqueue::TaskQueue,
        workflowservice::{
            PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest,
            StartWorkflowExecutionRequest,
        },
    },
};
use mainspring_engine::Limits;
use mainspring_frontend::{Config, Frontend, Metadata, OPERATOR_SERVICE, WORKFLOW_SERVICE};
use mainspring_history::{History, Namespace};
use mainspring_rt::Rt;
use mainspring_store::memory::MemoryStore;
use mainspring_visibility::Index;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::Status;

/// Calls on one node; then it is left and a new one is made.
const CALLS_MAX: u32 = 400;
/// Far above what a call takes that may not wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where calls go.
pub(crate) const NAMESPACE: &str = "default";
/// One whose name no input has, so that none closes it.
const UNTOUCHED: &str = "a namespace that nobody else has heard of";

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

pub(crate) struct World {
    runtime: Runtime,
    rt: Rt,
    frontend: Frontend,
    history: History,
    calls: u32,
}

/// Calls a method of the workflow service, or of the operators' one if that has it, with a deadline that allows no wait.
///
/// # Panics
/// When it waits all the same.
pub(crate) fn call(method: &str, request: Bytes) -> Result<Bytes, Status> {
    with(|world| world.call(method, request, Duration::ZERO))
}

/// Starts a workflow, takes its first task and completes it with this.
pub(crate) fn complete(mut request: RespondWorkflowTaskCompletedRequest) {
    with(|world| {
        // A queue of its own: other workflows may have tasks by now.
        let name = format!("queue {}", world.calls);
        world.start(UNTOUCHED, &name);
        let task = PollWorkflowTaskQueueResponse::decode(world.poll(UNTOUCHED, &name)).expect("own encoding");
        request.task_token = task.task_token;
        UNTOUCHED.clone_into(&mut request.namespace);
        let completion = request.encode_to_vec();
        drop(world.call("RespondWorkflowTaskCompleted", completion.into(), Duration::ZERO));
    });
}

fn with<T>(work: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| {
        if world.as_ref().is_some_and(|world| world.calls >= CALLS_MAX) {
            world.take().expect("there is one").end();
        }
        work(world.get_or_insert_with(World::new))
    })
}

/// Encodes the request.
pub(crate) fn ask(method: &str, request: &impl Message) -> Result<Bytes, Status> {
    call(method, request.encode_to_vec().into())
}

impl World {
    pub(crate) fn new() -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let entered = runtime.enter();
        let rt = Rt::real();
        drop(entered);
        let (frontend, history) = runtime.block_on(open(&rt));
        let mut world = World { runtime, rt, frontend, history, calls: 0 };
        world.start(NAMESPACE, "w");
        world
    }

    /// Starts a workflow whose id is its queue's name.
    fn start(&mut self, namespace: &str, name: &str) {
        let start = StartWorkflowExecutionRequest {
            namespace: namespace.to_owned(),
            workflow_id: name.to_owned(),
            workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
            task_queue: Some(queue(name)),
            request_id: name.to_owned(),
            ..Default::default()
        };
        self.call("StartWorkflowExecution", start.encode_to_vec().into(), PATIENCE).expect("a start");
    }

    /// The poll response for the workflow of that name.
    pub(crate) fn poll(&mut self, namespace: &str, name: &str) -> Bytes {
        let poll = PollWorkflowTaskQueueRequest {
            namespace: namespace.to_owned(),
            task_queue: Some(queue(name)),
            ..Default::default()
        };
        self.call("PollWorkflowTaskQueue", poll.encode_to_vec().into(), PATIENCE).expect("a task")
    }

    pub(crate) fn call(&mut self, method: &str, request: Bytes, wait: Duration) -> Result<Bytes, Status> {
        self.calls += 1;
        let metadata = Metadata { deadline: Some(self.rt.now() + wait), client_name: String::new() };
        let service = if OPERATOR_METHODS.contains(&method) { OPERATOR_SERVICE } else { WORKFLOW_SERVICE };
        let path = format!("/{service}/{method}");
        self.runtime.block_on(async {
            tokio::select! {
                answer = self.frontend.call(&path, request, &metadata) => answer.map(mainspring_frontend::Answer::into_sent),
                () = self.rt.sleep(PATIENCE) => panic!("{method} does not answer"),
            }
        })
    }

    fn end(self) {
        self.runtime.block_on(self.history.close());
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

async fn open(rt: &Rt) -> (Frontend, History) {
    let limits = Limits::default();
    let history = History::open(mainspring_history::Config {
        rt: rt.clone(),
        store: Arc::new(MemoryStore::automatic()),
        index: Index::memory().expect("memory"),
        limits: limits.clone(),
        cache_bytes_max: 1 << 20,
        tuning: mainspring_history::Tuning::default(),
    })
    .await
    .expect("an empty store");
    for (number, name) in [(1, NAMESPACE), (2, UNTOUCHED)] {
        let namespace = Namespace {
            id: NamespaceId(uuid::Uuid::from_u128(number)),
            name: name.to_owned(),
            state: 1,
            description: String::new(),
            owner_email: String::new(),
            retention: Duration::from_secs(3_600),
            data: BTreeMap::new(),
            search_attributes: [("City".to_owned(), 2), ("Count".to_owned(), 3)].into(),
            created_at: rt.now(),
        };
        history.namespaces().register(namespace).await.expect("it is new");
    }
    let config = Config { rt: rt.clone(), history: history.clone(), limits, store_name: "memory" };
    (Frontend::new(config), history)
}

fn queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), ..TaskQueue::default() }
}

const OPERATOR_METHODS: &[&str] =
    &["AddSearchAttributes", "RemoveSearchAttributes", "ListSearchAttributes", "ListClusters"];
