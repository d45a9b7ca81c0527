//! The smallest whole program: an activity, a workflow that calls it, a worker for both and a client.
//!
//! `cargo run -p mainspring --example hello`, with a server at `TEMPORAL_ADDRESS` or `localhost:7233`.
#![expect(clippy::print_stdout, reason = "it prints its result")]

use mainspring::prelude::*;

#[activity(start_to_close = "10s")]
async fn compose(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[workflow]
async fn greet(cx: Ctx, name: String) -> Result<String> {
    cx.run(compose(name)).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(Connect::from_env()?).await?;
    let worker = Worker::builder(&client, "hello").register(greet::def()).register(compose::def()).spawn()?;
    let handle = client.start(greet("Temporal".to_owned()).id("hello-1").queue("hello")).await?;
    println!("{}", handle.result().await?);
    worker.stop().await?;
    Ok(())
}
