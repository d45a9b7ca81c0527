//! Fetches of a long history.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::figures::report::Report;
use crate::load::closed_loop;
use crate::locked;
use crate::requests::{Fetched, fetch_history};
use crate::scenario::context::{Context, finish};
use crate::worker::behavior::Behavior;

pub(crate) async fn run(context: &Context) -> Result<Report> {
    let events = context.sizes.pick(context.sizes.steps, 1_000, 10_000);
    let batch = context.sizes.batch.max(1);
    let id = context.name("history");
    let worker = context.worker(&id, Behavior::Markers { total: events, batch });
    let run_id = context.start(&id, "history", &id).await?;
    let tasks = events.div_ceil(batch);
    if !worker.tally.wait_until(Duration::from_secs(20), |tally| tally.workflow_tasks() >= tasks).await {
        bail!("the history did not grow: {:?}", worker.tally.first_error());
    }
    drop(worker);
    let latest = Arc::new(Mutex::new(Fetched::default()));
    let (fetching, fetched, name) = (context.clone(), latest.clone(), id.clone());
    let meter = context.meter();
    let seen = closed_loop(context.until(3, 3.0), context.parallel, move |_| {
        let (context, fetched, name, run_id) = (fetching.clone(), fetched.clone(), name.clone(), run_id.clone());
        async move {
            *locked(&fetched) = fetch_history(&context.calls, &context.namespace, &name, &run_id).await?;
            Ok(())
        }
    })
    .await;
    let mut report = finish(&meter, "history", context.parallel, seen);
    let fetched = *locked(&latest);
    report.add("pages", fetched.pages as f64);
    report.add("events", fetched.events as f64);
    report.add("bytes", fetched.bytes as f64);
    report.add("events_per_second", report.rate() * fetched.events as f64);
    if fetched.events < events {
        report.blame(1, Some(format!("{} of at least {events} events came", fetched.events)));
    }
    context.terminate(&id).await;
    Ok(report)
}
