//! The testing kit: a clock that skips when nothing is in hand, and never over what is.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use mainspring::{client::Code, prelude::*, testing::TestServer};
use tokio::sync::Notify;

/// More than any of these tests takes by itself, and less than any of their timers.
const A_WHILE: Duration = mins(5);

/// Asserts that the clock has moved by `time`, and by no more than what a test takes.
#[track_caller]
fn assert_passed(t: &TestServer, since: SystemTime, time: Duration) {
    let passed = t.now().duration_since(since).unwrap();
    assert!(time <= passed && passed < time + A_WHILE, "{passed:?} passed instead of {time:?}");
}

#[workflow]
async fn nap(cx: Ctx, length: Duration) -> Result<()> {
    cx.sleep(length).await
}

#[mainspring::test]
async fn a_month_passes_while_a_client_waits(t: TestServer) -> Result<()> {
    t.worker("naps").register(nap::def()).spawn();
    let start = t.now();
    t.client().start(nap(days(30)).id("nap").queue("naps")).await?.result().await?;
    assert_passed(&t, start, days(30));
    Ok(())
}

#[activity(start_to_close = "10s", retry(initial = "1h", backoff = 2.0, max_interval = "100h"))]
async fn call_the_bank(cx: Activity) -> Result<i32> {
    match cx.info().attempt {
        attempt @ 1..4 => Err(Error::application("Closed", format!("attempt {attempt}"))),
        attempt => Ok(attempt),
    }
}

#[workflow]
async fn banking(cx: Ctx) -> Result<i32> {
    cx.run(call_the_bank().not_eager()).await
}

#[mainspring::test]
async fn an_activity_is_tried_again_over_hours(t: TestServer) -> Result<()> {
    t.worker("bank").register(banking::def()).register(call_the_bank::def()).spawn();
    let start = t.now();
    assert_eq!(t.client().start(banking().id("bank").queue("bank")).await?.result().await?, 4);
    assert_passed(&t, start, hours(1 + 2 + 4));
    Ok(())
}

#[mainspring::test]
async fn a_workflow_times_out(t: TestServer) -> Result<()> {
    t.worker("naps").register(nap::def()).spawn();
    let start = t.now();
    let call = nap(days(30)).id("nap").queue("naps").run_timeout(days(2));
    let error = t.client().start(call).await?.result().await.unwrap_err();
    assert!(matches!(error, ClientError::WorkflowFailed { cause, .. } if matches!(*cause, Error::Timeout(_))));
    assert_passed(&t, start, days(2));
    Ok(())
}

#[mainspring::test]
async fn a_start_is_delayed(t: TestServer) -> Result<()> {
    t.worker("naps").register(nap::def()).spawn();
    let start = t.now();
    let call = nap(days(1)).id("nap").queue("naps").start_delay(days(6));
    t.client().start(call).await?.result().await?;
    assert_passed(&t, start, days(7));
    Ok(())
}

#[workflow]
async fn mother(cx: Ctx, lengths: Vec<Duration>) -> Result<()> {
    for length in lengths {
        cx.run_child(nap(length)).await?;
    }
    Ok(())
}

#[mainspring::test]
async fn children_take_their_time(t: TestServer) -> Result<()> {
    t.worker("naps").register(mother::def()).register(nap::def()).spawn();
    let start = t.now();
    let call = mother(vec![days(1), hours(5), days(100)]).id("mother").queue("naps");
    t.client().start(call).await?.result().await?;
    assert_passed(&t, start, days(101) + hours(5));
    Ok(())
}

/// Notes when each signal came.
#[derive(Default)]
#[workflow]
struct Diary {
    entries: Var<Vec<(String, Duration)>>,
    closed: Var<bool>,
}

#[workflow]
impl Diary {
    async fn run(&self, cx: Ctx) -> Result<Vec<(String, Duration)>> {
        self.closed.until(|closed| *closed).await;
        let _ = cx;
        Ok(self.entries.get())
    }

    #[signal]
    fn write(&self, cx: Ctx, entry: String) {
        let age = cx.now().duration_since(cx.info().started_at).unwrap_or_default();
        self.entries.update(|entries| entries.push((entry, age)));
    }

