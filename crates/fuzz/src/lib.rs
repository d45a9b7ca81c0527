//! Every decoder of bytes that come from outside or from disk, as a function of any bytes: it must neither panic nor take
//! memory without bound.
//!
//! `fuzz/` has a `cargo fuzz` target for each of [`TARGETS`]; `tests/corpus.rs` runs the same functions on the corpus kept
//! there and on mutations of it. What a function asserts beside is said in its file.

#![expect(clippy::expect_used, reason = "a target that fails is to panic")]

mod calls;
mod commands;
pub mod corpus;
mod filters;
pub mod mutate;
mod rows;
mod tokens;
mod wire;
mod world;

pub use calls::METHODS;

/// A target's name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("calls", calls::run),
    ("commands", commands::run),
    ("filters", filters::run),
    ("history", wire::history),
    ("payload", wire::payload),
    ("rows", rows::run),
    ("tokens", tokens::run),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or the target finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("there is such a target").1(bytes);
}
