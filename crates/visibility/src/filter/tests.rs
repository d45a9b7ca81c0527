//! What is accepted, what is refused and how: compared with the running original, version 1.32.0.

use super::*;

fn custom(name: &str) -> Option<Kind> {
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

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(text, &custom)
}

/// A filter, then the original's answer after "invalid query: ", line by line.
const REFUSED: &str = include_str!("tests/refused.txt");

/// A filter a line.
const ACCEPTED: &str = include_str!("tests/accepted.txt");

/// Refused by the original with other words, or not at all: what makes no sense in a filter, and names that its SQL
/// stores give to attributes.
const REFUSED_OTHERWISE: &[(&str, &str)] = &[
    ("Status = 'a'", "invalid search attribute: Status"),
    ("WorkflowId = é", "malformed SQL query: syntax error at position 43 near 'é'"),
    ("WorkflowId = ?", "malformed SQL query: syntax error at position 42 near '?'"),
    ("WorkflowId = :a", "malformed SQL query: syntax error at position 42 near ':'"),
    ("WorkflowId = x'61'", r#"invalid expression: unable to parse value "61""#),
    ("EXISTS (select 1 from x)", "malformed SQL query: syntax error at position 34 near 'exists'"),
    ("WorkflowId IN (select 1 from x)", "malformed SQL query: syntax error at position 49 near 'select'"),
    ("CustI = binary 5", "malformed SQL query: syntax error at position 42 near 'binary'"),
    ("Keyword01 = 'a'", "invalid search attribute: Keyword01"),
    ("WorkflowId = 'a' HAVING CustI = 5", "operation is not supported: 'HAVING' clause"),
    ("WorkflowId = 'a' FOR UPDATE", "malformed SQL query: syntax error at position 48 near 'for'"),
    ("ExecutionDuration > ''", "invalid expression: invalid duration value for search attribute ExecutionDuration: "),
    ("CustI = (5,6)", "invalid expression: unexpected value type (expected string, got (5, 6))"),
    ("CustI IN (5, (6, 7))", "invalid expression: unexpected value type in tuple (expected string, got (6, 7))"),
    ("WorkflowId = 'a' UNION select 1", "malformed SQL query: syntax error at position 50 near 'union'"),
];

#[test]
fn refusals_are_the_originals() {
    let mut wrong = Vec::new();
    let mut lines = REFUSED.lines();
    let pairs = std::iter::from_fn(|| Some((lines.next()?, lines.next()?.trim_start())));
    for (text, expected) in pairs.chain(REFUSED_OTHERWISE.iter().copied()) {
        let found = parse(text).map_err(|error| error.to_string());
        if found != Err(format!("invalid query: {expected}")) {
            wrong.push(format!("{text}\n  want {expected}\n  have {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_original_accepts_is_accepted() {
    let mut wrong = Vec::new();
    for text in ACCEPTED.lines() {
        if let Err(error) = parse(text) {
            wrong.push(format!("{text}\n  {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn test(column: Column, test: Test) -> Node {
    Node::Test(column, test)
}

fn keyword(text: &str) -> Value {
    Value::Keyword(text.to_owned())
}

fn custom_column(name: &str) -> Column {
    Column::Attribute { name: name.to_owned(), kind: custom(name).unwrap() }
}

#[test]
fn and_binds_tighter_than_or_and_not_tighter_than_both() {
    let is = |name: &str| test(Column::WorkflowId, Test::Compare(Order::Equal, keyword(name)));
    let condition = |text: &str| parse(text).unwrap().condition.unwrap();
    let expected = Node::Or(vec![is("a"), Node::And(vec![Node::Not(Box::new(is("b"))), is("c")])]);
    assert_eq!(condition("WorkflowId = 'a' OR NOT WorkflowId = 'b' AND WorkflowId = 'c'"), expected);
    let expected = Node::And(vec![Node::Or(vec![is("a"), is("b")]), is("c")]);
    assert_eq!(condition("(WorkflowId = 'a' || WorkflowId = 'b') && WorkflowId = 'c'"), expected);
}

#[test]
fn values_have_the_types_of_their_columns() {
    let of = |text: &str| match parse(text).unwrap().condition.unwrap() {
        Node::Test(column, test) => (column, test),
        other => panic!("{other:?}"),
    };
    let equal = |value| Test::Compare(Order::Equal, value);
    assert_eq!(of("ExecutionStatus = 'TimedOut'"), (Column::Status, equal(Value::Int(7))));
    assert_eq!(of("ExecutionStatus = 'WORKFLOW_EXECUTION_STATUS_FAILED'"), (Column::Status, equal(Value::Int(3))));
    assert_eq!(of("ExecutionDuration = '1m'"), (Column::Duration, equal(Value::Int(60_000_000_000))));
    let second = Value::Time(Timestamp::from_millis(1000));
    assert_eq!(of("StartTime = '1970-01-01T00:00:01Z'"), (Column::StartTime, equal(second.clone())));
    assert_eq!(of("CustDT = 1000000000"), (custom_column("CustDT"), equal(second)));
    assert_eq!(of("CustI = -5.5"), (custom_column("CustI"), equal(Value::Double(-5.5))));
    assert_eq!(of("CustI = 99999999999999999999"), (custom_column("CustI"), equal(Value::Double(1e20))));
    assert_eq!(of("CustB = FALSE"), (custom_column("CustB"), equal(Value::Bool(false))));
    assert_eq!(of("CustKL IN ('a', 'b')").1, Test::ContainsAny(vec!["a".to_owned(), "b".to_owned()]));
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(of("CustT = 'Foo-bar - baz'").1, Test::Phrases(vec![words(&["foo", "bar"]), words(&["baz"])]));
}

#[test]
fn prefixes_of_the_systems_names_come_and_go() {
    let column = |text: &str| match parse(&format!("{text} IS NULL")).unwrap().condition.unwrap() {
        Node::Test(column, Test::IsNull) => column,
        other => panic!("{other:?}"),
    };
    assert_eq!(column("TemporalWorkflowId"), Column::WorkflowId);
    assert_eq!(column("ScheduleId"), Column::WorkflowId);
    assert_eq!(column("TemporalScheduleId"), Column::WorkflowId);
    assert_eq!(column("ChangeVersion"), column("TemporalChangeVersion"));
    assert_eq!(column("TemporalBuildIds"), column("`BuildIds`"));
    assert_eq!(column("NamespaceDivision"), Column::Division);
    let own = |name: &str| (name == "ScheduleId").then_some(Kind::Int);
    let filter = Filter::parse("ScheduleId = 5", &own).unwrap();
    let schedule_id = Column::Attribute { name: "ScheduleId".to_owned(), kind: Kind::Int };
    assert_eq!(filter.condition.unwrap(), test(schedule_id, Test::Compare(Order::Equal, Value::Int(5))));
}

#[test]
fn divisions_and_groups_are_noticed() {
    assert!(parse("NOT (WorkflowId = 'a' OR NamespaceDivision = 'x')").unwrap().names_division);
    assert!(!parse("WorkflowId = 'TemporalNamespaceDivision'").unwrap().names_division);
    assert!(parse("CustI = 5 GROUP BY ExecutionStatus").unwrap().group_by_status);
    assert_eq!(parse("  ").unwrap(), Filter::default());
    let both = parse("TemporalNamespaceDivision = 'x'").unwrap().and(parse("CustI = 5 OR CustI = 6").unwrap());
    assert!(both.names_division && matches!(both.condition, Some(Node::And(all)) if all.len() == 2));
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |open: &str, count: usize, close: &str| {
        parse(&format!("{}CustI = 5{}", open.repeat(count), close.repeat(count))).map_err(|error| error.to_string())
    };
    let refused = "invalid query: malformed SQL query: max nesting level reached at position";
    assert!(nested("(", 199, ")").is_ok());
    assert_eq!(nested("(", 200, ")"), Err(format!("{refused} 228")));
    assert!(nested("NOT ", 199, "").is_ok());
    assert_eq!(nested("NOT ", 200, ""), Err(format!("{refused} 827 near 'not'")));
    assert!(nested("NOT (", 100_000 / 5, ")").is_err());
    assert!(parse(&format!("CustI = {}5", "- ".repeat(100_000))).is_err());
    assert!(parse(&vec!["CustI = 5"; 5_000].join(" OR ")).is_ok());
    assert!(parse(&"x".repeat(QUERY_BYTES_MAX + 1)).is_err());
    assert!(parse(&format!("CustI IN ({})", vec!["5"; VALUES_MAX + 1].join(","))).is_err());
}

/// Any text is either a filter or refused.
#[test]
fn random_texts_never_panic() {
    let pieces = [
        "WorkflowId",
        "CustI",
        "CustT",
        "CustKL",
        "CustDT",
        "CustB",
        "ExecutionStatus",
        "ExecutionDuration",
        "=",
        "!=",
        "<",
        ">=",
        "<=>",
        "(",
        ")",
        ",",
        "AND",
        "OR",
        "NOT",
        "IN",
        "BETWEEN",
        "IS",
        "NULL",
        "STARTS_WITH",
        "LIKE",
        "'a'",
        "'",
        "\"",
        "`",
        "5",
        "-",
        "1.5",
        "0x",
        "1e",
        ".",
        "true",
        "'2024-01-01T00:00:00Z'",
        "'1h'",
        "'1:2:3'",
        "GROUP BY",
        "ORDER BY",
        "LIMIT",
        "/*",
        "*/",
        "--",
        "\n",
        "#",
        "\\",
        "é",
        "\u{10ffff}",
        "\0",
        ";",
        "@@",
        "x'",
        "foo(",
        "*",
        "'Running'",
        "99999999999999999999",
    ];
    let mut random = 42_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    for _ in 0..60_000 {
        let mut text = String::new();
        for _ in 0..next(14) {
            text.push_str(pieces[next(pieces.len())]);
            if next(3) > 0 {
                text.push(' ');
            }
        }
        if let Err(error) = parse(&text) {
            assert!(error.to_string().starts_with("invalid query: "), "{text}");
        }
    }
}