    #[signal]
    fn close(&self) {
        self.closed.set(true);
    }

    #[query]
    fn pages(&self) -> usize {
        self.entries.with(Vec::len)
    }
}

#[mainspring::test]
async fn signals_come_at_the_times_that_a_test_skips_to(t: TestServer) -> Result<()> {
    t.worker("diaries").register(Diary::def()).spawn();
    let diary = t.client().start(Diary::start().id("diary").queue("diaries")).await?;
    for day in 1..4_usize {
        t.skip(days(1)).await;
        diary.signal(Diary::write(format!("day {day}"))).await?;
        assert_eq!(diary.query(Diary::pages()).await?, day);
    }
    diary.signal(Diary::close()).await?;
    let days_of = |age: Duration| (age + hours(1)).as_secs() / 86_400;
    let entries: Vec<_> = diary.result().await?.into_iter().map(|(entry, age)| (entry, days_of(age))).collect();
    let expected = [("day 1", 1), ("day 2", 2), ("day 3", 3)].map(|(entry, days)| (entry.to_owned(), days));
    assert_eq!(entries, expected);
    Ok(())
}

#[activity(start_to_close = "1h", heartbeat = "5m")]
async fn work() -> Result<()> {
    Ok(())
}

#[workflow]
async fn worked(cx: Ctx) -> Result<()> {
    cx.run(work()).await?;
    cx.sleep(hours(10)).await
}

/// Two workflows: one has an activity that waits for the test, the other one a timer.
#[mainspring::test]
async fn time_is_not_skipped_over_an_activity_that_runs(t: TestServer) -> Result<()> {
    let (began, may_end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, ends) = (began.clone(), may_end.clone());
    let slow = work::with_async(move || {
        let (begins, ends) = (begins.clone(), ends.clone());
        async move {
            begins.notify_one();
            ends.notified().await;
            Ok(())
        }
    });
    t.worker("work").register(worked::def()).register(nap::def()).mock(slow).spawn();
    let start = t.now();
    let working = t.client().start(worked().id("worked").queue("work")).await?;
    began.notified().await;
    let napping = t.client().start(nap(hours(1)).id("nap").queue("work")).await?;
    {
        let result = std::pin::pin!(napping.result());
        // The wait of the client has been at the server, and another one after it.
        let other = t.client().workflow::<()>("worked");
        let looks = async {
            for _ in 0..20 {
                other.describe().await.unwrap();
            }
        };
        tokio::select! {
            _ = result => panic!("the nap ended while the activity was running"),
            () = looks => {}
        }
    }
    assert_passed(&t, start, Duration::ZERO);
    may_end.notify_one();
    napping.result().await?;
    assert_passed(&t, start, hours(1));
    working.result().await?;
    assert_passed(&t, start, hours(10));
    Ok(())
}

#[mainspring::test]
async fn timers_of_many_workflows_fire_in_the_order_of_their_times(t: TestServer) -> Result<()> {
    #[activity(start_to_close = "1m")]
    async fn note(hours: u64) -> Result<()>;

    #[workflow]
    async fn noted(cx: Ctx, after: u64) -> Result<()> {
        cx.sleep(hours(after)).await?;
        cx.run(note(after)).await
    }

    let notes = Arc::new(Mutex::new(Vec::new()));
    let taken = notes.clone();
    let note = note::with(move |hours| {
        taken.lock().unwrap().push(hours);
        Ok(())
    });
    t.worker("notes").register(noted::def()).mock(note).spawn();
    let mut running = Vec::new();
    for after in [7, 3, 9, 1, 5, 8, 2, 6, 4] {
        let call = noted(after).id(format!("after-{after}")).queue("notes");
        running.push(t.client().start(call).await?);
    }
    for handle in running {
        handle.result().await?;
    }
    assert_eq!(*notes.lock().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    Ok(())
}

#[mainspring::test]
async fn a_cron_runs_each_day(t: TestServer) -> Result<()> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let counting = work::with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });

    #[workflow]
    async fn daily(cx: Ctx) -> Result<()> {
        cx.run(work()).await
    }
    t.worker("daily").register(daily::def()).mock(counting).spawn();
    t.client().start(daily().id("daily").queue("daily").cron("0 3 * * *")).await?;
    t.skip(days(7)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 7);
    Ok(())
}

