//! Rows of the store: any key and any value, as they lie on a disk, and values that were sealed after they were spoilt.

use bytes::Bytes;
use mainspring_api::v1::history::HistoryEvent;
use mainspring_engine::{
    effect::Effect,
    invariants,
    state::{Activity, Child, Execution, External, Fixed, Properties, RunNumber, Timer},
};
use mainspring_store::{
    ShardId, keys,
    record::{self, Current, Parked, ShardInfo, TaskRow, Unindexed},
    run,
};

/// The first byte is the length of the key, then come the key and the value.
pub(crate) fn run(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(rest.len().min(usize::from(*length)));
    read_key(key);
    let value = Bytes::copy_from_slice(value);
    read_value(key, value.clone());
    read_value(key, record::seal_parts(&[value]));
}

fn read_key(key: &[u8]) {
    keys::parse_item(key);
    keys::parse_history(key);
    keys::parse_wake(key);
    keys::parse_task(key);
    keys::parse_outbox(key);
    keys::parse_run(key);
}

fn read_value(key: &[u8], value: Bytes) {
    drop(record::open::<Current>(key, value.clone()));
    drop(record::open::<Parked>(key, value.clone()));
    drop(record::open::<Unindexed>(key, value.clone()));
    drop(record::open::<ShardInfo>(key, value.clone()));
    drop(record::open::<Effect>(key, value.clone()));
    drop(record::open::<Execution>(key, value.clone()));
    drop(record::open::<Fixed>(key, value.clone()));
    drop(record::open::<Activity>(key, value.clone()));
    drop(record::open::<Timer>(key, value.clone()));
    drop(record::open::<Child>(key, value.clone()));
    drop(record::open::<External>(key, value.clone()));
    drop(record::open::<Properties>(key, value.clone()));
    drop(record::open::<HistoryEvent>(key, value.clone()));
    drop(TaskRow::read(1, key, value.clone()));
    // As the hot row of a run, and as its only item.
    let (shard, number) = (ShardId(1), RunNumber(1));
    let fixed = (keys::fixed(shard, number), record::seal(&Fixed::default()));
    let item = (Bytes::copy_from_slice(key), value.clone());
    for (hot, items) in [(value, vec![fixed.clone()]), (record::seal(&Execution::default()), vec![fixed, item])] {
        if let Ok(read) = run::read(shard, number, Some(hot), items) {
            drop(invariants::check_run(&read));
        }
    }
}
