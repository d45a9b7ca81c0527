//! One attempt of an activity: whatever its code does, it ends in a result or an error, or is left behind.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{
    activity::{Activity, ActivityDef, Body, CancelReason, CancelSwitch},
    error::{Error, Result},
    payload::{Payload, RawArgs},
};

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Its code returned.
    Returned(Payload),
    /// Its code gave an error, or panicked.
    Failed(Error),
    /// It was told to stop and said that it did, or was dropped.
    Cancelled(CancelReason, Error),
    /// Its result comes from outside.
    Later,
    /// It did not stop when it was told to and is not waited for any longer.
    Left,
}

/// Runs the attempt. `leave` resolves when it is not to be waited for any longer.
pub(crate) async fn run(
    definition: &ActivityDef,
    cx: Activity,
    switch: &CancelSwitch,
    args: RawArgs,
    leave: impl Future<Output = ()>,
) -> Ending {
    let limit = cx.info().start_to_close;
    let aborts = definition.aborts_on_cancel();
    let watched = cx.clone();
    let body = body(definition, cx, args);
    tokio::pin!(body, leave);
    let time_up = sleep_for(limit);
    tokio::pin!(time_up);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut body => break result,
            () = &mut leave => return Ending::Left,
            () = &mut time_up, if switch.reason().is_none() => switch.cancel(CancelReason::TimedOut),
            reason = watched.cancelled(), if aborts => return Ending::Cancelled(reason, Error::cancelled()),
        }
    };
    match (result, switch.reason()) {
        (Ok(payload), _) => Ending::Returned(payload),
        (Err(Error::CompleteLater), _) => Ending::Later,
        (Err(error), Some(reason)) if error.is_cancelled() => Ending::Cancelled(reason, error),
        // The server would take it for an answer to a request that nobody made.
        (Err(error @ Error::Cancelled(_)), None) => {
            Ending::Failed(Error::application("Cancelled", "the activity stopped unasked").caused_by(error))
        }
        (Err(error), _) => Ending::Failed(error),
    }
}

async fn sleep_for(limit: Option<Duration>) {
    match limit.filter(|limit| !limit.is_zero()) {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// The code of the activity; a panic in it is an error.
async fn body(definition: &ActivityDef, cx: Activity, args: RawArgs) -> Result<Payload> {
    match definition.body() {
        Body::Future(make) => {
            let future = catch_unwind(AssertUnwindSafe(|| make(cx, args)));
            let mut future = future.map_err(|panic| panicked(panic.as_ref()))?;
            poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
                Ok(polled) => polled,
                Err(panic) => Err(panicked(panic.as_ref())).into(),
            })
            .await
        }
        Body::Blocking(function) => {
            let function = function.clone();
            let span = tracing::Span::current();
            match tokio::task::spawn_blocking(move || span.in_scope(|| function(cx, args))).await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => Err(panicked(panic.as_ref())),
                    Err(error) => Err(Error::application("WorkerShutdown", error.to_string())),
                },
            }
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Error::application("Panic", format!("the activity panicked: {}", text.as_deref().unwrap_or("no message")))
}