#[mainspring::test]
async fn two_servers_have_nothing_in_common(t: TestServer) -> Result<()> {
    let other = TestServer::start().await;
    for server in [&t, &other] {
        server.worker("naps").register(nap::def()).spawn();
    }
    let start = other.now();
    t.client().start(nap(days(30)).id("nap").queue("naps")).await?.result().await?;
    assert_passed(&other, start, Duration::ZERO);
    assert_ne!(t.address(), other.address());
    assert!(other.client().workflow::<()>("nap").describe().await.is_err());
    Ok(())
}

#[mainspring::test]
async fn a_test_moves_the_clock_by_what_it_says(t: TestServer) {
    let start = t.now();
    t.skip(days(1)).await;
    assert_passed(&t, start, days(1));
    t.jump(days(2));
    assert_passed(&t, start, days(3));
    t.skip_until(start + days(4)).await;
    assert_passed(&t, start, days(4));
    t.skip_until(start).await;
    assert_passed(&t, start, days(4));
}

#[mainspring::test]
async fn a_held_clock_skips_only_when_it_is_told(t: TestServer) -> Result<()> {
    t.worker("naps").register(nap::def()).spawn();
    let start = t.now();
    let held = t.hold_time();
    let handle = t.client().start(nap(days(30)).id("nap").queue("naps")).await?;
    let result = tokio::spawn(async move { handle.result().await });
    t.skip(days(3)).await;
    assert_passed(&t, start, days(3));
    assert!(!result.is_finished());
    drop(held);
    result.await.unwrap()?;
    assert_passed(&t, start, days(30));
    Ok(())
}

/// The first attempt is lost with its worker; its time is skipped, not waited for.
#[mainspring::test]
async fn what_a_killed_worker_had_in_hand_times_out(t: TestServer) -> Result<()> {
    let began = Arc::new(Notify::new());
    let begins = began.clone();
    let stuck = work::with_async(move || {
        begins.notify_one();
        std::future::pending()
    });
    let first = t.worker("work").register(worked::def()).mock(stuck).spawn();
    let start = t.now();
    let handle = t.client().start(worked().id("worked").queue("work")).await?;
    began.notified().await;
    first.kill().await;
    t.worker("work").register(worked::def()).register(work::def()).spawn();
    handle.result().await?;
    let passed = t.now().duration_since(start).unwrap();
    assert!(passed >= hours(10) + mins(5), "the heartbeat's time had to pass: {passed:?}");
    Ok(())
}

/// Queries of a run go to the worker that has it in memory, unless that is known to be dead.
#[mainspring::test]
async fn another_worker_takes_the_runs_of_a_killed_one(t: TestServer) -> Result<()> {
    let first = t.worker("diaries").register(Diary::def()).spawn();
    let diary = t.client().start(Diary::start().id("diary").queue("diaries")).await?;
    diary.signal(Diary::write("before".to_owned())).await?;
    assert_eq!(diary.query(Diary::pages()).await?, 1);
    first.kill().await;
    t.worker("diaries").register(Diary::def()).spawn();
    let start = t.now();
    assert_eq!(diary.query(Diary::pages()).await?, 1);
    diary.signal(Diary::close()).await?;
    assert_eq!(diary.result().await?.len(), 1);
    assert_passed(&t, start, Duration::ZERO);
    Ok(())
}

#[mainspring::test]
async fn a_run_goes_on_after_it_was_put_out_of_memory(t: TestServer) -> Result<()> {
    t.worker("diaries").register(Diary::def()).spawn();
    let diary = t.client().start(Diary::start().id("diary").queue("diaries")).await?;
    diary.signal(Diary::write("before".to_owned())).await?;
    assert_eq!(diary.query(Diary::pages()).await?, 1);
    t.evict_all();
    diary.signal(Diary::write("after".to_owned())).await?;
    assert_eq!(diary.query(Diary::pages()).await?, 2);
    Ok(())
}

