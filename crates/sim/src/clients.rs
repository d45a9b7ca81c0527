//! Clients: they start, signal, update, cancel, read, list and query, and ask again with the same request id until they hear.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use mainspring_api::{
    time::duration,
    v1::{
        common::{RetryPolicy, WorkflowExecution, WorkflowType},
        enums::{
            HistoryEventFilterType, TaskQueueType, WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse,
        },
        errordetails::WorkflowExecutionAlreadyStartedFailure,
        query::WorkflowQuery,
        taskqueue::TaskQueue,
        workflowservice::{
            CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, DescribeTaskQueueRequest,
            DescribeTaskQueueResponse, DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse,
            GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, ListWorkflowExecutionsRequest,
            ListWorkflowExecutionsResponse, QueryWorkflowRequest, QueryWorkflowResponse,
            RequestCancelWorkflowExecutionRequest, RequestCancelWorkflowExecutionResponse, ResetStickyTaskQueueRequest,
            ResetStickyTaskQueueResponse, SignalWithStartWorkflowExecutionRequest,
            SignalWithStartWorkflowExecutionResponse, SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse,
            StartWorkflowExecutionRequest, StartWorkflowExecutionResponse, TerminateWorkflowExecutionRequest,
            TerminateWorkflowExecutionResponse, UpdateWorkflowExecutionRequest,
        },
    },
};
use prost::Message;
use tonic::{Code, Status};

use crate::{
    commands::{QUEUE, payloads, text_of},
    ledger::Start,
    network::{Check, Failed, no_check},
    program::{Type, WORKFLOW_IDS},
    random::Random,
    world::{Key, Sim},
};

/// Of a client that asks a workflow's code.
const QUERY_PATIENCE: Duration = Duration::from_secs(8);
/// Pages of a history that a client follows at most.
const PAGES_MAX: usize = 8;

#[derive(Clone)]
enum Request {
    Start(Box<StartWorkflowExecutionRequest>),
    SignalWithStart(Box<SignalWithStartWorkflowExecutionRequest>),
    Signal(Box<SignalWorkflowExecutionRequest>),
    Update(Box<UpdateWorkflowExecutionRequest>),
    AskForUpdate,
    UpdateWithStart(Box<(StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest)>),
    Cancel,
    Terminate,
    Describe { run_id: String },
    Follow { run_id: String },
    AwaitClose { run_id: String },
    Query { run_id: String },
    List,
    Count,
    ResetSticky,
    DescribeQueue,
}

