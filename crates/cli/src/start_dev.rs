//! `mainspring server start-dev`: flags to configuration.

use std::path::Path;

use anyhow::Context;
use mainspring_server::{Config, Harness, Storage};
use tracing::warn;

use crate::args::{Global, LogFormat, LogLevel, StartDev};
use crate::serving::{self, Banner};
use crate::{Misuse, dynamic_config, logging};

/// Runs the server until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot start, or stops by itself: one line that says what to do.
pub(crate) fn run(global: &Global, flags: &StartDev) -> anyhow::Result<()> {
    logging::start(logging::Options {
        level: global.log_level.unwrap_or(LogLevel::Warn),
        format: global.log_format.unwrap_or(LogFormat::Text),
        color: global.color,
    })
    .context("cannot start the log")?;
    for line in remarks(global, flags) {
        warn!("{line}");
    }
    let config = config(flags)?;
    if is_on(flags.log_config) {
        serving::print_config(&config);
    }
    let mut banner = Banner::of(&config);
    banner.web_ui = !is_on(flags.ui.headless);
    serving::run(banner, config)
}

fn config(flags: &StartDev) -> anyhow::Result<Config> {
    let storage = match data_file(flags) {
        Some(path) => Storage::Sqlite(path.to_owned()),
        None => Storage::Memory,
    };
    let listen = serving::listen_address(&flags.ip, flags.port)?;
    let mut config = Config::new(listen, storage);
    config.namespaces = serving::namespaces_beside_default(&flags.namespace);
    config.sqlite_pragmas =
        flags.sqlite_pragma.iter().map(|pragma| (pragma.name.clone(), pragma.value.clone())).collect();
    config.search_attributes =
        flags.search_attribute.iter().map(|attribute| (attribute.name.clone(), attribute.kind)).collect();
    dynamic_config::apply(&flags.dynamic_config_value, &mut config.limits)?;
    config.accept_loss = is_on(flags.accept_loss);
    if is_on(flags.time_skipping) {
        if matches!(config.storage, Storage::Sqlite(_)) {
            let message = "--time-skipping keeps all in memory; leave out --db-filename";
            return Err(Misuse(message.to_owned()).into());
        }
        config.harness = Some(Harness::locked());
    }
    let tls = &flags.tls;
    config.tls = serving::tls_files(tls.tls_cert.clone(), tls.tls_key.clone(), tls.tls_client_ca.clone())?;
    config.metrics = serving::metrics_address(listen, flags.metrics_port);
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

/// What was asked for and is not there, a line each.
fn remarks(global: &Global, flags: &StartDev) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(port) = flags.http_port {
        lines.push(format!("--http-port: there is no HTTP API yet, nothing listens on port {port}"));
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mainspring_server::SearchAttributeType;

    use super::*;
    use crate::args::{Cli, Command, ServerCommand};

    fn parsed(flags: &[&str]) -> (Global, StartDev) {
        let words = ["mainspring", "server", "start-dev"].iter().chain(flags);
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::Server { command: ServerCommand::StartDev(start_dev) } = cli.command else {
            panic!("another command");
        };
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
    fn a_clock_that_skips_needs_memory() {
        assert!(config(&parsed(&["--time-skipping"]).1).unwrap().harness.is_some());
        assert!(config(&parsed(&[]).1).unwrap().harness.is_none());
        let error = config(&parsed(&["--time-skipping", "-f", "x.db"]).1).unwrap_err();
        assert!(error.is::<Misuse>(), "{error}");
    }

    #[test]
    fn search_attributes_are_registered_with_their_types() {
        let config = config(&parsed(&["--search-attribute=A=Int", "--search-attribute=B=keywordlist"]).1).unwrap();
        let expected = [("A".to_owned(), SearchAttributeType::Int), ("B".to_owned(), SearchAttributeType::KeywordList)];
        assert_eq!(config.search_attributes, expected);
    }

    #[test]
    fn each_thing_that_is_not_there_yet_is_said_once() {
        let (global, flags) = parsed(&[
            "--http-port=1",
            "--ui-port=3",
            "--ui-ip=127.0.0.1",
            "--sqlite-pragma=a=b",
            "--profile=x",
            "--dynamic-config-value=no.such.key=1",
        ]);
        let lines = remarks(&global, &flags);
        let starts = [
            "--http-port:",
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
