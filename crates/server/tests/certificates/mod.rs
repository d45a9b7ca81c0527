//! Certificates made in the test, and a client that uses them.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use hyper_util::rt::TokioIo;
use mainspring_api::v1::workflowservice::{GetSystemInfoRequest, GetSystemInfoResponse};
use mainspring_server::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    },
};
use tonic::{Status, transport::Endpoint};

use crate::client::{Client, PATIENCE};

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Pair {
    cert: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// For `localhost`, until far in the future.
    pub(crate) fn sign(&self, name: &str) -> Pair {
        self.sign_until(name, 2999)
    }

    pub(crate) fn sign_until(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        Pair { cert: params.signed_by(&key, &self.0).unwrap(), key }
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.cert.der().clone()
    }

    pub(crate) fn cert_pem(&self) -> String {
        self.cert.pem()
    }

    pub(crate) fn write(&self, files: &TlsFiles) {
        std::fs::write(&files.cert, self.cert_pem()).unwrap();
        std::fs::write(&files.key, self.key.serialize_pem()).unwrap();
    }
}

/// The names of a server's files, with the CA of its clients written.
pub(crate) fn files(folder: &Path, clients: &Authority) -> TlsFiles {
    let ca = folder.join("client-ca.pem");
    std::fs::write(&ca, clients.pem()).unwrap();
    TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca: Some(ca) }
}

/// A TLS connection that trusts `server` and shows `own`. The client's half of the handshake may succeed although the
/// server refuses: that shows at the first read.
pub(crate) async fn connect(
    address: SocketAddr,
    server: &Authority,
    own: Option<&Pair>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(server.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![own.der()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// One call over a connection of its own: whether it is served, and if not the text of the refusal.
pub(crate) async fn call(address: SocketAddr, server: &Authority, own: Option<&Pair>) -> Result<(), String> {
    let stream = connect(address, server, own).await.map_err(|error| error.to_string())?;
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::other("it was closed"));
        async move { stream.map(TokioIo::new) }
    });
    let connected = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    let client = Client::over(connected.map_err(|error| error.to_string())?);
    let calling = client.call::<_, GetSystemInfoResponse>("GetSystemInfo", GetSystemInfoRequest {});
    let called: Result<_, Status> = tokio::time::timeout(PATIENCE, calling).await.expect("the call ends");
    called.map(|_| ()).map_err(|status| status.to_string())
}
