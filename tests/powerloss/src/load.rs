//! Clients that start and signal workflows, workers that do what they ask, and what was acknowledged to either.
//!
//! An errand is a workflow that wants one activity done and its signals heard, and then completes.

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use mainspring_api::v1::{
    command::{
        Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes,
    },
    common::{ActivityType, RetryPolicy},
    enums::{CommandType, EventType},
    history::HistoryEvent,
    workflowservice::{
        PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest,
        PollWorkflowTaskQueueResponse, RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse,
        RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse,
    },
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::client::{Client, NAMESPACE, TASK_TIMEOUT, queue, text};
use crate::random::Random;

/// Signals of each errand.
const SIGNALS: usize = 2;
/// A call that was refused in a passing moment is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub clients: u64,
    /// Of the workflows and of the activities, each.
    pub workers: u64,
    /// The input of a workflow has up to this many bytes.
    pub payload_bytes_max: u64,
    /// Names the errands, and with it decides the sizes.
    pub seed: u64,
}

/// What was asked of the server, and what it acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Errand {
    pub payload_bytes: usize,
    /// The run's id, once the start was acknowledged.
    pub run_id: Option<String>,
    /// The texts, each with whether it was acknowledged.
    pub signals: Vec<(String, bool)>,
    /// Started event ids of workflow tasks whose completion was acknowledged.
    pub workflow_tasks: Vec<i64>,
    /// Results of activities whose completion was acknowledged: one at most, or something is wrong.
    pub results: Vec<String>,
}

/// All errands by workflow id.
pub type Errands = BTreeMap<String, Errand>;

/// Errands shared by clients and workers. Clones share.
#[derive(Clone, Default)]
pub struct Load {
    errands: Arc<Mutex<Errands>>,
    results: Arc<AtomicU64>,
}

impl Load {
    /// One that goes on with these.
    pub fn resume(errands: Errands) -> Load {
        Load { errands: Arc::new(Mutex::new(errands)), results: Arc::default() }
    }

    /// Resolves once so many calls were acknowledged.
    pub async fn reaches(&self, acknowledged: usize) {
        while self.acknowledged() < acknowledged {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What has been asked and acknowledged so far.
    pub fn errands(&self) -> Errands {
        self.lock().clone()
    }

    /// How many calls were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let of = |errand: &Errand| {
            let signals = errand.signals.iter().filter(|(_, acknowledged)| *acknowledged).count();
            usize::from(errand.run_id.is_some()) + signals + errand.workflow_tasks.len() + errand.results.len()
        };
        self.lock().values().map(of).sum()
    }

    /// New errands and work on them until nothing is answered any more: that is, until the server has ended.
    ///
    /// # Errors
    /// When the server refuses what it must not refuse.
    pub async fn run(&self, address: &str, shape: Shape) -> anyhow::Result<()> {
        // A server that ends before the first call has acknowledged nothing.
        let Ok(client) = Client::connect(address).await else { return Ok(()) };
        let mut all = JoinSet::new();
        for number in 0..shape.clients {
            let (load, client) = (self.clone(), client.clone());
            all.spawn(async move { load.ask(&client, shape, number).await });
        }
        self.hire(&mut all, &client, shape.workers);
        while let Some(ended) = all.join_next().await {
            let Err(status) = ended?;
            if !is_gone(&status) {
                return Err(status.into());
            }
        }
        Ok(())
    }

    /// Asks again for all that was not acknowledged, and works until `done` resolves.
    ///
    /// # Errors
    /// When the server refuses, or ends.
    pub async fn finish(&self, client: &Client, done: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        let mut all = JoinSet::new();
        self.hire(&mut all, client, 4);
        self.insist(client).await?;
        tokio::select! {
            done = done => done,
            Some(ended) = all.join_next() => match ended? {
                Err(status) => Err(status.into()),
            },
        }
    }

    fn hire(&self, all: &mut JoinSet<Result<Never, Status>>, client: &Client, workers: u64) {
        for _ in 0..workers {
            let (load, of) = (self.clone(), client.clone());
            all.spawn(async move { load.do_workflow_tasks(&of).await });
            let (load, of) = (self.clone(), client.clone());
            all.spawn(async move { load.do_activities(&of).await });
        }
    }

    /// One client: errand after errand.
    async fn ask(&self, client: &Client, shape: Shape, number: u64) -> Result<Never, Status> {
        let mut random = Random::new(shape.seed.wrapping_mul(1_000).wrapping_add(number));
        for count in 0_u64.. {
            let id = format!("errand {} {number} {count}", shape.seed);
            let signals = (0..SIGNALS).map(|signal| (format!("{id} says {signal}"), false)).collect();
            let size = if random.one_in(4) { shape.payload_bytes_max } else { 200 };
            let payload_bytes = usize::try_from(random.below(size)).unwrap_or(0);
            let errand = Errand { payload_bytes, signals, ..Errand::default() };
            self.lock().insert(id.clone(), errand.clone());
            self.start(client, &id, &errand).await?;
            for (index, (said, _)) in errand.signals.iter().enumerate() {
                self.signal(client, &id, index, said).await?;
            }
        }
        unreachable!("nobody counts that far")
    }

    async fn insist(&self, client: &Client) -> Result<(), Status> {
        for (id, errand) in self.errands() {
            if errand.run_id.is_none() {
                self.start(client, &id, &errand).await?;
            }
            for (index, (said, acknowledged)) in errand.signals.iter().enumerate() {
                if !acknowledged {
                    self.signal(client, &id, index, said).await?;
                }
            }
        }
        Ok(())
    }

