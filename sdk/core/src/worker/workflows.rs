//! The part of a worker that runs workflows: polls for their tasks, gives them to lanes, and says how they went.
//!
//! Everything that waits is here, on the runtime: the server, codecs, local activities. Lanes only run code.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use mainspring_api::{
    time,
    v1::{
        command::{Command, command::Attributes},
        common::{Payloads, WorkflowExecution},
        enums::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause},
        failure::Failure,
        history::HistoryEvent,
        protocol::Message,
        query::{WorkflowQuery, WorkflowQueryResult},
        sdk::WorkflowTaskCompletedMetadata,
        taskqueue::{StickyExecutionAttributes, TaskQueue},
        workflowservice::{
            GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
            RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
            RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest,
            respond_workflow_task_completed_request::Capabilities,
        },
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tonic::Code;

use crate::{
    activity::{ActivityInfo, TaskToken},
    client::{Class, RpcError},
    codec::CodecCx,
    error::{Error, Result},
    payload::{Payload, PayloadError, RawArgs, from_wire},
    worker::{
        Shared, VerifyReplay,
        activities::{ActivityWorker, Slot},
        lane::{Answer, Done, Lanes, Order, TaskOrder},
        local::{LocalOutcome, LocalTask, LocalWorker, RETRY_THRESHOLD},
        payloads,
        poll::{Backoff, poll},
    },
    workflow::{
        Fault,
        instance::{Feed, Locals},
        local_activity::{Data, LocalRequest, Marked, instant, span},
    },
};

/// How long a task waits for this process before another one may have it, as in the other SDKs.
const STICKY_TIME: Duration = Duration::from_secs(10);
/// So many activities may come back at once with the completion of a workflow task.
const EAGER_MAX: usize = 3;
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
    pub(crate) lanes: Lanes,
    pub(crate) activities: ActivityWorker,
    pub(crate) local: LocalWorker,
    pub(crate) slots: usize,
    pub(crate) pollers: usize,
    /// The queue of this process, where runs are kept in memory.
    pub(crate) sticky: Option<String>,
    pub(crate) verify: VerifyReplay,
}

struct Inner {
    parts: Parts,
    slots: Arc<Semaphore>,
}

impl WorkflowWorker {
    pub(crate) fn new(parts: Parts) -> WorkflowWorker {
        let slots = Arc::new(Semaphore::new(parts.slots.min(Semaphore::MAX_PERMITS)));
        WorkflowWorker { inner: Arc::new(Inner { parts, slots }) }
    }

    /// Polls until the worker is to stop.
    pub(crate) async fn run(&self) {
        let parts = &self.inner.parts;
        let mut pollers = JoinSet::new();
        let normal = queue(&parts.shared.queue, "", TaskQueueKind::Normal);
        let sticky = parts.sticky.as_ref().map(|name| queue(name, &parts.shared.queue, TaskQueueKind::Sticky));
        for _ in 0..parts.pollers {
            pollers.spawn(self.clone().poll_until_stopped(normal.clone()));
            if let Some(sticky) = &sticky {
                pollers.spawn(self.clone().poll_until_stopped(sticky.clone()));
            }
        }
        while let Some(ended) = pollers.join_next().await {
            if ended.is_err() {
                tracing::error!("a poller panicked");
            }
        }
    }

    /// Waits until no workflow task is in hand.
    pub(crate) async fn drain(&self, limit: Duration) {
        let all = u32::try_from(self.inner.parts.slots).unwrap_or(u32::MAX);
        if tokio::time::timeout(limit, self.inner.slots.acquire_many(all)).await.is_err() {
            tracing::warn!("workflow tasks were left behind");
        }
    }

