//! A server to test against, and a workflow that a test drives step by step.
//!
//! The server is ours, in this process, unless `TEST_SERVER` names the address of another one that runs already, such
//! as one of `temporal server start-dev`: every test passes on both.

use std::{net::SocketAddr, time::Duration};

use mainspring::{CancelKind, Class, FromPayload, Payload, RawArgs, client::Unary, payload::ToPayload, prelude::*};
use mainspring_api::{
    temporal::api::update::v1 as update,
    time,
    v1::{
        command::{
            Command, CompleteWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes,
            ProtocolMessageCommandAttributes, RequestCancelActivityTaskCommandAttributes,
            ScheduleActivityTaskCommandAttributes, command::Attributes,
        },
        common::{ActivityType, Header, Payloads},
        enums::{CommandType, QueryResultType},
        history::{HistoryEvent, history_event},
        protocol,
        taskqueue::TaskQueue,
        workflowservice::{
            PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest,
            RespondWorkflowTaskCompletedRequest,
        },
    },
};
use mainspring_server::{Config, Server, Storage};
use prost::{Message, Name};

/// Far above what anything here takes, so that only what hangs meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server, ours or another one.
pub(crate) struct Rig {
    pub(crate) address: String,
    _server: Option<Server>,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        if let Ok(address) = std::env::var("TEST_SERVER") {
            return Rig { address, _server: None };
        }
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(Config::new(anywhere, Storage::Memory)).await.expect("the server starts");
        Rig { address: server.local_addr().to_string(), _server: Some(server) }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(Connect::to(&self.address)).await.expect("the server answers")
    }
}

/// A name that no other test has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4())
}

/// A workflow whose code is the test: it polls its tasks and answers them by hand.
pub(crate) struct Flow {
    client: Client,
    pub(crate) queue: String,
    pub(crate) handle: WorkflowHandle<Anything>,
    task: Option<PollWorkflowTaskQueueResponse>,
    next_activity: u32,
}

/// The result of a driven workflow: whatever it is.
pub(crate) type Anything = mainspring::Raw;

/// An activity that a [`Flow`] scheduled.
pub(crate) struct Scheduled<O> {
    pub(crate) event_id: i64,
    pub(crate) activity_id: String,
    returns: std::marker::PhantomData<O>,
}

impl Flow {
    /// Starts it, on a queue of its own.
    pub(crate) async fn start(client: &Client) -> Flow {
        let queue = unique("flow");
        let call = Call::named("Driven").returns::<Anything>().id(&queue).queue(&queue);
        let handle = client.start(call).await.expect("it starts");
        Flow { client: client.clone(), queue, handle, task: None, next_activity: 1 }
    }

    /// For a workflow that the test started itself.
    pub(crate) fn of(client: &Client, handle: &WorkflowHandle<Anything>, queue: &str) -> Flow {
        Flow { client: client.clone(), queue: queue.to_owned(), handle: handle.clone(), task: None, next_activity: 1 }
    }

    /// Runs an activity and waits for it: as `cx.run(call)` does in a workflow.
    pub(crate) async fn run<O: FromPayload>(&mut self, call: ActivityCall<O>) -> Result<O> {
        let scheduled = self.schedule(call).await;
        self.outcome(&scheduled).await
    }

    /// Schedules an activity; its queue must be set.
    pub(crate) async fn schedule<O>(&mut self, call: ActivityCall<O>) -> Scheduled<O> {
        let (name, args, options) = call.into_parts();
        let mut input = args.into_payloads().expect("the arguments have payloads");
        let cx = self.codec_cx();
        self.client.converter().encode(&cx, &mut input).await.expect("the codecs work");
        let activity_id = self.next_activity.to_string();
        self.next_activity += 1;
        let attributes = ScheduleActivityTaskCommandAttributes {
            activity_id: activity_id.clone(),
            activity_type: Some(ActivityType { name }),
            task_queue: Some(TaskQueue { name: options.queue.expect("a queue"), ..TaskQueue::default() }),
            header: Some(Header { fields: options.header }),
            input: Some(Payloads { payloads: input }),
            schedule_to_close_timeout: options.schedule_to_close.map(time::duration),
            schedule_to_start_timeout: options.schedule_to_start.map(time::duration),
            start_to_close_timeout: options.start_to_close.map(time::duration),
            heartbeat_timeout: options.heartbeat.map(time::duration),
            retry_policy: options.retry.map(|policy| policy.to_proto()),
            ..ScheduleActivityTaskCommandAttributes::default()
        };
        assert_eq!(options.cancel, CancelKind::TryCancel, "the driver knows no other kind");
        let attributes = Attributes::ScheduleActivityTaskCommandAttributes(attributes);
        let task = self.task().await;
        let event_id = last_event_id(&task) + 2;
        self.answer(task, CommandType::ScheduleActivityTask, attributes).await;
        Scheduled { event_id, activity_id, returns: std::marker::PhantomData }
    }

