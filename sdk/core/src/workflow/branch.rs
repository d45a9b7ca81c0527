//! Branches that a workflow spawns, and their handles.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::workflow::{run::Run, task::BranchKind};

/// The result of a branch, to be awaited. Dropped, it lets the branch go on.
pub struct BranchHandle<T> {
    shared: Rc<RefCell<Shared<T>>>,
}

struct Shared<T> {
    value: Option<T>,
    done: bool,
    waiting: Option<Waker>,
}

impl<T: 'static> BranchHandle<T> {
    pub(crate) fn spawn(run: &Rc<Run>, future: impl Future<Output = T> + 'static) -> BranchHandle<T> {
        let shared = Rc::new(RefCell::new(Shared { value: None, done: false, waiting: None }));
        let result = shared.clone();
        run.branches.spawn(
            BranchKind::Spawned,
            Box::pin(async move {
                let value = future.await;
                let waiting = {
                    let mut shared = result.borrow_mut();
                    shared.value = Some(value);
                    shared.done = true;
                    shared.waiting.take()
                };
                waiting.into_iter().for_each(Waker::wake);
            }),
        );
        BranchHandle { shared }
    }

    /// True once the branch has ended.
    pub fn is_done(&self) -> bool {
        self.shared.borrow().done
    }
}

impl<T> Future for BranchHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut shared = self.shared.borrow_mut();
        if let Some(value) = shared.value.take() {
            return Poll::Ready(value);
        }
        shared.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}
