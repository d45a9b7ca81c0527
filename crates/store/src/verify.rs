//! Checks a whole file at rest: what SQLite knows of it, every value's checksum, every record, and that the rows of each
//! run agree with each other and with its history.
//!
//! What crashes may leave behind is no problem: task rows of runs that are gone, and the rest of a run that is being
//! deleted after its retention.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use mainspring_api::{history::History, v1::history::HistoryEvent};
use mainspring_engine::{
    effect::Effect,
    invariants,
    state::{Run, RunNumber},
};
use mainspring_rt::Timestamp;

use crate::{
    Error, ShardId, Table, keys,
    record::{self, Current, Parked, ShardInfo, TaskRow, Unindexed},
    run,
    sqlite::Inspection,
};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A table, a row or a run.
    pub place: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last group transaction in the file.
    pub group: u64,
    pub rows: u64,
    pub runs: u64,
    /// Runs that are frozen: see their `D` rows.
    pub parked: u64,
    pub problems: u64,
}

/// Checks everything, and reports each problem as it is found.
pub fn verify(file: &Inspection, report: &mut dyn FnMut(Problem)) -> Summary {
    let summary = Summary { group: file.group(), ..Summary::default() };
    let mut verifier = Verifier { file, report, summary, runs: BTreeMap::new(), named: Vec::new() };
    verifier.structure();
    for table in Table::ALL {
        verifier.table(table);
    }
    verifier.names();
    let numbers: Vec<Key> = verifier.runs.keys().copied().collect();
    for key in numbers {
        verifier.run(key);
    }
    verifier.summary
}

/// A run's number in its shard.
type Key = (ShardId, RunNumber);

struct Verifier<'v> {
    file: &'v Inspection,
    report: &'v mut dyn FnMut(Problem),
    summary: Summary,
    /// Every run that has rows of its own; true if its hot row is among them.
    runs: BTreeMap<Key, bool>,
    /// Rows that name a run.
    named: Vec<(Bytes, Key)>,
}

impl Verifier<'_> {
    fn problem(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.summary.problems += 1;
        (self.report)(Problem { place: place.into(), what: what.into() });
    }

    fn structure(&mut self) {
        match self.file.structure() {
            Ok(lines) => lines.into_iter().for_each(|line| self.problem("the file", line)),
            Err(error) => self.problem("the file", error.to_string()),
        }
    }

    /// Each row by itself.
    fn table(&mut self, table: Table) {
        let file = self.file;
        let read = file.each(table, |key, value| {
            self.summary.rows += 1;
            if let Err(error) = self.row(table, key, Bytes::copy_from_slice(value)) {
                self.problem(format!("table {table:?}"), error.to_string());
            }
        });
        if let Err(error) = read {
            self.problem(format!("table {table:?}"), format!("{error}; the rows behind are not seen"));
        }
    }

    fn row(&mut self, table: Table, key: &[u8], value: Bytes) -> Result<(), Error> {
        let shard = ShardId(u16::from_be_bytes(key.first_chunk().copied().unwrap_or_default()));
        let unknown = || Error::Corrupt(format!("the row {} has a key that is none of ours", record::hex(key)));
        let run = || keys::parse_run(key).ok_or_else(unknown).map(|run| (shard, run));
        match (table, key.get(2).copied()) {
            (Table::History, _) => {
                keys::parse_history(key).ok_or_else(unknown)?;
                record::unseal(key, value)?;
            }
            (Table::State, Some(b'C' | b'U')) => {
                let named: Current = record::open(key, value)?;
                self.named.push((Bytes::copy_from_slice(key), (shard, RunNumber(named.run))));
            }
            (Table::State, Some(b'P')) => {
                self.runs.entry(run()?).or_insert(false);
                record::unseal(key, value)?;
            }
            (Table::State, Some(b'X')) => {
                self.runs.insert(run()?, true);
                record::unseal(key, value)?;
            }
            (Table::Queue, Some(b'T')) => {
                TaskRow::read(shard.0, key, value)?;
            }
            (Table::Queue, Some(b'O')) => {
                record::open::<Effect>(key, value)?;
            }

            (Table::Queue, Some(b'V')) => {
                record::open::<Unindexed>(key, value)?;
            }
            (Table::Queue, Some(b'D')) => {
                record::open::<Parked>(key, value)?;
                self.summary.parked += 1;
            }
            (Table::Meta, Some(b'I')) => {
                record::open::<ShardInfo>(key, value)?;
            }
            // A namespace is the node's to read.
            (Table::Queue, Some(b'W')) | (Table::Meta, Some(b'N')) => {
                record::unseal(key, value)?;
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// What is found by an id is there.
    fn names(&mut self) {
        for (row, key) in std::mem::take(&mut self.named) {
            if !self.runs.contains_key(&key) {
                self.problem(place(key), format!("the row {} names it, and it is not there", record::hex(&row)));
            }
        }
    }

    /// The rows of one run, and its history.
    fn run(&mut self, key: Key) {
        self.summary.runs += 1;
        let checked = self.check_run(key);
        for what in checked.unwrap_or_else(|error| vec![error.to_string()]) {
            self.problem(place(key), what);
        }
    }

    fn check_run(&self, (shard, number): Key) -> Result<Vec<String>, Error> {
        let hot = self.file.range(Table::State, &keys::Range::one(keys::execution(shard, number)))?;
        let items = self.file.range(Table::State, &keys::items(shard, number))?;
        let run = run::read(shard, number, hot.into_iter().next().map(|(_, value)| value), items)?;
        let history = self.history((shard, number))?;
        let mut problems = Vec::new();
        let wake_at = Timestamp::from_nanos(run.execution.wake_at);
        if run.is_open() && !wake_at.is_zero() && !self.file.has(Table::Queue, &keys::wake(shard, wake_at, number))? {
            problems.push("its wake row is missing".to_owned());
        }
        let first = history.first().map_or(run.execution.next_event_id, |event| event.event_id);
        if first > 1 && !run.is_open() {
            // Its retention is over and its rows go, page by page from the first event on.
            return Ok(problems);
        }
        problems.extend(about_history(&run, &history).err());
        problems.extend(invariants::check_run(&run).err());
        Ok(problems)
    }

    fn history(&self, (shard, number): Key) -> Result<Vec<HistoryEvent>, Error> {
        let mut events: Vec<HistoryEvent> = Vec::new();
        for (key, value) in self.file.range(Table::History, &keys::history_of(shard, number))? {
            let batch = History::from_chunks(vec![record::unseal(&key, value)?]).decode_events();
            let batch = batch.map_err(|error| Error::Corrupt(format!("the row {}: {error}", record::hex(&key))))?;
            let first = batch.first().map(|event| event.event_id);
            let after = events.last().map_or(first, |event| Some(event.event_id + 1));
            if first.is_none() || first != keys::parse_history(&key) || first != after {
                return Err(Error::Corrupt(format!(
                    "the row {} begins with event {first:?}, behind {:?}",
                    record::hex(&key),
                    events.last().map(|event| event.event_id)
                )));
            }
            events.extend(batch);
        }
        Ok(events)
    }
}

/// The run goes with its history.
fn about_history(run: &Run, history: &[HistoryEvent]) -> Result<(), String> {
    let next = history.last().map_or(1, |event| event.event_id + 1);
    if next != run.execution.next_event_id {
        return Err(format!("its history ends before event {next}, the run before {}", run.execution.next_event_id));
    }
    invariants::check_history(history)?;
    invariants::check_fold(run, history)
}

fn place((shard, number): Key) -> String {
    format!("run {} of shard {shard}", number.0)
}