    /// Asks for the cancellation of an activity; needs a workflow task, which a signal brings.
    pub(crate) async fn cancel<O>(&mut self, scheduled: &Scheduled<O>) {
        self.handle.signal(Signal::named("wake")).await.expect("the workflow is open");
        let attributes = RequestCancelActivityTaskCommandAttributes { scheduled_event_id: scheduled.event_id };
        let attributes = Attributes::RequestCancelActivityTaskCommandAttributes(attributes);
        let task = self.task().await;
        self.answer(task, CommandType::RequestCancelActivityTask, attributes).await;
    }

    /// Waits for a workflow task that tells how the activity went; the task stays for the next command.
    pub(crate) async fn outcome<O: FromPayload>(&mut self, scheduled: &Scheduled<O>) -> Result<O> {
        loop {
            let task = self.task().await;
            let events = task.history.as_ref().expect("a history").decode_events().expect("a sound one");
            for event in events {
                if let Some(outcome) = self.outcome_in(event, scheduled.event_id).await {
                    self.task = Some(task);
                    return outcome.and_then(|payloads| Ok(RawArgs(payloads).get(0)?));
                }
            }
            self.answer_nothing(task).await;
        }
    }

    async fn outcome_in(&self, event: HistoryEvent, scheduled: i64) -> Option<Result<Vec<Payload>>> {
        use history_event::Attributes as Event;
        let failure = match event.attributes? {
            Event::ActivityTaskCompletedEventAttributes(done) if done.scheduled_event_id == scheduled => {
                let mut payloads = done.result.unwrap_or_default().payloads;
                self.client.converter().decode(&self.codec_cx(), &mut payloads).await.expect("the codecs work");
                return Some(Ok(payloads));
            }
            Event::ActivityTaskFailedEventAttributes(failed) if failed.scheduled_event_id == scheduled => {
                failed.failure
            }
            Event::ActivityTaskTimedOutEventAttributes(late) if late.scheduled_event_id == scheduled => late.failure,
            Event::ActivityTaskCanceledEventAttributes(done) if done.scheduled_event_id == scheduled => {
                return Some(Err(Error::cancelled()));
            }
            _ => return None,
        };
        let mut failure = failure.unwrap_or_default();
        self.client.converter().decode_failure(&self.codec_cx(), &mut failure).await.expect("the codecs work");
        Some(Err(Error::from_failure(failure)))
    }

    /// Ends the workflow with a result.
    pub(crate) async fn complete(&mut self, result: impl ToPayload) {
        let mut payloads = vec![result.to_payload().expect("the result has a payload")];
        self.client.converter().encode(&self.codec_cx(), &mut payloads).await.expect("the codecs work");
        let attributes = CompleteWorkflowExecutionCommandAttributes { result: Some(Payloads { payloads }) };
        let task = self.task().await;
        let attributes = Attributes::CompleteWorkflowExecutionCommandAttributes(attributes);
        self.answer(task, CommandType::CompleteWorkflowExecution, attributes).await;
    }

    /// Ends the workflow with an error.
    pub(crate) async fn fail(&mut self, error: Error) {
        let attributes = FailWorkflowExecutionCommandAttributes { failure: Some(error.into_failure()) };
        let task = self.task().await;
        let attributes = Attributes::FailWorkflowExecutionCommandAttributes(attributes);
        self.answer(task, CommandType::FailWorkflowExecution, attributes).await;
    }

    /// Answers one query that comes as a task of its own.
    pub(crate) async fn answer_query(&mut self, answer: std::result::Result<Payload, &str>) {
        let task = self.task().await;
        assert!(task.query.is_some(), "a query was expected");
        let (completed_type, query_result, error_message) = match answer {
            Ok(payload) => (QueryResultType::Answered, Some(Payloads { payloads: vec![payload] }), String::new()),
            Err(message) => (QueryResultType::Failed, None, message.to_owned()),
        };
        let request = RespondQueryTaskCompletedRequest {
            task_token: task.task_token,
            completed_type: completed_type as i32,
            query_result,
            error_message,
            namespace: "default".to_owned(),
            ..RespondQueryTaskCompletedRequest::default()
        };
        self.call(&request).await;
    }

