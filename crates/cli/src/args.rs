//! The command line: the flags of `temporal server start-dev`, so that SDK test environments start this binary
//! unchanged, and those of `server start`, which are ours.
//!
//! Names, short forms, defaults and value forms of the former follow the original CLI (1.9.1, `temporal server
//! start-dev --help` and `temporal options`). A flag is declared here and nowhere else; what it does is in
//! [`crate::start_dev`] and [`crate::start`]; [`crate::backup`] and [`crate::verify`] look after the data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mainspring_server::SearchAttributeType;
use serde::Deserialize;

use crate::data_dir;

/// A durable-execution server that speaks the Temporal API.
#[derive(Debug, Parser)]
#[command(name = "mainspring", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The name by which SDK test environments run the original's test server: `temporal-test-server PORT`.
const TEST_SERVER: &str = "temporal-test-server";

/// The words of the command line; those of the test server when the program is linked to under its name.
pub(crate) fn words(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.into_iter().collect();
    let is_test_server =
        given.first().and_then(|program| Path::new(program).file_stem()).is_some_and(|name| name == TEST_SERVER);
    if is_test_server {
        let meant = ["mainspring", "server", "start-dev", "--time-skipping", "--headless", "--port"];
        given.splice(..1, meant.map(OsString::from));
    }
    given
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server.
    Server {
        #[command(subcommand)]
        command: ServerCommand,
    },
    /// Copy the data of a server, also while it runs, to a new file.
    Backup(Backup),
    /// Make a data directory from a backup.
    Restore(Restore),
    /// Look into the data of a server that does not run.
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Check every row: checksums, records, and whether the rows of each run go together.
    Verify(Verify),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Run a server for development and tests: in memory or on one data file.
    StartDev(Box<StartDev>),
    /// Run a server on a data directory, with flags, a configuration file or both.
    Start(Box<Start>),
}

/// Options that the original accepts on every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The least serious messages to log [default: info of `server start`, warn of `server start-dev`]
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// How log lines look; `pretty` is `text`, which has colours on a terminal [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// When to colour the log.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    #[command(flatten)]
    pub(crate) ignored: IgnoredGlobal,
}

/// Options of the original that configure a client. They are accepted, so that a shared command line works, and have no
/// effect on a server.
#[derive(Debug, Args)]
pub(crate) struct IgnoredGlobal {
    #[arg(long, global = true, hide = true)]
    client_connect_timeout: Option<String>,
    #[arg(long, global = true, hide = true)]
    command_timeout: Option<String>,
    #[arg(long, global = true, hide = true)]
    config_file: Option<String>,
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_config_env: Option<bool>,
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_config_file: Option<bool>,
    #[arg(long, global = true, hide = true)]
    env: Option<String>,
    #[arg(long, global = true, hide = true)]
    env_file: Option<String>,
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_json_shorthand_payloads: Option<bool>,
    #[arg(long, short = 'o', global = true, hide = true)]
    output: Option<String>,
    #[arg(long, global = true, hide = true)]
    profile: Option<String>,
    #[arg(long, global = true, hide = true)]
    time_format: Option<String>,
}

impl IgnoredGlobal {
    /// The flags of this kind that were given.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        given(&[
            ("--client-connect-timeout", self.client_connect_timeout.is_some()),
            ("--command-timeout", self.command_timeout.is_some()),
            ("--config-file", self.config_file.is_some()),
            ("--disable-config-env", self.disable_config_env.is_some()),
            ("--disable-config-file", self.disable_config_file.is_some()),
            ("--env", self.env.is_some()),
            ("--env-file", self.env_file.is_some()),
            ("--no-json-shorthand-payloads", self.no_json_shorthand_payloads.is_some()),
            ("--output", self.output.is_some()),
            ("--profile", self.profile.is_some()),
            ("--time-format", self.time_format.is_some()),
        ])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
    Pretty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Always,
    Never,
    Auto,
}

