//! Where every record stands: the layout of keys, written down once.
//!
//! A key begins with its shard (two bytes, big endian) and a letter for its kind, so that a shard is a range and so is
//! each kind in it. Numbers are big endian, so that order of keys is order of numbers. `run#` is a [`RunNumber`].
//!
//! | table | key after the shard | value |
//! |---|---|---|
//! | state | `C` namespace, workflow id | [`Current`](crate::record::Current): the newest run |
//! | state | `U` namespace, run id | [`Current`](crate::record::Current) of that run |
//! | state | `X` run# | the run's [`Execution`](mainspring_engine::state::Execution) |
//! | state | `P` run#, kind, id | one item of a run, or what never changes |
//! | history | run#, first event id | events as `History` bytes |
//! | queue | `W` due, run# | the run's wake row, empty |
//! | queue | `T` queue hash, level, task id | [`TaskRow`](crate::record::TaskRow) |
//! | queue | `O` run#, number | an [`Effect`](mainspring_engine::effect::Effect) on its way |
//! | queue | `V` run# | [`Unindexed`](crate::record::Unindexed): the visibility index has yet to hear of the run |
//! | queue | `D` run# | [`Parked`](crate::record::Parked): a run that is frozen |
//! | meta | `I` | [`ShardInfo`](crate::record::ShardInfo) |
//! | meta | `N` namespace id | a namespace, in the shard [`CLUSTER`] |

use bytes::{BufMut, Bytes, BytesMut};
use mainspring_api::ids::{NamespaceId, RunId};
use mainspring_engine::state::{ItemKey, RunNumber};
use mainspring_rt::Timestamp;

use crate::{SHARDS, ShardId};

/// What belongs to no workflow stands in a shard of its own, behind the others.
pub const CLUSTER: ShardId = ShardId(SHARDS);

/// A half-open range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: Bytes,
    pub to: Bytes,
}

impl Range {
    /// The range of one key.
    pub fn one(key: Bytes) -> Range {
        let to = after(&key);
        Range { from: key, to }
    }
}

/// The first key after `key`.
pub fn after(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

/// `C`: the newest run of a workflow id.
pub fn current(shard: ShardId, namespace: NamespaceId, workflow_id: &str) -> Bytes {
    let mut key = start(shard, b'C', 16 + workflow_id.len());
    key.put_slice(namespace.0.as_bytes());
    key.put_slice(workflow_id.as_bytes());
    key.freeze()
}

/// `U`: a run by its id.
pub fn run_id(shard: ShardId, namespace: NamespaceId, run: RunId) -> Bytes {
    let mut key = start(shard, b'U', 32);
    key.put_slice(namespace.0.as_bytes());
    key.put_slice(run.0.as_bytes());
    key.freeze()
}

/// `X`: the hot row of a run.
pub fn execution(shard: ShardId, run: RunNumber) -> Bytes {
    let mut key = start(shard, b'X', 8);
    key.put_u64(run.0);
    key.freeze()
}

/// `P`: all items of a run.
pub fn items(shard: ShardId, run: RunNumber) -> Range {
    Range { from: run_prefix(shard, b'P', run), to: run_prefix(shard, b'P', RunNumber(run.0 + 1)) }
}

/// `P`: what never changes of a run.
pub fn fixed(shard: ShardId, run: RunNumber) -> Bytes {
    let mut key = start(shard, b'P', 9);
    key.put_u64(run.0);
    key.put_u8(FIXED);
    key.freeze()
}

/// `P`: one item of a run.
pub fn item(shard: ShardId, run: RunNumber, item: &ItemKey) -> Bytes {
    let mut key = start(shard, b'P', 17);
    key.put_u64(run.0);
    match item {
        ItemKey::Activity(id) => put_item(&mut key, ACTIVITY, *id),
        ItemKey::Timer(id) => put_item(&mut key, TIMER, *id),
        ItemKey::Child(id) => put_item(&mut key, CHILD, *id),
        ItemKey::External(id) => put_item(&mut key, EXTERNAL, *id),
        ItemKey::SignalRequest(id) => {
            key.put_u8(SIGNAL_REQUEST);
            key.put_slice(id.as_bytes());
        }
        ItemKey::Buffered(row) => {
            key.put_u8(BUFFERED);
            key.put_u32(*row);
        }
        ItemKey::Properties => key.put_u8(PROPERTIES),
        ItemKey::Update(id) => {
            key.put_u8(UPDATE);
            key.put_slice(id.as_bytes());
        }
    }
    key.freeze()
}

const FIXED: u8 = 0;
const ACTIVITY: u8 = 1;
const TIMER: u8 = 2;
const CHILD: u8 = 3;
const EXTERNAL: u8 = 4;
const SIGNAL_REQUEST: u8 = 5;
const BUFFERED: u8 = 6;
const PROPERTIES: u8 = 7;
const UPDATE: u8 = 8;

/// What a `P` row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Fixed,
    Of(ItemKey),
}

