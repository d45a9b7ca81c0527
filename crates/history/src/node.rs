//! The thin shell around the shards: mailboxes, tasks, and the carrying out of what the machines say.

use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use mainspring_api::ids::{NamespaceId, shard_of};
use mainspring_engine::{
    effect::Effect,
    input::{EffectAnswered, Input},
    state::RunNumber,
};
use mainspring_matching::{Directive, Matching, QueueName, Scan as QueueScan, Task};
use mainspring_rt::{BoxFuture, Rt, Timestamp};
use mainspring_store::{Error as StoreError, Scan, ShardId, Store, Table, keys, record::TaskRow};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Config, Tuning,
    answer::{Answer, Error, QueryReply, RunView, UpdateView},
    budget::Budget,
    delivery::{Delivery, Line},
    indexer::{self, Entry, Indexer},
    namespaces::Namespaces,
    shard::{Action, Answered, Ask, Await, ChainKey, Event, LostWorkers, Settings, Shard, Survey, Target, Work, World},
};

/// Events that one batch takes.
const DRAIN_MAX: usize = 256;
/// How often matching is told of the time, at most and at least.
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_millis(100);
/// Between tries to send an effect whose target is not to be had.
const RESEND_MIN: Duration = Duration::from_millis(50);
const RESEND_MAX: Duration = Duration::from_secs(10);

type Reply = oneshot::Sender<Result<Answered, Error>>;
type Poller = oneshot::Sender<Option<Delivery>>;
pub(crate) type NodeEvent = Event<Reply, Poller>;

/// Whether a call may be refused for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    External,
    Internal,
}

/// All that the parts of a node have in common.
pub(crate) struct Node {
    pub(crate) rt: Rt,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) matching: Matching<Line>,
    pub(crate) namespaces: Arc<Namespaces>,
    pub(crate) indexer: Arc<Indexer>,
    pub(crate) failed: watch::Sender<Option<String>>,
    pub(crate) budget: Budget,
    mailbox_max: usize,
    mailboxes: Vec<Mailbox>,
    stopping: AtomicBool,
    /// Shards that still run.
    running: watch::Sender<usize>,
}

struct Mailbox {
    events: mpsc::UnboundedSender<Mail>,
    waiting: Arc<AtomicUsize>,
}

#[expect(clippy::large_enum_variant, reason = "the small one comes once in a shard's life")]
enum Mail {
    Event(NodeEvent),
    /// Forget what need not be in memory.
    Evict,
    /// Say what goes on.
    Survey(LostWorkers, oneshot::Sender<Survey>),
    Stop,
}

