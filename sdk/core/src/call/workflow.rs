//! Calls of workflows: started by a client, as children, or as the next run of a workflow that continues as new.

use std::{collections::BTreeMap, marker::PhantomData, time::Duration};

use mainspring_api::v1::{
    common::Memo,
    enums::{ParentClosePolicy, WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
};

use crate::{
    call::{Call, CancelKind, Headers, Priority, SearchAttributes},
    payload::{Args, Payload, PayloadError, ToPayload},
    retry::RetryPolicy,
};

/// A call of a workflow with a result of type `O`. It does nothing until a client or the context of a workflow runs it.
#[derive(Clone, Debug)]
#[must_use = "this only describes a call; give it to a client: `client.start(..)`"]
pub struct WorkflowCall<O> {
    name: String,
    args: Args,
    options: WorkflowOptions,
    returns: PhantomData<fn() -> O>,
}

/// What is asked of the server for one workflow.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WorkflowOptions {
    /// The workflow id. A client needs one; for a child it is made up if there is none.
    pub id: Option<String>,
    /// The task queue. A client needs one; for a child it is the parent's if there is none.
    pub queue: Option<String>,
    /// How long all runs may take together.
    pub execution_timeout: Option<Duration>,
    /// How long one run may take.
    pub run_timeout: Option<Duration>,
    /// How long a worker may take for one workflow task.
    pub task_timeout: Option<Duration>,
    /// When a run that failed is followed by another.
    pub retry: Option<RetryPolicy>,
    /// What a closed workflow with this id means.
    pub id_reuse: Option<IdReuse>,
    /// What an open workflow with this id means.
    pub on_conflict: Option<OnConflict>,
    /// Values that describe it.
    pub memo: BTreeMap<String, Payload>,
    /// Values it is found by.
    pub search_attributes: SearchAttributes,
    /// When it is run again, as a cron line.
    pub cron: Option<String>,
    /// How long its first workflow task waits.
    pub start_delay: Option<Duration>,
    /// Its place among others on its queue.
    pub priority: Option<Priority>,
    /// A line that the user interface shows.
    pub summary: Option<String>,
    /// A text that the user interface shows.
    pub details: Option<String>,
    /// Values that travel beside the arguments.
    pub header: Headers,
    /// Children only: what happens to it when its parent closes.
    pub parent_close: Option<ParentClose>,
    /// Children only: what happens when it is cancelled.
    pub cancel: CancelKind,
    /// Children only: the namespace, if it is another one.
    pub namespace: Option<String>,
    /// A value of the memo that could not be converted.
    pub(crate) error: Option<PayloadError>,
}

/// What a closed workflow with the same id means for a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdReuse {
    /// The id is free again.
    AllowDuplicate,
    /// The id is free again when the last run did not complete.
    AllowDuplicateFailedOnly,
    /// The id is never used twice while the server remembers the workflow.
    RejectDuplicate,
}

/// What an open workflow with the same id means for a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The start is refused.
    Fail,
    /// The open workflow is taken as if it had been started.
    UseExisting,
    /// The open workflow is terminated.
    TerminateExisting,
}

/// What happens to a child when its parent closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentClose {
    /// It is terminated.
    Terminate,
    /// It goes on.
    Abandon,
    /// It is asked to stop.
    RequestCancel,
}

impl IdReuse {
    /// The wire form.
    pub fn to_proto(self) -> WorkflowIdReusePolicy {
        match self {
            IdReuse::AllowDuplicate => WorkflowIdReusePolicy::AllowDuplicate,
            IdReuse::AllowDuplicateFailedOnly => WorkflowIdReusePolicy::AllowDuplicateFailedOnly,
            IdReuse::RejectDuplicate => WorkflowIdReusePolicy::RejectDuplicate,
        }
    }
}

impl OnConflict {
    /// The wire form.
    pub fn to_proto(self) -> WorkflowIdConflictPolicy {
        match self {
            OnConflict::Fail => WorkflowIdConflictPolicy::Fail,
            OnConflict::UseExisting => WorkflowIdConflictPolicy::UseExisting,
            OnConflict::TerminateExisting => WorkflowIdConflictPolicy::TerminateExisting,
        }
    }
}

impl ParentClose {
    /// The wire form.
    pub fn to_proto(self) -> ParentClosePolicy {
        match self {
            ParentClose::Terminate => ParentClosePolicy::Terminate,
            ParentClose::Abandon => ParentClosePolicy::Abandon,
            ParentClose::RequestCancel => ParentClosePolicy::RequestCancel,
        }
    }
}

