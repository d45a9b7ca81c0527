//! The part of a worker that runs workflows: polls for their tasks, gives them to lanes, and says how they went.
//!
//! Everything that waits is here, on the runtime: the server, codecs, local activities. Lanes only run code.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use mainspring_api::v1::{
    common::{Payloads, WorkflowExecution},
    enums::TaskQueueKind,
    history::HistoryEvent,
    query::WorkflowQuery,
    taskqueue::TaskQueue,
    workflowservice::{PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{
    activity::{ActivityInfo, TaskToken},
    codec::CodecCx,
    payload::{PayloadError, RawArgs, from_wire},
    worker::{
        Shared, VerifyReplay,
        activities::ActivityWorker,
        lane::{Answer, Lanes, Order, TaskOrder},
        local::{LocalOutcome, LocalTask, LocalWorker, RETRY_THRESHOLD},
        pages::{Pages, Replay},
        poll::{Backoff, poll},
        pollers::{Brought, Pollers, Scaler},
    },
    workflow::{
        Fault,
        instance::{Feed, Locals},
        local_activity::{Data, LocalRequest, Marked, SecondsNanos},
    },
};

/// `verify_replay` leaves longer histories out.
const VERIFY_EVENTS_MAX: i64 = 10_000;

/// Runs workflows. Copies are the same.
#[derive(Clone)]
pub(crate) struct WorkflowWorker {
    inner: Arc<Inner>,
}

/// What a [`WorkflowWorker`] is made of.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) activities: ActivityWorker,
    pub(crate) local: LocalWorker,
    pub(crate) slots: usize,
    pub(crate) pollers: Pollers,
    /// The queue of this process, where runs are kept in memory.
    pub(crate) sticky: Option<String>,
    pub(crate) verify: VerifyReplay,
}

pub(super) struct Inner {
    pub(super) parts: Parts,
    slots: Arc<Semaphore>,
}

impl WorkflowWorker {
    pub(crate) fn new(parts: Parts) -> WorkflowWorker {
        let slots = Arc::new(Semaphore::new(parts.slots.min(Semaphore::MAX_PERMITS)));
        WorkflowWorker { inner: Arc::new(Inner { parts, slots }) }
    }

    /// The threads that have the runs in memory.
    pub(crate) fn lanes(&self) -> Weak<Lanes> {
        Arc::downgrade(&self.inner.parts.lanes)
    }

    /// Polls until the worker is to stop.
    pub(crate) async fn run(&self) {
        let parts = &self.inner.parts;
        let normal = self.poll(queue(&parts.shared.queue, "", TaskQueueKind::Normal));
        match &parts.sticky {
            Some(name) => {
                let sticky = self.poll(queue(name, &parts.shared.queue, TaskQueueKind::Sticky));
                tokio::join!(normal, sticky);
            }
            None => normal.await,
        }
    }

    /// Polls one queue, with as many polls as it wants.
    async fn poll(&self, queue: TaskQueue) {
        let shared = &self.inner.parts.shared;
        let mut stopping = shared.stopping.clone();
        let polling = Arc::new(Polling {
            request: PollWorkflowTaskQueueRequest {
                namespace: shared.client.namespace().to_owned(),
                task_queue: Some(queue),
                identity: shared.identity.clone(),
                worker_instance_key: shared.instance_key.clone(),
                deployment_options: shared.deployment_options(),
                ..PollWorkflowTaskQueueRequest::default()
            },
            backoff: Mutex::default(),
            scaler: Scaler::new(self.inner.parts.pollers),
        });
        let mut polls = JoinSet::new();
        while !*stopping.borrow() {
            while polls.len() < polling.scaler.wanted() {
                polls.spawn(self.clone().poll_once(polling.clone()));
            }
            tokio::select! {
                () = super::stopped(&mut stopping) => {}
                ended = polls.join_next() => {
                    if ended.is_some_and(|ended| ended.is_err()) {
                        tracing::error!("a poll panicked");
                    }
                }
            }
        }
        // They see it themselves, and one that was just answered still hands its task on.
        while polls.join_next().await.is_some() {}
    }

