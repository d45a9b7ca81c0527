//! The world around one matcher: shards with rows, workers, and a shell that is slow.

use std::{collections::BTreeMap, time::Duration};

use mainspring_matcher::{Dispatch, Limits, Match, Matcher, Poll, Poller, PollerId, Scan, Task, TaskKey, Version};
use mainspring_rt::Timestamp;

/// Shards, levels and versions are few, so that they collide often.
const SHARDS: u16 = 4;
const LEVELS: u64 = 3;
const VERSIONS: u64 = 3;

/// Things that ought to happen in some life, or the test shows less than it seems to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    Matched,
    Reserved,
    GivenBack,
    HandedOutTwice,
    Expired,
    Scanned,
    Reloaded,
    MemoryFull,
    RateLimited,
    Refused,
}

impl Fact {
    pub(crate) const COUNT: usize = Fact::Refused as usize + 1;
}

struct Row {
    task: Task,
    /// The matcher can know of it: it was offered, or its shard announced since.
    known: bool,
    /// Handed to a poller, not yet started.
    in_flight: bool,
}

/// A page: asked for, then read, then answered.
struct Page {
    scan: Scan,
    read: Option<(Vec<Task>, bool)>,
}

pub(crate) struct Model {
    random: XorShift,
    matcher: Matcher<()>,
    limits: Limits,
    now: Timestamp,
    versions: u64,
    levels: u64,
    /// In a calm life rows come in order and nothing happens late, so that no task may be handed out twice.
    calm: bool,
    rows: BTreeMap<TaskKey, Row>,
    loaded: [bool; SHARDS as usize],
    next_task: u64,
    unoffered: Vec<Task>,
    pages: Vec<Page>,
    starting: Vec<Match<()>>,
    reserved: Vec<(u16, Poller<()>)>,
    waiting: BTreeMap<PollerId, Version>,
    /// How often each fact was seen.
    pub(crate) facts: BTreeMap<Fact, usize>,
}

impl Model {
    /// A queue that finds rows of earlier times in the store.
    pub(crate) fn new(seed: u64) -> Model {
        let mut random = XorShift::new(seed);
        let tasks_max = 4 + random.below(12) as usize;
        let refill_at = random.below(tasks_max as u64 / 2) as usize;
        let limits = Limits { tasks_max, refill_at, scan_rows_min: 1, pollers_max: 6, ..Limits::default() };
        let now = Timestamp::from_millis(1_000_000);
        let calm = random.one_in(3);
        let mut model = Model {
            matcher: Matcher::new(limits.clone(), now),
            limits,
            now,
            versions: if calm { 1 } else { 1 + random.below(VERSIONS) },
            levels: if calm { 1 } else { LEVELS },
            calm,
            rows: BTreeMap::new(),
            loaded: [true; SHARDS as usize],
            next_task: 1,
            unoffered: Vec::new(),
            pages: Vec::new(),
            starting: Vec::new(),
            reserved: Vec::new(),
            waiting: BTreeMap::new(),
            facts: BTreeMap::new(),
            random,
        };
        let backlog = model.random.below(40) * model.random.below(2);
        for _ in 0..backlog {
            model.commit();
        }
        (0..SHARDS).for_each(|shard| model.announce(shard));
        model
    }

    pub(crate) fn step(&mut self) {
        match self.random.below(24) {
            0..=4 => self.poll(),
            5..=8 => self.commit_and_offer(),
            9 => self.offer_late(),
            10..=12 => self.read_page(),
            13..=15 => self.answer_page(),
            16..=18 => self.finish_start(),
            19 => self.reserve(),
            20 => self.finish_reserved(),
            21 => self.cancel(),
            22 => self.pass_time(),
            _ => self.disturb(),
        }
        self.check();
    }

    /// The faults stop, workers come: after that nothing is left.
    pub(crate) fn drain(&mut self) {
        let dispatch = self.matcher.set_rate(None, self.now);
        self.take(dispatch);
        self.reserved.clear();
        for shard in 0..SHARDS {
            if !self.loaded[usize::from(shard)] {
                self.announce(shard);
            }
        }
        for _ in 0..10_000 {
            while !self.unoffered.is_empty() {
                self.offer_late();
            }
            while !self.pages.is_empty() {
                self.read_page();
                self.answer_page();
            }
            while !self.starting.is_empty() {
                let met = self.starting.swap_remove(0);
                self.start(met);
            }
            self.check();
            if self.rows.is_empty() {
                return;
            }
            if self.waiting.len() >= self.limits.pollers_max {
                self.cancel();
            }
            self.poll();
        }
        panic!("{} rows never left the store", self.rows.len());
    }

