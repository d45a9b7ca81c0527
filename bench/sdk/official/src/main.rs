//! The worker program of the official Rust SDK; `../README.md` says what it must do.

#[path = "../../usage.rs"]
mod usage;

use std::{
    env, fs, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prost::Message;
use serde_json::json;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowHistory};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

struct Activities;

#[activities]
impl Activities {
    #[activity]
    async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

fn options() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(10))
}

#[workflow]
#[derive(Default)]
struct OneActivity;

#[workflow_methods]
impl OneActivity {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        Ok(ctx.execute_activity(Activities::greet, name, options()).await?)
    }
}

#[workflow]
#[derive(Default)]
struct LongLoop;

#[workflow_methods]
impl LongLoop {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, steps: u32) -> WorkflowResult<u64> {
        let mut total = 0;
        for step in 0..steps {
            total += ctx.execute_activity(Activities::greet, step.to_string(), options()).await?.len() as u64;
        }
        Ok(total)
    }
}

#[workflow]
#[derive(Default)]
struct Mistakes;

#[workflow_methods]
impl Mistakes {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, kind: String) -> WorkflowResult<String> {
        match kind.as_str() {
            "tokio-sleep" => tokio::time::sleep(Duration::from_millis(20)).await,
            "tokio-spawn" => drop(tokio::spawn(async {}).await),
            "block" => thread::sleep(Duration::from_secs(4)),
            "panic" => panic!("deliberate"),
            "clock" if is_even_now() => drop(ctx.timer(Duration::from_millis(10)).await),
            _ => {}
        }
        ctx.timer(Duration::from_millis(50)).await;
        Ok(kind)
    }
}

fn is_even_now() -> bool {
    SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_nanos() % 2 == 0)
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["worker", queue] | ["worker", queue, "verify"] => work(queue).await,
        ["replay", file, repeats, copies] => replay(file, repeats.parse()?, copies.parse()?).await,
        _ => Err("worker QUEUE [verify], or replay FILE REPEATS COPIES".into()),
    }
}

async fn work(queue: &str) -> Result<()> {
    let address = format!("http://{}", env::var("TEMPORAL_ADDRESS")?);
    let connection = Connection::connect(ConnectionOptions::new(address.parse::<Url>()?).build()).await?;
    let client = Client::new(connection, ClientOptions::new("default").build())?;
    let options = WorkerOptions::new(queue)
        .register_workflow::<OneActivity>()?
        .register_workflow::<LongLoop>()?
        .register_workflow::<Mistakes>()?
        .register_activities(Activities)
        .build();
    Worker::new(&Runtime::from_current_tokio(Default::default())?, client, options)?.run().await?;
    Ok(())
}

/// Each repeat replays all copies, as one call of the replayer where they are several.
async fn replay(file: &str, repeats: u32, copies: usize) -> Result<()> {
    let bytes = fs::read(file)?;
    let (mut seconds, mut events) = (Vec::new(), 0);
    for _ in 0..repeats {
        let options = WorkflowReplayerOptions::new().register_workflow::<LongLoop>()?.build();
        let replayer = WorkflowReplayer::new(options)?;
        let began = Instant::now();
        let mut histories = Vec::new();
        for _ in 0..copies {
            let history = History::decode(&bytes[..])?;
            events = history.events.len();
            histories.push(WorkflowHistory::from(history));
        }
        for result in replayer.replay_workflows(histories).await? {
            if let Some(failure) = result.replay_failure {
                return Err(failure.into());
            }
        }
        seconds.push(began.elapsed().as_secs_f64());
    }
    println!("{}", json!({ "events": events, "seconds": seconds, "rss_peak_mib": usage::rss_peak_mib() }));
    Ok(())
}
