//! `mainspring server start-dev`: flags to configuration, start, the lines that say where it listens, stop on a signal.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use mainspring_server::{Config, Server, Storage};
use tracing::warn;

use crate::args::{Global, StartDev};
use crate::{dynamic_config, logging};

/// Runs the server until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start, or stops by itself: one line that says what to do.
pub(crate) fn run(global: &Global, flags: &StartDev) -> anyhow::Result<()> {
    logging::start(global).context("cannot start the log")?;
    for line in remarks(global, flags) {
        warn!("{line}");
    }
    let config = config(flags)?;
    if is_on(flags.log_config) {
        print_config(&config);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("cannot start the worker threads")?;
    let ended = runtime.block_on(serve(config, flags));
    // Whatever had to be safe is safe by now; a thread stuck in the file system must not hold up the exit.
    runtime.shutdown_background();
    ended
}

/// The signals are watched from before the start, so that one that comes during it ends the process cleanly too.
async fn serve(config: Config, flags: &StartDev) -> anyhow::Result<()> {
    let mut signals = Signals::watch().context("cannot watch for signals")?;
    let banner = Banner::new(&config, flags);
    let mut server = tokio::select! {
        // Only the text: it says all that is to be said, and its sources would repeat it.
        started = Server::start(config) => started.map_err(|error| anyhow!("{error}"))?,
        () = signals.next() => return Ok(()),
    };
    banner.print(server.local_addr());
    tokio::select! {
        () = signals.next() => {}
        stopped = server.stopped() => bail!("{stopped}"),
    }
    tokio::select! {
        () = server.stop() => Ok(()),
        () = signals.next() => bail!("stopped at once on a second signal; no acknowledged work is lost"),
    }
}

fn config(flags: &StartDev) -> anyhow::Result<Config> {
    let storage = match data_file(flags) {
        Some(path) => Storage::Sqlite(path.to_owned()),
        None => Storage::Memory,
    };
    let mut config = Config::new(listen_address(&flags.ip, flags.port)?, storage);
    for name in &flags.namespace {
        if name != "default" && !config.namespaces.contains(name) {
            config.namespaces.push(name.clone());
        }
    }
    config.sqlite_pragmas =
        flags.sqlite_pragma.iter().map(|pragma| (pragma.name.clone(), pragma.value.clone())).collect();
    config.search_attributes =
        flags.search_attribute.iter().map(|attribute| (attribute.name.clone(), attribute.kind)).collect();
    config.accept_loss = is_on(flags.accept_loss);
    Ok(config)
}

/// A switch may stand alone or say `=true` or `=false`.
fn is_on(switch: Option<bool>) -> bool {
    switch.unwrap_or(false)
}

/// An empty name means no file, as in the original.
fn data_file(flags: &StartDev) -> Option<&Path> {
    flags.db_filename.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// A host name may stand for several addresses; IPv4 goes first, where most clients look for `localhost`.
fn listen_address(ip: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let found: Vec<SocketAddr> = (ip, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot find the address of {ip}; give --ip an address of this machine"))?
        .collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first());
    address.copied().ok_or_else(|| anyhow!("{ip} has no address; give --ip an address of this machine"))
}

/// What was asked for and is not there, a line each.
fn remarks(global: &Global, flags: &StartDev) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(port) = flags.http_port {
        lines.push(format!("--http-port: there is no HTTP API yet, nothing listens on port {port}"));
    }
    if let Some(port) = flags.metrics_port {
        lines.push(format!("--metrics-port: there are no metrics yet, nothing listens on port {port}"));
    }
    if !flags.ui.given().is_empty() {
        lines.push(format!("{}: there is no web UI yet, it has no effect", flags.ui.given().join(", ")));
    }
    if data_file(flags).is_none() && !flags.sqlite_pragma.is_empty() {
        lines.push("--sqlite-pragma: without --db-filename there is no data file, it has no effect".to_owned());
    }
    if !global.ignored.given().is_empty() {
        lines.push(format!("{}: for clients, no effect on a server", global.ignored.given().join(", ")));
    }
    lines.extend(flags.dynamic_config_value.iter().filter_map(dynamic_config::warning));
    lines
}

/// To stderr, as in the original: stdout holds the addresses alone.
fn print_config(config: &Config) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "listen = {}", config.listen);
    let _ = writeln!(out, "storage = {}", describe(&config.storage));
    let _ = writeln!(out, "namespaces = {}", namespaces(config));
    for (name, kind) in &config.search_attributes {
        let _ = writeln!(out, "search attribute {name} = {kind:?}");
    }
    for (name, value) in &config.sqlite_pragmas {
        let _ = writeln!(out, "sqlite pragma {name} = {value}");
    }
    let _ = writeln!(out, "accept loss = {}", config.accept_loss);
}

