//! The rules of the registry, one a test.

use std::{sync::Arc, time::Duration};

use mainspring_api::ids::{NamespaceId, QueueKind};
use mainspring_matcher::TaskKey;
use uuid::Uuid;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn later(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn queue(name: &str) -> QueueName {
    QueueName { namespace: NamespaceId(Uuid::from_u128(7)), name: name.into(), kind: QueueKind::Activity }
}

fn matching() -> Matching<&'static str> {
    Matching::new(Limits::default())
}

fn of_queues(queues_max: usize) -> Matching<&'static str> {
    Matching::new(Limits { queues_max, ..Limits::default() })
}

fn task(shard: u16, task_id: u64) -> Task {
    let key = TaskKey { level: 3, task_id, shard };
    Task { key, run: 1, event_id: 5, stamp: 0, version: Version::UNVERSIONED, expires: None }
}

fn poll<P>(handle: P) -> Poll<P> {
    Poll { handle, version: Version::UNVERSIONED, identity: "worker".into() }
}

fn wait(matching: &Matching<&'static str>, queue: &QueueName, handle: &'static str, now: Timestamp) -> PollerId {
    let (id, directives) = matching.poll(queue, poll(handle), None, now).unwrap();
    assert_eq!(told(directives), [""; 0]);
    id
}

fn polled(matching: &Matching<&'static str>, queue: &QueueName, handle: &'static str) -> Vec<Directive<&'static str>> {
    matching.poll(queue, poll(handle), None, NOW).unwrap().1
}

/// The directives in short. Every test reads them this way, so that none is overlooked.
fn told(directives: Vec<Directive<&'static str>>) -> Vec<String> {
    let short = |directive: Directive<&'static str>| match directive {
        Directive::Start { queue, task, poller } => {
            format!("{}: {} to {}", queue.name, task.key.task_id, poller.handle)
        }
        Directive::Expired { queue, task } => format!("{}: {} expired", queue.name, task.key.task_id),
        Directive::Scan { queue, scan } => format!("{}: scan {}", queue.name, scan.shard),
        Directive::End(handle) => format!("end {handle}"),
    };
    directives.into_iter().map(short).collect()
}

fn only_scan(directives: Vec<Directive<&'static str>>) -> Scan {
    let [directive]: [_; 1] = directives.try_into().expect("one directive");
    let Directive::Scan { scan, .. } = directive else { panic!("not a scan") };
    scan
}

/// Ticks until nothing idle is left in memory.
fn idle_away(matching: &Matching<&'static str>, from: Timestamp) -> Timestamp {
    let mut now = from + crate::limits::IDLE;
    while let Some(next) = matching.next_tick() {
        assert!(next < now + crate::limits::IDLE, "idle queues leave");
        now = now.max(next);
        assert_eq!(told(matching.tick(now)), [""; 0]);
    }
    matching.check().unwrap();
    now
}

#[test]
fn a_task_meets_the_poller_of_its_own_queue() {
    let matching = matching();
    let other = QueueName { kind: QueueKind::Workflow, ..queue("a") };
    wait(&matching, &other, "other", NOW);
    wait(&matching, &queue("a"), "first", NOW);
    assert_eq!(told(matching.offer(&queue("a"), task(0, 1), NOW)), ["a: 1 to first"]);
    assert_eq!(told(matching.offer(&queue("a"), task(0, 2), NOW)), [""; 0]);
    assert_eq!(told(polled(&matching, &queue("a"), "second")), ["a: 2 to second"]);
    matching.check().unwrap();
}

#[test]
fn a_queue_nobody_polls_is_remembered_by_the_shards_of_its_rows() {
    let matching = matching();
    for task_id in 1..100 {
        assert_eq!(told(matching.offer(&queue("a"), task(4, task_id), NOW)), [""; 0]);
    }
    assert_eq!(matching.next_tick(), None);
    assert_eq!(matching.describe(&queue("a"), NOW).unread, [(4, Position::START)]);
    let scan = only_scan(polled(&matching, &queue("a"), "first"));
    let page = Some((vec![task(4, 1), task(4, 2)], true));
    assert_eq!(told(matching.scanned(&queue("a"), &scan, page, NOW)), ["a: 1 to first", "a: scan 4"]);
    matching.check().unwrap();
}

#[test]
fn a_loaded_shard_is_read_at_once_where_pollers_wait_and_later_elsewhere() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    let hashes = [queue("b").hash(), queue("a").hash()];
    assert_eq!(told(matching.load_shard(4, &hashes, NOW)), ["a: scan 4"]);
    assert_eq!(told(polled(&matching, &queue("b"), "second")), ["b: scan 4"]);
    matching.check().unwrap();
}

