//! TLS and mutual TLS of a server in this process: who is served, who is refused, and how certificates are changed.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails says where, on the real clock")]

mod certificates;
#[expect(dead_code, reason = "other tests use more of it")]
mod client;

use std::{net::SocketAddr, time::Duration};

use mainspring_api::v1::workflowservice::{GetSystemInfoRequest, GetSystemInfoResponse};
use mainspring_server::{Config, Server, StartError, Storage, TlsFiles};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

use certificates::{Authority, Pair, call, connect, files};
use client::{Client, PATIENCE};

/// A server that asks its clients for a certificate.
struct Fixture {
    ca: Authority,
    files: TlsFiles,
    server: Server,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new("CA");
        let files = files(folder.path(), &ca);
        ca.sign("server").write(&files);
        let server = start(files.clone()).await.expect("it starts");
        Fixture { ca, files, server, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    async fn call(&self, own: Option<&Pair>) -> Result<(), String> {
        call(self.address(), &self.ca, own).await
    }

    /// What the server shows to new connections.
    async fn shown(&self) -> CertificateDer<'static> {
        let stream = connect(self.address(), &self.ca, Some(&self.ca.sign("client"))).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// What the metrics say of a counter.
    async fn counted(&self, name: &str) -> u64 {
        let page = metrics(&self.server).await;
        let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("there is such a counter");
        line.trim().parse().unwrap()
    }
}

async fn start(files: TlsFiles) -> Result<Server, StartError> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::new(anywhere, Storage::Memory);
    config.tls = Some(files);
    config.metrics = Some(anywhere);
    Server::start(config).await
}

async fn metrics(server: &Server) -> String {
    let mut stream = TcpStream::connect(server.metrics_addr().unwrap()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// Asks until it is so.
async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes about");
}

#[tokio::test]
async fn a_client_with_a_certificate_of_the_ca_is_served() {
    let mut fixture = Fixture::start().await;
    assert_eq!(fixture.call(Some(&fixture.ca.sign("client"))).await, Ok(()));
    fixture.server.stop().await;
}

#[tokio::test]
async fn a_client_without_tls_is_refused() {
    let mut fixture = Fixture::start().await;
    let refused = match Client::try_of(&fixture.server).await {
        Ok(client) => client.call::<_, GetSystemInfoResponse>("GetSystemInfo", GetSystemInfoRequest {}).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "it was served");
    fixture.server.stop().await;
}

#[tokio::test]
async fn a_client_whose_certificate_is_missing_foreign_or_expired_is_refused() {
    let mut fixture = Fixture::start().await;
    let foreign = Authority::new("another CA").sign("client");
    let forged = Authority::new("CA").sign("client");
    let expired = fixture.ca.sign_until("client", 2001);
    for (own, alert) in [
        (None, "CertificateRequired"),
        (Some(&foreign), "UnknownCA"),
        (Some(&forged), "DecryptError"),
        (Some(&expired), "CertificateExpired"),
    ] {
        let told = match connect(fixture.address(), &fixture.ca, own).await {
            Ok(mut stream) => stream.read_u8().await.expect_err("it must not be served"),
            Err(error) => error,
        };
        assert!(told.to_string().contains(alert), "{alert}: {told}");
        assert!(fixture.call(own).await.is_err(), "{alert}: it was served");
    }
    assert_eq!(fixture.counted("mainspring_tls_handshake_failures_total").await, 8);
    fixture.server.stop().await;
}

#[tokio::test]
async fn without_a_client_ca_nobody_needs_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("CA");
    let files = TlsFiles { client_ca: None, ..files(folder.path(), &ca) };
    ca.sign("server").write(&files);
    let mut server = start(files).await.unwrap();
    assert_eq!(call(server.local_addr(), &ca, None).await, Ok(()));
    server.stop().await;
}

