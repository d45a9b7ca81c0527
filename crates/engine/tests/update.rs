//! Updates: what a worker may say of them, how they end, and which are taken in. The workflow tasks that bring them are
//! in `update_task.rs`, those that come with a start in `update_with_start.rs`.

mod world;

use mainspring_api::{
    parts::ELEMENTS_MAX,
    v1::{
        common::Link,
        enums::WorkflowTaskFailedCause as Cause,
        failure::failure::FailureInfo,
        history::history_event::Attributes,
        protocol::Message,
        update::{Acceptance, Meta, Rejection, Request, Response},
    },
};
use mainspring_engine::{Rejected, failure_of_closed_run, outcome::UpdateEnd, state::Update};
use world::{World, commands::*, too_large, updates::*, world};

const FAILING: &str = "Unable to perform workflow execution update due to Workflow Task in failed state.";
const TASK_FAILED: &str = "Unable to perform workflow execution update due to unexpected workflow task failure.";

/// Trace 24: accepted and completed in one workflow task.
#[test]
fn an_update_is_accepted_and_completed_at_once() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C");
    let task = w.poll("w");
    assert_eq!((brought(&task).as_str(), task.previous_started_event_id, task.started_event_id), ("u@5", 3, 6));
    let completed = w.say("w", &task, vec![accept(&task, "u"), respond("u")], vec![]);
    assert_eq!(completed.reset_history_event_id, 0);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 UpdateAccepted(u) 9 UpdateCompleted(8)");
    let Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a)) = &w.events("w")[7].attributes else {
        panic!("not an acceptance");
    };
    assert_eq!((a.accepted_request_message_id.as_str(), a.accepted_request_sequencing_event_id), ("u/request", 5));
    assert_eq!(a.accepted_request, Some(request("u")));
    assert_eq!(*w.run("w").updates["u"], Update { accepted_event_id: 8, completed_event_id: 9 });
    assert_eq!(w.ended(), "");
}

/// Accepted with the first workflow task of all, and completed much later.
#[test]
fn an_update_is_accepted_now_and_completed_later() {
    let mut w = world();
    w.start("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    assert_eq!(brought(&task), "u@2");
    w.say("w", &task, vec![accept(&task, "u")], vec![timer("t", 60)]);
    assert_eq!(w.run("w").updates["u"].completed_event_id, 0);
    w.seconds(60);
    let task = w.poll("w");
    assert_eq!(brought(&task), "", "an accepted update is not sent again");
    w.say("w", &task, vec![respond("u")], vec![complete()]);
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 UpdateAccepted(u) 6 TimerStarted(t) 7 TimerFired(t) 8 S 9 B 10 C 11 UpdateCompleted(5) \
         12 Completed",
    );
}

/// Commands give acceptances and responses their place; messages that none names come last.
#[test]
fn commands_give_messages_their_place() {
    let mut w = world();
    w.start("w");
    w.update("w", "one").unwrap();
    w.update("w", "two").unwrap();
    let task = w.poll("w");
    let commands = vec![timer("t", 1), place("two/accept"), timer("s", 1)];
    let messages = vec![accept(&task, "one"), accept(&task, "two")];
    w.complete_with("w", &task, commands, |input| input.messages = messages).unwrap();
    w.check(
        "w",
        "1 Started 2 S 3 B 4 C 5 TimerStarted(t) 6 UpdateAccepted(two) 7 TimerStarted(s) 8 UpdateAccepted(one)",
    );
}

/// What no worker has answered is in memory alone, and lost with it; a worker that got it says what it accepts.
#[test]
fn a_lost_update_comes_back_with_its_acceptance() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.forget("w");
    let acceptance = Acceptance {
        accepted_request_message_id: "u/request".to_owned(),
        accepted_request_sequencing_event_id: 5,
        accepted_request: Some(request("u")),
    };
    w.say("w", &task, vec![message("u", "accept", &acceptance)], vec![]);
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 UpdateAccepted(u)");
}

