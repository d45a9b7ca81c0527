//! The world around the registry: shards with rows, workers, and a caller that is slow.

mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainspring_api::ids::{NamespaceId, QueueKind};
use mainspring_matching::{
    Description, Directive, Limits, Matching, Poll, Poller, PollerId, QueueHash, QueueName, Refused, Scan, Task,
    TaskKey, Version,
};
use mainspring_rt::Timestamp;
use random::XorShift;

/// Few of each, so that they collide often; one queue more than fits into memory.
const SHARDS: u16 = 3;
const QUEUES: usize = 4;
const QUEUES_MAX: usize = 3;
const LEVELS: u64 = 3;
const VERSIONS: u64 = 2;
const IDLE: Duration = Duration::from_secs(20);

/// Things that ought to happen in some life, or the test shows less than it seems to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    Matched,
    MatchedLater,
    Reserved,
    GivenBack,
    Ended,
    Expired,
    Scanned,
    Unreadable,
    RateLimited,
    TooManyPollers,
    TooManyQueues,
    Unloaded,
    Lost,
    OfferedAgain,
}

impl Fact {
    pub(crate) const COUNT: usize = Fact::OfferedAgain as usize + 1;
}

struct Row {
    queue: usize,
    task: Task,
    /// Matching can know of it: it was offered, or its shard loaded since.
    known: bool,
    /// Handed to a poller, not yet started.
    in_flight: bool,
}

enum Shard {
    Lost,
    /// Its queues were listed, `load_shard` not called yet; it works already.
    Loading(Vec<usize>),
    Loaded,
}

/// A page: asked for, then read, then answered.
struct Page {
    queue: usize,
    scan: Scan,
    read: Option<(Vec<Task>, bool)>,
}

/// A worker's request.
#[derive(Debug)]
struct Asked {
    queue: usize,
    version: Version,
    /// `None` if it was refused.
    id: Option<PollerId>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waiting,
    /// Somebody has it, and a task for it.
    Out,
    Answered,
}

pub(crate) struct Model {
    random: XorShift,
    matching: Matching<u64>,
    tasks_max: usize,
    queues: Vec<QueueName>,
    now: Timestamp,
    rows: BTreeMap<TaskKey, Row>,
    shards: Vec<Shard>,
    next_task: u64,
    unoffered: Vec<TaskKey>,
    pages: Vec<Page>,
    starting: Vec<(usize, TaskKey, Poller<u64>)>,
    reserved: Vec<(usize, Poller<u64>)>,
    /// By handle, which counts from 0.
    pollers: Vec<Asked>,
    /// Rows that could not be read and were not asked for since.
    unreadable: BTreeSet<(usize, u16)>,
    /// How often each fact was seen.
    pub(crate) facts: BTreeMap<Fact, usize>,
    /// All directives, in order.
    pub(crate) trace: Vec<String>,
}

impl Model {
    /// A node that finds rows of earlier times in the store.
    pub(crate) fn new(seed: u64) -> Model {
        let mut random = XorShift::new(seed);
        let tasks_max = 4 + random.below(12) as usize;
        let refill_at = random.below(tasks_max as u64 / 2) as usize;
        let queue =
            mainspring_matcher::Limits { tasks_max, refill_at, scan_rows_min: 1, pollers_max: 4, ..Default::default() };
        let limits = Limits { queue, queues_max: QUEUES_MAX, idle: IDLE, ..Limits::default() };
        let namespace = NamespaceId(uuid::Uuid::from_u128(7));
        let name = |n: usize| QueueName { namespace, name: format!("q{n}").into(), kind: QueueKind::Activity };
        let mut model = Model {
            matching: Matching::new(limits),
            tasks_max,
            queues: (0..QUEUES).map(name).collect(),
            now: Timestamp::from_millis(1_000_000),
            rows: BTreeMap::new(),
            shards: (0..SHARDS).map(|_| Shard::Loaded).collect(),
            next_task: 1,
            unoffered: Vec::new(),
            pages: Vec::new(),
            starting: Vec::new(),
            reserved: Vec::new(),
            pollers: Vec::new(),
            unreadable: BTreeSet::new(),
            facts: BTreeMap::new(),
            trace: Vec::new(),
            random,
        };
        for _ in 0..model.random.below(40) {
            model.commit();
        }
        for shard in 0..SHARDS {
            model.begin_loading(shard);
            model.finish_loading(shard);
        }
        model
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(24) {
            0..=4 => self.poll_some(),
            5..=8 => self.commit_and_offer(),
            9 => self.offer_late(),
            10..=11 => self.read_page(),
            12..=14 => self.answer_page(),
            15..=17 => self.finish_start(),
            18 => self.reserve(),
            19 => self.finish_reserved(),
            20 => self.cancel_some(),
            21..=22 => self.pass_time(),
            _ => self.disturb(),
        }
        self.check();
    }

