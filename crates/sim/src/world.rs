//! What lies between the state machines: carries out actions and directives, executes the store's work, moves parcels.

use std::time::Duration;

use futures_util::FutureExt;
use mainspring_api::ids::{NamespaceId, shard_of};
use mainspring_engine::{Effect, Input, Rejected, input::TaskRef, state::RunNumber};
use mainspring_history::{
    Answered, Delivered, Error,
    shard::{Action, ChainKey, Event, Target, Work},
};
use mainspring_matching::{Directive, QueueName, Scan as QueueScan, Task};
use mainspring_store::{
    Claim, Error as StoreError, Op, Scan, ShardId, Store, Table, keys, memory::Fate, record::TaskRow,
};

use crate::{
    checks::Expect,
    node::{CallId, Line, NodeEvent, PollId, Reading, Scanning},
    planted::Planted,
    sim::{Alarm, Sim},
};

/// A caller that hears nothing for so long asks again.
const PATIENCE: Duration = Duration::from_secs(8);

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Client(usize),
    Slot {
        worker: usize,
        life: u32,
        slot: usize,
    },
    Effect(u64),
    /// Nobody who waits: a repeat of another call.
    Nobody,
}

/// What is on its way between parts of the world.
pub(crate) enum Parcel {
    /// An answer to its caller.
    Answer(CallId, Box<Result<Answered, Error>>),
    /// A task to its poller.
    Delivery { poll: PollId, delivered: Box<Delivered> },
    /// An effect to its target.
    Send(u64),
    /// Mail that was held up or is a repeat.
    Mail { shard: usize, event: Box<NodeEvent> },
}

/// The two namespaces; every other name is unknown.
pub(crate) const NAMESPACES: [&str; 2] = ["one", "two"];

pub(crate) fn namespace_id(index: usize) -> NamespaceId {
    NamespaceId(uuid::Uuid::from_u128(index as u128 + 1))
}

pub(crate) fn namespace_by_name(name: &str) -> Option<usize> {
    NAMESPACES.iter().position(|known| *known == name)
}

pub(crate) fn chain_key(namespace: usize, workflow_id: &str) -> ChainKey {
    ChainKey { namespace: namespace_id(namespace), workflow_id: workflow_id.into() }
}

impl Sim {
    /// Calls an engine input; the answer comes as a parcel, or never.
    pub(crate) fn call(&mut self, key: ChainKey, input: Input, caller: Caller, expect: Expect) -> CallId {
        self.ask(key, caller, expect, |answer| Work::call(input, Some(answer)))
    }

    pub(crate) fn ask(
        &mut self,
        key: ChainKey,
        caller: Caller,
        expect: Expect,
        work: impl FnOnce(CallId) -> Work<CallId, PollId>,
    ) -> CallId {
        let id = CallId(self.new_id());
        self.calls.insert(id, caller);
        if !matches!(caller, Caller::Effect(_)) {
            self.alarm(PATIENCE, Alarm::CallTimeout(id));
        }
        let shard = shard_of(key.namespace, &key.workflow_id, self.plan.shards);
        if let Some(node) = &mut self.node {
            node.mailboxes[usize::from(shard)].push_back(Event::Work(Target::Chain(key), work(id)));
            self.unanswered.insert(id, expect);
        }
        id
    }

    /// Puts an event into a mailbox of the living node, if there is one.
    pub(crate) fn post(&mut self, shard: usize, event: NodeEvent) {
        if let Some(node) = &mut self.node {
            node.mailboxes[shard].push_back(event);
        }
    }

