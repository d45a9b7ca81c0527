//! Values that are larger than the server takes: a worker fails the task, which may come out right once the code is mended,
//! in place of sending what the server would end the workflow for.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use it")]
mod rig;

use std::sync::atomic::{AtomicBool, Ordering};

use mainspring::{Client, prelude::*, workflow::WorkflowDef};
use mainspring_api::v1::{
    enums::WorkflowTaskFailedCause,
    history::{HistoryEvent, history_event::Attributes},
};
use rig::{PATIENCE, Rig, unique};

/// Above the limit for one value, below that for one message.
const LARGE: usize = 3 << 20;

fn large() -> String {
    "x".repeat(LARGE)
}

#[activity(start_to_close = "10s", retry(max_attempts = 2, initial = "1ms"))]
async fn takes(text: String) -> Result<usize> {
    Ok(text.len())
}

#[activity(start_to_close = "10s", retry(max_attempts = 2, initial = "1ms"))]
async fn gives(cx: Activity, mended: bool) -> Result<String> {
    if cx.info().attempt == 1 || !mended { Ok(large()) } else { Ok("small".to_owned()) }
}

#[activity(start_to_close = "10s", heartbeat = "5s", retry(max_attempts = 1))]
async fn beats(cx: Activity) -> Result<()> {
    cx.heartbeat(&large());
    cx.cancelled().await;
    Ok(())
}

#[workflow]
async fn calls(cx: Ctx) -> Result<String> {
    let mended = cx.run(gives(true)).await?;
    let refused = [cx.run(gives(false)).await.map(drop), cx.run(beats()).await];
    for refused in refused {
        let failure = refused.unwrap_err();
        let failure = failure.as_application().unwrap().clone();
        assert_eq!(failure.kind, "PayloadsTooLarge");
        assert!(failure.message.contains("TMPRL1103"), "{}", failure.message);
    }
    Ok(mended)
}

/// Stands for a deployment between two attempts of a workflow task.
static MENDED: AtomicBool = AtomicBool::new(false);

#[workflow]
async fn sends(cx: Ctx) -> Result<usize> {
    cx.sleep(millis(1)).await?;
    cx.run(takes(if MENDED.load(Ordering::SeqCst) { "small".to_owned() } else { large() })).await
}

#[workflow]
async fn sends_many(cx: Ctx) -> Result<()> {
    let megabyte = "x".repeat(1 << 20);
    for _ in 0..6 {
        cx.run(takes(megabyte.clone())).detach();
    }
    cx.sleep(millis(1)).await
}

#[derive(Default)]
#[workflow]
struct Asked {
    done: Var<bool>,
}

#[workflow]
impl Asked {
    async fn run(&self, _cx: Ctx) -> Result<()> {
        self.done.until(|done| *done).await;
        Ok(())
    }

    #[query]
    fn all(&self) -> String {
        large()
    }

    #[signal]
    fn end(&self) {
        self.done.set(true);
    }
}

struct Bench {
    client: Client,
    queue: String,
    _rig: Rig,
}

impl Bench {
    async fn new() -> Bench {
        let rig = Rig::start().await;
        Bench { client: rig.client().await, queue: unique("sizes"), _rig: rig }
    }

    fn worker(&self, def: WorkflowDef) -> mainspring::worker::RunningWorker {
        let worker = Worker::builder(&self.client, &self.queue).register(def);
        worker.register(takes::def()).register(gives::def()).register(beats::def()).spawn().unwrap()
    }

    async fn start<O>(&self, call: WorkflowCall<O>) -> WorkflowHandle<O> {
        self.client.start(call.id(unique("sizes")).queue(&self.queue)).await.unwrap()
    }
}

/// The first event of a workflow that is wanted; those before it are skipped.
async fn event<O, T>(handle: &WorkflowHandle<O>, wanted: impl Fn(&HistoryEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let events = handle.history().collect().await.unwrap();
            if let Some(found) = events.iter().find_map(&wanted) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it comes")
}

#[tokio::test]
async fn activities_fail_and_are_tried_again() {
    let bench = Bench::new().await;
    let worker = bench.worker(calls::def());
    let handle = bench.start(calls()).await;
    assert_eq!(tokio::time::timeout(PATIENCE, handle.result()).await.unwrap().unwrap(), "small");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_workflow_task_fails_until_the_code_is_mended() {
    let bench = Bench::new().await;
    let worker = bench.worker(sends::def());
    let handle = bench.start(sends().task_timeout(secs(2))).await;
    let failed = event(&handle, |event| match &event.attributes {
        Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => Some(failed.clone()),
        _ => None,
    })
    .await;
    assert_eq!(failed.cause(), WorkflowTaskFailedCause::PayloadsTooLarge);
    let said = failed.failure.unwrap().message;
    assert!(said.starts_with("[TMPRL1103] the input of activity \"takes\" has 3145"), "{said}");
    MENDED.store(true, Ordering::SeqCst);
    assert_eq!(tokio::time::timeout(PATIENCE, handle.result()).await.unwrap().unwrap(), 5);
    worker.stop().await.unwrap();
}

/// Each is small enough; all of them together are no message that the server takes. It ends the workflow then.
#[tokio::test]
async fn a_message_that_is_too_large_ends_the_workflow() {
    let bench = Bench::new().await;
    let worker = bench.worker(sends_many::def());
    let handle = bench.start(sends_many()).await;
    let reason = event(&handle, |event| match &event.attributes {
        Some(Attributes::WorkflowExecutionTerminatedEventAttributes(ended)) => Some(ended.reason.clone()),
        _ => None,
    });
    assert_eq!(reason.await, "GrpcMessageTooLarge");
    let cause = event(&handle, |event| match &event.attributes {
        Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => Some(failed.cause()),
        _ => None,
    });
    assert_eq!(cause.await, WorkflowTaskFailedCause::ForceCloseCommand);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn an_answer_to_a_query_is_refused_and_the_workflow_goes_on() {
    let bench = Bench::new().await;
    let worker = bench.worker(Asked::def());
    let handle = bench.start(Asked::start()).await;
    let refused = handle.query(Asked::all()).await.unwrap_err().to_string();
    assert!(refused.contains("TMPRL1103"), "{refused}");
    handle.signal(Asked::end()).await.unwrap();
    tokio::time::timeout(PATIENCE, handle.result()).await.unwrap().unwrap();
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_hears_it_from_the_server() {
    let bench = Bench::new().await;
    let call = Call::named("Any").arg(large()).returns::<()>().id(unique("sizes")).queue(&bench.queue);
    let error = bench.client.start(call).await.unwrap_err().to_string();
    assert!(error.contains("Blob data size exceeds limit"), "{error}");
}