    /// The faults stop, workers come: after that nothing is left.
    pub(crate) fn drain(&mut self) {
        for shard in 0..SHARDS {
            if matches!(self.shards[usize::from(shard)], Shard::Lost) {
                self.begin_loading(shard);
            }
            self.finish_loading(shard);
        }
        for round in 0..2_000 {
            self.finish_all();
            if self.rows.is_empty() {
                return;
            }
            // A few rounds for each queue in turn: not all fit into memory.
            let queue = round / 10 % QUEUES;
            for version in [Version::UNVERSIONED, Version::build("blue".into())] {
                if self.poll(queue, version, Some(1e9)).is_err() {
                    self.make_room();
                }
            }
            self.pass(Duration::from_secs(1));
        }
        let left = self.rows.values().next().map(|row| (&row.task, row.known, row.in_flight, self.describe(row.queue)));
        panic!("{} rows never left the store, as {left:?}", self.rows.len());
    }

    /// The server stops: whoever waits goes home, and then no poller is left without an answer.
    pub(crate) fn shut(&mut self) {
        let directives = self.matching.shut();
        self.take(directives);
        while let Some((queue, poller)) = self.reserved.pop() {
            self.give_back(queue, poller);
        }
        assert_eq!((self.matching.check(), self.matching.next_tick()), (Ok(()), None));
        let left = self.pollers.iter().find(|asked| asked.place != Place::Answered);
        assert!(left.is_none(), "{left:?} was lost");
    }

    fn finish_all(&mut self) {
        while !self.unoffered.is_empty() {
            self.offer_late();
        }
        while !self.pages.is_empty() || !self.starting.is_empty() {
            self.read_page();
            if let Some(at) = self.pages.iter().position(|page| page.read.is_some()) {
                let Page { queue, scan, read } = self.pages.swap_remove(at);
                self.answer(queue, &scan, read);
            }
            if let Some((queue, key, poller)) = self.starting.pop() {
                self.start(queue, key, poller);
            }
            self.check();
        }
    }

    /// Everyone leaves for so long that all queues are unloaded.
    fn make_room(&mut self) {
        while self.cancel_first() {}
        self.pass(IDLE);
        self.pass(IDLE);
    }

    fn poll_some(&mut self) {
        let queue = self.queue();
        let version = self.version();
        let rate = [None, None, None, Some(0.0), Some(0.7), Some(1e6)][self.random.below(6) as usize];
        let _ = self.poll(queue, version, rate);
    }

    fn poll(&mut self, queue: usize, version: Version, rate: Option<f64>) -> Result<(), Refused> {
        let handle = self.pollers.len() as u64;
        let poll = Poll { handle, version: version.clone(), identity: "worker".into() };
        self.pollers.push(Asked { queue, version, id: None, place: Place::Waiting });
        match self.matching.poll(&self.queues[queue], poll, rate, self.now) {
            Ok((id, directives)) => {
                self.pollers[handle as usize].id = Some(id);
                self.take(directives);
                Ok(())
            }
            Err(refused) => {
                self.pollers[handle as usize].place = Place::Answered;
                self.saw(match refused {
                    Refused::TooManyPollers => Fact::TooManyPollers,
                    Refused::TooManyQueues => Fact::TooManyQueues,
                    Refused::Shut => panic!("the server runs"),
                });
                Err(refused)
            }
        }
    }

    fn cancel_some(&mut self) {
        let waiting = self.waiting();
        if !waiting.is_empty() {
            let at = self.random.below(waiting.len() as u64) as usize;
            self.cancel(waiting[at]);
        }
        let others = self.pollers.iter().filter(|asked| asked.place != Place::Waiting);
        for Asked { queue, id, .. } in others {
            let cancelled = id.is_some_and(|id| self.matching.cancel(&self.queues[*queue], id, self.now));
            assert!(!cancelled, "one that does not wait was taken for another");
        }
    }