    pub(crate) fn perform(&mut self, shard: usize, action: Action<CallId, PollId>) {
        match action {
            Action::Claim => {
                let claim = self.store.claim(shard_id(shard));
                if let Some(node) = &mut self.node {
                    node.claims.push((shard, claim));
                }
                self.poll_claims();
            }
            Action::Commit { claim, seq, ops } => self.commit(shard, claim, seq, ops),
            Action::Read { ticket, scans } => {
                if let Some(node) = &mut self.node {
                    node.reads.push(Reading { shard, ticket, scans, pages: None });
                }
            }
            Action::Answer { to, result } => self.answer(to, result),
            Action::Deliver { poller, delivered } => {
                self.check_delivered(&delivered);
                let poll = poller.handle.reply;
                self.note(|| format!("deliver {:?} to poll {}", task_of(&delivered), poll.0));
                if self.polls.get_mut(&poll).is_none_or(|polling| std::mem::replace(&mut polling.answered, true)) {
                    self.fail(format!("poll {} gets a task though it is over", poll.0));
                }
                self.network.push(Parcel::Delivery { poll, delivered: Box::new(delivered) });
            }
            Action::Direct(directives) => self.carry_out(directives),
            Action::Send { run, number, effect } => self.send(shard, run, number, effect),
            Action::Refilled => {}
            Action::Index { run, version, .. } => {
                let taken = !(self.faulty() && self.random.hits(self.plan.faults.answer_lost));
                let runs = vec![(run, version)];
                let event = Box::new(if taken { Event::Indexed(runs) } else { Event::NotIndexed(runs) });
                self.network.push(Parcel::Mail { shard, event });
            }
            Action::Fatal(error) => {
                self.note(|| format!("fatal: {error}"));
                if let Some(node) = &mut self.node {
                    node.fatal = true;
                }
            }
        }
    }

    fn answer(&mut self, to: CallId, result: Result<Answered, Error>) {
        self.note(|| format!("answer {}: {}", to.0, told(&result)));
        let Some(expect) = self.unanswered.remove(&to) else {
            return self.fail(format!("call {} is answered twice", to.0));
        };
        if let Err(Error::Internal(why) | Error::Corrupt(why)) = &result {
            self.fail(format!("call {}: {why}", to.0));
        }
        if result.as_ref().is_err_and(|error| *error == Error::Rejected(Rejected::Closing)) {
            self.sometimes.saw("signal refused while closing");
        }
        if let Ok(answered) = &result {
            self.check_answer(&expect, answered);
        }
        if self.planted == Some(Planted::AnsweredTwice) && self.random.one_in(40) {
            self.planted = None;
            return self.answer(to, result);
        }
        let within_node = matches!(self.calls.get(&to), Some(Caller::Effect(_)));
        if self.faulty() && !within_node && self.random.hits(self.plan.faults.answer_lost) {
            self.sometimes.saw("answer lost");
            return;
        }
        self.network.push(Parcel::Answer(to, Box::new(result)));
    }

    pub(crate) fn carry_out(&mut self, directives: Vec<Directive<Line>>) {
        for directive in directives {
            match directive {
                Directive::Start { queue, task, poller } => {
                    self.sometimes.saw("task row matched");
                    let (shard, run) = (usize::from(task.key.shard), RunNumber(task.run));
                    self.post(shard, Event::Work(Target::Run(run), Work::Start { queue, task, poller }));
                }
                Directive::Expired { queue, task } => {
                    self.sometimes.saw("task row deleted unread");
                    self.post(usize::from(task.key.shard), Event::Expired(queue.hash(), task.key));
                }
                Directive::Scan { queue, scan } => {
                    if let Some(node) = &mut self.node {
                        node.scans.push(Scanning { queue, scan, page: None });
                    }
                }
                Directive::End(line) => {
                    self.poll_ended(line.reply);
                }
            }
        }
    }

    fn commit(&mut self, shard: usize, claim: Claim, seq: u64, mut ops: Vec<Op>) {
        self.note(|| format!("shard {shard} commits batch {seq} of claim {} with {} rows", claim.epoch, ops.len()));
        self.keep_in_archive(shard, &ops);
        self.spoil(&mut ops);
        let Some(node) = &mut self.node else { return };
        let acknowledged = node.acknowledged.clone();
        let early = self.planted == Some(Planted::AnswerBeforeCommit);
        if early {
            node.mailboxes[shard].push_back(Event::Committed { epoch: claim.epoch, seq, result: Ok(()) });
        }
        let done = move |result| {
            if !early {
                let mut acknowledged = acknowledged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                acknowledged.push_back((claim.shard, claim.epoch, seq, result));
            }
        };
        self.store.commit(claim, seq, ops, Box::new(done));
        // A store that has failed answers at once.
        if let Some(node) = &mut self.node {
            node.take_acknowledged();
        }
    }

