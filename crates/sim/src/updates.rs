//! Clients that update workflows: they bring an update by its id until they hear how far it got, and wait for its outcome.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use mainspring_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    update::{Input, Meta, Request, UpdateRef, WaitPolicy},
    workflowservice::{
        ExecuteMultiOperationRequest, ExecuteMultiOperationResponse, PollWorkflowExecutionUpdateRequest,
        PollWorkflowExecutionUpdateResponse, StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
        UpdateWorkflowExecutionResponse,
        execute_multi_operation_request::{Operation, operation::Operation as One},
        execute_multi_operation_response::response::Response as Of,
    },
};
use prost::Message;
use tonic::{Code, Status};

use crate::{
    clients::execution,
    network::{Check, Failed, is_passing},
    random::Random,
    update_checks::Seen,
    update_job::Handling,
    world::{Key, Sim},
};

/// Why an update may come to nothing: no such run, or not while its worker fails, or too many.
const MAY_FAIL: &[Code] = &[Code::NotFound, Code::FailedPrecondition];

impl Sim {
    pub(crate) fn draw_update(&self, random: &Random, key: &Key, run_id: &str) -> UpdateWorkflowExecutionRequest {
        let all: Vec<Handling> = Handling::all().collect();
        let handling = if random.one_in(3) { Handling::Answer } else { *random.pick(&all) };
        let stage = *random.pick(&[Stage::Unspecified, Stage::Accepted, Stage::Accepted, Stage::Completed]);
        UpdateWorkflowExecutionRequest {
            namespace: key.namespace_name(),
            workflow_execution: execution(key, run_id),
            wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
            request: Some(Request {
                meta: Some(Meta { update_id: format!("update-{}", self.new_id()), identity: "client".to_owned() }),
                input: Some(Input { name: handling.name().to_owned(), ..Input::default() }),
                ..Request::default()
            }),
            first_execution_run_id: if random.one_in(8) { self.known_run_id(random, key) } else { String::new() },
        }
    }

    pub(crate) async fn update(&self, key: &Key, request: UpdateWorkflowExecutionRequest) {
        let id = update_id(&request);
        let check = self.update_check(key, &id, |answer: UpdateWorkflowExecutionResponse| Seen::of(&answer));
        loop {
            let answer: Result<UpdateWorkflowExecutionResponse, Option<Status>> =
                self.ask_once("UpdateWorkflowExecution", &request, &check).await;
            match answer.map(|answer| Seen::of(&answer)) {
                // What is not accepted yet may be lost: it is brought again.
                Ok(Ok(seen)) if seen.stage == Stage::Admitted => self.saw("update admitted and no further"),
                Ok(Ok(seen)) => return self.updated(key, &id, seen),
                Ok(Err(why)) => return self.fail(why),
                Err(None) => {}
                Err(Some(status)) => return self.update_refused("an update", &status),
            }
        }
    }

    /// Starts a run, or uses the one there is, and updates it.
    pub(crate) async fn update_with_start(
        &self,
        key: &Key,
        start: StartWorkflowExecutionRequest,
        update: UpdateWorkflowExecutionRequest,
    ) {
        let (id, request_id) = (update_id(&update), start.request_id.clone());
        let operations = [One::StartWorkflow(start), One::UpdateWorkflow(update)];
        let request = ExecuteMultiOperationRequest {
            namespace: key.namespace_name(),
            operations: operations.map(|one| Operation { operation: Some(one) }).to_vec(),
            ..ExecuteMultiOperationRequest::default()
        };
        let check =
            self.update_check(key, &id, |answer: ExecuteMultiOperationResponse| both(answer).map(|(_, _, seen)| seen));
        loop {
            let answer: Result<ExecuteMultiOperationResponse, Option<Status>> =
                self.ask_once("ExecuteMultiOperation", &request, &check).await;
            match answer.map(both) {
                Ok(Ok((run_id, started, seen))) => {
                    self.saw(if started { "update with start" } else { "update with start of a run there is" });
                    if started {
                        self.note_start(key, &request_id, run_id, true);
                    }
                    if seen.stage != Stage::Admitted {
                        return self.updated(key, &id, seen);
                    }
                }
                Ok(Err(why)) => return self.fail(why),
                Err(None) => {}
                Err(Some(status)) if status.code() == Code::AlreadyExists => {
                    return self.saw("update with start refused");
                }
                Err(Some(status)) => return self.update_refused("an update with start", &status),
            }
        }
    }

    /// Somebody asks for an update that another has heard of.
    pub(crate) async fn ask_for_update(&self) {
        let heard = self.ledger().updates.heard.clone();
        if heard.is_empty() {
            return;
        }
        let (key, run_id, id) = self.random().pick(&heard).clone();
        let stage = *self.random().pick(&[Stage::Unspecified, Stage::Accepted, Stage::Completed]);
        self.poll_update(&key, &id, run_id, stage).await;
        self.saw("update asked for by another");
    }

