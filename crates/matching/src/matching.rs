//! The registry: finds the queue of a call, loads queues that are polled and unloads idle ones.
//!
//! Locks are taken in this order, each for one short call that never leaves this crate: the map, then one queue or
//! what is stored of the others, then the schedule. Whoever works on a queue holds the map for reading meanwhile;
//! loading and unloading hold it for writing. So a queue does not vanish under a call, and a row is known either to
//! its queue or to `stored`, at any moment. Handles of pollers are dropped outside all locks: they may call back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use mainspring_matcher::{Poll, Poller, PollerId, Position, Scan, Stats, Task, Version};
use mainspring_rt::Timestamp;

use crate::{
    directive::{Description, Directive, Refused},
    limits::Limits,
    name::{QueueHash, QueueName},
    queue::Queue,
    schedule::Schedule,
    stored::Stored,
};

/// All task queues of a node. `P` is whatever the caller needs to answer a poller.
///
/// After every call no dispatchable task is left beside a waiting poller that may take it, and no row is left unread
/// that such a poller waits for. A queue is in memory from its first poll until nobody has polled it or added to it for
/// five minutes.
pub struct Matching<P> {
    limits: Limits,
    map: RwLock<Map<P>>,
    schedule: Schedule,
}

struct Map<P> {
    loaded: BTreeMap<QueueHash, Box<Queue<P>>>,
    /// Of queues that are not loaded.
    stored: Mutex<Stored>,
    /// No queue that was unloaded has given out this id or a greater one.
    next_id: u64,
    shut: bool,
}

impl<P> Matching<P> {
    /// Knows of no queue and no row.
    pub fn new(limits: Limits) -> Self {
        let map = Map { loaded: BTreeMap::new(), stored: Mutex::default(), next_id: 0, shut: false };
        Matching { limits, map: RwLock::new(map), schedule: Schedule::default() }
    }

    /// A worker asks for a task. The directives may already hold its match; its id is good for
    /// [`cancel`](Matching::cancel) either way. `rate` is the worker's own limit in tasks per second: of all that name
    /// one, the last wins for the whole queue; 0 stops dispatch.
    ///
    /// # Errors
    /// When the queue's line or the node is full, or the server stops; the handle is dropped.
    pub fn poll(
        &self,
        queue: &QueueName,
        poll: Poll<P>,
        rate: Option<f64>,
        now: Timestamp,
    ) -> Result<(PollerId, Vec<Directive<P>>), Refused> {
        let hash = queue.hash();
        // If it is refused the handle is dropped with this frame, after the locks.
        let mut poll = Some(poll);
        if let Some(queue) = self.read().loaded.get(&hash) {
            return self.poll_loaded(queue, &mut poll, rate, now);
        }
        let mut map = self.write();
        let (queue, mut directives) = self.load(&mut map, queue, hash, now)?;
        let (id, met) = self.poll_loaded(queue, &mut poll, rate, now)?;
        directives.extend(met);
        Ok((id, directives))
    }

    /// The client went away. True if the poller was still in line; else someone has reserved it and will find out.
    pub fn cancel(&self, queue: &QueueName, id: PollerId, now: Timestamp) -> bool {
        let poller: Option<Poller<P>> = {
            let map = self.read();
            map.loaded.get(&queue.hash()).and_then(|queue| queue.use_now(now).matcher.cancel(id, now))
        };
        poller.is_some()
    }

    /// Takes a poller for a task that is about to be committed and has no row yet: the same that would get it if it
    /// were offered, and only if nothing in the backlog goes before it. Suspends its timeout: from here on
    /// [`cancel`](Matching::cancel) says false.
    pub fn reserve(&self, queue: &QueueName, level: u8, version: &Version, now: Timestamp) -> Option<Poller<P>> {
        let map = self.read();
        let queue = map.loaded.get(&queue.hash())?;
        queue.use_now(now).matcher.reserve(level, version, now)
    }

