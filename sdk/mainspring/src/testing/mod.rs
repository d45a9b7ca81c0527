//! Tests of workflows on a server of their own, in the same process, whose clock skips. Feature `testing`.
//!
//! ```test_harness
//! use mainspring::{prelude::*, testing::TestServer};
//!
//! #[activity(start_to_close = "10s")]
//! async fn remind(of: String) -> Result<()> {
//!     println!("remember {of}");
//!     Ok(())
//! }
//!
//! #[workflow]
//! async fn reminder(cx: Ctx, of: String, after_days: u64) -> Result<()> {
//!     cx.sleep(days(after_days)).await?;
//!     cx.run(remind(of)).await
//! }
//!
//! #[mainspring::test]
//! async fn it_reminds_after_a_month(t: TestServer) -> Result<()> {
//!     t.worker("reminders").register(reminder::def()).mock(remind::with(|_of| Ok(()))).spawn();
//!     let start = t.now();
//!     let call = reminder("the milk".to_owned(), 30).id("r-1").queue("reminders");
//!     t.client().start(call).await?.result().await?;
//!     assert!(t.now() >= start + days(30));
//!     Ok(())
//! }
//! ```
//!
//! # The clock
//!
//! The server is the one of production, with its storage in memory and a clock that skips. Time goes as usual while
//! anything is in hand:
//!
//! - a workflow task, from when it is scheduled until a worker has answered it, its local activities included;
//! - an activity, from when it is handed out until the attempt ends: it is never timed out by a skip;
//! - any call to the server, a query too, but for those that only wait.
//!
//! When nothing is, and a client waits, for a result or for an update, the clock jumps to the next deadline: a
//! timer, the next attempt of an activity, a timeout, a delayed start, the next cron run. Between the calls of a test it
//! does not move by itself; [`TestServer::skip`] moves it.
//!
//! As with Temporal's own test server, a task holds the clock also while no worker is there to take it. So time never runs
//! away from a worker that is just about to poll, and to see what comes of a task that nobody takes, a test
//! [jumps](TestServer::jump). What a worker had in hand that was [killed](TestWorker::kill) does not hold the clock.
//!
//! Deadlines of the one who waits, such as that of a poll, go by the machine's clock.

mod server;
mod worker;

pub use mainspring_server::SearchAttributeType;

pub use self::{
    server::{HeldTime, TestServer, TestServerOptions},
    worker::{TestWorker, TestWorkerBuilder},
};

/// Runs a test with a server of its own: what `#[mainspring::test]` expands to.
///
/// # Panics
/// When the server cannot be started.
pub fn run<F, R>(test: F) -> R::Output
where
    F: FnOnce(TestServer) -> R,
    R: Future,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the test can be made");
    runtime.block_on(async { test(TestServer::start().await).await })
}
