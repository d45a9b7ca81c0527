//! `mainspring server start`: flags and configuration file to configuration, and the data directory.

use std::path::PathBuf;

use anyhow::Context;
use mainspring_server::{Config, Storage, TlsFiles};
use tracing::warn;

use crate::args::{Global, LogFormat, LogLevel, Start};
use crate::config_file::ConfigFile;
use crate::serving::{self, Banner};
use crate::{Misuse, data_dir, logging};

/// Runs the server until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start, or stops by itself: one line that says what to do.
pub(crate) fn run(global: &Global, flags: &Start) -> anyhow::Result<()> {
    refuse_client_flags(global)?;
    let settings = Settings::from(flags, flags.config.as_deref().map(ConfigFile::read).transpose()?)?;
    logging::start(logging::Options {
        level: global.log_level.or(settings.log_level).unwrap_or(LogLevel::Info),
        format: global.log_format.or(settings.log_format).unwrap_or(LogFormat::Text),
        color: global.color,
    })
    .context("cannot start the log")?;
    let config = config(flags, settings)?;
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        warn!("no TLS: whoever reaches {} may read and do everything; --tls-cert and --tls-client-ca", config.listen);
    }
    if flags.log_config {
        serving::print_config(&config);
    }
    serving::run(Banner::of(&config), config)
}

/// The original's flags for clients are harmless on a test server. Here one may be a slip that matters: somebody who
/// wrote `--config-file` would get a server without the TLS of that file.
fn refuse_client_flags(global: &Global) -> Result<(), Misuse> {
    match global.ignored.given().first() {
        None => Ok(()),
        Some(&"--config-file") => Err(Misuse("--config-file is for clients; the server's is --config".to_owned())),
        Some(flag) => Err(Misuse(format!("{flag} is for clients, a server has no use for it; leave it out"))),
    }
}

/// What flags and file come to: a flag wins, and a flag that may be given several times replaces the file's whole list.
struct Settings {
    data_dir: PathBuf,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    tls: Option<TlsFiles>,
    file: ConfigFile,
}

impl Settings {
    fn from(flags: &Start, file: Option<ConfigFile>) -> Result<Settings, Misuse> {
        let mut file = file.unwrap_or_default();
        let cert = flags.tls.tls_cert.clone().or(file.tls_cert.take());
        let key = flags.tls.tls_key.clone().or(file.tls_key.take());
        let client_ca = flags.tls.tls_client_ca.clone().or(file.tls_client_ca.take());
        let data_dir = flags.data_dir.clone().or(file.data_dir.take());
        let Some(data_dir) = data_dir else {
            let text =
                "a server keeps its data in a folder of its own; name it with --data-dir, or `data-dir` in the file";
            return Err(Misuse(text.to_owned()));
        };
        Ok(Settings {
            data_dir,
            log_level: file.log_level,
            log_format: file.log_format,
            tls: serving::tls_files(cert, key, client_ca)?,
            file,
        })
    }
}

fn config(flags: &Start, settings: Settings) -> anyhow::Result<Config> {
    let Settings { data_dir, tls, file, .. } = settings;
    let ip = flags.ip.clone().or(file.ip).unwrap_or_else(|| "localhost".to_owned());
    let port = flags.port.or(file.port).unwrap_or(7233);
    let listen = serving::listen_address(&ip, port)?;
    let mut config = Config::new(listen, Storage::Sqlite(data_dir::prepare(&data_dir)?));
    let namespaces = if flags.namespace.is_empty() { &file.namespace } else { &flags.namespace };
    config.namespaces = serving::namespaces_beside_default(namespaces);
    let attributes = if flags.search_attribute.is_empty() { &file.search_attribute } else { &flags.search_attribute };
    config.search_attributes = attributes.iter().map(|attribute| (attribute.name.clone(), attribute.kind)).collect();
    config.accept_loss = flags.accept_loss;
    config.tls = tls;
    config.metrics = serving::metrics_address(listen, flags.metrics_port.or(file.metrics_port));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command, ServerCommand};

    fn parsed(flags: &[&str]) -> (Global, Start) {
        let words = ["mainspring", "server", "start"].iter().chain(flags);
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::Server { command: ServerCommand::Start(start) } = cli.command else { panic!("another command") };
        (cli.global, *start)
    }

    fn file(text: &str) -> Option<ConfigFile> {
        Some(toml::from_str(text).unwrap())
    }

    #[test]
    fn a_flag_wins_over_the_file_and_lists_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data").display().to_string();
        let (_, flags) = parsed(&["--data-dir", &dir, "--port", "1", "-n", "b", "-n", "default"]);
        let text = "data-dir = 'ignored'\nip = '127.0.0.2'\nport = 2\nnamespace = ['a']\nmetrics-port = 3";
        let config = config(&flags, Settings::from(&flags, file(text)).unwrap()).unwrap();
        assert_eq!(config.listen, "127.0.0.2:1".parse().unwrap());
        assert_eq!(config.metrics, Some("127.0.0.2:3".parse().unwrap()));
        assert_eq!(config.namespaces, ["b"]);
        assert!(matches!(config.storage, Storage::Sqlite(path) if path.starts_with(&dir)));
    }

    #[test]
    fn a_server_without_a_data_directory_is_refused() {
        let Err(error) = Settings::from(&parsed(&[]).1, None) else { panic!("it must be refused") };
        assert!(error.0.contains("--data-dir"), "{}", error.0);
    }

    #[test]
    fn the_key_may_come_from_the_file_and_must_come_from_somewhere() {
        let (_, flags) = parsed(&["--data-dir", "d", "--tls-cert", "c.pem"]);
        let whole = Settings::from(&flags, file("tls-key = 'k.pem'")).unwrap();
        assert_eq!(whole.tls.unwrap().key, PathBuf::from("k.pem"));
        let Err(error) = Settings::from(&flags, None) else { panic!("it must be refused") };
        assert!(error.0.contains("--tls-key"), "{}", error.0);
    }

    #[test]
    fn flags_of_clients_are_refused() {
        let error = refuse_client_flags(&parsed(&["--config-file", "x"]).0).unwrap_err();
        assert!(error.0.contains("--config"), "{}", error.0);
        assert!(refuse_client_flags(&parsed(&["--profile", "x"]).0).is_err());
        assert!(refuse_client_flags(&parsed(&[]).0).is_ok());
    }
}
