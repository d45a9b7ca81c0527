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

/// What a request of 4 MiB, the most that a connection takes, may take up whatever is in it.
const LARGEST_MAX: usize = 64 << 20;

/// Requests of 4 MiB that are all parts of two or three bytes, at several depths.
fn requests_of_many_parts() -> Vec<(&'static str, Vec<u8>)> {
    const LARGEST: usize = 4 << 20;
    let many = |tag: u8| [tag, 0].repeat(LARGEST / 2 - 64);
    let links = [0xc2, 1, 0].repeat(LARGEST / 3 - 64);
    let markers = [0xf2, 0x12, 0].repeat(LARGEST / 3 - 64);
    let within = |tag: u8, inner: Vec<u8>| {
        let mut outer = vec![tag];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    };
    let call = |method: &str, request: Vec<u8>| {
        let number = mainspring_fuzz::METHODS.iter().position(|known| *known == method).unwrap();
        [vec![u8::try_from(number).unwrap()], request].concat()
    };
    vec![
        ("commands", call("RespondWorkflowTaskCompleted", many(0x12))),
        ("links of a start", call("StartWorkflowExecution", links.clone())),
        ("links of a start in a pair", call("ExecuteMultiOperation", within(0x12, within(0x0a, links)))),
        ("payloads", call("SignalWorkflowExecution", within(0x22, many(0x0a)))),
        ("links of an update", call("UpdateWorkflowExecution", within(0x2a, many(0x2a)))),
        ("callbacks of an update", call("UpdateWorkflowExecution", within(0x2a, many(0x22)))),
        ("kinds of errors", call("StartWorkflowExecution", within(0x62, many(0x2a)))),
        ("markers of a command", call("RespondWorkflowTaskCompleted", within(0x12, markers))),
    ]
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
    for (what, request) in requests_of_many_parts() {
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        mainspring_fuzz::run("calls", &request);
        let taken = ALLOCATED.peak_usage().saturating_sub(before);
        if taken > LARGEST_MAX {
            failed.push(format!("{what}: {} bytes take up {taken}", request.len()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
