//! Mixed load at a fixed pace for minutes: do latency and memory stay where they began?

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tonic::Status;

use crate::figures::process::rss_mib;
use crate::figures::report::Report;
use crate::figures::table::progress;
use crate::load::Seen;
use crate::locked;
use crate::note;
use crate::scenario::calls::Serving;
use crate::scenario::context::{Context, finish};
use crate::worker::behavior::Behavior;

/// A server that falls behind by more operations than this has lost the pace.
const BEHIND_MAX: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(context: &Context) -> Result<Report> {
    let sizes = &context.sizes;
    let time = Duration::from_secs_f64(sizes.pick(sizes.secs, 4.0, 600.0));
    let rate = sizes.pick(sizes.rate, 20.0, 200.0).max(0.1);
    let interval = Duration::from_secs(if sizes.quick { 1 } else { 10 }).min(time);
    let mix = Arc::new(Mix::start(context).await?);
    let meter = context.meter();
    let watch = Arc::new(Mutex::new(Seen::default()));
    let mut intervals = Vec::new();
    let mut all = Seen::default();
    let mut under_way = tokio::task::JoinSet::new();
    let began = Instant::now();
    let mut issued = 0_u32;
    let mut lost_pace = false;
    while began.elapsed() < time && !lost_pace {
        // Each operation has its time, whether or not those before it are answered: waiting counts as latency.
        let due = began + Duration::from_secs_f64(f64::from(issued) / rate);
        tokio::time::sleep_until(due.into()).await;
        let (mixed, watching) = (mix.clone(), watch.clone());
        under_way.spawn(async move {
            let done = mixed.operation(u64::from(issued)).await;
            locked(&watching).take(due, done);
        });
        issued += 1;
        while under_way.try_join_next().is_some() {}
        lost_pace = under_way.len() > BEHIND_MAX;
        if began.elapsed() >= interval * (intervals.len() as u32 + 1) {
            let seen = std::mem::take(&mut *locked(&watch));
            intervals.push(Interval::close(context, began.elapsed(), interval, &seen));
            all.append(seen);
        }
    }
    let ended = tokio::time::timeout(PATIENCE, async { while under_way.join_next().await.is_some() {} }).await;
    all.append(std::mem::take(&mut *locked(&watch)));
    let mut report = finish(&meter, "steady", context.parallel, all);
    mix.blame(&mut report);
    if lost_pace || ended.is_err() {
        report.blame(1, Some(format!("the server fell behind: {} operations were not answered", under_way.len())));
    }
    report.add("asked_rate", rate);
    compare_ends(&intervals, if sizes.quick { 1 } else { 6 }, &mut report);
    Ok(report)
}

/// Of ten operations: seven workflows with an activity, two signals, one query.
struct Mix {
    context: Context,
    queue: String,
    worker: crate::worker::Worker,
    serving: Serving,
}

impl Mix {
    async fn start(context: &Context) -> Result<Mix> {
        let queue = context.name("steady");
        let worker = context.worker(&queue, Behavior::OneActivity);
        // So many that their histories stay short.
        let count = if context.sizes.quick { 10 } else { 500 };
        let serving = Serving::start(context, "steadily", count).await?;
        Ok(Mix { context: context.clone(), queue, worker, serving })
    }

    async fn operation(&self, i: u64) -> Result<(), Status> {
        match i % 10 {
            0 | 5 => self.serving.signal(i).await,
            9 => self.serving.query(i).await,
            _ => self.context.run_to_close(&self.queue, "steady", &format!("{}-{i}", self.queue)).await,
        }
    }

    fn blame(&self, report: &mut Report) {
        self.worker.tally.blame(report);
        self.serving.worker().tally.blame(report);
    }
}

/// What a stretch of some seconds saw.
struct Interval {
    rate: f64,
    p50: f64,
    p99: f64,
    rss_mib: Option<f64>,
}

impl Interval {
    fn close(context: &Context, at: Duration, length: Duration, seen: &Seen) -> Interval {
        let latency = seen.latencies.percentiles();
        let interval = Interval {
            rate: seen.count() as f64 / length.as_secs_f64(),
            p50: latency.map_or(0.0, |latency| latency.p50),
            p99: latency.map_or(0.0, |latency| latency.p99),
            rss_mib: context.pid.map(rss_mib),
        };
        note(&progress(at.as_secs_f64(), interval.rate, interval.p50, interval.p99, interval.rss_mib));
        interval
    }
}

/// The first `count` stretches beside the last ones: a minute each in the full form.
fn compare_ends(intervals: &[Interval], count: usize, report: &mut Report) {
    let count = count.min(intervals.len());
    let mean = |part: &[Interval], figure: fn(&Interval) -> f64| {
        part.iter().map(figure).sum::<f64>() / part.len().max(1) as f64
    };
    for (name, part) in [("first", &intervals[..count]), ("last", &intervals[intervals.len() - count..])] {
        report.add(&format!("{name}_p50_ms"), mean(part, |interval| interval.p50));
        report.add(&format!("{name}_p99_ms"), mean(part, |interval| interval.p99));
        report.add(&format!("{name}_rss_mib"), mean(part, |interval| interval.rss_mib.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_minute_stands_beside_the_last() {
        let at = |p50: f64| Interval { rate: 1.0, p50, p99: 2.0 * p50, rss_mib: Some(100.0 * p50) };
        let mut report = Report::default();
        compare_ends(&[at(1.0), at(3.0), at(9.0), at(5.0), at(7.0)], 2, &mut report);
        assert_eq!((&report.more["first_p50_ms"], &report.more["last_p50_ms"]), (&2.0.into(), &6.0.into()));
        assert_eq!(report.more["last_rss_mib"], 600.0);
        compare_ends(&[], 6, &mut report);
        assert_eq!(report.more["first_p99_ms"], 0.0);
    }
}
