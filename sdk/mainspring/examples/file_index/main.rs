//! Hashes every file of a folder and builds an index of its words: one durable activity a file, sixteen at a time.
//! Kill the worker or the server at any moment, and the work goes on where it stopped.
//!
//! `cargo xtask demo` does all of this by itself and kills the server in the middle. By hand, each in a terminal, with
//! a server at `TEMPORAL_ADDRESS` or `localhost:7233`:
//!
//! ```sh
//! cargo run -p mainspring --example file_index worker
//! cargo run -p mainspring --example file_index start FOLDER index.json   # prints the result
//! cargo run -p mainspring --example file_index show                      # the run's history, event by event
//! cargo run -p mainspring --example file_index count                     # how many events of each type
//! ```
#![expect(clippy::print_stdout, reason = "it prints its results")]

mod activities;
mod history;

use std::path::absolute;

use mainspring::{prelude::*, workflow::sync::Semaphore};

use crate::activities::{Entry, Summary, hash_file, list_files, write_index};

const QUEUE: &str = "file-index";
const WORKFLOW_ID: &str = "file-index-1";
/// Files that are hashed at the same time.
const PARALLEL_FILES: usize = 16;

/// It decides and remembers; whatever touches a disk is an activity.
#[workflow]
async fn file_index(cx: Ctx, folder: String, output: String) -> Result<Summary> {
    let paths = cx.run(list_files(folder)).await?;
    let turns = Semaphore::new(PARALLEL_FILES);
    let entries = join_all(paths.into_iter().map(async |path| {
        let _turn = turns.acquire().await;
        cx.run(hash_file(path)).await
    }));
    let entries = entries.await.into_iter().collect::<Result<Vec<Entry>>>()?;
    cx.run(write_index(output, entries)).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let client = Client::connect(Connect::from_env()?).await?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => work(&client).await,
        ["start", folder, output] => start(&client, folder, output).await,
        ["show"] => history::show(&client, WORKFLOW_ID).await,
        ["count"] => history::count(&client, WORKFLOW_ID).await,
        _ => Err(Error::msg("say one of: worker, start FOLDER OUTPUT, show, count")),
    }
}

/// Until it is killed. It outlives any restart of the server.
async fn work(client: &Client) -> Result<()> {
    let worker = Worker::builder(client, QUEUE)
        .register(file_index::def())
        .register(list_files::def())
        .register(hash_file::def())
        .register(write_index::def())
        .slots(Slots::fixed().activities(PARALLEL_FILES))
        .spawn()?;
    println!("listening");
    worker.ended().await?;
    Ok(())
}

/// Starts a run, or joins the one that is under way, and prints its result as JSON.
async fn start(client: &Client, folder: &str, output: &str) -> Result<()> {
    let [folder, output] = [folder, output].map(|path| absolute(path).map(|path| path.display().to_string()));
    let call = file_index(folder?, output?).id(WORKFLOW_ID).queue(QUEUE).on_conflict(OnConflict::UseExisting);
    println!("{}", serde_json::to_string(&client.execute(call).await?)?);
    Ok(())
}
