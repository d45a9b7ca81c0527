//! Signals that a run receives: to handlers, to streams, or kept until somebody asks for them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
};

use crate::{
    error::{Error, Result},
    payload::{FromPayload, RawArgs},
    workflow::{
        context::Ctx,
        run::Run,
        task::{self, BranchKind},
    },
};

/// What is left of a signal's handler to be polled, if it is asynchronous.
pub type HandlerRun<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

type Handler = Rc<dyn Fn(Ctx, &str, RawArgs) -> Result<Option<HandlerRun<()>>>>;

/// The signals of a run.
#[derive(Default)]
pub(crate) struct Signals {
    handlers: RefCell<BTreeMap<String, Handler>>,
    fallback: RefCell<Option<Handler>>,
    kept: RefCell<BTreeMap<String, Kept>>,
    /// Names that the code asked for with a stream: those are not for the handler of all others.
    streams: RefCell<BTreeSet<String>>,
}

/// Signals of one name that nobody took yet, and who waits for them.
#[derive(Default)]
struct Kept {
    queue: VecDeque<RawArgs>,
    waiting: Vec<Waker>,
}

impl Signals {
    pub(crate) fn clear(&self) {
        let all = (self.handlers.take(), self.fallback.take(), self.kept.take());
        drop(all);
    }

    /// The handler for a name, or the one for all others.
    fn handler(&self, name: &str) -> Option<Handler> {
        let own = self.handlers.borrow().get(name).cloned();
        own.or_else(|| if self.is_streamed(name) { None } else { self.fallback.borrow().clone() })
    }

    fn is_streamed(&self, name: &str) -> bool {
        self.streams.borrow().contains(name)
    }

    fn keep(&self, name: &str, args: RawArgs) {
        let waiting = {
            let mut kept = self.kept.borrow_mut();
            let kept = kept.entry(name.to_owned()).or_default();
            kept.queue.push_back(args);
            std::mem::take(&mut kept.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The names of signals that nobody took.
    pub(crate) fn left(&self) -> Vec<String> {
        self.kept.borrow().iter().filter(|(_, kept)| !kept.queue.is_empty()).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.handlers.borrow().keys().cloned().collect()
    }
}

/// What is to be done after a signal was delivered.
pub(crate) enum Delivered {
    Done,
    Running(HandlerRun<()>),
    Failed(Error),
}

impl Run {
    /// Gives a signal to its handler; without one it is kept. Arguments that cannot be read are reported and dropped,
    /// as in the other SDKs: the sender is not there to be told, and the workflow is not to hang on them.
    pub(crate) fn deliver_signal(self: &Rc<Run>, cx: Ctx, name: &str, args: RawArgs) -> Delivered {
        let Some(handler) = self.signals.handler(name) else {
            self.signals.keep(name, args);
            return Delivered::Done;
        };
        match handler(cx, name, args) {
            Ok(None) => Delivered::Done,
            Ok(Some(run)) => Delivered::Running(run),
            Err(Error::Payload(error)) => {
                tracing::warn!(workflow_id = %self.info.workflow_id, signal = name, %error, "a signal cannot be read; it is dropped");
                Delivered::Done
            }
            Err(error) => Delivered::Failed(error),
        }
    }

    /// Sets a handler and gives it what was kept for it.
    pub(crate) fn on_signal(self: &Rc<Run>, cx: &Ctx, name: Option<&str>, handler: Handler) {
        match name {
            Some(name) => drop(self.signals.handlers.borrow_mut().insert(name.to_owned(), handler)),
            None => drop(self.signals.fallback.replace(Some(handler))),
        }
        let early: Vec<(String, VecDeque<RawArgs>)> = {
            let mut kept = self.signals.kept.borrow_mut();
            let wanted = kept.iter_mut().filter(|(kept, _)| match name {
                Some(name) => name == kept.as_str(),
                None => !self.signals.is_streamed(kept),
            });
            wanted.map(|(name, kept)| (name.clone(), std::mem::take(&mut kept.queue))).collect()
        };
        for (name, queue) in early {
            for args in queue {
                match self.deliver_signal(cx.clone(), &name, args) {
                    Delivered::Done => {}
                    Delivered::Running(run) => self.run_handler(run),
                    Delivered::Failed(error) => self.updates.fail_workflow(error),
                }
            }
        }
    }

    /// Runs what is left of a handler as a branch.
    pub(crate) fn run_handler(self: &Rc<Run>, handler: HandlerRun<()>) {
        let run = self.clone();
        self.updates.handler_began();
        let branch = Box::pin(async move {
            if let Err(error) = handler.await {
                run.updates.fail_workflow(error);
            }
            run.updates.handler_ended();
        });
        self.branches.spawn(BranchKind::Handler, branch);
    }
}

/// Signals of one name, in the order they came. Those from before it was asked for are in it.
///
/// ```no_run
/// # use mainspring_sdk::{Result, workflow::Ctx};
/// # async fn example(cx: Ctx) -> Result<()> {
/// let mut approvals = cx.signals::<String>("approve");
/// let by = approvals.next().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "it receives only when it is asked"]
pub struct SignalStream<T> {
    run: Rc<Run>,
    name: String,
    of: PhantomData<fn() -> T>,
}

impl<T: FromPayload> SignalStream<T> {
    pub(crate) fn new(run: Rc<Run>, name: String) -> SignalStream<T> {
        run.signals.streams.borrow_mut().insert(name.clone());
        SignalStream { run, name, of: PhantomData }
    }

    /// The next one; waits for it, also when the workflow is asked to stop: `race!` it with
    /// [`Ctx::cancelled`](crate::workflow::Ctx::cancelled) to give up then.
    #[expect(clippy::should_implement_trait, reason = "it is awaited, as with streams")]
    pub fn next(&mut self) -> impl Future<Output = T> + '_ {
        poll_fn(move |cx| {
            if let Some(value) = self.try_next() {
                return Poll::Ready(value);
            }
            let mut kept = self.run.signals.kept.borrow_mut();
            kept.entry(self.name.clone()).or_default().waiting.push(cx.waker().clone());
            task::park();
            Poll::Pending
        })
    }

    /// The next one, if it is there already.
    pub fn try_next(&mut self) -> Option<T> {
        loop {
            let args = self.run.signals.kept.borrow_mut().get_mut(&self.name)?.queue.pop_front()?;
            match args.get::<T>(0) {
                Ok(value) => return Some(value),
                Err(error) => {
                    tracing::warn!(signal = self.name, %error, "a signal cannot be read; it is dropped");
                }
            }
        }
    }
}