#[test]
fn what_was_offered_while_its_shard_was_loaded_stays() {
    let matching = matching();
    assert_eq!(told(matching.offer(&queue("b"), task(4, 1), NOW)), [""; 0]);
    assert_eq!(told(matching.load_shard(4, &[queue("a").hash()], NOW)), [""; 0]);
    assert_eq!(told(polled(&matching, &queue("b"), "first")), ["b: scan 4"]);
}

#[test]
fn nothing_of_a_lost_shard_stays() {
    let matching = matching();
    let id = wait(&matching, &queue("a"), "first", NOW);
    assert!(matching.cancel(&queue("a"), id, NOW));
    for name in ["a", "b"] {
        assert_eq!(told(matching.offer(&queue(name), task(4, 1), NOW)), [""; 0]);
    }
    assert_eq!(told(matching.offer(&queue("a"), task(5, 2), NOW)), [""; 0]);
    assert_eq!(told(matching.forget_shard(4, NOW)), [""; 0]);
    assert_eq!(told(polled(&matching, &queue("a"), "second")), ["a: 2 to second"]);
    assert_eq!(told(polled(&matching, &queue("b"), "third")), [""; 0]);
    matching.check().unwrap();
}

#[test]
fn a_lost_shard_frees_what_waited_for_its_unread_rows() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    assert_eq!(told(matching.load_shard(4, &[queue("a").hash()], NOW)), ["a: scan 4"]);
    assert_eq!(told(matching.offer(&queue("a"), task(5, 2), NOW)), [""; 0]);
    assert_eq!(told(matching.forget_shard(4, NOW)), ["a: 2 to first"]);
}

#[test]
fn an_idle_queue_leaves_memory_and_its_rows_are_found_again() {
    let matching = matching();
    let id = wait(&matching, &queue("a"), "first", NOW);
    assert!(matching.cancel(&queue("a"), id, NOW));
    assert_eq!(told(matching.offer(&queue("a"), task(4, 1), NOW)), [""; 0]);
    assert_eq!(told(matching.load_shard(5, &[queue("a").hash()], NOW)), ["a: scan 5"]);
    assert_eq!(told(matching.tick(later(299))), [""; 0]);
    assert_eq!(matching.describe(&queue("a"), later(299)).pollers.len(), 1);
    idle_away(&matching, NOW);
    assert_eq!(matching.describe(&queue("a"), later(400)).pollers.len(), 0);
    assert_eq!(told(polled(&matching, &queue("a"), "second")), ["a: scan 4", "a: scan 5"]);
    matching.check().unwrap();
}

#[test]
fn a_queue_without_rows_leaves_nothing_behind() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    assert_eq!(told(matching.offer(&queue("a"), task(4, 1), NOW)), ["a: 1 to first"]);
    idle_away(&matching, NOW);
    assert_eq!(matching.describe(&queue("a"), later(400)), Description::default());
}

#[test]
fn a_queue_stays_while_a_poller_waits_or_somebody_calls() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    let id = wait(&matching, &queue("b"), "second", NOW);
    assert!(matching.cancel(&queue("b"), id, NOW));
    assert_eq!(told(matching.offer(&queue("b"), task(4, 1), later(200))), [""; 0]);
    assert_eq!(told(matching.tick(later(400))), [""; 0]);
    assert_eq!(matching.describe(&queue("a"), later(400)).stats.waiting_pollers, 1);
    assert_eq!(matching.describe(&queue("b"), later(400)).stats.backlog_count, 1);
}

#[test]
fn what_is_left_of_an_unloaded_queue_is_not_taken_for_anything_of_its_successor() {
    let matching = matching();
    let id = wait(&matching, &queue("a"), "old", NOW);
    let reserved = matching.reserve(&queue("a"), 3, &Version::UNVERSIONED, NOW).unwrap();
    let late = only_scan(matching.load_shard(4, &[queue("a").hash()], NOW));
    let now = idle_away(&matching, NOW);
    let again = only_scan(matching.poll(&queue("a"), poll("new"), None, now).unwrap().1);
    assert!(!matching.cancel(&queue("a"), id, now));
    assert_eq!(told(matching.scanned(&queue("a"), &late, Some((vec![task(4, 1)], false)), now)), [""; 0]);
    assert_eq!(told(matching.give_back(&queue("a"), reserved, now)), [""; 0]);
    let page = Some((vec![task(4, 1), task(4, 2)], false));
    assert_eq!(told(matching.scanned(&queue("a"), &again, page, now)), ["a: 1 to old", "a: 2 to new"]);
    matching.check().unwrap();
}