    async fn poll_until_stopped(self, queue: TaskQueue) {
        let shared = &self.inner.parts.shared;
        let request = PollWorkflowTaskQueueRequest {
            namespace: shared.client.namespace().to_owned(),
            task_queue: Some(queue),
            identity: shared.identity.clone(),
            worker_instance_key: shared.instance_key.clone(),
            ..PollWorkflowTaskQueueRequest::default()
        };
        let mut backoff = Backoff::default();
        let mut stopping = shared.stopping.clone();
        loop {
            let slot = tokio::select! {
                biased;
                () = super::stopped(&mut stopping) => return,
                slot = self.inner.slots.clone().acquire_owned() => slot,
            };
            let Ok(slot) = slot else { return };
            let Some(task) = poll(shared, &request, &mut backoff).await else { return };
            if !task.task_token.is_empty() {
                tokio::spawn(self.clone().process(task, slot));
            }
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

/// The local activities of a run that are running.
#[derive(Default)]
struct Running {
    ends: JoinSet<Marked>,
    stops: HashMap<u32, watch::Sender<bool>>,
}

/// A workflow task that this worker has in hand.
struct InHand {
    token: Bytes,
    execution: WorkflowExecution,
    kind: String,
    attempt: i32,
    first: bool,
    is_query: bool,
    began: Instant,
}

/// Why a task comes to nothing.
enum Failed {
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
        let order = self.order(in_hand, task).await?;
        let (started, messages, queries) =
            (order.feed.events.last().map_or(0, |event| event.event_id), order.feed.messages.clone(), order.queries.clone());
        let (live, previous_started) = (order.feed.live, order.previous_started);
        let mut answer = self.parts.lanes.call(run_id, Order::Task(Box::new(order))).await?;
        if matches!(answer, Answer::NeedHistory) {
            let mut events = self.history(in_hand, Bytes::new()).await?;
            if live {
                events.retain(|event| event.event_id <= started || started == 0);
            }
            let order = TaskOrder {
                execution: in_hand.execution.clone(),
                kind: in_hand.kind.clone(),
                bytes: events.len() * 256,
                feed: Feed { events, live, messages, stand_in: None },
                previous_started,
                queries,
                verify: None,
            };
            answer = self.parts.lanes.call(run_id, Order::Task(Box::new(order))).await?;
        }
        loop {
            match answer {
                Answer::Done(done) => {
                    let heartbeat = !running.ends.is_empty() && live;
                    return if live { self.complete(in_hand, *done, heartbeat).await } else { self.answer(in_hand, *done).await };
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
                Answer::NeedHistory | Answer::Noted => return Err(Failed::Lost),
            }
        }
    }

    /// A task as a lane wants it: all pages, decoded.
    async fn order(&self, in_hand: &InHand, task: PollWorkflowTaskQueueResponse) -> Result<TaskOrder, Failed> {
        let chunks = task.history.unwrap_or_default();
        let bytes = chunks.chunks().iter().map(Bytes::len).sum();
        let mut events = chunks.decode_events().map_err(|error| Fault::History(error.to_string()))?;
        self.decode(in_hand, &mut events).await?;
        if !task.next_page_token.is_empty() {
            events.extend(self.history(in_hand, task.next_page_token).await?);
        }
        let mut messages = task.messages;
        let cx = CodecCx::new(self.parts.shared.client.namespace(), &in_hand.execution.workflow_id);
        payloads::decode_messages(self.parts.shared.client.converter(), &cx, &mut messages).await?;
        let mut queries = Vec::new();
        for (id, query) in task.queries.into_iter().chain(task.query.map(|query| (String::new(), query))) {
            queries.push(self.query(&cx, id, query).await?);
        }
        let live = !in_hand.is_query;
        let verify = if live && self.parts.verify.draws(&in_hand.token) && task.started_event_id <= VERIFY_EVENTS_MAX {
            Some(match events.first() {
                Some(first) if first.event_id == 1 => events.clone(),
                _ => self.whole(in_hand, &events).await?,
            })
        } else {
            None
        };
        Ok(TaskOrder {
            execution: in_hand.execution.clone(),
            kind: in_hand.kind.clone(),
            feed: Feed { events, live, messages, stand_in: None },
            bytes,
            previous_started: task.previous_started_event_id,
            queries,
            verify,
        })
    }

    /// The whole history up to the events of a task, some of which may be virtual yet.
    async fn whole(&self, in_hand: &InHand, tail: &[HistoryEvent]) -> Result<Vec<HistoryEvent>, Failed> {
        let from = tail.first().map_or(i64::MAX, |event| event.event_id);
        let mut events = self.history(in_hand, Bytes::new()).await?;
        events.retain(|event| event.event_id < from);
        events.extend(tail.iter().cloned());
        Ok(events)
    }

    async fn query(&self, cx: &CodecCx<'_>, id: String, query: WorkflowQuery) -> Result<(String, String, RawArgs), Failed> {
        let mut args = from_wire(query.query_args);
        self.parts.shared.client.converter().decode(cx, &mut args).await?;
        Ok((id, query.query_type, RawArgs(args)))
    }

    async fn decode(&self, in_hand: &InHand, events: &mut [HistoryEvent]) -> Result<(), Failed> {
        let cx = CodecCx::new(self.parts.shared.client.namespace(), &in_hand.execution.workflow_id);
        Ok(payloads::decode_events(self.parts.shared.client.converter(), &cx, events).await?)
    }

    /// The history from a page on; from the first with an empty token.
    async fn history(&self, in_hand: &InHand, page: Bytes) -> Result<Vec<HistoryEvent>, Failed> {
        let client = &self.parts.shared.client;
        let mut events = Vec::new();
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: client.namespace().to_owned(),
            execution: Some(in_hand.execution.clone()),
            next_page_token: page,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        loop {
            let page = match client.rpc().call(&request).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(workflow_id = %in_hand.execution.workflow_id, %error, "the history cannot be read");
                    return Err(Failed::Lost);
                }
            };
            let history = page.history.unwrap_or_default();
            events.extend(history.decode_events().map_err(|error| Fault::History(error.to_string()))?);
            if page.next_page_token.is_empty() {
                break;
            }
            request.next_page_token = page.next_page_token;
        }
        self.decode(in_hand, &mut events).await?;
        Ok(events)
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
            original_schedule_time: Some(instant(request.scheduled_at)),
            ..Data::default()
        };
        let outcome = self.parts.local.run(task, stop).await;
        data.complete_time = Some(instant(SystemTime::now()));
        let (attempt, end) = match outcome {
            LocalOutcome::Completed { result, attempt } => (attempt, Ok(Some(Payloads { payloads: vec![result] }))),
            LocalOutcome::Failed { error, attempt, retry_state: _ } => (attempt, Err(error.into_failure())),
            LocalOutcome::Cancelled { error } => (request.attempt, Err(error.into_failure())),
            LocalOutcome::Backoff { error, attempt, pause } => {
                data.backoff = Some(span(pause));
                (attempt, Err(error.into_failure()))
            }
        };
        data.attempt = u32::try_from(attempt).unwrap_or(1);
        Marked { data, end }
    }

