//! Activities: code that does things, run at least once, anywhere.
//!
//! - [`Activity`]: what an activity knows and can do while it runs (`context`).
//! - [`ActivityDef`]: a definition, made by the macros (`def`). `heartbeat`: how signs of life are throttled.
//! - [`TestActivity`]: runs one activity without a server (`testing`).

mod context;
mod def;
pub(crate) mod heartbeat;
mod testing;

pub use self::{
    context::{Activity, ActivityInfo, CancelReason, TaskToken},
    def::{Activities, ActivityDef},
    testing::TestActivity,
};
pub(crate) use self::{
    context::{CancelSwitch, Origins},
    def::Body,
};
