//! Activities on a worker, as a workflow sees them.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[expect(dead_code, reason = "the tests of clients use more of it")]
mod rig;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use mainspring::{CancelReason, RawArgs, TaskToken, codec::Aes256Gcm, codec::KeyRing, payload::ToPayload, prelude::*};
use mainspring_api::v1::enums::TimeoutType;
use rig::{Flow, PATIENCE, Rig, unique};
use tokio::sync::mpsc;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Card {
    number: String,
}

#[activity(start_to_close = "10s")]
async fn charge(cx: Activity, cents: u64, card: Card) -> Result<String> {
    assert_eq!(cx.info().attempt, 1);
    assert!(!cx.info().is_local && cx.client().is_some());
    Ok(format!("{}:{cents}", card.number))
}

#[activity(name = "Double", start_to_close = "10s")]
fn double(number: u64) -> Result<u64> {
    // Only threads that may block allow this.
    Ok(tokio::runtime::Handle::current().block_on(async { number * 2 }))
}

/// What activities share.
struct Counter {
    calls: AtomicU32,
}

#[activities]
impl Counter {
    #[activity(start_to_close = "10s")]
    async fn count(&self) -> Result<u32> {
        Ok(self.calls.fetch_add(1, Ordering::SeqCst) + 1)
    }

    #[activity(name = "count_bytes", start_to_close = "10s")]
    fn measure(&self, bytes: Vec<u8>) -> Result<(usize, Option<String>)> {
        Ok((bytes.len(), None))
    }
}

fn card() -> Card {
    Card { number: "4242".to_owned() }
}

/// Functions, blocking ones and methods on one worker.
#[tokio::test]
async fn activities_of_every_kind_run() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("kinds");
    let worker = Worker::builder(&client, &queue)
        .register(charge::def())
        .register(double::def())
        .activities(Counter { calls: AtomicU32::new(0) })
        .spawn()
        .unwrap();
    let mut flow = Flow::start(&client).await;
    assert_eq!(flow.run(charge(5, card()).queue(&queue)).await.unwrap(), "4242:5");
    assert_eq!(flow.run(double(21).queue(&queue)).await.unwrap(), 42);
    assert_eq!(flow.run(Counter::count().queue(&queue)).await.unwrap(), 1);
    assert_eq!(flow.run(Counter::count().queue(&queue)).await.unwrap(), 2);
    assert_eq!(flow.run(Counter::measure(vec![1, 2, 3]).queue(&queue)).await.unwrap(), (3, None));
    flow.complete("done").await;
    worker.stop().await.unwrap();
}

/// An activity of a type that is known at run time only, with arguments as they come.
#[tokio::test]
async fn a_fallback_runs_what_is_not_registered() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("fallback");
    let worker = Worker::builder(&client, &queue)
        .activity_fallback(|cx, args: RawArgs| async move {
            Ok(format!("{}/{}", cx.info().activity_type, args.len()).to_payload()?)
        })
        .spawn()
        .unwrap();
    let mut flow = Flow::start(&client).await;
    let call = Call::named("Anything").arg(1).arg("two").returns::<String>().start_to_close(secs(10));
    assert_eq!(flow.run(call.queue(&queue)).await.unwrap(), "Anything/2");
    worker.stop().await.unwrap();
}

#[derive(Debug)]
struct CardDeclined;

impl std::fmt::Display for CardDeclined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the card was declined")
    }
}

impl std::error::Error for CardDeclined {}

#[activity(start_to_close = "10s", retry(max_attempts = 3, initial = "10ms", non_retryable = ["CardDeclined"]))]
async fn fail(cx: Activity, how: String) -> Result<i32> {
    match how.as_str() {
        "declined" => Err(CardDeclined)?,
        "final" => Err(Error::application("Broken", "no").non_retryable().details(cx.info().attempt)),
        "panic" => panic!("oh"),
        "twice" if cx.info().attempt < 3 => Err(Error::msg("again").benign()),
        "later" if cx.info().attempt == 1 => Err(Error::msg("wait").retry_after(millis(700))),
        _ => Ok(cx.info().attempt),
    }
}

/// Errors are typed by the error's type, retried as the policy and the error say.
#[tokio::test]
async fn failures_reach_the_workflow_as_they_were_meant() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("failures");
    let worker = Worker::builder(&client, &queue).register(fail::def()).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    let call = |how: &str| fail(how.to_owned()).queue(&queue);

    let error = flow.run(call("declined")).await.unwrap_err();
    let failure = error.as_application().unwrap();
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("CardDeclined", "the card was declined"));

    let error = flow.run(call("final")).await.unwrap_err();
    let failure = error.as_application().unwrap();
    assert!(failure.non_retryable && failure.detail(0) == Ok(1), "{failure:?}");

    let error = flow.run(call("panic")).await.unwrap_err();
    let failure = error.as_application().unwrap();
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("Panic", "the activity panicked: oh"));

    assert_eq!(flow.run(call("twice")).await.unwrap(), 3);

    let before = Instant::now();
    assert_eq!(flow.run(call("later")).await.unwrap(), 2);
    assert!(before.elapsed() >= millis(700), "{:?}", before.elapsed());

    let unknown = Call::named("nobody").start_to_close(secs(10)).retry(RetryPolicy::never());
    let error = flow.run(unknown.queue(&queue)).await.unwrap_err();
    assert!(error.to_string().contains("\"nobody\" is not registered on this worker, which has: fail"), "{error}");

    let wrong = Call::named("fail").arg(5).returns::<i32>().start_to_close(secs(10)).retry(RetryPolicy::never());
    let error = flow.run(wrong.queue(&queue)).await.unwrap_err();
    let failure = error.as_application().unwrap();
    assert_eq!(failure.kind, "PayloadError");
    assert!(failure.message.contains("argument 1"), "{}", failure.message);
    worker.stop().await.unwrap();
}

