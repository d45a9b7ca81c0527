//! Calls of activities.

use std::{marker::PhantomData, time::Duration};

use crate::{
    activity::ActivityDef,
    call::{Call, Headers, Priority},
    payload::{Args, Payload, ToPayload},
    retry::RetryPolicy,
};

/// A call of an activity with a result of type `O`. It does nothing until the context of a workflow runs it.
#[derive(Clone, Debug)]
#[must_use = "this only describes a call; give it to the context of a workflow: `cx.run(..)`"]
pub struct ActivityCall<O> {
    name: String,
    args: Args,
    options: ActivityOptions,
    /// The definition, when it is in this program: tests run it by its call.
    definition: Option<fn() -> ActivityDef>,
    returns: PhantomData<fn() -> O>,
}

/// What is asked of the server for one activity. At least one of the first two timeouts is needed.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ActivityOptions {
    /// How long one attempt may take.
    pub start_to_close: Option<Duration>,
    /// How long all attempts may take together.
    pub schedule_to_close: Option<Duration>,
    /// How long it may wait for a worker.
    pub schedule_to_start: Option<Duration>,
    /// How long an attempt may be silent.
    pub heartbeat: Option<Duration>,
    /// When it is tried again.
    pub retry: Option<RetryPolicy>,
    /// The task queue; the workflow's own if there is none.
    pub queue: Option<String>,
    /// Its place among others on its queue.
    pub priority: Option<Priority>,
    /// A line that the user interface shows.
    pub summary: Option<String>,
    /// What happens when it is cancelled.
    pub cancel: CancelKind,
    /// Its id, unique in the run; made up if there is none.
    pub id: Option<String>,
    /// Values that travel beside the arguments.
    pub header: Headers,
    /// True for an activity that must go through its queue even when this worker has room for it.
    pub not_eager: bool,
    /// Local activities only: pauses between attempts longer than this become timers of the workflow. 60 s if not set.
    pub local_retry_threshold: Option<Duration>,
}

/// What a workflow does with an activity or a child that is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CancelKind {
    /// It is asked to stop and not waited for.
    #[default]
    TryCancel,
    /// It is asked to stop and waited for, however it ends.
    WaitCompleted,
    /// It is left alone.
    Abandon,
}

impl<O> ActivityCall<O> {
    /// A call of the activity with this name, without arguments.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            args: Args::new(),
            options: ActivityOptions::default(),
            definition: None,
            returns: PhantomData,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, value: impl ToPayload) -> Self {
        self.args.push(value);
        self
    }

    /// Sets the result's type.
    pub fn returns<P>(self) -> ActivityCall<P> {
        let ActivityCall { name, args, options, definition, returns: _ } = self;
        ActivityCall { name, args, options, definition, returns: PhantomData }
    }

    /// Sets how long one attempt may take.
    pub fn start_to_close(mut self, timeout: Duration) -> Self {
        self.options.start_to_close = Some(timeout);
        self
    }

    /// Sets how long all attempts may take together.
    pub fn schedule_to_close(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_close = Some(timeout);
        self
    }

    /// Sets how long it may wait for a worker.
    pub fn schedule_to_start(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_start = Some(timeout);
        self
    }

    /// Sets how long an attempt may be silent.
    pub fn heartbeat(mut self, timeout: Duration) -> Self {
        self.options.heartbeat = Some(timeout);
        self
    }

    /// Sets when it is tried again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Sets the task queue.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.options.queue = Some(name.into());
        self
    }

    /// Sets its place among others on its queue.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Sets a line that the user interface shows.
    pub fn summary(mut self, text: impl Into<String>) -> Self {
        self.options.summary = Some(text.into());
        self
    }

    /// Sets what happens when it is cancelled.
    pub fn cancel(mut self, kind: CancelKind) -> Self {
        self.options.cancel = kind;
        self
    }

    /// Sets its id, which must be unique in the run.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.options.id = Some(id.into());
        self
    }

    /// Adds a value that travels beside the arguments.
    pub fn header(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.options.header.insert(key.into(), value);
        self
    }

    /// Sends it through its queue even when this worker has room for it.
    pub fn not_eager(mut self) -> Self {
        self.options.not_eager = true;
        self
    }

    /// Local activities only: pauses between attempts longer than this become timers of the workflow.
    pub fn local_retry_threshold(mut self, longest: Duration) -> Self {
        self.options.local_retry_threshold = Some(longest);
        self
    }

    /// The activity's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked of the server.
    pub fn options(&self) -> &ActivityOptions {
        &self.options
    }

    /// Says where the definition is; the macros do.
    #[doc(hidden)]
    pub fn defined_by(mut self, definition: fn() -> ActivityDef) -> Self {
        self.definition = Some(definition);
        self
    }

    /// The definition, when it is in this program.
    pub(crate) fn definition(&self) -> Option<ActivityDef> {
        self.definition.map(|definition| definition())
    }

    /// The type, the arguments and the options.
    pub fn into_parts(self) -> (String, Args, ActivityOptions) {
        (self.name, self.args, self.options)
    }
}

/// What can be run as an activity: an [`ActivityCall`], or a [`Call`] by name.
pub trait IntoActivityCall {
    /// The result's type.
    type Output;
    /// The call.
    fn into_activity_call(self) -> ActivityCall<Self::Output>;
}

impl<O> IntoActivityCall for ActivityCall<O> {
    type Output = O;

    fn into_activity_call(self) -> ActivityCall<O> {
        self
    }
}

impl<O> IntoActivityCall for Call<O> {
    type Output = O;

    fn into_activity_call(self) -> ActivityCall<O> {
        let Call { name, args, header, queue, retry, priority, summary, returns } = self;
        let options = ActivityOptions { header, queue, retry, priority, summary, ..ActivityOptions::default() };
        ActivityCall { name, args, options, definition: None, returns }
    }
}

/// The options that only activities have.
impl<O> Call<O> {
    /// Sets how long one attempt of the activity may take.
    pub fn start_to_close(self, timeout: Duration) -> ActivityCall<O> {
        self.into_activity_call().start_to_close(timeout)
    }

    /// Sets how long all attempts of the activity may take together.
    pub fn schedule_to_close(self, timeout: Duration) -> ActivityCall<O> {
        self.into_activity_call().schedule_to_close(timeout)
    }
}
