//! [`Ctx`]: what a workflow can do. Copies are the same run, each under a cancellation scope.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    ops::RangeInclusive,
    panic::Location,
    rc::Rc,
    task::Poll,
    time::{Duration, SystemTime},
};

use mainspring_api::{
    time,
    v1::{
        command::{
            ScheduleActivityTaskCommandAttributes, StartTimerCommandAttributes,
            UpsertWorkflowSearchAttributesCommandAttributes,
        },
        common::{ActivityType, Memo},
        enums::{TaskQueueKind, TimeoutType},
        sdk::UserMetadata,
        taskqueue::TaskQueue,
    },
};

use crate::{
    call::{ActivityOptions, IntoActivityCall, IntoWorkflowCall, SearchAttributes, header_to_wire},
    error::{ContinueAsNew, Error, Result, Timeout},
    payload::{FromPayload, Payload, RawArgs, ToPayload, to_wire},
    workflow::{
        activity::{self, Activity},
        branch::BranchHandle,
        fault::At,
        info::WorkflowInfo,
        local_activity::{Local, LocalRequest, Marked},
        op::{Op, read_nothing, read_payloads, unexpected},
        ops::{Machine, Outcome, Value, What},
        rng::WorkflowRng,
        run::Run,
        scope::{CancelRequested, CancelScope, Scope},
        signal::{HandlerRun, SignalStream},
        timer::{self, Timer},
        update,
    },
};

/// What a workflow can do.
///
/// It stays on its thread: neither it nor what it gives can be sent to another, so Tokio's tasks and threads are refused
/// by the compiler. Operations begin when they are asked for, not when they are awaited.
#[derive(Clone)]
pub struct Ctx {
    pub(crate) run: Rc<Run>,
    pub(crate) scope: Rc<Scope>,
}

impl Ctx {
    pub(crate) fn of(run: &Rc<Run>) -> Ctx {
        Ctx { run: run.clone(), scope: run.root.clone() }
    }

    // ---- activities ----------------------------------------------------------------------------------------------

    /// Schedules an activity.
    ///
    /// ```no_run
    /// # use mainspring_sdk::{Call, Result, workflow::Ctx};
    /// # use std::time::Duration;
    /// # async fn example(cx: Ctx) -> Result<f64> {
    /// cx.run(Call::named("Quote").arg("sku-7").returns::<f64>().start_to_close(Duration::from_secs(5))).await
    /// # }
    /// ```
    #[track_caller]
    pub fn run<C: IntoActivityCall<Output: FromPayload>>(&self, call: C) -> Op<C::Output> {
        let at = Location::caller();
        let (name, args, options) = call.into_activity_call().into_parts();
        let id = match args.into_payloads() {
            Err(error) => self.run.refused(error.into(), at),
            Ok(_) if options.start_to_close.is_none() && options.schedule_to_close.is_none() => {
                self.run.refused(without_timeout(&name), at)
            }
            Ok(args) => {
                let metadata = metadata(options.summary.as_deref(), None);
                let machine = Machine::Activity(self.activity(name, args, options));
                self.run.start(machine, metadata, &self.scope, at)
            }
        };
        Op::new(self.run.clone(), id, read_payloads)
    }

    fn activity(&self, name: String, args: Vec<Payload>, options: ActivityOptions) -> Activity {
        let number = self.run.ops.borrow_mut().next_activity();
        let numbered = options.id.is_none();
        let id = options.id.unwrap_or_else(|| number.to_string());
        let own_queue = options.queue.is_none() || options.queue.as_deref() == Some(self.run.info.task_queue.as_str());
        let command = self.run.sending.get().then(|| {
            Box::new(ScheduleActivityTaskCommandAttributes {
                activity_id: id.clone(),
                activity_type: Some(ActivityType { name: name.clone() }),
                task_queue: Some(TaskQueue {
                    name: options.queue.unwrap_or_else(|| self.run.info.task_queue.clone()),
                    kind: TaskQueueKind::Normal as i32,
                    normal_name: String::new(),
                }),
                header: header_to_wire(options.header),
                input: to_wire(args),
                schedule_to_close_timeout: options.schedule_to_close.map(time::duration),
                schedule_to_start_timeout: options.schedule_to_start.map(time::duration),
                start_to_close_timeout: options.start_to_close.map(time::duration),
                heartbeat_timeout: options.heartbeat.map(time::duration),
                retry_policy: options.retry.map(|policy| policy.to_proto()),
                request_eager_execution: own_queue && !options.not_eager,
                use_workflow_build_id: own_queue,
                priority: options.priority.map(|priority| priority.to_proto()),
            })
        });
        Activity { id, numbered, kind: name, cancel: options.cancel, state: activity::State::Asked, command }
    }

