//! Random lives of a node's queues against a model of its store.
//!
//! The model holds the rows of a few shards for a few queues, and does late and out of order whatever the caller may:
//! offers, reads, answers, starts; shards are lost and loaded, queues fall idle. What must hold: a task is started once
//! or is still in the store; none waits beside a poller that may take it; no poller is lost; and when the faults stop
//! and pollers come, everything drains.

mod model;

use std::collections::BTreeMap;

use model::{Fact, Model};

/// A second or two of any build.
const SEEDS: u64 = if cfg!(debug_assertions) { 400 } else { 2_000 };
const STEPS: usize = 250;

fn live(seed: u64) -> Model {
    let life = std::panic::catch_unwind(|| {
        let mut model = Model::new(seed);
        (0..STEPS).for_each(|_| model.step());
        model.drain();
        model.shut();
        model
    });
    life.unwrap_or_else(|_| panic!("seed {seed} ends as told above"))
}

#[test]
fn every_life_keeps_the_rules_and_drains() {
    let mut facts = BTreeMap::<Fact, usize>::new();
    for seed in 0..SEEDS {
        live(seed).facts.into_iter().for_each(|(fact, count)| *facts.entry(fact).or_default() += count);
    }
    println!("{facts:?}");
    assert_eq!(facts.len(), Fact::COUNT, "some never happened");
}

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in 0..20 {
        assert!(live(seed).trace == live(seed).trace, "seed {seed}");
    }
}
