//! Updates: validated, accepted and completed by messages that stand at their place among the commands.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    task::Waker,
};

use mainspring_api::temporal::api::update::v1::{Acceptance, Meta, Outcome, Rejection, Request, Response, outcome};
use mainspring_api::v1::{common::Payloads, protocol::Message};
use prost::Name;

use crate::{
    error::{Error, Result},
    payload::{Payload, RawArgs, from_wire},
    workflow::{
        context::Ctx,
        fault::{At, Fault},
        ops::What,
        panic,
        run::{Mode, Run},
        signal::HandlerRun,
        task::{self, BranchKind},
    },
};

type Validate = Rc<dyn Fn(&str, &RawArgs) -> Result<()>>;
type Begin = Rc<dyn Fn(Ctx, &str, RawArgs) -> Result<HandlerRun<Payload>>>;

/// How updates of one name are handled.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) validate: Option<Validate>,
    pub(crate) begin: Begin,
}

/// An update that is asked for, by a message or by the history.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) message_id: String,
    pub(crate) sequencing: i64,
    pub(crate) request: Request,
}

/// The updates of a run, and the handlers that are running.
#[derive(Default)]
pub(crate) struct Updates {
    handlers: RefCell<BTreeMap<String, Handler>>,
    fallback: RefCell<Option<Handler>>,
    /// Those without a handler yet: the workflow may be about to set it.
    waiting: RefCell<VecDeque<Asked>>,
    /// Requests that the history has in an event of their own.
    admitted: RefCell<BTreeMap<String, Request>>,
    messages: RefCell<Vec<Message>>,
    running: Cell<usize>,
    idle: RefCell<Vec<Waker>>,
    failed: RefCell<Option<Error>>,
}

impl Updates {
    pub(crate) fn set(&self, name: Option<&str>, handler: Handler) {
        match name {
            Some(name) => drop(self.handlers.borrow_mut().insert(name.to_owned(), handler)),
            None => drop(self.fallback.replace(Some(handler))),
        }
    }

    pub(crate) fn clear(&self) {
        let all = (self.handlers.take(), self.fallback.take(), self.idle.take());
        drop(all);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.handlers.borrow().keys().cloned().collect()
    }

    fn find(&self, name: &str) -> Option<Handler> {
        self.handlers.borrow().get(name).cloned().or_else(|| self.fallback.borrow().clone())
    }

    pub(crate) fn admit(&self, request: Request) {
        let id = request.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default();
        self.admitted.borrow_mut().insert(id, request);
    }

    pub(crate) fn admitted(&self, id: &str) -> Option<Request> {
        self.admitted.borrow_mut().remove(id)
    }

    pub(crate) fn take_messages(&self) -> Vec<Message> {
        self.messages.take()
    }

    pub(crate) fn handler_began(&self) {
        self.running.set(self.running.get() + 1);
    }

    pub(crate) fn handler_ended(&self) {
        self.running.set(self.running.get().saturating_sub(1));
        if self.running.get() == 0 {
            self.idle.take().into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running.get()
    }

    pub(crate) fn wait_idle(&self, waker: &Waker) {
        self.idle.borrow_mut().push(waker.clone());
        task::park();
    }

    /// A signal's handler failed, and the workflow with it.
    pub(crate) fn fail_workflow(&self, error: Error) {
        self.failed.borrow_mut().get_or_insert(error);
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failed.borrow_mut().take()
    }

    fn say(&self, update: &str, message_id: String, type_url: String, body: Vec<u8>) {
        self.messages.borrow_mut().push(Message {
            id: message_id,
            protocol_instance_id: update.to_owned(),
            body: Some(prost_types::Any { type_url, value: body }),
            sequencing_id: None,
        });
    }
}

impl Asked {
    /// From a message of the server.
    pub(crate) fn from_message(message: &Message) -> Result<Asked, Fault> {
        let unreadable = |what: &str| Fault::Unusable(format!("the message {:?} of an update {what}", message.id));
        let body = message.body.as_ref().ok_or_else(|| unreadable("has no body"))?;
        if !body.type_url.ends_with("temporal.api.update.v1.Request") {
            return Err(unreadable(&format!("has the type {:?}", body.type_url)));
        }
        let request = prost::Message::decode(body.value.as_ref()).map_err(|_| unreadable("cannot be read"))?;
        let sequencing = match message.sequencing_id {
            Some(mainspring_api::v1::protocol::message::SequencingId::EventId(id)) => id,
            _ => 0,
        };
        let id = message.protocol_instance_id.clone();
        Ok(Asked { id, message_id: message.id.clone(), sequencing, request })
    }