    /// Runs an activity in this worker, inside of the workflow task: for short ones, without a round to the server.
    #[track_caller]
    pub fn run_local<C: IntoActivityCall<Output: FromPayload>>(&self, call: C) -> LocalOp<C::Output> {
        let at = Location::caller();
        let (name, args, options) = call.into_activity_call().into_parts();
        let args = args.into_payloads();
        let run = self.run.clone();
        let seq = run.ops.borrow_mut().next_activity();
        let first = match args {
            Err(error) => Err(run.refused(error.into(), at)),
            Ok(_) if options.start_to_close.is_none() && options.schedule_to_close.is_none() => {
                Err(run.refused(without_timeout(&name), at))
            }
            Ok(args) => Ok(LocalRequest {
                seq,
                activity_id: options.id.clone().unwrap_or_else(|| seq.to_string()),
                kind: name,
                args,
                options,
                attempt: 1,
                scheduled_at: run.now.get(),
            }),
        };
        let (mut op, request) = match first {
            Err(refused) => (Op::new(run, refused, read_local), None),
            Ok(request) => (self.start_local(request.clone(), at), Some(request)),
        };
        let cx = self.clone();
        let future = async move {
            loop {
                let marked = match op.await? {
                    LocalEnd::Done(payloads) => return read_payloads(Ok(Value::Payloads(payloads))),
                    LocalEnd::Later(marked) => marked,
                };
                let Some(mut next) = request.clone() else { return Err(unexpected()) };
                cx.sleep_at(marked.backoff().unwrap_or_default(), at).await?;
                next.seq = cx.run.ops.borrow_mut().next_activity();
                next.attempt = i32::try_from(marked.data.attempt).unwrap_or(i32::MAX);
                if let Some(first) = marked.first_asked() {
                    next.scheduled_at = first;
                }
                op = cx.start_local(next, at);
            }
        };
        LocalOp { future: Box::pin(future) }
    }

    fn start_local(&self, request: LocalRequest, at: At) -> Op<LocalEnd> {
        let nth = self.run.ops.borrow_mut().next_local();
        let local = Local { seq: request.seq, nth, kind: request.kind.clone(), request: Some(Box::new(request)) };
        let id = self.run.start(Machine::Local(local), None, &self.scope, at);
        Op::new(self.run.clone(), id, read_local)
    }

    // ---- time ----------------------------------------------------------------------------------------------------