    /// Answers the update that the next task brings: accepts and completes it, or rejects it.
    pub(crate) async fn answer_update(&mut self, outcome: std::result::Result<Payload, Error>) {
        let task = self.task().await;
        let message = task.messages.first().expect("an update was expected").clone();
        let Some(protocol::message::SequencingId::EventId(sequencing_event_id)) = message.sequencing_id else {
            panic!("an update has its place in the history");
        };
        let body = message.body.expect("a message has a body");
        let request = update::Request::decode(body.value.as_slice()).expect("an update comes as a request");
        let reply = |id: &str, body: prost_types::Any| protocol::Message {
            id: format!("{}/{id}", message.id),
            protocol_instance_id: message.protocol_instance_id.clone(),
            body: Some(body),
            ..protocol::Message::default()
        };
        let messages = match outcome {
            Ok(result) => {
                let acceptance = update::Acceptance {
                    accepted_request_message_id: message.id.clone(),
                    accepted_request_sequencing_event_id: sequencing_event_id,
                    accepted_request: Some(request.clone()),
                };
                let value = update::outcome::Value::Success(Payloads { payloads: vec![result] });
                let outcome = Some(update::Outcome { value: Some(value) });
                let response = update::Response { meta: request.meta, outcome };
                vec![reply("accept", packed(&acceptance)), reply("complete", packed(&response))]
            }
            Err(error) => {
                let rejection = update::Rejection {
                    rejected_request_message_id: message.id.clone(),
                    rejected_request_sequencing_event_id: sequencing_event_id,
                    rejected_request: Some(request),
                    failure: Some(error.into_failure()),
                };
                vec![reply("reject", packed(&rejection))]
            }
        };
        let commands = messages.iter().filter(|message| !message.id.ends_with("/reject"));
        let commands = commands.map(|message| {
            let attributes = ProtocolMessageCommandAttributes { message_id: message.id.clone() };
            Command {
                command_type: CommandType::ProtocolMessage as i32,
                attributes: Some(Attributes::ProtocolMessageCommandAttributes(attributes)),
                ..Command::default()
            }
        });
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token,
            commands: commands.collect(),
            messages: messages.clone(),
            identity: "driver".to_owned(),
            namespace: "default".to_owned(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        self.call(&request).await;
    }

    /// The workflow task in hand, or the next one.
    pub(crate) async fn task(&mut self) -> PollWorkflowTaskQueueResponse {
        if let Some(task) = self.task.take() {
            return task;
        }
        let request = PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: Some(TaskQueue { name: self.queue.clone(), ..TaskQueue::default() }),
            identity: "driver".to_owned(),
            ..PollWorkflowTaskQueueRequest::default()
        };
        loop {
            let task = tokio::time::timeout(PATIENCE, self.call(&request)).await.expect("a workflow task comes");
            if !task.task_token.is_empty() {
                return task;
            }
        }
    }

    /// Completes a workflow task without a command.
    pub(crate) async fn answer_nothing(&mut self, task: PollWorkflowTaskQueueResponse) {
        self.answer_with(task, Vec::new()).await;
    }

    /// Completes a workflow task with a command.
    pub(crate) async fn answer(
        &mut self,
        task: PollWorkflowTaskQueueResponse,
        kind: CommandType,
        attributes: Attributes,
    ) {
        let command = Command { command_type: kind as i32, attributes: Some(attributes), ..Command::default() };
        self.answer_with(task, vec![command]).await;
    }

    async fn answer_with(&mut self, task: PollWorkflowTaskQueueResponse, commands: Vec<Command>) {
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token,
            commands,
            identity: "driver".to_owned(),
            namespace: "default".to_owned(),
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        self.call(&request).await;
    }

    async fn call<Q: Unary>(&self, request: &Q) -> Q::Answer {
        self.client.rpc().call_as(Class::LongPoll, request).await.expect("the server takes it")
    }

    fn codec_cx(&self) -> mainspring::codec::CodecCx<'_> {
        mainspring::codec::CodecCx::new("default", self.handle.id())
    }
}

fn packed<M: Message + Name>(message: &M) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/{}", M::full_name());
    prost_types::Any { type_url, value: message.encode_to_vec() }
}

fn last_event_id(task: &PollWorkflowTaskQueueResponse) -> i64 {
    let events = task.history.as_ref().expect("a history").decode_events().expect("a sound one");
    events.last().expect("it is not empty").event_id
}
