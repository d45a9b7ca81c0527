//! A worker that runs activities for workflows of any language, on the task queue `rust-activities`.
//!
//! `cargo run -p mainspring --example activities`, with a server at `TEMPORAL_ADDRESS` or `localhost:7233`; then, say,
//! `temporal workflow start` a workflow that schedules them. Stop it with Ctrl-C: it finishes what it has begun.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
};

use mainspring::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Card {
    number: String,
    limit_cents: u64,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    id: String,
    cents: u64,
}

/// The card's bank says no. Retry policies name it `CardDeclined`.
#[derive(Debug)]
struct CardDeclined;

impl std::fmt::Display for CardDeclined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the card is over its limit")
    }
}

impl std::error::Error for CardDeclined {}

/// A function: defaults live with it, a call overrides what it needs.
#[activity(start_to_close = "30s", retry(max_attempts = 5, non_retryable = ["CardDeclined"]))]
async fn charge(cx: Activity, cents: u64, card: Card) -> Result<Receipt> {
    if cents > card.limit_cents {
        return Err(CardDeclined.into());
    }
    Ok(Receipt { id: format!("{}-{}", card.number, cx.info().workflow_id), cents })
}

/// What activities share; a client, credentials or a device would be here as well.
struct Files {
    root: PathBuf,
}

#[activities]
impl Files {
    /// Blocks, so it is no `async fn`; goes on from where the attempt before it was.
    #[activity(start_to_close = "1h", heartbeat = "10s")]
    fn count_lines(&self, cx: Activity, name: String) -> Result<u64> {
        let file = BufReader::new(std::fs::File::open(self.root.join(name))?);
        let mut counted = cx.last_heartbeat::<u64>()?.unwrap_or(0);
        for line in file.lines().skip(usize::try_from(counted)?) {
            line?;
            counted += 1;
            cx.heartbeat(&counted);
            if cx.is_cancelled() {
                return Err(Error::cancelled());
            }
        }
        Ok(counted)
    }

    /// Bytes go as they are.
    #[activity(start_to_close = "10s")]
    async fn read(&self, name: String) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.root.join(name))?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(Connect::from_env()?).await?;
    let worker = Worker::builder(&client, "rust-activities")
        .register(charge::def())
        .activities(Files { root: std::env::current_dir()? })
        .drain(secs(30))
        .build()?;
    let handle = worker.handle();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            handle.stop();
        }
    });
    worker.run().await?;
    Ok(())
}
