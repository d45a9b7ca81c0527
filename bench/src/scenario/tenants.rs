//! Many namespaces and task queues at once, each with a worker of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mainspring_api::v1::workflowservice::RegisterNamespaceRequest;
use tonic::{Code, Status};

use crate::figures::latency::{Latencies, median};
use crate::figures::report::Report;
use crate::load::closed_loop;
use crate::locked;
use crate::requests::seconds;
use crate::rpc::told;
use crate::scenario::context::{Context, finish};
use crate::worker::Worker;
use crate::worker::behavior::Behavior;

const DAY: u64 = 86_400;
/// A server may take some seconds until it knows a namespace everywhere.
const PATIENCE: Duration = Duration::from_secs(60);
const USUAL_SECONDS: f64 = 6.0;

/// A namespace's task queue and what its clients saw.
struct Lane {
    context: Context,
    queue: String,
    latencies: std::sync::Mutex<Latencies>,
}

pub(crate) async fn run(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    let (namespaces, queues) = (sizes.pick(sizes.workflows, 3, 20), sizes.pick(sizes.steps, 2, 5));
    let mut lanes = Vec::new();
    for i in 0..namespaces {
        let tenant = register(context, &context.name(&format!("tenant{i}"))).await?;
        lanes.extend((0..queues).map(|i| Lane {
            queue: tenant.name(&format!("queue{i}")),
            context: tenant.clone(),
            latencies: std::sync::Mutex::default(),
        }));
    }
    let workers: Vec<Worker> =
        lanes.iter().map(|lane| lane.context.worker(&lane.queue, Behavior::OneActivity)).collect();
    let lanes: Arc<Vec<Lane>> = Arc::new(lanes);
    let all = lanes.clone();
    let meter = context.meter();
    let seen = closed_loop(context.until(lanes.len() as u64 * 5, USUAL_SECONDS), context.parallel, move |i| {
        let all = all.clone();
        async move {
            let lane = &all[i as usize % all.len()];
            let began = Instant::now();
            lane.context.run_to_close(&lane.queue, "tenant", &format!("{}-{i}", lane.queue)).await?;
            locked(&lane.latencies).push(began.elapsed());
            Ok(())
        }
    })
    .await;
    let mut report = finish(&meter, "tenants", context.parallel, seen);
    for worker in &workers {
        worker.tally.blame(&mut report);
    }
    report.add("namespaces", namespaces as f64);
    report.add("queues", lanes.len() as f64);
    let of_lanes: Vec<f64> = lanes.iter().filter_map(|lane| Some(locked(&lane.latencies).percentiles()?.p50)).collect();
    report.add("p50_ms_of_median_queue", median(&of_lanes).unwrap_or_default());
    report.add("p50_ms_of_slowest_queue", of_lanes.iter().copied().fold(0.0, f64::max));
    if of_lanes.len() < lanes.len() {
        report.blame(1, Some(format!("{} of {} queues did no work", lanes.len() - of_lanes.len(), lanes.len())));
    }
    Ok(report)
}

/// A new namespace, once workflows can be started in it.
async fn register(context: &Context, name: &str) -> Result<Context> {
    let request = RegisterNamespaceRequest {
        namespace: name.to_owned(),
        workflow_execution_retention_period: seconds(DAY),
        ..Default::default()
    };
    context.calls.call(request).await.map_err(|status| anyhow::anyhow!(told(&status))).context("RegisterNamespace")?;
    let mut tenant = context.clone();
    name.clone_into(&mut tenant.namespace);
    tenant.sizes.pollers = 2;
    let began = Instant::now();
    while let Err(status) = can_start(&tenant).await {
        if status.code() != Code::NotFound || began.elapsed() > PATIENCE {
            bail!("namespace {name} is not usable: {}", told(&status));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(tenant)
}

async fn can_start(tenant: &Context) -> Result<(), Status> {
    let id = tenant.name("first");
    tenant.start(&id, "first", &id).await?;
    tenant.terminate(&id).await;
    Ok(())
}
