//! Clients: they start, signal, cancel, terminate and watch, and ask again with the same request id until they hear.

use std::time::Duration;

use mainspring_api::v1::{
    common::RetryPolicy,
    enums::{WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse},
};
use mainspring_engine::{
    Input, Rejected, Reply,
    input::{RequestCancel, Signal, Start, Terminate},
    outcome::StartedRun,
};
use mainspring_history::{
    Answered, Error,
    shard::{ChainKey, Work},
};

use crate::{
    checks::Expect,
    commands::{QUEUE, payloads},
    node::CallId,
    program::{Type, WORKFLOW_IDS},
    sim::{Alarm, Phase, Sim},
    world::{Caller, NAMESPACES, chain_key, namespace_id},
};

/// A client and what it is about.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) pausing: bool,
    request: Option<Request>,
    call: Option<CallId>,
}

impl Client {
    pub(crate) fn is_idle(&self) -> bool {
        self.request.is_none()
    }
}

#[derive(Clone)]
struct Request {
    key: ChainKey,
    what: What,
    /// It is made once more after it was answered.
    again: bool,
}

#[derive(Clone)]
enum What {
    Start(Box<Start>),
    SignalWithStart(Box<Start>, Box<Signal>),
    Signal(Box<Signal>),
    Cancel,
    Terminate,
    Look { run_id: String },
    Watch { run_id: String, next_event_id: i64 },
}

impl Sim {
    pub(crate) fn ready_clients(&self) -> usize {
        self.clients.iter().filter(|client| self.is_ready(client)).count()
    }

    fn is_ready(&self, client: &Client) -> bool {
        let may_begin = self.phase == Phase::Chaos && self.requests_left > 0;
        !client.pausing && client.call.is_none() && (client.request.is_some() || may_begin)
    }

    /// A client makes its next request, or the same again.
    pub(crate) fn request(&mut self, index: usize) {
        let mut ready = self.clients.iter().enumerate().filter(|(_, client)| self.is_ready(client));
        let Some((client, _)) = ready.nth(index) else { return };
        let request = match self.clients[client].request.clone() {
            Some(request) => request,
            None => {
                self.requests_left = self.requests_left.saturating_sub(1);
                self.draw_request()
            }
        };
        self.clients[client].request = Some(request.clone());
        let caller = Caller::Client(client);
        if self.faulty() && self.random.hits(self.plan.faults.answer_repeated) {
            self.make(&request, Caller::Nobody);
        }
        let call = self.make(&request, caller);
        self.clients[client].call = Some(call);
    }

    fn make(&mut self, request: &Request, caller: Caller) -> CallId {
        let key = request.key.clone();
        let (input, expect) = match request.what.clone() {
            What::Start(start) => (Input::Start(start), Expect::Started),
            What::SignalWithStart(start, signal) => {
                let expect = Expect::Signalled { key: key.clone(), request_id: signal.request_id.clone() };
                (Input::SignalWithStart(start, signal), expect)
            }
            What::Signal(signal) => {
                let expect = Expect::Signalled { key: key.clone(), request_id: signal.request_id.clone() };
                (Input::Signal(signal), expect)
            }
            What::Cancel => (Input::RequestCancel(Box::<RequestCancel>::default()), Expect::Nothing),
            What::Terminate => (Input::Terminate(Box::<Terminate>::default()), Expect::Nothing),
            What::Look { run_id } => {
                let expect = Expect::View { run_id: run_id.clone() };
                return self.ask(key, caller, expect, |answer| Work::Look { run_id, answer });
            }
            What::Watch { run_id, next_event_id } => {
                let expect = Expect::View { run_id: run_id.clone() };
                return self.ask(key, caller, expect, |answer| Work::Watch { run_id, next_event_id, answer });
            }
        };
        self.call(key, input, caller, expect)
    }

    fn draw_request(&mut self) -> Request {
        let namespace = if self.random.one_in(4) { 1 } else { 0 };
        let workflow_id = format!("wf-{}", self.random.below(WORKFLOW_IDS));
        let key = chain_key(namespace, &workflow_id);
        let what = match self.random.below(20) {
            0..=7 => What::Start(Box::new(self.draw_start(namespace, &workflow_id))),
            8 | 9 => {
                let (start, signal) = (self.draw_start(namespace, &workflow_id), self.draw_signal());
                What::SignalWithStart(Box::new(start), Box::new(signal))
            }
            10..=14 => What::Signal(Box::new(self.draw_signal())),
            15 => What::Cancel,
            16 => What::Terminate,
            17 => What::Look { run_id: self.known_run_id(&key) },
            _ => {
                let run_id = self.known_run_id(&key);
                let next_event_id = i64::try_from(self.random.between(2, 30)).unwrap_or(2);
                What::Watch { run_id, next_event_id }
            }
        };
        Request { key, what, again: self.random.one_in(4) }
    }

