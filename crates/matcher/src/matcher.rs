//! The queue itself.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_rt::Timestamp;

use crate::{
    buffer::Buffer,
    lanes::Lanes,
    limits::Limits,
    meter::Meter,
    poller::{Poll, Poller, PollerId},
    seen::{PollerHistory, Seen},
    sources::{Scan, Sources},
    stats::{Level, Stats},
    task::{Position, Task, TaskKey, Version},
    throttle::Throttle,
};

/// One task queue: tasks meet pollers.
///
/// After every call that returns a [`Dispatch`] no dispatchable task is left beside a waiting poller that may take it,
/// and no row is left unread that such a poller waits for, unless tasks of other versions that go before it fill the
/// memory: versions that may be without workers for long want queues of their own. The rules:
///
/// * A poller takes only tasks of its own [`Version`]; of two that wait, the one that arrived first is served first.
/// * Tasks go by level, then age. Within one shard and version this order is kept strictly, and so are levels
///   over all shards: while an unread row may be of a lower level than a task, the task stays. Age over shards is kept
///   only among the tasks in memory. To keep it strictly, 512 shards would share a window of 1,000 tasks and every
///   second task would wait for a read; task ids of different shards come from different clocks anyway. What is kept
///   instead is a bound: whatever is dispatched meanwhile, the shards furthest behind are read again after so many
///   dispatches as a round of reading brings.
/// * When memory is full the tasks that would go last return to the store, that is, they are forgotten here and read
///   again later; with them may come one that was handed out in between, if its row is not deleted yet.
/// * Time may stand still but does not go back. What it brings, rate tokens above all, is dealt out by the next call
///   that returns a [`Dispatch`]; [`tick`](Matcher::tick) does nothing else.
pub struct Matcher<P> {
    limits: Limits,
    buffer: Buffer,
    waiting: BTreeMap<PollerId, Poller<P>>,
    lanes: Lanes,
    sources: Sources,
    throttle: Throttle,
    rate: Option<f64>,
    history: PollerHistory,
    last_poll: Option<Timestamp>,
    /// True when the worker that polls here has left and nobody has come since: polls of it that go on do not count.
    left: bool,
    added: Meter,
    dispatched: Meter,
    dispatched_since_round: usize,
    next_poller: u64,
    /// Of the last dispatch.
    now: Timestamp,
    shut: bool,
}

/// What the caller is to do next, after it has let go of its lock.
#[must_use = "matches, scans and pollers in here are lost if nobody acts on them"]
#[derive(Debug)]
pub struct Dispatch<P> {
    /// Start each task for its poller; [`give_back`](Matcher::give_back) the poller if that comes to nothing.
    pub matches: Vec<Match<P>>,
    /// Tasks past their deadline: delete the rows. History's own timer writes the event.
    pub expired: Vec<Task>,
    /// Read these pages and answer each with [`scanned`](Matcher::scanned), or with
    /// [`scan_failed`](Matcher::scan_failed): until then no further page is asked for.
    pub scans: Vec<Scan>,
    /// Answer these pollers with nothing.
    pub ended: Vec<P>,
    /// Call [`tick`](Matcher::tick) at this time; replaces what earlier calls said.
    pub wake_at: Option<Timestamp>,
}

/// A task and the poller that gets it.
#[derive(Debug)]
pub struct Match<P> {
    /// No longer in memory; its row is still in the store.
    pub task: Task,
    /// No longer in the line.
    pub poller: Poller<P>,
}

/// Why a poll was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The line is full.
    TooManyPollers,
    /// The queue was [`shut`](Matcher::shut): ask for it again.
    Shut,
}

impl<P> Matcher<P> {
    /// An empty queue. The caller then announces every shard that may hold rows for it.
    pub fn new(limits: Limits, now: Timestamp) -> Matcher<P> {
        Matcher::with_ids_from(0, limits, now)
    }

    /// An empty queue in the place of one that was shut, whose [`ids_end`](Matcher::ids_end) is `first_id`: pollers
    /// and scans of that one that are still about are then not taken for this one's.
    pub fn with_ids_from(first_id: u64, limits: Limits, now: Timestamp) -> Matcher<P> {
        Matcher {
            limits,
            buffer: Buffer::default(),
            waiting: BTreeMap::new(),
            lanes: Lanes::default(),
            sources: Sources::with_tickets_from(first_id),
            throttle: Throttle::unlimited(),
            rate: None,
            history: PollerHistory::default(),
            last_poll: None,
            left: false,
            added: Meter::new(now),
            dispatched: Meter::new(now),
            dispatched_since_round: 0,
            next_poller: first_id,
            now,
            shut: false,
        }
    }

