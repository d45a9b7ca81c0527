//! Three teams on one server: one hosts only workflows, two only activities, each on a queue of its own.
//!
//! Here they are three workers of one program; in life they are three services, deployed by whom they belong to, each
//! with the credentials that its work needs. What joins them is names and payloads, so any language will do.
//!
//! `cargo run -p mainspring --example fleet`, with a server at `TEMPORAL_ADDRESS` or `localhost:7233`.
#![expect(clippy::print_stdout, reason = "it prints its result")]

use mainspring::prelude::*;

/// What the team of the workflow knows of the others: their activities' names, arguments and queues, without a body.
mod contracts {
    use mainspring::prelude::*;

    #[activity(queue = "lodging", start_to_close = "10s")]
    pub(crate) async fn reserve(hotel: String, nights: u64) -> Result<u64>;

    #[activity(queue = "payments", start_to_close = "10s", retry(non_retryable = ["CardDeclined"]))]
    pub(crate) async fn charge(card: String, cents: u64) -> Result<String>;
}

/// Decides what happens in which order; each activity goes to the queue of the team that runs it.
#[workflow]
async fn trip(cx: Ctx, hotel: String, card: String) -> Result<String> {
    let cents = cx.run(contracts::reserve(hotel.clone(), 3)).await?;
    let receipt = cx.run(contracts::charge(card, cents)).await?;
    Ok(format!("3 nights at {hotel}, {receipt}"))
}

/// The hotels' team: its activities share what it knows of prices.
struct Lodging {
    cents_a_night: u64,
}

#[activities]
impl Lodging {
    #[activity]
    async fn reserve(&self, _hotel: String, nights: u64) -> Result<u64> {
        Ok(self.cents_a_night * nights)
    }
}

/// The payments' team.
#[activity]
async fn charge(cx: Activity, card: String, cents: u64) -> Result<String> {
    match card.as_str() {
        "" => Err(Error::application("CardDeclined", "there is no card")),
        card => Ok(format!("{cents} cents from {card} for {}", cx.info().workflow_id)),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(Connect::from_env()?).await?;
    let trips = Worker::builder(&client, "trips").register(trip::def()).spawn()?;
    let lodging = Worker::builder(&client, "lodging").activities(Lodging { cents_a_night: 9000 }).spawn()?;
    let payments = Worker::builder(&client, "payments").register(charge::def()).spawn()?;

    let call = |card: &str| trip("the Mill".to_owned(), card.to_owned()).queue("trips");
    println!("{}", client.execute(call("card-7").id("trip-1")).await?);
    match client.execute(call("").id("trip-2")).await {
        Ok(booked) => println!("{booked}"),
        Err(failed) => println!(
            "trip-2 failed: {}",
            failed.failure().map_or(failed.to_string(), |why| why.root_cause().to_string())
        ),
    }
    for worker in [trips, lodging, payments] {
        worker.stop().await?;
    }
    Ok(())
}