    /// A run that a client has heard of, or none.
    fn known_run_id(&mut self, key: &ChainKey) -> String {
        let known = self.ledger.run_ids(key);
        if known.is_empty() || self.random.one_in(3) { String::new() } else { self.random.pick(&known).clone() }
    }

    fn draw_start(&mut self, namespace: usize, workflow_id: &str) -> Start {
        let kind = Type { seed: self.random.below(1 << 30), depth: 0, generation: 0 };
        let reuse =
            [Reuse::AllowDuplicate, Reuse::AllowDuplicate, Reuse::AllowDuplicateFailedOnly, Reuse::RejectDuplicate];
        let conflict = [
            Conflict::Unspecified,
            Conflict::Fail,
            Conflict::UseExisting,
            Conflict::UseExisting,
            Conflict::TerminateExisting,
        ];
        let seconds = |random: &mut crate::random::Random, cases, most| {
            Duration::from_secs(if random.one_in(cases) { random.between(1, most) } else { 0 })
        };
        Start {
            namespace_id: namespace_id(namespace).to_string(),
            namespace: NAMESPACES[namespace].to_owned(),
            workflow_id: workflow_id.to_owned(),
            workflow_type: kind.name(),
            task_queue: QUEUE.to_owned(),
            run_timeout: seconds(&mut self.random, 4, 60),
            execution_timeout: seconds(&mut self.random, 8, 90),
            task_timeout: Duration::from_secs(self.random.between(1, 5)),
            start_delay: seconds(&mut self.random, 10, 10),
            request_id: format!("start-{}", self.new_id()),
            reuse_policy: *self.random.pick(&reuse),
            conflict_policy: *self.random.pick(&conflict),
            retry_policy: self.random.one_in(5).then(|| RetryPolicy { maximum_attempts: 2, ..RetryPolicy::default() }),
            ..Start::default()
        }
    }

    fn draw_signal(&mut self) -> Signal {
        let request_id = format!("signal-{}", self.new_id());
        Signal { name: "from-client".to_owned(), input: payloads(&request_id), request_id, ..Signal::default() }
    }

    /// The client hears, or is out of patience.
    pub(crate) fn client_answered(&mut self, client: usize, call: CallId, result: Option<Result<Answered, Error>>) {
        if self.clients[client].call != Some(call) {
            return;
        }
        self.clients[client].call = None;
        let Some(request) = self.clients[client].request.clone() else { return };
        let pause = Duration::from_millis(self.random.between(0, 1_500));
        self.clients[client].pausing = true;
        self.alarm(pause, Alarm::Client(client));
        let is_watch = matches!(request.what, What::Watch { .. });
        match result {
            None if is_watch => {}
            None | Some(Err(Error::Unavailable(_) | Error::Busy(_) | Error::Rejected(Rejected::Closing))) => {
                return;
            }
            Some(Ok(answered)) => self.client_told(&request, answered),
            Some(Err(error)) => self.client_refused(&request, &error),
        }
        self.clients[client].request = request.again.then_some(Request { again: false, ..request });
    }

    fn client_told(&mut self, request: &Request, answered: Answered) {
        let answer = match answered {
            Answered::View(_) => {
                let watched = matches!(request.what, What::Watch { .. });
                return if watched {
                    self.sometimes.saw("watch answered")
                };
            }
            Answered::Query(_) | Answered::Update(_) => return,
            Answered::Reply(answer) => answer,
        };
        match (&request.what, &answer.reply) {
            (What::Start(start), Reply::Started(started)) => self.note_start(request, &start.request_id, started),
            (What::SignalWithStart(start, signal), Reply::Started(started)) => {
                self.sometimes.saw("signal with start");
                // As in the original, an open run is signalled whatever that request has started before.
                if started.started {
                    self.note_start(request, &start.request_id, started);
                }
                self.ledger.signalled(&request.key, &signal.request_id);
            }
            (What::Signal(signal), Reply::Done) => self.ledger.signalled(&request.key, &signal.request_id),
            (What::Cancel | What::Terminate, Reply::Done) => {}
            (_, reply) => self.fail(format!("a client is told {reply:?}")),
        }
    }

    fn note_start(&mut self, request: &Request, request_id: &str, started: &StartedRun) {
        let archive = &self.archive;
        let is_gone = |run_id: &str| archive.values().any(|stored| stored.run.fixed.run_id == run_id);
        let result = self.ledger.started(&request.key, request_id, started, is_gone);
        self.check(result);
    }

    fn client_refused(&mut self, request: &Request, error: &Error) {
        match (&request.what, error) {
            (_, Error::Rejected(Rejected::AlreadyStarted { .. })) => self.sometimes.saw("chain: already started"),
            (What::Signal(_), Error::Rejected(Rejected::Closed)) => self.sometimes.saw("signal to closed run refused"),
            (_, Error::Rejected(Rejected::SignalLimit)) => self.sometimes.saw("signal limit reached"),
            (_, Error::Rejected(Rejected::NotFound | Rejected::Closed)) => {}
            (_, error) => self.fail(format!("a client is refused with {error:?}")),
        }
    }
}
