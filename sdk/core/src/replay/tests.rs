//! The replayer, on sound histories and on ten thousand that are not.

use std::time::Duration;

use mainspring_api::v1::history::{HistoryEvent, history_event::Attributes as A};
use prost::Message;

use crate::{
    Call, Replayer,
    payload::ToPayload,
    replay::ReplayError,
    workflow::{Var, WorkflowDef, random::Rng, tests::Script, tests::approval, tests::two_steps},
};

fn replayer() -> Replayer {
    Replayer::new().register(two_steps()).register(approval()).register(long()).register(interop())
}

fn long() -> WorkflowDef {
    WorkflowDef::new("long", |cx, _| {
        Ok(async move {
            let mut total = 0;
            for number in 0..1666_u32 {
                let call = Call::named("greet").arg(number).returns::<String>().start_to_close(Duration::from_secs(1));
                total += cx.run(call).await?.len();
            }
            Ok(total.to_payload()?)
        })
    })
}

/// A real history with a patch, a local activity, an update, a signal and a child, and the workflow that wrote it.
const RECORDED: &[u8] = include_bytes!("recorded.json");

fn interop() -> WorkflowDef {
    let compose =
        |text: &str| Call::named("compose").arg(text).returns::<String>().start_to_close(Duration::from_secs(10));
    WorkflowDef::new("Interop", move |cx, args| {
        let name: String = args.get(0)?;
        let by = Var::new(None::<String>);
        let set = by.clone();
        cx.on_signal("approve", move |_, args| {
            set.set(Some(args.get(0)?));
            Ok(None)
        });
        cx.on_update("rename", move |cx, args| {
            let name: String = args.get(0)?;
            Ok(Box::pin(async move { Ok(cx.run(compose(&name)).await?.to_payload()?) }))
        });
        Ok(async move {
            cx.patched("v2");
            cx.run(compose(&name)).await?;
            cx.sleep(Duration::from_millis(50)).await?;
            cx.run_local(compose("local")).await?;
            let (a, b) = crate::join!(cx.run(compose("a")), cx.run(compose("b")));
            let by = by.some().await;
            let child = Call::named("InteropChild").arg("c").returns::<String>();
            let child = cx.run_child(child.id(format!("{}-child", cx.info().workflow_id))).await?;
            Ok(format!("{} {} {by} {child}", a?, b?).to_payload()?)
        })
    })
}

fn two() -> Script {
    let script = Script::start("two", &[]).done().scheduled("1", "first").completed(5, "a");
    script.done().scheduled("2", "second").completed(11, "b").done().closed()
}

fn waits() -> Script {
    let script = Script::start("approval", &[]).lost().done().timer("1").signal("other", "x");
    script.done().fired("1", 8).done().closed()
}

fn ten_thousand_events() -> Script {
    let mut script = Script::start("long", &[]).done();
    for number in 1..=1666_i64 {
        script = script.scheduled(&number.to_string(), "greet").completed(6 * number - 1, "hello").done();
    }
    script.closed()
}

#[test]
fn sound_histories_replay() {
    let report = replayer().replay_events("w", two().events).unwrap();
    assert_eq!((report.events, report.tasks, report.workflow_type.as_str()), (17, 3, "two"));
    replayer().replay_events("w", waits().events).unwrap();
    replayer().replay_json(RECORDED).unwrap();
    let many = vec![("a".to_owned(), two().events), ("b".to_owned(), waits().events)];
    assert!(replayer().replay_all(many).iter().all(Result::is_ok));
}

