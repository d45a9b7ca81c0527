//! TLS and mutual TLS: from the operator's files to what a handshake needs, and again when the files change.
//!
//! Connections that stand are left alone by a reload; new ones meet the new certificate and the new CAs. The handshakes
//! themselves are in [`crate::listener`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainspring_rt::Rt;
use tokio::sync::watch;
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};
use tracing::{info, warn};

use crate::metrics::Metrics;

/// The files are read this often, to see whether they changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// Where certificates and key lie, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those between it and its root.
    pub cert: PathBuf,
    /// The key of the certificate, not encrypted.
    pub key: PathBuf,
    /// Only clients with a certificate signed by one of these are served; without it every client is.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be served from these files. One line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the {what} {path}: {source}; name a file that this user may read")]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error("there is no {what} in {path}: {why}; it must be PEM, and a key must not be encrypted")]
    NotThere { what: &'static str, path: PathBuf, why: String },
    #[error("the certificate {cert} cannot be served with the key {key}: {why}; name a certificate and its own key")]
    Pair { cert: PathBuf, key: PathBuf, why: rustls::Error },
    #[error("the client CA {path} cannot be used: {why}; name the certificate that signs the clients' certificates")]
    ClientCa { path: PathBuf, why: String },
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
}

/// What the files held when they were last read.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What new handshakes use. Cheap to clone.
pub(crate) type CurrentTls = watch::Receiver<Arc<ServerConfig>>;

/// Reads the files and keeps on reading them until nobody uses the outcome.
///
/// # Errors
/// See [`TlsError`].
pub(crate) async fn open(rt: &Rt, files: TlsFiles, metrics: Arc<Metrics>) -> Result<CurrentTls, TlsError> {
    let contents = read(rt, files.clone()).await.expect("the runtime runs this")?;
    let (current, handle) = watch::channel(Arc::new(server_config(&files, &contents)?));
    let own_rt = rt.clone();
    rt.spawn(async move {
        tokio::select! {
            () = reload(own_rt, files, contents, &current, metrics) => {}
            () = current.closed() => {}
        }
    });
    Ok(handle)
}

/// Compares contents, not times of change: three small files cost nothing to read, and a time of change may be kept by
/// whoever copies them. Each new state is tried once, so that a bad one is told once; certificate and key need not
/// change in the same moment.
async fn reload(
    rt: Rt,
    files: TlsFiles,
    contents: Contents,
    current: &watch::Sender<Arc<ServerConfig>>,
    metrics: Arc<Metrics>,
) {
    let mut seen = Ok(contents);
    loop {
        rt.sleep(RELOAD_INTERVAL).await;
        let Some(found) = read(&rt, files.clone()).await else { return };
        let found = found.map_err(|error| error.to_string());
        if found == seen {
            continue;
        }
        let made = match &found {
            Ok(contents) => server_config(&files, contents).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        seen = found;
        match made {
            Ok(config) => {
                current.send_replace(Arc::new(config));
                info!(cert = %files.cert.display(), "new TLS files are in use");
            }
            Err(why) => {
                metrics.tls_reload_failed();
                warn!("the TLS files changed and cannot be used, those from before stay in use: {why}");
            }
        }
    }
}

/// Off the async threads: the files may lie on a slow disk. `None` when the runtime ends.
async fn read(rt: &Rt, files: TlsFiles) -> Option<Result<Contents, TlsError>> {
    let reading = rt.blocking(move || {
        let read =
            |what, path: &Path| fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source });
        Ok(Contents {
            cert: read("certificate", &files.cert)?,
            key: read("private key", &files.key)?,
            client_ca: files.client_ca.as_deref().map(|path| read("client CA", path)).transpose()?,
        })
    });
    reading.await
}

fn server_config(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?;
    let builder = match (&files.client_ca, &contents.client_ca) {
        (Some(path), Some(pem)) => {
            let roots = Arc::new(roots(path, pem)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let refused = |why: VerifierBuilderError| TlsError::ClientCa { path: path.clone(), why: why.to_string() };
            builder.with_client_cert_verifier(verifier.map_err(refused)?)
        }
        _ => builder.with_no_client_auth(),
    };
    let certificates = certificates("certificate", &files.cert, &contents.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|why| TlsError::NotThere {
        what: "private key",
        path: files.key.clone(),
        why: why.to_string(),
    })?;
    let refused = |why| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), why };
    let mut config = builder.with_single_cert(certificates, key).map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session skips the check of the client's certificate, which may have expired meanwhile. Connections of
    // workers last for hours: there is little to save.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client CA", path, pem)? {
        let refused = |why: rustls::Error| TlsError::ClientCa { path: path.to_owned(), why: why.to_string() };
        roots.add(certificate).map_err(refused)?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(what: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let missing = |why: String| TlsError::NotThere { what, path: path.to_owned(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|why| missing(why.to_string()))?;
    if found.is_empty() { Err(missing("it holds no BEGIN CERTIFICATE".to_owned())) } else { Ok(found) }
}
