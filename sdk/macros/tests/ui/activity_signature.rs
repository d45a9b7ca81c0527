//! Activities whose arguments or results cannot travel.

use mainspring::prelude::*;

struct Card;

#[activity]
async fn borrowed_text(_name: &str) -> Result<()> {
    Ok(())
}

#[activity]
async fn borrowed_rows(_rows: &[u8]) -> Result<()> {
    Ok(())
}

#[activity]
async fn borrowed_value(_card: &Card) -> Result<()> {
    Ok(())
}

#[activity]
async fn any_number(_n: impl Into<u64>) -> Result<()> {
    Ok(())
}

#[activity]
async fn of_any_type<T>(_n: T) -> Result<()> {
    Ok(())
}

#[activity]
async fn context_last(_n: u64, _cx: Activity) -> Result<()> {
    Ok(())
}

#[activity]
async fn nothing_returned(_n: u64) {}

#[activity]
async fn method(&self) -> Result<()> {
    Ok(())
}

fn main() {}
