//! What a workflow does with others: children, and workflows that it only knows by id.

use std::{
    future::Future,
    marker::PhantomData,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use mainspring_api::{
    time,
    v1::{
        command::{
            ContinueAsNewWorkflowExecutionCommandAttributes, RequestCancelExternalWorkflowExecutionCommandAttributes,
            SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
        },
        common::{WorkflowExecution, WorkflowType},
        enums::{ContinueAsNewInitiator, TaskQueueKind},
        taskqueue::TaskQueue,
    },
};

use crate::{
    call::{IntoWorkflowCall, SignalCall, WorkflowCall, header_to_wire},
    error::{Error, Result},
    payload::{FromPayload, PayloadError, to_wire},
    workflow::{
        child::{self, Child},
        context::{Ctx, metadata},
        external::{CancelOut, SignalOut},
        fault::At,
        op::{Op, read_nothing, read_payloads},
        ops::{Machine, OpId, Value},
        task,
    },
};

impl Ctx {
    /// Starts a child workflow and gives its result.
    #[track_caller]
    pub fn run_child<C: IntoWorkflowCall<Output: FromPayload>>(&self, call: C) -> Op<C::Output> {
        let (_, end, _) = self.child(call.into_workflow_call(), Location::caller());
        Op::lasting(self.run.clone(), end, read_payloads)
    }

    /// Starts a child workflow; what it gives is there as soon as the child has started.
    #[track_caller]
    pub fn start_child<C: IntoWorkflowCall<Output: FromPayload>>(&self, call: C) -> StartedChild<C::Output> {
        let (start, end, workflow_id) = self.child(call.into_workflow_call(), Location::caller());
        StartedChild { cx: self.clone(), start, end, workflow_id, of: PhantomData }
    }

    #[expect(deprecated, reason = "other namespaces, which our server has")]
    fn child<O>(&self, call: WorkflowCall<O>, at: At) -> (OpId, OpId, String) {
        let run = &self.run;
        let memo = call.options().memo_to_wire();
        let (name, args, options) = call.into_parts();
        let workflow_id = options.id.clone().unwrap_or_else(|| self.uuid().to_string());
        let (args, memo) = match (args.into_payloads(), memo) {
            (Ok(args), Ok(memo)) => (args, memo),
            (Err(error), _) | (_, Err(error)) => {
                let refused = |error: PayloadError| run.refused(error.into(), at);
                return (refused(error.clone()), refused(error), workflow_id);
            }
        };
        let namespace = options.namespace.clone().unwrap_or_else(|| run.info.namespace.clone());
        let command = run.sending.get().then(|| {
            Box::new(StartChildWorkflowExecutionCommandAttributes {
                namespace: namespace.clone(),
                workflow_id: workflow_id.clone(),
                workflow_type: Some(WorkflowType { name: name.clone() }),
                task_queue: Some(queue(options.queue.clone().unwrap_or_else(|| run.info.task_queue.clone()))),
                input: to_wire(args),
                workflow_execution_timeout: options.execution_timeout.map(time::duration),
                workflow_run_timeout: options.run_timeout.map(time::duration),
                workflow_task_timeout: options.task_timeout.map(time::duration),
                parent_close_policy: options.parent_close.map_or(0, |policy| policy.to_proto() as i32),
                workflow_id_reuse_policy: options.id_reuse.map_or(0, |policy| policy.to_proto() as i32),
                retry_policy: options.retry.as_ref().map(|policy| policy.to_proto()),
                cron_schedule: options.cron.clone().unwrap_or_default(),
                header: header_to_wire(options.header.clone()),
                memo,
                search_attributes: options.search_attributes.to_proto(),
                priority: options.priority.as_ref().map(|priority| priority.to_proto()),
                ..StartChildWorkflowExecutionCommandAttributes::default()
            })
        });
        let machine = Machine::Child(Child {
            namespace,
            workflow_id: workflow_id.clone(),
            kind: name,
            cancel: options.cancel,
            state: child::State::Asked,
            run_id: String::new(),
            cancel_asked: false,
            command,
        });
        let metadata = metadata(options.summary.as_deref(), options.details.as_deref());
        // The end has to be there before the start can be cancelled by its scope.
        let (start, end) = run.start_pair(machine, metadata, &self.scope, at);
        (start, end, workflow_id)
    }

    /// A workflow that is known by its id, to be signalled or cancelled.
    pub fn workflow(&self, workflow_id: impl Into<String>) -> OtherWorkflow {
        OtherWorkflow { cx: self.clone(), namespace: None, workflow_id: workflow_id.into(), run_id: String::new() }
    }

    #[expect(deprecated, reason = "other namespaces, which our server has")]
    fn signal_out(&self, to: Target, signal: SignalCall, at: At) -> Op<()> {
        let (name, args, header) = signal.into_parts();
        let id = match args.into_payloads() {
            Err(error) => self.run.refused(error.into(), at),
            Ok(args) => {
                let workflow_id = to.workflow_id.clone();
                let command = SignalExternalWorkflowExecutionCommandAttributes {
                    namespace: to.namespace,
                    execution: Some(WorkflowExecution { workflow_id: to.workflow_id, run_id: to.run_id }),
                    signal_name: name.clone(),
                    input: to_wire(args),
                    child_workflow_only: to.child_only,
                    header: header_to_wire(header),
                    ..SignalExternalWorkflowExecutionCommandAttributes::default()
                };
                let machine = Machine::Signal(SignalOut { workflow_id, name, command: Some(Box::new(command)) });
                self.run.start(machine, None, &self.scope, at)
            }
        };
        Op::lasting(self.run.clone(), id, read_nothing)
    }
}

struct Target {
    namespace: String,
    workflow_id: String,
    run_id: String,
    child_only: bool,
}

/// A child workflow that is being started; awaited, it gives the child's handle.
#[must_use = "await it to know that the child has started"]
pub struct StartedChild<O> {
    cx: Ctx,
    start: OpId,
    end: OpId,
    workflow_id: String,
    of: PhantomData<fn() -> O>,
}

/// A child workflow that has started. Dropping the handle does nothing to the child.
pub struct ChildHandle<O> {
    cx: Ctx,
    start: OpId,
    end: OpId,
    workflow_id: String,
    run_id: String,
    of: PhantomData<fn() -> O>,
}

impl<O> Future for StartedChild<O> {
    type Output = Result<ChildHandle<O>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.cx.run.ops.borrow_mut().poll(self.start, cx);
        let run_id = match outcome {
            Poll::Pending => {
                task::park();
                return Poll::Pending;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(Value::RunId(run_id))) => run_id,
            Poll::Ready(Ok(_)) => String::new(),
        };
        Poll::Ready(Ok(ChildHandle {
            cx: self.cx.clone(),
            start: self.start,
            end: self.end,
            workflow_id: self.workflow_id.clone(),
            run_id,
            of: PhantomData,
        }))
    }
}

