//! The index against a list of records in memory: random changes, and random filters evaluated record by record.
#![expect(clippy::unwrap_used, reason = "a failure is what a test is for")]

use std::{cmp::Ordering, collections::BTreeMap};

use mainspring_api::{ids::NamespaceId, v1::Payload};
use mainspring_rt::Timestamp;
use mainspring_visibility::{
    Change, Filter, Index, Kind, Record,
    attribute::{decode, words},
    filter::{Column, Node, Order, Test, Value},
};
use uuid::Uuid;

const SEEDS: u64 = 60;

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    fn number(&mut self, limit: usize) -> i64 {
        i64::try_from(self.below(limit)).unwrap()
    }
}

const KEYWORDS: &[&str] = &["", "a", "ab", "abc", "b", "B", "é", "a%", "a\u{10ffff}", "\u{10ffff}", "it's"];
const TEXTS: &[&str] = &["", "Hello big world", "big", "foo-bar baz", "bar foo", "hello", "-- !", "É tude"];
const PHRASES: &[&str] = &["hello", "big world", "foo-bar", "bar", "nothing big", "-", "é", "wor"];
const DOUBLES: &[f64] = &[-1.5, 0.0, 1.0, 2.0, 2.5, 1e20];

fn namespace(number: usize) -> NamespaceId {
    NamespaceId(Uuid::from_u128(u128::try_from(number).unwrap()))
}

fn kinds() -> [(&'static str, Kind); 7] {
    [
        ("K", Kind::Keyword),
        ("T", Kind::Text),
        ("I", Kind::Int),
        ("D", Kind::Double),
        ("B", Kind::Bool),
        ("DT", Kind::Datetime),
        ("KL", Kind::KeywordList),
    ]
}

fn random_json(random: &mut Random, kind: Kind) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match kind {
        Kind::Keyword => quoted(random.of(KEYWORDS)),
        Kind::Text => quoted(random.of(TEXTS)),
        Kind::Int => (random.number(7) - 3).to_string(),
        Kind::Double => serde_json::Value::from(random.of(DOUBLES)).to_string(),
        Kind::Bool => ["true", "false"][random.below(2)].to_owned(),
        Kind::Datetime => quoted(&format!("1970-01-01T00:00:0{}Z", random.below(5))),
        Kind::KeywordList => {
            let items: Vec<_> = (0..random.below(4)).map(|_| quoted(random.of(KEYWORDS))).collect();
            format!("[{}]", items.join(","))
        }
    }
}

fn random_record(random: &mut Random) -> Record {
    let status = 1 + i32::try_from(random.below(8)).unwrap();
    let mut search_attributes = BTreeMap::new();
    for (name, kind) in kinds() {
        // Now and then a value of another type, or without one.
        let kind = if random.below(8) == 0 { random.of(&kinds()).1 } else { kind };
        if random.below(2) == 0 {
            let value = Payload::new("json/plain", random_json(random, kind).as_bytes());
            let typed = random.below(10) > 0;
            let value = if typed { value.with_metadata("type", kind.name().as_bytes()) } else { value };
            search_attributes.insert(name.to_owned(), value);
        }
    }
    if random.below(6) == 0 {
        let division = Payload::new("json/plain", b"\"batch\"").with_metadata("type", b"Keyword");
        search_attributes.insert("TemporalNamespaceDivision".to_owned(), division);
    }
    let run = random.below(40);
    let start_time = Timestamp::from_nanos(i64::try_from(run).unwrap() / 2);
    let child = random.below(3) == 0;
    Record {
        namespace: namespace(run % 2),
        workflow_id: format!("{}-{}", KEYWORDS[run % 4], run % 5),
        run_id: format!("run-{run}"),
        workflow_type: format!("Type{}", run % 3),
        task_queue: ["q", "other"][random.below(2)].to_owned(),
        status,
        start_time,
        execution_time: Timestamp::from_nanos(start_time.as_nanos() + random.number(2)),
        close_time: Timestamp::from_nanos(1 + start_time.as_nanos() + random.number(30)),
        history_length: random.number(5),
        history_bytes: random.number(5),
        state_transitions: random.number(5),
        parent_workflow_id: if child { "a-1".to_owned() } else { String::new() },
        parent_run_id: if child { "run-1".to_owned() } else { String::new() },
        root_workflow_id: if child { "a-1".to_owned() } else { String::new() },
        root_run_id: if child { "run-1".to_owned() } else { String::new() },
        memo: if random.below(3) == 0 { [("m".to_owned(), Payload::new("x", b"y"))].into() } else { BTreeMap::new() },
        search_attributes,
        version: random.number(6),
    }
}

