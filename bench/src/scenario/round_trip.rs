//! One call, and one workflow from start to close, again and again.

use anyhow::Result;
use mainspring_api::v1::workflowservice::GetSystemInfoRequest;

use crate::figures::report::Report;
use crate::load::{Until, closed_loop};
use crate::scenario::context::{Context, finish};
use crate::worker::behavior::Behavior;

const USUAL_SECONDS: f64 = 6.0;

pub(crate) async fn ping(context: &Context) -> Result<Report> {
    let calls = context.calls.clone();
    let operation = move |_| {
        let calls = calls.clone();
        async move { calls.call(GetSystemInfoRequest::default()).await.map(drop) }
    };
    closed_loop(Until::Count(100), context.parallel, operation.clone()).await;
    let meter = context.meter();
    let seen = closed_loop(context.until(500, USUAL_SECONDS), context.parallel, operation).await;
    Ok(finish(&meter, "ping", context.parallel, seen))
}

pub(crate) async fn start(context: &Context) -> Result<Report> {
    let operation = |stage: &'static str| {
        let (context, queue) = (context.clone(), context.name("start"));
        move |i: u64| {
            let (context, queue) = (context.clone(), queue.clone());
            async move { context.start(&queue, "start", &format!("{queue}-{stage}-{i}")).await.map(drop) }
        }
    };
    closed_loop(Until::Count(50), context.parallel, operation("warm")).await;
    let meter = context.meter();
    let seen = closed_loop(context.until(100, USUAL_SECONDS), context.parallel, operation("run")).await;
    Ok(finish(&meter, "start", context.parallel, seen))
}

pub(crate) async fn echo(context: &Context) -> Result<Report> {
    to_close(context, "echo", Behavior::Echo).await
}

pub(crate) async fn activity(context: &Context) -> Result<Report> {
    to_close(context, "activity", Behavior::OneActivity).await
}

/// The latency is from the start until the client's long poll sees the close.
async fn to_close(context: &Context, scenario: &'static str, behavior: Behavior) -> Result<Report> {
    let queue = context.name(scenario);
    let worker = context.worker(&queue, behavior);
    let operation = |stage: &'static str| {
        let (context, queue) = (context.clone(), queue.clone());
        move |i: u64| {
            let (context, queue) = (context.clone(), queue.clone());
            async move { context.run_to_close(&queue, scenario, &format!("{queue}-{stage}-{i}")).await }
        }
    };
    let warm = if context.sizes.quick { 10 } else { 100 };
    closed_loop(Until::Count(warm), context.parallel, operation("warm")).await;
    let meter = context.meter();
    let seen = closed_loop(context.until(50, USUAL_SECONDS), context.parallel, operation("run")).await;
    let mut report = finish(&meter, scenario, context.parallel, seen);
    worker.tally.blame(&mut report);
    Ok(report)
}
