//! What the index promises beyond its answers: versions, pages, transactions, files. The answers are checked in
//! `tests/model.rs`.

use std::collections::BTreeMap;

use mainspring_rt::Timestamp;
use rusqlite::params_from_iter;
use uuid::Uuid;

use super::*;

const NAMESPACE: NamespaceId = NamespaceId(Uuid::from_u128(7));

/// Run `number`, started at that second; closed a second later unless `status` is open.
fn record(number: i64, status: i32) -> Record {
    let start_time = Timestamp::from_millis(number * 1000);
    let open = status == 1 || status == 8;
    Record {
        namespace: NAMESPACE,
        workflow_id: format!("w{number}"),
        run_id: format!("r{number}"),
        workflow_type: "T".to_owned(),
        task_queue: "q".to_owned(),
        status,
        start_time,
        execution_time: start_time,
        close_time: if open { Timestamp::ZERO } else { Timestamp::from_millis(number * 1000 + 1000) },
        history_length: 5,
        history_bytes: 600,
        state_transitions: 3,
        parent_workflow_id: String::new(),
        parent_run_id: String::new(),
        root_workflow_id: format!("w{number}"),
        root_run_id: format!("r{number}"),
        memo: BTreeMap::from([("note".to_owned(), Payload::new("json/plain", b"1"))]),
        search_attributes: BTreeMap::new(),
        version: 1,
    }
}

fn tagged(number: i64, city: &str) -> Record {
    let city = Payload::new("json/plain", format!("\"{city}\"").as_bytes()).with_metadata("type", b"Keyword");
    Record { search_attributes: [("City".to_owned(), city)].into(), ..record(number, 2) }
}

fn upserts(records: impl IntoIterator<Item = Record>) -> Vec<Change> {
    records.into_iter().map(Change::Upsert).collect()
}

fn filter(text: &str) -> Filter {
    Filter::parse(text, &|name| (name == "City").then_some(Kind::Keyword)).unwrap()
}

fn workflow_ids(index: &Index, text: &str) -> Vec<String> {
    let page = index.list(NAMESPACE, &filter(text), 1000, b"").unwrap();
    page.records.into_iter().map(|record| record.workflow_id).collect()
}

#[test]
fn a_record_comes_back_as_it_was_given() {
    let mut index = Index::memory().unwrap();
    let child = Record {
        parent_workflow_id: "p".to_owned(),
        parent_run_id: "pr".to_owned(),
        root_workflow_id: "root".to_owned(),
        root_run_id: "rr".to_owned(),
        ..tagged(1, "Bern")
    };
    index.apply(&upserts([child.clone(), record(2, 1)])).unwrap();
    let page = index.list(NAMESPACE, &filter(""), 10, b"").unwrap();
    assert_eq!(page, Page { records: vec![record(2, 1), child], next_page_token: Vec::new() });
    assert_eq!(index.list(NamespaceId(Uuid::nil()), &filter(""), 10, b"").unwrap(), Page::default());
}

#[test]
fn a_stale_version_changes_nothing() {
    let mut index = Index::memory().unwrap();
    let closed = Record { version: 5, ..tagged(1, "Bern") };
    index.apply(&upserts([closed.clone()])).unwrap();
    index.apply(&upserts([Record { version: 4, ..record(1, 1) }])).unwrap();
    assert_eq!(
        index.list(NAMESPACE, &filter("City = 'Bern'"), 10, b"").unwrap().records,
        std::slice::from_ref(&closed)
    );
    // The same once more, and a newer one.
    index.apply(&upserts([closed])).unwrap();
    index.apply(&upserts([Record { version: 6, ..tagged(1, "Basel") }])).unwrap();
    assert_eq!(workflow_ids(&index, "City = 'Bern'"), [""; 0]);
    assert_eq!(workflow_ids(&index, "City = 'Basel'"), ["w1"]);
}