    fn cancel_first(&mut self) -> bool {
        let first = self.waiting().first().copied();
        first.map(|handle| self.cancel(handle)).is_some()
    }

    fn cancel(&mut self, handle: usize) {
        let Asked { queue, id, place, .. } = &mut self.pollers[handle];
        assert!(self.matching.cancel(&self.queues[*queue], id.expect("it was let in"), self.now));
        *place = Place::Answered;
    }

    fn waiting(&self) -> Vec<usize> {
        (0..self.pollers.len()).filter(|handle| self.pollers[*handle].place == Place::Waiting).collect()
    }

    fn commit(&mut self) -> Option<TaskKey> {
        let (shard, queue) = (self.shard(), self.queue());
        if matches!(self.shards[usize::from(shard)], Shard::Lost) {
            return None;
        }
        let key = TaskKey { level: 1 + self.random.below(LEVELS) as u8, task_id: self.next_task, shard };
        self.next_task += 1;
        let expires = self.random.one_in(6).then(|| self.now + Duration::from_millis(self.random.below(5_000)));
        let task = Task { key, run: 1, event_id: 5, stamp: 0, version: self.version(), expires };
        self.rows.insert(key, Row { queue, task, known: false, in_flight: false });
        Some(key)
    }

    fn commit_and_offer(&mut self) {
        let Some(key) = self.commit() else { return };
        if self.random.one_in(4) { self.unoffered.push(key) } else { self.offer(key) }
    }

    fn offer_late(&mut self) {
        if !self.unoffered.is_empty() {
            let at = self.random.below(self.unoffered.len() as u64) as usize;
            let key = self.unoffered.swap_remove(at);
            self.offer(key);
        }
    }

    fn offer(&mut self, key: TaskKey) {
        // It may be found by a scan, and be started, before it is offered.
        let Some(row) = self.rows.get_mut(&key) else { return };
        (row.known, row.in_flight) = (true, false);
        let (queue, task) = (row.queue, row.task.clone());
        let directives = self.matching.offer(&self.queues[queue], task, self.now);
        self.take(directives);
    }

    /// Reads what the store holds now; the answer arrives later.
    fn read_page(&mut self) {
        let Some(page) = self.pages.iter_mut().find(|page| page.read.is_none()) else { return };
        let Scan { shard, after, limit, .. } = page.scan;
        let of_queue = self.rows.values().filter(|row| row.queue == page.queue && row.task.key.shard == shard);
        let mut rows: Vec<Task> = of_queue.map(|row| &row.task).filter(|t| t.key.position() > after).cloned().collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        page.read = Some((rows, more));
    }

    fn answer_page(&mut self) {
        let Some(at) = self.pages.iter().position(|page| page.read.is_some()) else { return };
        let Page { queue, scan, read } = self.pages.swap_remove(at);
        if self.random.one_in(8) {
            self.saw(Fact::Unreadable);
            self.unreadable.insert((queue, scan.shard));
            self.answer(queue, &scan, None);
        } else {
            self.answer(queue, &scan, read);
        }
    }

    fn answer(&mut self, queue: usize, scan: &Scan, read: Option<(Vec<Task>, bool)>) {
        self.saw(Fact::Scanned);
        let directives = self.matching.scanned(&self.queues[queue], scan, read, self.now);
        self.take(directives);
    }

    fn finish_start(&mut self) {
        if self.starting.is_empty() {
            return;
        }
        let at = self.random.below(self.starting.len() as u64) as usize;
        let (queue, key, poller) = self.starting.swap_remove(at);
        match self.random.below(10) {
            0 => {
                self.rows.remove(&key);
                self.give_back(queue, poller);
            }
            1 => {
                self.lose(key.shard);
                self.give_back(queue, poller);
            }
            2 if self.works(key.shard) => {
                self.saw(Fact::OfferedAgain);
                self.give_back(queue, poller);
                self.offer(key);
            }
            _ => self.start(queue, key, poller),
        }
    }

    /// The shard's decision: a row is started once; who comes later, or when the shard is gone, finds nothing.
    fn start(&mut self, queue: usize, key: TaskKey, poller: Poller<u64>) {
        let started = self.works(key.shard) && self.rows.remove(&key).is_some();
        if started {
            self.pollers[poller.handle as usize].place = Place::Answered;
        } else {
            self.give_back(queue, poller);
        }
    }