/// A value that may stand in a test of the column.
fn random_value(random: &mut Random, column: &Column) -> Value {
    let kind = match column {
        Column::Attribute { kind, .. } => *kind,
        Column::Status => return Value::Int(random.number(9)),
        Column::StartTime | Column::ExecutionTime | Column::CloseTime => {
            return Value::Time(Timestamp::from_nanos(random.number(50)));
        }
        Column::Duration => return Value::Int(random.number(30)),
        Column::HistoryLength | Column::HistoryBytes | Column::StateTransitions => Kind::Int,
        Column::WorkflowId | Column::ParentWorkflowId | Column::RootWorkflowId => {
            return Value::Keyword(format!("{}-{}", random.of(&KEYWORDS[..4]), random.below(5)));
        }
        Column::RunId | Column::ParentRunId | Column::RootRunId => {
            return Value::Keyword(format!("run-{}", random.below(40)));
        }
        Column::WorkflowType => return Value::Keyword(format!("Type{}", random.below(4))),
        Column::TaskQueue => return Value::Keyword("q".to_owned()),
        Column::Division => return Value::Keyword("batch".to_owned()),
    };
    match kind {
        Kind::Int | Kind::Double if random.below(2) == 0 => Value::Double(random.of(DOUBLES)),
        Kind::Int | Kind::Double => Value::Int(random.number(7) - 3),
        Kind::Bool => Value::Bool(random.below(2) == 0),
        Kind::Datetime => Value::Time(Timestamp::from_millis(random.number(5) * 1000)),
        Kind::Keyword | Kind::KeywordList | Kind::Text => Value::Keyword((random.of(KEYWORDS)).to_owned()),
    }
}

fn random_column(random: &mut Random) -> Column {
    let columns = [
        Column::WorkflowId,
        Column::RunId,
        Column::WorkflowType,
        Column::TaskQueue,
        Column::Status,
        Column::StartTime,
        Column::ExecutionTime,
        Column::CloseTime,
        Column::Duration,
        Column::HistoryLength,
        Column::HistoryBytes,
        Column::StateTransitions,
        Column::ParentWorkflowId,
        Column::ParentRunId,
        Column::RootWorkflowId,
        Column::RootRunId,
        Column::Division,
    ];
    if random.below(2) == 0 {
        return random.of(&columns);
    }
    let (name, kind) = random.of(&kinds());
    let name = if random.below(20) == 0 { "Unused" } else { name };
    Column::Attribute { name: name.to_owned(), kind }
}

fn random_test(random: &mut Random) -> Node {
    let column = random_column(random);
    let keyword = |value| if let Value::Keyword(keyword) = value { keyword } else { String::new() };
    let kind = if let Column::Attribute { kind, .. } = column { Some(kind) } else { None };
    let orders = [Order::Equal, Order::Less, Order::LessOrEqual, Order::Greater, Order::GreaterOrEqual];
    let test = match (random.below(8), kind) {
        (0, _) => Test::IsNull,
        (_, Some(Kind::KeywordList)) => {
            Test::ContainsAny((0..=random.below(2)).map(|_| keyword(random_value(random, &column))).collect())
        }
        (_, Some(Kind::Text)) => {
            let phrases = random.of(PHRASES).split(' ').map(words).filter(|words| !words.is_empty());
            Test::Phrases(phrases.collect())
        }
        (1, _) => Test::In((0..=random.below(3)).map(|_| random_value(random, &column)).collect()),
        (2, _) if !matches!(column, Column::Status) && kind != Some(Kind::Bool) => {
            Test::Between(random_value(random, &column), random_value(random, &column))
        }
        (3, kind) => match (random_value(random, &column), kind) {
            (Value::Keyword(keyword), None | Some(Kind::Keyword)) => {
                Test::StartsWith(keyword.chars().take(1 + random.below(3)).collect())
            }
            (value, _) => Test::Compare(random.of(&orders), value),
        },
        _ => Test::Compare(random.of(&orders), random_value(random, &column)),
    };
    Node::Test(column, test)
}

