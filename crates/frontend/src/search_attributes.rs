//! Which search attributes there are, and whether a value fits its type. What passes carries its type from then on.

use std::collections::BTreeMap;

use mainspring_api::v1::{Payload, enums::IndexedValueType};
use mainspring_history::Namespace;
use serde_json::Value;

use IndexedValueType::{Bool, Datetime, Double, Int, Keyword, KeywordList, Text};

/// `frontend.searchAttributesNumberOfKeysLimit`
const COUNT_MAX: usize = 100;
/// `frontend.searchAttributesSizeOfValueLimit`
const VALUE_BYTES_MAX: usize = 2 << 10;
/// `frontend.searchAttributesTotalSizeLimit`
const TOTAL_BYTES_MAX: usize = 40 << 10;

/// The system's attributes that callers may set.
const SETTABLE: &[(&str, IndexedValueType)] = &[
    ("BatcherNamespace", Keyword),
    ("BatcherUser", Keyword),
    ("BinaryChecksums", KeywordList),
    ("BuildIds", KeywordList),
    ("TemporalChangeVersion", KeywordList),
    ("TemporalNamespaceDivision", Keyword),
    ("TemporalPauseInfo", KeywordList),
    ("TemporalReportedProblems", KeywordList),
    ("TemporalSchedulePaused", Bool),
    ("TemporalScheduledById", Keyword),
    ("TemporalScheduledStartTime", Datetime),
];

/// The system's attributes that only the server sets.
const SYSTEM: &[(&str, IndexedValueType)] = &[
    ("CloseTime", Datetime),
    ("ExecutionDuration", Int),
    ("ExecutionStatus", Keyword),
    ("ExecutionTime", Datetime),
    ("HistoryLength", Int),
    ("HistorySizeBytes", Int),
    ("ParentRunId", Keyword),
    ("ParentWorkflowId", Keyword),
    ("RootRunId", Keyword),
    ("RootWorkflowId", Keyword),
    ("RunId", Keyword),
    ("StartTime", Datetime),
    ("StateTransitionCount", Int),
    ("TaskQueue", Keyword),
    ("TemporalExternalPayloadCount", Int),
    ("TemporalExternalPayloadSizeBytes", Int),
    ("TemporalUsedWorkerDeploymentVersions", KeywordList),
    ("TemporalWorkerDeployment", Keyword),
    ("TemporalWorkerDeploymentVersion", Keyword),
    ("TemporalWorkflowVersioningBehavior", Keyword),
    ("WorkflowId", Keyword),
    ("WorkflowType", Keyword),
];

/// Names that start so are the system's, those to come as well.
const RESERVED_PREFIX: &str = "Temporal";

/// The attributes that every namespace has.
pub(crate) fn system() -> impl Iterator<Item = (&'static str, IndexedValueType)> {
    SETTABLE.iter().chain(SYSTEM).copied()
}

/// Whether no namespace may have an attribute of its own by that name.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX) || system().any(|(system, _)| system == name)
}

/// Checks what a request or command sets and marks each value with its type.
///
/// # Errors
/// The original's text.
pub(crate) fn check(namespace: &Namespace, given: &mut BTreeMap<String, Payload>) -> Result<(), String> {
    if given.len() > COUNT_MAX {
        return Err(format!("number of search attributes {} exceeds limit {COUNT_MAX}", given.len()));
    }
    let mut total = 0;
    for (name, payload) in given {
        if SYSTEM.iter().any(|(system, _)| system == name) {
            return Err(format!("{name} attribute can't be set in SearchAttributes"));
        }
        let Some(kind) = kind_of(namespace, name) else {
            let namespace = &namespace.name;
            return Err(format!("Namespace {namespace} has no mapping defined for search attribute {name}"));
        };
        check_value(name, kind, payload)?;
        let size = payload.data().len();
        if size > VALUE_BYTES_MAX {
            return Err(format!("search attribute {name} value size {size} exceeds size limit {VALUE_BYTES_MAX}"));
        }
        total += name.len() + size;
        *payload = payload.with_metadata("type", type_name(kind).as_bytes());
    }
    if total > TOTAL_BYTES_MAX {
        return Err(format!("total size of search attributes {total} exceeds size limit {TOTAL_BYTES_MAX}"));
    }
    Ok(())
}

fn kind_of(namespace: &Namespace, name: &str) -> Option<IndexedValueType> {
    let system = SETTABLE.iter().find(|(settable, _)| *settable == name).map(|(_, kind)| *kind);
    system.or_else(|| IndexedValueType::try_from(*namespace.search_attributes.get(name)?).ok())
}

