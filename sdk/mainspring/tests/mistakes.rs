//! Code that does not replay, as its author hears of it: on the first workflow task, with what to do instead and where.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mainspring::{Client, VerifyReplay, prelude::*, workflow::WorkflowDef};
use mainspring_api::v1::{
    common::WorkflowExecution,
    history::{WorkflowTaskFailedEventAttributes, history_event::Attributes},
    workflowservice::GetWorkflowExecutionHistoryRequest,
};
use rig::{PATIENCE, Rig, unique};

#[activity(start_to_close = "10s")]
async fn log(text: String) -> Result<()> {
    drop(text);
    Ok(())
}

#[workflow]
#[allow_nondeterminism]
async fn sleeps(cx: Ctx) -> Result<()> {
    let _ = cx.info();
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[workflow]
#[allow_nondeterminism]
async fn spawns(cx: Ctx) -> Result<()> {
    let _ = cx.info();
    tokio::spawn(async {}).await?;
    Ok(())
}

#[workflow]
#[allow_nondeterminism]
async fn blocks(cx: Ctx) -> Result<()> {
    cx.run(log("before".to_owned())).detach();
    std::thread::sleep(Duration::from_secs(8));
    Ok(())
}

#[workflow]
#[allow_nondeterminism]
async fn blocks_first(_cx: Ctx) -> Result<()> {
    std::thread::sleep(Duration::from_secs(8));
    Ok(())
}

#[workflow]
#[allow_nondeterminism]
async fn reads_the_clock(cx: Ctx) -> Result<()> {
    cx.run(log(format!("{:?}", std::time::SystemTime::now()))).await
}

/// Runs an activity, and ends at once when it runs a second time.
#[workflow]
async fn remembers(cx: Ctx) -> Result<()> {
    static SEEN: AtomicBool = AtomicBool::new(false);
    if SEEN.fetch_xor(true, Ordering::Relaxed) {
        return Ok(());
    }
    cx.run(log("once".to_owned())).await
}

#[workflow]
async fn panics(cx: Ctx) -> Result<()> {
    let empty: Vec<u8> = cx.memo("nothing")?.unwrap_or_default();
    assert!(empty.len() > 1, "there is nothing");
    Ok(())
}

/// How the first workflow task of a workflow failed.
async fn first_failure(client: &Client, queue: &str, def: WorkflowDef) -> String {
    let name = def.name().to_owned();
    let worker = Worker::builder(client, queue).register(def).verify_replay(VerifyReplay::Always).spawn().unwrap();
    let handle = client.start(Call::named(name).id(unique("mistake")).queue(queue)).await.unwrap();
    let failed = tokio::time::timeout(PATIENCE, failed_task(client, handle.id())).await.expect("the task fails");
    handle.terminate("seen").await.unwrap();
    worker.stop().await.unwrap();
    failed.failure.unwrap().message
}

async fn failed_task(client: &Client, workflow_id: &str) -> WorkflowTaskFailedEventAttributes {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: "default".to_owned(),
        execution: Some(WorkflowExecution { workflow_id: workflow_id.to_owned(), run_id: String::new() }),
        ..GetWorkflowExecutionHistoryRequest::default()
    };
    loop {
        let page = client.rpc().call(&request).await.unwrap();
        for event in page.history.unwrap().decode_events().unwrap() {
            match event.attributes {
                Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => return failed,
                Some(Attributes::WorkflowTaskTimedOutEventAttributes(late)) => panic!("it timed out first: {late:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_reported_on_the_first_task() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for (def, wanted) in [
        (sleeps::def(), ["Tokio's timers", "use `cx.sleep(..)`", "tests/mistakes.rs:"]),
        (spawns::def(), ["must be called from the context", "`cx.spawn(..)` for a branch", "tests/mistakes.rs:"]),
        (blocks::def(), ["did not yield within", "it blocks or loops", "tests/mistakes.rs:"]),
        (
            blocks_first::def(),
            ["did not yield within", "it has asked for nothing yet; it is defined at", "tests/mistakes.rs:"],
        ),
        (reads_the_clock::def(), ["run a second time", "look for clocks", "tests/mistakes.rs:"]),
        (remembers::def(), ["run a second time", "look for clocks", "tests/mistakes.rs:"]),
        (panics::def(), ["the workflow panicked: there is nothing", "at ", "tests/mistakes.rs:"]),
    ] {
        let name = def.name().to_owned();
        let said = first_failure(&client, &unique("mistakes"), def).await;
        for wanted in wanted {
            assert!(said.contains(wanted), "{name}: {said}");
        }
    }
}

#[workflow]
async fn quick(cx: Ctx) -> Result<u32> {
    cx.sleep(millis(1)).await?;
    Ok(7)
}

/// A workflow that blocks its lane does not hold up others for longer than the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_blocked_is_replaced() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("lanes");
    let worker = Worker::builder(&client, &queue).register(blocks::def()).register(quick::def());
    let worker = worker.register(log::def()).lanes(1).spawn().unwrap();
    let blocked = client.start(blocks().id(unique("blocked")).queue(&queue)).await.unwrap();
    tokio::time::timeout(PATIENCE, failed_task(&client, blocked.id())).await.expect("it is given up");
    let handle = client.start(quick().id(unique("quick")).queue(&queue)).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, handle.result()).await.unwrap().unwrap(), 7);
    blocked.terminate("seen").await.unwrap();
    worker.stop().await.unwrap();
}
