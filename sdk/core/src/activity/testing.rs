//! [`TestActivity`]: runs one activity without a server.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use crate::{
    activity::{Activity, ActivityDef, ActivityInfo, CancelReason, CancelSwitch, Origins, TaskToken, heartbeat::Pulse},
    call::{Headers, IntoActivityCall},
    client::Client,
    error::{Error, Result},
    payload::{Args, FromPayload, PayloadError, RawArgs, ToPayload},
    worker::{
        Register, Registry,
        attempt::{self, Ending},
    },
};

/// Runs one activity without a server, as a worker does: its arguments and its result go through payloads, a panic is
/// an error, its heartbeats are kept.
///
/// ```
/// use mainspring_sdk::{Activity, ActivityDef, Call, CancelReason, Error, TestActivity, payload::ToPayload};
///
/// # async fn example() -> mainspring_sdk::Result<()> {
/// let count = ActivityDef::future("count", |cx: Activity, args| async move {
///     let from: u64 = cx.last_heartbeat()?.unwrap_or(0);
///     let to: u64 = args.get(0)?;
///     for number in from..to {
///         cx.heartbeat(&number);
///     }
///     Ok(to.to_payload()?)
/// });
/// let test = TestActivity::new().register(count).last_heartbeat(&3)?;
/// assert_eq!(test.run(Call::named("count").arg(5).returns::<u64>()).await?, 5);
/// assert_eq!(test.heartbeats::<u64>()?, [3, 4]);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
pub struct TestActivity {
    registry: Registry,
    info: ActivityInfo,
    headers: Headers,
    last_heartbeat: RawArgs,
    client: Option<Client>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cancel: Option<CancelReason>,
    running: Option<CancelSwitch>,
    pulse: Option<Arc<Pulse>>,
}

impl Default for TestActivity {
    fn default() -> TestActivity {
        TestActivity::new()
    }
}

impl TestActivity {
    /// The first attempt of an activity of a workflow that is not there.
    pub fn new() -> TestActivity {
        let now = SystemTime::now();
        let info = ActivityInfo {
            activity_type: String::new(),
            activity_id: "test".to_owned(),
            namespace: "default".to_owned(),
            queue: "test".to_owned(),
            workflow_id: "test".to_owned(),
            run_id: "test-run".to_owned(),
            workflow_type: "test".to_owned(),
            attempt: 1,
            scheduled_at: now,
            attempt_scheduled_at: now,
            started_at: now,
            schedule_to_close: None,
            start_to_close: None,
            heartbeat: None,
            retry: None,
            priority: None,
            is_local: false,
            token: TaskToken("test".into()),
        };
        TestActivity {
            registry: Registry::default(),
            info,
            headers: Headers::new(),
            last_heartbeat: RawArgs::default(),
            client: None,
            state: Mutex::default(),
        }
    }

    /// Adds a definition. Calls of functions with `#[activity]` bring their own.
    #[must_use]
    pub fn register(mut self, definition: impl Register) -> Self {
        definition.add_to(&mut self.registry);
        self
    }

    /// Adds all activities of an `impl` block with `#[activities]`, on this value or what an `Arc` of it shares.
    #[must_use]
    pub fn activities(self, resource: impl Register) -> Self {
        self.register(resource)
    }

    /// Sets what the activity is told about itself.
    #[must_use]
    pub fn info(mut self, change: impl FnOnce(&mut ActivityInfo)) -> Self {
        change(&mut self.info);
        self
    }

    /// Sets which attempt it is.
    #[must_use]
    pub fn attempt(self, attempt: i32) -> Self {
        self.info(|info| info.attempt = attempt)
    }

    /// Sets what the attempt before told last.
    ///
    /// # Errors
    /// When the value has no payload.
    pub fn last_heartbeat(mut self, details: &(impl ToPayload + ?Sized)) -> Result<Self> {
        self.last_heartbeat = RawArgs(vec![details.to_payload()?]);
        Ok(self)
    }

    /// Sets the client that the activity has.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Tells the activity to stop: the one that runs, or the next one from its start.
    pub fn cancel(&self, reason: CancelReason) {
        let mut state = self.state();
        state.cancel = Some(reason);
        if let Some(running) = &state.running {
            running.cancel(reason);
        }
    }