impl<O> WorkflowCall<O> {
    /// A call of the workflow with this name, without arguments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), args: Args::new(), options: WorkflowOptions::default(), returns: PhantomData }
    }

    /// Adds an argument.
    pub fn arg(mut self, value: impl ToPayload) -> Self {
        self.args.push(value);
        self
    }

    /// Sets the result's type.
    pub fn returns<P>(self) -> WorkflowCall<P> {
        let WorkflowCall { name, args, options, returns: _ } = self;
        WorkflowCall { name, args, options, returns: PhantomData }
    }

    /// Sets the workflow id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.options.id = Some(id.into());
        self
    }

    /// Sets the task queue.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.options.queue = Some(name.into());
        self
    }

    /// Sets how long all runs may take together.
    pub fn execution_timeout(mut self, timeout: Duration) -> Self {
        self.options.execution_timeout = Some(timeout);
        self
    }

    /// Sets how long one run may take.
    pub fn run_timeout(mut self, timeout: Duration) -> Self {
        self.options.run_timeout = Some(timeout);
        self
    }

    /// Sets how long a worker may take for one workflow task; 10 s if not set.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.options.task_timeout = Some(timeout);
        self
    }

    /// Sets when a run that failed is followed by another. By default it is not.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Sets what a closed workflow with the same id means.
    pub fn id_reuse(mut self, policy: IdReuse) -> Self {
        self.options.id_reuse = Some(policy);
        self
    }

    /// Sets what an open workflow with the same id means.
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.options.on_conflict = Some(policy);
        self
    }

    /// Adds a value that describes it.
    pub fn memo(mut self, key: impl Into<String>, value: impl ToPayload) -> Self {
        let key = key.into();
        match value.to_payload() {
            Ok(payload) => {
                self.options.memo.insert(key, payload);
            }
            Err(error) => {
                self.options.error.get_or_insert(PayloadError::new(format!("memo {key:?}: {error}")));
            }
        }
        self
    }

    /// Sets the values it is found by.
    pub fn search_attributes(mut self, attributes: SearchAttributes) -> Self {
        self.options.search_attributes = attributes;
        self
    }

    /// Runs it again and again, as a cron line says. Schedules do more.
    pub fn cron(mut self, line: impl Into<String>) -> Self {
        self.options.cron = Some(line.into());
        self
    }

    /// Sets how long its first workflow task waits.
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.options.start_delay = Some(delay);
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

    /// Sets a text that the user interface shows.
    pub fn details(mut self, text: impl Into<String>) -> Self {
        self.options.details = Some(text.into());
        self
    }

    /// Adds a value that travels beside the arguments.
    pub fn header(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.options.header.insert(key.into(), value);
        self
    }

    /// Children only: sets what happens to it when its parent closes.
    pub fn parent_close(mut self, policy: ParentClose) -> Self {
        self.options.parent_close = Some(policy);
        self
    }

    /// Children only: sets what happens when it is cancelled.
    pub fn cancel(mut self, kind: CancelKind) -> Self {
        self.options.cancel = kind;
        self
    }

    /// Children only: sets the namespace.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.options.namespace = Some(name.into());
        self
    }

    /// The workflow's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked of the server.
    pub fn options(&self) -> &WorkflowOptions {
        &self.options
    }

    /// The type, the arguments and the options.
    pub fn into_parts(self) -> (String, Args, WorkflowOptions) {
        (self.name, self.args, self.options)
    }
}

impl WorkflowOptions {
    /// The memo for the wire; absent when it is empty.
    ///
    /// # Errors
    /// When a value could not be converted.
    pub fn memo_to_wire(&self) -> Result<Option<Memo>, PayloadError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if self.memo.is_empty() => Ok(None),
            None => Ok(Some(Memo { fields: self.memo.clone() })),
        }
    }
}

/// What can be run as a workflow: a [`WorkflowCall`], or a [`Call`] by name.
pub trait IntoWorkflowCall {
    /// The result's type.
    type Output;
    /// The call.
    fn into_workflow_call(self) -> WorkflowCall<Self::Output>;
}

impl<O> IntoWorkflowCall for WorkflowCall<O> {
    type Output = O;

    fn into_workflow_call(self) -> WorkflowCall<O> {
        self
    }
}

impl<O> IntoWorkflowCall for Call<O> {
    type Output = O;

    fn into_workflow_call(self) -> WorkflowCall<O> {
        let Call { name, args, header, queue, retry, priority, summary, returns } = self;
        let options = WorkflowOptions { header, queue, retry, priority, summary, ..WorkflowOptions::default() };
        WorkflowCall { name, args, options, returns }
    }
}

/// The options that only workflows have. What `id` returns has all the others.
impl<O> Call<O> {
    /// Sets the workflow id.
    pub fn id(self, id: impl Into<String>) -> WorkflowCall<O> {
        self.into_workflow_call().id(id)
    }
}
