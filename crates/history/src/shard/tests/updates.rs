//! Callers that wait for updates: when they are told, and what.

use mainspring_api::v1::{
    protocol::{Message, message::SequencingId},
    update::{Acceptance, Input as Call, Meta, Outcome, Rejection, Request, Response, outcome::Value},
};
use mainspring_engine::input::AdmitUpdate;
use prost::Name;

use super::*;
use crate::answer::{UpdateOutcome, UpdateStage};

const WAIT: Duration = Duration::from_secs(20);

impl Story {
    /// A caller brings an update, and waits until it is completed.
    fn update(&mut self, update_id: &str, answer: u32) {
        self.update_until(update_id, UpdateStage::Completed, answer);
    }

    fn update_until(&mut self, update_id: &str, stage: UpdateStage, answer: u32) {
        let admit = AdmitUpdate { request: request(update_id), ..AdmitUpdate::default() };
        self.wait("", update_id, Some(Input::Update(Box::new(admit))), stage, answer);
    }

    /// A caller waits for an update that is there.
    fn await_update(&mut self, run_id: &str, update_id: &str, answer: u32) {
        self.wait(run_id, update_id, None, UpdateStage::Completed, answer);
    }

    fn wait(&mut self, run_id: &str, update_id: &str, input: Option<Input>, stage: UpdateStage, answer: u32) {
        let wanted = Await {
            run_id: run_id.to_owned(),
            update_id: update_id.to_owned(),
            input: input.map(Box::new),
            stage,
            deadline: self.now + WAIT,
        };
        self.work(Work::Update { wanted: Box::new(wanted), answer });
    }

    /// An idle run: a worker has done its first task.
    fn start_idle(&mut self) -> String {
        let run_id = self.start();
        let task = self.take();
        self.say(&task, vec![], vec![]);
        run_id
    }

    fn take(&mut self) -> StartedWorkflowTask {
        self.poll();
        self.task()
    }

    fn say(&mut self, task: &StartedWorkflowTask, messages: Vec<Message>, commands: Vec<Command>) {
        let token = WorkflowTaskToken {
            run_id: task.fixed.run_id.clone(),
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            attempt: task.attempt,
            stamp: task.task.stamp,
        };
        let input = CompleteWorkflowTask { token, commands, messages, ..CompleteWorkflowTask::default() };
        self.work(Work::call(Input::CompleteWorkflowTask(Box::new(input)), None));
    }

    /// The store says what it held back.
    fn release(&mut self) {
        self.held.take().into_iter().flatten().for_each(|event| self.event(event));
    }

    /// Who was told since this was last asked, and what, as text.
    fn told(&mut self) -> String {
        let told = |(caller, result): (u32, Result<Answered, Error>)| match result {
            Ok(Answered::Update(view)) => {
                let outcome = match view.outcome {
                    None => String::new(),
                    Some(UpdateOutcome::Event(event_id)) => format!(" by event {event_id}"),
                    Some(UpdateOutcome::Failure(failure)) => format!(": {}", failure.message),
                };
                format!("{caller} {:?}{outcome}", view.stage)
            }
            Err(error) => format!("{caller} {error}"),
            other => panic!("not about an update: {other:?}"),
        };
        self.answers.drain(..).map(told).collect::<Vec<_>>().join(", ")
    }

    fn is_in_memory(&mut self) -> bool {
        self.shard.evict_all();
        self.shard.chains.run(&key()).is_some()
    }
}

fn request(update_id: &str) -> Request {
    let meta = Meta { update_id: update_id.to_owned(), identity: String::new() };
    Request { meta: Some(meta), input: Some(Call { name: "u".to_owned(), ..Call::default() }), ..Request::default() }
}

fn message<M: prost::Message + Name>(update_id: &str, body: &M) -> Message {
    let type_url = format!("type.googleapis.com/{}", M::full_name());
    Message {
        id: format!("{update_id}/{}", M::NAME),
        protocol_instance_id: update_id.to_owned(),
        body: Some(prost_types::Any { type_url, value: body.encode_to_vec() }),
        sequencing_id: Some(SequencingId::EventId(1)),
    }
}

fn accept(update_id: &str) -> Message {
    let acceptance = Acceptance {
        accepted_request_message_id: format!("{update_id}/request"),
        accepted_request_sequencing_event_id: 5,
        accepted_request: None,
    };
    message(update_id, &acceptance)
}

fn reject(update_id: &str) -> Message {
    message(update_id, &Rejection { failure: Some(failure("no")), ..Rejection::default() })
}

fn respond(update_id: &str) -> Message {
    let outcome = Outcome { value: Some(Value::Failure(failure("bad"))) };
    let meta = Meta { update_id: update_id.to_owned(), identity: String::new() };
    message(update_id, &Response { meta: Some(meta), outcome: Some(outcome) })
}

fn failure(message: &str) -> mainspring_api::v1::failure::Failure {
    mainspring_api::v1::failure::Failure { message: message.to_owned(), ..Default::default() }
}

