//! Workflows on a worker, from the start to the result. Every test passes on our server and, with `TEST_SERVER`, on
//! Temporal's.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use std::sync::atomic::{AtomicU32, Ordering};

use mainspring::{
    RawArgs, Replayer, VerifyReplay,
    client::WorkflowHandle,
    payload::{FromPayload, ToPayload},
    prelude::*,
    worker::RunningWorker,
};
use rig::{PATIENCE, Rig, unique};

#[activity(start_to_close = "10s")]
async fn compose(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[activity(start_to_close = "10s", retry(initial = "10ms", max_attempts = 3))]
async fn flaky(cx: Activity, succeed_at: i32) -> Result<i32> {
    match cx.info().attempt {
        attempt if attempt >= succeed_at => Ok(attempt),
        attempt => Err(Error::application("Flaky", format!("attempt {attempt}"))),
    }
}

#[activity(start_to_close = "30s", heartbeat = "1s")]
async fn wait_for_cancel(cx: Activity) -> Result<String> {
    loop {
        cx.heartbeat(&());
        if cx.is_cancelled() {
            return Err(Error::cancelled());
        }
        tokio::time::sleep(millis(20)).await;
    }
}

#[workflow]
async fn greet(cx: Ctx, name: String) -> Result<String> {
    cx.run(compose(name)).await
}

/// A worker with everything of this file.
fn worker(client: &Client, queue: &str) -> mainspring::WorkerBuilder {
    Worker::builder(client, queue)
        .register(greet::def())
        .register(retries::def())
        .register(Order::def())
        .register(parent::def())
        .register(child::def())
        .register(signaller::def())
        .register(counter::def())
        .register(cancelled::def())
        .register(race_of_two::def())
        .register(remembers::def())
        .register(many::def())
        .register(local::def())
        .register(compose::def())
        .register(flaky::def())
        .register(wait_for_cancel::def())
        .verify_replay(VerifyReplay::Always)
}

struct Bench {
    client: Client,
    queue: String,
    worker: Option<RunningWorker>,
    _rig: Rig,
}

impl Bench {
    async fn new(name: &str) -> Bench {
        Bench::with(name, |worker| worker).await
    }

    async fn with(name: &str, change: impl FnOnce(mainspring::WorkerBuilder) -> mainspring::WorkerBuilder) -> Bench {
        let rig = Rig::start().await;
        let client = rig.client().await;
        let queue = unique(name);
        let worker = change(worker(&client, &queue)).spawn().unwrap();
        Bench { client, queue, worker: Some(worker), _rig: rig }
    }

    async fn start<O: FromPayload>(&self, call: WorkflowCall<O>) -> WorkflowHandle<O> {
        self.client.start(call.id(unique("w")).queue(&self.queue)).await.unwrap()
    }

    async fn run<O: FromPayload>(&self, call: WorkflowCall<O>) -> Result<O> {
        result(&self.start(call).await).await
    }

    /// The same histories must replay in a fresh instance, and the worker must stop.
    async fn end(mut self, workflow_ids: &[&str]) {
        let replayer = Replayer::new()
            .register(greet::def())
            .register(Order::def())
            .register(parent::def())
            .register(remembers::def())
            .register(race_of_two::def())
            .register(cancelled::def())
            .register(counter::def())
            .register(signaller::def())
            .register(local::def())
            .register(many::def());
        for workflow_id in workflow_ids {
            replayer.replay_workflow(&self.client, workflow_id).await.unwrap();
        }
        self.worker.take().unwrap().stop().await.unwrap();
    }
}

async fn result<O: FromPayload>(handle: &WorkflowHandle<O>) -> Result<O> {
    Ok(tokio::time::timeout(PATIENCE, handle.result()).await.expect("it ends")?)
}

/// The smallest whole program.
#[tokio::test]
async fn hello() {
    let bench = Bench::new("hello").await;
    let handle = bench.start(greet("Temporal".to_owned())).await;
    assert_eq!(result(&handle).await.unwrap(), "Hello, Temporal!");
    bench.end(&[handle.id()]).await;
}

#[workflow]
async fn retries(cx: Ctx) -> Result<(i32, String)> {
    let worked = cx.run(flaky(2)).await?;
    let failed = cx.run(flaky(9)).await.unwrap_err();
    Ok((worked, failed.root_cause().to_string()))
}

#[tokio::test]
async fn activities_are_retried_and_fail_with_their_cause() {
    let bench = Bench::new("retries").await;
    assert_eq!(bench.run(retries()).await.unwrap(), (2, "Flaky: attempt 3".to_owned()));
    bench.end(&[]).await;
}

#[derive(Default)]
#[workflow(name = "Order")]
struct Order {
    items: Var<Vec<String>>,
    approved: Var<Option<String>>,
}

#[workflow]
impl Order {
    async fn run(&self, cx: Ctx, limit_ms: u64) -> Result<String> {
        match cx.timeout(millis(limit_ms), self.approved.some()).await {
            Ok(by) => {
                cx.handlers_finished().await;
                Ok(format!("{} approved by {by}", self.items.get().join("+")))
            }
            Err(Error::Timeout(_)) => Ok("too late".to_owned()),
            Err(other) => Err(other),
        }
    }

    /// Adds an item.
    #[signal]
    fn add(&self, item: String) {
        self.items.update(|items| items.push(item));
    }

    #[signal]
    async fn add_composed(&self, cx: Ctx, name: String) -> Result<()> {
        let item = cx.run(compose(name)).await?;
        self.handlers().add(item);
        Ok(())
    }

    #[signal(name = "approve-it")]
    fn approve(&self, by: String) {
        self.approved.set(Some(by));
    }

    #[query]
    fn items(&self) -> Vec<String> {
        self.items.get()
    }

    #[query]
    fn item(&self, index: usize) -> Result<String> {
        self.items.get().get(index).cloned().ok_or_else(|| Error::application("NoItem", format!("no item {index}")))
    }

    #[update(validate = short)]
    async fn rename(&self, cx: Ctx, index: usize, name: String) -> Result<String> {
        let name = cx.run(compose(name)).await?;
        let before = self.items.update(|items| std::mem::replace(&mut items[index], name));
        Ok(before)
    }

    fn short(&self, index: &usize, name: &str) -> Result<()> {
        if name.len() > 5 || *index >= self.items.get().len() {
            return Err(Error::application("Refused", "too long, or no such item"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn signals_and_queries_reach_a_workflow_with_state() {
    let bench = Bench::new("order").await;
    let handle = bench.start(Order::start(60_000)).await;
    handle.signal(Order::add("pears".to_owned())).await.unwrap();
    handle.signal(Order::add_composed("apples".to_owned())).await.unwrap();
    let items = tokio::time::timeout(PATIENCE, async {
        loop {
            let items = handle.query(Order::items()).await.unwrap();
            if items.len() == 2 {
                return items;
            }
        }
    });
    assert_eq!(items.await.unwrap(), ["pears", "Hello, apples!"]);
    assert_eq!(handle.query(Order::item(0)).await.unwrap(), "pears");
    let missing = handle.query(Order::item(7)).await.unwrap_err();
    assert!(format!("{missing:?}").contains("no item 7"), "{missing:?}");
    let unknown = handle.query(Query::named("colour").returns::<String>()).await.unwrap_err();
    assert!(format!("{unknown:?}").contains("it answers: item, items"), "{unknown:?}");
    handle.signal(Order::approve("ann".to_owned())).await.unwrap();
    assert_eq!(result(&handle).await.unwrap(), "pears+Hello, apples! approved by ann");
    assert_eq!(handle.query(Order::items()).await.unwrap().len(), 2, "a closed workflow still answers");
    bench.end(&[handle.id()]).await;
}

#[tokio::test]
async fn a_timer_ends_the_wait() {
    let bench = Bench::new("late").await;
    assert_eq!(bench.run(Order::start(50)).await.unwrap(), "too late");
    bench.end(&[]).await;
}

#[workflow]
async fn child(cx: Ctx, name: String, wait: bool) -> Result<String> {
    if wait {
        let mut names = cx.signals::<String>("name");
        return race! {
            other = names.next() => Ok(format!("{name} and {other}")),
            _ = cx.cancelled() => Err(Error::cancelled()),
        };
    }
    if name.is_empty() {
        return Err(Error::application("Nameless", "a child needs a name"));
    }
    cx.run(compose(name)).await
}

#[workflow]
async fn parent(cx: Ctx) -> Result<Vec<String>> {
    let one = cx.run_child(child("one".to_owned(), false).id(format!("{}-1", cx.info().workflow_id)));
    let two = cx.start_child(child("two".to_owned(), true)).await?;
    two.signal(Signal::named("name").arg("a signal")).await?;
    let failed = cx.run_child(child(String::new(), false)).await.unwrap_err();
    let stopped = cx.start_child(child("three".to_owned(), true).cancel(CancelKind::WaitCompleted)).await?;
    stopped.cancel("enough");
    let stopped = stopped.result().await.unwrap_err();
    let (one, two) = join!(one, two.result());
    Ok(vec![one?, two?, failed.root_cause().to_string(), stopped.is_cancelled().to_string()])
}

#[tokio::test]
async fn children_run_are_signalled_cancelled_and_fail() {
    let bench = Bench::new("parent").await;
    let handle = bench.start(parent()).await;
    let expected = ["Hello, one!", "two and a signal", "Nameless: a child needs a name", "true"];
    assert_eq!(result(&handle).await.unwrap(), expected);
    bench.end(&[handle.id()]).await;
}

#[workflow]
async fn signaller(cx: Ctx, other: String) -> Result<String> {
    let other_workflow = cx.workflow(other);
    other_workflow.signal(Order::add("plums".to_owned())).await?;
    other_workflow.cancel("no longer wanted").await?;
    let missing = cx.workflow("nobody-is-here").signal(Signal::named("x")).await.unwrap_err();
    Ok(missing.to_string())
}

#[tokio::test]
async fn other_workflows_are_signalled_and_cancelled() {
    let bench = Bench::new("external").await;
    let order = bench.start(Order::start(60_000)).await;
    let handle = bench.start(signaller(order.id().to_owned())).await;
    let said = result(&handle).await.unwrap();
    assert!(said.contains("nobody-is-here") && said.contains("NOT_FOUND"), "{said}");
    let ended = result(&order).await.unwrap_err();
    assert!(ended.root_cause().is_cancelled(), "{ended:?}");
    bench.end(&[handle.id(), order.id()]).await;
}

#[workflow]
async fn counter(cx: Ctx, count: u32) -> Result<String> {
    cx.sleep(millis(1)).await?;
    match count {
        0 => Ok(format!("after {:?}", cx.info().continued_run_id.is_some())),
        count => Err(cx.continue_as_new(counter(count - 1))),
    }
}

#[tokio::test]
async fn a_workflow_goes_on_as_new_runs() {
    let bench = Bench::new("counter").await;
    let handle = bench.start(counter(3)).await;
    assert_eq!(result(&handle).await.unwrap(), "after true");
    bench.end(&[handle.id()]).await;
}

#[workflow]
async fn cancelled(cx: Ctx) -> Result<()> {
    let scope = cx.scope();
    let inner = scope.cx().run(wait_for_cancel().cancel(CancelKind::WaitCompleted));
    scope.cancel("the scope is over");
    inner.await.unwrap_err();
    let worked = cx.run(wait_for_cancel().cancel(CancelKind::WaitCompleted)).await;
    let cleaned = cx.shielded().run(compose("cleaner".to_owned())).await?;
    assert_eq!(cleaned, "Hello, cleaner!");
    worked.map(drop)
}

#[tokio::test]
async fn cancellation_reaches_what_is_running_and_ends_the_workflow() {
    let bench = Bench::new("cancelled").await;
    let handle = bench.start(cancelled()).await;
    handle.cancel().await.unwrap();
    let ended = result(&handle).await.unwrap_err();
    assert!(ended.root_cause().is_cancelled(), "{ended:?}");
    bench.end(&[handle.id()]).await;
}

#[workflow]
async fn race_of_two(cx: Ctx) -> Result<String> {
    race! {
        slow = cx.run(wait_for_cancel()) => slow,
        _ = cx.sleep(millis(30)) => {
            let mut all: Unordered<_> = (0..3).map(|number| cx.run(compose(number.to_string()))).collect();
            let mut count = 0;
            while let Some(greeting) = all.next().await {
                greeting?;
                count += 1;
            }
            Ok(format!("{count} greetings"))
        },
    }
}

#[tokio::test]
async fn the_first_of_a_race_wins_and_the_other_is_cancelled() {
    let bench = Bench::new("race").await;
    let handle = bench.start(race_of_two()).await;
    assert_eq!(result(&handle).await.unwrap(), "3 greetings");
    bench.end(&[handle.id()]).await;
}

static MADE: AtomicU32 = AtomicU32::new(0);

#[workflow]
async fn remembers(cx: Ctx) -> Result<(u32, i32, bool, u64)> {
    let made: u32 = cx.side_effect(|| MADE.fetch_add(1, Ordering::Relaxed))?;
    let version = cx.version("change", 1..=2);
    let patched = cx.patched("patch");
    let drawn = cx.rng().range(0..1000);
    cx.set_memo("state", "begun")?;
    cx.sleep(millis(10)).await?;
    assert_eq!(cx.memo::<String>("state")?.as_deref(), Some("begun"));
    let again = cx.side_effect(|| 7_u32)?;
    assert_eq!((again, cx.patched("patch")), (7, patched));
    Ok((made, version, patched, drawn))
}

#[tokio::test]
async fn values_made_once_stay_what_they_were() {
    let bench = Bench::with("remembers", |worker| worker.cache(0)).await;
    let handle = bench.start(remembers()).await;
    let (made, version, patched, drawn) = result(&handle).await.unwrap();
    assert_eq!((made, version, patched), (0, 2, true));
    assert!(drawn < 1000);
    assert_eq!(MADE.load(Ordering::Relaxed), 1, "replays make nothing");
    bench.end(&[handle.id()]).await;
}

#[workflow]
async fn many(cx: Ctx, count: u32) -> Result<usize> {
    let all = join_all((0..count).map(|number| cx.run(compose(number.to_string())))).await;
    let all = all.into_iter().collect::<Result<Vec<_>>>()?;
    cx.sleep(millis(1)).await?;
    Ok(all.len())
}

/// More runs than the cache has room for: they are put out of memory and come back from their histories.
#[tokio::test]
async fn runs_leave_memory_and_come_back() {
    let bench = Bench::with("many", |worker| worker.cache(2).lanes(2)).await;
    let handles: Vec<_> = futures(10, || bench.start(many(5))).await;
    for handle in &handles {
        assert_eq!(result(handle).await.unwrap(), 5);
    }
    let ids: Vec<&str> = handles.iter().map(WorkflowHandle::id).collect();
    bench.end(&ids).await;
}

async fn futures<T, F: Future<Output = T>>(count: usize, make: impl Fn() -> F) -> Vec<T> {
    let mut made = Vec::new();
    for _ in 0..count {
        made.push(make().await);
    }
    made
}

/// Another worker goes on where the first one stopped.
#[tokio::test]
async fn a_worker_is_replaced_in_the_middle_of_a_workflow() {
    let mut bench = Bench::new("restart").await;
    let handle = bench.start(Order::start(60_000)).await;
    handle.signal(Order::add("pears".to_owned())).await.unwrap();
    assert_eq!(handle.query(Order::items()).await.unwrap(), ["pears"]);
    bench.worker.take().unwrap().stop().await.unwrap();
    handle.signal(Order::approve("bob".to_owned())).await.unwrap();
    bench.worker = Some(worker(&bench.client, &bench.queue).spawn().unwrap());
    assert_eq!(result(&handle).await.unwrap(), "pears approved by bob");
    bench.end(&[handle.id()]).await;
}

#[workflow]
async fn local(cx: Ctx) -> Result<(String, i32, String)> {
    let greeting = cx.run_local(compose("local".to_owned())).await?;
    let worked = cx.run_local(flaky(2)).await?;
    // A pause longer than the threshold is a timer of the workflow.
    let policy = RetryPolicy::new().initial(millis(50)).max_attempts(2);
    let failed = cx.run_local(flaky(9).retry(policy).local_retry_threshold(millis(10))).await.unwrap_err();
    Ok((greeting, worked, failed.root_cause().to_string()))
}

#[tokio::test]
async fn local_activities_run_in_the_worker() {
    let bench = Bench::new("local").await;
    let handle = bench.start(local()).await;
    assert_eq!(result(&handle).await.unwrap(), ("Hello, local!".to_owned(), 2, "Flaky: attempt 2".to_owned()));
    bench.end(&[handle.id()]).await;
}

/// Types that are not known when the worker is built.
#[tokio::test]
async fn unknown_types_go_to_the_fallback() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("fallback");
    let fallback = |cx: Ctx, args: RawArgs| {
        Ok(async move {
            let said = format!("{} with {}", cx.info().workflow_type, args.get::<u32>(0)?);
            Ok(said.to_payload()?)
        })
    };
    let worker = Worker::builder(&client, &queue).workflow_fallback(fallback).spawn().unwrap();
    let call = Call::named("Anything").arg(4).returns::<String>().id(&queue).queue(&queue);
    let handle = client.start(call).await.unwrap();
    assert_eq!(result(&handle).await.unwrap(), "Anything with 4");
    worker.stop().await.unwrap();
}

#[activity(start_to_close = "20s")]
async fn slow() -> Result<String> {
    tokio::time::sleep(secs(3)).await;
    Ok("slow".to_owned())
}

#[workflow]
async fn patient(cx: Ctx) -> Result<String> {
    let slow = cx.run_local(slow());
    let first = cx.run(compose("first".to_owned())).await?;
    Ok(format!("{first} {}", slow.await?))
}

/// A local activity that takes longer than a workflow task may: the task is completed and begun anew meanwhile.
#[tokio::test]
async fn a_long_local_activity_outlives_its_workflow_task() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("patient");
    let definitions = (patient::def(), slow::def(), compose::def());
    let worker = Worker::builder(&client, &queue).register(definitions.0).register(definitions.1);
    let worker = worker.register(definitions.2).spawn().unwrap();
    let handle = client.start(patient().id(&queue).queue(&queue).task_timeout(secs(1))).await.unwrap();
    assert_eq!(result(&handle).await.unwrap(), "Hello, first! slow");
    Replayer::new().register(patient::def()).replay_workflow(&client, &queue).await.unwrap();
    worker.stop().await.unwrap();
}

/// Payloads are encrypted wherever they rest: in events, in markers, in the results of queries.
#[tokio::test]
async fn everything_is_encrypted() {
    use mainspring::codec::{Aes256Gcm, KeyRing};
    let rig = Rig::start().await;
    let plain = rig.client().await;
    let converter =
        DataConverter::json().codec(Aes256Gcm::new(KeyRing::new("k", &[7; 32]).unwrap())).encrypt_failures();
    let client = Client::connect(Connect::to(&rig.address).converter(converter)).await.unwrap();
    let queue = unique("secret");
    let worker = worker(&client, &queue).spawn().unwrap();
    let ids: Vec<String> = ["local", "order"].iter().map(|name| unique(name)).collect();
    let call = local().id(&ids[0]).queue(&queue);
    assert_eq!(result(&client.start(call).await.unwrap()).await.unwrap().0, "Hello, local!");
    let order = client.start(Order::start(60_000).id(&ids[1]).queue(&queue)).await.unwrap();
    order.signal(Order::add_composed("pears".to_owned())).await.unwrap();
    order.signal(Order::approve("ann".to_owned())).await.unwrap();
    assert_eq!(result(&order).await.unwrap(), "Hello, pears! approved by ann");
    assert_eq!(order.query(Order::items()).await.unwrap(), ["Hello, pears!"]);
    for id in &ids {
        let request = mainspring_api::v1::workflowservice::GetWorkflowExecutionHistoryRequest {
            namespace: "default".to_owned(),
            execution: Some(mainspring_api::v1::common::WorkflowExecution {
                workflow_id: id.clone(),
                run_id: String::new(),
            }),
            ..Default::default()
        };
        let page = plain.rpc().call(&request).await.unwrap();
        for chunk in page.history.unwrap().chunks() {
            for secret in ["Hello", "pears", "attempt 2"] {
                let found = chunk.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret:?} is in clear in the history of {id}");
            }
        }
    }
    worker.stop().await.unwrap();
}