    fn name(&self) -> &str {
        self.request.input.as_ref().map(|input| input.name.as_str()).unwrap_or_default()
    }
}

impl Run {
    /// Validates an update and begins with it, in a branch; without a handler it waits for one until no branch is ready.
    pub(crate) fn deliver_update(self: &Rc<Run>, cx: &Ctx, asked: Asked) -> Result<(), Fault> {
        let Some(handler) = self.updates.find(asked.name()) else {
            self.updates.waiting.borrow_mut().push_back(asked);
            return Ok(());
        };
        let input = asked.request.input.clone().unwrap_or_default();
        let args = RawArgs(from_wire(input.args));
        if !self.replaying.get()
            && let Some(validate) = &handler.validate
        {
            let before = self.set_mode(Mode::Reading);
            let verdict = panic::catch(|| validate(&input.name, &args));
            self.set_mode(before);
            if let Some(fault) = self.take_fault() {
                return Err(fault);
            }
            if let Err(error) = verdict? {
                self.reject(&asked, error);
                return Ok(());
            }
        }
        let begun = panic::catch(|| (handler.begin)(cx.clone(), &input.name, args))?;
        match begun {
            Ok(run) => {
                self.accept(&asked);
                self.run_update(&asked, run);
                Ok(())
            }
            // Arguments that cannot be read: nothing was begun, so it is rejected like by a validator.
            Err(error) if !self.replaying.get() => {
                self.reject(&asked, error);
                Ok(())
            }
            Err(error) => Err(Fault::Unusable(format!(
                "[TMPRL1100] nondeterminism: update {:?} ({}) was accepted, now its arguments cannot be read: {error}",
                asked.name(),
                asked.id
            ))),
        }
    }

    /// Gives those that waited for a handler to it.
    pub(crate) fn retry_updates(self: &Rc<Run>, cx: &Ctx) -> Result<(), Fault> {
        let waiting = self.updates.waiting.take();
        for asked in waiting {
            self.deliver_update(cx, asked)?;
        }
        Ok(())
    }

    /// Rejects those that nobody set a handler for.
    pub(crate) fn reject_unknown_updates(&self) -> Result<(), Fault> {
        for asked in self.updates.waiting.take() {
            let known = self.updates.names().join(", ");
            let message = format!("the workflow has no update {:?}; it has: {known}", asked.name());
            if self.replaying.get() {
                return Err(Fault::Unusable(format!("[TMPRL1100] nondeterminism: the history accepts one, {message}")));
            }
            self.reject(&asked, Error::application("NotFoundError", message));
        }
        Ok(())
    }

    fn accept(&self, asked: &Asked) {
        let message_id = format!("{}/accept", asked.id);
        if !self.replaying.get() {
            let body = Acceptance {
                accepted_request_message_id: asked.message_id.clone(),
                accepted_request_sequencing_event_id: asked.sequencing,
                accepted_request: Some(asked.request.clone()),
            };
            let body = prost::Message::encode_to_vec(&body);
            self.updates.say(&asked.id, message_id.clone(), url::<Acceptance>(), body);
        }
        let what = What::Accepted { update: asked.id.clone(), message: message_id };
        self.ops.borrow_mut().issue(what, here());
    }

    fn reject(&self, asked: &Asked, error: Error) {
        let body = Rejection {
            rejected_request_message_id: asked.message_id.clone(),
            rejected_request_sequencing_event_id: asked.sequencing,
            rejected_request: Some(asked.request.clone()),
            failure: Some(error.into_failure()),
        };
        let body = prost::Message::encode_to_vec(&body);
        self.updates.say(&asked.id, format!("{}/reject", asked.id), url::<Rejection>(), body);
    }

    fn run_update(self: &Rc<Run>, asked: &Asked, handler: HandlerRun<Payload>) {
        let run = self.clone();
        let id = asked.id.clone();
        let identity = asked.request.meta.as_ref().map(|meta| meta.identity.clone()).unwrap_or_default();
        self.updates.handler_began();
        let branch = Box::pin(async move {
            let result = handler.await;
            run.complete_update(&id, identity, result);
            run.updates.handler_ended();
        });
        self.branches.spawn(BranchKind::Handler, branch);
    }

    fn complete_update(&self, id: &str, identity: String, result: Result<Payload>) {
        let message_id = format!("{id}/complete");
        if !self.replaying.get() {
            let value = match result {
                Ok(payload) => outcome::Value::Success(Payloads { payloads: vec![payload] }),
                Err(error) => outcome::Value::Failure(error.into_failure()),
            };
            let body = Response {
                meta: Some(Meta { update_id: id.to_owned(), identity }),
                outcome: Some(Outcome { value: Some(value) }),
            };
            let body = prost::Message::encode_to_vec(&body);
            self.updates.say(id, message_id.clone(), url::<Response>(), body);
        }
        self.ops.borrow_mut().issue(What::Completed { update: id.to_owned(), message: message_id }, here());
    }
}

#[track_caller]
fn here() -> At {
    std::panic::Location::caller()
}

fn url<M: Name>() -> String {
    format!("type.googleapis.com/{}.{}", M::PACKAGE, M::NAME)
}