/// The flags of `server start-dev`.
#[derive(Debug, Args)]
pub(crate) struct StartDev {
    /// Keep everything in this data file (it is made if missing). Without it nothing outlives the process.
    #[arg(long, short = 'f', value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) db_filename: Option<PathBuf>,
    /// Address or host name to listen on.
    #[arg(long, default_value = "localhost", value_name = "IP")]
    pub(crate) ip: String,
    /// Port of the gRPC service; 0 takes a free one and prints it.
    #[arg(long, short = 'p', default_value_t = 7233, value_name = "PORT")]
    pub(crate) port: u16,
    /// A namespace to make at the start, beside `default`; may be given several times.
    #[arg(long, short = 'n', value_name = "NAME", value_parser = namespace)]
    pub(crate) namespace: Vec<String>,
    /// A search attribute to register: KEY=Text, Keyword, Int, Double, Bool, Datetime or KeywordList; several times.
    #[arg(long, value_name = "KEY=TYPE")]
    pub(crate) search_attribute: Vec<SearchAttribute>,
    /// A dynamic configuration value: KEY=VALUE where VALUE is JSON; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) dynamic_config_value: Vec<DynamicConfigValue>,
    /// A pragma for the data file: PRAGMA=VALUE; may be given several times.
    #[arg(long, value_name = "PRAGMA=VALUE")]
    pub(crate) sqlite_pragma: Vec<SqlitePragma>,
    /// Open a data file although writes that were acknowledged are missing from it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) accept_loss: Option<bool>,
    /// Print the configuration in effect to stderr.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) log_config: Option<bool>,
    /// For tests: a clock that skips when `temporal.api.testservice.v1.TestService` lets it; all is kept in memory.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) time_skipping: Option<bool>,
    /// Port of the HTTP API (not there yet).
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Port of the Prometheus metrics (plain HTTP, path /metrics), on the address of --ip; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
    #[command(flatten)]
    pub(crate) tls: Tls,
    #[command(flatten)]
    pub(crate) ui: Ui,
}

/// The flags of `server start`. All but `--config`, `--accept-loss` and `--log-config` are keys of the configuration
/// file too; a flag that is given wins.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Read the configuration from this TOML file; its keys are the names of the flags.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that holds everything that is stored; made if missing. Required, here or in the file.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address or host name to listen on [default: localhost]
    #[arg(long, value_name = "IP")]
    pub(crate) ip: Option<String>,
    /// Port of the gRPC service; 0 takes a free one and prints it [default: 7233]
    #[arg(long, short = 'p', value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// A namespace to make at the start, beside `default`; may be given several times.
    #[arg(long, short = 'n', value_name = "NAME", value_parser = namespace)]
    pub(crate) namespace: Vec<String>,
    /// A search attribute of `default` and of each --namespace: KEY=Text, Keyword, Int, Double, Bool, Datetime or
    /// KeywordList; several times.
    #[arg(long, value_name = "KEY=TYPE")]
    pub(crate) search_attribute: Vec<SearchAttribute>,
    /// Port of the Prometheus metrics (plain HTTP, path /metrics), on the address of --ip; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// Open a data file although writes that were acknowledged are missing from it.
    #[arg(long)]
    pub(crate) accept_loss: bool,
    /// Print the configuration in effect to stderr.
    #[arg(long)]
    pub(crate) log_config: bool,
}

/// Whose data is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Data {
    /// The data directory of `server start`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The data file of `server start-dev`, or a backup.
    #[arg(long, short = 'f', value_name = "PATH")]
    db_filename: Option<PathBuf>,
}

impl Data {
    /// The data file.
    pub(crate) fn file(&self) -> PathBuf {
        let in_folder = self.data_dir.as_deref().map(data_dir::data_file);
        in_folder.or(self.db_filename.clone()).unwrap_or_default()
    }
}

/// The flags of `backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) data: Data,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