    fn give_back(&mut self, queue: usize, poller: Poller<u64>) {
        self.saw(Fact::GivenBack);
        self.move_poller(poller.handle, Place::Out, Place::Waiting);
        let directives = self.matching.give_back(&self.queues[queue], poller, self.now);
        self.take(directives);
    }

    fn reserve(&mut self) {
        let (queue, level, version) = (self.queue(), 1 + self.random.below(LEVELS) as u8, self.version());
        let Some(poller) = self.matching.reserve(&self.queues[queue], level, &version, self.now) else { return };
        self.saw(Fact::Reserved);
        self.leave_line(queue, &poller);
        assert_eq!(poller.version, version);
        if let Some(row) = self.stranded(queue, &version, level) {
            panic!("{:?} was overtaken by a new task", row.task.key);
        }
        self.reserved.push((queue, poller));
    }

    fn finish_reserved(&mut self) {
        let Some((queue, poller)) = self.reserved.pop() else { return };
        if self.random.one_in(2) {
            self.give_back(queue, poller);
        } else {
            self.pollers[poller.handle as usize].place = Place::Answered;
        }
    }

    fn pass_time(&mut self) {
        let far = self.random.one_in(6);
        let ms = self.random.below(if far { 40_000 } else { 2_000 });
        self.now = self.now + Duration::from_millis(ms);
        if self.random.one_in(2) {
            self.pass(Duration::ZERO);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let seen = |model: &Model| (0..QUEUES).filter(|n| !model.describe(*n).pollers.is_empty()).count();
        let before = seen(self);
        let directives = self.matching.tick(self.now);
        if seen(self) < before {
            self.saw(Fact::Unloaded);
        }
        self.take(directives);
        assert!(self.matching.next_tick().is_none_or(|at| at > self.now), "all that was due is done");
    }

    fn disturb(&mut self) {
        let shard = self.shard();
        match self.shards[usize::from(shard)] {
            Shard::Lost => self.begin_loading(shard),
            Shard::Loading(_) => self.finish_loading(shard),
            Shard::Loaded if self.random.one_in(3) => {
                self.begin_loading(shard);
                self.finish_loading(shard);
            }
            Shard::Loaded => self.lose(shard),
        }
    }

    fn lose(&mut self, shard: u16) {
        self.saw(Fact::Lost);
        self.shards[usize::from(shard)] = Shard::Lost;
        self.unoffered.retain(|key| key.shard != shard);
        self.unreadable.retain(|(_, of)| *of != shard);
        for row in self.rows.values_mut().filter(|row| row.task.key.shard == shard) {
            (row.known, row.in_flight) = (false, false);
        }
        let directives = self.matching.forget_shard(shard, self.now);
        self.take(directives);
        for queue in 0..QUEUES {
            assert!(self.describe(queue).unread.iter().all(|(of, _)| *of != shard), "something of a lost shard stays");
        }
    }

    fn begin_loading(&mut self, shard: u16) {
        let of_shard = self.rows.values().filter(|row| row.task.key.shard == shard);
        let queues: BTreeSet<usize> = of_shard.map(|row| row.queue).collect();
        self.shards[usize::from(shard)] = Shard::Loading(queues.into_iter().collect());
    }

    fn finish_loading(&mut self, shard: u16) {
        let before = std::mem::replace(&mut self.shards[usize::from(shard)], Shard::Loaded);
        let Shard::Loading(queues) = before else { return };
        for row in self.rows.values_mut().filter(|row| row.task.key.shard == shard && queues.contains(&row.queue)) {
            // What is on its way to be started is read, and handed out, again.
            (row.known, row.in_flight) = (true, false);
        }
        self.unreadable.retain(|(_, of)| *of != shard);
        let hashes: Vec<QueueHash> = queues.iter().map(|queue| self.queues[*queue].hash()).collect();
        let directives = self.matching.load_shard(shard, &hashes, self.now);
        self.take(directives);
    }

    fn take(&mut self, directives: Vec<Directive<u64>>) {
        for directive in directives {
            self.trace.push(format!("{directive:?}"));
            match directive {
                Directive::Start { queue, task, poller } => self.take_match(self.number(&queue), task, poller),
                Directive::Expired { task, .. } => {
                    assert!(task.expires.is_some_and(|at| at <= self.now));
                    self.saw(Fact::Expired);
                    self.rows.remove(&task.key);
                }
                Directive::Scan { queue, scan } => {
                    let queue = self.number(&queue);
                    self.unreadable.remove(&(queue, scan.shard));
                    self.pages.push(Page { queue, scan, read: None });
                }
                Directive::End(handle) => {
                    self.saw(Fact::Ended);
                    self.move_poller(handle, Place::Waiting, Place::Answered);
                }
            }
        }
    }

    fn take_match(&mut self, queue: usize, task: Task, poller: Poller<u64>) {
        let key = task.key;
        let latest = poller.handle + 1 == self.pollers.len() as u64;
        self.saw(if latest { Fact::Matched } else { Fact::MatchedLater });
        assert!(self.works(key.shard), "{key:?} of a lost shard");
        assert!(task.expires.is_none_or(|at| at > self.now), "{key:?} is past its deadline");
        assert_eq!(poller.version, task.version);
        self.leave_line(queue, &poller);
        if let Some(row) = self.rows.get_mut(&key) {
            assert_eq!(row.queue, queue);
            row.in_flight = true;
        }
        self.starting.push((queue, key, poller));
    }

    fn leave_line(&mut self, queue: usize, poller: &Poller<u64>) {
        self.move_poller(poller.handle, Place::Waiting, Place::Out);
        let asked = &self.pollers[poller.handle as usize];
        assert_eq!((asked.queue, &asked.version), (queue, &poller.version));
    }

    fn move_poller(&mut self, handle: u64, from: Place, to: Place) {
        let place = std::mem::replace(&mut self.pollers[handle as usize].place, to);
        assert_eq!(place, from, "of poller {handle}");
    }

    fn check(&mut self) {
        assert_eq!(self.matching.check(), Ok(()));
        for queue in 0..QUEUES {
            let description = self.describe(queue);
            let waiting: Vec<Version> = self.waiting_in(queue);
            assert_eq!(description.stats.waiting_pollers, waiting.len());
            assert_eq!(description.stats.backlog_unread, !description.unread.is_empty());
            if description.stats.rate_limited {
                self.saw(Fact::RateLimited);
            } else if let Some(row) = waiting.iter().find_map(|version| self.stranded(queue, version, u8::MAX)) {
                panic!("{:?} {:?} waits beside a poller {:?} {description:?}", row.task.key, row.task.version, waiting);
            }
        }
    }

    /// A row of at most this level that a poller could have, and that nobody is on the way to read.
    fn stranded(&self, queue: usize, version: &Version, level: u8) -> Option<&Row> {
        if self.pages.iter().any(|page| page.queue == queue) {
            return None;
        }
        let Description { stats, unread, .. } = self.describe(queue);
        // Of versions without pollers; see `Matcher`.
        let full = stats.backlog_count >= self.tasks_max;
        self.rows.values().find(|row| {
            let Task { key, version: of, expires, .. } = &row.task;
            if full && unread.iter().any(|(shard, after)| *shard == key.shard && key.position() > *after) {
                return false;
            }
            let waits = row.known && !row.in_flight && expires.is_none_or(|at| at > self.now);
            let readable = !self.unreadable.contains(&(queue, key.shard));
            row.queue == queue && of == version && key.level <= level && waits && readable
        })
    }

    fn waiting_in(&self, queue: usize) -> Vec<Version> {
        let waiting = self.pollers.iter().filter(|asked| asked.place == Place::Waiting && asked.queue == queue);
        waiting.map(|asked| asked.version.clone()).collect()
    }

    fn describe(&self, queue: usize) -> Description {
        self.matching.describe(&self.queues[queue], self.now)
    }

    fn works(&self, shard: u16) -> bool {
        !matches!(self.shards[usize::from(shard)], Shard::Lost)
    }

    fn number(&self, queue: &QueueName) -> usize {
        self.queues.iter().position(|of| of == queue).expect("a queue of ours")
    }

    fn saw(&mut self, fact: Fact) {
        *self.facts.entry(fact).or_default() += 1;
    }

    fn queue(&mut self) -> usize {
        self.random.below(QUEUES as u64) as usize
    }

    fn shard(&mut self) -> u16 {
        self.random.below(u64::from(SHARDS)) as u16
    }

    fn version(&mut self) -> Version {
        if self.random.below(VERSIONS) == 0 { Version::UNVERSIONED } else { Version::build("blue".into()) }
    }
}
