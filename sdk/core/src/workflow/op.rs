//! [`Op`]: an operation that was begun, as a future.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::{
    error::{Error, Result},
    payload::{FromPayload, from_wire, result_from},
    workflow::{
        ops::{OpId, Outcome, Value},
        run::Run,
        task,
    },
};

/// An operation that was begun. It goes on whether or not it is awaited, and is cancelled when it is dropped before its
/// end, like the loser of a race; [`detach`](Op::detach) lets it go on alone.
#[must_use = "dropping it cancels the operation; await it, or let it go on with `.detach()`"]
pub struct Op<O> {
    run: Rc<Run>,
    id: OpId,
    cancel_on_drop: bool,
    read: fn(Outcome) -> Result<O>,
    of: PhantomData<fn() -> O>,
}

impl<O> Op<O> {
    pub(crate) fn new(run: Rc<Run>, id: OpId, read: fn(Outcome) -> Result<O>) -> Op<O> {
        Op { run, id, cancel_on_drop: true, read, of: PhantomData }
    }

    /// One that goes on when it is dropped.
    pub(crate) fn lasting(run: Rc<Run>, id: OpId, read: fn(Outcome) -> Result<O>) -> Op<O> {
        Op { run, id, cancel_on_drop: false, read, of: PhantomData }
    }

    /// Lets it go on without anybody waiting for it.
    pub fn detach(mut self) {
        self.cancel_on_drop = false;
    }

    /// Asks for its cancellation. It still has to be awaited to know how it ended.
    pub fn cancel(&self, why: &str) {
        self.run.ops.borrow_mut().cancel(self.id, false, why);
        self.run.wake_resolved();
    }

    /// True once it ended, well or not.
    pub fn is_done(&self) -> bool {
        self.run.ops.borrow().is_settled(self.id)
    }
}

impl<O> Future for Op<O> {
    type Output = Result<O>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<O>> {
        let outcome = self.run.ops.borrow_mut().poll(self.id, cx);
        match outcome {
            Poll::Ready(outcome) => Poll::Ready((self.read)(outcome)),
            Poll::Pending => {
                task::park();
                Poll::Pending
            }
        }
    }
}

impl<O> Drop for Op<O> {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            self.run.dropped(self.id);
        }
    }
}

/// The result of an operation that gives payloads.
pub(crate) fn read_payloads<O: FromPayload>(outcome: Outcome) -> Result<O> {
    match outcome? {
        Value::Payloads(list) => Ok(result_from(&from_wire(list))?),
        Value::RunId(_) | Value::Later(_) | Value::Nothing => Err(unexpected()),
    }
}

/// The result of an operation that gives nothing.
pub(crate) fn read_nothing(outcome: Outcome) -> Result<()> {
    outcome.map(drop)
}

pub(crate) fn unexpected() -> Error {
    Error::msg("an operation ended in a way that its kind does not have; this is a bug of the SDK")
}
