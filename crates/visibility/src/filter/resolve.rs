//! Gives columns and values of a parsed filter their types, and explains what is refused.
//!
//! Follows temporalio/temporal v1.32.0 `common/persistence/visibility/store/query/converter.go`; the texts were compared
//! with the running server and are pinned in `tests.rs`.

use mainspring_api::v1::enums::WorkflowExecutionStatus;
use mainspring_rt::Timestamp;

use crate::attribute::{Kind, words};

use super::{
    Column, Filter, FilterError, Node, Order, Test, VALUES_MAX, Value, columns,
    literal::{self, Number},
    syntax::{Expr, Operator, Query, is_group_concat},
};

/// Checks a whole filter.
pub(super) fn resolve(query: Query, custom: &dyn Fn(&str) -> Option<Kind>) -> Result<Filter, FilterError> {
    if let Some(clause) = query.refused {
        return Err(FilterError::unsupported(format!("'{clause}' clause")));
    }
    let mut resolver = Resolver { custom, values: 0, names_division: false };
    let condition = query.condition.as_ref().map(|condition| resolver.node(condition)).transpose()?;
    let group_by_status = resolver.group_by(&query.group_by)?;
    resolver.order_by(&query.order_by)?;
    Ok(Filter { condition, group_by_status, names_division: resolver.names_division })
}

struct Resolver<'a> {
    custom: &'a dyn Fn(&str) -> Option<Kind>,
    values: usize,
    names_division: bool,
}

/// A column as the filter names it.
struct Named<'a> {
    name: &'a str,
    column: Column,
    kind: Kind,
}

/// The right side of a comparison.
enum Operand {
    One(Value),
    Many(Vec<Operand>),
}