fn go_on() -> Vec<Command> {
    let (kind, attributes) = continue_as_new();
    vec![Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() }]
}

/// Each caller is told when the update is where it wants it.
#[test]
fn callers_are_told_as_far_as_they_want_to_know() {
    let mut story = Story::begin();
    story.start_idle();
    story.update_until("u", UpdateStage::Admitted, 1);
    assert_eq!(story.told(), "1 Admitted");
    story.update_until("u", UpdateStage::Accepted, 2);
    story.update("u", 3);
    story.await_update("", "u", 4);
    story.update("other", 5);
    let task = story.take();
    assert_eq!(story.told(), "");
    story.say(&task, vec![accept("u"), reject("other")], vec![]);
    assert_eq!(story.told(), "5 Completed: no, 2 Accepted");
    story.work(Work::call(Input::Signal(Box::default()), None));
    let task = story.take();
    story.say(&task, vec![respond("u")], vec![]);
    assert_eq!(story.told(), "3 Completed by event 13, 4 Completed by event 13");
    story.update("u", 6);
    story.await_update("", "u", 7);
    story.await_update("", "other", 8);
    assert_eq!(story.told(), "6 Completed by event 13, 7 Completed by event 13, 8 update \"other\" not found");
}

/// Nobody is told what a crash could still undo: an acceptance, a completion, a rejection.
#[test]
fn callers_are_told_after_the_commit() {
    let mut story = Story::begin();
    story.start_idle();
    story.update("done", 1);
    story.update("rejected", 2);
    let task = story.take();
    story.held = Some(Vec::new());
    story.say(&task, vec![accept("done"), respond("done"), reject("rejected")], vec![]);
    assert_eq!(story.told(), "");
    // One who comes now has to wait as well.
    story.await_update("", "done", 3);
    assert_eq!(story.told(), "");
    story.release();
    assert_eq!(story.told(), "2 Completed: no, 1 Completed by event 9, 3 Completed by event 9");
}

/// Who waited long enough is told how far the update got, and may ask again.
#[test]
fn a_caller_is_told_at_its_deadline_how_far_it_got() {
    let mut story = Story::begin();
    story.start_idle();
    story.update("accepted", 1);
    let task = story.take();
    story.say(&task, vec![accept("accepted")], vec![]);
    story.update("waits", 2);
    story.pass(19);
    assert_eq!(story.told(), "");
    assert_eq!(story.shard.next_wake(), story.now + Duration::from_secs(1));
    story.pass(1);
    assert_eq!(story.told(), "1 Accepted, 2 Admitted");
    story.update("waits", 3);
    let task = story.take();
    assert_eq!(task.messages.len(), 1, "it is the same update");
    story.say(&task, vec![reject("waits")], vec![]);
    assert_eq!(story.told(), "3 Completed: no");
}

/// The shard's own time never goes back, and a caller's patience is not measured by it: told at once how far the update
/// got, it would ask again at once.
#[test]
fn a_caller_waits_though_the_clock_was_put_back() {
    let mut story = Story::begin();
    story.start_idle();
    story.now = story.now - HOUR;
    story.update("waits", 1);
    story.pass(19);
    assert_eq!(story.told(), "");
    story.pass(1);
    assert_eq!(story.told(), "1 Admitted");
}

/// What only memory knows stays there while someone waits for it, and no longer.
#[test]
fn a_chain_with_callers_is_not_evicted() {
    let mut story = Story::begin();
    story.start_idle();
    story.update("one", 1);
    story.update("two", 2);
    assert!(story.is_in_memory());
    let task = story.take();
    story.say(&task, vec![reject("one"), accept("two")], vec![]);
    assert_eq!(story.told(), "1 Completed: no");
    assert!(story.is_in_memory());
    story.work(Work::call(Input::Signal(Box::default()), None));
    let task = story.take();
    story.say(&task, vec![respond("two")], vec![]);
    assert_eq!(story.told(), "2 Completed by event 13");
    assert!(!story.is_in_memory());
    // It is read again with the updates that it accepted.
    story.await_update("", "two", 3);
    assert_eq!(story.told(), "3 Completed by event 13");
}

/// At the deadline of the last caller the chain may go as well, and with it an update that nobody asked for again.
#[test]
fn an_update_that_nobody_waits_for_is_forgotten() {
    let mut story = Story::begin();
    story.start_idle();
    story.update("u", 1);
    story.pass(20);
    assert_eq!(story.told(), "1 Admitted");
    assert!(!story.is_in_memory());
    story.await_update("", "u", 2);
    assert_eq!(story.told(), "2 update \"u\" not found");
    // Its task is there; the worker finds nothing to do.
    let task = story.take();
    assert!(task.messages.is_empty());
    story.update("u", 3);
    story.say(&task, vec![], vec![]);
    let task = story.take();
    assert_eq!((task.messages.len(), task.started_event_id), (1, 6));
}

