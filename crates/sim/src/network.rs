//! The network: encoded requests to the frontend and answers from it, lost, repeated, late, or given up on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use mainspring_frontend::{Answer, Metadata, WORKFLOW_SERVICE};
use prost::Message;
use tokio::sync::oneshot;
use tonic::{Code, Status};

use crate::{
    executor::{Class, Owner, TaskId},
    world::Sim,
};

/// A caller that hears nothing for so long asks again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why a caller has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    /// It heard nothing: the call may have done its work or not.
    Lost,
    Refused(Status),
}

/// What must be true when an answer leaves the server: all that it says is durable.
pub(crate) type Check = Arc<dyn Fn(&Sim, Result<&Bytes, &Status>) -> Result<(), String> + Send + Sync>;

pub(crate) fn no_check() -> Check {
    Arc::new(|_, _| Ok(()))
}

type Reply = oneshot::Sender<Result<Bytes, Status>>;

/// A call under way in a node. Dropped, the caller has gone: the node hears so, or goes on for nobody.
struct Connection {
    sim: Sim,
    call: TaskId,
    cut: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.cut && self.sim.executor.kill(self.call) {
            self.sim.saw("call cut");
            // Activities that would have come with the answer are lost with it.
            self.sim.ledger().excuse(self.sim.latest());
        }
    }
}

impl Sim {
    /// One call, as an SDK makes it: over a network that may fail it.
    pub(crate) async fn call<S: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
        patience: Duration,
        check: &Check,
    ) -> Result<S, Failed> {
        let (faults, bytes) = (&self.plan.faults, Bytes::from(request.encode_to_vec()));
        if self.strikes(faults.call_late) {
            self.saw("request late");
            self.pause(1, 3_000).await;
        }
        if self.strikes(faults.request_lost) {
            self.saw("request lost");
            self.sleep(patience).await;
            return Err(Failed::Lost);
        }
        if self.strikes(faults.call_repeated) {
            self.saw("request repeated");
            self.deliver(method, bytes.clone(), patience, check.clone(), None);
        }
        let (reply, answered) = oneshot::channel();
        let Some(call) = self.deliver(method, bytes, patience, check.clone(), Some(reply)) else {
            self.pause(10, 1_000).await;
            return Err(Failed::Lost);
        };
        let cut = !self.strikes(faults.cut_unheard);
        let connection = Connection { sim: self.clone(), call, cut };
        let heard = self.within(patience, answered).await;
        drop(connection);
        match heard {
            Some(Ok(Ok(bytes))) => S::decode(bytes).map_err(|error| {
                self.fail(format!("the answer to {method} cannot be read: {error}"));
                Failed::Lost
            }),
            Some(Ok(Err(status))) => Err(Failed::Refused(status)),
            // The connection broke.
            Some(Err(_)) => {
                self.pause(1, 500).await;
                Err(Failed::Lost)
            }
            None => Err(Failed::Lost),
        }
    }

    /// Asks until there is an answer, as SDKs do: what is safe to repeat.
    ///
    /// # Errors
    /// The refusal. `None` when the faults of the world have outlived the caller.
    pub(crate) async fn ask<S: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
        check: &Check,
    ) -> Result<S, Status> {
        loop {
            match self.call(method, request, PATIENCE, check).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Refused(status)) if !is_passing(&status) => return Err(status),
                Err(_) => self.pause(1, 1_500).await,
            }
        }
    }

    /// Hands the request to the node that lives, if one does.
    fn deliver(
        &self,
        method: &'static str,
        bytes: Bytes,
        patience: Duration,
        check: Check,
        reply: Option<Reply>,
    ) -> Option<TaskId> {
        let node = self.node().clone()?;
        let (sim, id) = (self.clone(), self.new_id());
        let metadata = Metadata { deadline: Some(self.wall() + patience), client_name: String::new() };
        self.note(|| format!("call {id} {method} comes to node {}", node.number));
        let (number, frontend) = (node.number, node.frontend);
        let handling = async move {
            let path = format!("/{WORKFLOW_SERVICE}/{method}");
            let result = frontend.call(&path, bytes, &metadata).await;
            sim.answered(id, method, result, &check, reply);
        };
        Some(self.executor.spawn(Owner::Node(number), Class::Call, Box::pin(handling)))
    }

    /// An answer leaves the frontend, and perhaps the server.
    fn answered(
        &self,
        id: u64,
        method: &'static str,
        result: Result<Answer, Status>,
        check: &Check,
        reply: Option<Reply>,
    ) {
        self.note(|| match &result {
            Ok(answer) => format!("call {id} {method} is answered: {} bytes", answer.bytes().len()),
            Err(status) => format!("call {id} {method} is refused: {:?} {}", status.code(), status.message()),
        });
        if let Err(status) = &result {
            self.check_refusal(method, status);
        }
        let said = check(self, result.as_ref().map(Answer::bytes));
        self.check(said.map_err(|why| format!("call {id} {method}: {why}")));
        if let (Ok(answer), "RespondWorkflowTaskCompleted") = (&result, method) {
            // Activities that come with a completion are never handed out again.
            self.note_sent(method, answer.bytes());
        }
        let Some(reply) = reply.filter(|reply| !reply.is_closed()) else {
            self.saw("answer to nobody");
            return;
        };
        let faults = &self.plan.faults;
        if self.strikes(faults.answer_dropped) {
            self.saw("answer dropped unsent");
            return;
        }
        // From here on the server believes that it was heard.
        let bytes = result.map(Answer::into_sent);
        if let Ok(bytes) = &bytes {
            self.note_sent(method, bytes);
        }
        if self.strikes(faults.answer_lost) {
            self.saw("answer lost");
        } else if self.strikes(faults.call_late) {
            self.saw("answer late");
            let sim = self.clone();
            self.spawn(async move {
                sim.pause(1, 12_000).await;
                let _ = reply.send(bytes);
            });
        } else {
            let _ = reply.send(bytes);
        }
    }

    /// Refusals that no request of ours deserves.
    fn check_refusal(&self, method: &str, status: &Status) {
        if matches!(status.code(), Code::Internal | Code::DataLoss | Code::Unimplemented | Code::Unknown) {
            self.fail(format!("{method} is refused with {:?}: {}", status.code(), status.message()));
        }
        if status.code() == Code::ResourceExhausted {
            self.saw("refused for want of room");
        }
    }
}

/// Refusals that SDKs answer by asking again.
pub(crate) fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Aborted)
}
