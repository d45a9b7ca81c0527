//! A server whose clock skips, moved by `TestService` as SDKs in other languages do.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

#[allow(dead_code, reason = "other tests use the rest")]
mod client;

use mainspring_rt::Timestamp;
use mainspring_server::{Config, Harness, Server, StartError, Storage};
use prost::Message;
use tonic::Code;

use client::{Client, PATIENCE, serve};

const DAY: i64 = 86_400;

/// `GetCurrentTimeResponse` and `SleepUntilRequest`.
#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(message, optional, tag = "1")]
    at: Option<prost_types::Timestamp>,
}

/// `SleepRequest`.
#[derive(Clone, PartialEq, Message)]
struct Sleep {
    #[prost(message, optional, tag = "1")]
    duration: Option<prost_types::Duration>,
}

async fn start() -> (Server, Client) {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), Storage::Memory);
    config.harness = Some(Harness::locked());
    let server = Server::start(config).await.unwrap();
    let client = Client::of(&server).await;
    (server, client)
}

async fn call<Q: Message + 'static>(client: &Client, method: &str, request: Q) -> Result<(), Code> {
    let path = format!("/temporal.api.testservice.v1.TestService/{method}");
    let called =
        tokio::time::timeout(PATIENCE, client.call_any::<Q, ()>(&path, request)).await.expect("it is answered");
    called.map_err(|status| status.code())
}

/// What the clock shows, since 1970.
async fn seconds(client: &Client) -> i64 {
    let path = "/temporal.api.testservice.v1.TestService/GetCurrentTime";
    let time: Time = client.call_any(path, ()).await.unwrap();
    time.at.unwrap().seconds
}

fn days(days: i64) -> Sleep {
    Sleep { duration: Some(prost_types::Duration { seconds: days * DAY, nanos: 0 }) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_with_the_clock_unlocked_is_over_at_once() {
    let (mut server, client) = start().await;
    let start = seconds(&client).await;
    call(&client, "UnlockTimeSkippingWithSleep", days(30)).await.unwrap();
    assert_eq!((seconds(&client).await - start) / DAY, 30);
    let mut sleep = std::pin::pin!(call(&client, "Sleep", days(1)));
    tokio::select! {
        _ = &mut sleep => panic!("it skipped though it was locked again"),
        now = seconds(&client) => assert_eq!((now - start) / DAY, 30),
    }
    call(&client, "UnlockTimeSkipping", ()).await.unwrap();
    sleep.await.unwrap();
    let until = Time { at: Some(prost_types::Timestamp { seconds: start + 40 * DAY, nanos: 0 }) };
    call(&client, "SleepUntil", until).await.unwrap();
    assert_eq!((seconds(&client).await - start) / DAY, 40);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unlocking_without_a_lock_is_refused() {
    let (mut server, client) = start().await;
    call(&client, "LockTimeSkipping", ()).await.unwrap();
    call(&client, "UnlockTimeSkipping", ()).await.unwrap();
    call(&client, "UnlockTimeSkipping", ()).await.unwrap();
    for (method, request) in [("UnlockTimeSkipping", days(0)), ("UnlockTimeSkippingWithSleep", days(1))] {
        assert_eq!(call(&client, method, request).await, Err(Code::FailedPrecondition));
    }
    assert_eq!(call(&client, "Unknown", ()).await, Err(Code::Unimplemented));
    server.stop().await;
}

#[tokio::test]
async fn a_skip_ends_with_the_server() {
    let harness = Harness::new();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), Storage::Memory);
    config.harness = Some(harness.clone());
    let mut server = Server::start(config).await.unwrap();
    server.stop().await;
    tokio::time::timeout(PATIENCE, harness.skip_to(Timestamp::MAX)).await.expect("nobody is there who could skip");
}

#[tokio::test]
async fn what_is_on_disk_has_no_harness() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), Storage::Sqlite(folder.path().join("data")));
    config.harness = Some(Harness::new());
    assert!(matches!(Server::start(config).await, Err(StartError::HarnessOnDisk)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn without_a_harness_there_is_no_test_service() {
    let mut server = serve(Storage::Memory).await;
    let client = Client::of(&server).await;
    assert_eq!(call(&client, "LockTimeSkipping", ()).await, Err(Code::Unimplemented));
    server.stop().await;
}