/// A worker that does not know of updates answers none of them: the server says no in its place.
#[test]
fn an_unanswered_update_is_rejected() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    let completed = w.complete("w", &task, vec![]);
    assert_eq!(completed.reset_history_event_id, 3);
    let [(id, UpdateEnd::Rejected(failure))] = w.ended.as_slice() else { panic!("{:?}", w.ended) };
    assert_eq!((id.as_str(), failure.source.as_str()), ("u", "Server"));
    assert_eq!(
        failure.message,
        "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported \
         by the worker."
    );
    let Some(FailureInfo::ApplicationFailureInfo(info)) = &failure.failure_info else { panic!("{failure:?}") };
    assert_eq!((info.r#type.as_str(), info.non_retryable), ("UnprocessedUpdate", true));
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// The same when the task had other things to do.
#[test]
fn an_unanswered_update_is_rejected_beside_commands() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.work("w", vec![timer("t", 1)]);
    assert!(w.ended().starts_with("u: Workflow Update is rejected"));
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 TimerStarted(t)");
}

/// Every refusal of a message, in upstream's words. The task fails, and whoever waits hears of it.
#[test]
fn a_bad_message_fails_the_task() {
    let unknown = "update q wasn't found on the server. This is most likely a transient error which will be resolved \
                   automatically by retries";
    let impossible = |what: &str, state: &str| {
        format!(
            "invalid state transition attempted for Update u: received *update.{what} message while in state {state}"
        )
    };
    let named = |update_id: &str| Meta { update_id: update_id.to_owned(), identity: String::new() };
    let without_id = |acceptance: Acceptance| Acceptance { accepted_request_message_id: String::new(), ..acceptance };
    let plain = |event_id| Acceptance {
        accepted_request_message_id: "u/request".to_owned(),
        accepted_request_sequencing_event_id: event_id,
        accepted_request: None,
    };
    let cases: Vec<(Vec<Message>, String)> = vec![
        (vec![respond("u")], impossible("Response", "Sent")),
        (
            vec![message("u", "a", &plain(5)), message("u", "b", &plain(5))],
            impossible("Acceptance", "ProvisionallyAccepted"),
        ),
        (vec![message("u", "a", &plain(5)), reject("u")], impossible("Rejection", "ProvisionallyAccepted")),
        (
            vec![message("u", "a", &plain(5)), respond("u"), message("u", "again", &response())],
            impossible("Response", "ProvisionallyCompleted"),
        ),
        (vec![respond("q")], unknown.to_owned()),
        (vec![reject("q")], unknown.to_owned()),
        (vec![message("q", "a", &plain(5))], unknown.to_owned()),
        (vec![message("", "a", &Acceptance::default())], unknown.replace('q', "")),
        (vec![reject("u"), reject("u")], unknown.replace('q', "u")),
        (vec![message("u", "a", &named("u"))], "Message type *update.Meta not supported".to_owned()),
        (
            vec![message("u", "a", &Acceptance::default())],
            "invalid *update.Acceptance: accepted_request_sequencing_event_id is not set".to_owned(),
        ),
        (
            vec![message("u", "a", &without_id(plain(5)))],
            "invalid *update.Acceptance: accepted_request_message_id is not set".to_owned(),
        ),
        (
            vec![message("u", "a", &of_many_links(plain(5)))],
            format!("Acceptance has more than {ELEMENTS_MAX} elements"),
        ),
        (
            vec![message("u", "a", &plain(5)), message("u", "r", &Response::default())],
            "invalid *update.Response: meta is not set".to_owned(),
        ),
        (
            vec![message("u", "a", &plain(5)), message("u", "r", &Response { meta: Some(named("u")), outcome: None })],
            "invalid *update.Response: outcome is not set".to_owned(),
        ),
    ];
    for (messages, why) in cases {
        let mut w = world();
        w.start_idle("w");
        w.update("w", "u").unwrap();
        let task = w.poll("w");
        let completed = w.complete_with("w", &task, vec![], |input| input.messages = messages).unwrap();
        let refused = completed.refused.unwrap();
        assert_eq!(refused.cause, Cause::BadUpdateWorkflowExecutionMessage);
        assert_eq!(refused.message, format!("BadUpdateWorkflowExecutionMessage: {why}"));
        w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 F(BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE)");
        assert_eq!(w.ended(), format!("u aborted: {TASK_FAILED}"));
        assert!(w.run("w").updates.is_empty());
    }
}

/// Links of two bytes, each of which takes up some hundred once it is decoded.
fn of_many_links(acceptance: Acceptance) -> Acceptance {
    let request = Request { links: vec![Link::default(); ELEMENTS_MAX + 1], ..Request::default() };
    Acceptance { accepted_request: Some(request), ..acceptance }
}

fn response() -> Response {
    let body = respond("u").body.expect("a body");
    prost::Message::decode(body.value.as_slice()).expect("a response")
}

/// The same of an update that was accepted, and completed, by earlier tasks.
#[test]
fn a_bad_message_about_an_earlier_update_fails_the_task() {
    let refused = |w: &mut World, bad: Message| {
        w.signal("w", "").unwrap();
        let task = w.poll("w");
        let completed = w.complete_with("w", &task, vec![], |input| input.messages = vec![bad]).unwrap();
        completed.refused.unwrap().message
    };
    let mut w = world();
    w.start("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.say("w", &task, vec![accept(&task, "u")], vec![]);
    assert!(
        refused(&mut w, accept(&task, "u")).ends_with("received *update.Acceptance message while in state Accepted")
    );
    let task = w.poll("w");
    w.say("w", &task, vec![respond("u")], vec![]);
    assert!(refused(&mut w, respond("u")).ends_with("received *update.Response message while in state Completed"));
}

/// A command has to name a message that came with it.
#[test]
fn a_command_without_its_message_fails_the_task() {
    for (id, why) in [
        ("zz", "ProtocolMessageCommand referenced absent message ID zz"),
        ("", "MessageID is not set on ProtocolMessageCommand."),
    ] {
        let mut w = world();
        w.start_idle("w");
        w.update("w", "u").unwrap();
        let refused = w.refused("w", vec![place(id)]);
        assert_eq!(refused.message, format!("BadUpdateWorkflowExecutionMessage: {why}"));
        assert_eq!(w.ended(), format!("u aborted: {TASK_FAILED}"));
    }
}

/// A message without a body is refused outright: nothing is written, the task goes on.
#[test]
fn a_message_without_a_body_is_refused_outright() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    let empty = Message { body: None, ..accept(&task, "u") };
    let refused = w.complete_with("w", &task, vec![], |input| input.messages = vec![empty]);
    assert!(matches!(refused, Err(Rejected::InvalidArgument(text)) if text == "nil message body"));
    w.say("w", &task, vec![accept(&task, "u")], vec![]);
}

/// A message over the limit of a payload ends the workflow, as such a command does.
#[test]
fn an_oversized_message_terminates() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    let mut failure = failure("no");
    failure.message = String::from_utf8(too_large().unwrap().payloads[0].data().to_vec()).unwrap();
    let huge = message("u", "reject", &Rejection { failure: Some(failure), ..Rejection::default() });
    let completed = w.complete_with("w", &task, vec![], |input| input.messages = vec![huge]).unwrap();
    assert_eq!(completed.refused.unwrap().message, "BadUpdateWorkflowExecutionMessage: Message exceeds size limit.");
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 F(BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE) 8 Terminated");
    assert_eq!(w.ended(), "u aborted: workflow update was aborted by closing workflow");
}

