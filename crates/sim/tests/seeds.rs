//! Some seeds with every change; `cargo xtask sim` runs more of them.

use mainspring_sim::{Options, Planted, Report, run};

const SEEDS: u64 = 150;

/// First how to repeat it, then what it is.
fn text(report: &Report) -> String {
    let why = report.failure.clone().unwrap_or_default();
    format!("cargo xtask sim --seed {}\n{why}\n{}", report.seed, report.trace.join("\n"))
}

#[test]
fn every_seed_comes_to_a_good_end() {
    let mut steps = Vec::new();
    for seed in 0..SEEDS {
        let report = run(seed, Options::default());
        assert_eq!(report.failure, None, "{}", text(&report));
        steps.push(report.steps);
    }
    steps.sort_unstable();
    assert!(steps[steps.len() / 2] >= 200, "seeds do too little: {} steps", steps[steps.len() / 2]);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1_000..1_010 {
        let whole = Options { whole_trace: true, ..Options::default() };
        let (once, twice) = (run(seed, whole), run(seed, whole));
        let differ = once.trace.iter().zip(&twice.trace).find(|(one, other)| one != other);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!((once.fingerprint, once.steps), (twice.fingerprint, twice.steps), "seed {seed}");
    }
}

/// The checkers find every bug that is put in on purpose.
#[test]
fn planted_bugs_are_found() {
    for planted in Planted::ALL {
        let options = Options { planted: Some(*planted), ..Options::default() };
        let found = (0..200).any(|seed| run(seed, options).failure.is_some());
        assert!(found, "{planted:?} goes unnoticed");
    }
}