    /// Says that a workflow task is done.
    async fn complete(
        &self,
        in_hand: &InHand,
        done: Done,
        heartbeat: bool,
    ) -> Result<Option<PollWorkflowTaskQueueResponse>, Failed> {
        let shared = &self.parts.shared;
        let cx = CodecCx::new(shared.client.namespace(), &in_hand.execution.workflow_id);
        let converter = shared.client.converter();
        let Done { turn, answers } = done;
        let (mut commands, mut messages): (Vec<Command>, Vec<Message>) = (turn.commands, turn.messages);
        payloads::encode_commands(converter, &cx, &mut commands).await?;
        payloads::encode_messages(converter, &cx, &mut messages).await?;
        let mut slots = self.reserve_eager(&mut commands);
        let mut query_results = std::collections::BTreeMap::new();
        for (id, answer) in answers {
            query_results.insert(id, self.query_result(&cx, answer).await);
        }
        let stopping = *shared.stopping.borrow();
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: in_hand.token.clone(),
            commands,
            messages,
            query_results,
            identity: shared.identity.clone(),
            namespace: shared.client.namespace().to_owned(),
            sticky_attributes: self.parts.sticky.as_ref().filter(|_| !stopping).map(|name| StickyExecutionAttributes {
                worker_task_queue: Some(queue(name, &shared.queue, TaskQueueKind::Sticky)),
                schedule_to_start_timeout: Some(time::duration(STICKY_TIME)),
            }),
            return_new_workflow_task: !stopping || heartbeat,
            force_create_new_workflow_task: heartbeat,
            sdk_metadata: in_hand.first.then(|| WorkflowTaskCompletedMetadata {
                sdk_name: "mainspring-rust".to_owned(),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..WorkflowTaskCompletedMetadata::default()
            }),
            capabilities: Some(Capabilities { discard_speculative_workflow_task_with_events: true }),
            worker_instance_key: shared.instance_key.clone(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        let answer = match shared.client.rpc().call_as(Class::Report, &request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused(in_hand, &error).await),
        };
        let RespondWorkflowTaskCompletedResponse { workflow_task, activity_tasks, reset_history_event_id } = answer;
        for task in activity_tasks {
            match slots.pop() {
                Some(slot) => self.parts.activities.dispatch(task, slot),
                None => tracing::warn!("the server sent more activities than this worker asked for"),
            }
        }
        let run_id = &in_hand.execution.run_id;
        if reset_history_event_id > 0 {
            let order = Order::RollBack { run_id: run_id.clone(), to: reset_history_event_id };
            self.parts.lanes.call(run_id, order).await?;
        }
        if self.parts.sticky.is_none() && workflow_task.is_none() {
            self.evict(run_id).await;
        }
        Ok(workflow_task.filter(|task| !task.task_token.is_empty()))
    }

