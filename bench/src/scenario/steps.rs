//! Workflows of many steps, and many workflows that wait for a worker.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::figures::latency::Latencies;
use crate::figures::report::Report;
use crate::locked;
use crate::requests::fetch_history;
use crate::scenario::context::Context;
use crate::worker::behavior::Behavior;

/// A run that does not move for this long is stuck.
const STALL: Duration = Duration::from_secs(30);

pub(crate) async fn sequence(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    let (steps, workflows) = (sizes.pick(sizes.steps, 20, 30), sizes.pick(sizes.workflows, 2, 32));
    let queue = context.name("sequence");
    let worker = context.worker(&queue, Behavior::Sequence { steps });
    let meter = context.meter();
    context.start_many(&queue, "sequence", &queue, workflows).await?;
    let done = worker.tally.wait_until(STALL, |tally| tally.closed() >= workflows).await;
    let latencies = locked(&worker.tally.steps).clone();
    let mut report = meter.finish("sequence", latencies.len() as u64, &latencies);
    report.parallel = workflows as usize;
    report.add("steps", steps as f64);
    settle(&mut report, done, &worker.tally);
    Ok(report)
}

pub(crate) async fn fan_out(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    let (width, workflows) = (sizes.pick(sizes.steps, 50, 1_000), sizes.pick(sizes.workflows, 1, 3));
    let queue = context.name("fanout");
    let worker = context.worker(&queue, Behavior::FanOut { width });
    let mut latencies = Latencies::default();
    let mut done = true;
    let meter = context.meter();
    for i in 0..workflows {
        let began = Instant::now();
        context.start(&queue, "fanout", &format!("{queue}-{i}")).await?;
        done = worker.tally.wait_until(STALL, |tally| tally.closed() > i).await;
        if !done {
            break;
        }
        latencies.push(began.elapsed());
    }
    let mut report = meter.finish("fanout", worker.tally.activities(), &latencies);
    report.parallel = width as usize;
    report.add("workflow_tasks", worker.tally.workflow_tasks() as f64);
    settle(&mut report, done, &worker.tally);
    Ok(report)
}

pub(crate) async fn long_history(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    // Six events a step.
    let steps = sizes.pick(sizes.steps, 100, 3_333);
    let edge = (steps / 3).clamp(1, 1_000);
    let queue = context.name("longhistory");
    let worker = context.worker(&queue, Behavior::Sequence { steps });
    let meter = context.meter();
    let run_id = context.start(&queue, "longhistory", &queue).await?;
    let mut marks = Vec::new();
    for step in [1, edge, steps - edge, steps.saturating_sub(1)] {
        let reached = worker.tally.wait_until(STALL, |tally| locked(&tally.steps).len() as u64 >= step).await;
        if !reached {
            bail!("stalled before step {step}: {:?}", worker.tally.first_error());
        }
        marks.push(meter.server_cpu());
    }
    let done = worker.tally.wait_until(STALL, |tally| tally.closed() >= 1).await;
    let latencies = locked(&worker.tally.steps).clone();
    let mut report = meter.finish("longhistory", latencies.len() as u64, &latencies);
    report.parallel = 1;
    let (first, last) = latencies.ends(edge as usize);
    let fetched = fetch_history(&context.calls, &context.namespace, &queue, &run_id).await?;
    report.add("events", fetched.events as f64);
    report.add("history_bytes", fetched.bytes as f64);
    report.add("edge_steps", edge as f64);
    report.add("first_mean_ms", first);
    report.add("last_mean_ms", last);
    report.add("first_cpu_ms_per_step", (marks[1] - marks[0]) * 1e3 / edge as f64);
    report.add("last_cpu_ms_per_step", (marks[3] - marks[2]) * 1e3 / edge as f64);
    settle(&mut report, done, &worker.tally);
    Ok(report)
}

pub(crate) async fn backlog(context: &Context) -> Result<Report> {
    let count = context.sizes.pick(context.sizes.count, 100, 5_000);
    let queue = context.name("backlog");
    context.start_many(&queue, "backlog", &queue, count).await?;
    let meter = context.meter();
    let worker = context.worker(&queue, Behavior::Echo);
    let done = worker.tally.wait_until(STALL, |tally| tally.closed() >= count).await;
    let mut report = meter.finish("backlog", worker.tally.closed(), &Latencies::default());
    report.parallel = context.sizes.pollers;
    settle(&mut report, done, &worker.tally);
    Ok(report)
}

fn settle(report: &mut Report, is_done: bool, tally: &crate::worker::tally::Tally) {
    tally.blame(report);
    if !is_done {
        report.blame(1, Some(format!("nothing moved for {} s before the end", STALL.as_secs())));
    }
}