impl Sim {
    pub(crate) fn start_clients(&self) {
        for _ in 0..self.plan.clients {
            self.clients_busy.fetch_add(1, Ordering::Relaxed);
            let sim = self.clone();
            self.spawn(async move {
                sim.be_a_client().await;
                sim.clients_busy.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn be_a_client(&self) {
        while self.take_request() {
            let (key, request) = self.draw_request();
            self.make(&key, request.clone()).await;
            self.pause(0, 1_500).await;
            if self.random().one_in(4) {
                self.make(&key, request).await;
            }
        }
    }

    fn draw_request(&self) -> (Key, Request) {
        let random = self.random();
        let namespace = usize::from(random.one_in(4));
        let key = Key { namespace, workflow_id: format!("wf-{}", random.below(WORKFLOW_IDS)) };
        let kind = random.below(39);
        let request = match kind {
            0..=7 => Request::Start(Box::new(self.draw_start(random, &key))),
            8 | 9 => Request::SignalWithStart(Box::new(self.draw_signal_with_start(random, &key))),
            10..=14 => Request::Signal(Box::new(self.draw_signal(&key))),
            15 => Request::Cancel,
            16 => Request::Terminate,
            17 | 18 => Request::Describe { run_id: self.known_run_id(random, &key) },
            19 | 20 => Request::Follow { run_id: self.known_run_id(random, &key) },
            21 => Request::AwaitClose { run_id: self.known_run_id(random, &key) },
            22..=24 => Request::Query { run_id: self.known_run_id(random, &key) },
            25 => Request::List,
            26 => Request::Count,
            27 => Request::ResetSticky,
            28 => Request::DescribeQueue,
            29..=34 => {
                let run_id = if random.one_in(3) { self.known_run_id(random, &key) } else { String::new() };
                Request::Update(Box::new(self.draw_update(random, &key, &run_id)))
            }
            35 => Request::AskForUpdate,
            36 | 37 => Request::UpdateWithStart(Box::new(self.draw_update_with_start(random, &key))),
            _ => Request::Describe { run_id: String::new() },
        };
        (key, request)
    }

    /// A run that a client has heard of, or none.
    pub(crate) fn known_run_id(&self, random: &Random, key: &Key) -> String {
        let known = self.ledger().run_ids(key);
        if known.is_empty() || random.one_in(3) { String::new() } else { random.pick(&known).clone() }
    }

    fn draw_start(&self, random: &Random, key: &Key) -> StartWorkflowExecutionRequest {
        let kind = Type { seed: random.below(1 << 30), depth: 0, generation: 0 };
        let reuse =
            [Reuse::AllowDuplicate, Reuse::AllowDuplicate, Reuse::AllowDuplicateFailedOnly, Reuse::RejectDuplicate];
        let conflict = [
            Conflict::Unspecified,
            Conflict::Fail,
            Conflict::UseExisting,
            Conflict::UseExisting,
            Conflict::TerminateExisting,
        ];
        let seconds = |random: &Random, cases, most| {
            random.one_in(cases).then(|| duration(Duration::from_secs(random.between(1, most))))
        };
        let reuse_policy = *random.pick(&reuse);
        let mut conflict_policy = *random.pick(&conflict);
        if reuse_policy == Reuse::RejectDuplicate && conflict_policy == Conflict::TerminateExisting {
            conflict_policy = Conflict::Fail;
        }
        StartWorkflowExecutionRequest {
            namespace: key.namespace_name(),
            workflow_id: key.workflow_id.clone(),
            workflow_type: Some(WorkflowType { name: kind.name() }),
            task_queue: Some(queue()),
            workflow_run_timeout: seconds(random, 4, 60),
            workflow_execution_timeout: seconds(random, 8, 90),
            workflow_task_timeout: seconds(random, 1, 5),
            workflow_start_delay: seconds(random, 10, 10),
            request_id: format!("start-{}", self.new_id()),
            workflow_id_reuse_policy: reuse_policy as i32,
            workflow_id_conflict_policy: conflict_policy as i32,
            retry_policy: random.one_in(5).then(|| RetryPolicy { maximum_attempts: 2, ..RetryPolicy::default() }),
            ..StartWorkflowExecutionRequest::default()
        }
    }

    fn draw_signal_with_start(&self, random: &Random, key: &Key) -> SignalWithStartWorkflowExecutionRequest {
        let start = self.draw_start(random, key);
        let conflict = if start.workflow_id_conflict_policy == Conflict::Fail as i32 {
            Conflict::Unspecified as i32
        } else {
            start.workflow_id_conflict_policy
        };
        SignalWithStartWorkflowExecutionRequest {
            namespace: start.namespace,
            workflow_id: start.workflow_id,
            workflow_type: start.workflow_type,
            task_queue: start.task_queue,
            workflow_task_timeout: start.workflow_task_timeout,
            workflow_id_reuse_policy: start.workflow_id_reuse_policy,
            workflow_id_conflict_policy: conflict,
            signal_name: "from-client".to_owned(),
            signal_input: payloads(&start.request_id),
            request_id: start.request_id,
            ..SignalWithStartWorkflowExecutionRequest::default()
        }
    }

    fn draw_update_with_start(
        &self,
        random: &Random,
        key: &Key,
    ) -> (StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest) {
        let start = StartWorkflowExecutionRequest { workflow_start_delay: None, ..self.draw_start(random, key) };
        let update = self.draw_update(random, key, "");
        (start, UpdateWorkflowExecutionRequest { first_execution_run_id: String::new(), ..update })
    }

    fn draw_signal(&self, key: &Key) -> SignalWorkflowExecutionRequest {
        let request_id = format!("signal-{}", self.new_id());
        SignalWorkflowExecutionRequest {
            namespace: key.namespace_name(),
            workflow_execution: execution(key, ""),
            signal_name: "from-client".to_owned(),
            input: payloads(&request_id),
            request_id,
            ..SignalWorkflowExecutionRequest::default()
        }
    }

    async fn make(&self, key: &Key, request: Request) {
        match request {
            Request::Start(start) => self.start(key, *start).await,
            Request::SignalWithStart(start) => self.signal_with_start(key, *start).await,
            Request::Signal(signal) => self.signal(key, *signal).await,
            Request::Update(update) => self.update(key, *update).await,
            Request::AskForUpdate => self.ask_for_update().await,
            Request::UpdateWithStart(both) => self.update_with_start(key, both.0, both.1).await,
            Request::Cancel => self.cancel(key).await,
            Request::Terminate => self.terminate(key).await,
            Request::Describe { run_id } => self.describe(key, run_id).await,
            Request::Follow { run_id } => self.follow(key, run_id, false).await,
            Request::AwaitClose { run_id } => self.follow(key, run_id, true).await,
            Request::Query { run_id } => self.query(key, run_id).await,
            Request::List => self.list(key).await,
            Request::Count => self.count(key).await,
            Request::ResetSticky => self.reset_sticky(key).await,
            Request::DescribeQueue => self.describe_queue(key).await,
        }
    }

    async fn start(&self, key: &Key, request: StartWorkflowExecutionRequest) {
        let answer: Result<StartWorkflowExecutionResponse, Status> =
            self.ask("StartWorkflowExecution", &request, &started_check(key.clone(), None)).await;
        match answer {
            Ok(answer) => self.note_start(key, &request.request_id, answer.run_id, answer.started),
            Err(status) => self.refused("a start", &status, &[Code::AlreadyExists]),
        }
    }

    async fn signal_with_start(&self, key: &Key, request: SignalWithStartWorkflowExecutionRequest) {
        let check = started_check(key.clone(), Some(request.request_id.clone()));
        let answer: Result<SignalWithStartWorkflowExecutionResponse, Status> =
            self.ask("SignalWithStartWorkflowExecution", &request, &check).await;
        match answer {
            Ok(answer) => {
                self.saw("signal with start");
                // As in the original, an open run is signalled whatever that request has started before.
                if answer.started {
                    self.note_start(key, &request.request_id, answer.run_id, true);
                }
                self.ledger().signalled(key, &request.request_id);
            }
            Err(status) => self.refused("a start", &status, &[Code::AlreadyExists, Code::InvalidArgument]),
        }
    }

    pub(crate) fn note_start(&self, key: &Key, request_id: &str, run_id: String, made: bool) {
        let is_gone = |run_id: &str| self.archive().values().any(|stored| stored.run.fixed.run_id == run_id);
        let start = Start { key: key.clone(), run_id, made };
        let result = self.ledger().started(request_id, start, is_gone);
        self.check(result);
    }

    async fn signal(&self, key: &Key, request: SignalWorkflowExecutionRequest) {
        let request_id = request.request_id.clone();
        let check: Check = Arc::new(move |sim, answer| match answer {
            Ok(_) => sim.check_signal_stored(&request_id),
            Err(_) => Ok(()),
        });
        let answer: Result<SignalWorkflowExecutionResponse, Status> =
            self.ask("SignalWorkflowExecution", &request, &check).await;
        match answer {
            Ok(_) => self.ledger().signalled(key, &request.request_id),
            Err(status) if status.code() == Code::InvalidArgument => self.saw("signal limit reached"),
            Err(status) => {
                if status.message().contains("already completed") {
                    self.saw("signal to closed run refused");
                }
                self.refused("a signal", &status, &[Code::NotFound]);
            }
        }
    }

    async fn cancel(&self, key: &Key) {
        let request = RequestCancelWorkflowExecutionRequest {
            namespace: key.namespace_name(),
            workflow_execution: execution(key, ""),
            ..Default::default()
        };
        let answer: Result<RequestCancelWorkflowExecutionResponse, Status> =
            self.ask("RequestCancelWorkflowExecution", &request, &no_check()).await;
        self.expect("a cancel request", answer.err().as_ref(), &[Code::NotFound]);
    }

    async fn terminate(&self, key: &Key) {
        let request = TerminateWorkflowExecutionRequest {
            namespace: key.namespace_name(),
            workflow_execution: execution(key, ""),
            ..Default::default()
        };
        let answer: Result<TerminateWorkflowExecutionResponse, Status> =
            self.ask("TerminateWorkflowExecution", &request, &no_check()).await;
        self.expect("a termination", answer.err().as_ref(), &[Code::NotFound]);
    }

    async fn describe(&self, key: &Key, run_id: String) {
        let request =
            DescribeWorkflowExecutionRequest { namespace: key.namespace_name(), execution: execution(key, &run_id) };
        let check: Check = Arc::new(move |sim, answer| {
            let Ok(bytes) = answer else { return Ok(()) };
            let answer = DescribeWorkflowExecutionResponse::decode(bytes.clone()).map_err(|why| why.to_string())?;
            let info = answer.workflow_execution_info.unwrap_or_default();
            let shown = info.execution.unwrap_or_default().run_id;
            if !run_id.is_empty() && shown != run_id {
                return Err(format!("asked for run {run_id}, shown {shown}"));
            }
            sim.check_shown(&shown, info.history_length)
        });
        let answer: Result<DescribeWorkflowExecutionResponse, Status> =
            self.ask("DescribeWorkflowExecution", &request, &check).await;
        self.expect("a look", answer.err().as_ref(), &[Code::NotFound]);
    }

    /// Reads a history as it grows, or waits for its end.
    async fn follow(&self, key: &Key, run_id: String, close_only: bool) {
        let filter = if close_only { HistoryEventFilterType::CloseEvent } else { HistoryEventFilterType::AllEvent };
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: key.namespace_name(),
            execution: execution(key, &run_id),
            wait_new_event: true,
            maximum_page_size: i32::try_from(self.random().between(1, 20)).unwrap_or(1),
            history_event_filter_type: filter as i32,
            ..Default::default()
        };
        let (mut next, mut pages) = (1, 0);
        loop {
            let answer: Result<GetWorkflowExecutionHistoryResponse, Status> =
                self.ask("GetWorkflowExecutionHistory", &request, &no_check()).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(status) => return self.refused("a read", &status, &[Code::NotFound]),
            };
            let events = match answer.history.unwrap_or_default().decode_events() {
                Ok(events) => events,
                Err(why) => return self.fail(format!("a history cannot be read: {why}")),
            };
            for event in events.iter().filter(|_| !close_only) {
                if event.event_id != next {
                    return self.fail(format!("a reader gets event {}, not {next}", event.event_id));
                }
                next += 1;
            }
            if answer.next_page_token.is_empty() {
                return self.saw(if close_only { "close awaited" } else { "history followed to its end" });
            }
            pages += 1;
            if pages == PAGES_MAX || !self.faulty() {
                return self.saw("history followed");
            }
            request.next_page_token = answer.next_page_token;
        }
    }

    async fn query(&self, key: &Key, run_id: String) {
        let question = format!("question-{}", self.new_id());
        let request = QueryWorkflowRequest {
            namespace: key.namespace_name(),
            execution: execution(key, &run_id),
            query: Some(WorkflowQuery {
                query_type: "ask".to_owned(),
                query_args: payloads(&question),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer: Result<QueryWorkflowResponse, Failed> =
            self.call("QueryWorkflow", &request, QUERY_PATIENCE, &no_check()).await;
        match answer {
            Ok(answer) => {
                self.saw("query answered");
                let told = text_of(answer.query_result.as_ref());
                if told.as_deref() != Some(&format!("answer to {question}")) {
                    self.fail(format!("{question} is answered {told:?}"));
                }
            }
            Err(Failed::Lost) => {}
            Err(Failed::Refused(status)) => match status.code() {
                Code::NotFound | Code::FailedPrecondition | Code::DeadlineExceeded => self.saw("query unanswered"),
                Code::Unavailable | Code::ResourceExhausted => {}
                _ => self.fail(format!("a query is refused: {status:?}")),
            },
        }
    }

    async fn list(&self, key: &Key) {
        let request = ListWorkflowExecutionsRequest { namespace: key.namespace_name(), ..Default::default() };
        let answer: Result<ListWorkflowExecutionsResponse, Status> =
            self.ask("ListWorkflowExecutions", &request, &no_check()).await;
        self.expect("a list", answer.err().as_ref(), &[]);
    }

    async fn count(&self, key: &Key) {
        let request = CountWorkflowExecutionsRequest {
            namespace: key.namespace_name(),
            query: "ExecutionStatus = 'Running'".to_owned(),
        };
        let answer: Result<CountWorkflowExecutionsResponse, Status> =
            self.ask("CountWorkflowExecutions", &request, &no_check()).await;
        self.expect("a count", answer.err().as_ref(), &[]);
    }

    async fn reset_sticky(&self, key: &Key) {
        let request = ResetStickyTaskQueueRequest { namespace: key.namespace_name(), execution: execution(key, "") };
        let answer: Result<ResetStickyTaskQueueResponse, Status> =
            self.ask("ResetStickyTaskQueue", &request, &no_check()).await;
        if answer.is_ok() {
            self.saw("sticky queue reset");
        }
        self.expect("a reset of the sticky queue", answer.err().as_ref(), &[Code::NotFound]);
    }

    async fn describe_queue(&self, key: &Key) {
        let request = DescribeTaskQueueRequest {
            namespace: key.namespace_name(),
            task_queue: Some(queue()),
            task_queue_type: TaskQueueType::Activity as i32,
            report_stats: true,
            ..Default::default()
        };
        let answer: Result<DescribeTaskQueueResponse, Status> =
            self.ask("DescribeTaskQueue", &request, &no_check()).await;
        self.expect("a look at a queue", answer.err().as_ref(), &[]);
    }

    fn expect(&self, what: &str, refused: Option<&Status>, allowed: &[Code]) {
        if let Some(status) = refused {
            self.refused(what, status, allowed);
        }
    }

    pub(crate) fn refused(&self, what: &str, status: &Status, allowed: &[Code]) {
        if status.code() == Code::AlreadyExists {
            self.saw("chain: already started");
        }
        if !allowed.contains(&status.code()) {
            self.fail(format!("{what} is refused: {:?} {}", status.code(), status.message()));
        }
    }
}

pub(crate) fn queue() -> TaskQueue {
    TaskQueue { name: QUEUE.to_owned(), ..TaskQueue::default() }
}

pub(crate) fn execution(key: &Key, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: key.workflow_id.clone(), run_id: run_id.to_owned() })
}

/// Whatever run the answer names, refusals as well, is stored; so is the signal that came with the start.
fn started_check(key: Key, signal: Option<String>) -> Check {
    Arc::new(move |sim, answer| {
        let run_id = match answer {
            Ok(bytes) if signal.is_some() => {
                run_id_of::<SignalWithStartWorkflowExecutionResponse>(bytes, |a| a.run_id)?
            }
            Ok(bytes) => run_id_of::<StartWorkflowExecutionResponse>(bytes, |a| a.run_id)?,
            Err(status) if status.code() == Code::AlreadyExists => named_by(status)?,
            Err(_) => return Ok(()),
        };
        if sim.find_run(key.namespace, &run_id).is_none() && !sim.was_archived(&run_id) {
            return Err(format!("run {run_id} is told of and not stored"));
        }
        match &signal {
            Some(request_id) if answer.is_ok() => sim.check_signal_stored(request_id),
            _ => Ok(()),
        }
    })
}

fn run_id_of<M: Message + Default>(bytes: &Bytes, run_id: impl Fn(M) -> String) -> Result<String, String> {
    M::decode(bytes.clone()).map(run_id).map_err(|why| why.to_string())
}

/// The run that stands in the way of a start.
fn named_by(status: &Status) -> Result<String, String> {
    let details = mainspring_api::google::rpc::Status::decode(status.details()).map_err(|why| why.to_string())?;
    let Some(detail) = details.details.first() else { return Err("a refusal without its detail".to_owned()) };
    let detail = WorkflowExecutionAlreadyStartedFailure::decode(detail.value.as_slice());
    detail.map(|detail| detail.run_id).map_err(|why| why.to_string())
}
