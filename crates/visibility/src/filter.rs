//! List filters: the text that callers send, read into a tree of tests on columns. Pure.
//!
//! - `lexer`, `syntax`: tokens, then a tree without types;
//! - `resolve`: columns and values by name and type, with the original's explanations of what is refused;
//! - `columns`: the system's search attributes; `literal`: times, durations and numbers.
//!
//! What a filter means is SQL's logic of three values: a comparison with an attribute that is absent is neither true
//! nor false, so that neither `A = 'x'` nor `A != 'x'` finds a workflow without `A`. Text and KeywordList attributes are
//! the exception: they contain something or they do not.

mod columns;
mod lexer;
pub(crate) mod literal;
pub(crate) mod resolve;
mod syntax;

pub use columns::Column;
pub(crate) use columns::DIVISION;
use mainspring_rt::Timestamp;

use crate::attribute::Kind;

/// The longest filter, in bytes. The original's limit is the size of a request.
pub const QUERY_BYTES_MAX: usize = 256 << 10;

/// The most values in one filter: SQLite's limit on parameters is a little higher.
pub const VALUES_MAX: usize = 30_000;

/// A filter that makes sense: columns exist and values have their types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// What has to be true; none is always true.
    pub condition: Option<Node>,
    /// Counts only: one count for each status.
    pub group_by_status: bool,
    /// The filter says itself which divisions it wants; otherwise workflows of a division are hidden.
    pub names_division: bool,
}

/// One condition. Nests at most 200 deep.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// All of them; there are two at least.
    And(Vec<Node>),
    /// Any of them; there are two at least.
    Or(Vec<Node>),
    /// Not this one; unknown stays unknown.
    Not(Box<Node>),
    /// A test of one column.
    Test(Column, Test),
}

/// What is asked of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The column stands in this order to the value.
    Compare(Order, Value),
    /// Equal to any of them.
    In(Vec<Value>),
    /// Not below the first and not above the second.
    Between(Value, Value),
    /// A keyword that starts with this, case by case.
    StartsWith(String),
    /// No value.
    IsNull,
    /// Of a KeywordList: contains any of them. Never unknown.
    ContainsAny(Vec<String>),
    /// Of a Text: contains any of these sequences of words (see [`crate::attribute::words`]). Never unknown.
    Phrases(Vec<Vec<String>>),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// For keywords, in the order of bytes.
    Keyword(String),
    /// For numbers; of ExecutionStatus the wire's number, of ExecutionDuration nanoseconds.
    Int(i64),
    /// For numbers.
    Double(f64),
    /// False is below true.
    Bool(bool),
    /// For times.
    Time(Timestamp),
}

/// Why a filter was refused, in the original's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid query: {0}")]
pub struct FilterError(String);

impl Filter {
    /// Reads a filter. `custom` gives the type of the namespace's own search attributes, by name.
    ///
    /// # Errors
    /// The text of the INVALID_ARGUMENT that callers get.
    pub fn parse(text: &str, custom: &dyn Fn(&str) -> Option<Kind>) -> Result<Filter, FilterError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(FilterError::unsupported(format!("query of more than {QUERY_BYTES_MAX} bytes")));
        }
        resolve::resolve(syntax::parse(text.trim())?, custom)
    }

    /// A filter from conditions that all have to be true, for callers that build one without text.
    pub fn all_of(mut conditions: Vec<Node>) -> Filter {
        let names_division = conditions.iter().any(Node::names_division);
        let condition = if conditions.len() > 1 { Some(Node::And(conditions)) } else { conditions.pop() };
        Filter { condition, group_by_status: false, names_division }
    }

    /// Both filters' conditions; groups as this one does.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        let conditions = self.condition.into_iter().chain(other.condition).collect();
        Filter { group_by_status: self.group_by_status, ..Filter::all_of(conditions) }
    }
}

impl Node {
    fn names_division(&self) -> bool {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().any(Node::names_division),
            Node::Not(node) => node.names_division(),
            Node::Test(column, _) => *column == Column::Division,
        }
    }
}

impl FilterError {
    /// The text does not follow the grammar.
    fn malformed(what: impl AsRef<str>) -> FilterError {
        FilterError(format!("malformed SQL query: {}", what.as_ref()))
    }

    /// It does, but means nothing.
    fn invalid(what: impl AsRef<str>) -> FilterError {
        FilterError(format!("invalid expression: {}", what.as_ref()))
    }

    /// It means something that is not offered.
    fn unsupported(what: impl AsRef<str>) -> FilterError {
        FilterError(format!("operation is not supported: {}", what.as_ref()))
    }

    fn unknown_attribute(name: &str) -> FilterError {
        FilterError(format!("invalid search attribute: {name}"))
    }
}

#[cfg(test)]
mod tests;