    /// Runs the call, one attempt of it.
    ///
    /// # Errors
    /// What the activity gave, as its workflow would see the cause.
    pub async fn run<C>(&self, call: C) -> Result<C::Output>
    where
        C: IntoActivityCall,
        C::Output: FromPayload,
    {
        let call = call.into_activity_call();
        self.registry.check()?;
        let registered = self.registry.activities().find(call.name()).cloned();
        let Some(definition) = registered.or_else(|| call.definition()) else {
            let message = format!("activity {:?} is not registered; give it to TestActivity::register", call.name());
            return Err(Error::application("NotFoundError", message));
        };
        let (name, args, options) = call.into_parts();
        let mut headers = self.headers.clone();
        headers.extend(options.header);
        let info = ActivityInfo {
            activity_type: name,
            schedule_to_close: self.info.schedule_to_close.or(options.schedule_to_close),
            start_to_close: self.info.start_to_close.or(options.start_to_close),
            heartbeat: self.info.heartbeat.or(options.heartbeat),
            retry: self.info.retry.clone().or(options.retry),
            ..self.info.clone()
        };
        let payload = self.attempt_of(&definition, info, headers, args).await?;
        Ok(C::Output::from_payload(&payload)?)
    }

    /// All that the last activity told by heartbeats, also what a worker would have left out.
    ///
    /// # Errors
    /// When it told something else.
    pub fn heartbeats<T: FromPayload>(&self) -> Result<Vec<T>, PayloadError> {
        let told = self.state().pulse.as_ref().map(|pulse| pulse.recorded()).unwrap_or_default();
        told.into_iter().map(|details| RawArgs(details).get(0)).collect()
    }

    async fn attempt_of(
        &self,
        definition: &ActivityDef,
        info: ActivityInfo,
        headers: Headers,
        args: Args,
    ) -> Result<crate::payload::Payload> {
        let pulse = Arc::new(Pulse::recording());
        let origins = Origins {
            info,
            headers,
            last_heartbeat: self.last_heartbeat.clone(),
            pulse: pulse.clone(),
            client: self.client.clone(),
        };
        let (cx, switch) = Activity::new(origins);
        {
            let mut state = self.state();
            if let Some(reason) = state.cancel {
                switch.cancel(reason);
            }
            state.running = Some(switch.clone());
            state.pulse = Some(pulse);
        }
        let args = RawArgs(args.into_payloads()?);
        match attempt::run(definition, cx, &switch, args, std::future::pending()).await {
            Ending::Returned(payload) => Ok(payload),
            Ending::Failed(error) | Ending::Cancelled(_, error) => Err(error),
            Ending::Later => Err(Error::CompleteLater),
            Ending::Left => Err(Error::cancelled()),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TestActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestActivity")
            .field("registry", &self.registry)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::Call,
        durations::{millis, secs},
        payload::null,
    };

    fn run(definition: ActivityDef) -> TestActivity {
        TestActivity::new().register(definition)
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let test = run(ActivityDef::future("boom", |_, _| async { panic!("no {}", "way") }))
            .register(ActivityDef::blocking("bang", |_, _| panic!("loud")));
        for (name, message) in [("boom", "no way"), ("bang", "loud")] {
            let error = test.run(Call::named(name)).await.unwrap_err();
            let failure = error.as_application().unwrap();
            assert_eq!(failure.kind, "Panic");
            assert!(failure.message.ends_with(message), "{}", failure.message);
        }
    }

    #[tokio::test]
    async fn an_activity_hears_that_it_is_to_stop() {
        let test = run(ActivityDef::future("wait", |cx: Activity, _| async move {
            match cx.cancelled().await {
                CancelReason::Requested => Err(Error::cancelled()),
                other => Err(Error::msg(format!("{other:?}"))),
            }
        }));
        test.cancel(CancelReason::Requested);
        assert!(test.run(Call::named("wait")).await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn stopping_unasked_is_a_failure() {
        let test = run(ActivityDef::future("give up", |_, _| async { Err(Error::cancelled()) }));
        let error = test.run(Call::named("give up")).await.unwrap_err();
        assert!(!error.is_cancelled());
        assert_eq!(error.as_application().unwrap().kind, "Cancelled");
    }

    #[tokio::test]
    async fn one_that_is_aborted_is_dropped() {
        let test = run(ActivityDef::future("wait", |_, _| std::future::pending()).abort_on_cancel());
        let test = test.info(|info| info.start_to_close = Some(millis(5)));
        assert!(test.run(Call::named("wait")).await.unwrap_err().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_attempt_ends() {
        let test = run(ActivityDef::future("wait", |cx: Activity, _| async move {
            assert_eq!(cx.cancelled().await, CancelReason::TimedOut);
            Ok(null())
        }));
        test.run(Call::named("wait").start_to_close(secs(30))).await.unwrap();
    }

    #[tokio::test]
    async fn the_result_may_come_later() {
        let test = run(ActivityDef::future("later", |cx: Activity, _| async move { Err(cx.complete_later()) }));
        assert!(matches!(test.run(Call::named("later")).await, Err(Error::CompleteLater)));
    }

    #[tokio::test]
    async fn what_is_not_registered_is_named() {
        let error = TestActivity::new().run(Call::named("nobody")).await.unwrap_err();
        assert!(error.to_string().contains("\"nobody\" is not registered"), "{error}");
    }
}
