//! Conditions as SQL with bound parameters.
//!
//! Only what is *true* is looked for, so NOT is pushed down to single tests (de Morgan's laws hold for three values too)
//! and there means "known, and not so". A column that is absent is NULL, which SQL treats as unknown. A search attribute
//! is absent when it has no row in `value`; its negated tests therefore ask for a row as the plain ones do.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use rusqlite::{Connection, OptionalExtension, params, types};

use crate::{
    attribute::Kind,
    filter::{Column, Node, Order, Test},
};

use super::row::{normal, parameter};

/// The run is closed, or open; the number is [`super::format::OPEN`]. With the sign SQLite does not use an index for it:
/// where the walk begins and ends is said by `plan` alone.
const CLOSED: &str = "+closed < 9223372036854775807";
const IS_OPEN: &str = "+closed = 9223372036854775807";

/// A piece of SQL and how deep its operators nest. SQLite allows a depth of 1,000.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    depth: usize,
    pub sql: String,
}

/// How the rows of `value` for a test are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// For each run that is met: right for a page, which ends after few runs that fit.
    PerRun,
    /// All of them before the first run: right for a count, which meets every run.
    Before,
}

/// Compiles the conditions of one statement.
pub(super) struct Compiler<'a> {
    connection: &'a Connection,
    namespace: i64,
    pub lookup: Lookup,
    pub parameters: Vec<types::Value>,
    attributes: BTreeMap<(String, Kind), Option<i64>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(connection: &'a Connection, namespace: i64, lookup: Lookup) -> Compiler<'a> {
        Compiler { connection, namespace, lookup, parameters: Vec::new(), attributes: BTreeMap::new() }
    }

    /// Binds one value and gives its place in the statement.
    pub(super) fn bind(&mut self, value: impl Into<types::Value>) -> String {
        self.parameters.push(value.into());
        format!("?{}", self.parameters.len())
    }

    /// SQL that is true when `node` is.
    pub(super) fn node(&mut self, node: &Node) -> rusqlite::Result<Piece> {
        self.signed(node, false)
    }

    /// The runs that have a search attribute for which the test is true: for `id IN (..)`. None for other tests.
    pub(super) fn runs_by_value(&mut self, column: &Column, test: &Test) -> rusqlite::Result<Option<String>> {
        let Column::Attribute { name, kind } = column else { return Ok(None) };
        let Some(id) = self.attribute(name, *kind)? else { return Ok(None) };
        if matches!(test, Test::IsNull | Test::Phrases(_)) {
            return Ok(None);
        }
        let test = self.test("value", test);
        Ok(Some(self.runs_where(id, &test)))
    }

    fn signed(&mut self, node: &Node, negated: bool) -> rusqlite::Result<Piece> {
        match node {
            Node::Not(inner) => self.signed(inner, !negated),
            Node::And(all) => self.all(all, negated, if negated { "OR" } else { "AND" }),
            Node::Or(all) => self.all(all, negated, if negated { "AND" } else { "OR" }),
            Node::Test(Column::Attribute { name, kind }, test) => {
                let id = self.attribute(name, *kind)?;
                Ok(Piece::leaf(self.attribute_test(id, test, negated)))
            }
            Node::Test(column, test) => Ok(Piece::leaf(self.column_test(column, test, negated))),
        }
    }

    fn all(&mut self, nodes: &[Node], negated: bool, operator: &str) -> rusqlite::Result<Piece> {
        let pieces: Result<Vec<_>, _> = nodes.iter().map(|node| self.signed(node, negated)).collect();
        Ok(joined(pieces?, operator))
    }

    fn column_test(&mut self, column: &Column, test: &Test, negated: bool) -> String {
        let (expression, only_closed) = sql_of(column);
        let not = if negated { "NOT " } else { "" };
        match (test, only_closed) {
            (Test::IsNull, true) => (if negated { CLOSED } else { IS_OPEN }).to_owned(),
            (Test::IsNull, false) => format!("{expression} IS {not}NULL"),
            (test, true) => format!("({not}({}) AND {CLOSED})", self.test(expression, test)),
            (test, false) => format!("{not}({})", self.test(expression, test)),
        }
    }

    /// `id` is none when no run ever had the attribute.
    fn attribute_test(&mut self, id: Option<i64>, test: &Test, negated: bool) -> String {
        let Some(id) = id else {
            // Then it is absent, contains nothing, and all other tests are unknown.
            let found = match test {
                Test::IsNull => !negated,
                Test::ContainsAny(_) | Test::Phrases(_) => negated,
                _ => false,
            };
            return i64::from(found).to_string();
        };
        let not = if negated { "NOT " } else { "" };
        match test {
            // The attribute's having a row is the contrary of what is asked.
            Test::IsNull => self.has_value(id, "TRUE", !negated),
            Test::ContainsAny(_) | Test::Phrases(_) => {
                let found = self.test("value", test);
                self.has_value(id, &found, negated)
            }
            test => {
                let found = self.test("value", test);
                self.has_value(id, &format!("{not}({found})"), false)
            }
        }
    }

    /// Whether the run has a value of the attribute for which `test` is true, or has none.
    fn has_value(&mut self, attribute: i64, test: &str, negated: bool) -> String {
        let not = if negated { "NOT " } else { "" };
        match self.lookup {
            Lookup::PerRun => {
                let attribute = self.bind(attribute);
                let owner = "INDEXED BY by_owner WHERE value.run = run.id";
                format!("{not}EXISTS (SELECT 1 FROM value {owner} AND attribute = {attribute} AND {test})")
            }
            Lookup::Before => format!("run.id {not}IN ({})", self.runs_where(attribute, test)),
        }
    }

    fn runs_where(&mut self, attribute: i64, test: &str) -> String {
        let attribute = self.bind(attribute);
        format!("SELECT value.run FROM value WHERE attribute = {attribute} AND {test}")
    }

    fn test(&mut self, expression: &str, test: &Test) -> String {
        match test {
            Test::Compare(order, value) => {
                let value = self.bind(parameter(value));
                let operator = match order {
                    Order::Equal => "=",
                    Order::Less => "<",
                    Order::LessOrEqual => "<=",
                    Order::Greater => ">",
                    Order::GreaterOrEqual => ">=",
                };
                format!("{expression} {operator} {value}")
            }
            Test::In(values) => {
                let values: Vec<_> = values.iter().map(|value| self.bind(parameter(value))).collect();
                format!("{expression} IN ({})", values.join(", "))
            }
            Test::Between(from, to) => {
                let (from, to) = (self.bind(parameter(from)), self.bind(parameter(to)));
                format!("{expression} BETWEEN {from} AND {to}")
            }
            Test::StartsWith(prefix) => self.starts_with(expression, prefix),
            Test::IsNull => format!("{expression} IS NULL"),
            Test::ContainsAny(keywords) => self.any_of(expression, keywords),
            Test::Phrases(phrases) => self.phrases(phrases),
        }
    }

    /// A range, which an index can serve; LIKE could not.
    fn starts_with(&mut self, expression: &str, prefix: &str) -> String {
        let from = self.bind(prefix.to_owned());
        match after_prefix(prefix) {
            Some(end) => format!("{expression} >= {from} AND {expression} < {}", self.bind(end)),
            None => format!("{expression} >= {from}"),
        }
    }

    fn any_of(&mut self, expression: &str, keywords: &[String]) -> String {
        let values: Vec<_> = keywords.iter().map(|keyword| self.bind(keyword.clone())).collect();
        format!("{expression} IN ({})", values.join(", "))
    }

    fn phrases(&mut self, phrases: &[Vec<String>]) -> String {
        let found =
            phrases.iter().map(|phrase| Piece::leaf(format!("instr(value, {}) > 0", self.bind(normal(phrase)))));
        let found: Vec<_> = found.collect();
        if found.is_empty() { "FALSE".to_owned() } else { joined(found, "OR").sql }
    }

    fn attribute(&mut self, name: &str, kind: Kind) -> rusqlite::Result<Option<i64>> {
        let key = (name.to_owned(), kind);
        if let Some(id) = self.attributes.get(&key) {
            return Ok(*id);
        }
        let select = "SELECT id FROM attribute WHERE namespace = ?1 AND name = ?2 AND kind = ?3";
        let parameters = params![self.namespace, name, kind.wire() as i32];
        let id = self.connection.prepare_cached(select)?.query_row(parameters, |row| row.get(0)).optional()?;
        self.attributes.insert(key, id);
        Ok(id)
    }
}

