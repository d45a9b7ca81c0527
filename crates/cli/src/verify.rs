//! `mainspring admin verify`: checks the data of a server that does not run, or a backup.

use anyhow::bail;
use mainspring_store::sqlite::Inspection;
use mainspring_store::verify::{Problem, Summary, verify};

use crate::args::Verify;
use crate::say;

/// Prints a line a problem.
///
/// # Errors
/// When there are problems, or the file cannot even be opened.
pub(crate) fn run(flags: &Verify) -> anyhow::Result<()> {
    let path = flags.data.file();
    let file = Inspection::open(&path)?;
    let summary = verify(&file, &mut |problem| say(&if flags.json { as_json(&problem) } else { problem.to_string() }));
    if flags.json {
        say(&summary_as_json(&summary));
    }
    if summary.problems > 0 {
        bail!("{} has {} problems; check the disk and restore a backup", path.display(), summary.problems);
    }
    if !flags.json {
        say(&sound(&summary));
    }
    Ok(())
}

/// What was looked at, without problems.
pub(crate) fn sound(summary: &Summary) -> String {
    let Summary { group, rows, runs, parked, .. } = summary;
    let frozen = if *parked > 0 { format!(", {parked} of them frozen after a failure of ours") } else { String::new() };
    format!("sound: {rows} rows, {runs} runs{frozen}, everything up to commit {group}")
}

fn as_json(problem: &Problem) -> String {
    serde_json::json!({ "place": problem.place, "problem": problem.what }).to_string()
}

fn summary_as_json(summary: &Summary) -> String {
    let Summary { group, rows, runs, parked, problems } = summary;
    serde_json::json!({ "commit": group, "rows": rows, "runs": runs, "frozen": parked, "problems": problems })
        .to_string()
}