    /// Waits until no workflow task is in hand.
    pub(crate) async fn drain(&self, limit: Duration) {
        let all = u32::try_from(self.inner.parts.slots).unwrap_or(u32::MAX);
        if tokio::time::timeout(limit, self.inner.slots.acquire_many(all)).await.is_err() {
            tracing::warn!("workflow tasks were left behind");
        }
    }

    async fn poll_once(self, polling: Arc<Polling>) {
        let shared = &self.inner.parts.shared;
        let mut stopping = shared.stopping.clone();
        let slot = tokio::select! {
            biased;
            () = super::stopped(&mut stopping) => return,
            slot = self.inner.slots.clone().acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let Polling { request, backoff, scaler } = polling.as_ref();
        let Some(task) = poll(shared, request, backoff, scaler).await else { return };
        let is_task = !task.task_token.is_empty();
        scaler.learn(Brought::of(task.poller_scaling_decision, is_task));
        if is_task {
            tokio::spawn(self.clone().process(task, slot));
        }
    }

    /// Does a task, and those that come back with its completion.
    async fn process(self, task: PollWorkflowTaskQueueResponse, _slot: OwnedSemaphorePermit) {
        let mut running = Running::default();
        let mut next = Some(task);
        while let Some(task) = next {
            next = self.inner.task(task, &mut running).await;
        }
    }
}

/// What the polls of one queue share.
struct Polling {
    request: PollWorkflowTaskQueueRequest,
    backoff: Mutex<Backoff>,
    scaler: Scaler,
}

/// The local activities of a run that are running.
#[derive(Default)]
struct Running {
    ends: JoinSet<Marked>,
    stops: HashMap<u32, watch::Sender<bool>>,
}

/// A workflow task that this worker has in hand.
pub(super) struct InHand {
    pub(super) token: Bytes,
    pub(super) execution: WorkflowExecution,
    pub(super) kind: String,
    pub(super) attempt: i32,
    pub(super) first: bool,
    pub(super) is_query: bool,
    pub(super) began: Instant,
}

/// Why a task comes to nothing.
pub(super) enum Failed {
    Fault(Fault),
    /// The task is not ours any more; nobody has to be told.
    Lost,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed::Fault(fault)
    }
}

impl From<PayloadError> for Failed {
    fn from(error: PayloadError) -> Failed {
        Failed::Fault(Fault::Unusable(error.to_string()))
    }
}

