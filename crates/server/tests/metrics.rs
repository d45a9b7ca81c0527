//! The metrics of a server in this process, read as Prometheus does.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

#[expect(dead_code, reason = "other tests use more of it")]
mod client;

use std::{net::SocketAddr, time::Duration};

use mainspring_server::{Config, Server, Storage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use client::{Client, PATIENCE};

async fn serve() -> Server {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::new(anywhere, Storage::Memory);
    config.metrics = Some(anywhere);
    Server::start(config).await.unwrap()
}

async fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.metrics_addr().unwrap()).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn wait_for(server: &Server, line: &str) {
    let waiting = async {
        while !ask(server, "GET /metrics").await.lines().any(|found| found == line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("there is no {line}"));
}

#[tokio::test]
async fn calls_and_polls_are_counted() {
    let mut server = serve().await;
    let client = Client::of(&server).await;
    let poller = client.clone();
    let poll = tokio::task::spawn(async move { poller.poll("order").await });
    wait_for(&server, "service_pending_requests{operation=\"PollWorkflowTaskQueue\"} 1").await;
    client.start("order").await;
    poll.await.unwrap().unwrap();
    client.start("another").await;
    wait_for(&server, "poll_success{operation=\"PollWorkflowTaskQueue\"} 1").await;
    wait_for(&server, "service_pending_requests{operation=\"PollWorkflowTaskQueue\"} 0").await;
    wait_for(&server, "service_requests{operation=\"StartWorkflowExecution\",status=\"Ok\"} 2").await;
    server.stop().await;
}

/// A made-up method must not make up a label.
#[tokio::test]
async fn refusals_are_counted_by_status_and_unknown_methods_together() {
    let mut server = serve().await;
    let client = Client::of(&server).await;
    for method in ["MadeUp", "MadeUpToo"] {
        client.call::<(), ()>(method, ()).await.unwrap_err();
    }
    client.call::<(), ()>("StartWorkflowExecution", ()).await.unwrap_err();
    wait_for(&server, "service_requests{operation=\"unknown\",status=\"Unimplemented\"} 2").await;
    wait_for(&server, "service_requests{operation=\"StartWorkflowExecution\",status=\"InvalidArgument\"} 1").await;
    server.stop().await;
}

/// Each sample belongs to a family that was declared before it, each name once: what Prometheus insists on.
#[tokio::test]
async fn the_page_is_well_formed() {
    let mut server = serve().await;
    Client::of(&server).await.start("order").await;
    let answer = ask(&server, "GET /metrics").await;
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let mut families = Vec::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().unwrap();
            assert!(!families.contains(&name), "{name} twice");
            families.push(name);
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(families.last(), Some(&name), "{line}");
            line.rsplit(' ').next().unwrap().parse::<f64>().expect(line);
        }
    }
    for family in ["mainspring_store_commits_total", "mainspring_uptime_seconds", "build_information"] {
        assert!(families.contains(&family), "{family}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_else_is_served_there() {
    let mut server = serve().await;
    assert!(ask(&server, "GET /").await.starts_with("HTTP/1.1 404"));
    assert!(ask(&server, "POST /metrics").await.starts_with("HTTP/1.1 405"));
    let address = server.metrics_addr().unwrap();
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
