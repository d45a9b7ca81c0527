//! Workflows: code whose progress is kept in a history, and which goes on from there after any crash.
//!
//! A workflow is an ordinary `async fn` that is given a [`Ctx`]. It must do the same again when it is replayed from its
//! history; everything that can differ comes through the context.
//!
//! The context and all it gives stay on their thread. Tokio's tasks and threads are refused by the compiler:
//!
//! ```compile_fail,E0277
//! # use mainspring_sdk::workflow::Ctx;
//! fn wrong(cx: Ctx) {
//!     tokio::spawn(async move { cx.sleep(std::time::Duration::from_secs(1)).await });
//! }
//! ```
//!
//! ```compile_fail,E0277
//! # use mainspring_sdk::workflow::Var;
//! fn wrong(count: Var<u32>) {
//!     std::thread::spawn(move || count.set(1));
//! }
//! ```
//!
//! - [`Ctx`]: what a workflow can do; [`Op`], [`ChildHandle`], [`SignalStream`], [`CancelScope`]: what it gets.
//! - [`Var`], [`sync`], [`Map`] and [`Set`]: state. [`join!`](crate::join), [`race!`](crate::race), [`join_all`],
//!   [`Unordered`]: waiting for several things.
//! - [`WorkflowDef`]: what a worker is given. [`Fault`]: why a workflow task failed.
//!
//! Inside: `instance` is a run in memory, `ops` its operations with a file for each kind, `history` the reading of
//! events, `task` branches and wakers. None of it reads a clock or knows a runtime.

mod activity;
mod branch;
mod child;
mod children;
mod collections;
mod context;
pub(crate) mod def;
mod describe;
mod external;
mod fault;
pub(crate) mod history;
mod info;
pub(crate) mod instance;
pub(crate) mod local_activity;
mod marker;
mod op;
mod ops;
pub(crate) mod panic;
mod patch;
mod query;
pub(crate) mod random;
pub(crate) mod rehearsal;
mod rng;
mod run;
mod scope;
mod select;
mod side_effect;
mod signal;
pub mod sync;
pub(crate) mod task;
mod timer;
mod update;
mod var;

pub use self::{
    branch::BranchHandle,
    children::{ChildHandle, OtherWorkflow, StartedChild},
    collections::{Map, Set},
    context::{Ctx, LocalOp},
    def::WorkflowDef,
    fault::{Fault, LastOperation, Mismatch, Panicked},
    info::{Execution, WorkflowInfo},
    op::Op,
    rng::WorkflowRng,
    scope::{CancelRequested, CancelScope},
    select::{__join2, Either, Unordered, join_all, race2},
    signal::{HandlerRun, SignalStream},
    var::Var,
};

#[cfg(test)]
pub(crate) mod tests;