/// The lines that say where the server is; test environments and people wait for them.
struct Banner {
    namespaces: String,
    storage: String,
    headless: bool,
}

impl Banner {
    fn new(config: &Config, flags: &StartDev) -> Self {
        Self { namespaces: namespaces(config), storage: describe(&config.storage), headless: is_on(flags.ui.headless) }
    }

    /// A closed stdout is no reason to stop serving, so the writes' results are dropped.
    fn print(&self, address: SocketAddr) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "mainspring {}, a server for the Temporal API\n", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(out, "Server:      {address}");
        let _ = writeln!(out, "Namespaces:  {}", self.namespaces);
        let _ = writeln!(out, "Data:        {}", self.storage);
        if !self.headless {
            let _ = writeln!(out, "Web UI:      not there yet");
        }
        let _ = out.flush();
    }
}

fn namespaces(config: &Config) -> String {
    std::iter::once("default").chain(config.namespaces.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

fn describe(storage: &Storage) -> String {
    match storage {
        Storage::Memory => "in memory; nothing outlives this process (--db-filename keeps it)".to_owned(),
        Storage::Sqlite(path) => path.display().to_string(),
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
    use clap::Parser;
    use mainspring_server::SearchAttributeType;

    use super::*;
    use crate::args::{Cli, Command, ServerCommand};

    fn parsed(flags: &[&str]) -> (Global, StartDev) {
        let words = ["mainspring", "server", "start-dev"].iter().chain(flags);
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::Server { command: ServerCommand::StartDev(start_dev) } = cli.command;
        (cli.global, *start_dev)
    }

    #[test]
    fn without_a_file_the_storage_is_memory() {
        assert!(matches!(config(&parsed(&[]).1).unwrap().storage, Storage::Memory));
        assert!(matches!(config(&parsed(&["-f", ""]).1).unwrap().storage, Storage::Memory));
        let with_file = config(&parsed(&["-f", "x.db"]).1).unwrap();
        assert!(matches!(with_file.storage, Storage::Sqlite(path) if path == Path::new("x.db")));
    }

    #[test]
    fn search_attributes_are_registered_with_their_types() {
        let config = config(&parsed(&["--search-attribute=A=Int", "--search-attribute=B=keywordlist"]).1).unwrap();
        let expected = [("A".to_owned(), SearchAttributeType::Int), ("B".to_owned(), SearchAttributeType::KeywordList)];
        assert_eq!(config.search_attributes, expected);
    }

    #[test]
    fn namespaces_are_made_once_and_default_is_implied() {
        let config = config(&parsed(&["-n", "default", "-n", "a", "-n", "a", "-n", "b"]).1).unwrap();
        assert_eq!(config.namespaces, ["a", "b"]);
        assert_eq!(namespaces(&config), "default, a, b");
    }

    #[test]
    fn localhost_is_ipv4_and_an_unknown_name_says_what_to_do() {
        assert_eq!(listen_address("localhost", 7233).unwrap(), "127.0.0.1:7233".parse().unwrap());
        assert_eq!(listen_address("::1", 1).unwrap(), "[::1]:1".parse().unwrap());
        let error = listen_address("no such host", 1).unwrap_err();
        assert!(error.to_string().contains("--ip"), "{error}");
    }

    #[test]
    fn each_thing_that_is_not_there_yet_is_said_once() {
        let (global, flags) = parsed(&[
            "--http-port=1",
            "--metrics-port=2",
            "--ui-port=3",
            "--ui-ip=127.0.0.1",
            "--sqlite-pragma=a=b",
            "--profile=x",
            "--dynamic-config-value=no.such.key=1",
        ]);
        let lines = remarks(&global, &flags);
        let starts = [
            "--http-port:",
            "--metrics-port:",
            "--ui-port, --ui-ip:",
            "--sqlite-pragma:",
            "--profile:",
            "the dynamic configuration key no.such.key",
        ];
        assert_eq!(lines.len(), starts.len(), "{lines:?}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
    }

    #[test]
    fn an_ordinary_start_has_nothing_to_remark() {
        let (global, flags) =
            parsed(&["--headless", "--dynamic-config-value", "frontend.enableServerVersionCheck=false"]);
        assert!(remarks(&global, &flags).is_empty());
    }
}
