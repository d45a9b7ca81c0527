//! Queries: handlers that look at a run and change nothing.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use crate::{
    error::{Error, Result},
    payload::{Payload, RawArgs, ToPayload},
    workflow::{
        fault::Fault,
        panic,
        run::{Mode, Run},
    },
};

type Handler = Rc<dyn Fn(&str, RawArgs) -> Result<Payload>>;

/// The handlers of queries.
#[derive(Default)]
pub(crate) struct Queries {
    handlers: RefCell<BTreeMap<String, Handler>>,
    fallback: RefCell<Option<Handler>>,
}

impl Queries {
    pub(crate) fn set(&self, name: Option<&str>, handler: Handler) {
        match name {
            Some(name) => drop(self.handlers.borrow_mut().insert(name.to_owned(), handler)),
            None => drop(self.fallback.replace(Some(handler))),
        }
    }

    pub(crate) fn clear(&self) {
        let all = (self.handlers.take(), self.fallback.take());
        drop(all);
    }

    fn find(&self, name: &str) -> Option<Handler> {
        self.handlers.borrow().get(name).cloned().or_else(|| self.fallback.borrow().clone())
    }

    fn names(&self) -> Vec<String> {
        self.handlers.borrow().keys().cloned().collect()
    }
}

impl Run {
    /// Answers a query. A fault means that the run must leave the cache: the handler did more than look.
    pub(crate) fn query(self: &Rc<Run>, name: &str, args: RawArgs) -> Result<Result<Payload>, Fault> {
        match name {
            "__stack_trace" => return Ok(self.stack_trace().to_payload().map_err(Error::from)),
            "__temporal_workflow_metadata" => return Ok(self.metadata()),
            _ => {}
        }
        let Some(handler) = self.queries.find(name) else {
            let known = self.queries.names().join(", ");
            return Ok(Err(Error::application(
                "NotFoundError",
                format!("the workflow answers no query {name:?}; it answers: {known}"),
            )));
        };
        let before = self.set_mode(Mode::Reading);
        let entered = self.branches.enter();
        let answer = panic::catch(|| handler(name, args));
        drop(entered);
        self.set_mode(before);
        match (self.take_fault(), answer) {
            (Some(fault), _) => Err(fault),
            // A query that panics has changed nothing: there is no way to.
            (None, Err(fault)) => Ok(Err(Error::application("Panic", fault.to_string()))),
            (None, Ok(answer)) => Ok(answer),
        }
    }

    fn stack_trace(&self) -> String {
        let pending = self.ops.borrow().pending();
        match pending.is_empty() {
            true => "no operation is pending".to_owned(),
            false => pending.join("\n"),
        }
    }

    fn metadata(&self) -> Result<Payload> {
        let list = |names: Vec<String>| -> Vec<serde_json::Value> {
            names.into_iter().map(|name| serde_json::json!({ "name": name })).collect()
        };
        let value = serde_json::json!({
            "definition": {
                "type": self.info.workflow_type,
                "queryDefinitions": list(self.queries.names()),
                "signalDefinitions": list(self.signals.names()),
                "updateDefinitions": list(self.updates.names()),
            },
            "currentDetails": *self.details.borrow(),
        });
        Ok(value.to_payload()?)
    }
}
