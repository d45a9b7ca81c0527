//! The activities: each may run more than once and gives the same result each time. They block, so they are no `async fn`.
//!
//! What they print is for the person who watches, and `cargo xtask demo` counts it to know when to kill the server.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use mainspring::prelude::*;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

const WORDS_OF_A_FILE: usize = 10;
const LETTERS_OF_A_WORD: usize = 4;
/// Results of builds; hidden folders are left out too.
const SKIPPED_FOLDERS: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// What is known of one file; `words` are its most frequent ones.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    path: String,
    size_bytes: usize,
    lines: usize,
    sha256: String,
    words: Vec<String>,
}

/// The result of the workflow.
#[derive(Serialize, Deserialize)]
pub(crate) struct Summary {
    output: String,
    files: usize,
    size_bytes: usize,
    lines: usize,
    words: usize,
    copies: usize,
    largest: String,
}

/// All files below the folder, in order.
#[activity(start_to_close = "1m")]
pub(crate) fn list_files(folder: String) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(Path::new(&folder), &mut found)?;
    found.sort();
    println!("listed {}", found.len());
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let name = name.to_string_lossy();
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED_FOLDERS.contains(&name.as_ref()) {
            walk(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path().display().to_string());
        }
    }
    Ok(())
}

/// Reads one file. The timeout is short, so that a task that was lost with a dead server is soon given to someone else.
#[activity(start_to_close = "5s", retry(initial = "200ms", max_interval = "2s", max_attempts = 20))]
pub(crate) fn hash_file(cx: Activity, path: String) -> Result<Entry> {
    let content = std::fs::read(&path)?;
    let text = String::from_utf8_lossy(&content);
    let sha256 = digest(&SHA256, &content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("hashed {} {path}", cx.info().attempt);
    Ok(Entry {
        size_bytes: content.len(),
        lines: text.matches('\n').count(),
        sha256,
        words: frequent_words(&text),
        path,
    })
}

fn frequent_words(text: &str) -> Vec<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.len() >= LETTERS_OF_A_WORD && !word.starts_with(|c: char| c.is_ascii_digit()))
    {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut words: Vec<(String, usize)> = counts.into_iter().collect();
    words.sort_by_key(|(_, count)| Reverse(*count));
    words.into_iter().take(WORDS_OF_A_FILE).map(|(word, _)| word).collect()
}

/// Writes the index beside its place and moves it there, so that a half-written one is never seen.
#[activity(start_to_close = "1m")]
pub(crate) fn write_index(output: String, entries: Vec<Entry>) -> Result<Summary> {
    let mut words = BTreeMap::<&str, Vec<&str>>::new();
    for entry in &entries {
        for word in &entry.words {
            words.entry(word).or_default().push(&entry.path);
        }
    }
    let files: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let draft = format!("{output}.draft");
    std::fs::write(&draft, serde_json::to_vec_pretty(&serde_json::json!({ "files": files, "words": words }))?)?;
    std::fs::rename(&draft, &output)?;
    let hashes: BTreeSet<&str> = entries.iter().map(|entry| entry.sha256.as_str()).collect();
    let largest = entries.iter().max_by_key(|entry| entry.size_bytes);
    Ok(Summary {
        files: entries.len(),
        size_bytes: entries.iter().map(|entry| entry.size_bytes).sum(),
        lines: entries.iter().map(|entry| entry.lines).sum(),
        words: words.len(),
        copies: entries.len() - hashes.len(),
        largest: largest.map(|entry| entry.path.clone()).unwrap_or_default(),
        output,
    })
}
