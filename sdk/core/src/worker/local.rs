//! Local activities: run by the worker that has their workflow, without the server. The workflow's part of the worker
//! asks for them and writes down how they went.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainspring_api::v1::enums::{RetryState, TimeoutType};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    activity::{Activity, ActivityInfo, CancelReason, Origins, TaskToken, heartbeat::Pulse},
    call::Headers,
    client::Client,
    error::{Error, Origin, Timeout},
    payload::{Payload, RawArgs},
    retry::RetryPolicy,
    worker::{
        attempt::{self, Ending},
        registry::ActivitySet,
    },
};

/// Pauses between attempts longer than this are left to the workflow, as a timer.
pub(crate) const RETRY_THRESHOLD: Duration = Duration::from_secs(60);

/// Runs local activities. Copies share slots.
#[derive(Clone, Debug)]
pub(crate) struct LocalWorker {
    client: Client,
    set: ActivitySet,
    slots: Arc<Semaphore>,
}

/// What a workflow asks for.
#[derive(Clone, Debug)]
pub(crate) struct LocalTask {
    /// Who it is; the attempt in it is the first one to be made, and `scheduled_at` the time of the first one of all.
    pub(crate) info: ActivityInfo,
    /// Decoded arguments.
    pub(crate) args: Vec<Payload>,
    pub(crate) headers: Headers,
    /// How long it may wait for a slot.
    pub(crate) schedule_to_start: Option<Duration>,
    /// Pauses longer than this are left to the workflow.
    pub(crate) retry_threshold: Duration,
}

/// How it went.
#[derive(Debug)]
pub(crate) enum LocalOutcome {
    /// With this result, which is not encoded yet.
    Completed { result: Payload, attempt: i32 },
    /// For good.
    Failed { error: Error, attempt: i32, retry_state: RetryState },
    /// It was told to stop.
    Cancelled { error: Error },
    /// The next attempt is to be made after a pause that the workflow waits for.
    Backoff { error: Error, attempt: i32, pause: Duration },
}

impl LocalWorker {
    pub(crate) fn new(client: Client, set: ActivitySet, slots: usize) -> LocalWorker {
        LocalWorker { client, set, slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))) }
    }

    /// Makes attempts until one succeeds, the policy ends them, or the pause is too long. `cancel` tells it to stop.
    pub(crate) async fn run(&self, task: LocalTask, mut cancel: watch::Receiver<bool>) -> LocalOutcome {
        let limit = Limit::of(&task);
        let waiting = async {
            match task.schedule_to_start {
                Some(longest) => tokio::time::timeout(longest, self.slots.acquire()).await.ok(),
                None => Some(self.slots.acquire().await),
            }
        };
        let _slot = tokio::select! {
            biased;
            () = asked(&mut cancel) => return LocalOutcome::Cancelled { error: Error::cancelled() },
            () = limit.over() => return timed_out(TimeoutType::ScheduleToClose, task.info.attempt, None),
            slot = waiting => match slot {
                Some(slot) => slot,
                None => return timed_out(TimeoutType::ScheduleToStart, task.info.attempt, None),
            },
        };
        self.attempts(task, limit, cancel).await
    }

    async fn attempts(&self, task: LocalTask, limit: Limit, mut cancel: watch::Receiver<bool>) -> LocalOutcome {
        let policy = task.info.retry.clone().unwrap_or_default();
        let mut attempt = task.info.attempt.max(1);
        loop {
            let error = match self.attempt(&task, attempt, &limit, &mut cancel).await {
                Ending::Returned(result) => return LocalOutcome::Completed { result, attempt },
                Ending::Cancelled(CancelReason::TimedOut, error) if limit.is_over() => {
                    return timed_out(TimeoutType::ScheduleToClose, attempt, error.cause().cloned());
                }
                Ending::Cancelled(CancelReason::TimedOut, _) => timeout_error(TimeoutType::StartToClose, None),
                Ending::Cancelled(_, error) => return LocalOutcome::Cancelled { error },
                Ending::Failed(error) => error,
                Ending::Later => {
                    let message = "a local activity cannot complete later: it runs inside of a workflow task";
                    Error::application("CompleteLater", message).non_retryable()
                }
                Ending::Left => return LocalOutcome::Cancelled { error: Error::cancelled() },
            };
            let pause = match next_pause(&policy, &error, attempt) {
                Ok(pause) => pause,
                Err(retry_state) => return LocalOutcome::Failed { error, attempt, retry_state },
            };
            if limit.ends_within(pause) {
                return LocalOutcome::Failed { error, attempt, retry_state: RetryState::Timeout };
            }
            if pause > task.retry_threshold {
                return LocalOutcome::Backoff { error, attempt: attempt.saturating_add(1), pause };
            }
            tokio::select! {
                () = asked(&mut cancel) => return LocalOutcome::Cancelled { error: Error::cancelled() },
                () = tokio::time::sleep(pause) => {}
            }
            attempt = attempt.saturating_add(1);
        }
    }

    async fn attempt(
        &self,
        task: &LocalTask,
        attempt: i32,
        limit: &Limit,
        cancel: &mut watch::Receiver<bool>,
    ) -> Ending {
        let name = &task.info.activity_type;
        let Some(definition) = self.set.find(name) else {
            let known = self.set.names();
            let message = format!("local activity {name:?} is not registered on this worker, which has: {known}");
            return Ending::Failed(Error::application("NotFoundError", message));
        };
        let info = ActivityInfo {
            attempt,
            started_at: SystemTime::now(),
            start_to_close: limit.for_attempt(task.info.start_to_close),
            is_local: true,
            token: TaskToken::default(),
            ..task.info.clone()
        };
        let origins = Origins {
            info,
            headers: task.headers.clone(),
            last_heartbeat: RawArgs::default(),
            pulse: Arc::new(Pulse::default()),
            client: Some(self.client.clone()),
        };
        let (cx, switch) = Activity::new(origins);
        let time = cx.info().start_to_close;
        let run = attempt::run(definition, cx, &switch, RawArgs(task.args.clone()), gone(time));
        tokio::pin!(run);
        loop {
            tokio::select! {
                biased;
                ending = &mut run => return match ending {
                    // Code that does not heed its limit is left; the workflow goes on without it.
                    Ending::Left => Ending::Cancelled(CancelReason::TimedOut, Error::cancelled()),
                    other => other,
                },
                () = asked(cancel), if switch.reason().is_none() => switch.cancel(CancelReason::Requested),
            }
        }
    }
}