    /// Leaves out what a planted bug says.
    fn spoil(&mut self, ops: &mut Vec<Op>) {
        let is = |op: &Op, table: Table, kind: Option<u8>| match op {
            Op::Put { table: of, key, .. } => *of == table && kind.is_none_or(|kind| key.get(2) == Some(&kind)),
            Op::Delete { .. } => false,
        };
        let (table, kind) = match self.planted {
            Some(Planted::WakeRowLost) => (Table::Queue, Some(b'W')),
            Some(Planted::TaskRowLost) => (Table::Queue, Some(b'T')),
            Some(Planted::ItemLost) => (Table::State, Some(b'P')),
            Some(Planted::HistoryLost) => (Table::History, None),
            _ => return,
        };
        let found = ops.iter().position(|op| is(op, table, kind));
        if let Some(index) = found.filter(|_| self.random.one_in(10)) {
            ops.remove(index);
        }
    }

    /// Executes the oldest work of a shard in the store.
    pub(crate) fn execute(&mut self, index: usize) {
        let Some(shard) = self.store.pending().get(index).copied() else { return };
        let fate = self.fate(shard);
        self.note(|| format!("store executes work of shard {shard}: {fate:?}"));
        self.store.execute(shard, fate);
        if self.planted == Some(Planted::TornBatch) && self.random.one_in(50) {
            return self.tear();
        }
        if let Some(node) = &mut self.node {
            node.take_acknowledged();
        }
        self.poll_claims();
    }

    /// A planted bug: some rows of the last batch do not survive a crash.
    fn tear(&mut self) {
        let rows: Vec<(Table, bytes::Bytes)> = self.store.snapshot().into_keys().collect();
        let histories: Vec<&(Table, bytes::Bytes)> =
            rows.iter().filter(|(table, _)| *table == Table::History).collect();
        if let Some((table, key)) = histories.last() {
            let _ = self.store.purge(*table, key.clone(), keys::after(key)).now_or_never();
        }
        self.crash();
    }

    fn fate(&mut self, _shard: ShardId) -> Fate {
        if !self.faulty() {
            return Fate::Succeed;
        }
        let written = self.random.one_in(2);
        if self.random.hits(self.plan.faults.commit_refused) {
            self.sometimes.saw("commit refused");
            return Fate::Fail;
        }
        if self.random.hits(self.plan.faults.commit_unknown) {
            self.sometimes.saw(if written { "commit written, unknown" } else { "commit not written, unknown" });
            return Fate::Unknown { written };
        }
        if self.random.hits(self.plan.faults.poison) {
            self.sometimes.saw("poison");
            return Fate::Poison { written };
        }
        Fate::Succeed
    }

    /// Brings the answers of claims to their shards.
    fn poll_claims(&mut self) {
        let Some(node) = &mut self.node else { return };
        let mut waiting = Vec::new();
        for (shard, mut claim) in std::mem::take(&mut node.claims) {
            match (&mut claim).now_or_never() {
                Some(result) => {
                    if matches!(result, Err(StoreError::Unknown(_))) {
                        self.sometimes.saw("claim unknown");
                    }
                    node.mailboxes[shard].push_back(Event::Claimed(result));
                }
                None => waiting.push((shard, claim)),
            }
        }
        node.claims = waiting;
    }

