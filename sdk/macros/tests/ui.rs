//! What the macros say when they are misused, to the letter: where it points, and what to write instead.
//!
//! `TRYBUILD=overwrite cargo test -p mainspring-macros --test ui` writes the texts anew. What rustc says by itself changes
//! with its version and is in `refusals`.

#[test]
fn macros_say_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