impl Resolver<'_> {
    fn node(&mut self, expr: &Expr) -> Result<Node, FilterError> {
        match expr {
            Expr::Paren(inner) => self.node(inner),
            Expr::Not(inner) => Ok(not(self.node(inner)?)),
            Expr::And(all) => Ok(Node::And(self.nodes(all)?)),
            Expr::Or(all) => Ok(Node::Or(self.nodes(all)?)),
            Expr::Compare { left, operator, right } => self.compare(left, *operator, right),
            Expr::Between { left, negated, from, to } => {
                let node = self.between(left, from, to)?;
                Ok(if *negated { not(node) } else { node })
            }
            Expr::IsNull { inner, negated } => {
                let node = Node::Test(self.column(inner)?.column, Test::IsNull);
                Ok(if *negated { not(node) } else { node })
            }
            Expr::IsOther(inner) => {
                self.column(inner)?;
                Err(FilterError::invalid("'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"))
            }
            Expr::Call(name) if !is_group_concat(name) => Err(FilterError::unsupported("function expression")),
            Expr::Column(_) => Err(FilterError::invalid("incomplete expression")),
            other => Err(FilterError::unsupported(format!("expression of type {}", other.type_name()))),
        }
    }

    fn nodes(&mut self, all: &[Expr]) -> Result<Vec<Node>, FilterError> {
        all.iter().map(|expr| self.node(expr)).collect()
    }

    fn group_by(&mut self, group_by: &[Expr]) -> Result<bool, FilterError> {
        let [only] = group_by else {
            let text = "'GROUP BY' clause supports only a single field";
            return if group_by.is_empty() { Ok(false) } else { Err(FilterError::unsupported(text)) };
        };
        let Named { name, column, .. } = self.column(only)?;
        if column != Column::Status {
            let text = format!("'GROUP BY' clause is not supported for search attribute {name}");
            return Err(FilterError::unsupported(text));
        }
        Ok(true)
    }

    fn order_by(&mut self, order_by: &[Expr]) -> Result<(), FilterError> {
        for expr in order_by {
            if self.column(expr)?.kind == Kind::Text {
                return Err(FilterError::unsupported("unable to sort by search attribute type Text"));
            }
        }
        if order_by.is_empty() { Ok(()) } else { Err(FilterError::unsupported("'ORDER BY' clause")) }
    }

    fn column<'a>(&mut self, expr: &'a Expr) -> Result<Named<'a>, FilterError> {
        let Expr::Column(name) = expr else {
            return Err(FilterError::invalid(format!("must be a column name but was {}", expr.type_name())));
        };
        let (column, kind) = columns::find(name, self.custom)?;
        self.names_division |= column == Column::Division;
        Ok(Named { name, column, kind })
    }

    fn between(&mut self, left: &Expr, from: &Expr, to: &Expr) -> Result<Node, FilterError> {
        let named = self.column(left)?;
        if !matches!(named.kind, Kind::Datetime | Kind::Double | Kind::Int | Kind::Keyword) {
            let (name, kind) = (named.name, named.kind.name());
            let text = format!("cannot do range condition on search attribute '{name}' of type {kind}");
            return Err(FilterError::invalid(text));
        }
        let from = single(self.operand(from, &named)?)?;
        let to = single(self.operand(to, &named)?)?;
        Ok(Node::Test(named.column, Test::Between(from, to)))
    }

    fn compare(&mut self, left: &Expr, operator: Operator, right: &Expr) -> Result<Node, FilterError> {
        let named = self.column(left)?;
        let operand = self.operand(right, &named)?;
        if !is_supported(operator, named.kind) {
            let (name, kind) = (named.name, named.kind.name());
            let operator = operator.name().to_uppercase();
            let text = format!("operator '{operator}' not supported for {kind} type search attribute '{name}'");
            return Err(FilterError::unsupported(text));
        }
        let test = match operator {
            Operator::Equal | Operator::NotEqual => equal(&named, operand)?,
            Operator::In | Operator::NotIn => any_of(&named, operand)?,
            Operator::StartsWith | Operator::NotStartsWith => starts_with(&named, operator, operand)?,
            Operator::Less => Test::Compare(Order::Less, single(operand)?),
            Operator::LessOrEqual => Test::Compare(Order::LessOrEqual, single(operand)?),
            Operator::Greater => Test::Compare(Order::Greater, single(operand)?),
            _ => Test::Compare(Order::GreaterOrEqual, single(operand)?),
        };
        let node = Node::Test(named.column, test);
        let negated = matches!(operator, Operator::NotEqual | Operator::NotIn | Operator::NotStartsWith);
        Ok(if negated { not(node) } else { node })
    }

    fn operand(&mut self, expr: &Expr, named: &Named<'_>) -> Result<Operand, FilterError> {
        let value = match expr {
            Expr::Tuple(items) => {
                let items = items.iter().map(|item| self.operand(item, named));
                return Ok(Operand::Many(items.collect::<Result<_, _>>()?));
            }
            Expr::Text(text) => text_value(text, named)?,
            Expr::Number(text) => number_value(text, named)?,
            Expr::Hex(text) => return Err(unreadable(text)),
            Expr::Sign("-" | "+", _) => {
                return Err(FilterError::invalid(format!("unary operator not supported in \"{expr}\"")));
            }
            Expr::Sign(sign, _) => return Err(FilterError::unsupported(format!("unary operator \"{sign}\""))),
            Expr::Bool(value) if named.kind == Kind::Bool => Value::Bool(*value),
            Expr::Bool(value) => return Err(mistyped(named, &value.to_string(), "bool")),
            Expr::Call(name) if is_group_concat(name) => return Err(FilterError::unsupported("'group_concat'")),
            Expr::Call(_) => return Err(FilterError::unsupported("nested func")),
            Expr::Column(name) => {
                return Err(FilterError::unsupported(format!(
                    "column name on the right side of comparison expression (did you forget to quote \"{name}\"?)"
                )));
            }
            other => return Err(FilterError::invalid(format!("unexpected value type {}", other.type_name()))),
        };
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(FilterError::unsupported(format!("query with more than {VALUES_MAX} values")));
        }
        Ok(Operand::One(value))
    }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