    /// Greater than every id given out so far.
    pub fn ids_end(&self) -> u64 {
        self.next_poller.max(self.sources.tickets_end())
    }

    /// Whether [`poll`](Matcher::poll) would let a worker in, for callers that want to keep the handle if not.
    ///
    /// # Errors
    /// When the line is full or the queue was shut.
    pub fn admits(&self) -> Result<(), Refused> {
        match (self.shut, self.waiting.len() >= self.limits.pollers_max) {
            (true, _) => Err(Refused::Shut),
            (false, true) => Err(Refused::TooManyPollers),
            (false, false) => Ok(()),
        }
    }

    /// A worker asks for a task. It may be among the matches already; its id is good for [`cancel`](Matcher::cancel)
    /// either way. A worker that names a `rate` sets the queue's, as [`set_rate`](Matcher::set_rate) does; one that
    /// names none leaves it.
    ///
    /// # Errors
    /// As [`admits`](Matcher::admits); the handle is dropped.
    pub fn poll(
        &mut self,
        poll: Poll<P>,
        rate: Option<f64>,
        now: Timestamp,
    ) -> Result<(PollerId, Dispatch<P>), Refused> {
        self.admits()?;
        self.advance(now);
        if rate.is_some() {
            self.change_rate(rate);
        }
        let id = PollerId(self.next_poller);
        self.next_poller += 1;
        self.history.record(poll.identity, poll.version.clone(), rate, self.now);
        self.last_poll = Some(self.now);
        self.left = false;
        self.line_up(Poller { id, handle: poll.handle, version: poll.version, arrived: self.now });
        Ok((id, self.dispatch()))
    }

    /// A client went away. Its poller, if that was still in the line; else someone has reserved it and will find out.
    pub fn cancel(&mut self, id: PollerId, now: Timestamp) -> Option<Poller<P>> {
        self.take_poller(id, self.now.max(now))
    }

    /// Takes a poller for a task that is about to be committed and has no row yet: the same poller that would get it
    /// if it were offered, and only if nothing in the backlog, read or unread, goes before it.
    pub fn reserve(&mut self, level: u8, version: &Version, now: Timestamp) -> Option<Poller<P>> {
        // Does not advance the time: what it brings for the backlog is dealt out by the calls that return a dispatch.
        let now = self.now.max(now);
        let behind = self.is_behind(level);
        #[cfg(planted)]
        let behind = behind && !mainspring_rt::planted::is(8);
        if behind {
            return None;
        }
        let id = self.lanes.first_poller(version)?;
        if !self.throttle.take(now) {
            return None;
        }
        debug_assert!(!self.is_behind(level), "a poller is reserved past a backlog");
        self.added.count(now);
        self.dispatched.count(now);
        self.take_poller(id, now)
    }

    /// Whether something in the backlog, read or unread, goes before a new task of that level.
    fn is_behind(&self, level: u8) -> bool {
        self.next_pair().is_some() || self.sources.unread_level().is_some_and(|unread| unread <= level)
    }

    /// The match came to nothing: the poller is back at its old place, and what its rate token paid for is returned.
    pub fn give_back(&mut self, poller: Poller<P>, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        if self.shut {
            return Dispatch { ended: vec![poller.handle], ..Dispatch::nothing() };
        }
        self.throttle.refund();
        self.line_up(poller);
        self.dispatch()
    }

    /// A task's row is committed. It meets a poller, waits in memory, or is left to a later scan.
    pub fn offer(&mut self, task: Task, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        if self.shut {
            return Dispatch::nothing();
        }
        self.added.count(self.now);
        if self.sources.offer(task.key.shard, task.key.position()) {
            self.hold(task);
        }
        self.dispatch()
    }

    /// Shards were loaded and may have rows, of which none are known here.
    pub fn announce(&mut self, shards: impl IntoIterator<Item = u16>, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        if self.shut {
            return Dispatch::nothing();
        }
        for shard in shards {
            self.drop_tasks(shard);
            self.sources.announce(shard);
        }
        self.dispatch()
    }

    /// A shard was lost: its tasks leave memory and nobody waits for its rows, until it is announced again.
    pub fn forget(&mut self, shard: u16, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        self.drop_tasks(shard);
        self.sources.forget(shard);
        self.dispatch()
    }

    /// Whether anything was heard of the shard since it was last forgotten.
    pub fn knows(&self, shard: u16) -> bool {
        self.sources.knows(shard)
    }