fn check_value(name: &str, kind: IndexedValueType, payload: &Payload) -> Result<(), String> {
    let fits = match serde_json::from_slice::<Value>(&payload.data()) {
        _ if payload.is_empty_value() => true,
        Ok(value) => fits(kind, &value),
        Err(_) => false,
    };
    if fits {
        return Ok(());
    }
    let value = shown(payload);
    Err(format!("invalid value for search attribute {name} of type {}: {value}", type_name(kind)))
}

/// Older SDKs send every value as a list, so one of fitting values fits.
fn fits(kind: IndexedValueType, value: &Value) -> bool {
    match (kind, value) {
        (KeywordList, Value::Array(values)) => values.iter().all(Value::is_string),
        (KeywordList, _) => false,
        (_, Value::Array(values)) => values.iter().all(|value| fits(kind, value)),
        (Text | Keyword, value) => value.is_string(),
        (Int, value) => value.is_i64(),
        (Double, value) => value.is_number(),
        (Bool, value) => value.is_boolean(),
        (Datetime, value) => value.as_str().is_some_and(is_datetime),
        (IndexedValueType::Unspecified, _) => false,
    }
}

/// RFC 3339, such as `2026-01-31T12:00:00.5Z`: the form, not the calendar.
fn is_datetime(text: &str) -> bool {
    let Some((date_and_time, rest)) = text.split_at_checked(19) else { return false };
    let form = date_and_time.bytes().zip(b"0000-00-00T00:00:00").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    });
    let zone = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let is_offset = |zone: &str| {
        zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone.bytes().skip(1).zip(b"00:00").all(|(byte, form)| (*form == b':') == (byte == b':'))
    };
    form && (zone == "Z" || is_offset(zone))
}

/// As the original shows it: a string bare, other JSON as it came, anything else as numbers.
fn shown(payload: &Payload) -> String {
    let data = payload.data();
    match serde_json::from_slice::<Value>(&data) {
        Ok(Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(_) => format!("[{}]", data.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")),
    }
}

/// The type as values carry it in their metadata.
pub(crate) fn type_name(kind: IndexedValueType) -> &'static str {
    match kind {
        IndexedValueType::Unspecified => "Unspecified",
        Text => "Text",
        Keyword => "Keyword",
        Int => "Int",
        Double => "Double",
        Bool => "Bool",
        Datetime => "Datetime",
        KeywordList => "KeywordList",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainspring_api::ids::NamespaceId;
    use mainspring_rt::Timestamp;

    use super::*;

    fn checked(name: &str, json: &str) -> Result<Payload, String> {
        let namespace = Namespace {
            id: NamespaceId(uuid::Uuid::nil()),
            name: "default".to_owned(),
            state: 1,
            description: String::new(),
            owner_email: String::new(),
            retention: Duration::ZERO,
            data: BTreeMap::new(),
            search_attributes: [("City".to_owned(), Keyword as i32), ("Size".to_owned(), Int as i32)].into(),
            created_at: Timestamp::ZERO,
        };
        let mut given = BTreeMap::from([(name.to_owned(), Payload::new("json/plain", json.as_bytes()))]);
        check(&namespace, &mut given)?;
        Ok(given.remove(name).unwrap())
    }

    #[test]
    fn what_fits_carries_its_type() {
        assert_eq!(checked("City", "\"Bern\"").unwrap().metadata("type").unwrap(), "Keyword");
        assert_eq!(checked("Size", "3").unwrap().metadata("type").unwrap(), "Int");
        assert!(checked("BuildIds", "[\"a\",\"b\"]").is_ok());
        assert!(checked("Size", "null").is_ok(), "null removes");
        assert!(checked("City", "[\"Bern\"]").is_ok(), "the old form");
        assert!(checked("TemporalScheduledStartTime", "\"2026-01-31T12:00:00.25+01:00\"").is_ok());
    }

    #[test]
    fn texts_are_the_originals() {
        let text = |name, json| checked(name, json).unwrap_err();
        assert_eq!(text("X", "1"), "Namespace default has no mapping defined for search attribute X");
        assert_eq!(text("WorkflowId", "\"a\""), "WorkflowId attribute can't be set in SearchAttributes");
        assert_eq!(text("BuildIds", "1"), "invalid value for search attribute BuildIds of type KeywordList: 1");
        assert_eq!(text("BuildIds", "\"a\""), "invalid value for search attribute BuildIds of type KeywordList: a");
        let datetime = "invalid value for search attribute TemporalScheduledStartTime of type Datetime: a";
        assert_eq!(text("TemporalScheduledStartTime", "\"a\""), datetime);
        assert_eq!(text("Size", "\u{7f}"), "invalid value for search attribute Size of type Int: [127]");
    }
}
