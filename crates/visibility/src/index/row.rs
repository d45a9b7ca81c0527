//! A record as a row and back.

use std::collections::BTreeMap;

use mainspring_api::{ids::NamespaceId, v1::Payload};
use mainspring_rt::Timestamp;
use prost::Message;
use rusqlite::Row;

use crate::{
    attribute::{Kind, decode, words},
    filter::{DIVISION, Value},
    record::Record,
};

use super::format::OPEN;

/// What [`read`] needs.
pub(super) const COLUMNS: &str = "id, closed, started, status, run_id, workflow_id, workflow_type, task_queue, \
     execution, version, history_length, history_bytes, state_transitions, parent_workflow_id, parent_run_id, \
     root_workflow_id, root_run_id, payloads";

/// Payloads are kept as they came, under their names.
#[derive(Clone, PartialEq, Message)]
struct Payloads {
    #[prost(btree_map = "string, message", tag = "1")]
    memo: BTreeMap<String, Payload>,
    #[prost(btree_map = "string, message", tag = "2")]
    search_attributes: BTreeMap<String, Payload>,
}

/// The record in a row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>, namespace: NamespaceId) -> rusqlite::Result<Record> {
    let closed = row.get("closed")?;
    let run_id: String = row.get("run_id")?;
    let workflow_id: String = row.get("workflow_id")?;
    let root_run_id: Option<String> = row.get("root_run_id")?;
    let root_workflow_id: Option<String> = row.get("root_workflow_id")?;
    let Payloads { memo, search_attributes } = payloads(row.get_ref("payloads")?.as_blob_or_null()?)?;
    Ok(Record {
        namespace,
        workflow_type: row.get("workflow_type")?,
        task_queue: row.get("task_queue")?,
        status: row.get("status")?,
        start_time: Timestamp::from_nanos(row.get("started")?),
        execution_time: Timestamp::from_nanos(row.get("execution")?),
        close_time: if closed == OPEN { Timestamp::ZERO } else { Timestamp::from_nanos(closed) },
        history_length: row.get("history_length")?,
        history_bytes: row.get("history_bytes")?,
        state_transitions: row.get("state_transitions")?,
        parent_workflow_id: row.get::<_, Option<String>>("parent_workflow_id")?.unwrap_or_default(),
        parent_run_id: row.get::<_, Option<String>>("parent_run_id")?.unwrap_or_default(),
        root_workflow_id: root_workflow_id.unwrap_or_else(|| workflow_id.clone()),
        root_run_id: root_run_id.unwrap_or_else(|| run_id.clone()),
        memo,
        search_attributes,
        version: row.get("version")?,
        workflow_id,
        run_id,
    })
}

/// The bytes of a record's payloads; none without any.
pub(super) fn encode_payloads(record: &Record) -> Option<Vec<u8>> {
    if record.memo.is_empty() && record.search_attributes.is_empty() {
        return None;
    }
    let payloads = Payloads { memo: record.memo.clone(), search_attributes: record.search_attributes.clone() };
    Some(payloads.encode_to_vec())
}

/// The search attributes in those bytes.
pub(super) fn decode_attributes(bytes: Option<&[u8]>) -> rusqlite::Result<BTreeMap<String, Payload>> {
    Ok(payloads(bytes)?.search_attributes)
}

fn payloads(bytes: Option<&[u8]>) -> rusqlite::Result<Payloads> {
    let damaged = |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error));
    Payloads::decode(bytes.unwrap_or_default()).map_err(damaged)
}

/// The division that hides a run.
pub(super) fn division(attributes: &BTreeMap<String, Payload>) -> Option<String> {
    match decode(attributes.get(DIVISION)?)? {
        (Kind::Keyword, values) => values.into_iter().find_map(|value| match value {
            Value::Keyword(division) => Some(division),
            _ => None,
        }),
        _ => None,
    }
}

/// One value of a search attribute as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored<'a> {
    pub name: &'a str,
    pub kind: Kind,
    pub value: rusqlite::types::Value,
}

/// The values by which a run is found.
pub(super) fn stored(attributes: &BTreeMap<String, Payload>) -> Vec<Stored<'_>> {
    let mut all = Vec::new();
    for (name, payload) in attributes {
        if name == DIVISION {
            continue;
        }
        let Some((kind, values)) = decode(payload) else { continue };
        for value in values {
            let value = match (kind, value) {
                (Kind::Text, Value::Keyword(text)) => normal(&words(&text)).into(),
                (_, value) => parameter(&value),
            };
            all.push(Stored { name, kind, value });
        }
    }
    all
}

/// A value as it is stored and bound.
pub(super) fn parameter(value: &Value) -> rusqlite::types::Value {
    match value {
        Value::Keyword(keyword) => keyword.clone().into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bool(value) => i64::from(*value).into(),
        Value::Time(at) => at.as_nanos().into(),
    }
}

/// Words as they are stored and looked for: each between blanks, so that a sequence of whole words is a part of a text.
pub(super) fn normal(words: &[String]) -> String {
    let mut text = String::from(" ");
    for word in words {
        text.push_str(word);
        text.push(' ');
    }
    text
}
