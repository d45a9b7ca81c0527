//! `cargo xtask tidy`: the house rules that no compiler checks. Each rule is a plain function over text or packages.
//!
//! [`layers`] holds the direction of dependencies, [`source`] what a file must and must not say.

mod layers;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::run::{root, say};
use crate::workspace;

/// # Errors
/// When a rule is broken; each breach has been printed on a line of its own.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut breaches = layers::check(&workspace::packages()?);
    let files = source_files(&root())?;
    for path in &files {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(root()).unwrap_or(path).display().to_string().replace('\\', "/");
        breaches.extend(source::breaches(&name, &text));
        if let Some(warning) = source::warning(&name, &text) {
            say(&format!("tidy: warning: {warning}"));
        }
    }
    for breach in &breaches {
        say(&format!("tidy: {breach}"));
    }
    if !breaches.is_empty() {
        bail!("{} house rules are broken (the rules: xtask/src/tidy)", breaches.len());
    }
    say(&format!("tidy: {} files follow the house rules", files.len()));
    Ok(())
}

/// Where our own code lies; what is installed or built there is left out.
const FOLDERS: &[&str] = &["crates", "sdk", "xtask", "tests", "bench", "examples"];
const FOREIGN: &[&str] = &["target", ".venv", "node_modules", "__pycache__", ".pytest_cache"];

fn source_files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|name| root.join(name)).filter(|path| path.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !FOREIGN.contains(&name.as_str()) {
                folders.push(path);
            } else if source::is_source(&name) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_file_is_found_and_built_ones_are_not() {
        let files = source_files(&root()).unwrap();
        assert!(files.iter().any(|path| path.ends_with("xtask/src/tidy.rs")));
        assert!(!files.iter().any(|path| path.components().any(|part| part.as_os_str() == "target")));
    }
}
