//! Lists and counts with a filter.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use mainspring_api::v1::workflowservice::{CountWorkflowExecutionsRequest, ListWorkflowExecutionsRequest};
use tonic::Status;

use crate::figures::process::cpu_seconds;
use crate::figures::report::Report;
use crate::load::closed_loop;
use crate::scenario::context::{Context, finish};

const PAGE: i32 = 100;
const USUAL_SECONDS: f64 = 3.0;
/// Lists may trail what happens.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(context: &Context) -> Result<Report> {
    let workflows = context.sizes.pick(context.sizes.workflows, 100, 3_000);
    // A type of its own, so that the matches are exactly these.
    let kind = context.name("list");
    context.start_many(&kind, &kind, &kind, workflows).await?;
    let query = format!("WorkflowType=\"{kind}\" AND ExecutionStatus=\"Running\"");
    let lag = wait_until_counted(context, &query, workflows).await?;

    let (counting, filter) = (context.clone(), query.clone());
    let cpu = context.pid.map_or(0.0, cpu_seconds);
    let counted = closed_loop(context.until(10, USUAL_SECONDS / 2.0), context.parallel, move |_| {
        let (context, query) = (counting.clone(), filter.clone());
        async move { count(&context, &query).await.map(drop) }
    })
    .await;
    let count_cpu = context.pid.map_or(0.0, cpu_seconds) - cpu;

    let listing = context.clone();
    let meter = context.meter();
    let seen = closed_loop(context.until(10, USUAL_SECONDS), context.parallel, move |_| {
        let request = ListWorkflowExecutionsRequest {
            namespace: listing.namespace.clone(),
            page_size: PAGE,
            query: query.clone(),
            ..Default::default()
        };
        let calls = listing.calls.clone();
        async move {
            let got = calls.call(request).await?.executions.len() as u64;
            if got == workflows.min(PAGE as u64) { Ok(()) } else { Err(Status::internal(format!("a page of {got}"))) }
        }
    })
    .await;
    let mut report = finish(&meter, "list", context.parallel, seen);
    if let Some(latency) = counted.latencies.percentiles() {
        report.add("count_p50_ms", latency.p50);
    }
    report.add("count_cpu_ms_per_op", count_cpu * 1e3 / counted.count().max(1) as f64);
    report.add("workflows", workflows as f64);
    report.add("visibility_lag_s", lag.as_secs_f64());
    report.blame(counted.errors, counted.first_error);
    context.terminate_many(&kind, workflows).await;
    Ok(report)
}

/// How long it took until all of them were counted.
async fn wait_until_counted(context: &Context, query: &str, wanted: u64) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let counted = count(context, query).await?;
        if counted >= wanted {
            return Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE {
            bail!("{counted} of {wanted} are counted after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn count(context: &Context, query: &str) -> Result<u64, Status> {
    let request = CountWorkflowExecutionsRequest { namespace: context.namespace.clone(), query: query.to_owned() };
    let count = context.calls.call(request).await?.count;
    u64::try_from(count).map_err(|_| Status::internal(format!("a count of {count}")))
}