    /// A read is executed, or its answer arrives.
    pub(crate) fn go_on_reading(&mut self, index: usize) {
        let fails = self.faulty() && self.random.hits(self.plan.faults.read_fails);
        let wall = self.wall();
        let Some(node) = &mut self.node else { return };
        if index < node.reads.len() {
            let reading = &mut node.reads[index];
            match reading.pages.take() {
                None if fails => {
                    self.sometimes.saw("read failed");
                    reading.pages = Some(Err(StoreError::Unknown("the simulator said so".to_owned())));
                }
                None => {
                    let pages = self.store.scan_all(reading.scans.clone()).now_or_never();
                    reading.pages = Some(pages.expect("the memory store answers at once"));
                }
                Some(pages) => {
                    let Reading { shard, ticket, .. } = node.reads.remove(index);
                    node.mailboxes[shard].push_back(Event::Read(ticket, pages));
                }
            }
            return;
        }
        let index = index - node.reads.len();
        let scanning = &mut node.scans[index];
        match scanning.page.take() {
            None if fails => {
                self.sometimes.saw("read failed");
                scanning.page = Some(None);
            }
            None => scanning.page = Some(scan_queue(&self.store, &scanning.queue, &scanning.scan)),
            Some(page) => {
                let Scanning { queue, scan, .. } = node.scans.remove(index);
                let directives = node.matching.scanned(&queue, &scan, page, wall);
                self.carry_out(directives);
            }
        }
    }

    /// A parcel arrives, or is held up, or comes twice.
    pub(crate) fn take_parcel(&mut self, index: usize) {
        let parcel = self.network.swap_remove(index);
        if self.faulty() && self.random.hits(self.plan.faults.answer_late) {
            self.sometimes.saw("answer late");
            let (id, pause) = (self.new_id(), Duration::from_millis(self.random.between(1, 12_000)));
            self.held_up.insert(id, parcel);
            return self.alarm(pause, Alarm::Late(id));
        }
        match parcel {
            Parcel::Answer(call, result) => self.answered(call, *result),
            Parcel::Delivery { poll, delivered } => self.delivered(poll, *delivered),
            Parcel::Send(sending) => self.carry_out_effect(sending),
            Parcel::Mail { shard, event } => self.post(shard, *event),
        }
    }

    fn answered(&mut self, call: CallId, result: Result<Answered, Error>) {
        // A caller whose patience is over does not listen any more.
        let Some(caller) = self.calls.remove(&call) else { return };
        match caller {
            Caller::Client(client) => self.client_answered(client, call, Some(result)),
            Caller::Slot { worker, life, slot } => self.slot_answered(worker, life, slot, call, Some(result)),
            Caller::Effect(sending) => self.effect_answered(sending, Some(result)),
            Caller::Nobody => {}
        }
    }

    pub(crate) fn call_timed_out(&mut self, call: CallId) {
        let Some(caller) = self.calls.remove(&call) else { return };
        match caller {
            Caller::Client(client) => self.client_answered(client, call, None),
            Caller::Slot { worker, life, slot } => self.slot_answered(worker, life, slot, call, None),
            Caller::Effect(sending) => self.effect_answered(sending, None),
            Caller::Nobody => {}
        }
    }
}

/// A page of a queue's rows, as the shell of `history` reads it.
fn scan_queue(store: &impl Store, queue: &QueueName, scan: &QueueScan) -> Option<(Vec<Task>, bool)> {
    let range = keys::tasks_after(ShardId(scan.shard), &queue.hash(), scan.after.level, scan.after.task_id);
    let request = Scan {
        table: Table::Queue,
        from: range.from,
        to: range.to,
        rows_max: scan.limit,
        bytes_max: usize::MAX,
        reverse: false,
    };
    let page = store.scan(request).now_or_never()?.ok()?;
    let rows = page.rows.into_iter().filter_map(|(key, value)| TaskRow::read(scan.shard, &key, value).ok()).collect();
    Some((rows, page.more))
}

pub(crate) fn shard_id(shard: usize) -> ShardId {
    ShardId(u16::try_from(shard).unwrap_or(u16::MAX))
}