#[test]
fn a_history_that_ends_too_early_or_otherwise_is_reported() {
    let early = Script::start("two", &[]).done().scheduled("1", "first").completed(5, "a").done().closed();
    let error = replayer().replay_events("w", early.events).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("event 11 of the history is the completion of the workflow"), "{said}");
    assert!(said.contains(r#"the workflow asked for activity "second""#), "{said}");
    let said = Replayer::new().register(two_steps()).replay_events("w", waits().events).unwrap_err().to_string();
    assert!(said.contains(r#""approval" is not registered"#) && said.contains("which has: two"), "{said}");
}

#[test]
fn json_of_the_command_line_is_read() {
    let json = br#"{"events":[
        {"eventId":"1","eventTime":"2025-01-01T00:00:00Z","eventType":"EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
         "fieldOfTomorrow":1,
         "workflowExecutionStartedEventAttributes":{"workflowType":{"name":"two"},"taskQueue":{"name":"q"}}},
        {"eventId":"2","eventType":"EVENT_TYPE_WORKFLOW_TASK_SCHEDULED","workflowTaskScheduledEventAttributes":{}},
        {"eventId":"3","eventType":"EVENT_TYPE_WORKFLOW_TASK_STARTED","workflowTaskStartedEventAttributes":{}},
        {"eventId":"4","eventType":"EVENT_TYPE_WORKFLOW_TASK_COMPLETED","workflowTaskCompletedEventAttributes":{}},
        {"eventId":"5","eventType":"EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
         "activityTaskScheduledEventAttributes":{"activityId":"1","activityType":{"name":"first"}}},
        {"eventId":"6","eventType":"EVENT_TYPE_ACTIVITY_TASK_STARTED",
         "activityTaskStartedEventAttributes":{"scheduledEventId":"5"}},
        {"eventId":"7","eventType":"EVENT_TYPE_ACTIVITY_TASK_COMPLETED","activityTaskCompletedEventAttributes":
         {"scheduledEventId":"5","result":{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="},"data":"ImEi"}]}}},
        {"eventId":"8","eventType":"EVENT_TYPE_WORKFLOW_TASK_SCHEDULED","workflowTaskScheduledEventAttributes":{}},
        {"eventId":"9","eventType":"EVENT_TYPE_WORKFLOW_TASK_STARTED","workflowTaskStartedEventAttributes":{}},
        {"eventId":"10","eventType":"EVENT_TYPE_WORKFLOW_TASK_COMPLETED","workflowTaskCompletedEventAttributes":{}},
        {"eventId":"11","eventType":"EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
         "activityTaskScheduledEventAttributes":{"activityId":"2","activityType":{"name":"second"}}}]}"#;
    assert_eq!(replayer().replay_json(json).unwrap().events, 11);
    assert!(matches!(replayer().replay_json(b"{}"), Err(ReplayError::Unreadable(_))));
    assert!(matches!(replayer().replay_json(b"nonsense"), Err(ReplayError::Unreadable(_))));
}

/// Histories with events removed, doubled, swapped, renumbered, with other ids, and with broken bytes: each either
/// replays or is a fault, and nothing else happens.
#[test]
fn broken_histories_are_errors() {
    let sources = [two().events, waits().events, super::json::events(RECORDED).unwrap()];
    let replayer = replayer();
    let mut random = Rng::seeded("broken histories");
    let (mut replayed, mut refused) = (0, 0);
    for round in 0..10_000_usize {
        let mut events = sources[round % sources.len()].clone();
        for _ in 0..=random.next_u64() % 3 {
            mutate(&mut events, &mut random);
        }
        match replayer.replay_events("rust-3", events) {
            Ok(_) => replayed += 1,
            Err(ReplayError::Failed { .. } | ReplayError::Unreadable(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    // Some changes are of what does not matter, such as times.
    assert!(refused > 5_000 && replayed > 100, "{refused} refused, {replayed} replayed");
}

fn mutate(events: &mut Vec<HistoryEvent>, random: &mut Rng) {
    let mut draw = |below: usize| usize::try_from(random.next_u64() % below.max(1) as u64).unwrap();
    if events.is_empty() {
        return;
    }
    let at = draw(events.len());
    match draw(8) {
        0 => drop(events.remove(at)),
        1 => {
            let doubled = events[at].clone();
            events.insert(at, doubled);
        }
        2 => {
            let other = draw(events.len());
            events.swap(at, other);
        }
        3 => events.truncate(at),
        4 => events[at].attributes = None,
        5 => {
            let other = draw(events.len());
            events[at].attributes = events[other].attributes.clone();
        }
        6 => {
            // Any byte of the event may be another one.
            let mut bytes = events[at].encode_to_vec();
            if let Some(byte) = bytes.get_mut(draw(64)) {
                *byte ^= 1 << draw(8);
            }
            if let Ok(event) = HistoryEvent::decode(bytes.as_slice()) {
                events[at] = event;
            }
        }
        _ => events[at].event_id += i64::try_from(draw(5)).unwrap() - 2,
    }
    // Half of the time ids are put in order again, so that faults further in are met.
    if draw(2) == 0 {
        for (index, event) in events.iter_mut().enumerate() {
            event.event_id = i64::try_from(index).unwrap() + 1;
        }
    }
}

/// The events of a long history, decoded and replayed; `--ignored --nocapture`, in a fast profile, prints the speed.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let bytes = mainspring_api::v1::History::from_events(&ten_thousand_events().events).encode_to_vec();
    for _ in 0..8 {
        let began = std::time::Instant::now();
        let report = replayer().replay_bytes(&bytes).unwrap();
        let took = began.elapsed();
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        let rate = report.events as f64 / took.as_secs_f64();
        println!("{} events in {took:?}: {rate:.0} events/s with decoding", report.events);
    }
}

#[test]
fn a_long_history_replays() {
    let script = ten_thousand_events();
    assert!(matches!(script.events.last().unwrap().attributes, Some(A::WorkflowExecutionCompletedEventAttributes(_))));
    assert_eq!(replayer().replay_events("w", script.events).unwrap().tasks, 1667);
}
