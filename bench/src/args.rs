//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};

use crate::scenario::Scenario;
use crate::sdk::SdkOptions;

#[derive(Debug, Parser)]
#[command(name = "mainspring-bench", version, about = "Puts load on servers that speak the Temporal gRPC API.")]
pub(crate) struct Cli {
    /// Threads of the generator.
    #[arg(long, global = true, default_value_t = 2)]
    pub(crate) threads: usize,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scenarios against a server, or against several in turn.
    Run(Box<RunOptions>),
    /// Compare worker programs of several SDKs on one server.
    Sdk(Box<SdkOptions>),
    /// Serve the null server, which bounds what RPC and disk allow.
    NullServer(NullOptions),
    /// Measure what appending to a file and syncing it costs here.
    Fsync(FsyncOptions),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    /// What to run; without a name the usual set, with --quick all of them.
    #[arg(value_enum)]
    pub(crate) scenarios: Vec<Scenario>,
    /// A server as NAME=ADDRESS, then `,pid=PID` and `,dir=DIR` if known: PID gives CPU and memory, DIR the disk. Several
    /// are compared.
    #[arg(long = "server", default_value = "server=http://127.0.0.1:7233", value_name = "SERVER")]
    pub(crate) servers: Vec<Server>,
    /// How often each scenario runs on each server; the median is told.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// One JSON line for each run instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
    /// HTTP/2 connections for calls; as many again carry the polls.
    #[arg(long, default_value_t = 2)]
    pub(crate) connections: usize,
    #[arg(long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) sizes: Sizes,
}

/// How much of everything. What is not given has a default of its own in each scenario.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Sizes {
    /// Small sizes, for a smoke test: any error fails it, no time does.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Operations, or workflows where the scenario counts those (sleepers: how many sleep).
    #[arg(long, short = 'n')]
    pub(crate) count: Option<u64>,
    /// Clients in parallel; several values are several runs.
    #[arg(long, short = 'c', value_delimiter = ',')]
    pub(crate) parallel: Vec<usize>,
    /// Activities of a workflow, or events of a history.
    #[arg(long, short = 'k')]
    pub(crate) steps: Option<u64>,
    /// history: events that one workflow task adds.
    #[arg(long, default_value_t = 400)]
    pub(crate) batch: u64,
    /// Workflows in parallel; tenants: namespaces.
    #[arg(long, short = 'm')]
    pub(crate) workflows: Option<u64>,
    /// Seconds of load, where the scenario is not over after a count (steady: in all).
    #[arg(long)]
    pub(crate) secs: Option<f64>,
    /// steady: operations a second.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Seconds that a timer takes.
    #[arg(long)]
    pub(crate) timer_secs: Option<f64>,
    /// timer: all are due at one instant.
    #[arg(long)]
    pub(crate) herd: bool,
    /// Use a sticky task queue, as SDK workers do.
    #[arg(long)]
    pub(crate) sticky: bool,
    /// Ask for eager activity dispatch, as SDK workers do.
    #[arg(long)]
    pub(crate) eager: bool,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 64)]
    pub(crate) payload: usize,
    /// Polls in parallel, of workflow tasks and as many of activity tasks.
    #[arg(long, default_value_t = 8)]
    pub(crate) pollers: usize,
}

impl Sizes {
    /// What was given, or else the size that fits the form.
    pub(crate) fn pick<T>(&self, given: Option<T>, quick: T, full: T) -> T {
        given.unwrap_or(if self.quick { quick } else { full })
    }
}

/// Where a server is and how its use is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) pid: Option<u32>,
    pub(crate) dir: Option<PathBuf>,
}

impl FromStr for Server {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (name, address) = first.split_once('=').with_context(|| format!("{first} is not NAME=ADDRESS"))?;
        let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let mut server = Server { name: name.to_owned(), address, pid: None, dir: None };
        for part in parts {
            match part.split_once('=') {
                Some(("pid", pid)) => server.pid = Some(pid.parse().with_context(|| format!("{pid} is not a pid"))?),
                Some(("dir", dir)) => server.dir = Some(dir.into()),
                _ => bail!("{part} is neither pid=PID nor dir=DIR"),
            }
        }
        Ok(server)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct NullOptions {
    #[arg(long, default_value = "127.0.0.1:7999")]
    pub(crate) listen: SocketAddr,
    /// Append every change to this file and wait for the sync before answering.
    #[arg(long)]
    pub(crate) log: Option<PathBuf>,
    /// Bytes appended for each change.
    #[arg(long, default_value_t = 512)]
    pub(crate) record_bytes: usize,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FsyncOptions {
    /// Folder on the disk in question.
    pub(crate) dir: PathBuf,
    #[arg(long, default_value_t = 4096)]
    pub(crate) bytes: usize,
    #[arg(long, default_value_t = 2000)]
    pub(crate) count: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> RunOptions {
        let cli = Cli::try_parse_from([&["mainspring-bench", "run"], words].concat()).expect("a legal command line");
        match cli.command {
            Command::Run(options) => *options,
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn a_server_is_a_name_an_address_and_how_to_measure_it() {
        let server: Server = "ours=127.0.0.1:7233,pid=12,dir=/data".parse().expect("a legal server");
        let expected = Server {
            name: "ours".to_owned(),
            address: "http://127.0.0.1:7233".to_owned(),
            pid: Some(12),
            dir: Some("/data".into()),
        };
        assert_eq!(server, expected);
        for wrong in ["127.0.0.1:7233", "a=b,pid=x", "a=b,colour=red"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_given_wins_over_the_form() {
        let quick = options(&["--quick", "-n", "7"]).sizes;
        assert_eq!((quick.pick(quick.count, 1, 2), quick.pick(quick.steps, 1, 2)), (7, 1));
        let full = options(&[]).sizes;
        assert_eq!(full.pick(full.count, 1, 2), 2);
    }

    #[test]
    fn several_servers_scenarios_and_parallelisms_can_be_named() {
        let options = options(&["activity", "list", "--server", "a=x:1", "--server", "b=y:2", "--parallel", "1,16"]);
        assert_eq!(options.scenarios, [Scenario::Activity, Scenario::List]);
        assert_eq!(options.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(options.sizes.parallel, [1, 16]);
    }

    #[test]
    fn without_a_server_it_is_the_usual_port() {
        assert_eq!(options(&[]).servers[0].address, "http://127.0.0.1:7233");
    }
}