impl<O: FromPayload> ChildHandle<O> {
    /// The child's workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The id of the child's first run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Sends the child a signal; awaited, it is known to have arrived.
    #[track_caller]
    pub fn signal(&self, signal: SignalCall) -> Op<()> {
        let namespace = self.cx.run.ops.borrow().child(self.start).map(|child| child.namespace.clone());
        let to = Target {
            namespace: namespace.unwrap_or_else(|| self.cx.run.info.namespace.clone()),
            workflow_id: self.workflow_id.clone(),
            run_id: String::new(),
            child_only: true,
        };
        self.cx.signal_out(to, signal, Location::caller())
    }

    /// Asks the child to stop, as the call's [`CancelKind`](crate::CancelKind) says.
    pub fn cancel(&self, why: &str) {
        self.cx.run.ops.borrow_mut().cancel(self.start, false, why);
        self.cx.run.wake_resolved();
    }

    /// Waits for the child's result.
    pub fn result(self) -> Op<O> {
        Op::lasting(self.cx.run.clone(), self.end, read_payloads)
    }
}

/// Another workflow, known by its id.
#[derive(Clone)]
pub struct OtherWorkflow {
    cx: Ctx,
    namespace: Option<String>,
    workflow_id: String,
    run_id: String,
}

impl OtherWorkflow {
    /// In another namespace.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> OtherWorkflow {
        self.namespace = Some(name.into());
        self
    }

    /// This run only.
    #[must_use]
    pub fn run_id(mut self, id: impl Into<String>) -> OtherWorkflow {
        self.run_id = id.into();
        self
    }

    /// Sends it a signal; awaited, it is known to have arrived.
    #[track_caller]
    pub fn signal(&self, signal: SignalCall) -> Op<()> {
        let to = Target {
            namespace: self.own_or_set(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            child_only: false,
        };
        self.cx.signal_out(to, signal, Location::caller())
    }

    /// Asks it to stop; awaited, it is known to have been asked.
    #[expect(deprecated, reason = "other namespaces, which our server has")]
    #[track_caller]
    pub fn cancel(&self, why: &str) -> Op<()> {
        let command = RequestCancelExternalWorkflowExecutionCommandAttributes {
            namespace: self.own_or_set(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            reason: why.to_owned(),
            ..RequestCancelExternalWorkflowExecutionCommandAttributes::default()
        };
        let cancel = CancelOut { workflow_id: self.workflow_id.clone(), command: Some(Box::new(command)) };
        let id = self.cx.run.start(Machine::Cancel(cancel), None, &self.cx.scope, Location::caller());
        Op::lasting(self.cx.run.clone(), id, read_nothing)
    }

    fn own_or_set(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| self.cx.run.info.namespace.clone())
    }
}

/// The command that ends a run and begins the next; what the call does not set, the server takes from this run.
pub(crate) fn continue_as_new(
    call: WorkflowCall<()>,
    cx: &Ctx,
) -> Result<ContinueAsNewWorkflowExecutionCommandAttributes> {
    let info = &cx.run.info;
    let memo = call.options().memo_to_wire()?;
    let (name, args, options) = call.into_parts();
    Ok(ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name }),
        task_queue: Some(queue(options.queue.unwrap_or_else(|| info.task_queue.clone()))),
        input: to_wire(args.into_payloads()?),
        workflow_run_timeout: options.run_timeout.or(info.run_timeout).map(time::duration),
        workflow_task_timeout: options.task_timeout.or(Some(info.task_timeout)).map(time::duration),
        retry_policy: options.retry.or_else(|| info.retry.clone()).map(|policy| policy.to_proto()),
        initiator: ContinueAsNewInitiator::Workflow as i32,
        header: header_to_wire(options.header),
        memo: memo.or_else(|| {
            let fields = cx.run.memo.borrow().clone();
            (!fields.is_empty()).then_some(mainspring_api::v1::common::Memo { fields })
        }),
        search_attributes: options
            .search_attributes
            .to_proto()
            .or_else(|| cx.run.search_attributes.borrow().to_proto()),
        ..ContinueAsNewWorkflowExecutionCommandAttributes::default()
    })
}

fn queue(name: String) -> TaskQueue {
    TaskQueue { name, kind: TaskQueueKind::Normal as i32, normal_name: String::new() }
}

/// True for an error by which a workflow says that it stopped because it was asked to.
pub(crate) fn is_own_cancellation(error: &Error, cx: &Ctx) -> bool {
    cx.run.root.why().is_some() && error.is_cancelled()
}
