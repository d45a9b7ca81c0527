//! `mainspring server start` as operators meet it: data directory, configuration file, metrics, and the stop.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

mod program;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mainspring_api::v1::taskqueue::TaskQueue;
use mainspring_api::v1::workflowservice::{
    DescribeNamespaceRequest, DescribeNamespaceResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use program::{PATIENCE, Running, only_line};

const SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";

fn start(flags: &[&str]) -> Command {
    let mut command = program::mainspring(&["server", "start"]);
    command.args(flags);
    command
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn refused(flags: &[&str], code: i32) -> String {
    only_line(&start(flags).output().unwrap(), code)
}

/// What the line on stderr says of a configuration file with this text.
fn refused_file(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mainspring.toml");
    std::fs::write(&file, config).unwrap();
    let line = refused(&["--config", &text(&file)], 2);
    assert!(line.contains("mainspring.toml"), "{line}");
    line
}

async fn call<Q, A>(channel: Channel, method: &str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(request);
    request.set_timeout(PATIENCE);
    let path = format!("/{SERVICE}/{method}").parse().unwrap();
    Ok(grpc.unary(request, path, tonic_prost::ProstCodec::<Q, A>::default()).await?.into_inner())
}

async fn connect(server: &Running) -> Channel {
    Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap()
}

fn metrics(url: &str) -> String {
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

async fn wait_for_metric(url: &str, line: &str) {
    let waiting = async {
        while !metrics(url).lines().any(|found| found == line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("there is no {line}"));
}

/// The whole way of a stop, with a worker that waits: health says so first, the poll ends empty, the process ends.
#[tokio::test]
async fn sigterm_tells_health_ends_polls_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = text(&folder.path().join("data"));
    let mut server = Running::start(start(&["--data-dir", &data_dir, "--port", "0", "--metrics-port", "0"]));
    let url = server.wait_for_line("Metrics:");
    let channel = connect(&server).await;
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut health = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let poll = tokio::task::spawn(call(
        channel,
        "PollWorkflowTaskQueue",
        PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: Some(TaskQueue { name: "orders".to_owned(), ..TaskQueue::default() }),
            ..Default::default()
        },
    ));
    wait_for_metric(&url, "service_pending_requests{operation=\"PollWorkflowTaskQueue\"} 1").await;

    server.signal("TERM");
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop(health);
    let polled: PollWorkflowTaskQueueResponse = poll.await.unwrap().expect("the poll ends well");
    assert!(polled.task_token.is_empty());
    assert_eq!(tokio::task::spawn_blocking(move || server.exit_code()).await.unwrap(), Some(0));
    TcpStream::connect(url.trim_start_matches("http://").trim_end_matches("/metrics")).expect_err("nothing listens");
}

/// Flags win over the file; what was made at the first start is there at the second, without a flag.
#[tokio::test]
async fn the_file_is_followed_and_the_data_directory_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mainspring.toml");
    std::fs::write(&file, "data-dir = 'data'\nip = '127.0.0.1'\nport = 1\nnamespace = ['orders']\n").unwrap();
    let mut first = Running::start(start(&["--config", &text(&file), "--port", "0"]));
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
    let data_dir = folder.path().join("data");
    assert!(data_dir.join("mainspring.db").is_file());

    let second = Running::start(start(&["--data-dir", &text(&data_dir), "--port", "0"]));
    for namespace in ["default", "orders"] {
        let request = DescribeNamespaceRequest { namespace: namespace.to_owned(), ..Default::default() };
        let described: DescribeNamespaceResponse =
            call(connect(&second).await, "DescribeNamespace", request).await.unwrap();
        assert_eq!(described.namespace_info.unwrap().name, namespace);
    }
}

#[test]
fn a_second_server_on_a_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _owner = Running::start(start(&["--data-dir", &text(folder.path()), "--port", "0", "--log-level", "never"]));
    let line = refused(&["--data-dir", &text(folder.path()), "--port", "0", "--log-level", "never"], 1);
    assert!(line.contains("mainspring.db"), "{line}");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let line = refused(&["--data-dir", &text(&file.join("data"))], 1);
    assert!(line.contains(&text(&file)) && line.contains("data directory"), "{line}");
}

#[test]
fn a_bad_command_line_is_one_line_that_says_what_to_do() {
    for (flags, said) in [
        (&[][..], "--data-dir"),
        (&["--bogus"], "server start --help"),
        (&["--data-dir", "d", "--tls-cert", "c.pem"], "--tls-key"),
        (&["--data-dir", "d", "--config-file", "c.toml"], "--config"),
        (&["--config", "missing.toml"], "missing.toml"),
    ] {
        let line = refused(flags, 2);
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn a_bad_configuration_file_is_one_line_that_names_the_place() {
    assert!(refused_file("data_dir = 'd'").contains("is `data-dir` meant?"));
    assert!(refused_file("\nport = 'many'").contains("line 2"));
    assert!(refused_file("port = ").contains("line 1"));
    assert!(refused_file("log-level = 'loud'").contains("never"));
}

#[test]
fn a_bad_certificate_is_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, cert) = (text(folder.path()), text(&folder.path().join("cert.pem")));
    let flags = ["--data-dir", &dir, "--port", "0", "--tls-cert", &cert, "--tls-key", &cert, "--log-level", "never"];
    let line = refused(&flags, 1);
    assert!(line.contains("cert.pem"), "{line}");
}