/// A rejection without a failure is a rejection.
#[test]
fn a_rejection_may_be_empty() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.say("w", &task, vec![message("u", "reject", &Rejection::default())], vec![]);
    assert_eq!(w.ended(), "u: ");
    w.check("w", "1 Started 2 S 3 B 4 C");
}

/// The run closes: what it did not accept comes to nothing, what it accepted fails.
#[test]
fn a_close_ends_updates() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "accepted").unwrap();
    w.update("w", "sent").unwrap();
    let task = w.poll("w");
    w.update("w", "unsent").unwrap();
    w.say("w", &task, vec![accept(&task, "accepted")], vec![complete()]);
    let aborted = "aborted: workflow update was aborted by closing workflow";
    assert_eq!(w.ended(), format!("sent {aborted}, unsent {aborted}"));
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 UpdateAccepted(accepted) 9 Completed");
    let run = w.run("w");
    assert_eq!(*run.updates["accepted"], Update { accepted_event_id: 8, completed_event_id: 0 });
    let failure = failure_of_closed_run();
    let text = "Workflow Update failed because the Workflow completed before the Update completed.";
    assert_eq!(failure.message, text);
    let Some(FailureInfo::ApplicationFailureInfo(info)) = failure.failure_info else { panic!("no info") };
    assert_eq!((info.r#type.as_str(), info.non_retryable), ("AcceptedUpdateCompletedWorkflow", true));
}

/// A no is a no, be it that the workflow ends with it; a yes without a place comes after the end.
#[test]
fn a_rejection_counts_when_the_run_closes() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "no").unwrap();
    w.update("w", "yes").unwrap();
    let task = w.poll("w");
    let messages = vec![accept(&task, "yes"), reject("no")];
    let completed = w.complete_with("w", &task, vec![complete()], |input| input.messages = messages).unwrap();
    assert_eq!(completed.refused, None);
    assert_eq!(w.ended(), "no: no, yes aborted: workflow update was aborted by closing workflow");
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 C 8 Completed");
}

