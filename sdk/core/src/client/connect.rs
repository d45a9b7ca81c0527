//! Where the server is and how to reach it: plain, TLS, client certificate, API key.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use mainspring_api::v1::workflowservice::GetSystemInfoRequest;
use tonic::{
    Code,
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    client::{
        Class, Client, RpcError, RpcRetry,
        profile::{Profile, ProfileError},
        rpc::{ApiKey, Rpc},
        tls::{self, Tls},
    },
    convert::DataConverter,
};

/// Where the server is and how to reach it.
///
/// ```
/// use mainspring_sdk::{Connect, Tls};
///
/// let local = Connect::to("localhost:7233").namespace("orders");
/// let cloud = Connect::to("orders.a1b2c.tmprl.cloud:7233")
///     .namespace("orders.a1b2c")
///     .tls(Tls::new().client_certificate_files("client.pem", "client.key"));
/// ```
#[derive(Clone)]
pub struct Connect {
    target: String,
    namespace: String,
    identity: Option<String>,
    tls: Option<Tls>,
    api_key: Option<ApiKey>,
    headers: BTreeMap<String, String>,
    converter: DataConverter,
    retry: RpcRetry,
    keep_alive: Option<(Duration, Duration)>,
    connect_timeout: Duration,
    lazy: bool,
}

/// Why there is no connection. One line that says what to look at.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is no address.
    #[error("{target:?} is no address of a server; write host:port")]
    Address {
        /// What was given.
        target: String,
    },
    /// A header's name or value is not allowed.
    #[error("{name:?} cannot be a header: {why}")]
    Header {
        /// The header's name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The certificates do not fit together.
    #[error("TLS to {target}: {why}")]
    Tls {
        /// The server.
        target: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody answers there.
    #[error("cannot reach a server at {target}: {why}")]
    Unreachable {
        /// The server.
        target: String,
        /// What is wrong.
        why: String,
    },
    /// The server answered, and refused.
    #[error("the server at {target} refuses: {source}")]
    Refused {
        /// The server.
        target: String,
        /// What it said.
        source: RpcError,
    },
    /// The environment or the profile is wrong.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl Connect {
    /// To the server at `host:port`, in clear, in the namespace `default`.
    pub fn to(target: impl Into<String>) -> Connect {
        Connect {
            target: target.into(),
            namespace: "default".to_owned(),
            identity: None,
            tls: None,
            api_key: None,
            headers: BTreeMap::new(),
            converter: DataConverter::default(),
            retry: RpcRetry::default(),
            keep_alive: Some((Duration::from_secs(30), Duration::from_secs(15))),
            connect_timeout: Duration::from_secs(10),
            lazy: false,
        }
    }

    /// As the variables `TEMPORAL_*` and the profile file `temporal.toml` say; see [`profile`](crate::client::profile).
    /// `localhost:7233` when they say nothing.
    ///
    /// # Errors
    /// When the file or a variable is wrong.
    pub fn from_env() -> Result<Connect, ConnectError> {
        Ok(Profile::from_env()?.try_into()?)
    }

    /// Sets the namespace.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = name.into();
        self
    }

    /// Sets who this client says it is; `pid@host` if not set.
    #[must_use]
    pub fn identity(mut self, name: impl Into<String>) -> Self {
        self.identity = Some(name.into());
        self
    }

    /// Encrypts the connection.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sends an API key with every call, and encrypts the connection unless [`tls`](Connect::tls) or
    /// [`in_clear`](Connect::in_clear) say how.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(ApiKey::set(key.into()));
        self.tls.get_or_insert_default();
        self
    }

    /// Sends an API key that is asked for before every call, for keys that change.
    #[must_use]
    pub fn api_key_from(mut self, ask: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.api_key = Some(ApiKey::Asked(Arc::new(ask)));
        self.tls.get_or_insert_default();
        self
    }

    /// Does not encrypt the connection, even with an API key.
    #[must_use]
    pub fn in_clear(mut self) -> Self {
        self.tls = None;
        self
    }

    /// Sends a header with every call.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets how values leave this process and arrive.
    #[must_use]
    pub fn converter(mut self, converter: DataConverter) -> Self {
        self.converter = converter;
        self
    }

    /// Sets how calls of users are tried again.
    #[must_use]
    pub fn retry(mut self, retry: RpcRetry) -> Self {
        self.retry = retry;
        self
    }

    /// Asks the server for a sign of life each `interval`, and gives the connection up without one for `timeout`;
    /// 30 s and 15 s if not set.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = Some((interval, timeout));
        self
    }

    /// Never asks the server for a sign of life.
    #[must_use]
    pub fn no_keep_alive(mut self) -> Self {
        self.keep_alive = None;
        self
    }

    /// Connects with the first call only: [`Client::connect`] then succeeds without a server.
    #[must_use]
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Where to.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("target", &self.target)
            .field("namespace", &self.namespace)
            .field("tls", &self.tls)
            .field("api_key", &self.api_key.is_some())
            .finish_non_exhaustive()
    }
}