impl Piece {
    /// Tests nest a few operators themselves.
    fn leaf(sql: String) -> Piece {
        Piece { depth: 5, sql }
    }
}

/// Joins pieces so that the whole nests as little as can be, the shallowest first: however long a filter is, its depth is
/// that of its parentheses and a few more.
pub(super) fn joined(pieces: Vec<Piece>, operator: &str) -> Piece {
    let mut heap: BinaryHeap<_> = pieces.into_iter().map(Reverse).collect();
    loop {
        let (left, right) = (heap.pop(), heap.pop());
        match (left, right) {
            (Some(Reverse(left)), Some(Reverse(right))) => heap.push(Reverse(Piece {
                depth: left.depth.max(right.depth) + 1,
                sql: format!("({} {operator} {})", left.sql, right.sql),
            })),
            (Some(Reverse(only)), _) => return only,
            (None, _) => return Piece::leaf("TRUE".to_owned()),
        }
    }
}

/// The column in SQL, and whether it is absent while the run is open.
fn sql_of(column: &Column) -> (&'static str, bool) {
    match column {
        Column::WorkflowId => ("workflow_id", false),
        Column::RunId => ("run_id", false),
        Column::WorkflowType => ("workflow_type", false),
        Column::TaskQueue => ("task_queue", false),
        Column::Status => ("status", false),
        Column::StartTime => ("started", false),
        Column::ExecutionTime => ("execution", false),
        Column::CloseTime => ("+closed", true),
        Column::Duration => ("(closed - execution)", true),
        Column::HistoryLength => ("history_length", true),
        Column::HistoryBytes => ("history_bytes", true),
        Column::StateTransitions => ("state_transitions", true),
        Column::ParentWorkflowId => ("parent_workflow_id", false),
        Column::ParentRunId => ("parent_run_id", false),
        Column::RootWorkflowId => ("ifnull(root_workflow_id, workflow_id)", false),
        Column::RootRunId => ("ifnull(root_run_id, run_id)", false),
        Column::Division | Column::Attribute { .. } => ("division", false),
    }
}

/// The least string above all that start with `prefix`, in the order of bytes; none if there is no such string.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Between the last character and the next there may be a gap: surrogates are no characters.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// A test that finds few runs in most indexes: the one value or values of a column.
pub(super) fn is_equality(test: &Test) -> bool {
    matches!(test, Test::Compare(Order::Equal, _) | Test::In(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_next_string() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }

    #[test]
    fn joining_is_flat_but_for_what_is_deep() {
        let leaves = (0..1024).map(|leaf| Piece { depth: 0, sql: leaf.to_string() }).collect();
        assert_eq!(joined(leaves, "OR").depth, 10);
        let mut deep = Piece { depth: 0, sql: "x".to_owned() };
        for _ in 0..200 {
            let mut pieces = vec![deep];
            pieces.extend((0..8).map(|leaf| Piece { depth: 0, sql: leaf.to_string() }));
            deep = joined(pieces, "AND");
        }
        assert!(deep.depth < 210, "{}", deep.depth);
    }
}
