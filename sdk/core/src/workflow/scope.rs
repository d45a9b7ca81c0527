//! Cancellation scopes: what was started under one is cancelled with it.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use crate::workflow::{context::Ctx, ops::OpId, run::Run, task};

/// The part of a scope that contexts share.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    why: RefCell<Option<String>>,
    ops: RefCell<Vec<OpId>>,
    prune_at: Cell<usize>,
    below: RefCell<Vec<Weak<Scope>>>,
    waiting: RefCell<Vec<Waker>>,
}

/// A part of a workflow that is cancelled on its own, and with what is around it.
///
/// ```no_run
/// # use mainspring_sdk::{Call, Result, workflow::Ctx};
/// # use std::time::Duration;
/// # async fn example(cx: Ctx) -> Result<()> {
/// let scope = cx.scope();
/// let quote = scope.cx().run(Call::named("Quote").start_to_close(Duration::from_secs(9)));
/// scope.cancel("nobody waits for it");
/// assert!(quote.await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CancelScope {
    cx: Ctx,
}

impl CancelScope {
    pub(crate) fn new(cx: Ctx) -> CancelScope {
        CancelScope { cx }
    }

    /// The context under which operations belong to the scope.
    pub fn cx(&self) -> &Ctx {
        &self.cx
    }

    /// Cancels everything that was started under the scope, and whatever will be.
    pub fn cancel(&self, why: &str) {
        self.cx.scope.cancel(&self.cx.run, why);
    }

    /// True once it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cx.scope.why().is_some()
    }
}

impl Scope {
    /// A scope that is cancelled with this one.
    pub(crate) fn child(self: &Rc<Scope>) -> Rc<Scope> {
        let child = Rc::new(Scope { why: RefCell::new(self.why()), ..Scope::default() });
        let mut below = self.below.borrow_mut();
        below.retain(|scope| scope.strong_count() > 0);
        below.push(Rc::downgrade(&child));
        child
    }

    pub(crate) fn why(&self) -> Option<String> {
        self.why.borrow().clone()
    }

    /// Takes an operation in; one that is added to a cancelled scope is cancelled at once.
    pub(crate) fn add(&self, run: &Run, op: OpId) {
        if let Some(why) = self.why() {
            run.ops.borrow_mut().cancel(op, false, &why);
            return;
        }
        let mut ops = self.ops.borrow_mut();
        ops.push(op);
        if ops.len() > self.prune_at.get().max(32) {
            let all = run.ops.borrow();
            ops.retain(|op| !all.is_settled(*op));
            self.prune_at.set(ops.len() * 2);
        }
    }

    pub(crate) fn cancel(&self, run: &Run, why: &str) {
        if self.why.borrow().is_some() {
            return;
        }
        self.why.replace(Some(why.to_owned()));
        for op in self.ops.take() {
            run.ops.borrow_mut().cancel(op, false, why);
        }
        run.wake_resolved();
        for waker in self.waiting.take() {
            waker.wake();
        }
        let below: Vec<Rc<Scope>> = self.below.borrow().iter().filter_map(Weak::upgrade).collect();
        for scope in below {
            scope.cancel(run, why);
        }
    }
}

/// Waits until the scope of a context is cancelled, and says why.
#[derive(Debug)]
#[must_use = "it waits only when it is awaited"]
pub struct CancelRequested {
    pub(crate) scope: Rc<Scope>,
}

impl Future for CancelRequested {
    type Output = String;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        match self.scope.why() {
            Some(why) => Poll::Ready(why),
            None => {
                self.scope.waiting.borrow_mut().push(cx.waker().clone());
                task::park();
                Poll::Pending
            }
        }
    }
}
