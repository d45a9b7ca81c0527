//! Every durable state machine of a workflow execution: its run, workflow task, activities, timers, children, signals.
//!
//! [`step()`] is the whole of it: a workflow id's state in, one input in, an outcome out. There is no I/O, no clock, no
//! randomness but the [`Moment`]'s, and no hash order: the same moments give the same bytes. The shell around it (crate
//! `history`) loads the chain, commits the [`Outcome`], dispatches its tasks, sends its effects and wakes it when a
//! deadline is due.
//!
//! Start reading at `step.rs`, then `transition.rs` (a step in the making), then one feature in `workflow/`, say
//! `timer.rs`. What an event means for the state is in `fold.rs`, once.

#![expect(deprecated, reason = "fields that newer SDKs no longer use are carried along for those that do")]

mod buffer;
mod deadline;
pub mod effect;
mod event;
mod fold;
pub mod input;
pub mod invariants;
pub mod limits;
mod moment;
pub mod outcome;
pub mod retry;
pub mod state;
mod step;
mod transition;
mod workflow;

pub use buffer::BUFFERED;
pub use effect::Effect;
pub use input::Input;
pub use limits::Limits;
pub use moment::Moment;
pub use outcome::{Outcome, Rejected, Reply, RunChange};
pub use state::{Chain, Run, RunNumber};
pub use step::step;
pub use workflow::{cron::validate as validate_cron, task::virtual_events, update::failure_of_closed_run};