fn random_node(random: &mut Random, depth: usize) -> Node {
    match random.below(if depth == 0 { 1 } else { 5 }) {
        0 | 1 => random_test(random),
        2 => Node::Not(Box::new(random_node(random, depth - 1))),
        3 => Node::And((0..2 + random.below(2)).map(|_| random_node(random, depth - 1)).collect()),
        _ => Node::Or((0..2 + random.below(2)).map(|_| random_node(random, depth - 1)).collect()),
    }
}

fn is_open(record: &Record) -> bool {
    record.status == 1 || record.status == 8
}

/// The values of a column in a record; none when it is absent.
fn values(record: &Record, column: &Column) -> Vec<Value> {
    let keyword = |text: &str| vec![Value::Keyword(text.to_owned())];
    let filled = |text: &str| if text.is_empty() { Vec::new() } else { keyword(text) };
    let closed = |value: Value| if is_open(record) { Vec::new() } else { vec![value] };
    match column {
        Column::WorkflowId => keyword(&record.workflow_id),
        Column::RunId => keyword(&record.run_id),
        Column::WorkflowType => keyword(&record.workflow_type),
        Column::TaskQueue => keyword(&record.task_queue),
        Column::Status => vec![Value::Int(i64::from(record.status))],
        Column::StartTime => vec![Value::Time(record.start_time)],
        Column::ExecutionTime => vec![Value::Time(record.execution_time)],
        Column::CloseTime => closed(Value::Time(record.close_time)),
        Column::Duration => closed(Value::Int(record.close_time.as_nanos() - record.execution_time.as_nanos())),
        Column::HistoryLength => closed(Value::Int(record.history_length)),
        Column::HistoryBytes => closed(Value::Int(record.history_bytes)),
        Column::StateTransitions => closed(Value::Int(record.state_transitions)),
        Column::ParentWorkflowId => filled(&record.parent_workflow_id),
        Column::ParentRunId => filled(&record.parent_run_id),
        Column::RootWorkflowId => keyword(&record.root_workflow_id),
        Column::RootRunId => keyword(&record.root_run_id),
        Column::Division => attribute(record, "TemporalNamespaceDivision", Kind::Keyword),
        Column::Attribute { name, kind } => attribute(record, name, *kind),
    }
}

fn attribute(record: &Record, name: &str, kind: Kind) -> Vec<Value> {
    match record.search_attributes.get(name).and_then(decode) {
        Some((found, values)) if found == kind => values,
        _ => Vec::new(),
    }
}

fn compare(left: &Value, right: &Value) -> Ordering {
    let number = |value: &Value| match value {
        Value::Int(number) => *number as f64,
        Value::Double(number) => *number,
        other => panic!("{other:?} is no number"),
    };
    match (left, right) {
        (Value::Keyword(left), Value::Keyword(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => left.cmp(right),
        (left, right) => number(left).total_cmp(&number(right)),
    }
}

fn text_of(value: &Value) -> &str {
    if let Value::Keyword(text) = value { text } else { panic!("{value:?} is no text") }
}

/// Three values: none is unknown.
fn is_true(record: &Record, node: &Node) -> Option<bool> {
    match node {
        Node::Not(inner) => is_true(record, inner).map(|value| !value),
        Node::And(all) => decided_by(false, record, all),
        Node::Or(all) => decided_by(true, record, all),
        Node::Test(column, test) => passes(&values(record, column), test),
    }
}

/// One condition of this value decides; else one that is unknown does.
fn decided_by(value: bool, record: &Record, all: &[Node]) -> Option<bool> {
    let values: Vec<_> = all.iter().map(|node| is_true(record, node)).collect();
    if values.contains(&Some(value)) {
        return Some(value);
    }
    if values.contains(&None) { None } else { Some(!value) }
}

fn passes(values: &[Value], test: &Test) -> Option<bool> {
    match test {
        Test::IsNull => Some(values.is_empty()),
        Test::ContainsAny(keywords) => Some(values.iter().any(|value| keywords.iter().any(|k| k == text_of(value)))),
        Test::Phrases(phrases) => Some(values.iter().any(|value| {
            let words = words(text_of(value));
            phrases.iter().any(|phrase| words.windows(phrase.len()).any(|window| window == phrase))
        })),
        test => values.first().map(|value| passes_one(value, test)),
    }
}

fn passes_one(value: &Value, test: &Test) -> bool {
    match test {
        Test::Compare(order, other) => match order {
            Order::Equal => compare(value, other).is_eq(),
            Order::Less => compare(value, other).is_lt(),
            Order::LessOrEqual => compare(value, other).is_le(),
            Order::Greater => compare(value, other).is_gt(),
            Order::GreaterOrEqual => compare(value, other).is_ge(),
        },
        Test::In(others) => others.iter().any(|other| compare(value, other).is_eq()),
        Test::Between(from, to) => compare(value, from).is_ge() && compare(value, to).is_le(),
        Test::StartsWith(prefix) => text_of(value).starts_with(prefix.as_str()),
        other => panic!("{other:?}"),
    }
}

/// Records in the order in which the index first got them.
#[derive(Default)]
struct Model(Vec<Record>);

impl Model {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Upsert(record) => {
                let mut record = record.clone();
                if is_open(&record) {
                    record.close_time = Timestamp::ZERO;
                }
                if record.root_run_id.is_empty() {
                    record.root_workflow_id = record.workflow_id.clone();
                    record.root_run_id = record.run_id.clone();
                }
                match self.0.iter_mut().find(|known| known.run_id == record.run_id) {
                    Some(known) if known.version > record.version => {}
                    Some(known) => *known = record,
                    None => self.0.push(record),
                }
            }
            Change::Delete { run_id, .. } => self.0.retain(|known| known.run_id != *run_id),
            Change::Position { .. } => {}
        }
    }

    fn list(&self, namespace: NamespaceId, filter: &Filter) -> Vec<Record> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|record| {
                record.namespace == namespace
                    && (filter.names_division || values(record, &Column::Division).is_empty())
                    && filter.condition.as_ref().is_none_or(|condition| is_true(record, condition) == Some(true))
            })
            .cloned()
            .collect();
        found.reverse();
        // A stable sort: of equal ones the newest in the index stays first.
        found.sort_by_key(|record| {
            let closed = if is_open(record) { Timestamp::MAX } else { record.close_time };
            std::cmp::Reverse((closed, record.start_time))
        });
        found
    }
}

