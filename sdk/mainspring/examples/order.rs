//! A workflow with state: a signal and an update change it, a query reads it, a timer bounds the wait.
//!
//! `cargo run -p mainspring --example order`, with a server at `TEMPORAL_ADDRESS` or `localhost:7233`.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use std::time::Duration;

use mainspring::prelude::*;

const MOST_ITEMS: usize = 2;

#[derive(Default)]
#[workflow]
struct Order {
    items: Var<Vec<String>>,
    approved: Var<Option<String>>,
}

#[workflow]
impl Order {
    /// Waits for the approval, but not for ever.
    async fn run(&self, cx: Ctx, patience: Duration) -> Result<String> {
        match cx.timeout(patience, self.approved.some()).await {
            Ok(by) => Ok(format!("{} approved by {by}", self.items.get().join(" and "))),
            Err(Error::Timeout(_)) => Ok("nobody approved it in time".to_owned()),
            Err(other) => Err(other),
        }
    }

    /// A signal has no answer: whoever sends it does not wait for the workflow.
    #[signal]
    fn approve(&self, by: String) {
        self.approved.set(Some(by));
    }

    /// A query leaves no trace in the history, and a closed workflow answers it too.
    #[query]
    fn items(&self) -> Vec<String> {
        self.items.get()
    }

    /// An update has an answer, and here a validator: what it refuses never reaches the history.
    #[update(validate = not_full)]
    async fn add(&self, item: String) -> Result<usize> {
        Ok(self.items.update(|items| {
            items.push(item);
            items.len()
        }))
    }

    fn not_full(&self, _item: &str) -> Result<()> {
        match self.items.with(Vec::len) {
            ..MOST_ITEMS => Ok(()),
            _ => Err(Error::application("Full", format!("an order has at most {MOST_ITEMS} items"))),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(Connect::from_env()?).await?;
    let worker = Worker::builder(&client, "orders").register(Order::def()).spawn()?;

    let order = client.start(Order::start(days(3)).id("order-1").queue("orders")).await?;
    for item in ["pears", "plums", "figs"] {
        match order.update(Order::add(item.to_owned())).await {
            Ok(count) => println!("{item}: item {count}"),
            Err(refused) => println!("{item}: {}", refused.failure().map_or(refused.to_string(), Error::to_string)),
        }
    }
    println!("ordered: {}", order.query(Order::items()).await?.join(", "));
    order.signal(Order::approve("Ann".to_owned())).await?;
    println!("order-1: {}", order.result().await?);

    let forgotten = client.start(Order::start(millis(100)).id("order-2").queue("orders")).await?;
    println!("order-2: {}", forgotten.result().await?);
    worker.stop().await?;
    Ok(())
}
