//! Options of activities that are wrong.

use mainspring::prelude::*;

#[activity(timeout = "30s")]
async fn unknown_option(_n: u64) -> Result<()> {
    Ok(())
}

#[activity(start_to_close = "30")]
async fn duration_without_a_unit(_n: u64) -> Result<()> {
    Ok(())
}

#[activity(retry(attempts = 3))]
async fn unknown_option_of_retry(_n: u64) -> Result<()> {
    Ok(())
}

#[activity(retry(non_retryable = [Declined]))]
async fn failure_type_that_is_no_text(_n: u64) -> Result<()> {
    Ok(())
}

#[activity(blocking)]
async fn blocking_and_async(_n: u64) -> Result<()> {
    Ok(())
}

#[activity(abort_on_cancel)]
fn abort_of_a_thread(_n: u64) -> Result<()> {
    Ok(())
}

fn main() {}
