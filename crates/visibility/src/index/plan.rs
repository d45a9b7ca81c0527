//! Which index serves a filter.
//!
//! SQLite has no statistics here and must guess, so each statement names its index. Two ways to make a list: walk the runs
//! in the list's order and leave out what does not fit, which is quick when much fits; or fetch the few runs that one
//! test finds and sort them. Whether they are few is counted first, up to [`FEW`].

use rusqlite::{Connection, params_from_iter, types};

use mainspring_api::v1::enums::WorkflowExecutionStatus;

use crate::filter::{Column, Filter, Node, Order, Test, Value};

use super::{
    compile::{Compiler, Lookup, is_equality},
    format::OPEN,
    page::Token,
    row,
};

/// Runs that are rather fetched and sorted than met on a walk. Counting them costs a tenth of a millisecond.
const FEW: i64 = 2_000;

/// Tests of a filter that are counted.
const PROBES_MAX: usize = 4;

/// A statement to run.
#[derive(Debug)]
pub(super) struct Statement {
    pub sql: String,
    pub parameters: Vec<types::Value>,
}

/// The statement for a page of `page_size` and one row more.
pub(super) fn list(
    connection: &Connection,
    namespace: i64,
    filter: &Filter,
    after: Option<Token>,
    page_size: usize,
) -> rusqlite::Result<Statement> {
    let mut compiler = Compiler::new(connection, namespace, Lookup::PerRun);
    let from = from(connection, namespace, filter, after, &mut compiler)?;
    let limit = compiler.bind(i64::try_from(page_size).unwrap_or(i64::MAX).saturating_add(1));
    let columns = row::COLUMNS;
    let sql = format!("SELECT {columns} {from} ORDER BY closed DESC, started DESC, id DESC LIMIT {limit}");
    Ok(Statement { sql, parameters: compiler.parameters })
}

/// The statement whose rows are a count, and its status if counts are asked for each.
pub(super) fn count(connection: &Connection, namespace: i64, filter: &Filter) -> rusqlite::Result<Statement> {
    let mut compiler = Compiler::new(connection, namespace, Lookup::Before);
    let from = from(connection, namespace, filter, None, &mut compiler)?;
    let sql = match filter.group_by_status {
        true => format!("SELECT count(*), status {from} GROUP BY status ORDER BY status"),
        false => format!("SELECT count(*) {from}"),
    };
    Ok(Statement { sql, parameters: compiler.parameters })
}

/// FROM and WHERE.
fn from(
    connection: &Connection,
    namespace: i64,
    filter: &Filter,
    after: Option<Token>,
    compiler: &mut Compiler<'_>,
) -> rusqlite::Result<String> {
    let tests = top_tests(filter.condition.as_ref());
    let mut access = access(connection, namespace, &tests)?;
    if filter.group_by_status && matches!(access, Access::Time) {
        access = Access::Status;
    }
    if matches!(access, Access::Run | Access::Workflow | Access::Value(..)) {
        // Few runs are met, also by a count.
        compiler.lookup = Lookup::PerRun;
    }
    let mut wanted = vec![format!("namespace = {}", compiler.bind(namespace))];
    if !filter.names_division {
        wanted.push("division IS NULL".to_owned());
    }
    if let Access::Value(column, test) = access {
        let runs = compiler.runs_by_value(column, test)?;
        wanted.extend(runs.map(|runs| format!("id IN ({runs})")));
    }
    for (column, test) in &tests {
        let (lowest, highest) = bounds(column, test);
        wanted.extend(lowest.map(|lowest| format!("closed >= {}", compiler.bind(lowest))));
        let highest = highest.filter(|_| after.is_none());
        wanted.extend(highest.map(|highest| format!("closed <= {}", compiler.bind(highest))));
    }
    if let Some(Token { closed, started, id }) = after {
        let (closed, started, id) = (compiler.bind(closed), compiler.bind(started), compiler.bind(id));
        wanted.push(format!("(closed, started, id) < ({closed}, {started}, {id})"));
    }
    if let Some(condition) = &filter.condition {
        wanted.push(compiler.node(condition)?.sql);
    }
    Ok(format!("FROM run {} WHERE {}", access.sql(), wanted.join(" AND ")))
}

/// How runs are found.
enum Access<'a> {
    Run,
    Workflow,
    /// The runs with some values of a search attribute.
    Value(&'a Column, &'a Test),
    Type,
    Status,
    Time,
}

impl Access<'_> {
    fn sql(&self) -> &'static str {
        match self {
            Access::Run => "INDEXED BY by_run",
            Access::Workflow => "INDEXED BY by_workflow",
            Access::Value(..) => "NOT INDEXED",
            Access::Type => "INDEXED BY by_type",
            Access::Status => "INDEXED BY by_status",
            Access::Time => "INDEXED BY by_time",
        }
    }
}