#[mainspring::test]
async fn a_call_fails_as_often_as_the_test_says(t: TestServer) -> Result<()> {
    t.worker("diaries").register(Diary::def()).spawn();
    let diary = t.client().start(Diary::start().id("diary").queue("diaries")).await?;
    t.fail_next("SignalWorkflowExecution", Code::PermissionDenied);
    let error = diary.signal(Diary::write("refused".to_owned())).await.unwrap_err();
    assert!(error.to_string().contains("the test wants it so"), "{error}");
    // This one is tried again by the client.
    t.fail_next("SignalWorkflowExecution", Code::Unavailable);
    t.delay("SignalWorkflowExecution", millis(1));
    diary.signal(Diary::write("taken".to_owned())).await?;
    assert_eq!(diary.query(Diary::pages()).await?, 1);
    Ok(())
}

/// All kinds of stand-ins; two of them for what is registered as well, before and after.
#[mainspring::test]
async fn stand_ins_take_the_place_of_what_they_are_named_after(t: TestServer) -> Result<()> {
    struct Shop;

    #[activities]
    impl Shop {
        #[activity(start_to_close = "1m")]
        async fn price(&self, _item: String) -> Result<u64> {
            Ok(0)
        }

        #[activity(start_to_close = "1m", retry(max_attempts = 1))]
        fn pack(&self, _item: String) -> Result<()> {
            Ok(())
        }
    }

    #[workflow]
    async fn shopping(cx: Ctx, item: String) -> Result<u64> {
        cx.run_child(nap(days(1_000))).await?;
        let price = cx.run(Shop::price(item.clone())).await?;
        cx.run(Shop::pack(item)).await?;
        Ok(price)
    }

    let start = t.now();
    t.worker("shop")
        .register(shopping::def())
        .mock(Shop::price_with(|item| Ok(item.len() as u64)))
        .activities(Shop)
        .register(nap::def())
        .mock(Shop::pack_with_async(|item| async move { Err(Error::application("TooLarge", item)) }))
        .mock(nap::with(|_length| Ok(())))
        .spawn();
    let call = shopping("pear".to_owned()).id("shopping").queue("shop");
    let error = t.client().start(call).await?.result().await.unwrap_err();
    assert!(error.to_string().contains("pear"), "{error}");
    assert_passed(&t, start, Duration::ZERO);
    Ok(())
}

#[mainspring::test]
#[should_panic(expected = "registered twice")]
async fn a_worker_that_cannot_be_is_a_failed_test(t: TestServer) {
    t.worker("naps").register(nap::def()).register(nap::def()).spawn();
}

/// The code is not the same when it is done a second time, which a worker of a test finds.
#[mainspring::test]
async fn workers_verify_replays(t: TestServer) -> Result<()> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);

    #[workflow]
    async fn fickle(cx: Ctx) -> Result<()> {
        if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            cx.sleep(hours(1)).await
        } else {
            cx.run(work()).await
        }
    }

    t.worker("fickle").register(fickle::def()).register(work::def()).spawn();
    let handle = t.client().start(fickle().id("fickle").queue("fickle")).await?;
    let failed =
        async { while handle.describe().await.unwrap().raw.pending_workflow_task.unwrap_or_default().attempt < 2 {} };
    tokio::time::timeout(A_WHILE, failed).await.expect("the task fails");
    Ok(())
}

/// The whole test of a timer of 30 days, the start of the server and its end included.
#[test]
#[ignore = "it measures and asserts nothing: cargo test --release -p mainspring --test testing -- --ignored --nocapture"]
fn how_long_the_test_of_a_month_takes() {
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            let began = std::time::Instant::now();
            mainspring::testing::run(|t| async move {
                t.worker("naps").register(nap::def()).spawn();
                let handle = t.client().start(nap(days(30)).id("nap").queue("naps")).await.unwrap();
                handle.result().await.unwrap();
            });
            began.elapsed()
        })
        .collect();
    took.sort();
    println!("median {:?}, fastest {:?}, slowest {:?} of {}", took[10], took[0], took[19], took.len());
}
