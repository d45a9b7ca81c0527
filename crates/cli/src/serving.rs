//! What both commands share: the runtime, the lines that say where it listens, and the stop on a signal.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use mainspring_server::{Config, Server, Storage, TlsFiles};

use crate::Misuse;

/// Runs the server until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start, or stops by itself: one line that says what to do.
pub(crate) fn run(banner: Banner, config: Config) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the worker threads")?;
    let ended = runtime.block_on(serve(config, banner));
    // Whatever had to be safe is safe by now; a thread stuck in the file system must not hold up the exit.
    runtime.shutdown_background();
    ended
}

/// The signals are watched from before the start, so that one that comes during it ends the process cleanly too.
async fn serve(config: Config, banner: Banner) -> anyhow::Result<()> {
    let mut signals = Signals::watch().context("cannot watch for signals")?;
    let mut server = tokio::select! {
        // Only the text: it says all that is to be said, and its sources would repeat it.
        started = Server::start(config) => started.map_err(|error| anyhow!("{error}"))?,
        () = signals.next() => return Ok(()),
    };
    banner.print(&server);
    tokio::select! {
        () = signals.next() => {}
        stopped = server.stopped() => bail!("{stopped}"),
    }
    tokio::select! {
        () = server.stop() => Ok(()),
        () = signals.next() => bail!("stopped at once on a second signal; no acknowledged work is lost"),
    }
}

/// `default` is always there, and each other is made once.
pub(crate) fn namespaces_beside_default(names: &[String]) -> Vec<String> {
    let mut others: Vec<String> = Vec::new();
    for name in names {
        if name != "default" && !others.contains(name) {
            others.push(name.clone());
        }
    }
    others
}

/// A host name may stand for several addresses; IPv4 goes first, where most clients look for `localhost`.
pub(crate) fn listen_address(ip: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let found: Vec<SocketAddr> = (ip, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot find the address of {ip}; give --ip an address of this machine"))?
        .collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(|| anyhow!("{ip} has no address; give --ip an address of this machine"))
}

/// On the same address as the API.
pub(crate) fn metrics_address(listen: SocketAddr, port: Option<u16>) -> Option<SocketAddr> {
    port.map(|port| SocketAddr::new(listen.ip(), port))
}

/// All that belongs together, or nothing.
pub(crate) fn tls_files(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<TlsFiles>, Misuse> {
    let missing = |what: &str| Err(Misuse(format!("TLS needs a certificate and its key; name the {what} too")));
    match (cert, key, client_ca) {
        (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles { cert, key, client_ca })),
        (None, None, None) => Ok(None),
        (Some(_), None, _) => missing("key with --tls-key"),
        (None, Some(_), _) => missing("certificate with --tls-cert"),
        (None, None, Some(_)) => missing("server's own with --tls-cert and --tls-key"),
    }
}

/// To stderr, as in the original: stdout holds the addresses alone.
pub(crate) fn print_config(config: &Config) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "listen = {}", config.listen);
    let _ = writeln!(out, "storage = {}", storage(config));
    let _ = writeln!(out, "namespaces = {}", namespaces(config));
    for (name, kind) in &config.search_attributes {
        let _ = writeln!(out, "search attribute {name} = {kind:?}");
    }
    for (name, value) in &config.sqlite_pragmas {
        let _ = writeln!(out, "sqlite pragma {name} = {value}");
    }
    let _ = writeln!(out, "accept loss = {}", config.accept_loss);
    let _ = writeln!(out, "tls = {}", tls(config));
    let _ = writeln!(out, "metrics = {}", config.metrics.map_or("off".to_owned(), |address| address.to_string()));
}

/// The lines that say where the server is; test environments and people wait for them.
pub(crate) struct Banner {
    namespaces: String,
    storage: String,
    tls: String,
    /// Says that there is none.
    pub(crate) web_ui: bool,
}

impl Banner {
    pub(crate) fn of(config: &Config) -> Self {
        Self { namespaces: namespaces(config), storage: storage(config), tls: tls(config), web_ui: false }
    }

    /// A closed stdout is no reason to stop serving, so the writes' results are dropped.
    fn print(&self, server: &Server) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "mainspring {}, a server for the Temporal API\n", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(out, "Server:      {}", server.local_addr());
        let _ = writeln!(out, "TLS:         {}", self.tls);
        let _ = writeln!(out, "Namespaces:  {}", self.namespaces);
        let _ = writeln!(out, "Data:        {}", self.storage);
        if let Some(address) = server.metrics_addr() {
            let _ = writeln!(out, "Metrics:     http://{address}/metrics");
        }
        if self.web_ui {
            let _ = writeln!(out, "Web UI:      not there yet");
        }
        let _ = out.flush();
    }
}

fn namespaces(config: &Config) -> String {
    std::iter::once("default").chain(config.namespaces.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

fn storage(config: &Config) -> String {
    match &config.storage {
        Storage::Memory => "in memory; nothing outlives this process (--db-filename keeps it)".to_owned(),
        Storage::Sqlite(path) => path.display().to_string(),
    }
}

fn tls(config: &Config) -> String {
    match &config.tls {
        None => "off".to_owned(),
        Some(TlsFiles { cert, client_ca: None, .. }) => format!("{}; clients need no certificate", cert.display()),
        Some(TlsFiles { cert, client_ca: Some(ca), .. }) => {
            format!("{}; clients need a certificate of {}", cert.display(), ca.display())
        }
    }
}

/// SIGINT and SIGTERM; both ask for a clean stop.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn watch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C, where there are no signals.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_ipv4_and_an_unknown_name_says_what_to_do() {
        assert_eq!(listen_address("localhost", 7233).unwrap(), "127.0.0.1:7233".parse().unwrap());
        assert_eq!(listen_address("::1", 1).unwrap(), "[::1]:1".parse().unwrap());
        let error = listen_address("no such host", 1).unwrap_err();
        assert!(error.to_string().contains("--ip"), "{error}");
    }

    #[test]
    fn namespaces_are_made_once_and_default_is_implied() {
        let names = ["default", "a", "a", "b"].map(str::to_owned);
        assert_eq!(namespaces_beside_default(&names), ["a", "b"]);
    }

    #[test]
    fn half_of_the_files_for_tls_is_refused() {
        let file = || Some(PathBuf::from("x.pem"));
        assert_eq!(tls_files(None, None, None).unwrap(), None);
        assert!(tls_files(file(), file(), None).unwrap().is_some());
        assert!(tls_files(file(), None, None).unwrap_err().0.contains("--tls-key"));
        assert!(tls_files(None, file(), file()).unwrap_err().0.contains("--tls-cert"));
        assert!(tls_files(None, None, file()).unwrap_err().0.contains("--tls-cert and --tls-key"));
    }
}