fn random_change(random: &mut Random) -> Change {
    let record = random_record(random);
    match random.below(8) {
        0 => Change::Delete { namespace: record.namespace, run_id: record.run_id },
        _ => Change::Upsert(record),
    }
}

fn all_pages(index: &Index, namespace: NamespaceId, filter: &Filter, page_size: usize) -> Vec<Record> {
    let (mut records, mut token) = (Vec::new(), Vec::new());
    loop {
        let page = index.list(namespace, filter, page_size, &token).unwrap();
        assert!(page.records.len() == page_size || page.next_page_token.is_empty());
        records.extend(page.records);
        token = page.next_page_token;
        if token.is_empty() {
            return records;
        }
    }
}

fn check(index: &Index, model: &Model, random: &mut Random, seed: u64) {
    let condition = (random.below(10) > 0).then(|| random_node(random, 3));
    let mut filter = Filter::all_of(condition.into_iter().collect());
    filter.names_division |= random.below(4) == 0;
    let namespace = namespace(random.below(3));
    let expected = model.list(namespace, &filter);
    let found = all_pages(index, namespace, &filter, 1 + random.below(12));
    let ids = |records: &[Record]| records.iter().map(|record| record.run_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&expected), "seed {seed}, {filter:#?}");
    assert_eq!(found, expected, "seed {seed}");

    filter.group_by_status = random.below(2) == 0;
    let count = index.count(namespace, &filter).unwrap();
    assert_eq!(count.total, i64::try_from(expected.len()).unwrap(), "seed {seed}, {filter:#?}");
    if filter.group_by_status {
        let statuses: std::collections::BTreeSet<_> = expected.iter().map(|record| record.status).collect();
        assert_eq!(count.groups.len(), statuses.len(), "seed {seed}");
        for ((_, found), status) in count.groups.iter().zip(statuses) {
            let records = expected.iter().filter(|record| record.status == status);
            assert_eq!(*found, i64::try_from(records.count()).unwrap(), "seed {seed}");
        }
    }
}

#[test]
fn the_index_finds_what_a_look_at_every_record_finds() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut index = Index::memory().unwrap();
        let mut model = Model::default();
        for _ in 0..6 {
            let changes: Vec<_> = (0..random.below(25)).map(|_| random_change(&mut random)).collect();
            index.apply(&changes).unwrap();
            changes.iter().for_each(|change| model.apply(change));
            (0..25).for_each(|_| check(&index, &model, &mut random, seed));
        }
    }
}