    /// Room for activities that may come back at once; the others go through their queue.
    fn reserve_eager(&self, commands: &mut [Command]) -> Vec<Slot> {
        let mut slots = Vec::new();
        for command in commands {
            let Some(Attributes::ScheduleActivityTaskCommandAttributes(command)) = &mut command.attributes else {
                continue;
            };
            if !command.request_eager_execution {
                continue;
            }
            let name = command.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
            let known = self.parts.activities.set().find(name).is_some();
            let slot = if known && slots.len() < EAGER_MAX { self.parts.activities.reserve() } else { None };
            command.request_eager_execution = slot.is_some();
            slots.extend(slot);
        }
        slots
    }

    /// The server did not take a completion.
    async fn refused(&self, in_hand: &InHand, error: &RpcError) -> Failed {
        let workflow_id = &in_hand.execution.workflow_id;
        match error.code() {
            Code::NotFound => {
                tracing::debug!(%workflow_id, %error, "the workflow task was lost");
                Failed::Lost
            }
            Code::InvalidArgument if error.message().contains("UnhandledCommand") => {
                tracing::debug!(%workflow_id, "something happened while the workflow was closing; it is told first");
                Failed::Lost
            }
            Code::InvalidArgument => {
                tracing::warn!(%workflow_id, %error, "the server refuses what the workflow asked for");
                Failed::Fault(Fault::Unusable(format!("the server refuses what the workflow asked for: {error}")))
            }
            Code::ResourceExhausted if error.message().contains("message larger than max") => {
                let cause = WorkflowTaskFailedCause::GrpcMessageTooLarge;
                let fault = Fault::Unusable(format!("what the workflow asked for is too large to be sent: {error}"));
                self.report(in_hand, cause, fault.to_failure()).await;
                Failed::Lost
            }
            _ => {
                tracing::warn!(%workflow_id, %error, "the server did not take the workflow task");
                Failed::Lost
            }
        }
    }

    /// Answers a query that came by itself.
    async fn answer(&self, in_hand: &InHand, done: Done) -> Result<Option<PollWorkflowTaskQueueResponse>, Failed> {
        let cx = CodecCx::new(self.parts.shared.client.namespace(), &in_hand.execution.workflow_id);
        let answer = done.answers.into_iter().next().map(|(_, answer)| answer);
        let answer = answer.unwrap_or_else(|| Err(Error::msg("the query was not asked")));
        let result = self.query_result(&cx, answer).await;
        self.answer_query(in_hand, result).await;
        Ok(None)
    }

