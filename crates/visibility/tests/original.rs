//! What filters find, compared with the running original (version 1.32.0 with its SQLite store): the same workflows, the
//! same questions, its answers.
//!
//! Left out are its faults, in which we follow its other stores or plain sense: prefixes and KeywordLists that ignore
//! case, times that are not equal to themselves, quotes that break a search, letters that lose their accents.

use std::collections::{BTreeMap, BTreeSet};

use mainspring_api::{ids::NamespaceId, v1::Payload};
use mainspring_rt::Timestamp;
use mainspring_visibility::{Change, Filter, Index, Kind, Record};
use uuid::Uuid;

const NAMESPACE: NamespaceId = NamespaceId(Uuid::from_u128(7));

/// Workflow id, and a search attribute with its value.
const WORKFLOWS: &[(&str, &str, &str)] = &[
    ("none", "", ""),
    ("k-a", "CustK", r#""a""#),
    ("k-A", "CustK", r#""A""#),
    ("k-b", "CustK", r#""b""#),
    ("k-empty", "CustK", r#""""#),
    ("k-pct", "CustK", r#""a%b_c!d""#),
    ("k-quote", "CustK", r#""it's \"q\" \\ back""#),
    ("k-uni", "CustK", r#""É""#),
    ("t-hello", "CustT", r#""Hello big World""#),
    ("t-punct", "CustT", r#""foo-bar, baz.qux_quux""#),
    ("t-uni", "CustT", r#""café Straße""#),
    ("t-email", "CustT", r#""john@x.com""#),
    ("t-empty", "CustT", r#""""#),
    ("i-5", "CustI", "5"),
    ("i-neg", "CustI", "-5"),
    ("i-0", "CustI", "0"),
    ("d-1.5", "CustD", "1.5"),
    ("d-2", "CustD", "2"),
    ("b-t", "CustB", "true"),
    ("b-f", "CustB", "false"),
    ("dt-2024", "CustDT", r#""2024-01-01T00:00:00Z""#),
    ("dt-us", "CustDT", r#""2024-01-01T00:00:00.123456Z""#),
    ("kl-ab", "CustKL", r#"["a","b"]"#),
    ("kl-AB", "CustKL", r#"["A B","c"]"#),
    ("kl-one", "CustKL", r#"["x'y\"z"]"#),
    ("kl-empty", "CustKL", r#"["","e"]"#),
    ("WF-Case", "", ""),
];

/// The terminated ones.
const CLOSED: &[&str] = &["k-a", "k-b", "i-5"];

/// What the original finds, in the order of names.
const FOUND: &[(&str, &str)] = &[
    ("CustK = 'a'", "k-a"),
    ("CustK != 'a'", "k-A k-b k-empty k-pct k-quote k-uni"),
    ("CustK IN ('a','b')", "k-a k-b"),
    ("CustK NOT IN ('a','b')", "k-A k-empty k-pct k-quote k-uni"),
    ("NOT CustK = 'a'", "k-A k-b k-empty k-pct k-quote k-uni"),
    ("NOT (CustK = 'a' OR CustI = 5)", ""),
    ("CustK < 'b'", "k-A k-a k-empty k-pct"),
    ("CustK >= 'a'", "k-a k-b k-pct k-quote k-uni"),
    ("CustK = ''", "k-empty"),
    ("CustK STARTS_WITH 'a%'", "k-pct"),
    ("CustK STARTS_WITH ''", "k-A k-a k-b k-empty k-pct k-quote k-uni"),
    ("CustK = 'é'", ""),
    ("CustK STARTS_WITH 'é'", ""),
    ("CustK STARTS_WITH 'É'", "k-uni"),
    ("CustK BETWEEN 'A' AND 'a'", "k-A k-a"),
    ("CustK NOT BETWEEN 'A' AND 'a'", "k-b k-empty k-pct k-quote k-uni"),
    (
        "CustK IS NULL AND CustI IS NULL AND CustT IS NULL",
        "WF-Case b-f b-t d-1.5 d-2 dt-2024 dt-us kl-AB kl-ab kl-empty kl-one none",
    ),
    ("CustT = 'hello'", "t-hello"),
    ("CustT = 'HELLO'", "t-hello"),
    ("CustT = 'hello nothing'", "t-hello"),
    ("CustT = 'big world'", "t-hello"),
    ("CustT = 'hel'", ""),
    ("CustT = 'hel*'", ""),
    ("CustT != 'hello'", "all but t-hello"),
    ("CustT = 'foo'", "t-punct"),
    ("CustT = 'foo-bar'", "t-punct"),
    ("CustT = 'foo-baz'", ""),
    ("CustT = 'bar'", "t-punct"),
    ("CustT = 'baz.qux_quux'", "t-punct"),
    ("CustT = 'quux'", "t-punct"),
    ("CustT = 'qux_quux'", "t-punct"),
    ("CustT = 'CAFÉ'", "t-uni"),
    ("CustT = 'straße'", "t-uni"),
    ("CustT = 'john'", "t-email"),
    ("CustT = 'john@x.com'", "t-email"),
    ("CustT = '-'", ""),
    ("CustT = 'bar-foo'", ""),
    ("CustT IS NULL", "all but t-email t-empty t-hello t-punct t-uni"),
    ("CustT = \"it's\"", ""),
    ("CustI = 5", "i-5"),
    ("CustI = 5.0", "i-5"),
    ("CustI = 5.5", ""),
    ("CustI > 4.5", "i-5"),
    ("CustI != 5", "i-0 i-neg"),
    ("CustI BETWEEN -5 AND 0", "i-0 i-neg"),
    ("CustI = 99999999999999999999", ""),
    ("CustD = 1.5", "d-1.5"),
    ("CustD = 2", "d-2"),
    ("CustD > 1", "d-1.5 d-2"),
    ("CustB = true", "b-t"),
    ("CustB != true", "b-f"),
    ("CustB > false", "b-t"),
    ("CustB IN (true, false)", "b-f b-t"),
    ("CustKL = 'a'", "kl-ab"),
    ("CustKL = 'A B'", "kl-AB"),
    ("CustKL = 'c'", "kl-AB"),
    ("CustKL = 'ab'", ""),
    ("CustKL != 'a'", "all but kl-ab"),
    ("CustKL IN ('a','c')", "kl-AB kl-ab"),
    ("CustKL NOT IN ('a','c')", "all but kl-AB kl-ab"),
    ("CustKL IS NULL AND CustI = 5", "i-5"),
    ("NOT CustKL = 'a'", "all but kl-ab"),
    ("NOT CustKL IS NULL", "kl-AB kl-ab kl-empty kl-one"),
    ("CloseTime IS NULL AND WorkflowId = 'k-A'", "k-A"),
    ("CloseTime IS NOT NULL", "i-5 k-a k-b"),
    ("CloseTime > '2024-01-01T00:00:00Z'", "i-5 k-a k-b"),
    ("NOT CloseTime > '2024-01-01T00:00:00Z'", ""),
    ("CloseTime = '9999-12-31T23:59:59Z'", ""),
    ("CloseTime < '9999-12-31T23:59:59Z'", "i-5 k-a k-b"),
    ("ExecutionStatus = 'Terminated'", "i-5 k-a k-b"),
    ("ExecutionStatus < 3", "all but i-5 k-a k-b"),
    ("ExecutionStatus > 'Completed'", "i-5 k-a k-b"),
    ("ExecutionStatus != 'Running'", "i-5 k-a k-b"),
    ("ExecutionStatus IS NULL", ""),
    ("ExecutionDuration > 0", "i-5 k-a k-b"),
    ("ExecutionDuration IS NULL AND WorkflowId='k-A'", "k-A"),
    ("HistoryLength > 0", "i-5 k-a k-b"),
    ("HistoryLength IS NULL AND WorkflowId='k-A'", "k-A"),
    ("HistorySizeBytes > 0", "i-5 k-a k-b"),
    ("StateTransitionCount > 0", "i-5 k-a k-b"),
    ("StateTransitionCount IS NULL AND WorkflowId='k-A'", "k-A"),
    ("WorkflowType = 'Type2'", "WF-Case"),
    ("WorkflowType = 'type2'", ""),
    ("ParentWorkflowId IS NULL AND WorkflowId='k-A'", "k-A"),
    ("ParentWorkflowId = ''", ""),
    ("ParentRunId = ''", ""),
    ("RootWorkflowId = 'k-A'", "k-A"),
    ("RootRunId IS NULL", ""),
    ("BuildIds IS NULL AND WorkflowId = 'k-A'", "k-A"),
    ("TemporalNamespaceDivision = 'x'", ""),
    ("TemporalNamespaceDivision IS NULL", "all"),
    ("CustK = 'a' OR CustI = 5 AND CustK = 'zzz'", "k-a"),
    ("(CustK = 'a' OR CustI = 5) AND CustK = 'zzz'", ""),
    ("NOT CustI = 5 AND WorkflowId = 'i-0'", "i-0"),
    ("NOT CustI = 5", "i-0 i-neg"),
    ("CustI NOT BETWEEN 0 AND 4", "i-5 i-neg"),
    ("CustI NOT IN (5)", "i-0 i-neg"),
    ("CustD IN (1.5, 2)", "d-1.5 d-2"),
    ("ScheduleId = 'k-a'", "k-a"),
    ("StartTime > 5", "all"),
    ("WorkflowId = 'k-a' OR TemporalNamespaceDivision = 'x'", "k-a"),
    ("CustK IN ('a')", "k-a"),
    ("CustT = 'big nothing' AND NOT CustT = 'punct'", "t-hello"),
    ("NOT (CustI > 0 AND CustK = 'a')", "i-0 i-neg k-A k-b k-empty k-pct k-quote k-uni"),
    ("NOT (CustI > 0 OR CustKL = 'a')", "i-0 i-neg"),
    ("NOT CustT = 'hello' AND CustT IS NOT NULL", "t-email t-empty t-punct t-uni"),
    ("CustB = false OR CustB = true", "b-f b-t"),
    ("CustI < 0.5", "i-0 i-neg"),
    ("ExecutionDuration >= '0s' AND ExecutionDuration < '1h'", "i-5 k-a k-b"),
];

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "CustK" => Kind::Keyword,
        "CustT" => Kind::Text,
        "CustI" => Kind::Int,
        "CustD" => Kind::Double,
        "CustB" => Kind::Bool,
        "CustDT" => Kind::Datetime,
        "CustKL" => Kind::KeywordList,
        _ => return None,
    })
}

fn record(workflow_id: &str, attribute: &str, json: &str) -> Record {
    let start_time = Timestamp::from_millis(1_795_502_254_000);
    let closed = CLOSED.contains(&workflow_id);
    let value = |kind: Kind| Payload::new("json/plain", json.as_bytes()).with_metadata("type", kind.name().as_bytes());
    Record {
        namespace: NAMESPACE,
        workflow_id: workflow_id.to_owned(),
        run_id: format!("run of {workflow_id}"),
        workflow_type: if workflow_id == "WF-Case" { "Type2" } else { "T" }.to_owned(),
        task_queue: "q".to_owned(),
        status: if closed { 5 } else { 1 },
        start_time,
        execution_time: start_time,
        close_time: if closed { Timestamp::from_millis(1_795_502_254_400) } else { Timestamp::ZERO },
        history_length: 3,
        history_bytes: 308,
        state_transitions: 2,
        parent_workflow_id: String::new(),
        parent_run_id: String::new(),
        root_workflow_id: String::new(),
        root_run_id: String::new(),
        memo: BTreeMap::new(),
        search_attributes: kind(attribute).map(|kind| (attribute.to_owned(), value(kind))).into_iter().collect(),
        version: 1,
    }
}

#[test]
fn filters_find_what_the_original_finds() {
    let mut index = Index::memory().unwrap();
    let changes = WORKFLOWS.iter().map(|(id, attribute, json)| Change::Upsert(record(id, attribute, json)));
    index.apply(&changes.collect::<Vec<_>>()).unwrap();
    let all: BTreeSet<_> = WORKFLOWS.iter().map(|(id, ..)| *id).collect();
    for (text, expected) in FOUND {
        let expected = match expected.strip_prefix("all") {
            Some(but) => all.iter().filter(|id| !but.split(' ').any(|out| out == **id)).copied().collect(),
            None => expected.split_terminator(' ').collect::<BTreeSet<_>>(),
        };
        let filter = Filter::parse(text, &kind).unwrap();
        let page = index.list(NAMESPACE, &filter, 100, b"").unwrap();
        let found: BTreeSet<_> = page.records.iter().map(|record| record.workflow_id.as_str()).collect();
        assert_eq!(found, expected, "{text}");
        assert_eq!(index.count(NAMESPACE, &filter).unwrap().total, i64::try_from(found.len()).unwrap(), "{text}");
    }
}
