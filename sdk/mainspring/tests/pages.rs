//! Histories of several pages, which are replayed page by page.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use it")]
mod rig;

use mainspring::{Client, prelude::*, worker::RunningWorker, workflow::WorkflowDef};
use mainspring_api::v1::{enums::WorkflowTaskFailedCause, history::history_event::Attributes};
use rig::{PATIENCE, Rig, unique};

/// Six events each, and 256 on a page.
const STEPS: u32 = 120;

#[activity(start_to_close = "10s")]
async fn double(number: u32) -> Result<u32> {
    Ok(2 * number)
}

#[derive(Default)]
#[workflow(name = "Steps")]
struct Steps {
    done: Var<u32>,
    ended: Var<bool>,
}

#[workflow]
impl Steps {
    async fn run(&self, cx: Ctx) -> Result<u32> {
        let mut sum = 0;
        for step in 0..STEPS {
            sum += cx.run(double(step)).await?;
            self.done.set(step + 1);
        }
        self.ended.until(|ended| *ended).await;
        Ok(sum)
    }

    #[query]
    fn done(&self) -> u32 {
        self.done.get()
    }

    #[signal]
    fn end(&self) {
        self.ended.set(true);
    }
}

/// Other code of the same name: it parts with the history on the first page.
#[workflow(name = "Steps")]
async fn sleeps(cx: Ctx) -> Result<u32> {
    cx.sleep(secs(1)).await?;
    Ok(0)
}

#[workflow(name = "Steps", fail_on_nondeterminism)]
async fn sleeps_or_fails(cx: Ctx) -> Result<u32> {
    cx.sleep(secs(1)).await?;
    Ok(0)
}

fn worker(client: &Client, queue: &str, def: WorkflowDef, cache: usize) -> RunningWorker {
    Worker::builder(client, queue).register(def).register(double::def()).cache(cache).spawn().unwrap()
}

async fn done(handle: &WorkflowHandle<u32>, steps: u32) {
    let done = async { while handle.query(Steps::done()).await.unwrap() < steps {} };
    tokio::time::timeout(PATIENCE, done).await.expect("the steps are done in time");
}

async fn ended(handle: &WorkflowHandle<u32>) -> Result<u32> {
    Ok(tokio::time::timeout(PATIENCE, handle.result()).await.expect("it ends in time")?)
}

/// Each task and each query replays all there is, and queries do it beside tasks.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_keeps_nothing_replays_each_time() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("pages");
    let worker = worker(&client, &queue, Steps::def(), 0);
    let handle = client.start(Steps::start().id(&queue).queue(&queue)).await.unwrap();
    done(&handle, STEPS).await;
    handle.signal(Steps::end()).await.unwrap();
    assert_eq!(ended(&handle).await.unwrap(), STEPS * (STEPS - 1));
    worker.stop().await.unwrap();
}

/// A run with a long history whose worker is gone.
async fn left_behind(client: &Client, queue: &str) -> WorkflowHandle<u32> {
    let worker = worker(client, queue, Steps::def(), 10);
    let handle = client.start(Steps::start().id(queue).queue(queue)).await.unwrap();
    done(&handle, STEPS).await;
    worker.stop().await.unwrap();
    handle
}

/// The run is in nobody's memory, then in the memory of the one who answered.
#[tokio::test(flavor = "multi_thread")]
async fn another_worker_goes_on_with_it() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("pages");
    let handle = left_behind(&client, &queue).await;
    let worker = worker(&client, &queue, Steps::def(), 10);
    done(&handle, STEPS).await;
    handle.signal(Steps::end()).await.unwrap();
    assert_eq!(ended(&handle).await.unwrap(), STEPS * (STEPS - 1));
    done(&handle, STEPS).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_code_is_found_out_on_the_first_page() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("pages");
    let handle = left_behind(&client, &queue).await;
    let other = worker(&client, &queue, sleeps::def(), 10);
    handle.signal(Steps::end()).await.unwrap();
    let cause = async {
        loop {
            let events = handle.history().collect().await.unwrap();
            let failed = events.into_iter().find_map(|event| match event.attributes {
                Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => Some(failed.cause()),
                _ => None,
            });
            if let Some(cause) = failed {
                return cause;
            }
        }
    };
    let cause = tokio::time::timeout(PATIENCE, cause).await.expect("the task fails");
    assert_eq!(cause, WorkflowTaskFailedCause::NonDeterministicError);
    other.stop().await.unwrap();
    handle.terminate("seen").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_code_may_fail_the_workflow() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("pages");
    let handle = left_behind(&client, &queue).await;
    let other = worker(&client, &queue, sleeps_or_fails::def(), 10);
    handle.signal(Steps::end()).await.unwrap();
    let failed = ended(&handle).await.unwrap_err().to_string();
    assert!(failed.contains("nondeterminism: event 5 of the history"), "{failed}");
    other.stop().await.unwrap();
}