/// A shard that is lost tells its callers to ask again; asked again, the update is as before.
#[test]
fn callers_hear_that_the_shard_was_lost() {
    let mut story = Story::begin();
    story.start_idle();
    story.update("u", 1);
    story.held = Some(Vec::new());
    story.work(Work::call(Input::Signal(Box::default()), None));
    let Some(Event::Committed { epoch, seq, .. }) = story.held.take().and_then(|mut held| held.pop()) else {
        panic!("nothing was written");
    };
    story.event(Event::Committed { epoch, seq, result: Err(StoreError::Unknown("a test".to_owned())) });
    story.pass(0);
    let [(1, Err(Error::Unavailable(_)))] = story.answers.as_slice() else { panic!("{:?}", story.answers) };
    story.answers.clear();
    story.update("u", 2);
    let task = story.take();
    assert_eq!(task.messages.len(), 1);
    story.say(&task, vec![accept("u"), respond("u")], vec![]);
    assert_eq!(story.told(), "2 Completed by event 10");
}

/// A run that goes on in another one: its updates do not, and whoever waits for one is told.
#[test]
fn callers_of_a_superseded_run_are_told() {
    let mut story = Story::begin();
    let run_id = story.start_idle();
    story.update("accepted", 1);
    let task = story.take();
    story.update("unsent", 2);
    story.say(&task, vec![], vec![]);
    assert!(story.told().starts_with("1 Completed: Workflow Update is rejected"));
    story.update("accepted", 1);
    let task = story.take();
    let unsent = task.messages.iter().any(|message| message.protocol_instance_id == "unsent");
    assert!(unsent, "it goes out with the next task");
    story.update("late", 3);
    // An acceptance without a place would come after the end.
    let place =
        mainspring_api::v1::command::ProtocolMessageCommandAttributes { message_id: "accepted/Acceptance".to_owned() };
    let place = Command {
        command_type: CommandType::ProtocolMessage as i32,
        attributes: Some(Attributes::ProtocolMessageCommandAttributes(place)),
        ..Command::default()
    };
    let commands = [vec![place], go_on()].concat();
    story.say(&task, vec![accept("accepted")], commands);
    let failure = "Workflow Update failed because the Workflow completed before the Update completed.";
    assert_eq!(story.told(), format!("2 {}, 3 {}, 1 Completed: {failure}", Rejected::Closing, Rejected::Closing));
    // The older run can be asked later as well; the newest has never heard of the update.
    story.await_update(&run_id, "accepted", 4);
    story.await_update(&run_id, "unsent", 5);
    story.await_update("", "accepted", 6);
    assert_eq!(
        story.told(),
        format!("4 Completed: {failure}, 5 update \"unsent\" not found, 6 update \"accepted\" not found")
    );
    let admit = AdmitUpdate { run_id: run_id.clone(), request: request("new"), ..AdmitUpdate::default() };
    story.wait(&run_id, "new", Some(Input::Update(Box::new(admit))), UpdateStage::Completed, 7);
    let admit = AdmitUpdate { run_id: run_id.clone(), request: request("accepted"), ..AdmitUpdate::default() };
    story.wait(&run_id, "accepted", Some(Input::Update(Box::new(admit))), UpdateStage::Completed, 8);
    assert_eq!(story.told(), format!("7 {}, 8 Completed: {failure}", Rejected::Closed));
}

/// The outcome of an older run's update is in that run's history.
#[test]
fn an_older_run_has_its_outcomes() {
    let mut story = Story::begin();
    let run_id = story.start_idle();
    story.update("u", 1);
    let task = story.take();
    story.say(&task, vec![accept("u"), respond("u")], vec![]);
    assert_eq!(story.told(), "1 Completed by event 9");
    story.work(Work::call(Input::Signal(Box::default()), None));
    let task = story.take();
    story.say(&task, vec![], go_on());
    story.await_update(&run_id, "u", 2);
    let [(2, Ok(Answered::Update(view)))] = story.answers.as_slice() else { panic!("{:?}", story.answers) };
    assert_eq!((view.stage, &view.run_id), (UpdateStage::Completed, &run_id));
    assert_eq!(story.told(), "2 Completed by event 9");
}

/// What a deleted run knew is gone with it, and whoever waited is told at once.
#[test]
fn callers_of_a_deleted_run_are_told() {
    let mut story = Story::begin();
    let run_id = story.start_idle();
    story.update("accepted", 1);
    story.update("sent", 2);
    let task = story.take();
    story.say(&task, vec![accept("accepted")], vec![]);
    story.told();
    story.update("waits", 3);
    story.work(Work::call(Input::Delete { run_id }, None));
    assert_eq!(
        story.told(),
        format!(
            "3 {}, 1 Completed: Workflow Update failed because the Workflow completed before the Update completed.",
            Rejected::UpdateAborted
        )
    );
    story.await_update("", "accepted", 4);
    assert_eq!(story.told(), format!("4 {}", Rejected::NotFound));
}
