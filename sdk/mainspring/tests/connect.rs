//! Connections: plain, TLS, client certificates, keys, and what is said when there is none.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{convert::Infallible, net::SocketAddr, path::Path, sync::mpsc};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainspring::{ConnectError, WorkerError, activity::ActivityDef, client::RpcRetry, prelude::*};
use mainspring_server::{Config, Server, Storage, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `localhost` and its key, as files of these names.
    fn sign(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A server that asks its clients for a certificate lets those in who have one.
#[tokio::test]
async fn a_client_shows_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ca = Authority::new();
    std::fs::write(at("ca.pem"), ca.0.pem()).unwrap();
    ca.sign(folder.path(), "server");
    ca.sign(folder.path(), "client");
    let mut config = Config::new(anywhere(), Storage::Memory);
    config.tls = Some(TlsFiles { cert: at("server.pem"), key: at("server.key"), client_ca: Some(at("ca.pem")) });
    let server = Server::start(config).await.unwrap();
    let connect = || Connect::to(format!("127.0.0.1:{}", server.local_addr().port()));
    let trusting = || Tls::new().server_ca_file(at("ca.pem")).server_name("localhost");

    let shown = trusting().client_certificate_files(at("client.pem"), at("client.key"));
    let client = Client::connect(connect().tls(shown)).await.unwrap();
    assert_eq!(client.count("").await.unwrap(), 0);
    // An API key goes along; this server does not ask for one.
    let data = |name: &str| std::fs::read(at(name)).unwrap();
    let shown = trusting().client_certificate(data("client.pem"), data("client.key"));
    let client = Client::connect(connect().api_key("secret").tls(shown)).await.unwrap();
    client.set_api_key("another").unwrap();
    assert_eq!(client.count("").await.unwrap(), 0);

    let refused = Client::connect(connect().tls(trusting())).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable { .. })), "{refused:?}");
    let unknown = Client::connect(connect().tls(Tls::new().server_name("localhost"))).await.unwrap_err();
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    let plain = Client::connect(connect()).await;
    assert!(matches!(plain, Err(ConnectError::Unreachable { .. })), "{plain:?}");
    let missing = Client::connect(connect().tls(Tls::new().server_ca_file(at("none.pem")))).await.unwrap_err();
    assert!(missing.to_string().contains("none.pem"), "{missing}");
}

/// What is wrong is said at once, in one line.
#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind(anywhere()).unwrap().local_addr().unwrap();
    let error = Client::connect(Connect::to(free.to_string())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&free.to_string()) && text.contains("refused"), "{text}");
    for wrong in ["", "ftp://host:1", "two words"] {
        let error = Client::connect(Connect::to(wrong)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Address { .. }), "{error}");
    }
    let error = Client::connect(Connect::to("h:1").header("two words", "v")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Header { .. }), "{error}");
    // A lazy client fails when it calls, after having tried for a while.
    let retry = RpcRetry::default().max_elapsed(millis(300));
    let lazy = Client::connect(Connect::to(free.to_string()).lazy().retry(retry)).await.unwrap();
    let error = lazy.count("").await.unwrap_err();
    assert!(error.to_string().contains("Unavailable"), "{error}");
}

/// A call that meets no server is made again, and goes well when there is one.
#[tokio::test]
async fn a_call_outlasts_a_server_that_starts() {
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::connect(Connect::to(address.to_string()).lazy()).await.unwrap();
    let counting = tokio::spawn(async move { client.count("").await });
    // The first attempt is cut off, and the next ones meet nobody.
    drop(listener.accept().await.unwrap());
    drop(listener);
    let _server = Server::start(Config::new(address, Storage::Memory)).await.unwrap();
    assert_eq!(counting.await.unwrap().unwrap(), 0);
}

