//! What a worker says of updates: which it takes, and how those that it took go on.

use std::time::Duration;

use mainspring_api::v1::{
    command::Command,
    protocol::{Message, message::SequencingId},
    update::{Acceptance, Meta, Outcome, Rejection, Request, Response, outcome::Value},
};
use prost::{Message as _, Name};

use crate::{
    commands::{self, ActivityPlan, failure, payloads},
    facts::Facts,
};

/// What a workflow does with an update; its name says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handling {
    /// Takes it and is done with it at once.
    Answer,
    /// The same, with a failure.
    Fail,
    /// Takes it, and is done when an activity is.
    Activity,
    /// Takes it, and is done when a timer has fired.
    Timer,
    /// Takes it and never comes back to it.
    Forget,
    /// The validator says no.
    Reject,
    /// Says nothing, as workers do that know no updates.
    Ignore,
}

const HANDLINGS: [(Handling, &str); 7] = [
    (Handling::Answer, "answer"),
    (Handling::Fail, "fail"),
    (Handling::Activity, "activity"),
    (Handling::Timer, "timer"),
    (Handling::Forget, "forget"),
    (Handling::Reject, "reject"),
    (Handling::Ignore, "ignore"),
];

impl Handling {
    pub(crate) fn all() -> impl Iterator<Item = Handling> {
        HANDLINGS.into_iter().map(|(handling, _)| handling)
    }

    pub(crate) fn name(self) -> &'static str {
        HANDLINGS.into_iter().find(|(handling, _)| *handling == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Handling> {
        HANDLINGS.into_iter().find(|(_, known)| *known == name).map(|(handling, _)| handling)
    }

    pub(crate) fn is_taken(self) -> bool {
        !matches!(self, Handling::Reject | Handling::Ignore)
    }
}

/// An update that came with a task and that no completion has answered yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) message_id: String,
    pub(crate) sequencing_event_id: i64,
    pub(crate) update_id: String,
    pub(crate) request: Request,
}

impl Asked {
    /// # Errors
    /// The message is no update.
    pub(crate) fn read(message: &Message) -> Result<Asked, String> {
        let body = message.body.clone().unwrap_or_default();
        if body.type_url.rsplit('/').next() != Some(Request::full_name().as_str()) {
            return Err(format!("message {} is a {}", message.id, body.type_url));
        }
        let request = Request::decode(body.value.as_slice()).map_err(|why| why.to_string())?;
        let Some(SequencingId::EventId(sequencing_event_id)) = message.sequencing_id else {
            return Err(format!("message {} has no place", message.id));
        };
        let (message_id, update_id) = (message.id.clone(), message.protocol_instance_id.clone());
        Ok(Asked { message_id, sequencing_event_id, update_id, request })
    }

    pub(crate) fn handling(&self) -> Option<Handling> {
        handling_of(Some(&self.request))
    }
}

pub(crate) fn handling_of(request: Option<&Request>) -> Option<Handling> {
    Handling::parse(&request?.input.as_ref()?.name)
}

/// What a completion says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) commands: Vec<Command>,
    pub(crate) messages: Vec<Message>,
}

impl Said {
    /// With a command that gives it its place among the others.
    fn say(&mut self, message: Message) {
        self.commands.push(commands::protocol_message(&message.id));
        self.messages.push(message);
    }
}

/// Answers what was asked and goes on with what was taken. `unique` is in no other completion. True when nothing that it
/// took is left to do.
pub(crate) fn go_on(facts: &Facts, unique: u64, out: &mut Said) -> bool {
    let mut done = true;
    for (id, taken) in facts.updates.iter().filter(|(_, taken)| !taken.done) {
        done &= work(id, taken.handling, facts, unique, out);
    }
    for asked in &facts.asked {
        let id = &asked.update_id;
        match asked.handling() {
            // A no has no place among the commands.
            Some(Handling::Reject) => out.messages.push(rejection(asked)),
            Some(handling) if handling.is_taken() => {
                out.say(acceptance(asked, unique));
                done &= work(id, handling, facts, unique, out);
            }
            _ => {}
        }
    }
    done
}

/// One update that is taken. True when there is nothing to wait for.
fn work(id: &str, handling: Handling, facts: &Facts, unique: u64, out: &mut Said) -> bool {
    let name = format!("u-{id}");
    let over = match handling {
        Handling::Activity => match facts.activities.get(&name) {
            Some(activity) => activity.done,
            None => {
                out.commands.push(commands::activity(&name, &plan()));
                false
            }
        },
        Handling::Timer => match facts.timers.get(&name) {
            Some(timer) => timer.done,
            None => {
                out.commands.push(commands::timer(&name, 3));
                false
            }
        },
        Handling::Forget => return true,
        Handling::Answer | Handling::Fail | Handling::Reject | Handling::Ignore => true,
    };
    if over {
        out.say(response(id, handling, facts, unique));
    }
    over
}

fn plan() -> ActivityPlan {
    ActivityPlan {
        behaviour: "ok",
        attempts: 3,
        eager: false,
        to_close: Duration::from_secs(5),
        over_all: Duration::from_secs(20),
        to_start: Duration::ZERO,
        heartbeat: Duration::ZERO,
    }
}

fn acceptance(asked: &Asked, unique: u64) -> Message {
    let acceptance = Acceptance {
        accepted_request_message_id: asked.message_id.clone(),
        accepted_request_sequencing_event_id: asked.sequencing_event_id,
        // Some SDKs say what they accept, others trust the server to know.
        accepted_request: (!unique.is_multiple_of(4)).then(|| asked.request.clone()),
    };
    message("accept", &asked.update_id, &acceptance)
}

fn rejection(asked: &Asked) -> Message {
    let rejection = Rejection {
        rejected_request_message_id: asked.message_id.clone(),
        rejected_request_sequencing_event_id: asked.sequencing_event_id,
        rejected_request: Some(asked.request.clone()),
        failure: Some(failure(&rejected_text(&asked.update_id))),
    };
    message("reject", &asked.update_id, &rejection)
}

/// What callers of a rejected update are told.
pub(crate) fn rejected_text(update_id: &str) -> String {
    format!("no to {update_id}")
}

fn response(id: &str, handling: Handling, facts: &Facts, unique: u64) -> Message {
    let text = format!("{id} {} {unique}", facts.run_id);
    let value = match handling {
        Handling::Fail => Value::Failure(failure(&text)),
        _ => Value::Success(payloads(&text).unwrap_or_default()),
    };
    let meta = Meta { update_id: id.to_owned(), identity: String::new() };
    message("respond", id, &Response { meta: Some(meta), outcome: Some(Outcome { value: Some(value) }) })
}

fn message<M: prost::Message + Name>(what: &str, update_id: &str, body: &M) -> Message {
    let type_url = format!("type.googleapis.com/{}", M::full_name());
    Message {
        id: format!("{update_id}/{what}"),
        protocol_instance_id: update_id.to_owned(),
        body: Some(prost_types::Any { type_url, value: body.encode_to_vec() }),
        sequencing_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handling_reads_back() {
        assert!(Handling::all().all(|handling| Handling::parse(handling.name()) == Some(handling)));
        assert_eq!(Handling::parse("other"), None);
    }
}
