//! The composition root: [`Server::start`] opens the store, history and the frontend on it, and listens.
//!
//! - `storage`: which store, and when it makes the server stop.
//! - `listener`: connections, with `tls` handshakes if so configured; `metrics`: counters and where they are read.
//! - `harness`: what tests do to the clock and to calls.
//! - `grpc`: the frontend's calls carried by gRPC; `codec`: bytes in, bytes out; `reflection`: built on first use.
//!
//! Nothing is process-wide: two servers run side by side in one test. What to run with is [`Config`].

mod codec;
mod config;
mod grpc;
mod harness;
mod listener;
mod metrics;
mod reflection;
mod storage;
mod tls;

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use mainspring_api::{
    ids::NamespaceId,
    v1::enums::{IndexedValueType, NamespaceState},
};
use mainspring_frontend::Frontend;
use mainspring_history::{ChangeError, History, Namespace, RegisterError, Tuning};
use mainspring_rt::Rt;
use mainspring_store::sqlite::OpenError;
use mainspring_visibility::OpenError as IndexOpenError;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};
use tracing::{error, info, warn};

pub use config::{Config, Limits, SearchAttributeType, Storage};
pub use harness::{Harness, Hold};
pub use tls::{TlsError, TlsFiles};

use crate::{
    grpc::Api,
    metrics::{Metrics, endpoint::Page},
    storage::OpenStore,
    tls::CurrentTls,
};

/// Calls that are under way when the server stops have this long to finish.
const GRACE: Duration = Duration::from_secs(5);
/// How long a namespace made at the start keeps closed runs: what the original's dev server does.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// The namespace that is always there.
const DEFAULT_NAMESPACE: &str = "default";
/// Executions that nobody has touched for a while leave memory when they take up more than this.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// A running node. It runs on the Tokio runtime that it was started on; dropped without [`Server::stop`] it goes on.
pub struct Server {
    rt: Rt,
    harness: Option<Harness>,
    local_addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
    history: History,
    store: OpenStore,
    api: Api,
    stopping: Option<oneshot::Sender<()>>,
    /// Dropped to close the metrics' endpoint, which outlives the API: the stop can be watched.
    metrics_stopping: Option<oneshot::Sender<()>>,
    ended: watch::Receiver<Option<String>>,
}

/// Why a server did not start. One line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; stop what listens there or choose another port")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Store(#[from] OpenError),
    #[error("{0}")]
    Index(#[from] IndexOpenError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("a server with a harness keeps nothing: give it memory to store in")]
    HarnessOnDisk,
    #[error("cannot read what is stored: {0}")]
    Read(mainspring_store::Error),
    #[error("cannot write a namespace: {0}")]
    Namespace(mainspring_store::Error),
}

/// Why a server stopped by itself. One line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(String);

impl Server {
    /// Starts a node; it serves when this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Server, StartError> {
        if config.harness.is_some() && !matches!(config.storage, Storage::Memory) {
            return Err(StartError::HarnessOnDisk);
        }
        let (listener, local_addr) = listen(config.listen).await?;
        let metrics_listener = match config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };

        let rt = config.harness.as_ref().map_or_else(Rt::real, Harness::rt);
        let started_at = rt.now();
        let metrics = Arc::new(Metrics::new());
        let tls = match config.tls.clone() {
            Some(files) => Some(tls::open(&rt, files, metrics.clone()).await?),
            None => None,
        };
        let store = storage::open(&config).await?;
        let index = storage::open_index(&config).await?;
        let limits = config.limits.clone();
        let history = History::open(mainspring_history::Config {
            rt: rt.clone(),
            store: store.store(),
            index,
            limits: limits.clone(),
            cache_bytes_max: if config.harness.is_some() { usize::MAX } else { CACHE_BYTES_MAX },
            tuning: tuning(config.harness.as_ref()),
        })
        .await
        .map_err(StartError::Read)?;
        let retention = if config.harness.is_some() { harness::RETENTION } else { RETENTION };
        for name in std::iter::once(DEFAULT_NAMESPACE).chain(config.namespaces.iter().map(String::as_str)) {
            make_namespace(&rt, &history, name, retention, &config.search_attributes).await?;
        }
        let frontend = Frontend::new(mainspring_frontend::Config {
            rt: rt.clone(),
            history: history.clone(),
            limits,
            store_name: store.name(),
        });
        let api = Api::new(rt.clone(), frontend, metrics.clone(), config.harness.clone());
        if let Some(harness) = &config.harness {
            harness.attend(&rt, history.clone());
        }
        let (stopping, stop) = oneshot::channel();
        let ended = serve(&rt, api.clone(), Incoming { listener, tls, metrics: metrics.clone() }, stop);
        let page = Page { rt: rt.clone(), metrics, store: store.store(), started_at };
        let metrics_addr = metrics_listener.as_ref().map(|(_, address)| *address);
        let metrics_stopping = metrics_listener.map(|(listener, _)| serve_metrics(&rt, page, listener));
        api.set_serving(true).await;
        info!(%local_addr, store = store.name(), "serving");
        let (stopping, harness) = (Some(stopping), config.harness);
        Ok(Server { rt, harness, local_addr, metrics_addr, history, store, api, stopping, metrics_stopping, ended })
    }

    /// Where it listens: the port that was taken when the configuration said 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the metrics are read, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// Resolves when the server cannot go on; [`Server::stop`] is then due. Cancel safe.
    pub async fn stopped(&mut self) -> Stopped {
        let mut failed = self.history.failed();
        let why = tokio::select! {
            why = self.store.failed() => why,
            why = reason(&mut failed) => why,
            why = reason(&mut self.ended) => why,
        };
        Stopped(why)
    }

    /// Ends polls, lets calls under way finish, then closes history and store. Everything acknowledged is safe.
    pub async fn stop(&mut self) {
        self.api.set_serving(false).await;
        if let Some(harness) = &self.harness {
            harness.close();
        }
        self.api.end_polls();
        drop(self.stopping.take());
        tokio::select! {
            _ = self.ended.wait_for(Option::is_some) => {}
            () = self.rt.sleep(GRACE) => warn!("some calls did not finish in time"),
        }
        self.history.close().await;
        self.store.close().await;
        drop(self.metrics_stopping.take());
        info!("stopped");
    }
}