    /// A start or a reservation came to nothing: the poller is back at its old place.
    #[must_use = "see Directive"]
    pub fn give_back(&self, queue: &QueueName, poller: Poller<P>, now: Timestamp) -> Vec<Directive<P>> {
        let hash = queue.hash();
        if let Some(queue) = self.read().loaded.get(&hash) {
            return self.give_back_loaded(queue, poller, now);
        }
        let mut map = self.write();
        match self.load(&mut map, queue, hash, now) {
            Ok((queue, mut directives)) => {
                directives.extend(self.give_back_loaded(queue, poller, now));
                directives
            }
            Err(_) => vec![Directive::End(poller.handle)],
        }
    }

    /// Whether a poller waits or was seen within the last 10 seconds.
    pub fn is_alive(&self, queue: &QueueName, now: Timestamp) -> bool {
        let map = self.read();
        let queue = map.loaded.get(&queue.hash());
        let last_poll = queue.and_then(|queue| queue.lock().matcher.last_poll(now));
        last_poll.is_some_and(|at| at + self.limits.sticky_window >= now)
    }

    /// The one worker of a sticky queue has left: what comes for it from now on finds another queue at once.
    pub fn worker_left(&self, queue: &QueueName) {
        if let Some(queue) = self.read().loaded.get(&queue.hash()) {
            queue.lock().matcher.worker_left();
        }
    }

    /// A task's row is committed.
    #[must_use = "see Directive"]
    pub fn offer(&self, queue: &QueueName, task: Task, now: Timestamp) -> Vec<Directive<P>> {
        let map = self.read();
        let Some(queue) = map.in_memory(queue.hash(), task.key.shard) else { return Vec::new() };
        let mut state = queue.use_now(now);
        let dispatch = state.matcher.offer(task, now);
        queue.settle(state, &self.schedule, dispatch)
    }

    /// A shard was loaded: it has rows of these queues. What was offered since its loading began, and is not among
    /// them, stays; what was known before that the caller has dropped with [`forget_shard`](Matching::forget_shard).
    #[must_use = "see Directive"]
    pub fn load_shard(&self, shard: u16, queues: &[QueueHash], now: Timestamp) -> Vec<Directive<P>> {
        let mut directives = Vec::new();
        for hash in queues {
            // Not one lock for all: there may be many, and others poll meanwhile.
            let map = self.read();
            let Some(queue) = map.in_memory(*hash, shard) else { continue };
            let mut state = queue.lock();
            state.unreadable.remove(&shard);
            let dispatch = state.matcher.announce([shard], now);
            directives.extend(queue.settle(state, &self.schedule, dispatch));
        }
        directives
    }

    /// A shard was lost: nothing of it stays in memory.
    #[must_use = "see Directive"]
    pub fn forget_shard(&self, shard: u16, now: Timestamp) -> Vec<Directive<P>> {
        // One lock for all: a queue that is loaded or unloaded on the way would take what is known past us.
        let map = self.read();
        map.stored().forget(shard);
        let mut directives = Vec::new();
        for queue in map.loaded.values() {
            let mut state = queue.lock();
            state.unreadable.remove(&shard);
            if state.matcher.knows(shard) {
                let dispatch = state.matcher.forget(shard, now);
                directives.extend(queue.settle(state, &self.schedule, dispatch));
            }
        }
        directives
    }

    /// The answer to [`Directive::Scan`]: the rows in order, and whether the shard has more after them. An answer that
    /// is out of date is ignored. `None`: the page could not be read; then the shard is forgotten for that queue and
    /// asked again by a sweep. A shard that is not here any more has no rows: `Some((vec![], false))`.
    #[must_use = "see Directive"]
    pub fn scanned(
        &self,
        queue: &QueueName,
        scan: &Scan,
        page: Option<(Vec<Task>, bool)>,
        now: Timestamp,
    ) -> Vec<Directive<P>> {
        let map = self.read();
        let Some(queue) = map.loaded.get(&queue.hash()) else { return Vec::new() };
        let mut state = queue.lock();
        let dispatch = match page {
            Some((rows, more)) => state.matcher.scanned(scan, rows, more, now),
            None => {
                let (forgotten, dispatch) = state.matcher.scan_failed(scan, now);
                state.unreadable.extend(forgotten.then_some(scan.shard));
                dispatch
            }
        };
        queue.settle(state, &self.schedule, dispatch)
    }