/// The tests that all have to be true.
fn top_tests(condition: Option<&Node>) -> Vec<(&Column, &Test)> {
    let mut tests = Vec::new();
    let mut open: Vec<&Node> = condition.into_iter().collect();
    while let Some(node) = open.pop() {
        match node {
            Node::And(all) => open.extend(all.iter().rev()),
            Node::Test(column, test) => tests.push((column, test)),
            Node::Or(_) | Node::Not(_) => {}
        }
    }
    tests
}

fn access<'a>(
    connection: &Connection,
    namespace: i64,
    tests: &[(&'a Column, &'a Test)],
) -> rusqlite::Result<Access<'a>> {
    let equals = |wanted: Column| tests.iter().any(|(column, test)| **column == wanted && is_equality(test));
    if equals(Column::RunId) {
        return Ok(Access::Run);
    }
    if equals(Column::WorkflowId) {
        return Ok(Access::Workflow);
    }
    let mut fewest = FEW;
    let is = |wanted: Column| {
        tests.iter().any(|(column, test)| **column == wanted && matches!(test, Test::Compare(Order::Equal, _)))
    };
    let mut access = match (is(Column::WorkflowType), is(Column::Status)) {
        (true, _) => Access::Type,
        (false, true) => Access::Status,
        (false, false) => Access::Time,
    };
    let can_be_few = |column: &Column, test: &Test| match column {
        Column::WorkflowId => matches!(test, Test::StartsWith(_)),
        Column::Attribute { .. } => !matches!(test, Test::IsNull | Test::Phrases(_)),
        _ => false,
    };
    for (column, test) in tests.iter().filter(|(column, test)| can_be_few(column, test)).take(PROBES_MAX) {
        let Some(found) = probe(connection, namespace, column, test, fewest)? else { continue };
        if found < fewest {
            fewest = found;
            access = if **column == Column::WorkflowId { Access::Workflow } else { Access::Value(column, test) };
        }
    }
    Ok(access)
}

/// Counts what one test finds, up to `limit`. None when there is no index for it.
fn probe(
    connection: &Connection,
    namespace: i64,
    column: &Column,
    test: &Test,
    limit: i64,
) -> rusqlite::Result<Option<i64>> {
    let mut compiler = Compiler::new(connection, namespace, Lookup::Before);
    let found = if *column == Column::WorkflowId {
        let namespace = compiler.bind(namespace);
        let test = compiler.node(&Node::Test(column.clone(), test.clone()))?.sql;
        format!("SELECT 1 FROM run INDEXED BY by_workflow WHERE namespace = {namespace} AND {test}")
    } else {
        match compiler.runs_by_value(column, test)? {
            Some(runs) => runs,
            None => return Ok(None),
        }
    };
    let limit = compiler.bind(limit);
    let mut select = connection.prepare_cached(&format!("SELECT count(*) FROM ({found} LIMIT {limit})"))?;
    select.query_row(params_from_iter(&compiler.parameters), |row| row.get(0)).map(Some)
}

/// The part of the walk that can hold runs for which the test is true: it is in the order of close times, open runs last.
/// Of a list that goes on, the upper end is where it goes on, and that is never above the one found here.
fn bounds(column: &Column, test: &Test) -> (Option<i64>, Option<i64>) {
    let nanos = |value: &Value| if let Value::Time(at) = value { Some(at.as_nanos()) } else { None };
    match (column, test) {
        (Column::CloseTime, Test::Compare(Order::Equal, at)) => (nanos(at), nanos(at)),
        (Column::CloseTime, Test::Compare(Order::Less | Order::LessOrEqual, at)) => (None, nanos(at)),
        (Column::CloseTime, Test::Compare(Order::Greater | Order::GreaterOrEqual, at)) => (nanos(at), None),
        (Column::CloseTime, Test::Between(from, to)) => (nanos(from), nanos(to)),
        (Column::Status, Test::Compare(Order::Equal, status)) => status_bounds(std::slice::from_ref(status)),
        (Column::Status, Test::In(statuses)) => status_bounds(statuses),
        _ => (None, None),
    }
}

fn status_bounds(statuses: &[Value]) -> (Option<i64>, Option<i64>) {
    let open = [WorkflowExecutionStatus::Running as i64, WorkflowExecutionStatus::Paused as i64];
    let of_open =
        statuses.iter().filter(|status| matches!(status, Value::Int(status) if open.contains(status))).count();
    match of_open {
        0 => (None, Some(OPEN - 1)),
        count if count == statuses.len() => (Some(OPEN), None),
        _ => (None, None),
    }
}