fn is_supported(operator: Operator, kind: Kind) -> bool {
    use Operator::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, NotEqual, NotIn, NotStartsWith, StartsWith};
    match operator {
        Equal | NotEqual => true,
        In | NotIn => kind != Kind::Text,
        Less | LessOrEqual | Greater | GreaterOrEqual => !matches!(kind, Kind::Text | Kind::KeywordList),
        StartsWith | NotStartsWith => kind == Kind::Keyword,
        _ => false,
    }
}

fn equal(named: &Named<'_>, operand: Operand) -> Result<Test, FilterError> {
    let value = single(operand)?;
    Ok(match (named.kind, value) {
        (Kind::KeywordList, Value::Keyword(keyword)) => Test::ContainsAny(vec![keyword]),
        (Kind::Text, Value::Keyword(text)) => Test::Phrases(phrases(named, &text)?),
        (_, value) => Test::Compare(Order::Equal, value),
    })
}

fn any_of(named: &Named<'_>, operand: Operand) -> Result<Test, FilterError> {
    let Operand::Many(items) = operand else { return equal(named, operand) };
    let mut values = Vec::new();
    for item in items {
        match item {
            Operand::One(value) => values.push(value),
            Operand::Many(_) => {
                let text = format!("unexpected value type in tuple (expected string, got {})", shown(&item));
                return Err(FilterError::invalid(text));
            }
        }
    }
    if named.kind != Kind::KeywordList {
        return Ok(Test::In(values));
    }
    let keywords = values.into_iter().filter_map(|value| match value {
        Value::Keyword(keyword) => Some(keyword),
        _ => None,
    });
    Ok(Test::ContainsAny(keywords.collect()))
}

fn starts_with(named: &Named<'_>, operator: Operator, operand: Operand) -> Result<Test, FilterError> {
    match operand {
        Operand::One(Value::Keyword(prefix)) => Ok(Test::StartsWith(prefix)),
        operand => {
            let got = match &operand {
                Operand::One(Value::Int(status)) if named.column == Column::Status => status_name(*status).to_owned(),
                operand => listed(operand),
            };
            let operator = operator.name();
            let text = format!("right-hand side of \"{operator}\" operator must be a literal string (got: {got})");
            Err(FilterError::invalid(text))
        }
    }
}

/// The words to look for: blanks separate alternatives, other marks join words that have to follow each other.
fn phrases(named: &Named<'_>, text: &str) -> Result<Vec<Vec<String>>, FilterError> {
    let mut alternatives = text.split(' ').filter(|token| !token.is_empty()).peekable();
    if alternatives.peek().is_none() {
        let text = format!("no tokens found filtering on Text type search attribute {}", named.name);
        return Err(FilterError::invalid(text));
    }
    Ok(alternatives.map(words).filter(|phrase| !phrase.is_empty()).collect())
}

fn single(operand: Operand) -> Result<Value, FilterError> {
    match operand {
        Operand::One(value) => Ok(value),
        Operand::Many(_) => {
            let text = format!("unexpected value type (expected string, got {})", shown(&operand));
            Err(FilterError::invalid(text))
        }
    }
}

fn text_value(text: &str, named: &Named<'_>) -> Result<Value, FilterError> {
    match (&named.column, named.kind) {
        (Column::Status, _) => status_by_name(text)
            .map(|status| Value::Int(i64::from(status)))
            .ok_or_else(|| FilterError::invalid(format!("invalid ExecutionStatus value '{text}'"))),
        (Column::Duration, _) => literal::parse_duration(text).map(Value::Int).ok_or_else(|| {
            FilterError::invalid(format!("invalid duration value for search attribute ExecutionDuration: {text}"))
        }),
        (_, Kind::Datetime) => literal::parse_time(text)
            .map(Value::Time)
            .ok_or_else(|| FilterError::invalid(format!("unable to parse datetime '{text}'"))),
        (_, Kind::Keyword | Kind::KeywordList | Kind::Text) => Ok(Value::Keyword(text.to_owned())),
        (_, Kind::Int | Kind::Double | Kind::Bool) => Err(mistyped(named, &literal::quoted(text), "string")),
    }
}