#[test]
fn a_batch_is_its_last_word_on_each_run() {
    let mut index = Index::memory().unwrap();
    let gone = |number: i64| Change::Delete { namespace: NAMESPACE, run_id: format!("r{number}") };
    let of = |number: i64, version: i64, city: &str| Change::Upsert(Record { version, ..tagged(number, city) });
    index.apply(&[of(1, 9, "Old"), of(2, 9, "Old")]).unwrap();
    // Deleted and back with a lower version; twice, the later one older; and gone in the end.
    let changes = [gone(1), of(1, 1, "New"), of(3, 2, "Newer"), of(3, 1, "Older"), of(2, 10, "New"), gone(2), gone(4)];
    index.apply(&changes).unwrap();
    assert_eq!(workflow_ids(&index, ""), ["w3", "w1"]);
    assert_eq!(workflow_ids(&index, "City = 'New'"), ["w1"]);
    assert_eq!(workflow_ids(&index, "City = 'Newer'"), ["w3"]);
}

#[test]
fn open_runs_come_first_then_the_last_closed() {
    let mut index = Index::memory().unwrap();
    index.apply(&upserts([record(1, 1), record(2, 2), record(3, 8), record(4, 3)])).unwrap();
    assert_eq!(workflow_ids(&index, ""), ["w3", "w1", "w4", "w2"]);
}

