//! How fast a long history is replayed, and how many at once.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use prost::Message;
use serde_json::Value;

use crate::figures::process::cpu_seconds;
use crate::note;
use crate::requests::{fetch_pages, wait_closed};
use crate::scenario::context::Context;
use crate::sdk::load::start;
use crate::sdk::process::{Mode, Program};
use crate::sdk::{Rows, SdkOptions, in_turn, rows};

const NAMES: [&str; 5] = [
    "events in the history",
    "replay, events a second, first time in the process",
    "replay, events a second, best of the process",
    "memory of the process that replays, peak, MiB",
    "cores in use with 8 histories",
];

pub(super) async fn measure(context: &Context, options: &SdkOptions) -> Result<Rows> {
    for program in &options.programs {
        make_history(context, options, program).await?;
    }
    let figures = in_turn("replay", options, async |program| once(options, program).await).await?;
    Ok(rows(NAMES, &figures))
}

/// One workflow of many steps. Each program has its own: they may name the activity differently.
async fn make_history(context: &Context, options: &SdkOptions, program: &Program) -> Result<()> {
    let steps = options.sizes.pick(options.sizes.steps, 20, 1_667);
    note(&format!("a history of {steps} steps with {}", program.name));
    let id = format!("{}-{}", context.name("history"), program.name);
    let _worker = program.worker(&options.address, &id, Mode::Usual)?;
    let run_id = start(context, &id, "LongLoop", &id, &steps.to_string()).await?;
    wait_closed(&context.calls, &context.namespace, &id, &run_id).await?;
    let mut chunks = Vec::new();
    fetch_pages(&context.calls, &context.namespace, &id, &run_id, |page| {
        chunks.push(page);
        Ok(())
    })
    .await?;
    fs::write(file(options, program), mainspring_api::v1::History::from_chunks(chunks).encode_to_vec())?;
    Ok(())
}

async fn once(options: &SdkOptions, program: &Program) -> Result<[f64; NAMES.len()]> {
    let file = file(options, program).display().to_string();
    let alone = line(&program.output(&["replay", &file, "5", "1"]).await?)?;
    // A program that has ended counts as ours.
    let own = std::process::id();
    let cpu = cpu_seconds(own);
    let many = line(&program.output(&["replay", &file, "1", "8"]).await?)?;
    let times = numbers(&alone, "seconds");
    let events = alone["events"].as_f64().context("no count of events")?;
    let best = times.iter().copied().fold(f64::INFINITY, f64::min);
    let first = times.first().copied().context("no time")?;
    let cores = (cpu_seconds(own) - cpu) / numbers(&many, "seconds").iter().sum::<f64>();
    Ok([events, events / first, events / best, alone["rss_peak_mib"].as_f64().context("no memory")?, cores])
}

fn file(options: &SdkOptions, program: &Program) -> PathBuf {
    options.histories.join(format!("history-{}.binpb", program.name))
}

/// The one line of JSON that a program prints.
fn line(printed: &str) -> Result<Value> {
    let last = printed.lines().last().context("it printed nothing")?;
    serde_json::from_str(last).with_context(|| format!("it printed {last}"))
}

fn numbers(value: &Value, name: &str) -> Vec<f64> {
    value[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
