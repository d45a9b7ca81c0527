//! The part of a worker that runs activities: polls for them, keeps slots, sends heartbeats, and drains at the end.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mainspring_api::{
    time,
    v1::{
        enums::TaskQueueKind,
        taskqueue::{TaskQueue, TaskQueueMetadata},
        workflowservice::{
            PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatRequest,
        },
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tonic::Code;
use tracing::Instrument;

use crate::{
    activity::{Activity, ActivityInfo, CancelReason, CancelSwitch, Origins, TaskToken, heartbeat},
    call::Priority,
    codec::CodecCx,
    error::{Error, Result},
    payload::{Payload, PayloadError, RawArgs, from_wire, to_wire},
    retry::RetryPolicy,
    worker::{
        Registry, Settings, Shared,
        attempt::{self, Ending},
        poll::{Backoff, poll},
        pollers::{Brought, Scaler},
        registry::ActivitySet,
        report,
        size::PayloadsTooLarge,
    },
};

/// How long an activity that was told to stop at the end of the drain has for it.
const LEAVE: Duration = Duration::from_secs(5);

/// Runs activities. Copies share slots.
#[derive(Clone, Debug)]
pub(crate) struct ActivityWorker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    set: ActivitySet,
    slots: Arc<Semaphore>,
    slots_total: u32,
    scaler: Scaler,
    queue_rate: Option<f64>,
    rate: Option<Rate>,
    running: Mutex<HashMap<u64, CancelSwitch>>,
    next_key: AtomicU64,
    leave: watch::Sender<bool>,
}

