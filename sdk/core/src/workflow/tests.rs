//! Runs over hand-made histories: no server, no clock, no thread.

mod order;
mod script;

use std::{cell::Cell, rc::Rc, time::Duration};

use mainspring_api::v1::{
    command::{Command, command},
    common::WorkflowExecution,
};

pub(crate) use self::script::Script;
use crate::{
    Call, Error,
    payload::{RawArgs, ToPayload},
    workflow::{
        Ctx, Fault, Var, WorkflowDef,
        instance::{Feed, Instance, Turn},
        join_all,
        local_activity::{Data, Marked},
        panic,
        rehearsal::Rehearsal,
    },
};

fn instance(def: &WorkflowDef) -> Instance {
    panic::install_hook();
    let execution = WorkflowExecution { workflow_id: "w".to_owned(), run_id: "run".to_owned() };
    Instance::new("default", execution, def.clone())
}

fn live(instance: &mut Instance, script: &Script) -> Result<Turn, Fault> {
    instance.advance(Feed { events: script.events.clone(), live: true, ..Feed::default() })?;
    Ok(instance.turn())
}

/// What a fresh instance asks for at the end of the script.
fn run(def: &WorkflowDef, script: &Script) -> Result<Vec<String>, Fault> {
    Ok(words(&live(&mut instance(def), script)?))
}

fn words(turn: &Turn) -> Vec<String> {
    let word = |command: &Command| match command.attributes.as_ref().unwrap() {
        command::Attributes::ScheduleActivityTaskCommandAttributes(activity) => {
            format!("schedule {} {}", activity.activity_id, activity.activity_type.as_ref().unwrap().name)
        }
        command::Attributes::RequestCancelActivityTaskCommandAttributes(cancel) => {
            format!("cancel activity {}", cancel.scheduled_event_id)
        }
        command::Attributes::StartTimerCommandAttributes(timer) => format!("timer {}", timer.timer_id),
        command::Attributes::CancelTimerCommandAttributes(timer) => format!("cancel timer {}", timer.timer_id),
        command::Attributes::RecordMarkerCommandAttributes(marker) => format!("marker {}", marker.marker_name),
        command::Attributes::UpsertWorkflowSearchAttributesCommandAttributes(_) => "upsert".to_owned(),
        command::Attributes::CompleteWorkflowExecutionCommandAttributes(done) => {
            let payloads = RawArgs(done.result.clone().unwrap_or_default().payloads);
            format!("complete {}", String::from_utf8_lossy(&payloads.0[0].data()))
        }
        command::Attributes::FailWorkflowExecutionCommandAttributes(failed) => {
            format!("fail {}", failed.failure.as_ref().unwrap().message)
        }
        command::Attributes::CancelWorkflowExecutionCommandAttributes(_) => "cancel workflow".to_owned(),
        command::Attributes::ProtocolMessageCommandAttributes(message) => format!("say {}", message.message_id),
        other => format!("{other:?}"),
    };
    turn.commands.iter().map(word).collect()
}

fn step(name: &str) -> crate::ActivityCall<String> {
    Call::named(name).returns::<String>().start_to_close(Duration::from_secs(1))
}

/// Two activities, one after the other.
pub(crate) fn two_steps() -> WorkflowDef {
    WorkflowDef::new("two", |cx, _| {
        Ok(async move {
            let first = cx.run(step("first")).await?;
            let second = cx.run(step("second")).await?;
            Ok(format!("{first} {second}").to_payload()?)
        })
    })
}

/// Waits for a signal or a timer.
pub(crate) fn approval() -> WorkflowDef {
    WorkflowDef::new("approval", |cx, _| {
        let by = Var::new(None::<String>);
        let set = by.clone();
        cx.on_signal("approve", move |_, args| {
            set.set(Some(args.get(0)?));
            Ok(None)
        });
        Ok(async move {
            let who = cx.timeout(Duration::from_secs(60), by.some()).await;
            Ok(match who {
                Ok(who) => who,
                Err(Error::Timeout(_)) => "nobody".to_owned(),
                Err(other) => return Err(other),
            }
            .to_payload()?)
        })
    })
}