    /// Waits, for seconds or for years: the timer is the server's. An error says that it was cancelled.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Op<()> {
        self.sleep_at(duration, Location::caller())
    }

    /// The same, with a line that the user interface shows.
    #[track_caller]
    pub fn sleep_for(&self, duration: Duration, summary: &str) -> Op<()> {
        self.timer(duration, metadata(Some(summary), None), Location::caller())
    }

    pub(crate) fn sleep_at(&self, duration: Duration, at: At) -> Op<()> {
        self.timer(duration, None, at)
    }

    fn timer(&self, duration: Duration, metadata: Option<UserMetadata>, at: At) -> Op<()> {
        let id = self.run.ops.borrow_mut().next_timer().to_string();
        // The server takes no timer of no time.
        let duration = duration.max(Duration::from_millis(1));
        let command = self.run.sending.get().then(|| StartTimerCommandAttributes {
            timer_id: id.clone(),
            start_to_fire_timeout: Some(time::duration(duration)),
        });
        let machine = Machine::Timer(Timer { id, state: timer::State::Asked, command });
        let id = self.run.start(machine, metadata, &self.scope, at);
        Op::new(self.run.clone(), id, read_nothing)
    }

    /// Gives what `future` gives, unless it takes longer than `limit`. The timer begins at once.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the time is over, [`Error::Cancelled`] when the scope was cancelled.
    #[track_caller]
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> impl Future<Output = Result<F::Output>> {
        let timer = self.sleep_at(limit, Location::caller());
        async move {
            let mut future = std::pin::pin!(future);
            let mut timer = timer;
            poll_fn(move |cx| {
                if let Poll::Ready(value) = future.as_mut().poll(cx) {
                    return Poll::Ready(Ok(value));
                }
                match std::pin::Pin::new(&mut timer).poll(cx) {
                    Poll::Ready(Ok(())) => Poll::Ready(Err(timed_out(limit))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        }
    }

    /// The time, as the history has it: the same on every replay. It stands still between two awaits.
    pub fn now(&self) -> SystemTime {
        self.run.now.get()
    }

    /// Waits until `condition` is true. It is looked at after every round of the workflow's branches; for one value,
    /// [`Var::wait`](crate::workflow::Var::wait) looks only when it changed.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the scope is cancelled.
    pub fn wait<'a>(&'a self, condition: impl Fn() -> bool + 'a) -> impl Future<Output = Result<()>> + 'a {
        let mut cancelled = self.cancelled();
        poll_fn(move |cx| {
            if condition() {
                self.run.condition_met();
                return Poll::Ready(Ok(()));
            }
            if std::pin::Pin::new(&mut cancelled).poll(cx).is_ready() {
                return Poll::Ready(Err(Error::cancelled()));
            }
            self.run.wait_for_condition(cx.waker());
            Poll::Pending
        })
    }

    // ---- branches and scopes -------------------------------------------------------------------------------------

    /// Runs a branch beside this one. Branches take turns in the order in which they were spawned; a handle that is
    /// dropped lets its branch go on.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> BranchHandle<T> {
        BranchHandle::spawn(&self.run, future)
    }

    /// A scope inside of this one, to be cancelled on its own.
    pub fn scope(&self) -> CancelScope {
        CancelScope::new(Ctx { run: self.run.clone(), scope: self.scope.child() })
    }

    /// A context that is not cancelled with this one, for cleaning up.
    pub fn shielded(&self) -> Ctx {
        Ctx { run: self.run.clone(), scope: Rc::new(Scope::default()) }
    }

    /// Waits until the scope is cancelled, by the server or by the workflow itself, and says why.
    pub fn cancelled(&self) -> CancelRequested {
        CancelRequested { scope: self.scope.clone() }
    }

    /// True once the scope is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.scope.why().is_some()
    }

    // ---- messages ------------------------------------------------------------------------------------------------

    /// The signals of a name, as a stream; those that came before are in it.
    pub fn signals<T: FromPayload>(&self, name: &str) -> SignalStream<T> {
        SignalStream::new(self.run.clone(), name.to_owned())
    }

    /// Handles the signals of a name. Those that came before are handled now.
    pub fn on_signal<F>(&self, name: &str, handler: F)
    where
        F: Fn(Ctx, RawArgs) -> Result<Option<HandlerRun<()>>> + 'static,
    {
        self.run.on_signal(self, Some(name), Rc::new(move |cx, _, args| handler(cx, args)));
    }

    /// Handles the signals that no other handler and no stream is for; it gets their names.
    pub fn on_any_signal<F>(&self, handler: F)
    where
        F: Fn(Ctx, &str, RawArgs) -> Result<Option<HandlerRun<()>>> + 'static,
    {
        self.run.on_signal(self, None, Rc::new(handler));
    }

    /// Answers the queries of a name. The handler may only look.
    pub fn on_query<F>(&self, name: &str, handler: F)
    where
        F: Fn(RawArgs) -> Result<Payload> + 'static,
    {
        self.run.queries.set(Some(name), Rc::new(move |_, args| handler(args)));
    }

    /// Answers the queries that no other handler is for; it gets their names.
    pub fn on_any_query<F>(&self, handler: F)
    where
        F: Fn(&str, RawArgs) -> Result<Payload> + 'static,
    {
        self.run.queries.set(None, Rc::new(handler));
    }

    /// Handles the updates of a name.
    pub fn on_update<F>(&self, name: &str, handler: F)
    where
        F: Fn(Ctx, RawArgs) -> Result<HandlerRun<Payload>> + 'static,
    {
        let begin = Rc::new(move |cx: Ctx, _: &str, args: RawArgs| handler(cx, args));
        self.run.updates.set(Some(name), update::Handler { validate: None, begin });
    }

    /// Handles the updates of a name that `validate` lets pass. It may only look.
    pub fn on_validated_update<V, F>(&self, name: &str, validate: V, handler: F)
    where
        V: Fn(&RawArgs) -> Result<()> + 'static,
        F: Fn(Ctx, RawArgs) -> Result<HandlerRun<Payload>> + 'static,
    {
        let begin = Rc::new(move |cx: Ctx, _: &str, args: RawArgs| handler(cx, args));
        let validate = Rc::new(move |_: &str, args: &RawArgs| validate(args));
        self.run.updates.set(Some(name), update::Handler { validate: Some(validate), begin });
    }

    /// Handles the updates that no other handler is for; it gets their names.
    pub fn on_any_update<F>(&self, handler: F)
    where
        F: Fn(Ctx, &str, RawArgs) -> Result<HandlerRun<Payload>> + 'static,
    {
        self.run.updates.set(None, update::Handler { validate: None, begin: Rc::new(handler) });
    }

    /// Waits until no handler of a signal or an update is running: before the workflow returns, for example.
    pub fn handlers_finished(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|cx| {
            if self.run.updates.running() == 0 {
                return Poll::Ready(());
            }
            self.run.updates.wait_idle(cx.waker());
            Poll::Pending
        })
    }

    // ---- versions, values made once ------------------------------------------------------------------------------

    /// True for runs that have the change `id`: new ones, and old ones that came here after it was made.
    #[track_caller]
    pub fn patched(&self, id: &str) -> bool {
        self.run.patched(id, false, Location::caller())
    }

    /// Says that no run without the change `id` is left; the next version of the code can leave this out.
    #[track_caller]
    pub fn deprecate_patch(&self, id: &str) {
        self.run.patched(id, true, Location::caller());
    }

    /// Which version of the change `id` this run has: the newest for new runs, for others what they began with. Runs
    /// from before the change have the oldest.
    #[track_caller]
    pub fn version(&self, id: &str, known: RangeInclusive<i32>) -> i32 {
        self.run.version(id, known, Location::caller())
    }

    /// A value that is made once and remembered: replays give the same. For what is quick and cannot fail; everything
    /// else is an activity.
    ///
    /// # Errors
    /// When the value has no payload.
    #[track_caller]
    pub fn side_effect<T: ToPayload + FromPayload>(&self, make: impl FnOnce() -> T) -> Result<T> {
        self.run.side_effect(make, Location::caller())
    }

    /// A value that is made each time and remembered when it changed: for configuration, say.
    ///
    /// # Errors
    /// When the value has no payload.
    #[track_caller]
    pub fn mutable_side_effect<T: ToPayload + FromPayload>(&self, id: &str, make: impl FnOnce() -> T) -> Result<T> {
        self.run.mutable_side_effect(id, make, Location::caller())
    }

    /// Random numbers, the same on every replay.
    pub fn rng(&self) -> WorkflowRng {
        WorkflowRng::new(self.run.clone())
    }

    /// A random UUID, the same on every replay.
    pub fn uuid(&self) -> uuid::Uuid {
        self.rng().uuid()
    }

    // ---- about the run -------------------------------------------------------------------------------------------

    /// What the run knows about itself.
    pub fn info(&self) -> &WorkflowInfo {
        &self.run.info
    }

    /// True while the history is replayed: for logs and metrics only.
    pub fn is_replaying(&self) -> bool {
        self.run.replaying.get()
    }

    /// How many events the history has.
    pub fn history_length(&self) -> i64 {
        self.run.progress.get().events
    }

    /// How many bytes the history has.
    pub fn history_bytes(&self) -> i64 {
        self.run.progress.get().bytes
    }

    /// True when the history is so long that the workflow should go on as a new run.
    pub fn should_continue_as_new(&self) -> bool {
        self.run.progress.get().suggest_continue_as_new
    }

    /// Ends this run and goes on as a new one: `return Err(cx.continue_as_new(poll(state)))`. What the call does not
    /// set is taken from this run.
    pub fn continue_as_new<C: IntoWorkflowCall>(&self, call: C) -> Error {
        Error::ContinueAsNew(Box::new(ContinueAsNew { call: call.into_workflow_call().returns() }))
    }

    /// The search attributes.
    pub fn search_attributes(&self) -> SearchAttributes {
        self.run.search_attributes.borrow().clone()
    }

    /// Sets search attributes.
    #[track_caller]
    pub fn upsert_search_attributes(&self, attributes: SearchAttributes) {
        let command = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: attributes.to_proto() };
        if command.search_attributes.is_none() {
            return;
        }
        self.run.merge_search_attributes(attributes);
        self.run.issue(What::Upsert { command: Box::new(command), of_change: false }, Location::caller());
    }

    /// A value of the memo.
    ///
    /// # Errors
    /// When it holds something else.
    pub fn memo<T: FromPayload>(&self, key: &str) -> Result<Option<T>> {
        match self.run.memo.borrow().get(key) {
            Some(payload) => Ok(Some(T::from_payload(payload)?)),
            None => Ok(None),
        }
    }

    /// Sets a value of the memo.
    ///
    /// # Errors
    /// When the value has no payload.
    #[track_caller]
    pub fn set_memo(&self, key: &str, value: impl ToPayload) -> Result<()> {
        let payload = value.to_payload()?;
        self.run.memo.borrow_mut().insert(key.to_owned(), payload.clone());
        let fields = BTreeMap::from([(key.to_owned(), payload)]);
        self.run.issue(What::Memo(Box::new(Memo { fields })), Location::caller());
        Ok(())
    }

    /// Sets the text that the user interface shows for the run.
    pub fn set_details(&self, text: impl Into<String>) {
        self.run.details.replace(text.into());
    }
}

