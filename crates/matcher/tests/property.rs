//! Random lives of a queue against a model of its store.
//!
//! The model holds the rows of a few shards, and does late and out of order whatever the shell may: offers, reads,
//! answers, starts. What must hold: a task is started once or is still in the store; nothing overtakes what it must
//! not; memory has its ceiling; and when the faults stop and pollers come, everything drains.

mod model;

use std::collections::BTreeMap;

use model::{Fact, Model};

/// A second of a release build, two of a debug build.
const SEEDS: u64 = if cfg!(debug_assertions) { 500 } else { 2_500 };
const STEPS: usize = 120;

#[test]
fn every_life_keeps_the_rules_and_drains() {
    let mut facts = BTreeMap::<Fact, usize>::new();
    for seed in 0..SEEDS {
        let life = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            (0..STEPS).for_each(|_| model.step());
            model.drain();
            model.facts
        });
        match life {
            Ok(seen) => seen.into_iter().for_each(|(fact, count)| *facts.entry(fact).or_default() += count),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{facts:?}");
    assert_eq!(facts.len(), Fact::COUNT, "some never happened");
}