#[activity(start_to_close = "10s", heartbeat = "5s", retry(initial = "10ms"))]
async fn resume(cx: Activity) -> Result<u32> {
    match cx.last_heartbeat::<u32>()? {
        Some(step) => Ok(step),
        None => {
            cx.heartbeat(&1);
            cx.heartbeat(&7);
            Err(Error::msg("stopped at step seven"))
        }
    }
}

/// The newest details reach the next attempt, although the first ones were just sent.
#[tokio::test]
async fn the_next_attempt_goes_on_from_the_last_heartbeat() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("heartbeats");
    let worker = Worker::builder(&client, &queue).register(resume::def()).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    assert_eq!(flow.run(resume().queue(&queue)).await.unwrap(), 7);
    worker.stop().await.unwrap();
}

/// Tells the test what it hears.
struct Patient {
    started: mpsc::UnboundedSender<TaskToken>,
    heard: mpsc::UnboundedSender<CancelReason>,
}

#[activities]
impl Patient {
    #[activity(start_to_close = "60s", heartbeat = "1s")]
    async fn wait(&self, cx: Activity) -> Result<()> {
        self.started.send(cx.token().clone()).unwrap();
        let mut beat = tokio::time::interval(millis(100));
        loop {
            tokio::select! {
                _ = beat.tick() => cx.heartbeat(&()),
                reason = cx.cancelled() => {
                    self.heard.send(reason).unwrap();
                    return Err(Error::cancelled());
                }
            }
        }
    }

    #[activity(name = "silent", start_to_close = "60s")]
    async fn never_heeds(&self, cx: Activity) -> Result<()> {
        self.started.send(cx.token().clone()).unwrap();
        std::future::pending().await
    }

    #[activity(start_to_close = "60s")]
    async fn later(&self, cx: Activity) -> Result<String> {
        self.started.send(cx.token().clone()).unwrap();
        Err(cx.complete_later())
    }
}

type Heard<T> = mpsc::UnboundedReceiver<T>;

fn patient() -> (Arc<Patient>, Heard<TaskToken>, Heard<CancelReason>) {
    let (started, has_started) = mpsc::unbounded_channel();
    let (heard, hears) = mpsc::unbounded_channel();
    (Arc::new(Patient { started, heard }), has_started, hears)
}

async fn next<T>(channel: &mut Heard<T>) -> T {
    tokio::time::timeout(PATIENCE, channel.recv()).await.expect("it comes in time").expect("it comes")
}

/// Cancellation arrives by the reply to a heartbeat, and the workflow sees it as one.
#[tokio::test]
async fn an_activity_is_cancelled() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("cancel");
    let (patient, mut started, mut heard) = patient();
    let worker = Worker::builder(&client, &queue).activities(patient).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    let scheduled = flow.schedule(Patient::wait().queue(&queue)).await;
    next(&mut started).await;
    flow.cancel(&scheduled).await;
    assert_eq!(next(&mut heard).await, CancelReason::Requested);
    assert!(flow.outcome(&scheduled).await.unwrap_err().is_cancelled());
    worker.stop().await.unwrap();
}

/// An activity whose workflow is gone hears so.
#[tokio::test]
async fn an_activity_hears_that_nobody_waits() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("gone");
    let (patient, mut started, mut heard) = patient();
    let worker = Worker::builder(&client, &queue).activities(patient).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    let _scheduled = flow.schedule(Patient::wait().queue(&queue)).await;
    next(&mut started).await;
    flow.handle.terminate("test").await.unwrap();
    assert_eq!(next(&mut heard).await, CancelReason::Gone);
    worker.stop().await.unwrap();
}

