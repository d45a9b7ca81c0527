//! Deterministic simulation, first ring: the real shards, task queues and memory store in a plain seeded loop.
//!
//! No async, one thread, virtual time: a seed decides which pending happening comes next, what the store makes of a
//! commit, which messages get lost, and when the node dies. Simulated clients and workers use it meanwhile and check
//! what they are told. When faults stop, everything must come to its end and fit together.
//!
//! Start reading at `sim.rs` (the loop), then `world.rs` (what lies between the state machines), `checks.rs` and
//! `endings.rs` (what must be true). Left out: the node's async shell, the frontend, gRPC; they belong to outer rings.

#![expect(deprecated, reason = "fields that most SDKs still use")]

mod activity_job;
mod checks;
mod clients;
mod commands;
mod effects;
mod endings;
mod facts;
mod ledger;
mod node;
mod panics;
mod plan;
mod planted;
mod program;
mod random;
mod sim;
mod sometimes;
mod stored;
mod trace;
mod workers;
mod workflow_job;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use planted::Planted;
pub use sometimes::{FACTS, RARE, Sometimes};

use sim::Sim;

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug put in on purpose.
    pub planted: Option<Planted>,
    /// Keeps every line of the trace, not only the last ones.
    pub whole_trace: bool,
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub steps: u64,
    /// Of all lines of the trace: the same seed gives the same.
    pub fingerprint: u64,
    pub sometimes: Sometimes,
    /// The broken invariant.
    pub failure: Option<String>,
    pub trace: Vec<String>,
}

/// Runs one seed to its end or to the first broken invariant.
pub fn run(seed: u64, options: Options) -> Report {
    panics::listen();
    panics::take();
    let mut sim = Sim::new(seed, options.planted, options.whole_trace);
    if catch_unwind(AssertUnwindSafe(|| sim.run())).is_err() {
        let why = panics::take().unwrap_or_default();
        sim.fail(format!("a panic: {why}"));
    }
    Report {
        seed,
        steps: sim.steps,
        fingerprint: sim.trace.fingerprint(),
        sometimes: sim.sometimes,
        failure: sim.failure,
        trace: sim.trace.into_lines(),
    }
}
