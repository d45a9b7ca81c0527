//! Deterministic simulation of whole nodes: frontend, history, matching and the memory store, as they are shipped, on an
//! executor of our own. One thread, virtual time, one seed.
//!
//! Simulated clients and workers call the frontend with encoded requests over a simulated network, as SDKs do. The seed
//! picks which ready task goes on, what the store makes of a write, which call gets lost, and when a process dies. All
//! that is said is checked when it leaves the server; when faults stop, everything must end and fit together.
//!
//! Start reading at `sim.rs` (the loop and the phases of a run), then `executor.rs`, `node.rs` (a process and its death),
//! `network.rs`; what must be true stands in `checks.rs` and `endings.rs`. Left out: gRPC, sockets and the disk, which
//! the end-to-end and crash tests have.

#![expect(deprecated, reason = "fields that most SDKs still use")]

mod activity_job;
mod checks;
mod clients;
mod commands;
mod disk;
mod endings;
mod executor;
mod facts;
mod ledger;
mod network;
mod node;
mod panics;
mod plan;
mod program;
mod random;
mod sim;
mod sometimes;
mod stored;
mod trace;
mod update_checks;
mod update_job;
mod updates;
mod worker;
mod workflow_job;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use sometimes::{FACTS, RARE, Sometimes};

use sim::Loop;
use world::Sim;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub steps: u64,
    /// Of every choice: the same seed gives the same.
    pub fingerprint: u64,
    pub sometimes: Sometimes,
    /// The broken invariant.
    pub failure: Option<String>,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed to its end or to the first broken invariant; `with_trace` keeps a line of everything that happens.
pub fn run(seed: u64, with_trace: bool) -> Report {
    panics::listen();
    panics::take();
    let sim = Sim::new(seed, with_trace);
    let mut running = Loop::new(sim.clone());
    if catch_unwind(AssertUnwindSafe(|| running.run())).is_err() {
        let why = panics::take().unwrap_or_default();
        sim.fail(format!("a panic: {why}"));
    }
    let (sometimes, fingerprint, failure, trace) = sim.harvest();
    if failure.is_none() {
        // Tasks hold the world, and it them. After a failure they are left alone: what broke may break again.
        sim.executor.clear();
        sim.store.crash();
    }
    Report { seed, steps: running.steps, fingerprint, sometimes, failure, trace }
}