    async fn start(&self, client: &Client, id: &str, errand: &Errand) -> Result<(), Status> {
        let run_id = insistently(|| client.start(id, errand.payload_bytes)).await?;
        self.note(id, |errand| errand.run_id = Some(run_id));
        Ok(())
    }

    async fn signal(&self, client: &Client, id: &str, index: usize, said: &str) -> Result<(), Status> {
        match insistently(|| client.signal(id, said)).await {
            // It had arrived, though nobody heard so, and the workflow is done.
            Err(status) if status.code() == Code::NotFound => {}
            sent => {
                sent?;
                self.note(id, |errand| errand.signals[index].1 = true);
            }
        }
        Ok(())
    }

    async fn do_workflow_tasks(&self, client: &Client) -> Result<Never, Status> {
        loop {
            let poll = PollWorkflowTaskQueueRequest {
                namespace: NAMESPACE.to_owned(),
                task_queue: Some(queue()),
                ..Default::default()
            };
            let task: PollWorkflowTaskQueueResponse = client.call("PollWorkflowTaskQueue", poll).await?;
            let Some(execution) = &task.workflow_execution else { continue };
            let events = task.history.clone().unwrap_or_default().decode_events();
            let events = events.map_err(|error| Status::data_loss(error.to_string()))?;
            let request = RespondWorkflowTaskCompletedRequest {
                task_token: task.task_token.clone(),
                commands: decide(&execution.workflow_id, &events),
                ..Default::default()
            };
            let answer: Result<RespondWorkflowTaskCompletedResponse, _> =
                client.call("RespondWorkflowTaskCompleted", request).await;
            if heard(answer)? {
                self.note(&execution.workflow_id, |errand| errand.workflow_tasks.push(task.started_event_id));
            }
        }
    }

    async fn do_activities(&self, client: &Client) -> Result<Never, Status> {
        loop {
            let poll = PollActivityTaskQueueRequest {
                namespace: NAMESPACE.to_owned(),
                task_queue: Some(queue()),
                ..Default::default()
            };
            let task: PollActivityTaskQueueResponse = client.call("PollActivityTaskQueue", poll).await?;
            let Some(execution) = &task.workflow_execution else { continue };
            let count = self.results.fetch_add(1, Ordering::Relaxed);
            let result = format!("result {count} of attempt {} of {}", task.attempt, execution.workflow_id);
            let request = RespondActivityTaskCompletedRequest {
                task_token: task.task_token,
                result: text(&result),
                ..Default::default()
            };
            let answer: Result<RespondActivityTaskCompletedResponse, _> =
                client.call("RespondActivityTaskCompleted", request).await;
            if heard(answer)? {
                self.note(&execution.workflow_id, |errand| errand.results.push(result));
            }
        }
    }

    /// An errand that is not ours is of a load that was resumed only in part.
    fn note(&self, id: &str, what: impl FnOnce(&mut Errand)) {
        if let Some(errand) = self.lock().get_mut(id) {
            what(errand);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Errands> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients and workers only ever end by an error.
enum Never {}

/// What the workflow wants next.
fn decide(id: &str, events: &[HistoryEvent]) -> Vec<Command> {
    let count = |kind: EventType| events.iter().filter(|event| event.event_type() == kind).count();
    if count(EventType::ActivityTaskScheduled) == 0 {
        let attributes = ScheduleActivityTaskCommandAttributes {
            activity_id: "errand".to_owned(),
            activity_type: Some(ActivityType { name: "Run".to_owned() }),
            task_queue: Some(queue()),
            input: text(id),
            start_to_close_timeout: Some(TASK_TIMEOUT),
            retry_policy: Some(RetryPolicy {
                initial_interval: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
                backoff_coefficient: 1.0,
                ..RetryPolicy::default()
            }),
            ..Default::default()
        };
        let attributes = Attributes::ScheduleActivityTaskCommandAttributes(attributes);
        return vec![command(CommandType::ScheduleActivityTask, attributes)];
    }
    let is_done = count(EventType::ActivityTaskCompleted) > 0;
    if is_done && count(EventType::WorkflowExecutionSignaled) >= SIGNALS {
        let attributes = CompleteWorkflowExecutionCommandAttributes { result: text(id) };
        let attributes = Attributes::CompleteWorkflowExecutionCommandAttributes(attributes);
        return vec![command(CommandType::CompleteWorkflowExecution, attributes)];
    }
    Vec::new()
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() }
}

/// True when a worker's answer was taken; false when the task was somebody else's by then.
fn heard<T>(answer: Result<T, Status>) -> Result<bool, Status> {
    match answer {
        Ok(_) => Ok(true),
        Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::ResourceExhausted) => {
            Ok(false)
        }
        Err(status) => Err(status),
    }
}

/// Repeats a call that is refused because the server is busy.
async fn insistently<T, F: Future<Output = Result<T, Status>>>(call: impl Fn() -> F) -> Result<T, Status> {
    loop {
        match call().await {
            Err(status) if status.code() == Code::ResourceExhausted => tokio::time::sleep(AGAIN_AFTER).await,
            answer => return answer,
        }
    }
}

/// What a client sees of a server that ends, cleanly or not.
fn is_gone(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}