/// Reads the key of a `P` row; `None` for what this version does not know.
pub fn parse_item(key: &[u8]) -> Option<Item> {
    let (kind, id) = key.get(11..)?.split_first()?;
    let number = || Some(i64::from_be_bytes(id.try_into().ok()?));
    Some(match *kind {
        FIXED => Item::Fixed,
        ACTIVITY => Item::Of(ItemKey::Activity(number()?)),
        TIMER => Item::Of(ItemKey::Timer(number()?)),
        CHILD => Item::Of(ItemKey::Child(number()?)),
        EXTERNAL => Item::Of(ItemKey::External(number()?)),
        SIGNAL_REQUEST => Item::Of(ItemKey::SignalRequest(String::from_utf8(id.to_vec()).ok()?)),
        BUFFERED => Item::Of(ItemKey::Buffered(u32::from_be_bytes(id.try_into().ok()?))),
        PROPERTIES => Item::Of(ItemKey::Properties),
        UPDATE => Item::Of(ItemKey::Update(String::from_utf8(id.to_vec()).ok()?)),
        _ => return None,
    })
}

/// A batch of events of a run.
pub fn history(shard: ShardId, run: RunNumber, first_event_id: i64) -> Bytes {
    let mut key = BytesMut::with_capacity(18);
    key.put_u16(shard.0);
    key.put_u64(run.0);
    key.put_i64(first_event_id);
    key.freeze()
}

/// All batches of a run.
pub fn history_of(shard: ShardId, run: RunNumber) -> Range {
    Range { from: history(shard, run, 0), to: history(shard, RunNumber(run.0 + 1), 0) }
}

/// Reads the first event id out of a history key.
pub fn parse_history(key: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(key.get(10..18)?.try_into().ok()?))
}

/// `W`: when a run next has to act by itself. Ordered by due time: none is before the epoch.
pub fn wake(shard: ShardId, due: Timestamp, run: RunNumber) -> Bytes {
    let mut key = start(shard, b'W', 16);
    key.put_i64(due.as_nanos().max(0));
    key.put_u64(run.0);
    key.freeze()
}

/// Reads a wake key.
pub fn parse_wake(key: &[u8]) -> Option<(Timestamp, RunNumber)> {
    let due = i64::from_be_bytes(key.get(3..11)?.try_into().ok()?);
    let run = u64::from_be_bytes(key.get(11..19)?.try_into().ok()?);
    Some((Timestamp::from_nanos(due), RunNumber(run)))
}

/// `T`: a task that waits in a queue.
pub fn task(shard: ShardId, queue: &[u8; 16], level: u8, task_id: u64) -> Bytes {
    let mut key = start(shard, b'T', 25);
    key.put_slice(queue);
    key.put_u8(level);
    key.put_u64(task_id);
    key.freeze()
}

/// `T`: the tasks of all queues from `queue` on.
pub fn tasks_from(shard: ShardId, queue: &[u8; 16]) -> Range {
    Range { from: task(shard, queue, 0, 0), to: start(shard, b'T' + 1, 0).freeze() }
}

/// `T`: the tasks of one queue behind a place in it.
pub fn tasks_after(shard: ShardId, queue: &[u8; 16], level: u8, task_id: u64) -> Range {
    Range { from: after(&task(shard, queue, level, task_id)), to: after(&task(shard, queue, u8::MAX, u64::MAX)) }
}

/// Reads a task key: queue hash, level, task id.
pub fn parse_task(key: &[u8]) -> Option<([u8; 16], u8, u64)> {
    let queue = key.get(3..19)?.try_into().ok()?;
    let task_id = u64::from_be_bytes(key.get(20..28)?.try_into().ok()?);
    Some((queue, *key.get(19)?, task_id))
}

/// `O`: an effect on its way to another execution.
pub fn outbox(shard: ShardId, run: RunNumber, number: u64) -> Bytes {
    let mut key = start(shard, b'O', 16);
    key.put_u64(run.0);
    key.put_u64(number);
    key.freeze()
}