    fn poll(&mut self) {
        let version = self.version();
        let poll = Poll { handle: (), version: version.clone(), identity: "worker".into() };
        match self.matcher.poll(poll, None, self.now) {
            Ok((id, dispatch)) => {
                self.waiting.insert(id, version);
                self.take(dispatch);
            }
            Err(_) => {
                assert!(self.waiting.len() >= self.limits.pollers_max);
                self.saw(Fact::Refused);
            }
        }
    }

    fn cancel(&mut self) {
        let Some(&id) = self.random.pick(self.waiting.keys()) else { return };
        self.waiting.remove(&id);
        assert!(self.matcher.cancel(id, self.now).is_some());
        assert!(self.matcher.cancel(id, self.now).is_none());
    }

    fn commit(&mut self) -> Option<Task> {
        let shard = self.random.below(u64::from(SHARDS)) as u16;
        if !self.loaded[usize::from(shard)] {
            return None;
        }
        let level = 1 + self.random.below(self.levels) as u8;
        let key = TaskKey { level, task_id: self.next_task, shard };
        self.next_task += 1;
        let expires = self.random.one_in(6).then(|| self.now + Duration::from_millis(self.random.below(5_000)));
        let task = Task { key, run: 1, event_id: 5, stamp: 0, version: self.version(), expires };
        self.rows.insert(key, Row { task: task.clone(), known: false, in_flight: false });
        Some(task)
    }

    fn commit_and_offer(&mut self) {
        let Some(task) = self.commit() else { return };
        if !self.calm && self.random.one_in(4) { self.unoffered.push(task) } else { self.offer(task) }
    }

    fn offer_late(&mut self) {
        if !self.unoffered.is_empty() {
            let at = self.random.below(self.unoffered.len() as u64) as usize;
            let task = self.unoffered.swap_remove(at);
            self.offer(task);
        }
    }

    fn offer(&mut self, task: Task) {
        if let Some(row) = self.rows.get_mut(&task.key) {
            row.known = true;
        }
        let dispatch = self.matcher.offer(task, self.now);
        self.take(dispatch);
    }

    /// Reads what the store holds now; the answer arrives later.
    fn read_page(&mut self) {
        let Some(page) = self.pages.iter_mut().find(|page| page.read.is_none()) else { return };
        let Scan { shard, after, limit, .. } = page.scan;
        let of_shard = self.rows.values().map(|row| &row.task).filter(|task| task.key.shard == shard);
        let mut rows: Vec<Task> = of_shard.filter(|task| task.key.position() > after).cloned().collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        page.read = Some((rows, more));
    }

    fn answer_page(&mut self) {
        let Some(at) = self.pages.iter().position(|page| page.read.is_some()) else { return };
        let Page { scan, read } = self.pages.swap_remove(at);
        let (rows, more) = read.expect("found as read");
        self.saw(Fact::Scanned);
        let dispatch = self.matcher.scanned(&scan, rows, more, self.now);
        self.take(dispatch);
    }

    fn finish_start(&mut self) {
        if self.starting.is_empty() {
            return;
        }
        let at = self.random.below(self.starting.len() as u64) as usize;
        let met = self.starting.swap_remove(at);
        match self.random.below(8) {
            0 => {
                self.rows.remove(&met.task.key);
                self.give_back(met.poller);
            }
            1 if !self.calm => {
                self.reload(met.task.key.shard);
                self.give_back(met.poller);
            }
            _ => self.start(met),
        }
    }

    /// The shard's decision: a row is started once; who comes later finds nothing.
    fn start(&mut self, met: Match<()>) {
        match self.rows.remove(&met.task.key) {
            Some(_) => drop(met.poller),
            None => self.give_back(met.poller),
        }
    }

    fn give_back(&mut self, poller: Poller<()>) {
        self.saw(Fact::GivenBack);
        self.waiting.insert(poller.id, poller.version.clone());
        let dispatch = self.matcher.give_back(poller, self.now);
        self.take(dispatch);
    }

    fn reserve(&mut self) {
        let (level, version) = (1 + self.random.below(self.levels) as u8, self.version());
        let Some(poller) = self.matcher.reserve(level, &version, self.now) else { return };
        self.saw(Fact::Reserved);
        self.leave_line(&poller, &version);
        self.assert_none_waits("overtaken by a new task", &version, |row| row.task.key.level <= level);
        self.reserved.push((self.random.below(u64::from(SHARDS)) as u16, poller));
    }

    fn finish_reserved(&mut self) {
        let Some((shard, poller)) = self.reserved.pop() else { return };
        if self.random.one_in(2) {
            if !self.calm {
                self.reload(shard);
            }
            self.give_back(poller);
        }
    }

    fn pass_time(&mut self) {
        self.now = self.now + Duration::from_millis(self.random.below(2_000));
        if self.random.one_in(2) {
            let dispatch = self.matcher.tick(self.now);
            self.take(dispatch);
        }
    }