#[test]
fn a_poller_given_back_to_an_unloaded_queue_loads_it() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    let reserved = matching.reserve(&queue("a"), 3, &Version::UNVERSIONED, NOW).unwrap();
    let now = idle_away(&matching, NOW);
    assert_eq!(told(matching.offer(&queue("a"), task(4, 1), now)), [""; 0]);
    assert_eq!(told(matching.give_back(&queue("a"), reserved, now)), ["a: scan 4"]);
    matching.check().unwrap();
}

#[test]
fn a_poller_given_back_that_fits_nowhere_goes_home() {
    let matching = of_queues(1);
    wait(&matching, &queue("a"), "first", NOW);
    let reserved = matching.reserve(&queue("a"), 3, &Version::UNVERSIONED, NOW).unwrap();
    let now = idle_away(&matching, NOW);
    wait(&matching, &queue("b"), "second", now);
    assert_eq!(told(matching.give_back(&queue("a"), reserved, now)), ["end first"]);
}

#[test]
fn queues_have_a_ceiling_for_those_who_poll_further_ones() {
    let matching = of_queues(2);
    wait(&matching, &queue("a"), "first", NOW);
    wait(&matching, &queue("b"), "second", NOW);
    assert_eq!(matching.poll(&queue("c"), poll("third"), None, NOW).err(), Some(Refused::TooManyQueues));
    wait(&matching, &queue("b"), "fourth", NOW);
    assert_eq!(told(matching.offer(&queue("c"), task(4, 1), NOW)), [""; 0]);
    matching.check().unwrap();
}

#[test]
fn a_reserved_poller_is_out_of_the_line() {
    let matching = matching();
    assert!(matching.reserve(&queue("a"), 3, &Version::UNVERSIONED, NOW).is_none());
    let id = wait(&matching, &queue("a"), "first", NOW);
    let poller = matching.reserve(&queue("a"), 3, &Version::UNVERSIONED, NOW).unwrap();
    assert!(!matching.cancel(&queue("a"), id, NOW));
    assert_eq!(told(matching.give_back(&queue("a"), poller, NOW)), [""; 0]);
    assert!(matching.cancel(&queue("a"), id, NOW));
}

#[test]
fn a_page_that_cannot_be_read_holds_nobody_up_and_is_asked_for_again() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    let scan = only_scan(matching.load_shard(4, &[queue("a").hash()], NOW));
    assert_eq!(told(matching.offer(&queue("a"), task(5, 2), NOW)), [""; 0]);
    assert_eq!(told(matching.scanned(&queue("a"), &scan, None, NOW)), ["a: 2 to first"]);
    assert_eq!(matching.describe(&queue("a"), NOW).unread, [(4, Position::START)]);
    assert_eq!(told(matching.tick(later(10))), ["a: scan 4"]);
    assert_eq!(told(matching.tick(later(20))), [""; 0]);
    assert_eq!(told(matching.scanned(&queue("a"), &scan, None, NOW)), [""; 0]);
    assert_eq!(matching.describe(&queue("a"), NOW).unread, [(4, Position::START)]);
}

#[test]
fn a_lost_shard_is_not_asked_again() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    let scan = only_scan(matching.load_shard(4, &[queue("a").hash()], NOW));
    assert_eq!(told(matching.scanned(&queue("a"), &scan, None, NOW)), [""; 0]);
    assert_eq!(told(matching.forget_shard(4, NOW)), [""; 0]);
    assert_eq!(told(matching.tick(later(10))), [""; 0]);
}

#[test]
fn an_unreadable_shard_is_remembered_when_its_queue_is_unloaded() {
    let matching = matching();
    let id = wait(&matching, &queue("a"), "first", NOW);
    let scan = only_scan(matching.load_shard(4, &[queue("a").hash()], NOW));
    assert_eq!(told(matching.scanned(&queue("a"), &scan, None, NOW)), [""; 0]);
    assert!(matching.cancel(&queue("a"), id, NOW));
    idle_away(&matching, NOW);
    assert_eq!(told(polled(&matching, &queue("a"), "second")), ["a: scan 4"]);
}

