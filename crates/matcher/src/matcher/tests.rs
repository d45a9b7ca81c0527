//! The rules of a queue, one a test.

use std::time::Duration;

use super::*;
use crate::task::Position;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn matcher() -> Matcher<&'static str> {
    Matcher::new(Limits::default(), NOW)
}

fn small(tasks_max: usize, refill_at: usize) -> Matcher<&'static str> {
    Matcher::new(Limits { tasks_max, refill_at, scan_rows_min: 1, ..Limits::default() }, NOW)
}

fn task(shard: u16, level: u8, task_id: u64) -> Task {
    let key = TaskKey { level, task_id, shard };
    Task { key, run: 1, event_id: 5, stamp: 0, version: Version::UNVERSIONED, expires: None }
}

fn rows(shard: u16, level: u8, ids: std::ops::RangeInclusive<u64>) -> Vec<Task> {
    ids.map(|task_id| task(shard, level, task_id)).collect()
}

fn poll(handle: &'static str) -> Poll<&'static str> {
    Poll { handle, version: Version::UNVERSIONED, identity: handle.into() }
}

fn wait(matcher: &mut Matcher<&'static str>, handle: &'static str) -> PollerId {
    let (id, dispatch) = matcher.poll(poll(handle), None, NOW).unwrap();
    assert!(dispatch.matches.is_empty());
    id
}

/// The tasks and handles of the matches, as (task id, handle).
fn met(dispatch: Dispatch<&'static str>) -> Vec<(u64, &'static str)> {
    dispatch.matches.into_iter().map(|met| (met.task.key.task_id, met.poller.handle)).collect()
}

fn quiet(dispatch: Dispatch<&'static str>) {
    assert!(dispatch.matches.is_empty());
}

fn polled(matcher: &mut Matcher<&'static str>, handle: &'static str) -> Vec<(u64, &'static str)> {
    met(matcher.poll(poll(handle), None, NOW).unwrap().1)
}

fn only(scans: Vec<Scan>) -> Scan {
    let [scan] = scans.try_into().expect("one scan");
    scan
}

#[test]
fn tasks_meet_pollers_whoever_comes_first() {
    let mut matcher = matcher();
    assert!(met(matcher.offer(task(0, 3, 1), NOW)).is_empty());
    assert_eq!(polled(&mut matcher, "a"), [(1, "a")]);
    wait(&mut matcher, "b");
    wait(&mut matcher, "c");
    assert_eq!(met(matcher.offer(task(0, 3, 2), NOW)), [(2, "b")]);
}

#[test]
fn the_backlog_goes_by_level_then_age_over_shards() {
    let mut matcher = matcher();
    for offered in [task(0, 3, 4), task(1, 3, 2), task(2, 5, 1), task(1, 1, 9)] {
        quiet(matcher.offer(offered, NOW));
    }
    let order: Vec<u64> = (0..4).map(|_| polled(&mut matcher, "a")[0].0).collect();
    assert_eq!(order, [9, 2, 4, 1]);
}

#[test]
fn versions_do_not_mix() {
    let mut matcher = matcher();
    let blue = Version::build("blue".into());
    quiet(matcher.offer(Task { version: blue.clone(), ..task(0, 3, 1) }, NOW));
    wait(&mut matcher, "a");
    assert!(matcher.reserve(3, &blue, NOW).is_none());
    let (_, dispatch) = matcher.poll(Poll { version: blue, ..poll("b") }, None, NOW).unwrap();
    assert_eq!(met(dispatch), [(1, "b")]);
}

#[test]
fn a_reserved_poller_is_out_of_the_line_and_returns_to_its_front() {
    let mut matcher = matcher();
    let first = wait(&mut matcher, "a");
    wait(&mut matcher, "b");
    let reserved = matcher.reserve(3, &Version::UNVERSIONED, NOW).unwrap();
    assert_eq!((reserved.id, matcher.stats(NOW).waiting_pollers), (first, 1));
    assert!(matcher.cancel(first, NOW).is_none());
    assert!(met(matcher.give_back(reserved, NOW)).is_empty());
    assert_eq!(met(matcher.offer(task(0, 3, 1), NOW)), [(1, "a")]);
}

#[test]
fn a_poller_given_back_gets_what_came_meanwhile() {
    let mut matcher = matcher();
    wait(&mut matcher, "a");
    let reserved = matcher.reserve(3, &Version::UNVERSIONED, NOW).unwrap();
    assert!(met(matcher.offer(task(0, 3, 1), NOW)).is_empty());
    assert_eq!(met(matcher.give_back(reserved, NOW)), [(1, "a")]);
}

#[test]
fn a_cancelled_poller_gets_nothing() {
    let mut matcher = matcher();
    let id = wait(&mut matcher, "a");
    assert!(matcher.cancel(id, NOW).is_some());
    assert!(matcher.cancel(id, NOW).is_none());
    assert!(met(matcher.offer(task(0, 3, 1), NOW)).is_empty());
}

#[test]
fn nothing_new_overtakes_unread_rows_of_its_level() {
    let mut matcher = matcher();
    wait(&mut matcher, "a");
    let scan = only(matcher.announce([4], NOW).scans);
    assert!(matcher.reserve(1, &Version::UNVERSIONED, NOW).is_none());
    let page = vec![task(4, 3, 7)];
    assert_eq!(met(matcher.scanned(&scan, page, true, NOW)), [(7, "a")]);
    wait(&mut matcher, "b");
    assert!(matcher.reserve(3, &Version::UNVERSIONED, NOW).is_none());
    assert!(matcher.reserve(2, &Version::UNVERSIONED, NOW).is_some(), "unread rows are of level 3 at best");
}

#[test]
fn an_offer_goes_where_the_scan_will_not() {
    let mut matcher = matcher();
    let scan = only(matcher.announce([4], NOW).scans);
    quiet(matcher.offer(task(4, 3, 9), NOW));
    assert_eq!(matcher.stats(NOW).backlog_count, 0, "behind unread rows: in the store only");
    let scan = only(matcher.scanned(&scan, rows(4, 3, 5..=6), false, NOW).scans);
    assert_eq!(scan.after, Position { level: 3, task_id: 6 }, "the offer made the page incomplete");
    quiet(matcher.scanned(&scan, rows(4, 3, 9..=9), false, NOW));
    quiet(matcher.offer(task(4, 1, 10), NOW));
    quiet(matcher.offer(task(4, 3, 11), NOW));
    let stats = matcher.stats(NOW);
    assert_eq!((stats.backlog_count, stats.backlog_unread), (5, false));
}

#[test]
fn a_task_waits_for_unread_rows_of_lower_level_and_for_no_others() {
    let mut matcher = matcher();
    let scan = only(matcher.announce([1], NOW).scans);
    quiet(matcher.offer(task(2, 3, 5), NOW));
    assert!(polled(&mut matcher, "a").is_empty(), "shard 1 may hold something urgent");
    assert_eq!(met(matcher.scanned(&scan, rows(1, 3, 1..=1), true, NOW)), [(1, "a")]);
    assert_eq!(polled(&mut matcher, "b"), [(5, "b")], "only age is at stake");
}

#[test]
fn a_full_memory_of_low_priority_does_not_keep_urgent_rows_out() {
    let mut matcher = small(4, 1);
    for id in 1..=4 {
        quiet(matcher.offer(task(0, 5, id), NOW));
    }
    let scan = only(matcher.announce([1], NOW).scans);
    assert!(polled(&mut matcher, "b").is_empty());
    assert_eq!(met(matcher.scanned(&scan, rows(1, 1, 1..=3), true, NOW)), [(1, "b")]);
    let stats = matcher.stats(NOW);
    assert_eq!((stats.backlog_count, stats.levels[&1].count), (4, 2));
}

#[test]
fn what_does_not_fit_is_read_again() {
    let mut matcher = small(3, 1);
    for id in 1..=5 {
        quiet(matcher.offer(task(0, 3, id), NOW));
    }
    assert!(matcher.stats(NOW).backlog_unread);
    let mut order = Vec::new();
    while order.len() < 5 {
        let (_, dispatch) = matcher.poll(poll("a"), None, NOW).unwrap();
        for scan in &dispatch.scans {
            assert_eq!(scan.after, Position { level: 3, task_id: 3 });
            quiet(matcher.scanned(scan, rows(0, 3, 4..=5), false, NOW));
        }
        order.extend(met(dispatch).iter().map(|met| met.0));
    }
    assert_eq!(order, [1, 2, 3, 4, 5]);
    assert!(!matcher.stats(NOW).backlog_unread);
}

#[test]
fn an_offer_that_fits_nowhere_still_meets_its_poller() {
    let mut matcher = small(2, 1);
    let blue = Version::build("blue".into());
    wait(&mut matcher, "a");
    for id in 1..=2 {
        quiet(matcher.offer(Task { version: blue.clone(), ..task(0, 3, id) }, NOW));
    }
    assert_eq!(met(matcher.offer(task(0, 3, 3), NOW)), [(3, "a")]);
}

#[test]
fn tasks_of_a_version_without_pollers_do_not_keep_rows_of_others_unread() {
    let mut matcher = small(10, 2);
    let blue = Version::build("blue".into());
    for task_id in 1..=5 {
        quiet(matcher.offer(Task { version: blue.clone(), ..task(0, 3, task_id) }, NOW));
    }
    let scan = only(matcher.announce([1], NOW).scans);
    let row = Task { version: blue, ..task(1, 3, 6) };
    assert!(matcher.scanned(&scan, vec![row], true, NOW).scans.is_empty(), "nobody waits");
    let scan = only(matcher.poll(poll("a"), None, NOW).unwrap().1.scans);
    assert_eq!(met(matcher.scanned(&scan, vec![task(1, 3, 7)], true, NOW)), [(7, "a")]);
}

#[test]
fn bytes_have_a_ceiling_too() {
    let version = Version::build(vec![b'v'; 1_000].into());
    let mut matcher: Matcher<()> = Matcher::new(Limits { bytes_max: 5_000, ..Limits::default() }, NOW);
    for id in 1..=10 {
        drop(matcher.offer(Task { version: version.clone(), ..task(0, 3, id) }, NOW));
    }
    let stats = matcher.stats(NOW);
    assert_eq!((stats.backlog_count, stats.backlog_unread), (4, true));
}

#[test]
fn one_round_of_scans_at_a_time_when_little_is_left() {
    let mut matcher = small(10, 2);
    let scan = only(matcher.announce([0], NOW).scans);
    assert!(matcher.announce([1], NOW).scans.is_empty());
    let second = only(matcher.scanned(&scan, rows(0, 3, 1..=4), true, NOW).scans);
    assert_eq!(second.shard, 1);
    assert!(matcher.scanned(&second, rows(1, 3, 5..=6), false, NOW).scans.is_empty(), "enough is there");
    for id in 1..=3 {
        assert_eq!(polled(&mut matcher, "a"), [(id, "a")]);
    }
    let (_, dispatch) = matcher.poll(poll("a"), None, NOW).unwrap();
    assert_eq!(dispatch.scans.len(), 1);
}

#[test]
fn fresh_offers_do_not_starve_an_old_row() {
    let mut matcher = small(10, 2);
    let scan = only(matcher.announce([0], NOW).scans);
    quiet(matcher.scanned(&scan, rows(0, 3, 1..=8), true, NOW));
    let mut scans = Vec::new();
    for id in 100..120 {
        quiet(matcher.offer(task(1, 3, id), NOW));
        let (_, mut dispatch) = matcher.poll(poll("a"), None, NOW).unwrap();
        scans.append(&mut dispatch.scans);
        drop(met(dispatch));
    }
    assert_eq!(scans[0].shard, 0, "though memory never ran low");
}

#[test]
fn a_forgotten_shard_takes_its_tasks_and_frees_those_of_others() {
    let mut matcher = matcher();
    quiet(matcher.offer(task(2, 3, 5), NOW));
    quiet(matcher.offer(task(1, 3, 6), NOW));
    let scan = only(matcher.announce([1], NOW).scans);
    wait(&mut matcher, "a");
    assert_eq!(met(matcher.forget(1, NOW)), [(5, "a")]);
    assert_eq!(matcher.stats(NOW).backlog_count, 0);
    let again = only(matcher.announce([1], NOW).scans);
    quiet(matcher.scanned(&scan, rows(1, 3, 1..=2), false, NOW));
    assert_eq!(matcher.stats(NOW).backlog_count, 0, "a page from before the loss is void");
    quiet(matcher.scanned(&again, rows(1, 3, 6..=6), false, NOW));
    assert_eq!(matcher.stats(NOW).backlog_count, 1);
}

#[test]
fn the_rate_limit_holds_for_offers_reservations_and_backlog() {
    let mut matcher = matcher();
    drop(matcher.set_rate(Some(1.0), NOW));
    wait(&mut matcher, "a");
    wait(&mut matcher, "b");
    assert!(matcher.reserve(3, &Version::UNVERSIONED, NOW).is_some());
    assert!(matcher.reserve(3, &Version::UNVERSIONED, NOW).is_none());
    let dispatch = matcher.offer(task(0, 3, 1), NOW);
    let at = dispatch.wake_at.unwrap();
    assert!(met(dispatch).is_empty() && matcher.stats(NOW).rate_limited);
    assert_eq!(at, NOW + Duration::from_secs(1));
    assert!(matcher.reserve(1, &Version::UNVERSIONED, at).is_none(), "the token is owed to the backlog");
    let dispatch = matcher.tick(at);
    assert_eq!(dispatch.wake_at, None);
    assert_eq!(met(dispatch), [(1, "b")]);
}

#[test]
fn a_match_that_came_to_nothing_costs_no_token() {
    let mut matcher = matcher();
    drop(matcher.set_rate(Some(0.1), NOW));
    quiet(matcher.offer(task(0, 3, 1), NOW));
    quiet(matcher.offer(task(0, 3, 2), NOW));
    let (_, mut dispatch) = matcher.poll(poll("a"), None, NOW).unwrap();
    let stale = dispatch.matches.remove(0);
    assert_eq!(met(matcher.give_back(stale.poller, NOW)), [(2, "a")]);
}

#[test]
fn rate_zero_stops_and_none_lets_go() {
    let mut matcher = matcher();
    drop(matcher.set_rate(Some(0.0), NOW));
    wait(&mut matcher, "a");
    let dispatch = matcher.offer(task(0, 3, 1), NOW);
    assert_eq!((dispatch.wake_at, met(dispatch).len()), (None, 0));
    assert_eq!(met(matcher.set_rate(None, NOW)), [(1, "a")]);
}

#[test]
fn an_expired_task_is_handed_out_to_be_dropped() {
    let mut matcher = matcher();
    let expires = Some(NOW + Duration::from_secs(5));
    quiet(matcher.offer(Task { expires, ..task(0, 3, 1) }, NOW));
    quiet(matcher.offer(task(0, 3, 2), NOW));
    let (_, dispatch) = matcher.poll(poll("a"), None, NOW + Duration::from_secs(5)).unwrap();
    assert_eq!(dispatch.expired.iter().map(|task| task.key.task_id).collect::<Vec<_>>(), [1]);
    assert_eq!(met(dispatch), [(2, "a")]);
}

#[test]
fn the_line_has_an_end() {
    let mut matcher = Matcher::new(Limits { pollers_max: 1, ..Limits::default() }, NOW);
    wait(&mut matcher, "a");
    assert_eq!(matcher.poll(poll("b"), None, NOW).err(), Some(Refused::TooManyPollers));
}

#[test]
fn a_waiting_poller_is_seen_now_and_one_that_left_when_it_left() {
    let mut matcher = matcher();
    let later = |seconds| NOW + Duration::from_secs(seconds);
    assert_eq!(matcher.last_poll(NOW), None);
    let id = wait(&mut matcher, "a");
    assert_eq!(matcher.last_poll(later(30)), Some(later(30)));
    assert!(matcher.cancel(id, later(40)).is_some());
    assert_eq!(matcher.last_poll(later(90)), Some(later(40)));
    assert_eq!(matcher.pollers(later(90))[0].last_access, NOW);
}

/// A worker says farewell over one connection while its polls still end on others.
#[test]
fn polls_of_a_worker_that_left_do_not_count() {
    let mut matcher = matcher();
    let later = |seconds| NOW + Duration::from_secs(seconds);
    let id = wait(&mut matcher, "a");
    matcher.worker_left();
    assert_eq!(matcher.last_poll(later(1)), None);
    assert!(matcher.cancel(id, later(2)).is_some());
    assert_eq!(matcher.last_poll(later(3)), None);
    wait(&mut matcher, "a");
    assert_eq!(matcher.last_poll(later(4)), Some(later(4)));
}

#[test]
fn stats_tell_age_and_rates() {
    let mut matcher = matcher();
    quiet(matcher.offer(task(0, 3, 1_000_000 << 20), NOW));
    quiet(matcher.offer(task(1, 1, 1_000_500 << 20), NOW));
    assert_eq!(polled(&mut matcher, "a").len(), 1);
    let stats = matcher.stats(NOW);
    assert_eq!((stats.oldest, stats.backlog_count), (Some(NOW), 1));
    assert_eq!((stats.added_per_second, stats.dispatched_per_second), (2.0, 1.0));
}

#[test]
fn a_shut_queue_sends_everyone_home() {
    let mut matcher = matcher();
    wait(&mut matcher, "a");
    wait(&mut matcher, "b");
    let reserved = matcher.reserve(3, &Version::UNVERSIONED, NOW).unwrap();
    assert_eq!(matcher.shut().ended, ["b"]);
    assert_eq!(matcher.give_back(reserved, NOW).ended, ["a"]);
    assert_eq!(matcher.poll(poll("c"), None, NOW).err(), Some(Refused::Shut));
    assert!(matcher.announce([1], NOW).scans.is_empty());
    assert!(met(matcher.offer(task(0, 3, 1), NOW)).is_empty());
    matcher.check().unwrap();
}
