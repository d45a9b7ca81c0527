//! [`Activity`]: what an activity knows and can do while it runs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    activity::heartbeat::Pulse,
    call::{Headers, Priority},
    client::Client,
    error::Error,
    payload::{Args, FromPayload, Payload, PayloadError, RawArgs, ToPayload},
    retry::RetryPolicy,
};

/// What a running activity knows and can do. Copies are the same activity.
#[derive(Clone)]
pub struct Activity {
    origins: Arc<Origins>,
    cancel: watch::Receiver<Option<CancelReason>>,
}

/// What an activity is made of, before it runs.
pub(crate) struct Origins {
    pub(crate) info: ActivityInfo,
    pub(crate) headers: Headers,
    pub(crate) last_heartbeat: RawArgs,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) client: Option<Client>,
}

/// Who an activity is and how long it may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActivityInfo {
    /// Its type.
    pub activity_type: String,
    /// Its id, unique in the run.
    pub activity_id: String,
    /// The namespace.
    pub namespace: String,
    /// The task queue it came from.
    pub queue: String,
    /// The workflow that asked for it.
    pub workflow_id: String,
    /// The run that asked for it.
    pub run_id: String,
    /// The type of that workflow.
    pub workflow_type: String,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// When it was asked for.
    pub scheduled_at: SystemTime,
    /// When this attempt was asked for.
    pub attempt_scheduled_at: SystemTime,
    /// When this attempt started.
    pub started_at: SystemTime,
    /// How long all attempts may take together.
    pub schedule_to_close: Option<Duration>,
    /// How long this attempt may take.
    pub start_to_close: Option<Duration>,
    /// How long it may be silent.
    pub heartbeat: Option<Duration>,
    /// When it is tried again.
    pub retry: Option<RetryPolicy>,
    /// Its place among others on its queue.
    pub priority: Option<Priority>,
    /// True for a local activity, which runs in the worker of its workflow.
    pub is_local: bool,
    /// By which its result can come from outside.
    pub token: TaskToken,
}

/// By which the result of an activity can come from anywhere: see [`Activity::complete_later`] and
/// [`Client::activity`](crate::Client::activity).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TaskToken(pub Bytes);

/// Why an activity is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// Its workflow, or somebody, asked for it.
    Requested,
    /// It was paused: another attempt is made when it is resumed.
    Paused,
    /// It was reset: its attempts begin anew.
    Reset,
    /// Its time is over, or its workflow is closed: nobody waits for the result.
    Gone,
    /// The time of this attempt is over.
    TimedOut,
    /// The worker shuts down: another one is to make another attempt.
    WorkerShutdown,
}

impl CancelReason {
    /// What the reply to a heartbeat says.
    pub(crate) fn of_reply(cancelled: bool, reset: bool, paused: bool) -> Option<CancelReason> {
        if cancelled {
            Some(CancelReason::Requested)
        } else if reset {
            Some(CancelReason::Reset)
        } else {
            paused.then_some(CancelReason::Paused)
        }
    }
}

impl Activity {
    pub(crate) fn new(origins: Origins) -> (Activity, CancelSwitch) {
        let (switch, cancel) = watch::channel(None);
        (Activity { origins: Arc::new(origins), cancel }, CancelSwitch(Arc::new(switch)))
    }

    /// Who this activity is and how long it may take.
    pub fn info(&self) -> &ActivityInfo {
        &self.origins.info
    }

    /// Tells the server that this attempt lives, with a value that the next attempt may go on from.
    ///
    /// Never waits. What is told too often is left out: at most every 0.8 of the heartbeat timeout, 30 s without one,
    /// is something sent. By the reply the activity learns that it is to stop. Does nothing in a local activity.
    pub fn heartbeat(&self, details: &(impl ToPayload + ?Sized)) {
        let mut args = Args::new();
        args.push(Borrowed(details));
        self.heartbeat_args(args);
    }

    /// The same with several values, which workers in other languages send at times.
    pub fn heartbeat_args(&self, args: Args) {
        match args.into_payloads() {
            Ok(details) => self.origins.pulse.beat(details),
            Err(error) => {
                tracing::warn!(activity_type = %self.info().activity_type, %error, "heartbeat without its details");
                self.origins.pulse.beat(Vec::new());
            }
        }
    }

    /// What the attempt before told last; nothing in the first one.
    ///
    /// # Errors
    /// When it told something else.
    pub fn last_heartbeat<T: FromPayload>(&self) -> Result<Option<T>, PayloadError> {
        match self.origins.last_heartbeat.0.first() {
            Some(payload) => T::from_payload(payload).map(Some),
            None => Ok(None),
        }
    }

    /// All that the attempt before told last.
    pub fn last_heartbeat_args(&self) -> &RawArgs {
        &self.origins.last_heartbeat
    }

    /// Waits until the activity is to stop, which it learns by heartbeats. Cancel safe.
    ///
    /// ```
    /// # use mainspring_sdk::{Activity, Error, Result};
    /// # async fn work() {}
    /// async fn patient(cx: Activity) -> Result<()> {
    ///     tokio::select! {
    ///         () = work() => Ok(()),
    ///         _ = cx.cancelled() => Err(Error::cancelled()),
    ///     }
    /// }
    /// ```
    pub async fn cancelled(&self) -> CancelReason {
        let mut cancel = self.cancel.clone();
        let reason = cancel.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Why the activity is to stop; nothing while it may go on. For activities that block.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        *self.cancel.borrow()
    }

    /// True when the activity is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel_reason().is_some()
    }

    /// The error to return when the result comes later, from anywhere, by [`token`](Activity::token).
    ///
    /// ```
    /// # use mainspring_sdk::{Activity, Result};
    /// # async fn ask_a_person(token: Vec<u8>) -> Result<()> { Ok(()) }
    /// async fn approve(cx: Activity) -> Result<bool> {
    ///     ask_a_person(cx.token().0.to_vec()).await?;
    ///     Err(cx.complete_later())
    /// }
    /// ```
    #[must_use = "return it as the activity's error"]
    pub fn complete_later(&self) -> Error {
        Error::CompleteLater
    }

    /// By which the result can come from outside.
    pub fn token(&self) -> &TaskToken {
        &self.origins.info.token
    }

    /// Values that came beside the arguments.
    pub fn headers(&self) -> &Headers {
        &self.origins.headers
    }

    /// The worker's client. In a test environment without one there is none.
    pub fn client(&self) -> Option<&Client> {
        self.origins.client.as_ref()
    }
}

/// A value that is borrowed, of a type that may be unsized.
struct Borrowed<'a, T: ?Sized>(&'a T);

impl<T: ToPayload + ?Sized> ToPayload for Borrowed<'_, T> {
    fn to_payload(&self) -> Result<Payload, PayloadError> {
        self.0.to_payload()
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("info", self.info()).field("cancel", &self.cancel_reason()).finish()
    }
}

/// By which an activity is told to stop.
#[derive(Clone, Debug)]
pub(crate) struct CancelSwitch(Arc<watch::Sender<Option<CancelReason>>>);

impl CancelSwitch {
    /// The first reason counts.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(reason);
            first
        });
    }

    pub(crate) fn reason(&self) -> Option<CancelReason> {
        *self.0.borrow()
    }
}