/// Resolves a moment after the time of an attempt: until then its code may clean up.
async fn gone(time: Option<Duration>) {
    const CLEAN_UP: Duration = Duration::from_millis(100);
    match time.filter(|time| !time.is_zero()) {
        Some(time) => tokio::time::sleep(time + CLEAN_UP).await,
        None => std::future::pending().await,
    }
}

/// The time for all attempts together.
#[derive(Clone, Copy, Debug)]
struct Limit {
    ends: Option<Instant>,
}

impl Limit {
    fn of(task: &LocalTask) -> Limit {
        let left = task.info.schedule_to_close.map(|limit| {
            limit.saturating_sub(SystemTime::now().duration_since(task.info.scheduled_at).unwrap_or_default())
        });
        Limit { ends: left.and_then(|left| Instant::now().checked_add(left)) }
    }

    async fn over(&self) {
        match self.ends {
            Some(ends) => tokio::time::sleep_until(ends).await,
            None => std::future::pending().await,
        }
    }

    fn is_over(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    fn ends_within(&self, pause: Duration) -> bool {
        self.ends.is_some_and(|ends| ends.saturating_duration_since(Instant::now()) <= pause)
    }

    /// What is left for one attempt.
    fn for_attempt(&self, start_to_close: Option<Duration>) -> Option<Duration> {
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        // Zero means no limit on the wire.
        let left = left.map(|left| left.max(Duration::from_nanos(1)));
        match (left, start_to_close) {
            (Some(left), Some(limit)) => Some(left.min(limit)),
            (left, limit) => left.or(limit),
        }
    }
}

async fn asked(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|asked| *asked).await.is_err() {
        std::future::pending().await
    }
}

/// The pause before the next attempt, or why there is none.
fn next_pause(policy: &RetryPolicy, error: &Error, attempt: i32) -> Result<Duration, RetryState> {
    let failure = match error {
        Error::Application(failure) => Some(failure.as_ref()),
        _ => None,
    };
    if failure.is_some_and(|failure| failure.non_retryable || policy.non_retryable.contains(&failure.kind)) {
        return Err(RetryState::NonRetryableFailure);
    }
    let pause = policy.pause_after(attempt).ok_or(RetryState::MaximumAttemptsReached)?;
    Ok(failure.and_then(|failure| failure.next_retry_delay).unwrap_or(pause))
}

fn timed_out(kind: TimeoutType, attempt: i32, cause: Option<Error>) -> LocalOutcome {
    LocalOutcome::Failed { error: timeout_error(kind, cause), attempt, retry_state: RetryState::Timeout }
}

