//! What a workflow with one activity costs its worker.

use std::time::Instant;

use anyhow::{Result, bail};
use mainspring_api::v1::{Payload, common::Payloads};
use tonic::Status;

use crate::figures::process::{cpu_seconds, reset_peak, rss_peak_mib};
use crate::load::{Until, closed_loop};
use crate::requests::{self, wait_closed};
use crate::scenario::context::Context;
use crate::sdk::process::{Mode, Program};
use crate::sdk::{Rows, SdkOptions, in_turn, rows};

const NAMES: [&str; 5] = [
    "one-activity workflows a second",
    "p50, ms",
    "p99, ms",
    "worker CPU a workflow, ms",
    "worker memory at that load, peak, MiB",
];

pub(super) async fn measure(context: &Context, options: &SdkOptions) -> Result<Rows> {
    let figures = in_turn("load", options, async |program| once(context, options, program).await).await?;
    Ok(rows(NAMES, &figures))
}

async fn once(context: &Context, options: &SdkOptions, program: &Program) -> Result<[f64; NAMES.len()]> {
    let queue = format!("{}-{:x}", context.name("sdk"), fresh());
    let mut worker = program.worker(&options.address, &queue, Mode::Usual)?;
    let sizes = &options.sizes;
    let operation = |stage: &'static str| {
        let (context, queue) = (context.clone(), queue.clone());
        move |i: u64| {
            let (context, queue) = (context.clone(), queue.clone());
            async move { one_activity(&context, &queue, &format!("{queue}-{stage}-{i}")).await }
        }
    };
    closed_loop(Until::Count(sizes.pick(None, 10, 300)), context.parallel, operation("warm")).await;
    let pid = worker.pid()?;
    reset_peak(pid);
    let (began, cpu) = (Instant::now(), cpu_seconds(pid));
    let seen = closed_loop(Until::Count(sizes.pick(sizes.count, 20, 3_000)), context.parallel, operation("run")).await;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(pid) - cpu);
    if let Some(error) = &seen.first_error {
        bail!("{} of the workflows of {} failed: {error}", seen.errors, program.name);
    }
    let latency = seen.latencies.percentiles().unwrap_or_default();
    let count = seen.count() as f64;
    Ok([count / seconds, latency.p50, latency.p99, cpu * 1e3 / count, rss_peak_mib(pid)])
}

async fn one_activity(context: &Context, queue: &str, id: &str) -> Result<(), Status> {
    let run_id = start(context, queue, "OneActivity", id, "\"x\"").await?;
    wait_closed(&context.calls, &context.namespace, id, &run_id).await
}

/// Starts a workflow with one JSON argument; its run id.
pub(super) async fn start(
    context: &Context,
    queue: &str,
    kind: &str,
    id: &str,
    argument: &str,
) -> Result<String, Status> {
    let mut request = requests::start(&context.namespace, queue, kind, id);
    request.input = Some(Payloads { payloads: vec![Payload::new("json/plain", argument.as_bytes())] });
    Ok(context.calls.call(request).await?.run_id)
}

/// Another number each time, so that rounds do not meet.
pub(super) fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Relaxed)
}
