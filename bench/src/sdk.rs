//! SDKs against each other: the same workflows, served by worker programs of different SDKs on one server, in turn.
//!
//! What a program must do stands in `bench/sdk/README.md`. [`load`] is the cost of a workflow to its worker, [`mistakes`]
//! what a worker says to code that does not replay, [`replay`] how fast it replays. [`process`] is a program that runs.

mod load;
mod mistakes;
mod process;
mod replay;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::args::{RunOptions, Server, Sizes};
use crate::figures::compare::order;
use crate::figures::latency::median;
use crate::figures::table::{aligned, number};
use crate::scenario::context::Context;
use crate::sdk::process::Program;
use crate::{note, say};

#[derive(Args, Clone, Debug)]
pub(crate) struct SdkOptions {
    /// A worker program as NAME=PATH; several are compared, the others with the first.
    #[arg(long = "program", required = true, value_name = "NAME=PATH")]
    programs: Vec<Program>,
    /// Where the server is.
    #[arg(long, default_value = "127.0.0.1:7233")]
    address: String,
    /// Where the long histories are kept that are replayed.
    #[arg(long)]
    histories: PathBuf,
    /// How often each thing is measured with each program; the median is told.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    sizes: Sizes,
}

/// Names of figures with a value for each program.
type Rows = Vec<(String, Vec<String>)>;

/// # Errors
/// When a program does not do what it must: then no figure counts.
pub(crate) async fn run(options: &SdkOptions) -> Result<()> {
    let context = connect(options).await?;
    let mut rows = load::measure(&context, options).await?;
    rows.extend(replay::measure(&context, options).await?);
    rows.extend(mistakes::measure(&context, options).await?);
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(options.programs.iter().map(|program| program.name.clone()));
    lines.extend(rows.into_iter().map(|(what, cells)| [vec![what], cells].concat()));
    say(&aligned(&lines, |column| column == 0));
    Ok(())
}

async fn connect(options: &SdkOptions) -> Result<Context> {
    let address = format!("http://{}", options.address);
    let server = Server { name: "server".to_owned(), address, pid: None, dir: None };
    let run = RunOptions {
        scenarios: Vec::new(),
        servers: Vec::new(),
        rounds: 1,
        json: false,
        connections: 2,
        namespace: "default".to_owned(),
        sizes: options.sizes.clone(),
    };
    Context::connect(&server, &run, options.sizes.parallel.first().copied().unwrap_or(16)).await
}

/// All figures of all programs, in turn; of each figure the median of its rounds.
async fn in_turn<const N: usize>(
    what: &str,
    options: &SdkOptions,
    measure: impl AsyncFn(&Program) -> Result<[f64; N]>,
) -> Result<Vec<[f64; N]>> {
    let count = options.programs.len();
    let mut seen: Vec<Vec<[f64; N]>> = vec![Vec::new(); count];
    for round in 0..options.rounds as usize {
        for turn in order(count, round) {
            let program = &options.programs[turn];
            note(&format!("{what} with {}", program.name));
            seen[turn].push(measure(program).await?);
        }
    }
    let middle = |rounds: &[[f64; N]], at: usize| {
        median(&rounds.iter().map(|round| round[at]).collect::<Vec<_>>()).unwrap_or_default()
    };
    Ok(seen.iter().map(|rounds| std::array::from_fn(|at| middle(rounds, at))).collect())
}

/// One row for each figure.
fn rows<const N: usize>(names: [&str; N], figures: &[[f64; N]]) -> Rows {
    let cells = |at: usize| figures.iter().map(|of_one| number(of_one[at])).collect();
    names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), cells(at))).collect()
}
