//! A worker with the workflows of `tests/interop`, whose histories are recorded there: `interop ADDRESS QUEUE`.

use mainspring::{Connect, Worker, prelude::*};

#[path = "../tests/interop/workflows.rs"]
mod workflows;

use workflows::{describe, flaky, greet, hold, refuse};

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, queue] = words.as_slice() else {
        return Err(Error::msg("say: ADDRESS QUEUE"));
    };
    let client = Client::connect(Connect::to(address)).await?;
    // Without a cache, a worker after it goes on at once.
    let worker = Worker::builder(&client, queue).identity("interop").cache(0);
    let worker = workflows::workflows().into_iter().fold(worker, |worker, workflow| worker.register(workflow));
    let worker = worker.register(greet::def()).register(flaky::def()).register(refuse::def());
    worker.register(hold::def()).register(describe::def()).run().await?;
    Ok(())
}