/// A server that takes calls apart: it answers each with UNIMPLEMENTED and hands on what was said of who calls.
async fn overhearing() -> (SocketAddr, mpsc::Receiver<Option<String>>) {
    let listener = tokio::net::TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let key = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
                let _ = tell.send(key);
                let answer = Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
                std::future::ready(Ok::<_, Infallible>(answer.body(String::new()).unwrap()))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, told)
}

/// What the server is told by the next call.
async fn key_of_a_call(client: &Client, told: &mpsc::Receiver<Option<String>>) -> Option<String> {
    while told.try_recv().is_ok() {}
    client.count("").await.unwrap_err();
    told.try_recv().unwrap()
}

#[tokio::test]
async fn each_call_has_the_key_of_the_moment() {
    let (address, told) = overhearing().await;
    let connect = || Connect::to(address.to_string()).lazy();
    let without = Client::connect(connect()).await.unwrap();
    assert_eq!(key_of_a_call(&without, &told).await, None);

    let client = Client::connect(connect().api_key("one").in_clear()).await.unwrap();
    assert_eq!(key_of_a_call(&client, &told).await.as_deref(), Some("Bearer one"));
    client.clone().set_api_key("two").unwrap();
    assert_eq!(key_of_a_call(&client, &told).await.as_deref(), Some("Bearer two"));

    let asked = std::sync::atomic::AtomicU32::new(0);
    let ask = move || format!("key {}", asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let client = Client::connect(connect().api_key_from(ask).in_clear()).await.unwrap();
    let first = key_of_a_call(&client, &told).await;
    assert_ne!(first, key_of_a_call(&client, &told).await);
    assert!(client.set_api_key("three").is_err());
}

/// A certificate that was replaced is shown to the server without a restart.
#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ca = Authority::new();
    std::fs::write(at("ca.pem"), ca.0.pem()).unwrap();
    ca.sign(folder.path(), "server");
    Authority::new().sign(folder.path(), "client");
    let mut config = Config::new(anywhere(), Storage::Memory);
    config.tls = Some(TlsFiles { cert: at("server.pem"), key: at("server.key"), client_ca: Some(at("ca.pem")) });
    let server = Server::start(config).await.unwrap();
    let tls = Tls::new()
        .server_ca_file(at("ca.pem"))
        .server_name("localhost")
        .client_certificate_files(at("client.pem"), at("client.key"))
        .look_at_files_every(millis(10));
    let connect = Connect::to(format!("127.0.0.1:{}", server.local_addr().port())).tls(tls).lazy();
    let client = Client::connect(connect.retry(RpcRetry::never())).await.unwrap();
    let refused = client.count("").await.unwrap_err().to_string();
    assert!(refused.contains("UnknownCA") || refused.contains("DecryptError"), "{refused}");
    ca.sign(folder.path(), "client");
    let served = async { while client.count("").await.is_err() {} };
    tokio::time::timeout(secs(20), served).await.expect("the new certificate is shown");
}

/// A namespace that is not there ends a worker at its start, not in an endless loop of polls.
#[tokio::test]
async fn a_worker_needs_its_namespace() {
    let server = Server::start(Config::new(anywhere(), Storage::Memory)).await.unwrap();
    let connect = Connect::to(server.local_addr().to_string()).namespace("nowhere");
    let client = Client::connect(connect).await.unwrap();
    let nothing = || ActivityDef::future("nothing", |_, _| async { Err(Error::msg("never")) });
    let error = Worker::builder(&client, "q").register(nothing()).run().await.unwrap_err();
    assert!(matches!(&error, WorkerError::NoNamespace(name) if name == "nowhere"), "{error}");

    let error = Worker::builder(&client, "q").build().unwrap_err();
    assert!(matches!(error, WorkerError::Empty { .. }));
    let error = Worker::builder(&client, "q").register(nothing()).register(nothing()).build().unwrap_err();
    assert_eq!(error.to_string(), "activity \"nothing\" is registered twice; give one of them another name");
    let error = Worker::builder(&client, "q").register(nothing()).pollers(0).build().unwrap_err();
    assert!(matches!(error, WorkerError::Option(_)));
}