impl Inner {
    /// Does one task; gives the one that comes back with its completion.
    async fn task(
        self: &Arc<Self>,
        mut task: PollWorkflowTaskQueueResponse,
        running: &mut Running,
    ) -> Option<PollWorkflowTaskQueueResponse> {
        let in_hand = InHand {
            token: task.task_token.clone(),
            execution: task.workflow_execution.take().unwrap_or_default(),
            kind: task.workflow_type.take().unwrap_or_default().name,
            attempt: task.attempt,
            first: task.previous_started_event_id == 0,
            is_query: task.query.is_some(),
            began: Instant::now(),
        };
        match self.attempt(&in_hand, task, running).await {
            Ok(next) => next,
            Err(Failed::Lost) => {
                self.evict(&in_hand.execution.run_id).await;
                None
            }
            Err(Failed::Fault(fault)) => {
                self.evict(&in_hand.execution.run_id).await;
                self.fail(&in_hand, &fault).await;
                None
            }
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        in_hand: &InHand,
        task: PollWorkflowTaskQueueResponse,
        running: &mut Running,
    ) -> Result<Option<PollWorkflowTaskQueueResponse>, Failed> {
        let run_id = &in_hand.execution.run_id;
        let mut replay = Replay::new(&self.parts.lanes, in_hand);
        let order = self.order(in_hand, task, &mut replay).await?;
        let live = order.feed.live;
        let mut answer = self.parts.lanes.call(run_id, Order::Task(Box::new(order))).await?;
        if let Answer::NeedHistory(mut order) = answer {
            let tail = std::mem::take(&mut order.feed.events);
            let mut pages = Pages::new(self, in_hand, Bytes::new());
            order.feed.events = replay.all_but_last(&mut pages, Vec::new(), tail).await?;
            order.replay = replay.begun();
            order.bytes = order.feed.events.iter().map(prost::Message::encoded_len).sum();
            answer = self.parts.lanes.call(run_id, Order::Task(order)).await?;
        }
        drop(replay);
        loop {
            match answer {
                Answer::Done(done) => {
                    let heartbeat = !running.ends.is_empty() && live;
                    return if live {
                        self.complete(in_hand, *done, heartbeat).await
                    } else {
                        self.answer(in_hand, *done).await
                    };
                }
                Answer::Locals { locals, task_timeout } => {
                    self.begin_locals(in_hand, locals, running);
                    let heartbeat_at = in_hand.began + task_timeout.mul_f64(0.8);
                    let order = tokio::select! {
                        ended = running.ends.join_next() => match ended {
                            Some(Ok(marked)) => {
                                running.stops.remove(&marked.data.seq);
                                Order::LocalEnded { run_id: run_id.clone(), marked: Box::new(marked) }
                            }
                            Some(Err(_)) | None => Order::Flush { run_id: run_id.clone() },
                        },
                        () = tokio::time::sleep_until(heartbeat_at.into()) => Order::Flush { run_id: run_id.clone() },
                    };
                    answer = self.parts.lanes.call(run_id, order).await?;
                }
                Answer::NeedHistory(_) | Answer::Gone | Answer::Noted => return Err(Failed::Lost),
            }
        }
    }

    /// A task as a lane wants it, decoded. Of a history of many pages all but the end has been replayed then.
    async fn order(
        &self,
        in_hand: &InHand,
        task: PollWorkflowTaskQueueResponse,
        replay: &mut Replay<'_>,
    ) -> Result<TaskOrder, Failed> {
        let chunks = task.history.unwrap_or_default();
        let mut bytes = chunks.chunks().iter().map(Bytes::len).sum();
        let mut events = chunks.decode_events().map_err(|error| Fault::History(error.to_string()))?;
        self.decode(in_hand, &mut events).await?;
        let live = !in_hand.is_query;
        let verified = live && self.parts.verify.draws(&in_hand.token) && task.started_event_id <= VERIFY_EVENTS_MAX;
        let from_first = events.first().is_some_and(|first| first.event_id == 1);
        if !task.next_page_token.is_empty() {
            let mut pages = Pages::new(self, in_hand, task.next_page_token);
            if from_first && !verified {
                events = replay.all_but_last(&mut pages, events, Vec::new()).await?;
                bytes = events.iter().map(prost::Message::encoded_len).sum();
            } else {
                events.extend(pages.all().await?);
            }
        }
        let verify = match verified {
            true if from_first => Some(events.clone()),
            true => Some(self.whole(in_hand, events.clone()).await?),
            false => None,
        };
        let mut messages = task.messages;
        let cx = CodecCx::new(self.parts.shared.client.namespace(), &in_hand.execution.workflow_id);
        self.parts.shared.client.converter().decode_messages(&cx, &mut messages).await?;
        let mut queries = Vec::new();
        for (id, query) in task.queries.into_iter().chain(task.query.map(|query| (String::new(), query))) {
            queries.push(self.query(&cx, id, query).await?);
        }
        Ok(TaskOrder {
            execution: in_hand.execution.clone(),
            kind: in_hand.kind.clone(),
            feed: Feed { events, live, messages, stand_in: None },
            replay: replay.begun(),
            bytes,
            previous_started: task.previous_started_event_id,
            queries,
            verify,
        })
    }

    /// The whole history up to the events of a task, some of which may be virtual yet; of a query, all there is.
    async fn whole(&self, in_hand: &InHand, tail: Vec<HistoryEvent>) -> Result<Vec<HistoryEvent>, Failed> {
        let from = tail.first().map_or(i64::MAX, |event| event.event_id);
        let mut events = Pages::new(self, in_hand, Bytes::new()).all().await?;
        events.retain(|event| event.event_id < from);
        events.extend(tail);
        Ok(events)
    }

    async fn query(
        &self,
        cx: &CodecCx<'_>,
        id: String,
        query: WorkflowQuery,
    ) -> Result<(String, String, RawArgs), Failed> {
        let mut args = from_wire(query.query_args);
        self.parts.shared.client.converter().decode(cx, &mut args).await?;
        Ok((id, query.query_type, RawArgs(args)))
    }

    pub(super) async fn decode(&self, in_hand: &InHand, events: &mut [HistoryEvent]) -> Result<(), Failed> {
        let cx = CodecCx::new(self.parts.shared.client.namespace(), &in_hand.execution.workflow_id);
        Ok(self.parts.shared.client.converter().decode_events(&cx, events).await?)
    }

    fn begin_locals(self: &Arc<Self>, in_hand: &InHand, locals: Locals, running: &mut Running) {
        for seq in locals.stop {
            if let Some(stop) = running.stops.get(&seq) {
                stop.send_replace(true);
            }
        }
        for request in locals.begin {
            let (stop, stopped) = watch::channel(false);
            running.stops.insert(request.seq, stop);
            let (inner, execution, kind) = (self.clone(), in_hand.execution.clone(), in_hand.kind.clone());
            running.ends.spawn(async move { inner.local(execution, kind, request, stopped).await });
        }
    }

    async fn local(
        &self,
        execution: WorkflowExecution,
        kind: String,
        request: LocalRequest,
        stop: watch::Receiver<bool>,
    ) -> Marked {
        let shared = &self.parts.shared;
        let options = &request.options;
        let info = ActivityInfo {
            activity_type: request.kind.clone(),
            activity_id: request.activity_id.clone(),
            namespace: shared.client.namespace().to_owned(),
            queue: shared.queue.clone(),
            workflow_id: execution.workflow_id,
            run_id: execution.run_id,
            workflow_type: kind,
            attempt: request.attempt,
            scheduled_at: request.scheduled_at,
            attempt_scheduled_at: SystemTime::now(),
            started_at: SystemTime::now(),
            schedule_to_close: options.schedule_to_close,
            start_to_close: options.start_to_close,
            heartbeat: None,
            retry: options.retry.clone(),
            priority: options.priority.clone(),
            is_local: true,
            token: TaskToken::default(),
        };
        let task = LocalTask {
            info,
            args: request.args,
            headers: options.header.clone(),
            schedule_to_start: options.schedule_to_start,
            retry_threshold: options.local_retry_threshold.unwrap_or(RETRY_THRESHOLD),
        };
        let mut data = Data {
            seq: request.seq,
            activity_id: request.activity_id,
            activity_type: request.kind,
            original_schedule_time: Some(SecondsNanos::since_1970(request.scheduled_at)),
            ..Data::default()
        };
        let outcome = self.parts.local.run(task, stop).await;
        data.complete_time = Some(SecondsNanos::since_1970(SystemTime::now()));
        let (attempt, end) = match outcome {
            LocalOutcome::Completed { result, attempt } => (attempt, Ok(Some(Payloads { payloads: vec![result] }))),
            LocalOutcome::Failed { error, attempt, retry_state } => (attempt, Err(data.failure(error, retry_state))),
            LocalOutcome::Cancelled { error } => (request.attempt, Err(error.into_failure())),
            LocalOutcome::Backoff { error, attempt, pause } => {
                data.backoff = Some(SecondsNanos::of(pause));
                (attempt, Err(error.into_failure()))
            }
        };
        data.attempt = u32::try_from(attempt).unwrap_or(1);
        Marked { data, counted_alone: false, end }
    }

    pub(super) async fn evict(&self, run_id: &str) {
        let order = Order::Evict { run_id: run_id.to_owned() };
        if let Err(fault) = self.parts.lanes.call(run_id, order).await {
            tracing::debug!(run_id, %fault, "a run was not put out of memory");
        }
    }
}

pub(super) fn queue(name: &str, normal: &str, kind: TaskQueueKind) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: kind as i32, normal_name: normal.to_owned() }
}
