//! Activities: code that does things, run at least once, anywhere.
//!
//! - [`Activity`]: what an activity knows and can do while it runs (`context`).
//! - [`ActivityDef`]: a definition, made by the macros (`def`). `heartbeat`: how signs of life are throttled.

mod context;
mod def;
pub(crate) mod heartbeat;

pub use self::{
    context::{Activity, ActivityInfo, CancelReason, TaskToken},
    def::{Activities, ActivityDef},
};
pub(crate) use self::{
    context::{CancelSwitch, Origins},
    def::Body,
};