impl Node {
    pub(crate) async fn open(config: Config) -> Result<Arc<Node>, StoreError> {
        let namespaces = Arc::new(Namespaces::open(config.store.clone()).await?);
        let Tuning { shards, mailbox_max, index_waiting_max, matching } = config.tuning;
        let indexer = Indexer::new(config.index, shards, index_waiting_max);
        let (indexer, fed) = indexer.map_err(|error| StoreError::Unknown(error.to_string()))?;
        let indexer = Arc::new(indexer);
        let (mailboxes, receivers): (Vec<_>, Vec<_>) = (0..shards)
            .map(|_| {
                let (events, receiver) = mpsc::unbounded_channel();
                (Mailbox { events, waiting: Arc::default() }, receiver)
            })
            .unzip();
        let budget = Budget::new(config.cache_bytes_max);
        let node = Arc::new(Node {
            rt: config.rt.clone(),
            store: config.store,
            matching: Matching::new(matching),
            namespaces: namespaces.clone(),
            indexer: indexer.clone(),
            failed: watch::Sender::new(None),
            budget: budget.clone(),
            mailbox_max,
            mailboxes,
            stopping: AtomicBool::new(false),
            running: watch::Sender::new(usize::from(shards)),
        });
        let retention = move |id| namespaces.by_id(id).map_or(Duration::ZERO, |namespace| namespace.retention);
        let settings = Arc::new(Settings {
            step: mainspring_engine::step,
            limits: config.limits,
            retention: Arc::new(retention),
            refill_index: Arc::new(move || indexer.is_lost()),
            budget,
        });
        for (id, receiver) in (0..shards).zip(receivers) {
            let shard = Shard::new(ShardId(id), settings.clone(), config.rt.random_u64());
            config.rt.spawn(run_shard(node.clone(), ShardId(id), shard, receiver));
            node.post(id, Event::Open);
        }
        config.rt.spawn(tick_matching(node.clone()));
        config.rt.spawn(indexer::feed(node.clone(), fed));
        Ok(node)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn new_request_id(&self) -> String {
        uuid::Uuid::from_u64_pair(self.rt.random_u64(), self.rt.random_u64()).to_string()
    }

    /// Puts an event into a shard's mailbox. Lost when the shard has stopped.
    pub(crate) fn post(&self, shard: u16, event: NodeEvent) {
        let _ = self.mailboxes[usize::from(shard)].events.send(Mail::Event(event));
    }

    pub(crate) async fn call(
        &self,
        namespace: NamespaceId,
        workflow_id: &str,
        input: Input,
        query_results: BTreeMap<u64, QueryReply>,
        lane: Lane,
    ) -> Result<Answer, Error> {
        let input = Box::new(input);
        let work = |answer| Work::Call { input, query_results, answer: Some(answer) };
        match self.ask(namespace, workflow_id, lane, work).await? {
            Answered::Reply(answer) => Ok(*answer),
            _ => Err(mixed_up()),
        }
    }

    pub(crate) async fn query(&self, namespace: NamespaceId, workflow_id: &str, ask: Ask) -> Result<QueryReply, Error> {
        let work = |answer| Work::Query { ask: Box::new(ask), answer };
        match self.ask(namespace, workflow_id, Lane::External, work).await? {
            Answered::Query(reply) => Ok(*reply),
            _ => Err(mixed_up()),
        }
    }

    pub(crate) async fn update(
        &self,
        namespace: NamespaceId,
        workflow_id: &str,
        wanted: Await,
    ) -> Result<UpdateView, Error> {
        let work = |answer| Work::Update { wanted: Box::new(wanted), answer };
        match self.ask(namespace, workflow_id, Lane::External, work).await? {
            Answered::Update(view) => Ok(*view),
            _ => Err(mixed_up()),
        }
    }

    /// A run as it stands, or once it has events from `after` on.
    pub(crate) async fn look(
        &self,
        namespace: NamespaceId,
        workflow_id: &str,
        run_id: &str,
        after: Option<i64>,
    ) -> Result<RunView, Error> {
        let run_id = run_id.to_owned();
        let work = |answer| match after {
            Some(next_event_id) => Work::Watch { run_id, next_event_id, answer },
            None => Work::Look { run_id, answer },
        };
        match self.ask(namespace, workflow_id, Lane::External, work).await? {
            Answered::View(view) => Ok(*view),
            _ => Err(mixed_up()),
        }
    }

    async fn ask(
        &self,
        namespace: NamespaceId,
        workflow_id: &str,
        lane: Lane,
        work: impl FnOnce(Reply) -> Work<Reply, Poller>,
    ) -> Result<Answered, Error> {
        let shards = u16::try_from(self.mailboxes.len()).unwrap_or(u16::MAX);
        let shard = shard_of(namespace, workflow_id, shards);
        let mailbox = &self.mailboxes[usize::from(shard)];
        let _place = Place::take(mailbox, lane, self.mailbox_max)?;
        if self.stopping.load(Ordering::Relaxed) {
            return Err(stopping());
        }
        let (reply, answered) = oneshot::channel();
        let key = ChainKey { namespace, workflow_id: workflow_id.into() };
        self.post(shard, Event::Work(Target::Chain(key), work(reply)));
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Does what matching wants done.
    pub(crate) fn carry_out(node: &Arc<Node>, directives: Vec<Directive<Line>>) {
        for directive in directives {
            match directive {
                Directive::Start { queue, task, poller } => {
                    let (shard, run) = (task.key.shard, RunNumber(task.run));
                    node.post(shard, Event::Work(Target::Run(run), Work::Start { queue, task, poller }));
                }
                Directive::Expired { queue, task } => node.post(task.key.shard, Event::Expired(queue.hash(), task.key)),
                Directive::Scan { queue, scan } => node.rt.spawn(scan_queue(node.clone(), queue, scan)),
                Directive::End(line) => {
                    // A poller that went away needs no answer.
                    let _ = line.reply.send(None);
                }
            }
        }
    }

    fn perform(self: &Arc<Node>, shard: ShardId, action: Action<Reply, Poller>) {
        match action {
            Action::Claim => {
                let (claim, node) = (self.store.claim(shard), self.clone());
                self.rt.spawn(async move { node.post(shard.0, Event::Claimed(claim.await)) });
            }
            Action::Commit { claim, seq, ops } => {
                let events = self.mailboxes[usize::from(shard.0)].events.clone();
                let done = move |result| {
                    let _ = events.send(Mail::Event(Event::Committed { epoch: claim.epoch, seq, result }));
                };
                self.store.commit(claim, seq, ops, Box::new(done));
            }
            Action::Read { ticket, scans } => {
                let (pages, node) = (self.store.scan_all(scans), self.clone());
                self.rt.spawn(async move { node.post(shard.0, Event::Read(ticket, pages.await)) });
            }
            Action::Answer { to, result } => {
                // A caller that went away needs no answer.
                let _ = to.send(result);
            }
            Action::Deliver { poller, delivered } => {
                let delivery = Delivery::new(self.clone(), delivered);
                // If the poller is gone the delivery comes back, and dropping it gives the task to the next one.
                drop(poller.handle.reply.send(Some(delivery)));
            }
            Action::Direct(directives) => Node::carry_out(self, directives),
            Action::Send { run, number, effect } => {
                self.rt.spawn(send_effect(self.clone(), shard, run, number, effect));
            }
            Action::Index { run, version, change } => {
                if !self.indexer.tell(Entry { shard: shard.0, run, version, change }) {
                    self.post(shard.0, Event::NotIndexed(vec![(run, version)]));
                }
            }
            Action::Refilled => self.indexer.refilled(shard.0),
            Action::Fatal(error) => {
                tracing::error!(%error, "the storage failed: the server has to stop");
                self.failed.send_replace(Some(error.to_string()));
            }
        }
    }

    pub(crate) fn evict_all(&self) {
        for mailbox in &self.mailboxes {
            let _ = mailbox.events.send(Mail::Evict);
        }
    }

    /// What goes on in all shards, one after the other.
    pub(crate) async fn survey(&self, lost: &LostWorkers) -> Survey {
        let asked = self.mailboxes.iter().map(|mailbox| {
            let (answer, answered) = oneshot::channel();
            let _ = mailbox.events.send(Mail::Survey(lost.clone(), answer));
            answered
        });
        let mut whole = Survey::EMPTY;
        for answered in asked.collect::<Vec<_>>() {
            // A shard that has stopped does nothing any more.
            whole += answered.await.unwrap_or(Survey::EMPTY);
        }
        whole
    }

    pub(crate) async fn close(self: &Arc<Node>) {
        self.stopping.store(true, Ordering::Relaxed);
        Node::carry_out(self, self.matching.shut());
        for mailbox in &self.mailboxes {
            let _ = mailbox.events.send(Mail::Stop);
        }
        let mut running = self.running.subscribe();
        // It fails only if the sender is gone, and we hold it.
        let _ = running.wait_for(|running| *running == 0).await;
    }
}

/// A place among the calls that wait in a shard.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(mailbox: &Mailbox, lane: Lane, most: usize) -> Result<Place, Error> {
        let waiting = mailbox.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(mailbox.waiting.clone());
        if waiting >= most && lane == Lane::External {
            return Err(Error::Busy("too many calls wait for this part of the namespace"));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn mixed_up() -> Error {
    Error::Internal("an answer of another kind than the question".to_owned())
}

fn stopping() -> Error {
    Error::Unavailable("the server is shutting down".to_owned())
}

/// The task of one shard.
async fn run_shard(
    node: Arc<Node>,
    id: ShardId,
    mut shard: Shard<Reply, Poller>,
    mut mailbox: mpsc::UnboundedReceiver<Mail>,
) {
    let mut alarm = Alarm::new(node.rt.clone());
    let mut mails = Vec::new();
    let mut surveys = Vec::new();
    let mut stop = false;
    while !(stop && shard.is_idle() && mailbox.is_empty()) {
        alarm.set(shard.next_wake());
        if !alarm.wait(&mut mailbox, &mut mails).await {
            break;
        }
        let world = World { now: node.rt.now(), matching: &node.matching };
        for mail in mails.drain(..) {
            match mail {
                Mail::Event(event) => shard.handle(event, &world),
                Mail::Evict => shard.evict_all(),
                Mail::Survey(lost, answer) => surveys.push((lost, answer)),
                Mail::Stop => stop = true,
            }
        }
        shard.handle(Event::Tick, &world);
        for action in shard.flush(&world) {
            node.perform(id, action);
        }
        for (lost, answer) in surveys.drain(..) {
            let _ = answer.send(shard.survey(&lost));
        }
        if stop && !shard.can_finish() {
            break;
        }
    }
    node.running.send_modify(|running| *running -= 1);
}

/// A sleep that is set anew only when its time changes.
struct Alarm {
    rt: Rt,
    at: Timestamp,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Alarm {
    fn new(rt: Rt) -> Alarm {
        Alarm { rt, at: Timestamp::MAX, sleep: Box::pin(std::future::pending()) }
    }

    fn set(&mut self, at: Timestamp) {
        if at != self.at {
            self.at = at;
            self.sleep = if at == Timestamp::MAX { pending() } else { self.rt.sleep_until(at) };
        }
    }

    /// Waits for mail or for the time to come. False when nobody can write any more.
    async fn wait(&mut self, mailbox: &mut mpsc::UnboundedReceiver<Mail>, mails: &mut Vec<Mail>) -> bool {
        let received = pin!(mailbox.recv_many(mails, DRAIN_MAX));
        match select(received, &mut self.sleep).await {
            Either::Left((count, _)) => return count > 0,
            Either::Right(_) => {}
        }
        // A sleep that has ended is not to be awaited again.
        self.at = Timestamp::MAX;
        self.sleep = pending();
        true
    }
}

fn pending() -> BoxFuture<()> {
    Box::pin(std::future::pending())
}

/// Tells matching of the time: rate limits, tasks past their deadline, idle queues.
async fn tick_matching(node: Arc<Node>) {
    while !node.stopping.load(Ordering::Relaxed) {
        let now = node.rt.now();
        let next = node.matching.next_tick().unwrap_or(Timestamp::MAX);
        node.rt.sleep_until(next.clamp(now + TICK_MIN, now + TICK_MAX)).await;
        let now = node.rt.now();
        if node.matching.next_tick().is_some_and(|next| next <= now) {
            Node::carry_out(&node, node.matching.tick(now));
        }
    }
}

/// Reads a page of a queue's rows for matching.
async fn scan_queue(node: Arc<Node>, queue: QueueName, scan: QueueScan) {
    let range = keys::tasks_after(ShardId(scan.shard), &queue.hash(), scan.after.level, scan.after.task_id);
    let request = Scan {
        table: Table::Queue,
        from: range.from,
        to: range.to,
        rows_max: scan.limit,
        bytes_max: usize::MAX,
        reverse: false,
    };
    let page = match node.store.scan(request).await {
        Ok(page) => {
            let rows = page.rows.into_iter().filter_map(|(key, value)| read_task(scan.shard, &key, value)).collect();
            Some((rows, page.more))
        }
        Err(error) => {
            tracing::error!(shard = scan.shard, %error, "tasks cannot be read");
            None
        }
    };
    let directives = node.matching.scanned(&queue, &scan, page, node.rt.now());
    Node::carry_out(&node, directives);
}

/// A damaged row keeps only its own task from being dispatched.
fn read_task(shard: u16, key: &[u8], value: bytes::Bytes) -> Option<Task> {
    TaskRow::read(shard, key, value).inspect_err(|error| tracing::error!(shard, %error, "a task cannot be read")).ok()
}

/// Carries an effect out on its target, again and again until it is answered, and brings the answer back.
async fn send_effect(node: Arc<Node>, shard: ShardId, run: RunNumber, number: u64, effect: Effect) {
    let mut pause = RESEND_MIN;
    let answer = loop {
        let Some(namespace) = node.namespaces.by_name(&effect.namespace) else { break effect.namespace_unknown() };
        let input = match effect.to_input(number, &namespace.id.to_string()) {
            Ok(input) => input,
            Err(answer) => break answer,
        };
        let mut final_answer = None;
        match node.call(namespace.id, &effect.workflow_id, input, BTreeMap::new(), Lane::Internal).await {
            Ok(answer) => final_answer = effect.answer(&Ok(answer.reply)),
            Err(Error::Rejected(rejected)) => final_answer = effect.answer(&Err(rejected)),
            Err(_) => {}
        }
        if let Some(answer) = final_answer {
            break answer;
        }
        if node.stopping.load(Ordering::Relaxed) {
            return;
        }
        node.rt.sleep(pause).await;
        pause = (pause * 2).min(RESEND_MAX);
    };
    let initiated_event_id = effect.initiated_event_id;
    let input = Input::EffectAnswered(Box::new(EffectAnswered { run, effect: number, initiated_event_id, answer }));
    node.post(shard.0, Event::Work(Target::Run(run), Work::call(input, None)));
}