pub(crate) async fn connect(options: Connect) -> Result<Client, ConnectError> {
    let target = options.target.clone();
    let headers = headers(&options)?;
    let first = endpoint(&options).await?;
    let channel: Channel = if options.lazy {
        first.connect_lazy()
    } else {
        let connected = first.connect().await;
        connected.map_err(|error| ConnectError::Unreachable { target: target.clone(), why: chain(&error) })?
    };
    let client = over(channel, headers, options.clone());
    if let Some(tls) = options.tls.clone().filter(Tls::has_files) {
        tokio::spawn(tls::renew(tls, options.clone(), client.rpc().downgrade()));
    }
    if !options.lazy {
        match client.rpc().call_as(Class::Once, &GetSystemInfoRequest {}).await {
            Ok(_) => {}
            // Servers of long ago do not know the call.
            Err(error) if error.code() == Code::Unimplemented => {}
            Err(error) if error.is_transport() || error.code() == Code::Unavailable => {
                return Err(ConnectError::Unreachable { target, why: error.to_string() });
            }
            Err(source) => return Err(ConnectError::Refused { target, source }),
        }
    }
    Ok(client)
}

/// A client over a channel that is there.
fn over(channel: Channel, headers: Vec<Header>, options: Connect) -> Client {
    let identity = options.identity.unwrap_or_else(default_identity);
    let rpc = Rpc::new(channel, options.namespace.clone(), headers, options.api_key, options.retry);
    Client::over(rpc, options.namespace, identity, options.converter)
}

type Header = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// What every call carries, beside the API key.
fn headers(options: &Connect) -> Result<Vec<Header>, ConnectError> {
    let mut headers = vec![header("client-name", "mainspring-rust")?, header("client-version", VERSION)?];
    headers.push(header("temporal-namespace", &options.namespace)?);
    for (name, value) in &options.headers {
        headers.push(header(name, value)?);
    }
    Ok(headers)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn header(name: &str, value: &str) -> Result<Header, ConnectError> {
    let wrong = |why: String| ConnectError::Header { name: name.to_owned(), why };
    let key =
        name.to_lowercase().parse().map_err(|_| wrong("its name has characters that no header may have".into()))?;
    let value = value.parse().map_err(|_| wrong("its value has characters that no header may have".into()))?;
    Ok((key, value))
}

pub(crate) async fn endpoint(options: &Connect) -> Result<Endpoint, ConnectError> {
    let target = options.target.as_str();
    let wrong = || ConnectError::Address { target: target.to_owned() };
    let (scheme, rest) = match target.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(wrong()),
        None => ("http", target),
    };
    let tls = options.tls.clone().or_else(|| (scheme == "https").then(Tls::new));
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{rest}")).map_err(|_| wrong())?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    endpoint = endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .user_agent(concat!("mainspring-rust/", env!("CARGO_PKG_VERSION")))
        .map_err(|_| wrong())?;
    if let Some((interval, timeout)) = options.keep_alive {
        endpoint = endpoint.http2_keep_alive_interval(interval).keep_alive_timeout(timeout).keep_alive_while_idle(true);
    }
    if let Some(tls) = tls {
        let config = tls.config().await?;
        endpoint = endpoint
            .tls_config(config)
            .map_err(|error| ConnectError::Tls { target: target.to_owned(), why: chain(&error) })?;
    }
    Ok(endpoint)
}

/// An error with all that led to it: tonic's own text says "transport error" only.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// `pid@host`, as the other SDKs say.
fn default_identity() -> String {
    format!("{}@{}", std::process::id(), host_name())
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    let from_file = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let from_env = || std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok();
    let name = from_file().or_else(from_env).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}