    async fn query_result(&self, cx: &CodecCx<'_>, answer: Result<Payload>) -> WorkflowQueryResult {
        let converter = self.parts.shared.client.converter();
        let answer = match answer {
            Ok(payload) => {
                let mut payloads = vec![payload];
                converter.encode(cx, &mut payloads).await.map(|()| payloads).map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(payloads) => WorkflowQueryResult {
                result_type: QueryResultType::Answered as i32,
                answer: Some(Payloads { payloads }),
                ..WorkflowQueryResult::default()
            },
            Err(error) => {
                let error_message = error.to_string();
                let mut failure = error.into_failure();
                if let Err(error) = converter.encode_failure(cx, &mut failure).await {
                    failure = Failure { message: error.to_string(), ..Failure::default() };
                }
                WorkflowQueryResult {
                    result_type: QueryResultType::Failed as i32,
                    error_message,
                    failure: Some(failure),
                    ..WorkflowQueryResult::default()
                }
            }
        }
    }

    async fn answer_query(&self, in_hand: &InHand, result: WorkflowQueryResult) {
        let client = &self.parts.shared.client;
        let request = RespondQueryTaskCompletedRequest {
            task_token: in_hand.token.clone(),
            completed_type: result.result_type,
            query_result: result.answer,
            error_message: result.error_message,
            failure: result.failure,
            namespace: client.namespace().to_owned(),
            ..RespondQueryTaskCompletedRequest::default()
        };
        if let Err(error) = client.rpc().call_as(Class::Report, &request).await {
            tracing::debug!(workflow_id = %in_hand.execution.workflow_id, %error, "the answer to a query was not taken");
        }
    }

    /// Says that a task failed. From the second attempt on nothing is said: the task then times out, with growing time
    /// between attempts, instead of failing as fast as it can.
    async fn fail(&self, in_hand: &InHand, fault: &Fault) {
        let WorkflowExecution { workflow_id, run_id } = &in_hand.execution;
        tracing::warn!(%workflow_id, %run_id, workflow_type = in_hand.kind, attempt = in_hand.attempt, %fault, "workflow task failed");
        let mut failure = fault.to_failure();
        if in_hand.is_query {
            let result = WorkflowQueryResult {
                result_type: QueryResultType::Failed as i32,
                error_message: failure.message.clone(),
                failure: Some(failure),
                ..WorkflowQueryResult::default()
            };
            return self.answer_query(in_hand, result).await;
        }
        if in_hand.attempt > 1 {
            return;
        }
        let client = &self.parts.shared.client;
        let cx = CodecCx::new(client.namespace(), workflow_id);
        if let Err(error) = client.converter().encode_failure(&cx, &mut failure).await {
            tracing::warn!(%workflow_id, %error, "the failure cannot be encoded");
            failure = Failure { message: error.to_string(), ..Failure::default() };
        }
        self.report(in_hand, fault.cause(), failure).await;
    }

    async fn report(&self, in_hand: &InHand, cause: WorkflowTaskFailedCause, failure: Failure) {
        let shared = &self.parts.shared;
        let request = RespondWorkflowTaskFailedRequest {
            task_token: in_hand.token.clone(),
            cause: cause as i32,
            failure: Some(failure),
            identity: shared.identity.clone(),
            namespace: shared.client.namespace().to_owned(),
            ..RespondWorkflowTaskFailedRequest::default()
        };
        if let Err(error) = shared.client.rpc().call_as(Class::Report, &request).await {
            tracing::debug!(workflow_id = %in_hand.execution.workflow_id, %error, "the failure of a workflow task was not taken");
        }
    }

    async fn evict(&self, run_id: &str) {
        let order = Order::Evict { run_id: run_id.to_owned() };
        if let Err(fault) = self.parts.lanes.call(run_id, order).await {
            tracing::debug!(run_id, %fault, "a run was not put out of memory");
        }
    }
}

fn queue(name: &str, normal: &str, kind: TaskQueueKind) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: kind as i32, normal_name: normal.to_owned() }
}