fn number_value(text: &str, named: &Named<'_>) -> Result<Value, FilterError> {
    match (literal::parse_number(text).ok_or_else(|| unreadable(text))?, &named.column, named.kind) {
        (Number::Integer(status), Column::Status, _) => {
            let known = i32::try_from(status).is_ok_and(|status| WorkflowExecutionStatus::try_from(status).is_ok());
            let unknown = || FilterError::invalid(format!("invalid ExecutionStatus value {status}"));
            known.then_some(Value::Int(status)).ok_or_else(unknown)
        }
        (Number::Fraction(_), Column::Status | Column::Duration, _) => Err(FilterError::invalid(format!(
            "unexpected value type float64 for search attribute {}",
            if named.column == Column::Status { "ExecutionStatus" } else { "ExecutionDuration" }
        ))),
        (Number::Integer(number), _, Kind::Int | Kind::Double) => Ok(Value::Int(number)),
        (Number::Fraction(number), _, Kind::Int | Kind::Double) => Ok(Value::Double(number)),
        (Number::Integer(nanos), _, Kind::Datetime) => Ok(Value::Time(Timestamp::from_nanos(nanos))),
        (Number::Integer(number), ..) => Err(mistyped(named, &number.to_string(), "int64")),
        (Number::Fraction(number), ..) => Err(mistyped(named, &literal::shown_fraction(number), "float64")),
    }
}

fn unreadable(text: &str) -> FilterError {
    FilterError::invalid(format!("unable to parse value {}", literal::quoted(text)))
}

fn mistyped(named: &Named<'_>, value: &str, go_type: &str) -> FilterError {
    let (name, kind) = (named.name, named.kind.name());
    FilterError::invalid(format!(
        "invalid value type for search attribute {name} of type {kind}: {value} (type: {go_type})"
    ))
}

/// Names as `Running`, or as they are in the API's definition.
fn status_by_name(name: &str) -> Option<i32> {
    if let Some(status) = WorkflowExecutionStatus::from_str_name(name) {
        return Some(status as i32);
    }
    (0..).map_while(|status| WorkflowExecutionStatus::try_from(status).ok()).find_map(|status| {
        let status = status as i32;
        (status_name(i64::from(status)) == name).then_some(status)
    })
}

/// The name of a status in filters and counts.
pub(crate) fn status_name(status: i64) -> &'static str {
    let status = i32::try_from(status).ok().and_then(|status| WorkflowExecutionStatus::try_from(status).ok());
    match status.unwrap_or_default() {
        WorkflowExecutionStatus::Unspecified => "Unspecified",
        WorkflowExecutionStatus::Running => "Running",
        WorkflowExecutionStatus::Completed => "Completed",
        WorkflowExecutionStatus::Failed => "Failed",
        WorkflowExecutionStatus::Canceled => "Canceled",
        WorkflowExecutionStatus::Terminated => "Terminated",
        WorkflowExecutionStatus::ContinuedAsNew => "ContinuedAsNew",
        WorkflowExecutionStatus::TimedOut => "TimedOut",
        WorkflowExecutionStatus::Paused => "Paused",
    }
}

/// A value or list in SQL, for messages.
fn shown(operand: &Operand) -> String {
    match operand {
        Operand::One(Value::Keyword(text)) => format!("'{text}'"),
        Operand::One(_) => listed(operand),
        Operand::Many(items) => format!("({})", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}

/// A value or list as Go's `%v` shows it, for messages.
fn listed(operand: &Operand) -> String {
    match operand {
        Operand::One(Value::Keyword(text)) => text.clone(),
        Operand::One(Value::Int(number)) => number.to_string(),
        Operand::One(Value::Double(number)) => literal::shown_fraction(*number),
        Operand::One(Value::Bool(value)) => value.to_string(),
        Operand::One(Value::Time(at)) => at.as_nanos().to_string(),
        Operand::Many(items) => format!("[{}]", items.iter().map(listed).collect::<Vec<_>>().join(" ")),
    }
}