/// The flags of `restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// The data directory to make; it must be empty if it exists.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

/// The flags of `admin verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Print a JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Files for TLS; both commands take them.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Serve TLS only, with this certificate (PEM; those between it and its root after it).
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM, not encrypted).
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Refuse clients without a certificate signed by one of these (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
}

/// The flags of the web UI, which is not there yet.
#[derive(Debug, Args)]
pub(crate) struct Ui {
    /// Run without the web UI.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) headless: Option<bool>,
    /// Port of the web UI (not there yet).
    #[arg(long, value_name = "PORT")]
    ui_port: Option<u16>,
    /// Address of the web UI (not there yet).
    #[arg(long, value_name = "IP")]
    ui_ip: Option<String>,
    /// Folder of custom assets for the web UI (not there yet).
    #[arg(long, value_name = "PATH")]
    ui_asset_path: Option<String>,
    /// Codec server for the web UI (not there yet).
    #[arg(long, value_name = "URL")]
    ui_codec_endpoint: Option<String>,
    /// Base path of the web UI (not there yet).
    #[arg(long, value_name = "PATH")]
    ui_public_path: Option<String>,
    /// Hide the news of the web UI (it has none).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    ui_disable_news_fetch: Option<bool>,
}

impl Ui {
    /// The flags that ask something of the web UI and were given; `--ui-disable-news-fetch` asks for nothing.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        given(&[
            ("--ui-port", self.ui_port.is_some()),
            ("--ui-ip", self.ui_ip.is_some()),
            ("--ui-asset-path", self.ui_asset_path.is_some()),
            ("--ui-codec-endpoint", self.ui_codec_endpoint.is_some()),
            ("--ui-public-path", self.ui_public_path.is_some()),
        ])
    }
}

fn given(flags: &[(&'static str, bool)]) -> Vec<&'static str> {
    flags.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect()
}

/// `KEY=VALUE` of `--dynamic-config-value`; the value is JSON, as in the original.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DynamicConfigValue {
    pub(crate) key: String,
    pub(crate) value: serde_json::Value,
}

impl FromStr for DynamicConfigValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = key_and_value(text)?;
        let value = serde_json::from_str(value)
            .map_err(|error| format!("the value must be JSON, such as true, 10 or \"text\" ({error})"))?;
        Ok(Self { key: key.to_owned(), value })
    }
}

/// `PRAGMA=VALUE` of `--sqlite-pragma`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlitePragma {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for SqlitePragma {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = key_and_value(text)?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// `KEY=TYPE` of `--search-attribute`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct SearchAttribute {
    pub(crate) name: String,
    pub(crate) kind: SearchAttributeType,
}

impl FromStr for SearchAttribute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, kind) = key_and_value(text)?;
        Ok(Self { name: name.to_owned(), kind: search_attribute_type(kind)? })
    }
}

impl TryFrom<String> for SearchAttribute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{text:?}: {error}"))
    }
}

/// The original ignores case here.
fn search_attribute_type(text: &str) -> Result<SearchAttributeType, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "text" => SearchAttributeType::Text,
        "keyword" => SearchAttributeType::Keyword,
        "int" => SearchAttributeType::Int,
        "double" => SearchAttributeType::Double,
        "bool" => SearchAttributeType::Bool,
        "datetime" => SearchAttributeType::Datetime,
        "keywordlist" => SearchAttributeType::KeywordList,
        _ => return Err("the type must be Text, Keyword, Int, Double, Bool, Datetime or KeywordList".to_owned()),
    })
}

fn key_and_value(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key, value)),
        _ => Err("it must have the form KEY=VALUE".to_owned()),
    }
}

pub(crate) fn namespace(name: &str) -> Result<String, String> {
    if name.is_empty() { Err("a namespace needs a name".to_owned()) } else { Ok(name.to_owned()) }
}

#[cfg(test)]
mod tests;