/// A run that goes on in another one tells its callers to ask again.
#[test]
fn an_update_is_for_the_run_that_follows() {
    let mut w = world();
    w.start_idle("w");
    w.seconds(2);
    w.update("w", "accepted").unwrap();
    let task = w.poll("w");
    w.update("w", "unsent").unwrap();
    w.say("w", &task, vec![accept(&task, "accepted")], vec![continue_as_new()]);
    assert_eq!(w.ended(), format!("unsent aborted: {}", Rejected::Closing));
    w.check("w", "1 Started 2 S");
    w.update("w", "unsent").unwrap();
    assert_eq!(brought(&w.poll("w")), "unsent@2");
}

/// From outside the run is ended with its updates, be their task waiting or running.
#[test]
fn a_termination_ends_updates() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.terminate("w").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 Terminated");
    assert_eq!(w.ended(), "u aborted: workflow update was aborted by closing workflow");
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.poll("w");
    w.terminate("w").unwrap();
    w.check("w", "1 Started 2 S 3 B 4 C 5 S 6 B 7 F(FORCE_CLOSE_COMMAND) 8 Terminated");
    assert_eq!(w.ended(), "u aborted: workflow update was aborted by closing workflow");
}

/// The same id is the same update: under way, accepted, completed, and when the run has closed.
#[test]
fn an_update_is_known_by_its_id() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    w.update("w", "u").unwrap();
    let task = w.poll("w");
    w.update("w", "u").unwrap();
    assert_eq!(brought(&task), "u@5");
    w.say("w", &task, vec![accept(&task, "u")], vec![]);
    w.update("w", "u").unwrap();
    w.signal("w", "").unwrap();
    let task = w.poll("w");
    assert_eq!(brought(&task), "");
    w.say("w", &task, vec![respond("u")], vec![]);
    w.update("w", "u").unwrap();
    assert!(w.run("w").execution.task.is_none());
    w.terminate("w").unwrap();
    w.update("w", "u").unwrap();
    assert!(matches!(w.update("w", "other"), Err(Rejected::Closed)));
    assert!(w.run("w").admitted.is_empty());
}

/// A rejected update has left nothing, so its id may be used again.
#[test]
fn a_rejected_update_may_be_asked_again() {
    let mut w = world();
    w.start_idle("w");
    for _ in 0..2 {
        w.update("w", "u").unwrap();
        let task = w.poll("w");
        w.say("w", &task, vec![reject("u")], vec![]);
        assert_eq!(w.ended(), "u: no");
    }
}

/// An update names the run, and the chain of runs, that it is for.
#[test]
fn an_update_may_name_its_run() {
    let mut w = world();
    assert!(matches!(w.update("w", "u"), Err(Rejected::NotFound)));
    let run_id = w.start("w").run_id;
    w.update_with("w", "u", |admit| admit.run_id = run_id.clone()).unwrap();
    let other = w.update_with("w", "v", |admit| admit.run_id = "other".into());
    assert!(matches!(other, Err(Rejected::OtherRun)));
    w.update_with("w", "v", |admit| admit.first_run_id = run_id).unwrap();
    let other = w.update_with("w", "x", |admit| admit.first_run_id = "other".into());
    assert!(matches!(other, Err(Rejected::NotFound)), "{other:?}");
}