/// The result may come from anywhere, by the token or by the ids.
#[tokio::test]
async fn an_activity_is_completed_from_outside() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("later");
    let (patient, mut started, _) = patient();
    let worker = Worker::builder(&client, &queue).activities(patient).spawn().unwrap();
    let mut flow = Flow::start(&client).await;

    let by_token = flow.schedule(Patient::later().queue(&queue)).await;
    let activity = client.activity(next(&mut started).await);
    assert_eq!(activity.heartbeat("half").await.unwrap(), None);
    activity.complete("by token").await.unwrap();
    assert_eq!(flow.outcome(&by_token).await.unwrap(), "by token");
    assert!(matches!(activity.complete("again").await, Err(ClientError::NotFound(_))));

    let by_id = flow.schedule(Patient::later().queue(&queue)).await;
    next(&mut started).await;
    let activity = client.activity_by_id(flow.handle.id(), &by_id.activity_id);
    activity.complete("by id").await.unwrap();
    assert_eq!(flow.outcome(&by_id).await.unwrap(), "by id");

    let failed = flow.schedule(Patient::later().queue(&queue)).await;
    let token = next(&mut started).await;
    client.activity(token).fail(Error::application("Refused", "no").non_retryable()).await.unwrap();
    let error = flow.outcome(&failed).await.unwrap_err();
    assert_eq!(error.as_application().unwrap().kind, "Refused");
    worker.stop().await.unwrap();
}

/// A worker that stops waits for its activities, then tells them to stop; the attempt is another worker's then.
#[tokio::test]
async fn a_worker_that_stops_drains() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("drain");
    let (patient, mut started, mut heard) = patient();
    let worker = Worker::builder(&client, &queue).activities(patient.clone()).drain(millis(50)).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    let call = Patient::wait().queue(&queue).retry(RetryPolicy::never());
    let scheduled = flow.schedule(call).await;
    next(&mut started).await;
    worker.stop().await.unwrap();
    assert_eq!(next(&mut heard).await, CancelReason::WorkerShutdown);
    let error = flow.outcome(&scheduled).await.unwrap_err();
    assert_eq!(error.as_application().unwrap().kind, "WorkerShutdown");

    let worker = Worker::builder(&client, &queue).activities(patient).drain(PATIENCE).spawn().unwrap();
    let finishes = flow.schedule(Patient::wait().queue(&queue).retry(RetryPolicy::never())).await;
    let token = next(&mut started).await;
    let handle = worker.handle();
    handle.stop();
    client.activity(token).complete(()).await.unwrap();
    flow.outcome(&finishes).await.unwrap();
    assert_eq!(next(&mut heard).await, CancelReason::Gone);
    worker.ended().await.unwrap();
}

/// One that heeds nothing is left behind, and the server hears so at once instead of after a timeout.
#[tokio::test]
async fn an_activity_that_does_not_stop_is_left() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("left");
    let (patient, mut started, _) = patient();
    let worker = Worker::builder(&client, &queue).activities(patient).drain(millis(1)).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    let scheduled = flow.schedule(Patient::never_heeds().queue(&queue).retry(RetryPolicy::never())).await;
    next(&mut started).await;
    worker.stop().await.unwrap();
    let error = flow.outcome(&scheduled).await.unwrap_err();
    assert_eq!(error.as_application().unwrap().kind, "WorkerShutdown");
}

/// A timeout says which one it was.
#[tokio::test]
async fn nobody_polls() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut flow = Flow::start(&client).await;
    let call = Call::named("nobody").start_to_close(secs(10)).schedule_to_start(millis(300));
    let error = flow.run(call.queue(unique("nobody"))).await.unwrap_err();
    let Error::Timeout(timeout) = error else { panic!("{error:?}") };
    assert_eq!(timeout.kind, TimeoutType::ScheduleToStart);
}

/// What is encrypted at one end is read at the other, and nowhere between.
#[tokio::test]
async fn payloads_and_failures_are_encrypted() {
    let rig = Rig::start().await;
    let ring = KeyRing::new("k", &[7; 32]).unwrap();
    let converter = DataConverter::json().codec(Aes256Gcm::new(ring)).encrypt_failures();
    let client = Client::connect(Connect::to(&rig.address).converter(converter)).await.unwrap();
    let queue = unique("secret");
    let worker = Worker::builder(&client, &queue).register(charge::def()).register(fail::def()).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    assert_eq!(flow.run(charge(5, card()).queue(&queue)).await.unwrap(), "4242:5");
    let error = flow.run(fail("declined".to_owned()).queue(&queue)).await.unwrap_err();
    assert_eq!(error.as_application().unwrap().message, "the card was declined");
    let events = format!("{:?}", flow.handle.history().collect().await.unwrap());
    assert!(!events.contains("4242") && !events.contains("the card was declined"), "{events}");
    assert!(events.contains("Encoded failure"));
    worker.stop().await.unwrap();
}

/// Never more at a time than there are slots.
#[tokio::test]
async fn slots_bound_what_runs_at_a_time() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("slots");
    let (patient, mut started, _) = patient();
    let slots = Slots::fixed().activities(2);
    let worker = Worker::builder(&client, &queue).activities(patient).slots(slots).drain(millis(1)).spawn().unwrap();
    let mut flow = Flow::start(&client).await;
    let mut scheduled = Vec::new();
    for _ in 0..3 {
        scheduled.push(flow.schedule(Patient::wait().queue(&queue)).await);
        flow.handle.signal(Signal::named("wake")).await.unwrap();
    }
    let first = next(&mut started).await;
    next(&mut started).await;
    assert!(tokio::time::timeout(millis(300), started.recv()).await.is_err(), "a third one started");
    client.activity(first).complete(()).await.unwrap();
    next(&mut started).await;
    worker.stop().await.unwrap();
}
