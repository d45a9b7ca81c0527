//! Prints what writes and lists cost: `cargo run --release -p mainspring-visibility --example cost [runs]`.
//!
//! Writes are told in time on the processor (of Linux; elsewhere by the clock), which other work on the machine does not blur.
//!
//! Fills an index in a temporary file with runs of 20 types, one in 50 open, one in 100 failed, then asks for pages of 100.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures and tells")]

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};

use mainspring_api::{ids::NamespaceId, v1::Payload};
use mainspring_rt::Timestamp;
use mainspring_visibility::{Change, Filter, Index, Kind, Record};
use uuid::Uuid;

const NAMESPACE: NamespaceId = NamespaceId(Uuid::from_u128(7));
const BATCH: u64 = 100;

const FILTERS: &[&str] = &[
    "",
    "ExecutionStatus = 'Running'",
    "ExecutionStatus = 'Failed'",
    "ExecutionStatus = 'TimedOut'",
    "WorkflowType = 'Type7'",
    "WorkflowType = 'Type7' AND ExecutionStatus = 'Running'",
    "WorkflowType = 'Type7' AND ExecutionStatus = 'Failed'",
    "WorkflowType = 'Absent'",
    "WorkflowId = 'order-77777'",
    "WorkflowId STARTS_WITH 'order-777'",
    "WorkflowId STARTS_WITH 'order-'",
    "TaskQueue = 'absent'",
    "StartTime > '2024-01-01T12:00:00Z' AND CloseTime < '2024-01-01T13:00:00Z'",
    "Customer = 'customer-77'",
    "Tier = 'gold'",
    "Tier = 'gold' AND ExecutionStatus = 'Failed'",
    "Tier != 'gold'",
    "Amount > 500",
    "Amount > 998 AND Tier = 'gold'",
    "Customer IS NULL",
    "NOT (Tier = 'gold' OR Amount < 900)",
];

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u64 = std::env::args().nth(1).map_or(Ok(100_000), |runs| runs.parse())?;
    writes(runs / 10)?;
    reads(runs)
}

fn writes(runs: u64) -> Result<(), Box<dyn Error>> {
    println!("{runs} runs in batches of {BATCH}, into a file that has as many:");
    for (what, attributes) in [("no attributes", false), ("three attributes", true)] {
        let folder = tempfile::tempdir()?;
        let mut index = Index::open(folder.path().join("index"))?;
        let record = |number, open| if attributes { with_attributes(number, open) } else { plain(number, open) };
        let write =
            |index: &mut Index, numbers: std::ops::Range<u64>, open: bool| -> Result<Duration, Box<dyn Error>> {
                let batches: Vec<Vec<Change>> = numbers
                    .collect::<Vec<_>>()
                    .chunks(usize::try_from(BATCH)?)
                    .map(|batch| batch.iter().map(|number| Change::Upsert(record(*number, open))).collect())
                    .collect();
                let (clock, before) = (Instant::now(), processor_time());
                for batch in &batches {
                    index.apply(batch)?;
                }
                let spent = processor_time().zip(before).map_or(clock.elapsed(), |(after, before)| after - before);
                Ok(spent / u32::try_from(runs)?)
            };
        write(&mut index, 0..runs, false)?;
        let once = write(&mut index, runs..2 * runs, false)?;
        let started = write(&mut index, 2 * runs..3 * runs, true)?;
        let closed = write(&mut index, 2 * runs..3 * runs, false)?;
        println!("  {what}: started and closed at once {once:?}; started {started:?}, closed later {closed:?}");
        println!("  {} bytes a run", std::fs::metadata(folder.path().join("index"))?.len() / (3 * runs));
    }
    Ok(())
}

fn reads(runs: u64) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut index = Index::open(folder.path().join("index"))?;
    let start = Instant::now();
    for batch in (0..runs).collect::<Vec<_>>().chunks(1000) {
        let changes = batch.iter().map(|number| Change::Upsert(with_attributes(*number, number % 50 == 0)));
        index.apply(&changes.collect::<Vec<_>>())?;
    }
    println!("{runs} runs written in {:?}. Page of 100, its page 5, count (found):", start.elapsed());
    for text in FILTERS {
        let filter = Filter::parse(text, &custom)?;
        let first = best(|| Ok(index.list(NAMESPACE, &filter, 100, b"").map(drop)?))?;
        let mut token = Vec::new();
        for _ in 0..4 {
            token = index.list(NAMESPACE, &filter, 100, &token)?.next_page_token;
        }
        let fifth = best(|| Ok(index.list(NAMESPACE, &filter, 100, &token).map(drop)?))?;
        let counted = best(|| Ok(index.count(NAMESPACE, &filter).map(drop)?))?;
        let total = index.count(NAMESPACE, &filter)?.total;
        println!("  {first:>10.1?} {fifth:>10.1?} {counted:>10.1?} ({total:>6})  {text}");
    }
    let by_status = Filter::parse("GROUP BY ExecutionStatus", &custom)?;
    println!("  {:>10.1?}  count by status", best(|| Ok(index.count(NAMESPACE, &by_status).map(drop)?))?);
    Ok(())
}

/// What this thread has spent on the processor.
fn processor_time() -> Option<Duration> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    schedule.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The shortest of a few tries.
fn best(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn custom(name: &str) -> Option<Kind> {
    Some(match name {
        "Customer" | "Tier" => Kind::Keyword,
        "Amount" => Kind::Int,
        _ => return None,
    })
}

fn plain(number: u64, open: bool) -> Record {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let second = i64::try_from(number).unwrap_or(0) * 1_000_000_000;
    let start_time = Timestamp::from_nanos(1_704_067_200_000_000_000 + second);
    let status = if open { 1 } else { [2, 3][usize::from(number % 100 == 7)] };
    Record {
        namespace: NAMESPACE,
        workflow_id: format!("order-{}", scattered % 100_000),
        run_id: Uuid::from_u64_pair(scattered.rotate_left(32), number).to_string(),
        workflow_type: format!("Type{}", scattered % 20),
        task_queue: "orders".to_owned(),
        status,
        start_time,
        execution_time: start_time,
        close_time: if open { Timestamp::ZERO } else { Timestamp::from_nanos(start_time.as_nanos() + 5_000_000) },
        history_length: 11,
        history_bytes: 2_650,
        state_transitions: 6,
        parent_workflow_id: String::new(),
        parent_run_id: String::new(),
        root_workflow_id: String::new(),
        root_run_id: String::new(),
        memo: BTreeMap::new(),
        search_attributes: BTreeMap::new(),
        version: i64::from(!open),
    }
}

fn with_attributes(number: u64, open: bool) -> Record {
    let value =
        |kind: &str, json: String| Payload::new("json/plain", json.as_bytes()).with_metadata("type", kind.as_bytes());
    let tier = ["\"gold\"", "\"silver\""][usize::from(number.is_multiple_of(2))];
    let search_attributes = BTreeMap::from([
        ("Customer".to_owned(), value("Keyword", format!("\"customer-{}\"", number % 1000))),
        ("Tier".to_owned(), value("Keyword", tier.to_owned())),
        ("Amount".to_owned(), value("Int", (number * 7 % 1000).to_string())),
    ]);
    Record { search_attributes, ..plain(number, open) }
}
