//! A server that does next to nothing: the limit that RPC and disk set.
//!
//! It walks the cycle of start, workflow task, activity and close in memory, without validation, history, timers or
//! recovery. With a log, each change is appended to it and answered once a sync has covered it. Its figures are a bound to
//! compare with. [`runs`] holds the cycle, [`service`] what is gRPC about it, [`log`] the file.

mod log;
mod runs;
mod service;

use std::sync::Arc;

use anyhow::Context;

use crate::args::NullOptions;
use crate::null::{log::Log, runs::Runs, service::NullService};

/// The version that the null server gives itself, by which scenarios know it.
pub(crate) const VERSION: &str = "null";

/// Serves until the process is ended.
///
/// # Errors
/// When the log cannot be opened or the address is taken.
pub(crate) async fn serve(options: &NullOptions) -> anyhow::Result<()> {
    let log = match &options.log {
        Some(path) => Some(Log::open(path, options.record_bytes).with_context(|| path.display().to_string())?),
        None => None,
    };
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .serve(options.listen, NullService::new(Arc::new(Runs::new(log))))
        .await
        .with_context(|| format!("cannot serve on {}", options.listen))
}
