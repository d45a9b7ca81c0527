//! Every target on the corpus that is kept and on thousands of mutations of it, the same ones each time: no panic, and no
//! more memory than the size of the input explains.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use mainspring_fuzz::{TARGETS, mutate::Mutator};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Panics of any thread: a shard survives those of its steps, and would hide them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Mutations of a target, so that each takes about two seconds.
fn mutations(target: &str) -> u64 {
    match target {
        "calls" => 3_000,
        "tokens" => 500,
        "commands" => 6_000,
        _ => 20_000,
    }
}

/// What an input of `n` bytes may take up: a decoded message is larger than its bytes, and a node has things of its own.
fn allowed(bytes: usize) -> usize {
    (1 << 20) + bytes * 1_000
}

fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs one input; says what is wrong with it.
fn try_one(run: fn(&[u8]), input: &[u8]) -> Result<(), String> {
    let (panics, before) = (PANICS.load(Ordering::Relaxed), ALLOCATED.current_usage());
    ALLOCATED.reset_peak_usage();
    let survived = panic::catch_unwind(AssertUnwindSafe(|| run(input)));
    let taken = ALLOCATED.peak_usage().saturating_sub(before);
    if survived.is_err() || PANICS.load(Ordering::Relaxed) > panics {
        return Err("it panics".to_owned());
    }
    if taken > allowed(input.len()) {
        return Err(format!("it takes {taken} bytes of memory"));
    }
    Ok(())
}

/// The one test of this file, since memory is measured in the whole process.
#[test]
fn no_input_panics_or_takes_memory_without_bound() {
    panic::set_hook(Box::new(|panicked| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        eprintln!("{panicked}");
    }));
    // A node is made on first use and stays.
    mainspring_fuzz::run("calls", &[0]);
    let mut failed = Vec::new();
    for (target, run) in TARGETS {
        let corpus = kept(target);
        assert!(!corpus.is_empty(), "{target} has a corpus");
        let mutations = (0..mutations(target)).map(|seed| Mutator::new(seed).next(&corpus));
        for input in corpus.iter().cloned().chain(mutations) {
            if let Err(what) = try_one(*run, &input) {
                failed.push(format!("{target}: {what}: {input:02x?}"));
                break;
            }
        }
    }
    // As many commands as a megabyte holds, for `RespondWorkflowTaskCompleted`, the 17th method.
    let many = [&[16][..], &[0x12, 0].repeat(1 << 19)].concat();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    mainspring_fuzz::run("calls", &many);
    assert!(ALLOCATED.peak_usage() - before < 16 << 20, "it is refused before it is decoded");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