#[test]
fn the_last_worker_that_names_a_rate_sets_it() {
    let matching = matching();
    let poll_at = |rate| told(matching.poll(&queue("a"), poll("worker"), rate, NOW).unwrap().1);
    let offer = |task_id| told(matching.offer(&queue("a"), task(4, task_id), NOW));
    poll_at(Some(5.0));
    poll_at(Some(0.0));
    poll_at(None);
    assert_eq!(offer(1), [""; 0]);
    assert_eq!(matching.describe(&queue("a"), NOW).rate, Some(0.0));
    assert_eq!(matching.next_tick(), Some(later(10)), "a stop ends with no token");
    assert_eq!(poll_at(Some(0.5)), ["a: 1 to worker"]);
    assert_eq!(offer(2), [""; 0]);
    assert_eq!(matching.next_tick(), Some(later(2)));
    matching.check().unwrap();
    assert_eq!(told(matching.tick(later(2))), ["a: 2 to worker"]);
    assert_eq!(matching.next_tick(), Some(later(10)));
    assert_eq!(matching.describe(&queue("a"), NOW).pollers[0].rate, Some(0.5));
}

#[test]
fn expired_tasks_are_swept_though_nobody_comes() {
    let matching = matching();
    let id = wait(&matching, &queue("a"), "first", NOW);
    assert!(matching.cancel(&queue("a"), id, NOW));
    let expiring = Task { expires: Some(later(3)), ..task(4, 1) };
    assert_eq!(told(matching.offer(&queue("a"), expiring, NOW)), [""; 0]);
    assert_eq!(matching.next_tick(), Some(later(10)));
    assert_eq!(told(matching.tick(later(9))), [""; 0]);
    assert_eq!(told(matching.tick(later(10))), ["a: 1 expired"]);
}

/// A worker that says good-bye is not waited for, until it is there again.
#[test]
fn a_queue_whose_worker_left_is_not_alive() {
    let matching = matching();
    let id = wait(&matching, &queue("a"), "one", NOW);
    assert!(matching.cancel(&queue("a"), id, later(1)));
    assert!(matching.is_alive(&queue("a"), later(2)));
    matching.worker_left(&queue("a"));
    assert!(!matching.is_alive(&queue("a"), later(2)));
    let id = wait(&matching, &queue("a"), "two", later(3));
    assert!(matching.is_alive(&queue("a"), later(3)));
    // Its polls are dropped only after it has said so.
    matching.worker_left(&queue("a"));
    assert!(!matching.is_alive(&queue("a"), later(3)));
    assert!(matching.cancel(&queue("a"), id, later(4)));
    assert!(!matching.is_alive(&queue("a"), later(4)));
}

#[test]
fn a_queue_is_alive_while_a_poller_waits_and_ten_seconds_longer() {
    let matching = matching();
    assert!(!matching.is_alive(&queue("a"), NOW));
    let id = wait(&matching, &queue("a"), "first", NOW);
    assert!(matching.is_alive(&queue("a"), later(60)));
    assert!(matching.cancel(&queue("a"), id, later(60)));
    assert!(matching.is_alive(&queue("a"), later(70)));
    assert!(!matching.is_alive(&queue("a"), later(71)));
}

#[test]
fn a_shut_node_sends_everyone_home() {
    let matching = matching();
    wait(&matching, &queue("a"), "first", NOW);
    wait(&matching, &queue("a"), "second", NOW);
    let reserved = matching.reserve(&queue("a"), 3, &Version::UNVERSIONED, NOW).unwrap();
    assert_eq!(told(matching.shut()), ["end second"]);
    assert_eq!(told(matching.give_back(&queue("a"), reserved, NOW)), ["end first"]);
    assert_eq!(matching.poll(&queue("a"), poll("third"), None, NOW).err(), Some(Refused::Shut));
    assert_eq!(told(matching.offer(&queue("a"), task(4, 1), NOW)), [""; 0]);
    assert_eq!(told(matching.load_shard(4, &[queue("a").hash()], NOW)), [""; 0]);
    assert_eq!((matching.next_tick(), told(matching.shut())), (None, vec![]));
    assert_eq!(matching.describe(&queue("a"), NOW), Description::default());
    matching.check().unwrap();
}

/// A handle that calls back when it is dropped, as the guard of a poll may.
struct CallsBack(Arc<Matching<CallsBack>>);

impl Drop for CallsBack {
    fn drop(&mut self) {
        self.0.check().unwrap();
    }
}

#[test]
fn handles_are_dropped_outside_the_locks() {
    let queue_limits = mainspring_matcher::Limits { pollers_max: 1, ..Default::default() };
    let matching = Arc::new(Matching::new(Limits { queue: queue_limits, queues_max: 1, ..Limits::default() }));
    let poll = |name| matching.poll(&queue(name), poll(CallsBack(matching.clone())), None, NOW);
    let (id, _) = poll("a").unwrap();
    assert_eq!(poll("a").err().unwrap(), Refused::TooManyPollers);
    assert_eq!(poll("b").err().unwrap(), Refused::TooManyQueues);
    assert!(matching.cancel(&queue("a"), id, NOW));
}