    fn disturb(&mut self) {
        let shard = self.random.below(u64::from(SHARDS)) as u16;
        match self.random.below(4) {
            0 | 1 => {
                let rate = [None, Some(0.0), Some(0.7), Some(5.0)][self.random.below(4) as usize];
                let dispatch = self.matcher.set_rate(rate, self.now);
                self.take(dispatch);
            }
            _ if self.calm => {}
            2 => self.reload(shard),
            _ if self.loaded[usize::from(shard)] => self.lose(shard),
            _ => self.announce(shard),
        }
    }

    fn reload(&mut self, shard: u16) {
        self.saw(Fact::Reloaded);
        if self.random.one_in(2) {
            self.lose(shard);
        }
        self.announce(shard);
    }

    fn lose(&mut self, shard: u16) {
        self.loaded[usize::from(shard)] = false;
        self.unoffered.retain(|task| task.key.shard != shard);
        let dispatch = self.matcher.forget(shard, self.now);
        self.take(dispatch);
    }

    /// A shard comes with all its rows; those that were being started are forgotten with its memory.
    fn announce(&mut self, shard: u16) {
        self.loaded[usize::from(shard)] = true;
        for row in self.rows.values_mut().filter(|row| row.task.key.shard == shard) {
            (row.known, row.in_flight) = (true, false);
        }
        let dispatch = self.matcher.announce([shard], self.now);
        self.take(dispatch);
    }

    fn take(&mut self, dispatch: Dispatch<()>) {
        if dispatch.wake_at.is_some() {
            self.saw(Fact::RateLimited);
        }
        assert!(dispatch.ended.is_empty());
        for task in dispatch.expired {
            assert!(task.expires.is_some_and(|at| at <= self.now));
            self.saw(Fact::Expired);
            self.rows.remove(&task.key);
        }
        for met in dispatch.matches {
            self.take_match(met);
        }
        self.pages.extend(dispatch.scans.into_iter().map(|scan| Page { scan, read: None }));
    }

    fn take_match(&mut self, met: Match<()>) {
        let Task { key, version, expires, .. } = &met.task;
        self.saw(Fact::Matched);
        self.leave_line(&met.poller, version);
        assert!(self.loaded[usize::from(key.shard)], "{key:?} of a lost shard");
        assert!(expires.is_none_or(|at| at > self.now), "{key:?} is past its deadline");
        self.assert_none_waits(&format!("overtaken by {key:?}"), version, |row| {
            let other = row.task.key;
            other.level < key.level || (other.shard == key.shard && other.position() < key.position())
        });
        match self.rows.get_mut(key) {
            Some(row) if !row.in_flight => row.in_flight = true,
            _ => {
                assert!(!self.calm, "{key:?} was handed out twice");
                self.saw(Fact::HandedOutTwice);
            }
        }
        self.starting.push(met);
    }

    fn leave_line(&mut self, poller: &Poller<()>, version: &Version) {
        assert_eq!(&poller.version, version);
        let first = self.waiting.iter().find(|(_, of)| *of == version).map(|(id, _)| *id);
        assert_eq!(first, Some(poller.id), "the poller that waits longest is served first");
        self.waiting.remove(&poller.id);
    }

    fn assert_none_waits(&self, what: &str, version: &Version, goes_first: impl Fn(&Row) -> bool) {
        let waits = |row: &&Row| {
            let Task { key, version: of, expires, .. } = &row.task;
            let alive = expires.is_none_or(|at| at > self.now);
            row.known && !row.in_flight && alive && of == version && self.loaded[usize::from(key.shard)]
        };
        if let Some(row) = self.rows.values().filter(waits).find(|row| goes_first(row)) {
            panic!("{:?} was {what}", row.task.key);
        }
    }

    fn check(&mut self) {
        assert_eq!(self.matcher.check(), Ok(()));
        let stats = self.matcher.stats(self.now);
        assert_eq!(stats.waiting_pollers, self.waiting.len());
        assert!(stats.backlog_count <= self.limits.tasks_max);
        if stats.backlog_unread && stats.backlog_count == self.limits.tasks_max {
            self.saw(Fact::MemoryFull);
        }
    }

    fn saw(&mut self, fact: Fact) {
        *self.facts.entry(fact).or_default() += 1;
    }

    fn version(&mut self) -> Version {
        match self.random.below(self.versions) {
            0 => Version::UNVERSIONED,
            n => Version::build(vec![n as u8].into()),
        }
    }
}

/// Marsaglia's xorshift64: small, and the same everywhere.
struct XorShift(u64);

impl XorShift {
    fn new(seed: u64) -> XorShift {
        let mut random = XorShift(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, or 0 if that is 0.
    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T>(&mut self, mut from: impl ExactSizeIterator<Item = T>) -> Option<T> {
        from.nth(self.below(from.len() as u64) as usize)
    }
}
