//! Durable execution in Rust: activities, workflows and clients for Mainspring and Temporal servers.
//!
//! An activity is code that does things. A worker runs it, again if it fails, on whatever machine has room:
//!
//! ```no_run
//! use mainspring::prelude::*;
//!
//! #[activity(start_to_close = "10s")]
//! async fn compose(name: String) -> Result<String> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     let client = Client::connect(Connect::from_env()?).await?;
//!     Worker::builder(&client, "hello").register(compose::def()).run().await?;
//!     Ok(())
//! }
//! ```
//!
//! - Activities: [`macro@activity`], [`macro@activities`], [`Activity`].
//! - Clients: [`Client`], [`Connect`], [`client::WorkflowHandle`]. Calls of other languages' code: [`Call`], [`Signal`],
//!   [`Query`], [`Update`].
//! - Workers: [`Worker`].
//! - Values on the wire: [`payload`], [`codec`], [`DataConverter`]. Errors: [`Error`].
#![warn(missing_docs)]

pub use mainspring_macros::{activities, activity, query, signal, update, workflow};
pub use mainspring_sdk::*;

#[doc(hidden)]
pub use mainspring_sdk::rt as __rt;

/// All that most programs name.
pub mod prelude {
    pub use mainspring_macros::{activities, activity, query, signal, update, workflow};
    pub use mainspring_sdk::{
        Activity, ActivityCall, Call, CancelKind, Client, ClientError, Connect, DataConverter, Error, IdReuse,
        OnConflict, Pollers, Priority, Query, Result, RetryPolicy, SearchAttributes, Signal, Slots, Tls, Update,
        Versioning, Worker, WorkflowCall,
        client::WorkflowHandle,
        durations::{days, hours, millis, mins, secs},
        join, race,
        workflow::{CancelScope, Ctx, Unordered, Var, join_all},
    };
}

/// The pages about Rust, whose blocks are tested.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust-activities.md")]
mod pages {}
