//! Workflows that sleep: how late they wake, and what many of them cost.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};

use crate::figures::process::rss_mib;
use crate::figures::report::Report;
use crate::load::{Until, closed_loop};
use crate::locked;
use crate::note;
use crate::scenario::context::{Context, finish};
use crate::worker::behavior::Behavior;

const STALL: Duration = Duration::from_secs(30);
const HOURS: f64 = 6.0 * 3600.0;

/// All sleep, then all wake. The latency is from the due time until a worker has the task.
pub(crate) async fn timer(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    let count = sizes.pick(sizes.count, 50, 10_000);
    let delay = Duration::from_secs_f64(sizes.pick(sizes.timer_secs, 2.0, 90.0));
    let due = sizes.herd.then(|| SystemTime::now() + delay);
    let queue = context.name("timer");
    let worker = context.worker(&queue, Behavior::Timer { delay, due });
    let meter = context.meter();
    context.start_many(&queue, "timer", &queue, count).await?;
    let asleep = worker.tally.wait_until(STALL, |tally| tally.workflow_tasks() >= count).await;
    let (slept, woken) = (meter.seconds(), worker.tally.closed());
    let (began, cpu) = (Instant::now(), meter.server_cpu());
    let awake = worker.tally.wait_until(delay + STALL, |tally| tally.closed() >= count).await;
    let late = locked(&worker.tally.late_polls).clone();
    let mut report = meter.finish("timer", late.len() as u64, &late);
    report.parallel = context.parallel;
    report.add("setup_seconds", slept);
    report.add("woken_before_all_slept", woken as f64);
    report.add("wake_seconds", began.elapsed().as_secs_f64());
    report.add("wake_cpu_ms_per_op", (meter.server_cpu() - cpu) * 1e3 / count as f64);
    if let Some(recorded) = locked(&worker.tally.late_events).percentiles() {
        report.add("recorded_late_p99_ms", recorded.p99);
    }
    worker.tally.blame(&mut report);
    if !(asleep && awake) {
        report.blame(1, Some(format!("{} of {count} woke", worker.tally.closed())));
    }
    Ok(report)
}

/// None wakes while we look. The operation is a workflow put to sleep.
pub(crate) async fn sleepers(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    let count = sizes.pick(sizes.count, 200, 50_000);
    let delay = Duration::from_secs_f64(sizes.timer_secs.unwrap_or(HOURS));
    let queue = context.name("sleepers");
    let worker = context.worker(&queue, Behavior::Timer { delay, due: None });
    let meter = context.meter();
    let (starting, name) = (context.clone(), queue.clone());
    let seen = closed_loop(Until::Count(count), context.parallel, move |i| {
        let (context, queue) = (starting.clone(), name.clone());
        async move {
            context.start(&queue, "sleepers", &format!("{queue}-{i}")).await?;
            if (i + 1) % 50_000 == 0 {
                let rss = context.pid.map_or(0.0, rss_mib);
                note(&format!("{} of {count} are started, RSS {rss:.0} MiB", i + 1));
            }
            Ok(())
        }
    })
    .await;
    let asleep = worker.tally.wait_until(STALL, |tally| tally.workflow_tasks() >= count).await;
    if !asleep {
        bail!("{} of {count} sleep: {:?}", worker.tally.workflow_tasks(), worker.tally.first_error());
    }
    let mut report = finish(&meter, "sleepers", context.parallel, seen);
    worker.tally.blame(&mut report);
    report.add("rss_kib_per_sleeper", meter.rss_growth_mib() * 1024.0 / count as f64);
    let (cpu, began) = (meter.server_cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(if sizes.quick { 1 } else { 10 })).await;
    report.add("cpu_percent_afterwards", (meter.server_cpu() - cpu) * 100.0 / began.elapsed().as_secs_f64());
    probe(context, &mut report).await;
    if worker.tally.closed() > 0 {
        report.blame(1, Some(format!("{} woke too early", worker.tally.closed())));
    }
    Ok(report)
}

/// Other workflows go on while these sleep.
async fn probe(context: &Context, report: &mut Report) {
    let queue = context.name("probe");
    let worker = context.worker(&queue, Behavior::OneActivity);
    let probing = context.clone();
    let count = if context.sizes.quick { 20 } else { 500 };
    let seen = closed_loop(Until::Count(count), 1, move |i| {
        let (context, queue) = (probing.clone(), queue.clone());
        async move { context.run_to_close(&queue, "probe", &format!("{queue}-{i}")).await }
    })
    .await;
    if let Some(latency) = seen.latencies.percentiles() {
        report.add("one_activity_p50_ms", latency.p50);
        report.add("one_activity_p99_ms", latency.p99);
    }
    report.blame(seen.errors, seen.first_error);
    worker.tally.blame(report);
}