    /// A page could not be read. True if the shard is forgotten for that, so that the others go on: the caller is to
    /// announce it again in a while. A page that is out of date is ignored.
    pub fn scan_failed(&mut self, scan: &Scan, now: Timestamp) -> (bool, Dispatch<P>) {
        let current = self.sources.is_under_way(scan);
        if current {
            self.drop_tasks(scan.shard);
            self.sources.forget(scan.shard);
        }
        self.advance(now);
        (current, self.dispatch())
    }

    /// A page was read: `rows` in order, and whether the shard has more after them. A page that is out of date is
    /// ignored.
    pub fn scanned(&mut self, scan: &Scan, rows: Vec<Task>, more: bool, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        debug_assert!(rows.is_sorted_by_key(|task| task.key), "rows come in order");
        debug_assert!(rows.iter().all(|task| task.key.shard == scan.shard && task.key.position() > scan.after));
        let end = rows.last().map_or(scan.after, |task| task.key.position());
        if self.sources.finish_scan(scan, end, more) {
            let end = self.sources.cursor(scan.shard);
            rows.into_iter().take_while(|task| task.key.position() <= end).for_each(|task| self.hold(task));
        }
        self.dispatch()
    }

    /// Limits dispatch to so many tasks per second, with a burst of one second's worth; 0 stops it.
    pub fn set_rate(&mut self, per_second: Option<f64>, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        self.change_rate(per_second);
        self.dispatch()
    }

    /// Time has passed. To be called at [`Dispatch::wake_at`], harmless at any other time.
    pub fn tick(&mut self, now: Timestamp) -> Dispatch<P> {
        self.advance(now);
        self.dispatch()
    }

    /// Unloads the queue: everyone in the line is sent home, and from now on whoever comes is refused.
    pub fn shut(&mut self) -> Dispatch<P> {
        self.shut = true;
        self.buffer = Buffer::default();
        self.lanes = Lanes::default();
        self.sources = Sources::default();
        let ended = std::mem::take(&mut self.waiting).into_values().map(|poller| poller.handle).collect();
        Dispatch { ended, ..Dispatch::nothing() }
    }

    /// The workers that polled within the last five minutes, by identity.
    pub fn pollers(&self, now: Timestamp) -> Vec<Seen> {
        self.history.list(now)
    }

    /// The worker that polls here says that it has left: the queue counts as not polled until somebody comes again.
    pub fn worker_left(&mut self) {
        self.last_poll = None;
        self.left = true;
    }

    /// When a poller was last seen here: now if one waits, else when the last one came or left.
    pub fn last_poll(&self, now: Timestamp) -> Option<Timestamp> {
        if self.waiting.is_empty() || self.left { self.last_poll } else { Some(now) }
    }

    /// Pollers in the line.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The limit that [`poll`](Matcher::poll) or [`set_rate`](Matcher::set_rate) last set.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// The shards that may have rows beyond those in memory, and after which place.
    pub fn unread(&self) -> impl Iterator<Item = (u16, Position)> {
        self.sources.unread()
    }

    /// The shards with rows that nobody was handed: whoever shuts the queue announces them to the next one.
    pub fn shards(&self) -> BTreeSet<u16> {
        self.buffer.iter().map(|task| task.key.shard).chain(self.unread().map(|(shard, _)| shard)).collect()
    }

    /// Counts and rates.
    pub fn stats(&self, now: Timestamp) -> Stats {
        let level = |(level, count, oldest): (u8, usize, TaskKey)| (level, Level { count, oldest: oldest.scheduled() });
        let levels: BTreeMap<u8, Level> = self.buffer.levels().map(level).collect();
        Stats {
            backlog_count: self.buffer.total().tasks,
            backlog_unread: self.sources.unread_level().is_some(),
            oldest: levels.values().map(|level| level.oldest).min(),
            levels,
            waiting_pollers: self.waiting.len(),
            added_per_second: self.added.per_second(now),
            dispatched_per_second: self.dispatched.per_second(now),
            rate_limited: self.next_pair().is_some(),
        }
    }

    /// The invariants, written once: for assertions and the simulator. Looks at everything.
    ///
    /// # Errors
    /// Says in words which one is broken.
    pub fn check(&self) -> Result<(), String> {
        self.buffer.check()?;
        self.sources.check()?;
        self.lanes.check(
            self.buffer.iter().map(|task| (&task.version, task.key)),
            self.waiting.values().map(|poller| (&poller.version, poller.id)),
        )?;
        if let Some(task) = self.buffer.iter().find(|task| task.key.position() > self.sources.cursor(task.key.shard)) {
            return Err(format!("{:?} is in memory and will be read again", task.key));
        }
        if self.over_full() {
            return Err(format!("{:?} is above the ceiling", self.buffer.total()));
        }
        if self.next_pair().is_some() && self.throttle.ready(self.now) {
            return Err("a dispatchable task is beside a waiting poller".into());
        }
        if self.refill_due() && !self.sources.scanning() {
            return Err("rows are wanted and nobody reads them".into());
        }
        Ok(())
    }

