//! Threads that poll, offer, reserve, cancel and tick the same few queues at once: nothing is lost between the locks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use mainspring_api::ids::{NamespaceId, QueueKind};
use mainspring_matching::{Directive, Limits, Matching, Poll, PollerId, QueueName, Scan, Task, TaskKey, Version};
use mainspring_rt::Timestamp;

const QUEUES: usize = 4;
const SHARDS: u16 = 2;
const TASKS_PER_SHARD: u64 = 3_000;
/// Of a shard that runs ahead of the workers.
const BACKLOG_MAX: usize = 20;
const FINE: &str = "no thread panics and no line is full";

/// One store, one registry, and what became of every poller.
struct World {
    matching: Matching<()>,
    queues: Vec<QueueName>,
    rows: Mutex<BTreeMap<(usize, TaskKey), Task>>,
    clock: AtomicI64,
    polled: AtomicUsize,
    started: AtomicUsize,
    reserved: AtomicUsize,
    left: AtomicUsize,
    ended: AtomicUsize,
    committed: AtomicU64,
}

impl World {
    fn new() -> World {
        let queue = mainspring_matcher::Limits { tasks_max: 8, refill_at: 2, scan_rows_min: 1, ..Default::default() };
        // Time runs in milliseconds, one a call: queues fall idle all the time.
        let (idle, sweep_every) = (Duration::from_millis(6), Duration::from_millis(3));
        let limits = Limits { queue, idle, sweep_every, ..Limits::default() };
        let namespace = NamespaceId(uuid::Uuid::from_u128(7));
        let name = |n: usize| QueueName { namespace, name: format!("q{n}").into(), kind: QueueKind::Activity };
        World {
            matching: Matching::new(limits),
            queues: (0..QUEUES).map(name).collect(),
            rows: Mutex::default(),
            clock: AtomicI64::new(1_000_000),
            polled: AtomicUsize::default(),
            started: AtomicUsize::default(),
            reserved: AtomicUsize::default(),
            left: AtomicUsize::default(),
            ended: AtomicUsize::default(),
            committed: AtomicU64::default(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.fetch_add(1, SeqCst))
    }

    /// A shard: reserves a poller for a task, or commits a row and offers it.
    fn produce(&self, shard: u16) {
        for task_id in 1..=TASKS_PER_SHARD {
            while self.rows().len() > BACKLOG_MAX {
                std::thread::yield_now();
            }
            let queue = (task_id % QUEUES as u64) as usize;
            let reserved = self.matching.reserve(&self.queues[queue], 3, &Version::UNVERSIONED, self.now());
            if let Some(poller) = reserved {
                if task_id % 3 > 0 {
                    self.reserved.fetch_add(1, SeqCst);
                    self.committed.fetch_add(1, SeqCst);
                    continue;
                }
                self.carry_out(self.matching.give_back(&self.queues[queue], poller, self.now()));
            }
            let key = TaskKey { level: 3, task_id, shard };
            let task = Task { key, run: 1, event_id: 5, stamp: 0, version: Version::UNVERSIONED, expires: None };
            self.rows().insert((queue, key), task.clone());
            self.carry_out(self.matching.offer(&self.queues[queue], task, self.now()));
            self.committed.fetch_add(1, SeqCst);
        }
    }

    /// A worker that asks in one queue after the other, and takes back what was not answered soon, until all is done.
    fn work(&self, first: usize) {
        let all = u64::from(SHARDS) * TASKS_PER_SHARD;
        let mut asked = VecDeque::new();
        for round in first.. {
            if self.committed.load(SeqCst) == all && self.rows().is_empty() {
                break;
            }
            let queue = &self.queues[round / 5 % QUEUES];
            let poll = Poll { handle: (), version: Version::UNVERSIONED, identity: "worker".into() };
            let (id, directives) = self.matching.poll(queue, poll, None, self.now()).expect(FINE);
            self.polled.fetch_add(1, SeqCst);
            asked.push_back((queue, id));
            self.carry_out(directives);
            std::thread::yield_now();
            if asked.len() > 3 {
                self.cancel(asked.pop_front());
            }
            self.carry_out(self.matching.tick(self.now()));
        }
        asked.into_iter().for_each(|oldest| self.cancel(Some(oldest)));
    }

    fn cancel(&self, asked: Option<(&QueueName, PollerId)>) {
        if asked.is_some_and(|(queue, id)| self.matching.cancel(queue, id, self.now())) {
            self.left.fetch_add(1, SeqCst);
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<(usize, TaskKey), Task>> {
        self.rows.lock().expect(FINE)
    }

    fn carry_out(&self, directives: Vec<Directive<()>>) {
        let mut todo = directives;
        while let Some(directive) = todo.pop() {
            match directive {
                Directive::Start { queue, task, poller } => {
                    let row = self.rows().remove(&(self.number(&queue), task.key));
                    match row {
                        Some(_) => drop(self.started.fetch_add(1, SeqCst)),
                        None => todo.extend(self.matching.give_back(&queue, poller, self.now())),
                    }
                }
                Directive::Scan { queue, scan } => {
                    let page = self.read(self.number(&queue), &scan);
                    todo.extend(self.matching.scanned(&queue, &scan, Some(page), self.now()));
                }
                Directive::End(()) => drop(self.ended.fetch_add(1, SeqCst)),
                Directive::Expired { task, .. } => panic!("{task:?} has no deadline"),
            }
        }
    }

    fn read(&self, queue: usize, scan: &Scan) -> (Vec<Task>, bool) {
        let rows = self.rows();
        let wanted = rows.iter().filter(|((of, key), _)| *of == queue && key.shard == scan.shard);
        let mut page: Vec<Task> = wanted.map(|(_, row)| row.clone()).collect();
        page.retain(|task| task.key.position() > scan.after);
        let more = page.len() > scan.limit;
        page.truncate(scan.limit);
        (page, more)
    }

    fn number(&self, queue: &QueueName) -> usize {
        self.queues.iter().position(|of| of == queue).expect("a queue of ours")
    }
}

/// If a task were lost the workers would never end.
#[test]
fn nothing_is_lost_between_threads() {
    let world = World::new();
    std::thread::scope(|scope| {
        for shard in 0..SHARDS {
            let world = &world;
            scope.spawn(move || world.produce(shard));
        }
        for first in 0..3 {
            let world = &world;
            scope.spawn(move || world.work(first));
        }
    });
    world.matching.check().expect(FINE);
    let all = usize::from(SHARDS) * TASKS_PER_SHARD as usize;
    let count = |number: &AtomicUsize| number.load(SeqCst);
    assert_eq!(count(&world.started) + count(&world.reserved), all);
    world.carry_out(world.matching.shut());
    let answered = count(&world.started) + count(&world.reserved) + count(&world.left) + count(&world.ended);
    println!("{} started, {} reserved, {} left", count(&world.started), count(&world.reserved), count(&world.left));
    assert_eq!(answered, count(&world.polled), "a poller was lost");
}
