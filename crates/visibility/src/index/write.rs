//! Changes of the index, inside a transaction.

use std::collections::BTreeMap;

use mainspring_api::{ids::NamespaceId, v1::Payload};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    attribute::Kind,
    record::{Change, Record},
};

use super::{
    format::OPEN,
    row::{self, Stored},
};

const INSERT: &str = "
    INSERT INTO run (namespace, closed, started, status, division, run_id, workflow_id, workflow_type, task_queue,
        execution, version, history_length, history_bytes, state_transitions, parent_workflow_id, parent_run_id,
        root_workflow_id, root_run_id, payloads)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
    ON CONFLICT (namespace, run_id) DO NOTHING";

/// Without the columns that never change: their indexes then need no work.
const UPDATE: &str = "
    UPDATE run SET closed = ?2, status = ?3, division = ?4, task_queue = ?5, execution = ?6, version = ?7,
        history_length = ?8, history_bytes = ?9, state_transitions = ?10, parent_workflow_id = ?11, parent_run_id = ?12,
        root_workflow_id = ?13, root_run_id = ?14, payloads = ?15
    WHERE id = ?1";

/// The numbers that stand for namespaces and search attributes in rows; those in use, as they are in the file.
#[derive(Default)]
pub(super) struct Names {
    namespaces: BTreeMap<NamespaceId, i64>,
    attributes: BTreeMap<(i64, Kind), BTreeMap<String, i64>>,
}

impl Names {
    fn namespace(&mut self, connection: &Connection, namespace: NamespaceId) -> rusqlite::Result<i64> {
        if let Some(id) = self.namespaces.get(&namespace) {
            return Ok(*id);
        }
        let uuid = &namespace.0.as_bytes()[..];
        connection.prepare_cached("INSERT OR IGNORE INTO namespace (uuid) VALUES (?1)")?.execute([uuid])?;
        let mut select = connection.prepare_cached("SELECT id FROM namespace WHERE uuid = ?1")?;
        let id = select.query_row([uuid], |row| row.get(0))?;
        self.namespaces.insert(namespace, id);
        Ok(id)
    }

    fn attribute(&mut self, connection: &Connection, namespace: i64, stored: &Stored<'_>) -> rusqlite::Result<i64> {
        let known = self.attributes.entry((namespace, stored.kind)).or_default();
        if let Some(id) = known.get(stored.name) {
            return Ok(*id);
        }
        let parameters = params![namespace, stored.name, stored.kind.wire() as i32];
        let insert = "INSERT OR IGNORE INTO attribute (namespace, name, kind) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(insert)?.execute(parameters)?;
        let select = "SELECT id FROM attribute WHERE namespace = ?1 AND name = ?2 AND kind = ?3";
        let id = connection.prepare_cached(select)?.query_row(parameters, |row| row.get(0))?;
        known.insert(stored.name.to_owned(), id);
        Ok(id)
    }
}

/// Makes the changes.
pub(super) fn apply(connection: &Connection, names: &mut Names, changes: &[Change]) -> rusqlite::Result<()> {
    for (run, last) in last_of_each(changes) {
        let namespace = names.namespace(connection, run.namespace)?;
        if last.deleted {
            delete(connection, names, namespace, run.run_id)?;
        }
        if let Some(record) = last.record {
            upsert(connection, names, namespace, record)?;
        }
    }
    for change in changes {
        if let Change::Position { name, value } = change {
            let upsert = "INSERT INTO position (name, value) VALUES (?1, ?2)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            connection.prepare_cached(upsert)?.execute(params![name, value])?;
        }
    }
    Ok(())
}

/// Deletes some runs of a namespace; after the last, what was remembered of its search attributes.
pub(super) fn delete_namespace(
    connection: &Connection,
    names: &mut Names,
    namespace: NamespaceId,
    limit: usize,
) -> rusqlite::Result<usize> {
    let id = names.namespace(connection, namespace)?;
    let mut select = connection.prepare_cached("SELECT run_id FROM run WHERE namespace = ?1 LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let runs: Vec<String> = select.query_map([id, limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for run_id in &runs {
        delete(connection, names, id, run_id)?;
    }
    if runs.is_empty() {
        connection.prepare_cached("DELETE FROM attribute WHERE namespace = ?1")?.execute([id])?;
        connection.prepare_cached("DELETE FROM namespace WHERE id = ?1")?.execute([id])?;
        *names = Names::default();
    }
    Ok(runs.len())
}

/// The key of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RunKey<'a> {
    namespace: NamespaceId,
    run_id: &'a str,
}

/// What a batch comes to for one run.
#[derive(Clone, Copy, Default)]
struct Last<'a> {
    /// Deleted before `record`, if there is one.
    deleted: bool,
    record: Option<&'a Record>,
}

/// The runs of a batch in the order in which they first come.
fn last_of_each(changes: &[Change]) -> Vec<(RunKey<'_>, Last<'_>)> {
    let mut runs: Vec<(RunKey<'_>, Last<'_>)> = Vec::with_capacity(changes.len());
    let mut places = BTreeMap::new();
    for change in changes {
        let key = match change {
            Change::Upsert(record) => RunKey { namespace: record.namespace, run_id: &record.run_id },
            Change::Delete { namespace, run_id } => RunKey { namespace: *namespace, run_id },
            Change::Position { .. } => continue,
        };
        let place = *places.entry(key).or_insert_with(|| {
            runs.push((key, Last::default()));
            runs.len() - 1
        });
        let last = &mut runs[place].1;
        match change {
            Change::Upsert(record) if last.record.is_none_or(|known| known.version <= record.version) => {
                last.record = Some(record);
            }
            Change::Delete { .. } => *last = Last { deleted: true, record: None },
            Change::Upsert(_) | Change::Position { .. } => {}
        }
    }
    runs
}