fn timeout_error(kind: TimeoutType, cause: Option<Error>) -> Error {
    let message = "activity timeout".to_owned();
    let last_heartbeat = RawArgs::default();
    Error::Timeout(Box::new(Timeout { message, kind, last_heartbeat, cause, origin: Origin::here() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        activity::ActivityDef,
        client::Connect,
        durations::{millis, secs},
        error::Application,
        payload::{ToPayload, null},
        worker::{Register, Registry},
    };

    async fn worker(definition: ActivityDef) -> LocalWorker {
        let mut registry = Registry::default();
        definition.add_to(&mut registry);
        let client = Client::connect(Connect::to("127.0.0.1:1").lazy()).await.unwrap();
        LocalWorker::new(client, registry.activities(), 1)
    }

    fn task(change: impl FnOnce(&mut LocalTask)) -> LocalTask {
        let now = SystemTime::now();
        let info = ActivityInfo {
            activity_type: "a".to_owned(),
            activity_id: "1".to_owned(),
            namespace: "default".to_owned(),
            queue: "q".to_owned(),
            workflow_id: "w".to_owned(),
            run_id: "r".to_owned(),
            workflow_type: "W".to_owned(),
            attempt: 1,
            scheduled_at: now,
            attempt_scheduled_at: now,
            started_at: now,
            schedule_to_close: None,
            start_to_close: Some(secs(30)),
            heartbeat: None,
            retry: None,
            priority: None,
            is_local: true,
            token: TaskToken::default(),
        };
        let mut task = LocalTask {
            info,
            args: vec![],
            headers: Headers::new(),
            schedule_to_start: None,
            retry_threshold: RETRY_THRESHOLD,
        };
        change(&mut task);
        task
    }

    /// Never told to stop: the sender lives on.
    fn never() -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        std::mem::forget(sender);
        receiver
    }

    fn fails_until(last: i32) -> ActivityDef {
        ActivityDef::future("a", move |cx: Activity, _| async move {
            if cx.info().attempt < last {
                Err(Error::application("Again", "no"))
            } else {
                Ok(cx.info().attempt.to_payload()?)
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_go_on_until_one_succeeds() {
        let begun = Instant::now();
        let outcome = worker(fails_until(4)).await.run(task(|_| {}), never()).await;
        assert!(matches!(outcome, LocalOutcome::Completed { attempt: 4, .. }), "{outcome:?}");
        assert_eq!(begun.elapsed().as_secs(), 1 + 2 + 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_is_left_to_the_workflow() {
        let outcome = worker(fails_until(100)).await.run(task(|_| {}), never()).await;
        let LocalOutcome::Backoff { attempt: 8, pause, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(pause, secs(64));
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_ends_attempts() {
        let limited = |task: &mut LocalTask| task.info.retry = Some(RetryPolicy::new().max_attempts(2));
        let outcome = worker(fails_until(100)).await.run(task(limited), never()).await;
        let LocalOutcome::Failed { attempt: 2, retry_state, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_state, RetryState::MaximumAttemptsReached);
        let named = |task: &mut LocalTask| task.info.retry = Some(RetryPolicy::new().non_retryable(["Again"]));
        let outcome = worker(fails_until(100)).await.run(task(named), never()).await;
        let LocalOutcome::Failed { attempt: 1, retry_state, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_state, RetryState::NonRetryableFailure);
    }

    #[tokio::test(start_paused = true)]
    async fn each_timeout_is_told_apart() {
        let hangs = || ActivityDef::future("a", |_, _| std::future::pending());
        let kind = |outcome: LocalOutcome| match outcome {
            LocalOutcome::Failed { error: Error::Timeout(timeout), .. } => timeout.kind,
            other => panic!("{other:?}"),
        };
        let short = |task: &mut LocalTask| {
            task.info.start_to_close = Some(millis(10));
            task.info.retry = Some(RetryPolicy::never());
        };
        assert_eq!(kind(worker(hangs()).await.run(task(short), never()).await), TimeoutType::StartToClose);
        let all = |task: &mut LocalTask| task.info.schedule_to_close = Some(millis(10));
        assert_eq!(kind(worker(hangs()).await.run(task(all), never()).await), TimeoutType::ScheduleToClose);
        let busy = worker(hangs()).await;
        let _slot = busy.slots.acquire().await;
        let waits = |task: &mut LocalTask| task.schedule_to_start = Some(millis(10));
        assert_eq!(kind(busy.run(task(waits), never()).await), TimeoutType::ScheduleToStart);
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_told_to_stop() {
        let heeds = ActivityDef::future("a", |cx: Activity, _| async move {
            assert_eq!(cx.cancelled().await, CancelReason::Requested);
            Err(Error::cancelled())
        });
        let (cancel, cancelled) = watch::channel(false);
        let worker = worker(heeds).await;
        let (outcome, _) = tokio::join!(worker.run(task(|_| {}), cancelled), async { cancel.send_replace(true) });
        assert!(matches!(outcome, LocalOutcome::Cancelled { .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_done_here_is_said() {
        let later = ActivityDef::future("a", |cx: Activity, _| async move { Err(cx.complete_later()) });
        let outcome = worker(later).await.run(task(|_| {}), never()).await;
        let LocalOutcome::Failed { error: Error::Application(failure), .. } = outcome else { panic!("{outcome:?}") };
        let Application { kind, non_retryable, .. } = *failure;
        assert!(kind == "CompleteLater" && non_retryable);
        let other = ActivityDef::future("b", |_, _| async { Ok(null()) });
        let once = |task: &mut LocalTask| task.info.retry = Some(RetryPolicy::never());
        let outcome = worker(other).await.run(task(once), never()).await;
        let LocalOutcome::Failed { error, .. } = outcome else { panic!("{outcome:?}") };
        assert!(error.to_string().contains("which has: b"), "{error}");
    }
}
