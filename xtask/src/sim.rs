//! `cargo xtask sim`: runs the simulator, optimised, on the seeds that are asked for.

use clap::Args;

use crate::run::{cargo, run as run_command};

/// Seeds that every change runs; more of them belong into the night.
const SEEDS_OF_A_CHANGE: u64 = 1_000;

#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// How many seeds to run, from the first one up [default: 1,000; with --seed: 1].
    #[arg(long)]
    pub(crate) seeds: Option<u64>,
    /// The first seed; alone it repeats that one run.
    #[arg(long, visible_alias = "from")]
    pub(crate) seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Run each seed twice and compare the traces.
    #[arg(long)]
    pub(crate) twice: bool,
    /// Go on after a failure.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Put a bug in on purpose; an unknown name lists them.
    #[arg(long)]
    pub(crate) planted: Option<String>,
}

/// # Errors
/// When a seed breaks an invariant; the simulator has printed how to repeat it.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    run_command(cargo(["run", "--profile=sim", "--quiet", "--package=mainspring-sim", "--"]).args(arguments(options)))
}

fn arguments(options: &Options) -> Vec<String> {
    let seeds = options.seeds.unwrap_or(if options.seed.is_some() { 1 } else { SEEDS_OF_A_CHANGE });
    let mut words = vec![format!("--seeds={seeds}")];
    words.extend(options.seed.map(|seed| format!("--seed={seed}")));
    words.extend(options.planted.as_ref().map(|bug| format!("--planted={bug}")));
    for (given, word) in [(options.trace, "--trace"), (options.twice, "--twice"), (options.keep_going, "--keep-going")]
    {
        words.extend(given.then(|| word.to_owned()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_alone_is_one_run() {
        assert_eq!(arguments(&Options { seed: Some(7), ..Options::default() }), ["--seeds=1", "--seed=7"]);
        let both = Options { seeds: Some(9), seed: Some(7), trace: true, ..Options::default() };
        assert_eq!(arguments(&both), ["--seeds=9", "--seed=7", "--trace"]);
        assert_eq!(arguments(&Options::default()), ["--seeds=1000"]);
    }
}
