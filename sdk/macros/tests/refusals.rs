//! What rustc refuses by itself: wrong types in calls and messages, and contexts that leave their thread.
//!
//! Its words change with its version, so only the place and a few of them are checked; what the macros say is in `ui`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

const SOURCE: &str = include_str!("refusals/types.rs");

/// The flags that `trybuild` compiles with, in whose directory this compiles too: so what both need is compiled once.
const FLAGS: &str = r#"build.rustflags=["--cfg", "trybuild", "--verbose", "-A", "dead_code"]"#;

#[test]
fn wrong_types_are_refused_where_they_are_written() {
    let expected: BTreeMap<u64, &str> =
        (1..).zip(SOURCE.lines()).skip(2).filter_map(|(line, text)| Some((line, text.split_once("//~ ")?.1))).collect();
    let mut found: BTreeMap<u64, String> = BTreeMap::new();
    for (line, text) in errors() {
        found.entry(line).or_default().push_str(&text);
    }
    for (line, wanted) in &expected {
        let said = found.get(line).map_or("nothing", String::as_str);
        assert!(said.contains(wanted), "line {line} wants {wanted:?}; rustc says {said}");
    }
    found.retain(|line, _| !expected.contains_key(line));
    assert!(found.is_empty(), "nobody expects: {found:#?}");
}

/// The errors in the source, each with its line.
fn errors() -> Vec<(u64, String)> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
    let project = project();
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--message-format=json", "--config", FLAGS])
        .env("CARGO_TARGET_DIR", target.join("tests/trybuild"))
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTFLAGS")
        .current_dir(&project)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors: Vec<(u64, String)> = said.lines().filter_map(error).collect();
    assert!(!errors.is_empty(), "it compiles, or cargo failed: {}", String::from_utf8_lossy(&output.stderr));
    errors
}

/// A package of its own with the source.
fn project() -> std::path::PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusals");
    let manifest = format!(
        r#"
            [package]
            name = "refusals"
            version = "0.0.0"
            edition = "2024"

            [[bin]]
            name = "refusals"
            path = {source:?}

            [dependencies]
            mainspring = {{ path = {mainspring:?} }}
            serde = {{ version = "1", features = ["derive"] }}
            serde_json = "1"
            tokio = {{ version = "1", features = ["rt-multi-thread", "macros", "sync", "time", "net", "signal"] }}

            [workspace]
        "#,
        source = own.join("tests/refusals/types.rs"),
        mainspring = own.with_file_name("mainspring"),
    );
    fs::create_dir_all(&project).expect("the target directory can be written to");
    fs::write(project.join("Cargo.toml"), manifest).expect("the manifest can be written");
    fs::copy(own.join("../../Cargo.lock"), project.join("Cargo.lock")).expect("the workspace has a lock file");
    project
}

/// Of a line of cargo's: the line of the source and the text, if it is an error in the source.
fn error(line: &str) -> Option<(u64, String)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let message = line.get("message")?;
    let places = message["spans"].as_array()?;
    let place = places.iter().find(|place| place["is_primary"] == true)?;
    (message["level"] == "error")
        .then(|| (place["line_start"].as_u64(), message["rendered"].as_str()))
        .and_then(|(line, text)| Some((line?, text?.to_owned())))
}