/// A local activity that was begun. Like [`Op`], it is cancelled when it is dropped.
#[must_use = "dropping it cancels the activity"]
pub struct LocalOp<O> {
    future: HandlerRun<O>,
}

impl<O> Future for LocalOp<O> {
    type Output = Result<O>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Result<O>> {
        self.future.as_mut().poll(cx)
    }
}

enum LocalEnd {
    Done(Option<mainspring_api::v1::common::Payloads>),
    Later(Box<Marked>),
}

fn read_local(outcome: Outcome) -> Result<LocalEnd> {
    match outcome? {
        Value::Payloads(payloads) => Ok(LocalEnd::Done(payloads)),
        Value::Later(marked) => Ok(LocalEnd::Later(marked)),
        Value::RunId(_) | Value::Nothing => Err(unexpected()),
    }
}

pub(crate) fn metadata(summary: Option<&str>, details: Option<&str>) -> Option<UserMetadata> {
    if summary.is_none() && details.is_none() {
        return None;
    }
    let payload = |text: Option<&str>| text.and_then(|text| text.to_payload().ok());
    Some(UserMetadata { summary: payload(summary), details: payload(details) })
}

fn without_timeout(name: &str) -> Error {
    Error::application(
        "InvalidArgument",
        format!("activity {name:?} needs a timeout: set `start_to_close` or `schedule_to_close`"),
    )
    .non_retryable()
}

fn timed_out(limit: Duration) -> Error {
    Error::Timeout(Box::new(Timeout {
        message: format!("timed out after {limit:?}"),
        kind: TimeoutType::StartToClose,
        last_heartbeat: RawArgs::default(),
        cause: None,
        origin: crate::error::Origin::here(),
    }))
}
