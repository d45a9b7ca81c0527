//! `cargo xtask sim`: runs the simulator, optimised, on the seeds that are asked for.

use clap::Args;

use crate::run::{cargo, run as run_command};

/// Seeds that every change runs; more of them belong into the night.
const SEEDS_OF_A_CHANGE: u64 = 200;

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// How many seeds to run, from the first one up [default: 200; with --seed: 1].
    #[arg(long)]
    pub(crate) seeds: Option<u64>,
    /// The first seed; alone it repeats that one run.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// # Errors
/// When a seed breaks an invariant; the simulator has printed how to repeat it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    run_command(cargo(["run", "--release", "--quiet", "--package=mainspring-sim", "--"]).args(arguments(options)))
}

fn arguments(options: &Options) -> Vec<String> {
    match options.seed {
        Some(seed) => vec![format!("--seeds={}", options.seeds.unwrap_or(1)), format!("--seed={seed}")],
        None => vec![format!("--seeds={}", options.seeds.unwrap_or(SEEDS_OF_A_CHANGE))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_alone_is_one_run() {
        assert_eq!(arguments(&Options { seeds: None, seed: Some(7) }), ["--seeds=1", "--seed=7"]);
        assert_eq!(arguments(&Options { seeds: Some(9), seed: Some(7) }), ["--seeds=9", "--seed=7"]);
        assert_eq!(arguments(&Options::default()), ["--seeds=200"]);
    }
}
