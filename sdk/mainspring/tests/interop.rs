//! A history that the Python SDK wrote is replayed by a workflow of ours that asks for the same.

use mainspring::{Replayer, prelude::*};

/// Of Temporal's server 1.32 with the Python SDK 1.35: a patch, activities one after another and at a time, a timer, a
/// local activity, a signal, an update, a child.
const PYTHON: &[u8] = include_bytes!("histories/python.json");

/// Of the same server, written by this SDK. The Python SDK 1.35 was seen to replay it; it must replay for ever.
const OURS: &[u8] = include_bytes!("histories/rust.json");

#[activity(start_to_close = "10s")]
async fn compose(name: String) -> Result<String>;

#[workflow(name = "InteropChild")]
async fn interop_child(name: String) -> Result<String>;

#[derive(Default)]
#[workflow(name = "Interop")]
struct Interop {
    by: Var<Option<String>>,
}

#[workflow]
impl Interop {
    async fn run(&self, cx: Ctx, name: String) -> Result<String> {
        let kind = if cx.patched("v2") { "new" } else { "old" };
        let greeting = cx.run(compose(name)).await?;
        cx.sleep(millis(50)).await?;
        let local = cx.run_local(compose("local".to_owned())).await?;
        let (a, b) = join!(cx.run(compose("a".to_owned())), cx.run(compose("b".to_owned())));
        let by = self.by.some().await;
        let child = interop_child("c".to_owned()).id(format!("{}-child", cx.info().workflow_id));
        let child = cx.run_child(child).await?;
        Ok(format!("{kind} {greeting} {local} {} {} {by} {child}", a?, b?))
    }

    #[signal]
    fn approve(&self, by: String) {
        self.by.set(Some(by));
    }

    #[update]
    async fn rename(&self, cx: Ctx, name: String) -> Result<String> {
        cx.run(compose(name)).await
    }
}

/// The same with one activity less.
#[derive(Default)]
#[workflow(name = "Interop")]
struct Changed {
    by: Var<Option<String>>,
}

#[workflow]
impl Changed {
    async fn run(&self, cx: Ctx, _name: String) -> Result<String> {
        cx.patched("v2");
        cx.sleep(millis(50)).await?;
        Ok(self.by.some().await)
    }
}

#[test]
fn a_history_of_python_replays() {
    let report = Replayer::new().register(Interop::def()).replay_json(PYTHON).unwrap();
    assert!(report.events > 30, "{report}");
}

#[test]
fn a_history_of_our_own_stays_replayable() {
    let report = Replayer::new().register(Interop::def()).replay_json(OURS).unwrap();
    assert!(report.events > 30, "{report}");
}

#[test]
fn a_change_is_found_in_a_history_of_python() {
    let said = Replayer::new().register(Changed::def()).replay_json(PYTHON).unwrap_err().to_string();
    assert!(said.contains(r#"is activity "compose" (id "1"), the workflow asked for timer "1", at "#), "{said}");
    assert!(said.contains("tests/interop.rs:"), "{said}");
}
