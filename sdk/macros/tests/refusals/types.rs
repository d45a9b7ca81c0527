//! Code whose types are wrong. A line with `//~` is refused, and what follows is part of what rustc says there.

use mainspring::{client::WorkflowHandle, prelude::*};

/// One for each place: rustc says the same thing of a type once.
struct Taken;
struct Given;
struct Answer;

#[activity(start_to_close = "1s")]
async fn charge(cents: u64, card: String) -> Result<u64> {
    drop(card);
    Ok(cents)
}

#[activity]
async fn takes_what_has_no_payload(value: Taken) -> Result<()> { //~ `Taken` cannot be made from a payload
    drop(value);
    Ok(())
}

#[activity]
async fn gives_what_has_no_payload() -> Result<Given> { //~ `Given` cannot be sent as a payload
    Ok(Given)
}

#[activity] //~ `u64` is no result of an activity or a workflow
async fn gives_no_result() -> u64 { //~ `u64` is no result of an activity or a workflow
    7
}

#[workflow]
async fn calls(cx: Ctx) -> Result<()> {
    cx.run(charge("5", String::new())).await?; //~ expected `u64`, found `&str`
    cx.run(charge(5)).await?; //~ argument #2 of type `String` is missing
    let text: String = cx.run(charge(5, String::new())).await?; //~ expected `String`, found `u64`
    drop(text);
    Ok(())
}

#[derive(Default)]
#[workflow]
struct Order {
    approved: Var<bool>,
}

#[workflow]
impl Order {
    async fn run(&self, cx: Ctx) -> Result<()> {
        cx.handlers_finished().await;
        Ok(())
    }

    #[signal]
    fn approve(&self, by: String) {
        self.approved.set(!by.is_empty());
    }

    #[query]
    fn is_approved(&self) -> bool {
        self.approved.get()
    }

    #[query]
    fn opaque(&self) -> Answer { //~ `Answer` cannot be sent as a payload
        Answer
    }

    #[signal]
    fn counted(&self) -> u64 { //~ a signal's handler returns nothing, or a `Result<()>`
        7
    }
}

async fn messages(client: &Client, order: WorkflowHandle<()>) -> Result<()> {
    order.signal(Order::approve(7)).await?; //~ expected `String`, found integer
    order.signal(Order::is_approved()).await?; //~ expected `SignalCall`, found `QueryCall<bool>`
    let answer: u8 = order.query(Order::is_approved()).await?; //~ expected `u8`, found `bool`
    drop(answer);
    drop(Worker::builder(client, "orders").register(charge)); //~ register definitions: `name::def()`
    Ok(())
}

fn elsewhere(cx: Ctx, seen: Var<u8>) {
    let other = cx.clone();
    std::thread::spawn(move || other.now()); //~ cannot be sent between threads safely
    std::thread::spawn(move || seen.set(1)); //~ cannot be sent between threads safely
    tokio::spawn(async move { cx.sleep(secs(1)).await }); //~ future cannot be sent between threads safely
}

fn main() {}
