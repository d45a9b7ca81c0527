//! [`ActivityDef`]: an activity's name and body over payloads.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use crate::{
    activity::Activity,
    error::Result,
    payload::{Payload, RawArgs},
};

/// A definition of an activity, to be registered with a worker. The macros make it: `charge::def()`.
///
/// ```
/// use mainspring_sdk::{activity::ActivityDef, payload::ToPayload};
///
/// let double = ActivityDef::future("double", |_cx, args| async move {
///     let number: u64 = args.get(0)?;
///     Ok((2 * number).to_payload()?)
/// });
/// ```
#[derive(Clone)]
#[must_use = "register it with a worker"]
pub struct ActivityDef {
    name: String,
    body: Body,
    abort_on_cancel: bool,
}

/// Activities that share a resource, such as a client or a device. The macro `#[activities]` implements it.
pub trait Activities: Send + Sync + 'static {
    /// The definitions, on this value.
    fn definitions(self: Arc<Self>) -> Vec<ActivityDef>;
}

pub(crate) type ResultFuture = Pin<Box<dyn Future<Output = Result<Payload>> + Send>>;

/// What runs.
#[derive(Clone)]
pub(crate) enum Body {
    /// On the runtime.
    Future(Arc<dyn Fn(Activity, RawArgs) -> ResultFuture + Send + Sync>),
    /// On a thread that may block.
    Blocking(Arc<dyn Fn(Activity, RawArgs) -> Result<Payload> + Send + Sync>),
}

impl ActivityDef {
    /// An activity that is a future.
    pub fn future<F, R>(name: impl Into<String>, body: F) -> ActivityDef
    where
        F: Fn(Activity, RawArgs) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload>> + Send + 'static,
    {
        let body = Body::Future(Arc::new(move |cx, args| Box::pin(body(cx, args))));
        ActivityDef { name: name.into(), body, abort_on_cancel: false }
    }

    /// An activity that blocks its thread. It runs on the runtime's blocking pool; no more of them at a time than the
    /// worker has slots.
    pub fn blocking<F>(name: impl Into<String>, body: F) -> ActivityDef
    where
        F: Fn(Activity, RawArgs) -> Result<Payload> + Send + Sync + 'static,
    {
        ActivityDef { name: name.into(), body: Body::Blocking(Arc::new(body)), abort_on_cancel: false }
    }

    /// Drops the future when the activity is cancelled, instead of only telling it. Blocking ones cannot be dropped.
    pub fn abort_on_cancel(mut self) -> ActivityDef {
        self.abort_on_cancel = true;
        self
    }

    /// The activity's type.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    pub(crate) fn aborts_on_cancel(&self) -> bool {
        self.abort_on_cancel
    }
}

impl fmt::Debug for ActivityDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocking = matches!(self.body, Body::Blocking(_));
        f.debug_struct("ActivityDef").field("name", &self.name).field("blocking", &blocking).finish_non_exhaustive()
    }
}
