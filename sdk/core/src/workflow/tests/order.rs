//! In which order the parts of a workflow run, and so in which order they ask: as in the official Rust SDK.

use mainspring_api::{
    temporal::api::update::v1::{Input, Meta, Request},
    v1::{
        history::{WorkflowExecutionUpdateAcceptedEventAttributes, history_event::Attributes},
        protocol::{Message, message::SequencingId},
    },
};
use prost::Name;

use super::*;

/// Handlers of "add" and "put" run an activity and then another one; so does the workflow, after a timer.
fn workflow() -> WorkflowDef {
    WorkflowDef::new("order", |cx, _| {
        cx.on_signal("add", |cx, _| {
            Ok(Some(Box::pin(async move {
                cx.run(step("signal")).await?;
                cx.run(step("signal again")).await.map(drop)
            })))
        });
        cx.on_update("put", |cx, _| {
            Ok(Box::pin(async move {
                cx.run(step("update")).await?;
                Ok(().to_payload()?)
            }))
        });
        Ok(async move {
            cx.sleep(Duration::from_secs(1)).await?;
            cx.run(step("workflow")).await?;
            Ok(().to_payload()?)
        })
    })
}

fn asked() -> Script {
    Script::start("order", &[]).done().timer("1")
}

fn request(id: &str) -> Request {
    Request {
        meta: Some(Meta { update_id: id.to_owned(), identity: String::new() }),
        input: Some(Input { name: "put".to_owned(), ..Input::default() }),
        ..Request::default()
    }
}

fn with_update(script: &Script, id: &str) -> Turn {
    let body = prost_types::Any {
        type_url: format!("type.googleapis.com/{}", Request::full_name()),
        value: prost::Message::encode_to_vec(&request(id)),
    };
    let sequencing_id = Some(SequencingId::EventId(script.events.len() as i64 - 1));
    let message =
        Message { id: format!("{id}/request"), protocol_instance_id: id.to_owned(), sequencing_id, body: Some(body) };
    let mut instance = instance(&workflow());
    let feed = Feed { events: script.events.clone(), live: true, messages: vec![message], ..Feed::default() };
    instance.advance(feed).unwrap();
    instance.turn()
}

/// Whichever event comes first: results are there before any code runs, then handlers have their turn.
#[test]
fn handlers_go_before_the_workflow() {
    let expected = ["schedule 1 signal", "schedule 2 workflow"];
    assert_eq!(run(&workflow(), &asked().signal("add", "a").fired("1", 5).task()).unwrap(), expected);
    assert_eq!(run(&workflow(), &asked().fired("1", 5).signal("add", "a").task()).unwrap(), expected);
}

#[test]
fn handlers_of_signals_that_come_before_all_else_go_before_the_workflow() {
    let script = Script::start("order", &[]).signal("add", "a").signal("add", "b").task();
    assert_eq!(run(&workflow(), &script).unwrap(), ["schedule 1 signal", "schedule 2 signal", "timer 1"]);
}

/// Also when they go on after a wait.
#[test]
fn handlers_keep_their_turn() {
    let script = asked().signal("add", "a").done().scheduled("1", "signal");
    let script = script.fired("1", 5).completed(10, "x").task();
    assert_eq!(run(&workflow(), &script).unwrap(), ["schedule 2 signal again", "schedule 3 workflow"]);
}

#[test]
fn answers_to_updates_go_before_all_else() {
    let script = asked().signal("add", "a").fired("1", 5).task();
    let expected = ["say u/accept", "schedule 1 signal", "schedule 2 update", "schedule 3 workflow"];
    assert_eq!(words(&with_update(&script, "u")), expected);
}

/// The Python SDK accepts an update when its handler begins, after what ran before.
#[test]
fn answers_to_updates_may_stand_elsewhere_in_a_history() {
    let accepted = WorkflowExecutionUpdateAcceptedEventAttributes {
        protocol_instance_id: "u".to_owned(),
        accepted_request_sequencing_event_id: 7,
        accepted_request: Some(request("u")),
        ..Default::default()
    };
    let accepted = |mut script: Script| {
        script.push(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted.clone()));
        script
    };
    let before = asked().signal("add", "a").fired("1", 5).done();
    for script in [
        accepted(before.clone()).scheduled("1", "signal").scheduled("2", "update").scheduled("3", "workflow"),
        accepted(before.clone().scheduled("1", "signal")).scheduled("2", "update").scheduled("3", "workflow"),
    ] {
        assert_eq!(run(&workflow(), &script.completed(14, "done").task()).unwrap(), ["complete "]);
    }
}
