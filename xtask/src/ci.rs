//! `cargo xtask ci`: everything a change must pass, each step once, all of them even when one fails.
//!
//! The tests come last, so that the output ends with what the test runners print; the table of the other steps stands
//! before them.

use anyhow::bail;
use clap::Args;

use crate::run::{Stopwatch, cargo, output, run as run_command, say};
use crate::{bench, crash, e2e, sim, tidy};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the steps of these names, in their usual order.
    #[arg(value_name = "STEP")]
    only: Vec<String>,
}

/// # Errors
/// When a step fails; the last line names those that did.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let chosen = choose(&options.only)?;
    let mut table = Table::default();
    for step in chosen.iter().filter(|step| !step.is_test) {
        table.take(step);
    }
    table.print();
    for step in chosen.iter().filter(|step| step.is_test) {
        table.take(step);
    }
    table.verdict()
}

struct Step {
    name: &'static str,
    run: fn() -> anyhow::Result<()>,
    /// Runs after the table, because its own last lines are the result.
    is_test: bool,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt, is_test: false },
    Step { name: "tidy", run: tidy::run, is_test: false },
    Step { name: "clippy", run: clippy, is_test: false },
    Step { name: "doc", run: doc, is_test: false },
    Step { name: "sim", run: sim::run_for_ci, is_test: false },
    Step { name: "bench", run: bench::smoke, is_test: false },
    Step { name: "power", run: crash::power_loss_of_a_change, is_test: false },
    Step { name: "test", run: || run_command(&mut cargo(["test", "--workspace"])), is_test: true },
    Step { name: "e2e", run: e2e::run_all, is_test: true },
];

fn choose(only: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    if let Some(unknown) = only.iter().find(|name| !STEPS.iter().any(|step| step.name == *name)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step {unknown}; the steps are {}", names.join(", "));
    }
    Ok(STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)).collect())
}

fn fmt() -> anyhow::Result<()> {
    component("rustfmt", "fmt")?;
    run_command(&mut cargo(["fmt", "--all", "--", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    component("clippy", "clippy")?;
    run_command(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn doc() -> anyhow::Result<()> {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// A minimal rustup comes without rustfmt and clippy: fetched once, when the subcommand is missing.
fn component(component: &str, subcommand: &str) -> anyhow::Result<()> {
    if output(&mut cargo([subcommand, "--version"])).is_ok() {
        return Ok(());
    }
    run_command(std::process::Command::new("rustup").args(["component", "add", component]))
}

/// What ran, how it ended and how long it took.
#[derive(Default)]
struct Table {
    lines: Vec<String>,
    failed: Vec<&'static str>,
}

impl Table {
    fn take(&mut self, step: &Step) {
        say(&format!("\n--- {}", step.name));
        let watch = Stopwatch::start();
        let done = (step.run)();
        let verdict = if done.is_ok() { "ok" } else { "FAILED" };
        self.lines.push(format!("{:<8}{verdict:<8}{:>7.1} s", step.name, watch.elapsed().as_secs_f64()));
        if let Err(error) = done {
            say(&format!("{}: {error:#}", step.name));
            self.failed.push(step.name);
        }
    }

    fn print(&self) {
        if !self.lines.is_empty() {
            say(&format!("\n{}", self.lines.join("\n")));
        }
    }

    /// Silent when all is well: the last line is then the test runner's own.
    fn verdict(&self) -> anyhow::Result<()> {
        if self.failed.is_empty() {
            return Ok(());
        }
        self.print();
        bail!("failed: {}; one step alone: cargo xtask ci {}", self.failed.join(", "), self.failed[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_step_is_refused_with_the_known_ones() {
        let error = choose(&["bogus".to_owned()]).err().expect("refused").to_string();
        assert!(error.contains("bogus") && error.contains("clippy"), "{error}");
    }

    #[test]
    fn chosen_steps_keep_their_order() {
        let chosen = choose(&["test".to_owned(), "fmt".to_owned()]).unwrap();
        assert_eq!(chosen.iter().map(|step| step.name).collect::<Vec<_>>(), ["fmt", "test"]);
    }

    #[test]
    fn the_tests_are_last() {
        assert!(STEPS.iter().is_sorted_by_key(|step| step.is_test));
        assert_eq!(STEPS.last().map(|step| step.name), Some("e2e"));
    }

    #[test]
    fn a_failure_does_not_keep_the_next_step_from_running() {
        let mut table = Table::default();
        table.take(&Step { name: "bad", run: || bail!("no"), is_test: false });
        table.take(&Step { name: "good", run: || Ok(()), is_test: false });
        assert_eq!((table.lines.len(), table.failed.as_slice()), (2, ["bad"].as_slice()));
        assert!(table.verdict().unwrap_err().to_string().contains("bad"));
    }
}
