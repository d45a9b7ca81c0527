//! Some seeds with every change; `cargo xtask sim` runs more of them, and proves that planted bugs are found.

use mainspring_sim::{Report, run};

const SEEDS: u64 = 25;

/// First how to repeat it, then what it is.
fn text(report: &Report) -> String {
    let why = report.failure.clone().unwrap_or_default();
    format!("cargo xtask sim --seed {}\n{why}", report.seed)
}

#[test]
fn every_seed_comes_to_a_good_end() {
    let mut steps = Vec::new();
    for seed in 0..SEEDS {
        let report = run(seed, false);
        assert_eq!(report.failure, None, "{}", text(&report));
        steps.push(report.steps);
    }
    steps.sort_unstable();
    assert!(steps[steps.len() / 2] >= 200, "seeds do too little: {} steps", steps[steps.len() / 2]);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1_000..1_010 {
        let (once, twice) = (run(seed, true), run(seed, true));
        let differ = once.trace.iter().zip(&twice.trace).find(|(one, other)| one != other);
        assert_eq!(differ, None, "seed {seed}");
        assert!(!once.trace.is_empty(), "seed {seed}");
        assert_eq!((once.fingerprint, once.steps), (twice.fingerprint, twice.steps), "seed {seed}");
    }
}