#[test]
fn pages_stay_in_step_while_runs_come_close_and_go() {
    let mut index = Index::memory().unwrap();
    index.apply(&upserts((1..=30).map(|number| record(number, 2)))).unwrap();
    let mut seen = Vec::new();
    let mut token = Vec::new();
    for turn in 0.. {
        let page = index.list(NAMESPACE, &filter(""), 4, &token).unwrap();
        seen.extend(page.records.into_iter().map(|record| record.workflow_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // A run starts, another closes, and one already seen is deleted.
        let deleted = Change::Delete { namespace: NAMESPACE, run_id: format!("r{}", 30 - turn) };
        index.apply(&[Change::Upsert(record(100 + turn, 1)), Change::Upsert(record(200 + turn, 2)), deleted]).unwrap();
    }
    let expected: Vec<_> = (1..=30).rev().map(|number| format!("w{number}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn tokens_that_are_none_are_refused() {
    let mut index = Index::memory().unwrap();
    index.apply(&upserts((1..=3).map(|number| record(number, 2)))).unwrap();
    let mut token = index.list(NAMESPACE, &filter(""), 2, b"").unwrap().next_page_token;
    assert!(!token.is_empty());
    assert_eq!(index.list(NAMESPACE, &filter(""), 3, b"").unwrap().next_page_token, b"", "the last page has none");
    token[3] ^= 1;
    assert_eq!(index.list(NAMESPACE, &filter(""), 2, &token), Err(Error::Token));
    assert_eq!(index.list(NAMESPACE, &filter(""), 2, b"{}"), Err(Error::Token));
}

#[test]
fn divisions_are_hidden_unless_they_are_named() {
    let mut index = Index::memory().unwrap();
    let division = Payload::new("json/plain", b"\"Scheduler\"").with_metadata("type", b"Keyword");
    let hidden = Record { search_attributes: [(crate::filter::DIVISION.to_owned(), division)].into(), ..record(1, 1) };
    index.apply(&upserts([hidden, record(2, 1)])).unwrap();
    assert_eq!(workflow_ids(&index, ""), ["w2"]);
    assert_eq!(workflow_ids(&index, "WorkflowId = 'w1'"), [""; 0]);
    assert_eq!(workflow_ids(&index, "TemporalNamespaceDivision = 'Scheduler'"), ["w1"]);
    assert_eq!(workflow_ids(&index, "WorkflowId != 'w2' OR TemporalNamespaceDivision IS NOT NULL"), ["w1"]);
    assert_eq!(index.count(NAMESPACE, &filter("")).unwrap().total, 1);
}

#[test]
fn counts_come_in_groups_with_the_names_of_statuses() {
    let mut index = Index::memory().unwrap();
    index.apply(&upserts([record(1, 1), record(2, 2), record(3, 2), record(4, 7)])).unwrap();
    let count = index.count(NAMESPACE, &filter("StartTime > 0 GROUP BY ExecutionStatus")).unwrap();
    let group = |name: &str, found| {
        let value = Payload::new("json/plain", format!("\"{name}\"").as_bytes()).with_metadata("type", b"Keyword");
        (vec![value], found)
    };
    let groups = vec![group("Running", 1), group("Completed", 2), group("TimedOut", 1)];
    assert_eq!(count, Count { total: 4, groups });
    assert_eq!(workflow_ids(&index, "GROUP BY ExecutionStatus").len(), 4, "lists ignore groups");
}

#[test]
fn a_namespace_is_deleted_in_pieces_and_can_come_back() {
    let mut index = Index::memory().unwrap();
    let other = NamespaceId(Uuid::from_u128(8));
    index.apply(&upserts((1..=5).map(|number| tagged(number, "Bern")))).unwrap();
    index.apply(&upserts([Record { namespace: other, ..tagged(1, "Bern") }])).unwrap();
    assert_eq!(index.delete_namespace(NAMESPACE, 3), Ok(3));
    assert_eq!(index.delete_namespace(NAMESPACE, 3), Ok(2));
    assert_eq!(index.delete_namespace(NAMESPACE, 3), Ok(0));
    assert_eq!(workflow_ids(&index, ""), [""; 0]);
    assert_eq!(index.list(other, &filter("City = 'Bern'"), 10, b"").unwrap().records.len(), 1);
    index.apply(&upserts([tagged(9, "Bern")])).unwrap();
    assert_eq!(workflow_ids(&index, "City = 'Bern'"), ["w9"]);
}

#[test]
fn a_file_keeps_rows_and_positions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let mut index = Index::open(&path).unwrap();
    assert_eq!(index.position("shard-1"), Ok(None));
    let position = Change::Position { name: "shard-1".to_owned(), value: 17 };
    index.apply(&[Change::Upsert(tagged(1, "Bern")), position]).unwrap();
    index.set_position("shard-2", 3).unwrap();
    drop(index);

    let mut index = Index::open(&path).unwrap();
    assert_eq!((index.position("shard-1"), index.position("shard-2")), (Ok(Some(17)), Ok(Some(3))));
    index.apply(&upserts([Record { version: 0, ..record(1, 1) }])).unwrap();
    assert_eq!(workflow_ids(&index, "City = 'Bern'"), ["w1"]);
}

#[test]
fn a_change_that_fails_takes_its_batch_with_it() {
    let mut index = Index::memory().unwrap();
    let impossible = Change::Position { name: "p".to_owned(), value: u64::MAX };
    assert!(index.apply(&[Change::Upsert(tagged(1, "Bern")), impossible]).is_err());
    assert_eq!(workflow_ids(&index, ""), [""; 0]);
    index.apply(&upserts([tagged(1, "Bern")])).unwrap();
    assert_eq!(workflow_ids(&index, "City = 'Bern'"), ["w1"], "numbers given in the lost batch are not used");
}

#[test]
fn files_of_others_and_of_the_future_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    drop(Index::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let refused = Index::open(&path).err().unwrap().to_string();
    assert!(refused.contains("has format 2, newer than 1") && !refused.contains('\n'), "{refused}");

    let path = folder.path().join("other");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(Index::open(&path), Err(OpenError::Foreign(_))));
    let path = folder.path().join("text");
    std::fs::write(&path, "this is no database, but it is long enough to be looked at".repeat(20)).unwrap();
    assert!(matches!(Index::open(&path), Err(OpenError::Foreign(_))));
    assert!(matches!(Index::open(folder.path().join("absent/index")), Err(OpenError::Storage { .. })));
}

/// What cannot be read is put aside at once; what a list stumbles over, at the next start.
#[test]
fn a_damaged_file_is_put_aside_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let filled = || {
        let (mut index, is_new) = Index::open_or_make_anew(&path).unwrap();
        let runs: Vec<Record> = (1..500).map(|run| tagged(run, "Bern")).collect();
        index.apply(&upserts(runs)).unwrap();
        lock(&index.writer).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        is_new
    };
    assert!(!filled(), "a file that is not there yet is no damaged one");
    for damage in [0, 100] {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[damage..damage + 16].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        assert!(filled(), "at {damage}");
        assert_eq!(std::fs::read(folder.path().join("index.damaged")).unwrap(), bytes, "it is kept");
    }

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40_000..].fill(0xee);
    std::fs::write(&path, &bytes).unwrap();
    let (index, is_new) = Index::open_or_make_anew(&path).unwrap();
    assert!(!is_new, "it opens, and nobody has looked further");
    assert!(matches!(index.list(NAMESPACE, &filter(""), 1_000, b""), Err(Error::Broken(_))));
    drop(index);
    assert!(filled());
    assert!(!filled(), "and that was it");
}

