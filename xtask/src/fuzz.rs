//! `cargo xtask fuzz`: throws bytes at decoders, where `cargo fuzz` and a nightly compiler are installed. What every change
//! runs without them are the mutations in `crates/fuzz/tests/corpus.rs`.

use anyhow::{Context, bail};
use clap::Args;

use crate::run::{output, root, run as run_command, say};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One target alone; without it all, one after another.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    secs: u64,
}

/// # Errors
/// When the tools are missing, or a target fails: its input is in `fuzz/artifacts` then.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if output(&mut cargo_fuzz(&["--version"])).is_err() {
        bail!(
            "`cargo fuzz` and a nightly compiler are missing: rustup toolchain install nightly; cargo install cargo-fuzz"
        );
    }
    let known = targets()?;
    let chosen: Vec<&String> = match &options.target {
        Some(target) => known.iter().filter(|known| *known == target).collect(),
        None => known.iter().collect(),
    };
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", known.join(", "));
    }
    for target in chosen {
        say(&format!("\n--- {target}: {} s", options.secs));
        // What is found goes to the first folder; what is worth keeping is to be copied to the second.
        let found = root().join("fuzz/target/found").join(target);
        std::fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let mut fuzz = cargo_fuzz(&["run", target]);
        fuzz.arg(found).arg(format!("corpus/{target}"));
        fuzz.args(["--", &format!("-max_total_time={}", options.secs), "-max_len=8192", "-timeout=30"]);
        run_command(fuzz.args(["-rss_limit_mb=4096", "-malloc_limit_mb=256", "-print_final_stats=1"]))?;
    }
    Ok(())
}

/// In the folder of the targets, with the compiler that they need.
fn cargo_fuzz(words: &[&str]) -> std::process::Command {
    // Started by cargo, we would pass our own compiler on.
    let mut command = std::process::Command::new("cargo");
    for inherited in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC"] {
        command.env_remove(inherited);
    }
    command.args(["+nightly", "fuzz"]).args(words).current_dir(root().join("fuzz"));
    command
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_corpus() {
        let targets = targets().unwrap();
        assert!(targets.len() > 1);
        for target in targets {
            let corpus = root().join("fuzz/corpus").join(&target);
            assert!(std::fs::read_dir(corpus).unwrap().next().is_some(), "{target}");
        }
    }
}
