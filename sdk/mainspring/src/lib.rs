//! Durable execution in Rust: activities, workflows and clients for Mainspring and Temporal servers.
//!
//! A workflow is a function whose progress survives every crash. It calls activities, which do things and are tried
//! again when they fail:
//!
//! ```no_run
//! use mainspring::prelude::*;
//!
//! #[activity(start_to_close = "10s")]
//! async fn compose(name: String) -> Result<String> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! #[workflow]
//! async fn greet(cx: Ctx, name: String) -> Result<String> {
//!     cx.run(compose(name)).await
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     let client = Client::connect(Connect::from_env()?).await?;
//!     let worker = Worker::builder(&client, "hello").register(greet::def()).register(compose::def()).spawn()?;
//!     let handle = client.start(greet("Temporal".into()).id("hello-1").queue("hello")).await?;
//!     println!("{}", handle.result().await?);
//!     worker.stop().await?;
//!     Ok(())
//! }
//! ```
//!
//! With state, signals, queries and updates it is a struct:
//!
//! ```
//! use mainspring::prelude::*;
//!
//! #[derive(Default)]
//! #[workflow]
//! pub struct Order {
//!     approved: Var<Option<String>>,
//! }
//!
//! #[workflow]
//! impl Order {
//!     async fn run(&self, cx: Ctx, cents: u64) -> Result<String> {
//!         let by = cx.timeout(days(3), self.approved.some()).await?;
//!         Ok(format!("{cents} cents, approved by {by}"))
//!     }
//!
//!     #[signal]
//!     fn approve(&self, by: String) {
//!         self.approved.set(Some(by));
//!     }
//!
//!     #[query]
//!     fn is_approved(&self) -> bool {
//!         self.approved.get().is_some()
//!     }
//! }
//!
//! let call = Order::start(500).id("order-7").queue("orders");
//! let approval = Order::approve("ann".to_owned());
//! ```
//!
//! - Workflows: [`macro@workflow`], [`Ctx`], [`mod@workflow`]; [`Replayer`] for histories.
//! - Activities: [`macro@activity`], [`macro@activities`], [`Activity`].
//! - Clients: [`Client`], [`Connect`], [`client::WorkflowHandle`]. Calls of other languages' code: [`Call`], [`Signal`],
//!   [`Query`], [`Update`].
//! - Workers: [`Worker`].
//! - Tests: the feature `testing`, with a server whose clock skips; [`TestActivity`].
//! - Values on the wire: [`payload`], [`codec`], [`DataConverter`]. Errors: [`Error`].
#![warn(missing_docs)]

#[cfg(feature = "testing")]
pub use mainspring_macros::test;
pub use mainspring_macros::{activities, activity, query, signal, update, workflow};
pub use mainspring_sdk::*;

#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub mod __rt {
    pub use mainspring_sdk::rt::*;

    #[cfg(feature = "testing")]
    pub use crate::testing::run as run_test;
}

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
#[doc = include_str!("../../../docs/rust-workflows.md")]
#[doc = include_str!("../../../docs/rust-testing.md")]
mod pages {}