    /// What follows from a change: the end of every call that can make a match.
    fn dispatch(&mut self) -> Dispatch<P> {
        let expired = self.expire();
        let matches = self.match_all();
        self.trim();
        let scans = self.refill();
        let wake_at = self.next_pair().and_then(|_| self.throttle.ready_at());
        let dispatch = Dispatch { matches, expired, scans, ended: Vec::new(), wake_at };
        debug_assert_eq!(self.check(), Ok(()));
        dispatch
    }

    fn expire(&mut self) -> Vec<Task> {
        let mut expired = Vec::new();
        while let Some(task) = self.buffer.pop_expired(self.now) {
            self.lanes.remove_task(&task.version, task.key);
            expired.push(task);
        }
        expired
    }

    fn match_all(&mut self) -> Vec<Match<P>> {
        let mut matches = Vec::new();
        while let Some((key, id)) = self.next_pair() {
            if !self.throttle.take(self.now) {
                break;
            }
            let task = self.buffer.remove(&key).expect("a task in a lane is in memory");
            self.lanes.remove_task(&task.version, key);
            let poller = self.take_poller(id, self.now).expect("a poller in a lane is in the line");
            self.dispatched.count(self.now);
            self.dispatched_since_round += 1;
            matches.push(Match { task, poller });
        }
        matches
    }

    /// The next match, but for the rate limit.
    fn next_pair(&self) -> Option<(TaskKey, PollerId)> {
        let unread = self.sources.unread_level();
        self.lanes.first_pair().filter(|(key, _)| unread.is_none_or(|level| key.level <= level))
    }

    fn refill(&mut self) -> Vec<Scan> {
        if self.sources.scanning() || !self.refill_due() {
            return Vec::new();
        }
        self.dispatched_since_round = 0;
        self.sources.begin_round(&self.limits)
    }

    /// Only tasks that may go count: a full memory of lower priority must not keep an urgent row from being read.
    fn refill_due(&self) -> bool {
        let Some(level) = self.sources.unread_level() else { return false };
        let ready = self.buffer.up_to(level);
        let low = ready.tasks <= self.limits.refill_at && ready.bytes <= self.limits.bytes_max / 10;
        // What is in memory may all be of versions without pollers. Half the bytes, for a full memory is never quite
        // full, and must not be read into over and over.
        let room = ready.tasks < self.limits.tasks_max && ready.bytes <= self.limits.bytes_max / 2;
        low || (room && self.lanes.hungry(level)) || self.dispatched_since_round >= self.limits.round_rows()
    }

    fn hold(&mut self, task: Task) {
        if !self.buffer.contains(&task.key) {
            self.lanes.add_task(&task.version, task.key);
            self.buffer.insert(task);
        }
    }

    /// Gives what does not fit back to the store; after the matching, so that it takes no task that could go.
    fn trim(&mut self) {
        while self.over_full() {
            let Some(last) = self.buffer.pop_last() else { break };
            self.lanes.remove_task(&last.version, last.key);
            self.sources.cut(last.key.shard, last.key.position());
        }
    }

    fn over_full(&self) -> bool {
        let held = self.buffer.total();
        held.tasks > self.limits.tasks_max || (held.bytes > self.limits.bytes_max && held.tasks > 1)
    }

    fn drop_tasks(&mut self, shard: u16) {
        for task in self.buffer.remove_shard(shard) {
            self.lanes.remove_task(&task.version, task.key);
        }
    }

    fn line_up(&mut self, poller: Poller<P>) {
        self.lanes.add_poller(&poller.version, poller.id);
        self.waiting.insert(poller.id, poller);
    }

    fn take_poller(&mut self, id: PollerId, now: Timestamp) -> Option<Poller<P>> {
        let poller = self.waiting.remove(&id)?;
        self.lanes.remove_poller(&poller.version, id);
        if !self.left {
            self.last_poll = Some(now);
        }
        Some(poller)
    }

    fn change_rate(&mut self, per_second: Option<f64>) {
        self.rate = per_second;
        self.throttle.set(per_second, self.now);
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }
}

impl<P> Dispatch<P> {
    fn nothing() -> Dispatch<P> {
        Dispatch { matches: Vec::new(), expired: Vec::new(), scans: Vec::new(), ended: Vec::new(), wake_at: None }
    }
}

#[cfg(test)]
mod tests;