/// An event in few words.
pub(crate) fn describe(event: &NodeEvent) -> String {
    match event {
        Event::Open => "open".to_owned(),
        Event::Work(target, work) => {
            let to = match target {
                Target::Chain(key) => key.workflow_id.to_string(),
                Target::Run(run) => format!("run {}", run.0),
            };
            match work {
                Work::Call { input, .. } => format!("{to}: {}", name_of(input)),
                Work::Start { task, .. } => format!("{to}: start {}#{}", task.event_id, task.stamp),
                Work::Look { .. } => format!("{to}: look"),
                Work::Watch { next_event_id, .. } => format!("{to}: watch from {next_event_id}"),
                Work::Query { ask, .. } => format!("{to}: query {}", ask.query.query_type),
                Work::Update { wanted, .. } => format!("{to}: update {}", wanted.update_id),
                Work::Wake { due, .. } => format!("{to}: wake {}", due.as_millis()),
            }
        }
        Event::NotIndexed(runs) => format!("not indexed {runs:?}"),
        Event::Indexed(runs) => format!("indexed {runs:?}"),
        Event::QueryAnswered(id, _) => format!("query {id} answered"),
        Event::QueryUndelivered(id) => format!("query {id} undelivered"),
        Event::Expired(_, key) => format!("expired {key:?}"),
        Event::Claimed(result) => format!("claimed {:?}", result.as_ref().map(|claim| claim.epoch)),
        Event::Read(ticket, pages) => {
            let rows = pages.as_ref().map(|pages| pages.iter().map(|page| page.rows.len()).collect::<Vec<_>>());
            format!("read {ticket}: {rows:?}")
        }
        Event::Committed { epoch, seq, result } => format!("committed {epoch}/{seq}: {result:?}"),
        Event::Tick => "tick".to_owned(),
    }
}

fn name_of(input: &Input) -> String {
    match input {
        Input::StartTask(_) => "start task".to_owned(),
        Input::CompleteWorkflowTask(complete) => format!(
            "complete task {} attempt {} with {:?}",
            complete.token.started_event_id,
            complete.token.attempt,
            complete.commands.iter().map(|command| command.command_type().as_str_name()).collect::<Vec<_>>()
        ),
        Input::Start(start) => format!("start {} request {}", start.workflow_type, start.request_id),
        Input::SignalWithStart(start, signal) => {
            format!(
                "signal-with-start {} request {} signal {}",
                start.workflow_type, start.request_id, signal.request_id
            )
        }
        Input::Signal(signal) => format!("signal {}", signal.request_id),
        Input::EffectAnswered(answered) => format!("effect {} answered {:?}", answered.effect, answered.answer),
        Input::Activity(target, input) => format!("{target:?} {}", short(&format!("{input:?}"))),
        other => short(&format!("{other:?}")),
    }
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

pub(crate) fn told(result: &Result<Answered, Error>) -> String {
    match result {
        Ok(Answered::Reply(answer)) => short(&format!("{:?}", answer.reply)),
        Ok(Answered::View(view)) => {
            format!("run {} {:?} up to {}", view.run.number.0, view.run.status(), view.run.execution.next_event_id)
        }
        Ok(Answered::Query(reply)) => short(&format!("{reply:?}")),
        Ok(Answered::Update(view)) => short(&format!("{:?}", view.stage)),
        Err(error) => format!("{error:?}"),
    }
}

/// The task that was started, if it is one.
pub(crate) fn task_of(delivered: &Delivered) -> Option<TaskRef> {
    match delivered {
        Delivered::Workflow { task, .. } => Some(task.task),
        Delivered::Activity { task, .. } => Some(task.task),
        Delivered::Query(_) => None,
    }
}

/// An effect in few words.
pub(crate) fn describe_effect(effect: &Effect) -> String {
    let kind = effect.kind.as_ref().map(|kind| short(&format!("{kind:?}")));
    format!("to {}/{} {}", effect.namespace, effect.workflow_id, kind.unwrap_or_default())
}