/// The columns of a record that are not taken as they are.
struct Columns<'a> {
    closed: i64,
    division: Option<String>,
    parent_workflow_id: Option<&'a str>,
    parent_run_id: Option<&'a str>,
    root_workflow_id: Option<&'a str>,
    root_run_id: Option<&'a str>,
    payloads: Option<Vec<u8>>,
}

impl Columns<'_> {
    fn of(record: &Record) -> Columns<'_> {
        let foreign_root = !record.is_root();
        Columns {
            closed: if record.is_open() { OPEN } else { record.close_time.as_nanos() },
            division: row::division(&record.search_attributes),
            parent_workflow_id: filled(&record.parent_workflow_id),
            parent_run_id: filled(&record.parent_run_id),
            root_workflow_id: foreign_root.then_some(&record.root_workflow_id),
            root_run_id: foreign_root.then_some(&record.root_run_id),
            payloads: row::encode_payloads(record),
        }
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn upsert(connection: &Connection, names: &mut Names, namespace: i64, record: &Record) -> rusqlite::Result<()> {
    let columns = Columns::of(record);
    // Most runs are written once: asking whether it is there comes after trying.
    if insert(connection, namespace, record, &columns)? {
        let run = connection.last_insert_rowid();
        return put_values(connection, names, namespace, run, &row::stored(&record.search_attributes));
    }
    let Some(old) = find(connection, namespace, &record.run_id)? else { return Ok(()) };
    if old.version > record.version {
        return Ok(());
    }
    update(connection, old.id, record, &columns)?;
    let (had, has) = (row::stored(&old.attributes), row::stored(&record.search_attributes));
    let gone: Vec<_> = had.iter().filter(|value| !has.contains(value)).cloned().collect();
    let new: Vec<_> = has.iter().filter(|value| !had.contains(value)).cloned().collect();
    delete_values(connection, names, namespace, old.id, &gone)?;
    put_values(connection, names, namespace, old.id, &new)
}

/// False if the run is there.
fn insert(connection: &Connection, namespace: i64, record: &Record, columns: &Columns<'_>) -> rusqlite::Result<bool> {
    let inserted = connection.prepare_cached(INSERT)?.execute(params![
        namespace,
        columns.closed,
        record.start_time.as_nanos(),
        record.status,
        columns.division,
        record.run_id,
        record.workflow_id,
        record.workflow_type,
        record.task_queue,
        record.execution_time.as_nanos(),
        record.version,
        record.history_length,
        record.history_bytes,
        record.state_transitions,
        columns.parent_workflow_id,
        columns.parent_run_id,
        columns.root_workflow_id,
        columns.root_run_id,
        columns.payloads,
    ])?;
    Ok(inserted == 1)
}

fn update(connection: &Connection, id: i64, record: &Record, columns: &Columns<'_>) -> rusqlite::Result<()> {
    connection.prepare_cached(UPDATE)?.execute(params![
        id,
        columns.closed,
        record.status,
        columns.division,
        record.task_queue,
        record.execution_time.as_nanos(),
        record.version,
        record.history_length,
        record.history_bytes,
        record.state_transitions,
        columns.parent_workflow_id,
        columns.parent_run_id,
        columns.root_workflow_id,
        columns.root_run_id,
        columns.payloads,
    ])?;
    Ok(())
}

/// A run as the index has it.
struct Known {
    id: i64,
    version: i64,
    attributes: BTreeMap<String, Payload>,
}

fn find(connection: &Connection, namespace: i64, run_id: &str) -> rusqlite::Result<Option<Known>> {
    let select = "SELECT id, version, payloads FROM run WHERE namespace = ?1 AND run_id = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        let attributes = row::decode_attributes(row.get_ref(2)?.as_blob_or_null()?)?;
        Ok(Known { id: row.get(0)?, version: row.get(1)?, attributes })
    };
    connection.prepare_cached(select)?.query_row(params![namespace, run_id], read).optional()
}

fn delete(connection: &Connection, names: &mut Names, namespace: i64, run_id: &str) -> rusqlite::Result<()> {
    let Some(known) = find(connection, namespace, run_id)? else { return Ok(()) };
    delete_values(connection, names, namespace, known.id, &row::stored(&known.attributes))?;
    connection.prepare_cached("DELETE FROM run WHERE id = ?1")?.execute([known.id])?;
    Ok(())
}

fn put_values(
    connection: &Connection,
    names: &mut Names,
    namespace: i64,
    run: i64,
    values: &[Stored<'_>],
) -> rusqlite::Result<()> {
    for stored in values {
        let attribute = names.attribute(connection, namespace, stored)?;
        let insert = "INSERT OR IGNORE INTO value (attribute, value, run) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(insert)?.execute(params![attribute, stored.value, run])?;
    }
    Ok(())
}

fn delete_values(
    connection: &Connection,
    names: &mut Names,
    namespace: i64,
    run: i64,
    values: &[Stored<'_>],
) -> rusqlite::Result<()> {
    for stored in values {
        let attribute = names.attribute(connection, namespace, stored)?;
        let delete = "DELETE FROM value WHERE attribute = ?1 AND value = ?2 AND run = ?3";
        connection.prepare_cached(delete)?.execute(params![attribute, stored.value, run])?;
    }
    Ok(())
}
