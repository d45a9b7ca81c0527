//! Workers that come and vanish while load goes on: in the middle of polls, with tasks in hand, connections and all.

use std::time::{Duration, Instant};

use anyhow::Result;
use mainspring_api::time::duration;
use tonic::Status;

use crate::figures::report::Report;
use crate::load::{Until, closed_loop};
use crate::requests::{self, payloads};
use crate::rpc::Pool;
use crate::scenario::context::{Context, finish};
use crate::scenario::list;
use crate::worker::behavior::Behavior;
use crate::worker::{Config, Worker};

/// Workers at any time; the oldest one goes when a new one comes.
const WORKERS: usize = 4;
const INTERVAL: Duration = Duration::from_millis(100);
/// A task in hand is what a worker vanishes with.
const THINK: Duration = Duration::from_millis(15);
/// What a vanished worker held is given to another one after this.
const TASK_TIMEOUT: Duration = Duration::from_secs(1);
/// A workflow that meets vanishing workers again and again still has to be closed by then.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(context: &Context) -> Result<Report> {
    let seconds = context.sizes.pick(context.sizes.secs, 4.0, 30.0);
    let queue = context.name("churn");
    let (load, name) = (context.clone(), queue.clone());
    let meter = context.meter();
    let until = Until::Elapsed(Duration::from_secs_f64(seconds));
    let loading = tokio::spawn(closed_loop(until, context.parallel, move |i| {
        let (context, queue) = (load.clone(), name.clone());
        async move {
            let closed = run_to_close(&context, &queue, i);
            let lost = |_| Status::deadline_exceeded(format!("workflow {i} is lost"));
            tokio::time::timeout(PATIENCE, closed).await.map_err(lost)?
        }
    }));
    let mut report = Report::default();
    let mut vanished = churn(context, &queue, Duration::from_secs_f64(seconds), &mut report).await?;
    // One that stays, so that all workflows can end.
    let last = spawn(context, &queue, Duration::ZERO).await?;
    let seen = loading.await?;
    let found = std::mem::take(&mut report);
    report = finish(&meter, "churn", context.parallel, seen);
    report.blame(found.errors, found.first_error);
    vanished.late += last.tally.late();
    report.blame(last.tally.errors(), last.tally.first_error().filter(|_| last.tally.errors() > 0));
    report.add("workers_vanished", vanished.workers as f64);
    report.add("answers_too_late", vanished.late as f64);
    let running = still_running(context, &queue).await?;
    if running > 0 {
        report.blame(running, Some(format!("{running} workflows are still running at the end")));
    }
    Ok(report)
}

#[derive(Default)]
struct Vanished {
    workers: u64,
    late: u64,
}

/// Replaces workers until the time is over.
async fn churn(context: &Context, queue: &str, time: Duration, report: &mut Report) -> Result<Vanished> {
    let mut vanished = Vanished::default();
    let mut workers = std::collections::VecDeque::new();
    let began = Instant::now();
    while began.elapsed() < time {
        workers.push_back(spawn(context, queue, THINK).await?);
        if workers.len() > WORKERS
            && let Some(worker) = workers.pop_front()
        {
            vanished.workers += 1;
            vanished.late += worker.tally.late();
            report.blame(worker.tally.errors(), worker.tally.first_error().filter(|_| worker.tally.errors() > 0));
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(vanished)
}

/// A worker on connections of its own, which end with it.
async fn spawn(context: &Context, queue: &str, think: Duration) -> Result<Worker> {
    let polls = Pool::connect(&context.address, 1).await?;
    let calls = Pool::connect(&context.address, 1).await?;
    let config = Config {
        sticky: true,
        think,
        pollers: 2,
        activity_seconds: TASK_TIMEOUT.as_secs(),
        ..context.worker_config(queue, Behavior::OneActivity)
    };
    Ok(Worker::spawn(config, &polls, &calls))
}

async fn run_to_close(context: &Context, queue: &str, i: u64) -> Result<(), Status> {
    let id = format!("{queue}-{i}");
    let mut request = requests::start(&context.namespace, queue, "churn", &id);
    request.input = Some(payloads(context.sizes.payload));
    request.workflow_task_timeout = Some(duration(TASK_TIMEOUT));
    let run_id = context.calls.call(request).await?.run_id;
    requests::wait_closed(&context.calls, &context.namespace, &id, &run_id).await
}

/// Lists may trail what happens, so a number that goes down is waited for.
async fn still_running(context: &Context, queue: &str) -> Result<u64, Status> {
    let query = format!("TaskQueue=\"{queue}\" AND ExecutionStatus=\"Running\"");
    let began = Instant::now();
    loop {
        let running = list::count(context, &query).await?;
        if running == 0 || began.elapsed() > Duration::from_secs(10) {
            return Ok(running);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
