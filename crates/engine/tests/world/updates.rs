//! Updates, and what a worker says of them.

use mainspring_api::v1::{
    command::{Command, ProtocolMessageCommandAttributes, command::Attributes},
    enums::CommandType,
    protocol::{Message, message::SequencingId},
    update::{Acceptance, Input as Call, Meta, Outcome, Rejection, Request, Response, outcome::Value},
};
use mainspring_engine::{
    Input, Rejected, Reply, Run,
    input::{AdmitUpdate, CompleteWorkflowTask, Start},
    outcome::{CompletedWorkflowTask, StartedRun, StartedWorkflowTask, UpdateEnd},
};
use prost::Name;

use super::{
    World,
    commands::{command, failure},
    payloads,
};

impl World {
    pub(crate) fn update(&mut self, id: &str, update_id: &str) -> Result<(), Rejected> {
        self.update_with(id, update_id, |_| {})
    }

    pub(crate) fn update_with(
        &mut self,
        id: &str,
        update_id: &str,
        change: impl FnOnce(&mut AdmitUpdate),
    ) -> Result<(), Rejected> {
        let mut admit = AdmitUpdate { request: request(update_id), ..AdmitUpdate::default() };
        change(&mut admit);
        match self.input(id, Input::Update(Box::new(admit)))? {
            Reply::Done => Ok(()),
            other => panic!("not an update: {other:?}"),
        }
    }

    pub(crate) fn update_with_start(
        &mut self,
        id: &str,
        update_id: &str,
        change: impl FnOnce(&mut Start),
    ) -> Result<StartedRun, Rejected> {
        let mut start = self.start_input(id);
        change(&mut start);
        let admit = AdmitUpdate { request: request(update_id), ..AdmitUpdate::default() };
        self.input(id, Input::UpdateWithStart(Box::new(start), Box::new(admit))).map(super::started)
    }

    /// A run whose first workflow task is done: `1 Started 2 S 3 B 4 C`.
    #[track_caller]
    pub(crate) fn start_idle(&mut self, id: &str) {
        self.start(id);
        self.work(id, vec![]);
    }

    /// Completes a task with messages; a command names each, in their order, as SDKs do.
    #[track_caller]
    pub(crate) fn say(
        &mut self,
        id: &str,
        task: &StartedWorkflowTask,
        messages: Vec<Message>,
        commands: Vec<Command>,
    ) -> CompletedWorkflowTask {
        let completed = self.say_with(id, task, messages, commands, |_| {}).expect("a completion");
        assert_eq!(completed.refused, None);
        completed
    }

    pub(crate) fn say_with(
        &mut self,
        id: &str,
        task: &StartedWorkflowTask,
        messages: Vec<Message>,
        commands: Vec<Command>,
        change: impl FnOnce(&mut CompleteWorkflowTask),
    ) -> Result<CompletedWorkflowTask, Rejected> {
        // A rejection has no place among the commands.
        let placed = messages.iter().filter(|message| !message.id.ends_with("/reject"));
        let commands = placed.map(|message| place(&message.id)).chain(commands).collect();
        self.complete_with(id, task, commands, |input| {
            input.messages = messages;
            change(input);
        })
    }

    /// The updates that ended without an event since this was last asked, as text.
    pub(crate) fn ended(&mut self) -> String {
        let text = |(id, end): (String, UpdateEnd)| match end {
            UpdateEnd::Rejected(failure) => format!("{id}: {}", failure.message),
            UpdateEnd::Aborted(why) => format!("{id} aborted: {why}"),
        };
        self.ended.drain(..).map(text).collect::<Vec<_>>().join(", ")
    }

    /// The server that held the run is gone, and with it what is never stored.
    pub(crate) fn forget(&mut self, id: &str) {
        if let Some(run) = self.chains.get_mut(id).and_then(|chain| chain.run.as_mut()) {
            run.admitted.clear();
        }
    }
}

/// The ids of the updates that no worker has answered.
pub(crate) fn admitted(run: &Run) -> Vec<String> {
    run.admitted.iter().map(|admitted| admitted.update_id().to_owned()).collect()
}

pub(crate) fn request(update_id: &str) -> Request {
    let meta = Meta { update_id: update_id.to_owned(), identity: "client".to_owned() };
    let input = Call { name: "u".to_owned(), args: payloads(b"1"), ..Call::default() };
    Request { meta: Some(meta), input: Some(input), ..Request::default() }
}

/// What a task brings, as `update@sequencing-id`.
pub(crate) fn brought(task: &StartedWorkflowTask) -> String {
    let text = |message: &Message| {
        assert_eq!(message.id, format!("{}/request", message.protocol_instance_id));
        assert_eq!(message.body.as_ref().expect("a body").type_url, url::<Request>());
        let Some(SequencingId::EventId(event_id)) = message.sequencing_id else { panic!("no sequencing id") };
        format!("{}@{event_id}", message.protocol_instance_id)
    };
    task.messages.iter().map(text).collect::<Vec<_>>().join(" ")
}

pub(crate) fn accept(task: &StartedWorkflowTask, update_id: &str) -> Message {
    let acceptance = Acceptance {
        accepted_request_message_id: format!("{update_id}/request"),
        accepted_request_sequencing_event_id: task.started_event_id - 1,
        accepted_request: None,
    };
    message(update_id, "accept", &acceptance)
}

pub(crate) fn reject(update_id: &str) -> Message {
    message(update_id, "reject", &Rejection { failure: Some(failure("no")), ..Rejection::default() })
}

pub(crate) fn respond(update_id: &str) -> Message {
    let meta = Meta { update_id: update_id.to_owned(), identity: "client".to_owned() };
    let outcome = Outcome { value: Some(Value::Success(payloads(b"42").expect("payloads"))) };
    message(update_id, "complete", &Response { meta: Some(meta), outcome: Some(outcome) })
}

pub(crate) fn message<M: prost::Message + Name>(update_id: &str, kind: &str, body: &M) -> Message {
    Message {
        id: format!("{update_id}/{kind}"),
        protocol_instance_id: update_id.to_owned(),
        body: Some(prost_types::Any { type_url: url::<M>(), value: body.encode_to_vec() }),
        sequencing_id: None,
    }
}

/// The command that gives a message its place.
pub(crate) fn place(message_id: &str) -> Command {
    let a = ProtocolMessageCommandAttributes { message_id: message_id.to_owned() };
    command(CommandType::ProtocolMessage, Attributes::ProtocolMessageCommandAttributes(a))
}

fn url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}