#[test]
fn a_run_goes_on_from_its_history() {
    let def = two_steps();
    let mut kept = instance(&def);
    let script = Script::start("two", &[]).task();
    assert_eq!(words(&live(&mut kept, &script).unwrap()), ["schedule 1 first"]);
    let script = Script::start("two", &[]).done().scheduled("1", "first").completed(5, "a").task();
    assert_eq!(words(&live(&mut kept, &script).unwrap()), ["schedule 2 second"]);
    assert_eq!(run(&def, &script).unwrap(), ["schedule 2 second"], "a fresh one comes to the same");
    let script = Script::start("two", &[]).done().scheduled("1", "first").completed(5, "a");
    let script = script.done().scheduled("2", "second").completed(11, "b").task();
    assert_eq!(words(&live(&mut kept, &script).unwrap()), [r#"complete "a b""#]);
    assert_eq!(run(&def, &script).unwrap(), [r#"complete "a b""#]);
}

#[test]
fn another_local_activity_is_a_difference() {
    let local = |name: &'static str| {
        WorkflowDef::new("local", move |cx, _| {
            Ok(async move {
                drop(cx.run_local(step(name)).await);
                cx.sleep(Duration::from_secs(1)).await?;
                Ok(().to_payload()?)
            })
        })
    };
    let mut kept = instance(&local("first"));
    let script = Script::start("local", &[]);
    assert!(live(&mut kept, &script.clone().task()).unwrap().commands.is_empty());
    let asked = kept.locals().begin.remove(0);
    let data = Data { seq: asked.seq, activity_type: asked.kind, ..Data::default() };
    kept.local_ended(Marked { data, counted_alone: false, end: Ok(None) }).unwrap();
    let turn = kept.turn();
    assert_eq!(words(&turn), ["marker core_local_activity", "timer 1"]);
    let script = script.done().recorded(&turn.commands).signal("x", "y").task();
    run(&local("first"), &script).unwrap();
    let said = run(&local("second"), &script).unwrap_err().to_string();
    assert!(said.contains(r#"local activity "first" (number 1), which the workflow did not ask for"#), "{said}");
}

/// Events of a task that failed are delivered with the next one.
#[test]
fn lost_tasks_leave_no_trace_in_the_code() {
    let script =
        Script::start("two", &[]).lost().lost().done().scheduled("1", "first").completed(11, "a").lost().task();
    assert_eq!(run(&two_steps(), &script).unwrap(), ["schedule 2 second"]);
}

#[test]
fn a_difference_names_both_sides_and_the_line() {
    let script = Script::start("two", &[]).done().scheduled("1", "other").completed(5, "a").task();
    let fault = run(&two_steps(), &script).unwrap_err();
    let said = fault.to_string();
    assert!(matches!(fault, Fault::Mismatch(_)));
    assert!(said.contains(r#"event 5 of the history is activity "other" (id "1")"#), "{said}");
    assert!(said.contains(r#"the workflow asked for activity "first" (id "1"), at "#), "{said}");
    assert!(said.contains("workflow/tests.rs:"), "{said}");
}

#[test]
fn what_the_history_lacks_or_has_more_is_a_difference() {
    let nothing = Script::start("two", &[]).done().signal("x", "y").task();
    let said = run(&two_steps(), &nothing).unwrap_err().to_string();
    assert!(said.contains("the history has nothing more here, the workflow asked for activity"), "{said}");
    let more = Script::start("two", &[]).done().scheduled("1", "first").timer("1").task();
    let said = run(&two_steps(), &more).unwrap_err().to_string();
    assert!(said.contains(r#"event 6 of the history is timer "1", the workflow asked for nothing"#), "{said}");
}

#[test]
fn the_loser_of_a_race_is_cancelled() {
    let begun = Script::start("approval", &[]).done().timer("1");
    assert_eq!(
        run(&approval(), &begun.clone().signal("approve", "ann").task()).unwrap(),
        [r#"complete "ann""#],
        "what is dropped on the way out asks for nothing"
    );
    assert_eq!(run(&approval(), &begun.fired("1", 5).task()).unwrap(), [r#"complete "nobody""#]);
}

/// A timer that fires in the activation in which it is dropped has nothing left to cancel.
#[test]
fn a_cancellation_that_comes_too_late_is_not_sent() {
    let def = WorkflowDef::new("late", |cx, _| {
        let timer = Rc::new(Cell::new(None));
        let begun = timer.clone();
        cx.on_signal("stop", move |_, _| {
            drop(begun.take());
            Ok(None)
        });
        Ok(async move {
            timer.set(Some(cx.sleep(Duration::from_secs(1))));
            cx.run(step("other")).await?;
            Ok(().to_payload()?)
        })
    });
    let begun = Script::start("late", &[]).done().timer("1").scheduled("1", "other");
    assert_eq!(run(&def, &begun.clone().signal("stop", "").task()).unwrap(), ["cancel timer 1"]);
    let stopped = begun.clone().signal("stop", "").done().timer_cancelled("1", 5).completed(6, "x").task();
    assert_eq!(run(&def, &stopped).unwrap(), ["complete "]);
    let script = begun.signal("stop", "").fired("1", 5);
    assert_eq!(run(&def, &script.task()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_cancelled_workflow_cleans_up_under_a_shield() {
    let def = WorkflowDef::new("clean", |cx, _| {
        Ok(async move {
            let worked = cx.run(step("work")).await;
            if worked.as_ref().is_err_and(Error::is_cancelled) {
                cx.shielded().run(step("clean")).await?;
            }
            Ok(worked?.to_payload()?)
        })
    });
    let script = Script::start("clean", &[]).done().scheduled("1", "work").cancel().task();
    assert_eq!(run(&def, &script).unwrap(), ["cancel activity 5", "schedule 2 clean"]);
}

#[test]
fn dropped_before_it_was_sent_it_is_not_sent() {
    let def = WorkflowDef::new("drop", |cx, _| {
        Ok(async move {
            drop(cx.run(step("never")));
            cx.run(step("always")).await?;
            Ok(().to_payload()?)
        })
    });
    assert_eq!(run(&def, &Script::start("drop", &[]).task()).unwrap(), ["schedule 2 always"]);
}

#[test]
fn many_at_a_time_come_back_in_order() {
    let def = WorkflowDef::new("many", |cx, _| {
        Ok(async move {
            let calls = (0..3).map(|number| cx.run(step(&format!("s{number}"))));
            let results: Vec<_> =
                join_all(calls.collect::<Vec<_>>()).await.into_iter().collect::<crate::Result<_>>()?;
            Ok(results.join(" ").to_payload()?)
        })
    });
    let script = Script::start("many", &[]).done();
    let script = script.scheduled("1", "s0").scheduled("2", "s1").scheduled("3", "s2");
    let script = script.completed(7, "c").completed(5, "a").completed(6, "b").task();
    assert_eq!(run(&def, &script).unwrap(), [r#"complete "a b c""#]);
}

#[test]
fn patches_are_for_new_runs_and_stay_what_they_were() {
    let def = WorkflowDef::new("patched", |cx, _| {
        Ok(async move {
            let name = if cx.patched("v2") { "new" } else { "old" };
            cx.run(step(name)).await?;
            Ok(cx.patched("v2").to_payload()?)
        })
    });
    let mut kept = instance(&def);
    let turn = live(&mut kept, &Script::start("patched", &[]).task()).unwrap();
    assert_eq!(words(&turn), ["marker core_patch", "upsert", "schedule 1 new"]);
    let new = Script::start("patched", &[]).done().recorded(&turn.commands).completed(7, "x").task();
    assert_eq!(run(&def, &new).unwrap(), ["complete true"]);
    let old = Script::start("patched", &[]).done().scheduled("1", "old").completed(5, "x").task();
    assert_eq!(run(&def, &old).unwrap(), ["complete false"], "the answer does not change within a run");
    // Other engines leave the search attribute out when it is full.
    let without = Script::start("patched", &[]).done().recorded(&turn.commands[..1]).scheduled("1", "new");
    assert_eq!(run(&def, &without.completed(6, "x").task()).unwrap(), ["complete true"]);
    // Code that no longer asks meets a marker that was not deprecated.
    let script = Script::start("two", &[]).done().recorded(&turn.commands[..2]).scheduled("1", "first").task();
    assert!(run(&two_steps(), &script).unwrap_err().to_string().contains("patch \"v2\""));
}

#[test]
fn deprecated_patches_may_be_left_out() {
    let def = WorkflowDef::new("two", |cx, _| {
        Ok(async move {
            cx.deprecate_patch("v2");
            cx.run(step("first")).await?;
            Ok(().to_payload()?)
        })
    });
    let turn = live(&mut instance(&def), &Script::start("two", &[]).task()).unwrap();
    let script = Script::start("two", &[]).done().recorded(&turn.commands).completed(7, "a").task();
    assert_eq!(run(&two_steps(), &script).unwrap(), ["schedule 2 second"]);
    assert_eq!(run(&def, &script).unwrap(), ["complete "]);
}

#[test]
fn versions_and_side_effects_are_remembered() {
    let made = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = made.clone();
    let def = WorkflowDef::new("once", move |cx, _| {
        let count = count.clone();
        Ok(async move {
            let make = || count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let value: u32 = cx.side_effect(make)?;
            let version = cx.version("change", 1..=3);
            let config: String = cx.mutable_side_effect("config", || "a".to_owned())?;
            let again: String = cx.mutable_side_effect("config", || "a".to_owned())?;
            cx.sleep(Duration::from_secs(1)).await?;
            Ok((value, version, config, again).to_payload()?)
        })
    });
    let turn = live(&mut instance(&def), &Script::start("once", &[]).task()).unwrap();
    let markers = ["marker SideEffect", "marker Version", "upsert", "marker MutableSideEffect", "timer 1"];
    assert_eq!(words(&turn), markers);
    let script = Script::start("once", &[]).done().recorded(&turn.commands).fired("1", 9).task();
    assert_eq!(run(&def, &script).unwrap(), [r#"complete [0,3,"a","a"]"#]);
    assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 1, "a replay makes nothing");
    // A run from before the change has the oldest version.
    let before = Script::start("once", &[]).done().recorded(&turn.commands[..1]).recorded(&turn.commands[3..]);
    let script = before.fired("1", 7).task();
    assert_eq!(run(&def, &script).unwrap(), [r#"complete [0,1,"a","a"]"#]);
}

#[test]
fn signals_are_kept_for_those_who_ask_later() {
    let def = WorkflowDef::new("stream", |cx, _| {
        Ok(async move {
            cx.sleep(Duration::from_secs(1)).await?;
            let mut names = cx.signals::<String>("name");
            Ok(format!("{} {}", names.next().await, names.next().await).to_payload()?)
        })
    });
    let script = Script::start("stream", &[]).signal("name", "a").done().timer("1").fired("1", 6);
    let script = script.signal("name", "b").task();
    assert_eq!(run(&def, &script).unwrap(), [r#"complete "a b""#]);
}

#[test]
fn branches_take_turns_in_the_order_they_were_spawned() {
    let def = WorkflowDef::new("branches", |cx: Ctx, _| {
        Ok(async move {
            let log = Var::new(String::new());
            let branch = |name: char| {
                let (cx, log) = (cx.clone(), log.clone());
                cx.clone().spawn(async move {
                    log.update(|log| log.push(name));
                    cx.sleep(Duration::from_secs(1)).await.ok();
                    log.update(|log| log.push(name.to_ascii_uppercase()));
                })
            };
            let (a, b) = (branch('a'), branch('b'));
            a.await;
            b.await;
            cx.wait(|| log.get().len() == 4).await?;
            Ok(log.get().to_payload()?)
        })
    });
    let script = Script::start("branches", &[]).done().timer("1").timer("2").fired("2", 6).fired("1", 5).task();
    assert_eq!(run(&def, &script).unwrap(), [r#"complete "abAB""#]);
}

#[test]
fn waiting_for_what_can_never_come_is_reported_at_once() {
    let def = WorkflowDef::new("stuck", |_, _| {
        Ok(async move {
            std::future::pending::<()>().await;
            Ok(().to_payload()?)
        })
    });
    let said = run(&def, &Script::start("stuck", &[]).task()).unwrap_err().to_string();
    assert!(said.contains("its history can never deliver"), "{said}");
}

#[test]
fn a_wake_from_another_thread_is_reported() {
    let def = WorkflowDef::new("foreign", |cx, _| {
        Ok(async move {
            let mut waiting = std::pin::pin!(cx.sleep(Duration::from_secs(1)));
            std::future::poll_fn(|task| {
                let waker = task.waker().clone();
                std::thread::spawn(move || waker.wake()).join().unwrap();
                std::future::Future::poll(waiting.as_mut(), task).map(drop)
            })
            .await;
            Ok(().to_payload()?)
        })
    });
    let fault = run(&def, &Script::start("foreign", &[]).task()).unwrap_err();
    assert!(matches!(fault, Fault::ForeignWake(_)), "{fault}");
    assert!(fault.to_string().contains(r#"last it asked for timer "1" at "#), "{fault}");
}

#[test]
fn a_panic_is_a_fault_with_its_line() {
    let def = WorkflowDef::new("panics", |cx, _| {
        Ok(async move {
            cx.sleep(Duration::from_secs(1)).await?;
            let empty: Vec<u8> = Vec::new();
            Ok(empty[0].to_payload()?)
        })
    });
    let script = Script::start("panics", &[]).done().timer("1").fired("1", 5).task();
    let said = run(&def, &script).unwrap_err().to_string();
    assert!(said.contains("index out of bounds") && said.contains("workflow/tests.rs:"), "{said}");
    let fails = def.fail_on_panic();
    let mut kept = instance(&fails);
    let fault = live(&mut kept, &script).unwrap_err();
    assert!(kept.end_with(&fault));
    assert!(words(&kept.turn())[0].starts_with("fail the workflow panicked: index out of bounds"));
}

#[test]
fn tokio_in_a_workflow_says_what_to_use_instead() {
    for mistake in ["sleep", "spawn"] {
        let def = WorkflowDef::new("tokio", move |_, _| {
            Ok(async move {
                match mistake {
                    "sleep" => tokio::time::sleep(Duration::from_secs(1)).await,
                    _ => drop(tokio::spawn(async {})),
                }
                Ok(().to_payload()?)
            })
        });
        let said = run(&def, &Script::start("tokio", &[]).task()).unwrap_err().to_string();
        assert!(said.contains("use `cx.sleep(..)` for a timer"), "{said}");
        assert!(said.contains("workflow/tests.rs:"), "{said}");
    }
}

#[test]
fn a_clock_is_found_by_doing_the_task_twice() {
    let def = WorkflowDef::new("clock", |cx, _| {
        Ok(async move {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
            cx.run(step("log").arg(now.to_string())).await?;
            Ok(().to_payload()?)
        })
    });
    let script = Script::start("clock", &[]).task();
    let mut kept = instance(&def);
    let turn = live(&mut kept, &script).unwrap();
    let rehearsal = Rehearsal { instance: kept.again(), events: script.events.clone() };
    let said = rehearsal.compare(&turn).unwrap_err().to_string();
    assert!(said.contains("run a second time") && said.contains("clocks"), "{said}");
    // Side effects are not made again: the markers stand in.
    let script = Script::start("once", &[]).task();
    let def = WorkflowDef::new("once", |cx, _| {
        Ok(async move {
            let now: u128 = cx.side_effect(|| std::time::Instant::now().elapsed().as_nanos())?;
            cx.patched("p");
            cx.run(step("log").arg(now.to_string())).await?;
            Ok(().to_payload()?)
        })
    });
    let mut kept = instance(&def);
    let turn = live(&mut kept, &script).unwrap();
    Rehearsal { instance: kept.again(), events: script.events }.compare(&turn).unwrap();
}

#[test]
fn a_query_may_only_look() {
    let def = WorkflowDef::new("asked", |cx, _| {
        let own = cx.clone();
        cx.on_query("acts", move |_| {
            own.run(step("no")).detach();
            Ok(().to_payload()?)
        });
        cx.on_query("looks", |args| Ok((args.get::<u32>(0)? + 1).to_payload()?));
        cx.on_query("panics", |_| panic!("oops"));
        Ok(async move {
            cx.sleep(Duration::from_secs(1)).await?;
            Ok(().to_payload()?)
        })
    });
    let mut kept = instance(&def);
    live(&mut kept, &Script::start("asked", &[]).task()).unwrap();
    let args = RawArgs(vec![4.to_payload().unwrap()]);
    assert_eq!(kept.query("looks", args).unwrap().unwrap().data(), "5");
    assert!(kept.query("panics", RawArgs::default()).unwrap().unwrap_err().to_string().contains("oops"));
    let unknown = kept.query("other", RawArgs::default()).unwrap().unwrap_err().to_string();
    assert!(unknown.contains("it answers: acts, looks, panics"), "{unknown}");
    assert!(
        kept.query("__stack_trace", RawArgs::default())
            .unwrap()
            .is_ok_and(|trace| { String::from_utf8_lossy(&trace.data()).contains(r#"timer \"1\" at "#) })
    );
    let fault = kept.query("acts", RawArgs::default()).unwrap_err();
    assert!(matches!(fault, Fault::QueryActs { .. }), "{fault}");
}

#[test]
fn leaving_memory_asks_for_nothing() {
    let dropped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let noted = dropped.clone();
    struct Guard(Ctx, std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.run(step("late")).detach();
            self.1.store(true, std::sync::atomic::Ordering::Relaxed);
            panic!("and it panics");
        }
    }
    let def = WorkflowDef::new("guarded", move |cx, _| {
        let guard = Guard(cx.clone(), noted.clone());
        Ok(async move {
            let _guard = guard;
            cx.sleep(Duration::from_secs(1)).await?;
            Ok(().to_payload()?)
        })
    });
    let mut kept = instance(&def);
    live(&mut kept, &Script::start("guarded", &[]).task()).unwrap();
    drop(kept);
    assert!(dropped.load(std::sync::atomic::Ordering::Relaxed));
}