/// Room for one activity. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl ActivityWorker {
    pub(crate) fn new(shared: Arc<Shared>, registry: &Registry, settings: &Settings) -> ActivityWorker {
        let slots_total = u32::try_from(settings.slots.activities).unwrap_or(u32::MAX);
        let inner = Inner {
            shared,
            set: registry.activities(),
            slots: Arc::new(Semaphore::new(settings.slots.activities.min(Semaphore::MAX_PERMITS))),
            slots_total,
            scaler: Scaler::new(settings.pollers.at_most_slots(settings.slots.activities)),
            queue_rate: settings.queue_activities_per_second,
            rate: settings.activities_per_second.map(Rate::new),
            running: Mutex::default(),
            next_key: AtomicU64::new(0),
            leave: watch::Sender::new(false),
        };
        ActivityWorker { inner: Arc::new(inner) }
    }

    /// The activities there are.
    pub(crate) fn set(&self) -> &ActivitySet {
        &self.inner.set
    }

    /// Polls until the worker is to stop: as many polls at a time as are wanted, each with a slot of its own.
    pub(crate) async fn run(&self) {
        let mut stopping = self.inner.shared.stopping.clone();
        if self.inner.set.is_empty() {
            return;
        }
        let request = Arc::new(self.inner.poll_request());
        let backoff = Arc::new(Mutex::new(Backoff::default()));
        let mut polls = JoinSet::new();
        while !*stopping.borrow() {
            while polls.len() < self.inner.scaler.wanted() {
                polls.spawn(self.clone().poll_once(request.clone(), backoff.clone()));
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

    /// Room for a task that comes with the answer to a completed workflow task; nothing when there is none, or the
    /// worker's rate of activities is limited.
    pub(crate) fn reserve(&self) -> Option<Slot> {
        if self.inner.rate.is_some() {
            return None;
        }
        let permit = self.inner.slots.clone().try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    /// Runs a task in the background.
    pub(crate) fn dispatch(&self, task: PollActivityTaskQueueResponse, slot: Slot) {
        let worker = self.clone();
        tokio::spawn(async move {
            worker.inner.attempt(task).await;
            drop(slot);
        });
    }

    async fn poll_once(self, request: Arc<PollActivityTaskQueueRequest>, backoff: Arc<Mutex<Backoff>>) {
        let mut stopping = self.inner.shared.stopping.clone();
        let slot = tokio::select! {
            biased;
            () = super::stopped(&mut stopping) => return,
            slot = self.inner.free_slot() => slot,
        };
        let Some(slot) = slot else { return };
        let scaler = &self.inner.scaler;
        let Some(task) = poll(&self.inner.shared, request.as_ref(), &backoff, scaler).await else { return };
        let is_task = !task.task_token.is_empty();
        scaler.learn(Brought::of(task.poller_scaling_decision, is_task));
        if is_task {
            self.dispatch(task, slot);
        }
    }

    /// Waits for the activities that run, tells them to stop after `limit`, and leaves those behind that do not.
    pub(crate) async fn drain(&self, limit: Duration) {
        if self.emptied(limit).await {
            return;
        }
        for switch in self.inner.running().values() {
            switch.cancel(CancelReason::WorkerShutdown);
        }
        if self.emptied(LEAVE).await {
            return;
        }
        self.inner.leave.send_replace(true);
        if !self.emptied(LEAVE).await {
            tracing::warn!("activities were left behind without a word to the server");
        }
    }

    /// True when all slots became free within `limit`.
    async fn emptied(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.inner.slots.acquire_many(self.inner.slots_total)).await.is_ok()
    }
}

impl Inner {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u64, CancelSwitch>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn free_slot(&self) -> Option<Slot> {
        let permit = self.slots.clone().acquire_owned().await.ok()?;
        if let Some(rate) = &self.rate {
            rate.turn().await;
        }
        Some(Slot { _permit: permit })
    }

    fn poll_request(&self) -> PollActivityTaskQueueRequest {
        let shared = &self.shared;
        PollActivityTaskQueueRequest {
            namespace: shared.client.namespace().to_owned(),
            task_queue: Some(TaskQueue {
                name: shared.queue.clone(),
                kind: TaskQueueKind::Normal as i32,
                normal_name: String::new(),
            }),
            identity: shared.identity.clone(),
            worker_instance_key: shared.instance_key.clone(),
            deployment_options: shared.deployment_options(),
            task_queue_metadata: self.queue_rate.map(|rate| TaskQueueMetadata { max_tasks_per_second: Some(rate) }),
            ..PollActivityTaskQueueRequest::default()
        }
    }

    /// Runs a task and tells the server how it went.
    async fn attempt(&self, task: PollActivityTaskQueueResponse) {
        let token = TaskToken(task.task_token.clone());
        let workflow_id = task.workflow_execution.as_ref().map(|run| run.workflow_id.clone()).unwrap_or_default();
        let span = tracing::info_span!(
            "activity",
            activity_type = %task.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default(),
            activity_id = %task.activity_id,
            attempt = task.attempt,
            %workflow_id,
            run_id = %task.workflow_execution.as_ref().map(|run| run.run_id.as_str()).unwrap_or_default(),
        );
        async {
            let pulse = Arc::new(heartbeat::Pulse::default());
            let ending = match self.run(task, &pulse).await {
                Ok(ending) => ending,
                Err(error) => Ending::Failed(error),
            };
            report::ending(&self.shared, &token, &workflow_id, ending, pulse.unsent()).await;
        }
        .instrument(span)
        .await;
    }

    /// An error is one that comes before the activity's own code.
    async fn run(&self, task: PollActivityTaskQueueResponse, pulse: &Arc<heartbeat::Pulse>) -> Result<Ending> {
        let name = task.activity_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
        let Some(definition) = self.set.find(&name) else {
            let known = self.set.names();
            let message = format!("activity {name:?} is not registered on this worker, which has: {known}");
            return Err(Error::application("NotFoundError", message));
        };
        let (info, mut args, mut last_heartbeat, mut headers) = self.unpack(task);
        let codec_cx = CodecCx::new(&info.namespace, &info.workflow_id);
        let converter = self.shared.client.converter();
        converter.decode(&codec_cx, &mut args).await?;
        converter.decode(&codec_cx, &mut last_heartbeat).await?;
        converter.decode_headers(&codec_cx, &mut headers).await?;

        let origins = Origins {
            info: info.clone(),
            headers,
            last_heartbeat: RawArgs(last_heartbeat),
            pulse: pulse.clone(),
            client: Some(self.shared.client.clone()),
        };
        let (cx, switch) = Activity::new(origins);
        let _running = Running::new(self, switch.clone());
        let mut leave = self.leave.subscribe();
        let leave = async move {
            let _ = leave.wait_for(|leave| *leave).await;
        };
        let run = attempt::run(definition, cx, &switch, RawArgs(args), leave);
        let beats = self.send_heartbeats(&info, pulse, &switch);
        tokio::select! {
            ending = run => Ok(ending),
            error = beats => Err(error.into()),
        }
    }

    fn unpack(
        &self,
        task: PollActivityTaskQueueResponse,
    ) -> (ActivityInfo, Vec<Payload>, Vec<Payload>, crate::call::Headers) {
        let execution = task.workflow_execution.unwrap_or_default();
        let span = |span: Option<prost_types::Duration>| {
            Some(time::from_duration(span.as_ref())).filter(|span| !span.is_zero())
        };
        let namespace = if task.workflow_namespace.is_empty() {
            self.shared.client.namespace().to_owned()
        } else {
            task.workflow_namespace
        };
        let info = ActivityInfo {
            activity_type: task.activity_type.unwrap_or_default().name,
            activity_id: task.activity_id,
            namespace,
            queue: self.shared.queue.clone(),
            workflow_id: execution.workflow_id,
            run_id: execution.run_id,
            workflow_type: task.workflow_type.unwrap_or_default().name,
            attempt: task.attempt,
            scheduled_at: system_time(task.scheduled_time),
            attempt_scheduled_at: system_time(task.current_attempt_scheduled_time),
            started_at: system_time(task.started_time),
            schedule_to_close: span(task.schedule_to_close_timeout),
            start_to_close: span(task.start_to_close_timeout),
            heartbeat: span(task.heartbeat_timeout),
            retry: task.retry_policy.as_ref().map(RetryPolicy::from_proto),
            priority: task.priority.map(Priority::from_proto),
            is_local: false,
            token: TaskToken(task.task_token),
        };
        let headers = task.header.map(|header| header.fields).unwrap_or_default();
        (info, from_wire(task.input), from_wire(task.heartbeat_details), headers)
    }

    /// Sends what the activity tells, not too often, and hears by the replies whether it is to stop. Ends only with
    /// details that are too large, with which the server would fail the attempt too.
    async fn send_heartbeats(
        &self,
        info: &ActivityInfo,
        pulse: &heartbeat::Pulse,
        switch: &CancelSwitch,
    ) -> PayloadsTooLarge {
        let interval = heartbeat::interval(info.heartbeat);
        loop {
            let details = pulse.next().await;
            match self.encoded_details(info, details).await {
                Ok(details) => {
                    if let Err(error) = self.shared.sizes().check("a heartbeat", &details) {
                        return error;
                    }
                    self.beat(info, details, pulse, switch).await;
                }
                Err(error) => tracing::warn!(%error, "heartbeat failed"),
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn encoded_details(
        &self,
        info: &ActivityInfo,
        mut details: Vec<Payload>,
    ) -> Result<Vec<Payload>, PayloadError> {
        let codec_cx = CodecCx::new(&info.namespace, &info.workflow_id);
        self.shared.client.converter().encode(&codec_cx, &mut details).await?;
        Ok(details)
    }

    async fn beat(&self, info: &ActivityInfo, details: Vec<Payload>, pulse: &heartbeat::Pulse, switch: &CancelSwitch) {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: info.token.0.clone(),
            details: to_wire(details),
            identity: self.shared.identity.clone(),
            namespace: self.shared.client.namespace().to_owned(),
            ..RecordActivityTaskHeartbeatRequest::default()
        };
        let reason = match self.shared.client.rpc().call(&request).await {
            Ok(reply) => CancelReason::of_reply(reply.cancel_requested, reply.activity_reset, reply.activity_paused),
            Err(error) if error.code() == Code::NotFound => Some(CancelReason::Gone),
            Err(error) => {
                tracing::warn!(%error, "heartbeat failed");
                return;
            }
        };
        pulse.sent();
        if let Some(reason) = reason {
            switch.cancel(reason);
        }
    }
}

/// An activity's entry among those that run.
struct Running<'a> {
    inner: &'a Inner,
    key: u64,
}

impl<'a> Running<'a> {
    fn new(inner: &'a Inner, switch: CancelSwitch) -> Running<'a> {
        let key = inner.next_key.fetch_add(1, Ordering::Relaxed);
        inner.running().insert(key, switch);
        Running { inner, key }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.inner.running().remove(&self.key);
    }
}

/// Lets one pass each interval.
#[derive(Debug)]
struct Rate {
    interval: Duration,
    next: tokio::sync::Mutex<Instant>,
}

impl Rate {
    fn new(per_second: f64) -> Rate {
        let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
        Rate { interval, next: tokio::sync::Mutex::new(Instant::now()) }
    }

    async fn turn(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until((*next).into()).await;
        *next = Instant::now() + self.interval;
    }
}

/// A point in time from the wire.
pub(crate) fn system_time(at: Option<prost_types::Timestamp>) -> SystemTime {
    let nanos = time::from_timestamp(at.as_ref()).as_nanos();
    match u64::try_from(nanos) {
        Ok(after) => UNIX_EPOCH + Duration::from_nanos(after),
        Err(_) => UNIX_EPOCH - Duration::from_nanos(nanos.unsigned_abs()),
    }
}