/// Tests keep nothing on disk, so they need not have all the shards of the data format.
fn tuning(harness: Option<&Harness>) -> Tuning {
    let tuning = Tuning::default();
    if harness.is_some() { Tuning { shards: harness::SHARDS, ..tuning } } else { tuning }
}

/// The reason, once there is one; never if there will be none.
async fn reason(watched: &mut watch::Receiver<Option<String>>) -> String {
    let come = watched.wait_for(Option::is_some).await.ok().and_then(|come| come.clone());
    match come {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    Ok((listener, local_addr))
}

/// Where connections come from.
struct Incoming {
    listener: TcpListener,
    tls: Option<CurrentTls>,
    metrics: Arc<Metrics>,
}

/// Serves until `stop`; says why it ended.
fn serve(rt: &Rt, api: Api, incoming: Incoming, stop: oneshot::Receiver<()>) -> watch::Receiver<Option<String>> {
    let incoming = listener::listen(rt.clone(), incoming.listener, incoming.tls, incoming.metrics);
    let (end, ended) = watch::channel(None);
    rt.spawn(async move {
        let stop = async {
            // Dropping the sender says it as well.
            let _ = stop.await;
        };
        let why = match grpc::serve(api, incoming, stop).await {
            Ok(()) => "the listener was closed".to_owned(),
            Err(why) => {
                error!(%why, "the listener failed");
                format!("the listener failed: {why}")
            }
        };
        end.send_replace(Some(why));
    });
    ended
}

/// Dropping the sender ends it.
fn serve_metrics(rt: &Rt, page: Page, listener: TcpListener) -> oneshot::Sender<()> {
    let (stopping, stop) = oneshot::channel::<()>();
    rt.spawn(metrics::endpoint::serve(page, listener, async {
        let _ = stop.await;
    }));
    stopping
}

/// Makes a namespace unless it is there, and gives it these search attributes.
async fn make_namespace(
    rt: &Rt,
    history: &History,
    name: &str,
    retention: Duration,
    search_attributes: &[(String, IndexedValueType)],
) -> Result<(), StartError> {
    let search_attributes = search_attributes.iter().map(|(name, kind)| (name.clone(), *kind as i32));
    if let Some(known) = history.namespaces().by_name(name) {
        let added = |namespace: &mut Namespace| {
            namespace.search_attributes.extend(search_attributes);
            Ok::<(), Infallible>(())
        };
        return match history.namespaces().change(known.id, added).await {
            Ok(_) | Err(ChangeError::Unknown) => Ok(()),
            Err(ChangeError::Refused(never)) => match never {},
            Err(ChangeError::Store(error)) => Err(StartError::Namespace(error)),
        };
    }
    let random = (u128::from(rt.random_u64()) << 64) | u128::from(rt.random_u64());
    let namespace = Namespace {
        id: NamespaceId(uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid()),
        name: name.to_owned(),
        state: NamespaceState::Registered as i32,
        description: String::new(),
        owner_email: String::new(),
        retention,
        data: BTreeMap::new(),
        search_attributes: search_attributes.collect(),
        created_at: rt.now(),
    };
    match history.namespaces().register(namespace).await {
        Ok(()) | Err(RegisterError::Exists) => Ok(()),
        Err(RegisterError::Store(error)) => Err(StartError::Namespace(error)),
    }
}
