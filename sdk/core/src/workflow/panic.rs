//! Panics of workflow code: caught, with their place, and with a hint for the mistakes that are known.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use crate::workflow::{
    fault::{Fault, Panicked},
    task,
};

thread_local! {
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Runs a user's code; a panic becomes a fault.
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Fault> {
    let caught = panic::catch_unwind(AssertUnwindSafe(|| task::watched(code)));
    caught.map_err(|payload| {
        let (at, backtrace) = LAST.take().unwrap_or_else(|| ("a place that is not known".to_owned(), String::new()));
        let message = text(payload.as_ref());
        let hint = hint(&message);
        Fault::Panicked(Box::new(Panicked { message, at, hint, backtrace }))
    })
}

/// Keeps the place of a panic on a lane, where the hook is the only one to know it. All others go on as before.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !task::inside() {
                return before(info);
            }
            let at = info.location().map(ToString::to_string).unwrap_or_default();
            let backtrace = Backtrace::capture().to_string();
            LAST.with(|last| last.replace(Some((at, backtrace))));
        }));
    });
}

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without a message".to_owned())
}

fn hint(message: &str) -> Option<&'static str> {
    let tokio = message.contains("there is no reactor running")
        || message.contains("must be called from the context of a Tokio")
        || message.contains("no timer running");
    tokio.then_some(
        "Tokio's timers, sockets and tasks do not replay and have no runtime here: use `cx.sleep(..)` for a timer, \
         `cx.spawn(..)` for a branch, and an activity for everything else",
    )
}
