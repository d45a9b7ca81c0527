//! Values that only workers and clients can read: AES-256-GCM, from the start of a workflow to its result.
//!
//! `cargo run -p mainspring --example encryption`, with a server at `TEMPORAL_ADDRESS` or `localhost:7233`.
#![expect(clippy::print_stdout, reason = "it prints its results")]

use mainspring::{
    Raw,
    codec::{Aes256Gcm, KeyRing},
    prelude::*,
};

#[activity(start_to_close = "10s")]
async fn diagnose(patient: String) -> Result<String> {
    Ok(format!("{patient} is well"))
}

#[workflow]
async fn visit(cx: Ctx, patient: String) -> Result<String> {
    cx.run(diagnose(patient)).await
}

/// Keys have names, so that what an older key encrypted stays readable. Take yours from where secrets are kept.
fn encrypted() -> Result<DataConverter> {
    let ring = KeyRing::new("2026", &[26; 32])?.old("2025", &[25; 32])?;
    Ok(DataConverter::json().codec(Aes256Gcm::new(ring)).encrypt_failures())
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(Connect::from_env()?.converter(encrypted()?)).await?;
    let worker = Worker::builder(&client, "visits").register(visit::def()).register(diagnose::def()).spawn()?;
    let handle = client.start(visit("Ann".to_owned()).id("visit-1").queue("visits")).await?;
    println!("with the key: {}", handle.result().await?);

    // What the server has of it, and whoever reads its storage: the name of the key and no more.
    let stranger = Client::connect(Connect::from_env()?).await?;
    let Raw(payload) = stranger.workflow::<Raw>("visit-1").result().await?;
    let [encoding, key] = ["encoding", "encryption-key-id"].map(|name| payload.metadata(name).unwrap_or_default());
    let [encoding, key] = [&encoding, &key].map(|bytes| String::from_utf8_lossy(bytes));
    println!("without it: {encoding}, {} bytes, key {key}", payload.data().len());
    worker.stop().await?;
    Ok(())
}
