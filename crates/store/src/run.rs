//! A run as rows: written as far as it changed, read whole.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use mainspring_api::{ids::NamespaceId, v1::history::HistoryEvent};
use mainspring_engine::state::{
    Activity, Child, Execution, External, Fixed, ItemKey, Properties, Run, RunNumber, Timer, Update,
};

use crate::{
    Error, Op, ShardId, Table,
    keys::{self, Item},
    record::{self, Current},
};

/// Adds the rows of a run that did not exist before, but for its items.
pub fn create(ops: &mut Vec<Op>, shard: ShardId, namespace: NamespaceId, run: &Run) {
    let current = record::seal(&Current { run: run.number.0 });
    let by_id = keys::current(shard, namespace, &run.fixed.workflow_id);
    ops.push(Op::Put { table: Table::State, key: by_id, value: current.clone() });
    if let Some(run_id) = parse_run_id(&run.fixed.run_id) {
        ops.push(Op::Put { table: Table::State, key: keys::run_id(shard, namespace, run_id), value: current });
    }
    let fixed = keys::fixed(shard, run.number);
    ops.push(Op::Put { table: Table::State, key: fixed, value: record::seal(run.fixed.as_ref()) });
}

/// Adds the hot row and the items that were touched: written when the run has them, deleted when not. Returns the bytes
/// of the items written.
pub fn write(ops: &mut Vec<Op>, shard: ShardId, run: &Run, touched: &BTreeSet<ItemKey>) -> usize {
    let key = keys::execution(shard, run.number);
    ops.push(Op::Put { table: Table::State, key, value: record::seal(&run.execution) });
    let mut bytes = 0;
    for item in touched {
        let key = keys::item(shard, run.number, item);
        match encode(run, item) {
            Some(value) => {
                bytes += value.len();
                ops.push(Op::Put { table: Table::State, key, value });
            }
            None => ops.push(Op::Delete { table: Table::State, key }),
        }
    }
    bytes
}

fn encode(run: &Run, item: &ItemKey) -> Option<Bytes> {
    match item {
        ItemKey::Activity(id) => run.activities.get(id).map(|activity| record::seal(activity.as_ref())),
        ItemKey::Timer(id) => run.timers.get(id).map(|timer| record::seal(timer.as_ref())),
        ItemKey::Child(id) => run.children.get(id).map(|child| record::seal(child.as_ref())),
        ItemKey::External(id) => run.externals.get(id).map(|external| record::seal(external.as_ref())),
        ItemKey::SignalRequest(id) => run.signal_requests.contains(id).then(|| record::seal_parts(&[])),
        ItemKey::Buffered(row) => buffered(run, *row).map(record::seal),
        ItemKey::Properties => Some(record::seal(run.properties.as_ref())),
        ItemKey::Update(id) => run.updates.get(id).map(|update| record::seal(update.as_ref())),
    }
}

/// The events held back are the last of all that ever were.
fn buffered(run: &Run, row: u32) -> Option<&HistoryEvent> {
    let gone = run.execution.buffered_rows.checked_sub(u32::try_from(run.buffered.len()).ok()?)?;
    run.buffered.get(usize::try_from(row.checked_sub(gone)?).ok()?).map(Arc::as_ref)
}

/// Puts a run together from its hot row and all its items, in the order of their keys.
///
/// # Errors
/// [`Error::Corrupt`] when a row is damaged or missing.
pub fn read(
    shard: ShardId,
    number: RunNumber,
    execution: Option<Bytes>,
    items: Vec<(Bytes, Bytes)>,
) -> Result<Run, Error> {
    let missing = |what: &str| Error::Corrupt(format!("run {} of shard {shard} has no {what}", number.0));
    let execution = execution.ok_or_else(|| missing("execution row"))?;
    let execution: Execution = record::open(&keys::execution(shard, number), execution)?;
    let mut run = Run {
        number,
        fixed: Arc::default(),
        execution,
        activities: Default::default(),
        timers: Default::default(),
        children: Default::default(),
        externals: Default::default(),
        signal_requests: Arc::default(),
        buffered: Vec::new(),
        properties: Arc::default(),
        updates: Default::default(),
        admitted: Vec::new(),
    };
    let mut fixed = None;
    for (key, value) in items {
        match keys::parse_item(&key) {
            Some(Item::Fixed) => fixed = Some(record::open::<Fixed>(&key, value)?),
            Some(Item::Of(item)) => read_item(&mut run, item, &key, value)?,
            None => return Err(Error::Corrupt(format!("run {} of shard {shard} has an unknown item", number.0))),
        }
    }
    run.fixed = Arc::new(fixed.ok_or_else(|| missing("fixed part"))?);
    Ok(run)
}

fn read_item(run: &mut Run, item: ItemKey, key: &[u8], value: Bytes) -> Result<(), Error> {
    match item {
        ItemKey::Activity(id) => {
            run.activities.insert(id, Arc::new(record::open::<Activity>(key, value)?));
        }
        ItemKey::Timer(id) => {
            run.timers.insert(id, Arc::new(record::open::<Timer>(key, value)?));
        }
        ItemKey::Child(id) => {
            run.children.insert(id, Arc::new(record::open::<Child>(key, value)?));
        }
        ItemKey::External(id) => {
            run.externals.insert(id, Arc::new(record::open::<External>(key, value)?));
        }
        ItemKey::SignalRequest(id) => {
            record::unseal(key, value)?;
            Arc::make_mut(&mut run.signal_requests).insert(id);
        }
        ItemKey::Buffered(_) => run.buffered.push(Arc::new(record::open::<HistoryEvent>(key, value)?)),
        ItemKey::Update(id) => {
            run.updates.insert(id, Arc::new(record::open::<Update>(key, value)?));
        }
        ItemKey::Properties => run.properties = Arc::new(record::open::<Properties>(key, value)?),
    }
    Ok(())
}

fn parse_run_id(run_id: &str) -> Option<mainspring_api::ids::RunId> {
    uuid::Uuid::parse_str(run_id).ok().map(mainspring_api::ids::RunId)
}