/// Reads an outbox key.
pub fn parse_outbox(key: &[u8]) -> Option<(RunNumber, u64)> {
    let run = u64::from_be_bytes(key.get(3..11)?.try_into().ok()?);
    let number = u64::from_be_bytes(key.get(11..19)?.try_into().ok()?);
    Some((RunNumber(run), number))
}

/// `V`: a run that the visibility index has yet to hear of.
pub fn unindexed(shard: ShardId, run: RunNumber) -> Bytes {
    let mut key = start(shard, b'V', 8);
    key.put_u64(run.0);
    key.freeze()
}

/// Reads the run out of a `V` or `D` key.
pub fn parse_run(key: &[u8]) -> Option<RunNumber> {
    Some(RunNumber(u64::from_be_bytes(key.get(3..11)?.try_into().ok()?)))
}

/// `D`: a run that is frozen because one of its inputs failed again and again.
pub fn parked(shard: ShardId, run: RunNumber) -> Bytes {
    let mut key = start(shard, b'D', 8);
    key.put_u64(run.0);
    key.freeze()
}

/// `I`: what a shard remembers of itself.
pub fn shard_info(shard: ShardId) -> Bytes {
    start(shard, b'I', 0).freeze()
}

/// `N`: a namespace.
pub fn namespace(id: NamespaceId) -> Bytes {
    let mut key = start(CLUSTER, b'N', 16);
    key.put_slice(id.0.as_bytes());
    key.freeze()
}

/// All rows of one kind in a shard.
pub fn kind(shard: ShardId, kind: u8) -> Range {
    Range { from: start(shard, kind, 0).freeze(), to: start(shard, kind + 1, 0).freeze() }
}

fn start(shard: ShardId, kind: u8, rest: usize) -> BytesMut {
    let mut key = BytesMut::with_capacity(3 + rest);
    key.put_u16(shard.0);
    key.put_u8(kind);
    key
}

fn run_prefix(shard: ShardId, kind: u8, run: RunNumber) -> Bytes {
    let mut key = start(shard, kind, 8);
    key.put_u64(run.0);
    key.freeze()
}

fn put_item(key: &mut BytesMut, kind: u8, id: i64) {
    key.put_u8(kind);
    key.put_i64(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(7);
    const RUN: RunNumber = RunNumber(9);

    #[test]
    fn keys_read_back_as_they_were_written() {
        let due = Timestamp::from_millis(5);
        assert_eq!(parse_wake(&wake(SHARD, due, RUN)), Some((due, RUN)));
        assert_eq!(parse_task(&task(SHARD, &[3; 16], 4, 5)), Some(([3; 16], 4, 5)));
        assert_eq!(parse_outbox(&outbox(SHARD, RUN, 2)), Some((RUN, 2)));
        assert_eq!(parse_history(&history(SHARD, RUN, 12)), Some(12));
        assert_eq!(parse_run(&parked(SHARD, RUN)), Some(RUN));
        assert_eq!(parse_run(&unindexed(SHARD, RUN)), Some(RUN));
        let keys = [
            ItemKey::Activity(5),
            ItemKey::Timer(6),
            ItemKey::Child(7),
            ItemKey::External(8),
            ItemKey::SignalRequest("r".to_owned()),
            ItemKey::Buffered(3),
            ItemKey::Properties,
            ItemKey::Update("u".to_owned()),
        ];
        for key in keys {
            assert_eq!(parse_item(&item(SHARD, RUN, &key)), Some(Item::Of(key)));
        }
        assert_eq!(parse_item(&fixed(SHARD, RUN)), Some(Item::Fixed));
    }

    #[test]
    fn the_items_of_a_run_are_a_range_of_their_own() {
        let Range { from, to } = items(SHARD, RUN);
        let inside = |run| (from.clone()..to.clone()).contains(&fixed(SHARD, run));
        assert!(inside(RUN) && !inside(RunNumber(8)) && !inside(RunNumber(10)));
    }

    #[test]
    fn tasks_of_a_queue_are_in_order_of_level_and_age() {
        let Range { from, to } = tasks_after(SHARD, &[3; 16], 2, 10);
        let inside = |level, task_id| (from.clone()..to.clone()).contains(&task(SHARD, &[3; 16], level, task_id));
        assert!(!inside(2, 10) && inside(2, 11) && inside(5, 1) && !inside(1, 99));
        assert!(!(from..to).contains(&task(SHARD, &[4; 16], 3, 1)));
    }
}