/// New connections get the new certificate; one that stands goes on.
#[tokio::test]
async fn a_changed_certificate_is_served_without_a_restart() {
    let mut fixture = Fixture::start().await;
    let old = fixture.shown().await;
    let mut standing = connect(fixture.address(), &fixture.ca, Some(&fixture.ca.sign("client"))).await.unwrap();
    let renewed = fixture.ca.sign("server, renewed");
    assert_ne!(renewed.der(), old);
    renewed.write(&fixture.files);
    eventually(async || fixture.shown().await == renewed.der()).await;
    // The first bytes of a server's HTTP/2: it is there.
    standing.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    standing.read_u8().await.expect("the connection stands");
    drop(standing);
    fixture.server.stop().await;
}

/// A client CA can be changed as well: whoever only the old one vouched for is refused from then on.
#[tokio::test]
async fn a_changed_client_ca_refuses_the_clients_of_the_old_one() {
    let mut fixture = Fixture::start().await;
    let next = Authority::new("CA");
    std::fs::write(fixture.files.client_ca.as_ref().unwrap(), next.pem()).unwrap();
    let (new, old) = (next.sign("client"), fixture.ca.sign("client"));
    eventually(async || fixture.call(Some(&new)).await.is_ok()).await;
    assert!(fixture.call(Some(&old)).await.is_err());
    fixture.server.stop().await;
}

/// Half-written files and wrong pairs do not end the service; the right ones are taken when they come.
#[tokio::test]
async fn bad_new_files_leave_the_old_certificate_in_use() {
    let mut fixture = Fixture::start().await;
    let old = fixture.shown().await;
    std::fs::write(&fixture.files.cert, "half of a certificate").unwrap();
    eventually(async || fixture.counted("mainspring_tls_reload_failures_total").await == 1).await;
    let (one, other) = (fixture.ca.sign("one"), fixture.ca.sign("other"));
    one.write(&fixture.files);
    std::fs::write(&fixture.files.cert, other.cert_pem()).unwrap();
    eventually(async || fixture.counted("mainspring_tls_reload_failures_total").await >= 2).await;
    assert!([old, one.der()].contains(&fixture.shown().await), "one that was whole is in use");
    other.write(&fixture.files);
    eventually(async || fixture.shown().await == other.der()).await;
    fixture.server.stop().await;
}

/// Clients that connect and say nothing, more than there are threads, keep nobody waiting.
#[tokio::test]
async fn slow_clients_block_nobody() {
    let mut fixture = Fixture::start().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(fixture.address()).await.unwrap());
    }
    let own = fixture.ca.sign("client");
    let served = tokio::time::timeout(Duration::from_secs(5), fixture.call(Some(&own)));
    assert_eq!(served.await.expect("well before the silent ones are cut off"), Ok(()));
    tokio::time::timeout(Duration::from_secs(4), fixture.server.stop()).await.expect("nor does the stop wait for them");
}

#[tokio::test]
async fn bad_files_are_one_line_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new("CA");
    let good = files(folder.path(), &ca);
    ca.sign("server").write(&good);
    let junk = folder.path().join("junk.pem");
    std::fs::write(&junk, "junk").unwrap();
    let other = TlsFiles { cert: folder.path().join("c2.pem"), key: folder.path().join("k2.pem"), client_ca: None };
    ca.sign("other").write(&other);
    let missing = folder.path().join("missing.pem");
    for (files, named) in [
        (TlsFiles { cert: missing.clone(), ..good.clone() }, "missing.pem"),
        (TlsFiles { cert: junk.clone(), ..good.clone() }, "junk.pem"),
        (TlsFiles { key: junk.clone(), ..good.clone() }, "junk.pem"),
        (TlsFiles { key: other.key.clone(), ..good.clone() }, "k2.pem"),
        (TlsFiles { client_ca: Some(junk.clone()), ..good.clone() }, "junk.pem"),
    ] {
        let Err(error) = start(files).await else { panic!("{named}: it started") };
        let line = error.to_string();
        assert!(matches!(error, StartError::Tls(_)) && line.contains(named) && !line.contains('\n'), "{line}");
    }
}
