//! Histories of four SDKs, recorded as `tests/interop` says, are replayed by workflows of ours that do the same.

mod workflows;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mainspring::{Replayer, prelude::*};

/// What an SDK has no workflow for, as it has no such call.
const ABSENT: &[(&str, &[&str])] = &[
    ("python", &["mutable_side_effect", "side_effect", "version"]),
    ("official", &["mutable_side_effect", "side_effect", "version"]),
    ("go", &["deprecate_patch", "patched"]),
    ("mainspring", &[]),
];

/// Where an SDK asks for something else than ours, by what the replay says. Everything that is not here replays.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    // Signals go into channels there: handlers of updates run first, then the workflow, then what takes signals out.
    ("go", "concurrent", r#"is activity "describe" (id "12"), the workflow asked for activity "greet" (id "1")"#),
    ("go", "messages_first", r#"is timer "7", the workflow asked for activity "greet" (id "1")"#),
];

#[test]
fn histories_of_our_own_stay_replayable() {
    replays("mainspring", &replayer());
}

#[test]
fn histories_of_the_official_rust_sdk_replay() {
    replays("official", &replayer());
}

#[test]
fn histories_of_the_python_sdk_replay() {
    replays("python", &replayer());
}

/// Ids of activities and timers are the numbers of events there.
#[test]
fn histories_of_the_go_sdk_replay_but_for_their_numbers() {
    replays("go", &replayer().ignore_numbers());
    let said = replay(&replayer(), "go", "timer").unwrap_err();
    assert!(said.contains(r#"is timer "5", the workflow asked for timer "1""#), "{said}");
    // A name that the code chose is no number.
    replay(&replayer(), "go", "activity_retry").unwrap();
}

#[workflow(name = "activity")]
async fn changed(cx: Ctx) -> Result<()> {
    cx.sleep(millis(50)).await
}

#[test]
fn a_change_is_found_in_a_history_of_python() {
    let said = replay(&Replayer::new().register(changed::def()), "python", "activity").unwrap_err();
    assert!(said.contains(r#"is activity "greet" (id "1"), the workflow asked for timer "1", at "#), "{said}");
    assert!(said.contains("tests/interop/main.rs:"), "{said}");
}

fn replayer() -> Replayer {
    workflows::workflows().into_iter().fold(Replayer::new(), |replayer, workflow| replayer.register(workflow))
}

/// Every history of an SDK replays, or differs as expected.
fn replays(sdk: &str, replayer: &Replayer) {
    let mut unexpected = Vec::new();
    for workflow in recorded(sdk) {
        let difference = DIFFERENCES.iter().find(|(of, name, _)| (*of, *name) == (sdk, &workflow));
        match (replay(replayer, sdk, &workflow), difference) {
            (Ok(()), None) => {}
            (Err(said), Some((.., expected))) if said.contains(expected) => {}
            (Ok(()), Some(_)) => unexpected.push(format!("{workflow} replays, contrary to the table")),
            (Err(said), _) => unexpected.push(said),
        }
    }
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}

/// The workflows that an SDK has histories of: all of ours, but for what it has no call for and for those of others.
fn recorded(sdk: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder(sdk)).expect("it has histories");
    let names = files.map(|file| file.expect("the folder is read").file_name().into_string().expect("ASCII"));
    let found: BTreeSet<String> = names.map(|name| name.trim_end_matches(".json").to_owned()).collect();
    let (_, absent) = ABSENT.iter().find(|(of, _)| *of == sdk).expect("it is in the table");
    let all = workflows::workflows().into_iter().map(|workflow| workflow.name().to_owned());
    let expected = all.filter(|name| !absent.contains(&name.as_str()) && !["given", "waiter"].contains(&name.as_str()));
    assert_eq!(found, expected.collect());
    found
}

fn replay(replayer: &Replayer, sdk: &str, workflow: &str) -> Result<(), String> {
    let file = folder(sdk).join(format!("{workflow}.json"));
    let history = std::fs::read(file).expect("it is there");
    let report = replayer.replay_json(&history).map_err(|error| error.to_string())?;
    assert!(report.events > 8 && report.workflow_type == workflow, "{report}");
    Ok(())
}

fn folder(sdk: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/histories").join(sdk)
}