#[test]
fn a_reader_in_the_middle_of_a_list_does_not_stop_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open(folder.path().join("index")).unwrap();
    index.apply(&upserts([record(1, 1)])).unwrap();
    let reader = index.reader().unwrap();
    lock(&reader.connection).execute_batch("BEGIN; SELECT count(*) FROM run;").unwrap();
    index.apply(&upserts([record(2, 1)])).unwrap();
    assert_eq!(index.count(NAMESPACE, &filter("")).unwrap().total, 2);
    assert_eq!(reader.count(NAMESPACE, &filter("")).unwrap().total, 1, "it reads on from where it began");
    lock(&reader.connection).execute_batch("ROLLBACK").unwrap();
    assert_eq!(reader.count(NAMESPACE, &filter("")).unwrap().total, 2);
}

#[test]
fn an_index_in_memory_has_readers_too() {
    fn moves_between_threads<T: Send>(_: &T) {}
    let mut index = Index::memory().unwrap();
    let reader = index.reader().unwrap();
    moves_between_threads(&index);
    index.apply(&upserts([record(1, 1)])).unwrap();
    let found = std::thread::spawn(move || reader.count(NAMESPACE, &filter("")).unwrap().total);
    assert_eq!(found.join().unwrap(), 1);
}

#[test]
fn the_deepest_and_longest_filters_run() {
    let mut index = Index::memory().unwrap();
    index.apply(&upserts([tagged(1, "Bern"), record(2, 1)])).unwrap();
    let terms = ["City = 'Bern'"; 5].join(" OR ");
    let deep = format!("{}City = 'Bern'{}", format!("(({terms}) AND NOT ").repeat(90), ")".repeat(90));
    assert_eq!(workflow_ids(&index, &deep), ["w1"]);
    let long = vec!["City = 'Bern'"; 5_000].join(" OR ");
    assert_eq!(workflow_ids(&index, &long), ["w1"]);
    let many = (0..crate::filter::VALUES_MAX).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(workflow_ids(&index, &format!("HistoryLength IN ({many})")), ["w1"]);
}

/// A walk in the order of the list must not sort, or a page costs as much as the whole list.
#[test]
fn common_lists_are_not_sorted() {
    let mut index = Index::memory().unwrap();
    index.apply(&upserts((0..20).map(|number| tagged(number, "Bern")))).unwrap();
    let connection = lock(&index.writer);
    let after = Some(Token { closed: 5, started: 4, id: 3 });
    let plan = |text: &str| {
        let statement = plan::list(&connection, 1, &filter(text), after, 10).unwrap();
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
        let steps = explain.query_map(params_from_iter(&statement.parameters), |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for (text, used) in [
        ("", "by_time (namespace=? AND (closed,started)<(?,?))"),
        ("TaskQueue = 'q' AND NOT City = 'Bern'", "by_time (namespace=? AND (closed,started)<(?,?))"),
        ("ExecutionStatus = 'Failed'", "by_status (namespace=? AND status=? AND (closed,started)<(?,?))"),
        (
            "ExecutionStatus = 'Running' AND WorkflowType = 'T'",
            "by_type (namespace=? AND workflow_type=? AND closed>? AND (closed,started)<(?,?))",
        ),
        ("CloseTime BETWEEN 1 AND 900", "by_time (namespace=? AND closed>? AND (closed,started)<(?,?))"),
        ("WorkflowType = 'T'", "by_type (namespace=? AND workflow_type=? AND (closed,started)<(?,?))"),
    ] {
        let steps = plan(text);
        assert!(steps.contains(used), "{text}: {steps}");
        assert!(!steps.contains("TEMP B-TREE"), "{text}: {steps}");
    }
    assert!(plan("WorkflowId = 'w1'").contains("by_workflow (namespace=? AND workflow_id=?)"));
    assert!(plan("RunId = 'r1'").contains("by_run (namespace=? AND run_id=?)"));
    assert!(plan("City = 'Bern'").contains("INTEGER PRIMARY KEY (rowid=?)"), "{}", plan("City = 'Bern'"));
}
