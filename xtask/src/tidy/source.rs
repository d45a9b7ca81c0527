//! What a source file must and must not say: an opening that tells its purpose, no leftovers, a size one can read.

/// Past this a file is to be looked at; past the other one it is to be split.
const LINES_WANTED_MAX: usize = 600;
const LINES_MAX: usize = 900;

/// Words that mean work left over. Written in halves, so that this file does not find itself.
const LEFTOVERS: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Folders of one person's machine.
const MACHINE_PATHS: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// True for the kinds of files that the rules are about.
pub(crate) fn is_source(name: &str) -> bool {
    name.ends_with(".rs") || name.ends_with(".py")
}

/// One line for each rule that the file breaks.
pub(crate) fn breaches(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        breaches.push(format!("{name}: {lines} lines, more than {LINES_MAX}; split it by subject"));
    }
    if !opens_with_its_purpose(name, text) {
        breaches.push(format!("{name}:1: the file does not open by saying what it is for"));
    }
    for (number, line) in text.lines().enumerate() {
        for word in LEFTOVERS.iter().chain(MACHINE_PATHS).filter(|word| line.contains(**word)) {
            breaches.push(format!("{name}:{}: {word} must not stay", number + 1));
        }
    }
    breaches
}

/// A file that is still allowed but on its way to too long.
pub(crate) fn warning(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let long = lines > LINES_WANTED_MAX && lines <= LINES_MAX;
    long.then(|| format!("{name}: {lines} lines, more than {LINES_WANTED_MAX}"))
}

/// Rust files open with `//!`, Python files with a docstring (a `#!` line may come first). An empty file may be one
/// that only marks a package.
fn opens_with_its_purpose(name: &str, text: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| line.starts_with("#!/"));
    let Some(first) = lines.next() else { return name.ends_with("__init__.py") };
    if name.ends_with(".rs") { first.starts_with("//! ") } else { first.starts_with("\"\"\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_what_it_is_for_passes() {
        assert!(breaches("a.rs", "//! What it is for.\n\nfn main() {}\n").is_empty());
        assert!(breaches("a.py", "\"\"\"What it is for.\"\"\"\n").is_empty());
        assert!(breaches("a.py", "#!/usr/bin/env python3\n\"\"\"What it is for.\"\"\"\n").is_empty());
        assert!(breaches("__init__.py", "").is_empty());
    }

    #[test]
    fn a_file_that_does_not_is_named() {
        assert!(breaches("a.rs", "fn main() {}\n")[0].starts_with("a.rs:1:"));
        assert!(breaches("a.rs", "")[0].starts_with("a.rs:1:"));
        assert!(breaches("a.py", "import os\n")[0].starts_with("a.py:1:"));
    }

    #[test]
    fn leftovers_are_named_with_their_line() {
        for word in LEFTOVERS.iter().chain(MACHINE_PATHS) {
            let found = breaches("a.rs", &format!("//! Purpose.\n// {word}\n"));
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].starts_with("a.rs:2:"), "{found:?}");
        }
    }

    #[test]
    fn length_warns_first_and_fails_later() {
        let of = |lines: usize| "//! Purpose.\n".repeat(lines);
        assert_eq!(warning("a.rs", &of(600)), None);
        assert!(warning("a.rs", &of(601)).is_some() && breaches("a.rs", &of(900)).is_empty());
        assert!(warning("a.rs", &of(901)).is_none() && breaches("a.rs", &of(901))[0].contains("901"));
    }
}