    /// Time has passed: rate tokens, expired tasks, unreadable shards, idle queues. To be called at
    /// [`next_tick`](Matching::next_tick), harmless at any time.
    #[must_use = "see Directive"]
    pub fn tick(&self, now: Timestamp) -> Vec<Directive<P>> {
        let mut directives = Vec::new();
        for hash in self.schedule.due(now) {
            let map = self.read();
            let Some(queue) = map.loaded.get(&hash) else { continue };
            let mut state = queue.lock();
            let dispatch = state.matcher.tick(now);
            directives.extend(queue.settle(state, &self.schedule, dispatch));
        }
        if self.schedule.begin_sweep(now, now + self.limits.sweep_every) {
            directives.extend(self.sweep(now));
        }
        directives
    }

    /// When [`tick`](Matching::tick) is next wanted, `None` when no queue is in memory. Any call that takes the time
    /// may bring it forward: a token of a rate limit is then late by as long as nobody looks.
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.schedule.next()
    }

    /// What is known of a queue. Does not load it, nor keep it in memory.
    pub fn describe(&self, queue: &QueueName, now: Timestamp) -> Description {
        let hash = queue.hash();
        let map = self.read();
        let Some(queue) = map.loaded.get(&hash) else { return map.describe_stored(&hash) };
        let state = queue.lock();
        let unreadable = state.unreadable.iter().map(|shard| (*shard, Position::START));
        let unread: Vec<(u16, Position)> = state.matcher.unread().chain(unreadable).collect();
        Description {
            pollers: state.matcher.pollers(now),
            stats: Stats { backlog_unread: !unread.is_empty(), ..state.matcher.stats(now) },
            rate: state.matcher.rate(),
            unread,
        }
    }

    /// Sends all pollers home and refuses new ones: the server stops.
    #[must_use = "see Directive"]
    pub fn shut(&self) -> Vec<Directive<P>> {
        let mut map = self.write();
        map.shut = true;
        *map.stored() = Stored::default();
        let loaded = std::mem::take(&mut map.loaded);
        self.schedule.stop_sweeping();
        let mut directives = Vec::new();
        for queue in loaded.values() {
            let mut state = queue.lock();
            let dispatch = state.matcher.shut();
            directives.extend(queue.settle(state, &self.schedule, dispatch));
        }
        directives
    }

    /// The invariants, written once: for tests and the simulator. Looks at everything and stops all others meanwhile.
    ///
    /// # Errors
    /// Says in words which one is broken.
    pub fn check(&self) -> Result<(), String> {
        let mut map = self.write();
        let mut wakes = BTreeSet::new();
        for queue in map.loaded.values_mut() {
            let (name, hash) = (queue.name().clone(), queue.hash());
            let state = queue.state_mut();
            state.matcher.check().map_err(|broken| format!("{name:?}: {broken}"))?;
            wakes.extend(state.wake_at.map(|at| (at, hash)));
        }
        if let Some(hash) = map.loaded.keys().find(|hash| !map.stored().shards(hash).is_empty()) {
            return Err(format!("{hash:?} is in memory and has rows that it does not know"));
        }
        if map.loaded.len() > self.limits.queues_max || (map.shut && !map.loaded.is_empty()) {
            return Err("queues are in memory that ought not to be".into());
        }
        self.schedule.check(wakes, !map.loaded.is_empty())
    }

    fn poll_loaded(
        &self,
        queue: &Queue<P>,
        poll: &mut Option<Poll<P>>,
        rate: Option<f64>,
        now: Timestamp,
    ) -> Result<(PollerId, Vec<Directive<P>>), Refused> {
        let mut state = queue.use_now(now);
        state.matcher.admits()?;
        let poll = poll.take().expect("a poll is let in once");
        let (id, dispatch) = state.matcher.poll(poll, rate, now)?;
        Ok((id, queue.settle(state, &self.schedule, dispatch)))
    }

    fn give_back_loaded(&self, queue: &Queue<P>, poller: Poller<P>, now: Timestamp) -> Vec<Directive<P>> {
        let mut state = queue.use_now(now);
        let dispatch = state.matcher.give_back(poller, now);
        queue.settle(state, &self.schedule, dispatch)
    }

    /// The queue, and the scans that begin if it comes into memory only now.
    fn load<'a>(
        &self,
        map: &'a mut Map<P>,
        name: &QueueName,
        hash: QueueHash,
        now: Timestamp,
    ) -> Result<(&'a Queue<P>, Vec<Directive<P>>), Refused> {
        if map.shut {
            return Err(Refused::Shut);
        }
        // Another poll may have been here between our two locks.
        let full = map.loaded.len() >= self.limits.queues_max && !map.loaded.contains_key(&hash);
        if full {
            return Err(Refused::TooManyQueues);
        }
        let mut directives = Vec::new();
        let queue = map.loaded.entry(hash).or_insert_with(|| {
            let queue = Queue::new(name.clone(), map.next_id, self.limits.queue.clone(), now);
            let shards = map.stored.get_mut().expect("nothing in here panics").take(&hash);
            let mut state = queue.lock();
            let dispatch = state.matcher.announce(shards, now);
            directives = queue.settle(state, &self.schedule, dispatch);
            self.schedule.sweep_by(now + self.limits.sweep_every);
            Box::new(queue)
        });
        Ok((queue, directives))
    }

    /// Looks at every queue: at what expired, at what could not be read, and at whether somebody uses it.
    fn sweep(&self, now: Timestamp) -> Vec<Directive<P>> {
        let unused_since = now - self.limits.idle;
        let mut directives = Vec::new();
        let mut idle = Vec::new();
        let hashes: Vec<QueueHash> = self.read().loaded.keys().copied().collect();
        for hash in hashes {
            let map = self.read();
            let Some(queue) = map.loaded.get(&hash) else { continue };
            let mut state = queue.lock();
            if state.is_idle(unused_since) {
                idle.push(hash);
                continue;
            }
            let unreadable = std::mem::take(&mut state.unreadable);
            let dispatch = state.matcher.announce(unreadable, now);
            directives.extend(queue.settle(state, &self.schedule, dispatch));
        }
        for hash in idle {
            self.unload(hash, unused_since);
        }
        directives
    }

    /// Unless somebody came meanwhile.
    fn unload(&self, hash: QueueHash, unused_since: Timestamp) {
        let mut map = self.write();
        if !map.loaded.get_mut(&hash).is_some_and(|queue| queue.state_mut().is_idle(unused_since)) {
            return;
        }
        let mut queue = map.loaded.remove(&hash).expect("found just now");
        let state = queue.state_mut();
        self.schedule.change(hash, state.wake_at, None);
        map.next_id = map.next_id.max(state.matcher.ids_end());
        for shard in state.shards() {
            map.stored().insert(shard, hash);
        }
        if map.loaded.is_empty() {
            self.schedule.stop_sweeping();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Map<P>> {
        self.map.read().expect("nobody panics while loading or unloading a queue")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map<P>> {
        self.map.write().expect("nobody panics while loading or unloading a queue")
    }
}

impl<P> Map<P> {
    /// The queue if it is in memory; else it is noted that the shard has rows for it.
    fn in_memory(&self, hash: QueueHash, shard: u16) -> Option<&Queue<P>> {
        let queue = self.loaded.get(&hash);
        if queue.is_none() && !self.shut {
            self.stored().insert(shard, hash);
        }
        queue.map(Box::as_ref)
    }

    fn describe_stored(&self, hash: &QueueHash) -> Description {
        let shards = self.stored().shards(hash);
        Description {
            stats: Stats { backlog_unread: !shards.is_empty(), ..Stats::default() },
            unread: shards.into_iter().map(|shard| (shard, Position::START)).collect(),
            ..Description::default()
        }
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().expect("nothing in here panics")
    }
}

#[cfg(test)]
mod tests;
