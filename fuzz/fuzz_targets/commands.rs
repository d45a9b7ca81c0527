//! `mainspring_fuzz` says what this does; `cargo xtask fuzz commands` runs it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainspring_fuzz::run("commands", bytes));
