//! [`Tls`]: encryption of the connection, certificates, and the files they are in.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::client::{
    ConnectError,
    connect::{self, Connect},
    rpc::WeakRpc,
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Encryption of the connection, and certificates.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    server_ca: Option<Pem>,
    client: Option<(Pem, Pem)>,
    server_name: Option<String>,
    look_every: Option<Duration>,
}

#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

/// Secrets stay out of logs.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Text(text) => write!(f, "{} bytes", text.len()),
        }
    }
}

impl Tls {
    /// With the certificate authorities of this machine, and no certificate of the client's.
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts these authorities only, in PEM.
    #[must_use]
    pub fn server_ca(mut self, pem: impl Into<Vec<u8>>) -> Tls {
        self.server_ca = Some(Pem::Text(pem.into()));
        self
    }

    /// Trusts the authorities in this PEM file only.
    #[must_use]
    pub fn server_ca_file(mut self, path: impl Into<PathBuf>) -> Tls {
        self.server_ca = Some(Pem::File(path.into()));
        self
    }

    /// Shows this certificate, in PEM, with its key.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Tls {
        self.client = Some((Pem::Text(certificate.into()), Pem::Text(key.into())));
        self
    }

    /// Shows the certificate in this PEM file, with the key in the other one.
    #[must_use]
    pub fn client_certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Tls {
        self.client = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// Expects this name in the server's certificate, and asks for it, instead of the address's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        self.server_name = Some(name.into());
        self
    }

    /// Looks this often whether the files changed, and shows what is in them to the server from then on; each minute if
    /// not set.
    #[must_use]
    pub fn look_at_files_every(mut self, interval: Duration) -> Tls {
        self.look_every = Some(interval);
        self
    }

    pub(crate) fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pems = self.server_ca.iter().chain(self.client.iter().flat_map(|(certificate, key)| [certificate, key]));
        pems.filter_map(|pem| match pem {
            Pem::File(path) => Some(path),
            Pem::Text(_) => None,
        })
    }

    /// When each of the files was changed last, if it is there.
    fn changed_at(&self) -> Vec<Option<SystemTime>> {
        self.files().map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok()).collect()
    }

    /// For a new connection, from what is in the files now.
    pub(crate) async fn config(self) -> Result<ClientTlsConfig, ConnectError> {
        let mut config = ClientTlsConfig::new();
        config = match self.server_ca {
            Some(pem) => config.ca_certificate(Certificate::from_pem(pem.read().await?)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = self.client {
            config = config.identity(Identity::from_pem(certificate.read().await?, key.read().await?));
        }
        if let Some(name) = self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

impl Pem {
    async fn read(self) -> Result<Vec<u8>, ConnectError> {
        match self {
            Pem::Text(text) => Ok(text),
            Pem::File(path) => {
                let read = std::fs::read(&path);
                read.map_err(|source| ConnectError::File { path, source: Arc::new(source) })
            }
        }
    }
}

/// As long as the connection is used: makes a new one whenever the files change. One that cannot be made is tried again;
/// meanwhile the old one serves.
pub(crate) async fn renew(tls: Tls, options: Connect, rpc: WeakRpc) {
    let mut known = tls.changed_at();
    while rpc.is_used() {
        tokio::time::sleep(tls.look_every.unwrap_or(LOOK_EVERY)).await;
        let now = tls.changed_at();
        if now == known {
            continue;
        }
        match connect::endpoint(&options).await {
            Ok(endpoint) => {
                rpc.replace_channel(endpoint.connect_lazy());
                tracing::info!("certificates changed, connecting anew");
                known = now;
            }
            Err(error) => tracing::warn!(%error, "certificates changed, but cannot be used"),
        }
    }
}
