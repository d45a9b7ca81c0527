//! What the macros expand to. Nothing here is for people; it may change with every version.

pub use crate::{
    activity::{Activities, Activity, ActivityDef},
    call::{ActivityCall, QueryCall, SignalCall, UpdateCall, WorkflowCall},
    error::Result,
    payload::{FromPayload, Payload, RawArgs, ToPayload},
    retry::RetryPolicy,
    workflow::{Ctx, HandlerRun, WorkflowDef},
};

/// What a body returns.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no result of an activity or a workflow",
    note = "return `mainspring::Result<T>`, or a `Result` with an error that implements `std::error::Error`"
)]
pub trait Outcome {
    /// What it is when all goes well.
    type Output;

    /// With our own error.
    ///
    /// # Errors
    /// When it is one.
    fn into_result(self) -> Result<Self::Output>;
}

impl<T, E: Into<crate::Error>> Outcome for std::result::Result<T, E> {
    type Output = T;

    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
}

/// The payload of what a body returned.
///
/// # Errors
/// The body's own, or that the result has no payload.
pub fn finish<R: Outcome<Output: ToPayload>>(returned: R) -> Result<Payload> {
    Ok(returned.into_result()?.to_payload()?)
}

/// The payload of an answer that cannot fail.
///
/// # Errors
/// When it has no payload.
pub fn answer(value: impl ToPayload) -> Result<Payload> {
    Ok(value.to_payload()?)
}

/// What a signal's handler returns: nothing, or a `Result` of nothing.
#[diagnostic::on_unimplemented(
    message = "a signal's handler returns nothing, or a `Result<()>`: nobody is there to take `{Self}`",
    note = "for an answer, make it an `#[update]`"
)]
pub trait SignalOutcome {
    /// With our own error.
    ///
    /// # Errors
    /// When it is one.
    fn into_result(self) -> Result<()>;
}

impl SignalOutcome for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl<E: Into<crate::Error>> SignalOutcome for std::result::Result<(), E> {
    fn into_result(self) -> Result<()> {
        self.map_err(Into::into)
    }
}