/// Ten updates may be under way at once, be they accepted or not.
#[test]
fn few_updates_are_under_way_at_once() {
    let mut w = world();
    w.start("w");
    for number in 0..10 {
        w.update("w", &format!("u{number}")).unwrap();
    }
    assert!(matches!(w.update("w", "more"), Err(Rejected::UpdatesInFlight { max: 10 })));
    w.update("w", "u3").unwrap();
    let task = w.poll("w");
    assert_eq!(task.messages.len(), 10);
    let accepted: Vec<Message> = (0..10).map(|number| accept(&task, &format!("u{number}"))).collect();
    w.say("w", &task, accepted, vec![]);
    assert!(matches!(w.update("w", "more"), Err(Rejected::UpdatesInFlight { max: 10 })));
    w.signal("w", "").unwrap();
    let task = w.poll("w");
    w.say("w", &task, vec![respond("u0")], vec![]);
    w.update("w", "more").unwrap();
}

/// A run takes so many updates in its life. Before that, workers are told to go on in a new run.
#[test]
fn a_run_takes_so_many_updates() {
    let mut w = world();
    w.limits.updates_max = 10;
    w.start("w");
    for number in 0..10 {
        let id = format!("u{number}");
        w.update("w", &id).unwrap();
        let task = w.poll("w");
        w.say("w", &task, vec![accept(&task, &id), respond(&id)], vec![]);
        let suggested = w.events("w").iter().rev().find_map(|event| match &event.attributes {
            Some(Attributes::WorkflowTaskStartedEventAttributes(a)) => Some(a.suggest_continue_as_new),
            _ => None,
        });
        assert_eq!(suggested, Some(number >= 8), "update {number}");
    }
    assert!(matches!(w.update("w", "more"), Err(Rejected::UpdateLimit { max: 10 })));
    w.update("w", "u0").unwrap();
}

/// What waits for an answer is in memory, so its size is bounded.
#[test]
fn updates_under_way_are_bounded_in_bytes() {
    let mut w = world();
    w.limits.updates_bytes_max = 3 << 20;
    w.start("w");
    let large = |admit: &mut mainspring_engine::input::AdmitUpdate| {
        admit.request.input.as_mut().unwrap().args = too_large();
    };
    w.update_with("w", "one", large).unwrap();
    assert!(matches!(w.update_with("w", "two", large), Err(Rejected::UpdatesInFlight { .. })));
    w.update("w", "small").unwrap();
}

/// A close that is tried again keeps updates out, as it does signals (trace 2); one that is there is carried along.
#[test]
fn updates_wait_while_a_close_is_tried_again() {
    let mut w = world();
    w.start("w");
    let task = w.poll("w");
    w.update("w", "early").unwrap();
    w.signal("w", "").unwrap();
    w.complete_with("w", &task, vec![complete()], |_| {}).unwrap();
    assert_eq!(w.ended(), "");
    let task = w.poll("w");
    assert_eq!(brought(&task), "early@6");
    assert!(matches!(w.update("w", "late"), Err(Rejected::Closing)));
    w.say("w", &task, vec![reject("early")], vec![complete()]);
    assert_eq!(w.ended(), "early: no");
    w.check("w", "1 Started 2 S 3 B 4 F(UNHANDLED_COMMAND) 5 Signaled 6 S 7 B 8 C 9 Completed");
}

/// A worker that fails its tasks cannot take updates: after the third time callers are told so.
#[test]
fn a_failing_worker_gets_no_updates() {
    let mut w = world();
    w.start_idle("w");
    w.update("w", "u").unwrap();
    for attempt in 1..=3 {
        let task = w.poll("w");
        assert_eq!((task.attempt, brought(&task).contains("u@")), (attempt, true));
        assert_eq!(w.update("w", &format!("more-{attempt}")).is_err(), attempt == 3, "attempt {attempt}");
        w.fail_task("w", &task).unwrap();
    }
    assert_eq!(w.ended(), ["u", "more-1", "more-2"].map(|id| format!("{id} aborted: {FAILING}")).join(", "));
    let task = w.poll("w");
    assert_eq!((task.attempt, brought(&task).as_str()), (4, ""));
    assert!(matches!(w.update("w", "late"), Err(Rejected::NotReady(FAILING))));
    w.complete("w", &task, vec![]);
    w.update("w", "late").unwrap();
}
