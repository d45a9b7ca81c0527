//! `cargo xtask bench --sdk`: our SDK beside the official one for Rust. `run` is what workers cost and replay; `build` is
//! what a hello world costs to build. The programs are in `bench/sdk`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use crate::bench::contestant::{Contestant, Running};
use crate::bench::{Options, Programs, words};
use crate::run::{Stopwatch, cargo, output, root, run as run_command, say};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The cost of a workflow to its worker, replay, and what the author of a wrong workflow is told.
    Run,
    /// A hello world: its build from nothing, its rebuild, its size, its dependencies. Takes minutes.
    Build,
}

/// # Errors
/// When something does not build, or a program does not do what it must.
pub(super) fn run(part: Part, options: &Options) -> anyhow::Result<()> {
    match part {
        Part::Run => compare(options),
        Part::Build => builds(),
    }
}

/// With `--quick`, ours alone.
fn compare(options: &Options) -> anyhow::Result<()> {
    let programs = Programs::build(options.quick)?;
    let mut compared = vec![format!("mainspring={}", ours(&programs, options.quick)?.display())];
    if !options.quick {
        compared.push(format!("official={}", official()?.display()));
    }
    let place = root().join("target/bench/sdk");
    let server = Running::start(Contestant::Mainspring, &programs, &place)?;
    let mut bench = Command::new(&programs.bench);
    bench.args(["sdk", "--address", &server.address(), "--histories"]).arg(&place);
    bench.args(compared.iter().map(|program| format!("--program={program}")));
    run_command(bench.args(words(options)))
}

fn ours(programs: &Programs, quick: bool) -> anyhow::Result<PathBuf> {
    let mut build = cargo(["build", "--package=mainspring-bench-sdk"]);
    if !quick {
        build.arg("--release");
    }
    run_command(&mut build)?;
    Ok(programs.bench.with_file_name(format!("sdk-mainspring{}", std::env::consts::EXE_SUFFIX)))
}

fn official() -> anyhow::Result<PathBuf> {
    say("building the official SDK, which takes minutes the first time");
    let target = root().join("target/bench/sdk/official");
    let manifest = root().join("bench/sdk/official/Cargo.toml");
    run_command(cargo(["build", "--release", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target))?;
    Ok(target.join("release").join(format!("sdk-official{}", std::env::consts::EXE_SUFFIX)))
}

/// A package that a user would write.
struct Hello {
    name: &'static str,
    source: &'static str,
    dependencies: String,
}

fn builds() -> anyhow::Result<()> {
    let ours = root().join("sdk/mainspring");
    let hellos = [
        Hello {
            name: "mainspring",
            source: "sdk/mainspring/examples/hello.rs",
            dependencies: format!("mainspring = {{ path = {ours:?} }}\n"),
        },
        Hello { name: "official", source: "bench/sdk/official/hello.rs", dependencies: official_dependencies()? },
    ];
    for hello in &hellos {
        let place = root().join("target/bench/sdk").join(format!("hello-{}", hello.name));
        say(&format!("{}: {}", hello.name, hello.measure(&place)?));
    }
    Ok(())
}

/// Those of the worker program that a hello world needs too.
fn official_dependencies() -> anyhow::Result<String> {
    let manifest = fs::read_to_string(root().join("bench/sdk/official/Cargo.toml"))?;
    let needed = |line: &&str| line.starts_with("temporalio-") || line.starts_with("futures");
    Ok(manifest.lines().filter(needed).flat_map(|line| [line, "\n"]).collect())
}

impl Hello {
    fn measure(&self, place: &Path) -> anyhow::Result<String> {
        if place.exists() {
            fs::remove_dir_all(place).with_context(|| format!("cannot empty {}", place.display()))?;
        }
        fs::create_dir_all(place.join("src"))?;
        fs::write(place.join("Cargo.toml"), self.manifest())?;
        let source = fs::read_to_string(root().join(self.source))?;
        fs::write(place.join("src/main.rs"), &source)?;
        // Whatever has to come from the registry comes before the watch starts.
        output(self.cargo("fetch", place).arg("--quiet"))?;
        let (clean, clean_cpu) = timed(&mut self.cargo("build", place))?;
        fs::write(place.join("src/main.rs"), format!("{source}// changed\n"))?;
        let (again, _) = timed(&mut self.cargo("build", place))?;
        let size = fs::metadata(place.join("target/release/hello"))?.len() as f64 / 1e6;
        let lock = fs::read_to_string(place.join("Cargo.lock"))?.matches("[[package]]").count() - 1;
        let (linked, tree) = (self.tree(place, "normal")?, self.tree(place, "normal,build")?);
        let lines = lines_of_code(&source);
        Ok(format!(
            "clean release build {clean:.0} s ({clean_cpu:.0} s of CPU), rebuild {again:.1} s, {size:.1} MB stripped, \
             {lines} lines, {linked} crates in the program, {tree} with those that only build, {lock} in the lock file"
        ))
    }

    fn manifest(&self) -> String {
        format!(
            "[workspace]\n[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[profile.release]\nstrip = true\n\
             [dependencies]\ntokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n{}",
            self.dependencies
        )
    }

    fn cargo(&self, word: &str, place: &Path) -> Command {
        let mut command = cargo([word, "--manifest-path"]);
        command.arg(place.join("Cargo.toml"));
        if word == "build" {
            command.args(["--release", "--quiet", "--target-dir"]).arg(place.join("target"));
        }
        command
    }

    /// Crates that it depends on in such a way.
    fn tree(&self, place: &Path, edges: &str) -> anyhow::Result<usize> {
        let mut tree = self.cargo("tree", place);
        let printed = output(tree.args(["--edges", edges, "--prefix", "none", "--format", "{p}"]))?;
        let crates: BTreeSet<&str> = printed.lines().map(|line| line.trim_end_matches(" (*)")).collect();
        Ok(crates.len() - 1)
    }
}

/// Seconds by the clock and of CPU.
fn timed(command: &mut Command) -> anyhow::Result<(f64, f64)> {
    let (watch, cpu) = (Stopwatch::start(), children_cpu_seconds());
    run_command(command)?;
    Ok((watch.elapsed().as_secs_f64(), children_cpu_seconds() - cpu))
}

/// CPU time of all children that have ended; 0 elsewhere than on Linux.
fn children_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Neither blank nor a comment nor an attribute of the whole file.
fn lines_of_code(source: &str) -> usize {
    let counts = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with("#![");
    source.lines().map(str::trim).filter(counts).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_code_are_those_that_a_user_writes() {
        assert_eq!(lines_of_code("//! hello\n#![expect(x)]\n\nuse a;\n// why\nfn main() {\n}\n"), 3);
    }

    #[test]
    fn a_hello_world_of_the_other_sdk_names_what_it_needs() {
        let named = official_dependencies().expect("the manifest is there");
        assert!(named.contains("temporalio-sdk = ") && !named.contains("serde_json"), "{named}");
    }
}
