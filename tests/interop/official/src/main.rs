//! The official Rust SDK's side of `tests/interop`.
//!
//! - `interop-official ADDRESS QUEUE` is the worker whose histories are recorded.
//! - `interop-official replay FILE...` replays histories, encoded as protobuf, and says of each how that went.

mod workflows;

use std::path::Path;

use prost::Message;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_sdk::{
    Runtime, Worker, WorkerOptions,
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
};

use crate::workflows::{Acts, register_all};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["replay", files @ ..] => replay(files).await,
        [address, queue] => work(address, queue).await,
        _ => Err("say: ADDRESS QUEUE, or replay FILE...".into()),
    }
}

/// Works until it is killed, without a cache: a worker after it goes on at once.
async fn work(address: &str, queue: &str) -> Result<()> {
    let target = ConnectionOptions::new(format!("http://{address}").parse::<temporalio_client::Url>()?);
    let connection = Connection::connect(target.identity("interop").build()).await?;
    let client = Client::new(connection, ClientOptions::new("default").build())?;
    let options = register_all!(WorkerOptions::new(queue).max_cached_workflows(0));
    let options = options.register_activities(Acts).build();
    Ok(Worker::new(&Runtime::from_current_tokio(Default::default())?, client, options)?.run().await?)
}

async fn replay(files: &[&str]) -> Result<()> {
    let replayer = WorkflowReplayer::new(register_all!(WorkflowReplayerOptions::new()).build())?;
    for file in files {
        let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let history = History::decode(std::fs::read(file)?.as_slice())?;
        match replayer.replay_workflow(history.into()).await {
            Ok(()) => println!("{name}: replays"),
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}