    /// The update got somewhere; who wants its outcome waits for it.
    fn updated(&self, key: &Key, id: &str, seen: Seen) {
        self.saw(seen.fact());
        if seen.is_for_good() {
            self.ledger().updates.heard.push((key.clone(), seen.run_id.clone(), id.to_owned()));
        }
        if seen.stage == Stage::Completed {
            return;
        }
        let (sim, key, id) = (self.clone(), key.clone(), id.to_owned());
        sim.clients_busy.fetch_add(1, Ordering::Relaxed);
        self.spawn(async move {
            sim.poll_update(&key, &id, seen.run_id, Stage::Completed).await;
            sim.saw("update's outcome awaited");
            sim.clients_busy.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Waits until an update that was accepted gets somewhere.
    async fn poll_update(&self, key: &Key, id: &str, run_id: String, stage: Stage) {
        let request = PollWorkflowExecutionUpdateRequest {
            namespace: key.namespace_name(),
            update_ref: Some(UpdateRef { workflow_execution: execution(key, &run_id), update_id: id.to_owned() }),
            wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
            ..PollWorkflowExecutionUpdateRequest::default()
        };
        let check = self.update_check(key, id, |answer: PollWorkflowExecutionUpdateResponse| {
            let stage = answer.stage();
            Seen::new(answer.update_ref, stage, answer.outcome)
        });
        loop {
            let answer: Result<PollWorkflowExecutionUpdateResponse, Option<Status>> =
                self.ask_once("PollWorkflowExecutionUpdate", &request, &check).await;
            match answer {
                Ok(answer) if answer.stage() == Stage::Admitted => {
                    return self.fail(format!("accepted update {id} of run {run_id} is only admitted"));
                }
                Ok(answer) if answer.stage() >= stage => return,
                Ok(_) => self.saw("update accepted and no further"),
                Err(None) => {}
                Err(Some(status)) => {
                    if !self.was_archived(&run_id) {
                        let text = status.message();
                        self.fail(format!("accepted update {id} of run {run_id} is refused: {text}"));
                    }
                    return;
                }
            }
        }
    }

    fn update_refused(&self, what: &str, status: &Status) {
        let text = status.message();
        // Of a pair the text stands with the part that failed.
        let says = |part: &str| text.contains(part) || contains(status.details(), part);
        self.saw(if says("already completed") {
            "update to closed run refused"
        } else if says("aborted by closing workflow") {
            "update aborted by the run's end"
        } else if status.code() == Code::FailedPrecondition && says("limit") {
            "update limit reached"
        } else if status.code() == Code::FailedPrecondition {
            "update given up for a failing task"
        } else {
            "update to no run refused"
        });
        self.refused(what, status, MAY_FAIL);
    }

    /// One call, patient or not. `None`: nothing was heard, or it is to be asked again.
    async fn ask_once<S: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
        check: &Check,
    ) -> Result<S, Option<Status>> {
        let patience = Duration::from_secs(self.random().between(4, 30));
        let failed = match self.call(method, request, patience, check).await {
            Ok(answer) => return Ok(answer),
            Err(Failed::Refused(status)) if !is_passing(&status) => return Err(Some(status)),
            Err(failed) => failed,
        };
        if let Failed::Refused(status) = failed
            && status.code() == Code::ResourceExhausted
        {
            self.saw("update to wait for room");
        }
        self.pause(1, 1_500).await;
        Err(None)
    }

    /// Whatever is said of an update when an answer leaves the server is stored, and is what others were told of it.
    fn update_check<S: Message + Default>(
        &self,
        key: &Key,
        id: &str,
        read: impl Fn(S) -> Result<Seen, String> + Send + Sync + 'static,
    ) -> Check {
        let (namespace, id) = (key.namespace, id.to_owned());
        Arc::new(move |sim, answer| {
            let Ok(bytes) = answer else { return Ok(()) };
            let seen = read(S::decode(bytes.clone()).map_err(|why| why.to_string())?)?;
            sim.check_update_told(namespace, &id, &seen)
        })
    }
}

fn update_id(request: &UpdateWorkflowExecutionRequest) -> String {
    request.request.as_ref().and_then(|request| request.meta.as_ref()).map_or("", |meta| &meta.update_id).to_owned()
}

/// What became of the start, and how far the update got.
fn both(answer: ExecuteMultiOperationResponse) -> Result<(String, bool, Seen), String> {
    let mut responses = answer.responses.into_iter().filter_map(|response| response.response);
    match (responses.next(), responses.next(), responses.next()) {
        (Some(Of::StartWorkflow(start)), Some(Of::UpdateWorkflow(update)), None) => {
            Ok((start.run_id, start.started, Seen::of(&update)?))
        }
        _ => Err("two operations are not answered by two responses".to_owned()),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
