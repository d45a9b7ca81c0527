//! What the macros make of functions and methods.

use mainspring::{Activities, prelude::*};
use std::{sync::Arc, time::Duration};

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Card {
    number: String,
}

/// Charges a card.
#[activity(
    start_to_close = "1m30s",
    heartbeat = "10s",
    retry(max_attempts = 5, initial = "200ms", backoff = 1.5, non_retryable = ["CardDeclined"]),
    queue = "payments"
)]
async fn charge(_cx: Activity, amount_cents: u64, card: Card) -> Result<String> {
    let cents: u64 = "7".parse()?;
    Ok(format!("{}:{}", card.number, amount_cents + cents))
}

#[activity(name = "Block")]
fn blocking(number: u64) -> Result<u64, std::num::ParseIntError> {
    Ok(number + 1)
}

#[activity]
#[cfg(any())]
async fn absent() -> Result<NoSuchType> {}

/// Run by another team.
#[activity(name = "PriceQuote", start_to_close = "5s")]
pub async fn price(sku: String, (_, count): (u8, u64)) -> Result<f64>;

struct Counter {
    from: u64,
}

#[activities]
impl Counter {
    /// Counts.
    async fn count(&self, cx: Activity, by: u64) -> Result<u64> {
        cx.heartbeat(&by);
        Ok(self.from + by)
    }

    #[cfg(any())]
    fn absent(&self) -> Result<NoSuchType> {}

    #[activity(name = "reset_v2", start_to_close = "5s")]
    fn reset(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_function_describes_its_call() {
    let call = charge(5, Card { number: "4242".to_owned() });
    assert_eq!((call.name(), charge::NAME), ("charge", "charge"));
    let options = call.options().clone();
    assert_eq!(options.start_to_close, Some(Duration::from_secs(90)));
    assert_eq!(options.heartbeat, Some(secs(10)));
    assert_eq!(options.queue.as_deref(), Some("payments"));
    let retry = RetryPolicy::new().max_attempts(5).initial(millis(200)).backoff(1.5).non_retryable(["CardDeclined"]);
    assert_eq!(options.retry, Some(retry));
    let args = call.into_parts().1.into_payloads().expect("both have payloads");
    assert_eq!(args[1].data(), r#"{"number":"4242"}"#);
}

#[test]
fn definitions_have_the_names_that_calls_have() {
    assert_eq!(charge::def().name(), "charge");
    assert_eq!((blocking::def().name(), blocking(1).name()), ("Block", "Block"));
    assert_eq!((price::NAME, price("s".to_owned(), (0, 1)).name()), ("PriceQuote", "PriceQuote"));
    let definitions = Arc::new(Counter { from: 1 }).definitions();
    let names: Vec<&str> = definitions.iter().map(|definition| definition.name()).collect();
    assert_eq!(names, ["count", "reset_v2"]);
    assert_eq!((Counter::count(1).name(), Counter::reset().name()), ("count", "reset_v2"));
}

#[test]
fn bodies_are_plain_functions() {
    assert_eq!(blocking::body(1), Ok(2));
    assert!(Counter { from: 1 }.reset_body().is_ok());
}

#[test]
fn activities_may_be_defined_inside_of_functions() {
    #[activity]
    async fn local(number: u64) -> Result<u64> {
        Ok(number)
    }
    assert_eq!((local(1).name(), local::def().name()), ("local", "local"));
    assert_eq!(local::with(Ok).name(), "local");
}
