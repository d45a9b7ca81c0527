//! What the visibility index is told: each run that changed in a way that lists show, after the commit.
//!
//! A `V` row is written with the change and deleted once the index has it on disk, some commits later. So the index may
//! be behind, and hears of everything in the end: what a crash left is read when the shard opens, and what the index
//! could not take is read again later. A run that changes again before the index heard of it is written there once. An
//! index that was lost is filled from all runs there are.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use mainspring_api::{ids::NamespaceId, v1::enums::WorkflowExecutionStatus as Status};
use mainspring_engine::{
    outcome::RunChange,
    state::{Execution, Fixed, ItemKey, Properties, Run, RunNumber},
};
use mainspring_rt::Timestamp;
use mainspring_store::{
    Error as StoreError, Page, Table,
    keys::{self, Range},
    record::{self, Unindexed},
};
use mainspring_visibility::{Change, Record};

use super::{
    Action, ChainKey, Pause, Shard,
    batch::Out,
    loading::{Reading, page},
};

/// Runs read at once when a shard opens.
const RUNS_AT_ONCE: usize = 100;
/// Rows that the index has are deleted with other writes, or by themselves when so many wait or the first waits so long.
const DELETE_AT: usize = 256;
const DELETE_AFTER: Duration = Duration::from_secs(2);
/// Rows of a page of all runs.
const PAGE_ROWS: usize = 500;
/// How long the index is left alone after it took no more.
const PAUSE: Duration = Duration::from_secs(1);
/// The version of a run that is told only because the index was lost: any other is newer.
const REFILLED: i64 = 0;

/// The runs that the index has yet to hear of.
#[derive(Default)]
pub(super) struct Indexing {
    /// The newest version of each that was sent.
    sent: BTreeMap<RunNumber, i64>,
    /// To be read and told: left from before the shard opened, or not taken by the index.
    left: VecDeque<(RunNumber, i64)>,
    reading: bool,
    /// Before those are gone on with.
    pause: Pause,
    /// The index was lost and is being filled: all runs were not yet read; some were not yet told.
    refilling: Option<Refill>,
    /// Known to the index; their rows can go.
    done: BTreeSet<RunNumber>,
    /// Before those go even if nothing else is written.
    done_pause: Pause,
}

enum Refill {
    /// From this place on; the read is under way, or is to be tried again.
    Reading { from: Range, again: bool },
    /// So many runs are on their way.
    Telling(usize),
}

impl Indexing {
    /// A row of an earlier process.
    pub(super) fn leave(&mut self, run: RunNumber, row: &Unindexed) {
        self.left.push_back((run, row.version));
    }

    /// When rows are to be deleted even if nothing else is written.
    pub(super) fn next(&self) -> Timestamp {
        let delete = if self.done.is_empty() { Timestamp::MAX } else { self.done_pause.until() };
        let again = matches!(self.refilling, Some(Refill::Reading { again: true, .. }));
        let resume = if (self.left.is_empty() && !again) || self.reading { Timestamp::MAX } else { self.pause.until() };
        delete.min(resume)
    }
}

/// Whether lists show anything of the change.
pub(super) fn shows(change: &RunChange, run: &Run) -> bool {
    change.created || !run.is_open() || change.touched.contains(&ItemKey::Properties)
}

impl<A, R> Shard<A, R> {
    /// Writes down that the index has to hear of the run, and tells it after the commit.
    pub(super) fn mark_unindexed(&mut self, run: RunNumber, key: &ChainKey, of: &Run) {
        let record = describe(key, &of.fixed, &of.execution, &of.properties);
        let row = Unindexed { version: record.version, ..Unindexed::default() };
        self.mark(run, &row, Change::Upsert(record));
    }

    /// The run is deleted: so is its entry.
    pub(super) fn mark_deleted(&mut self, run: RunNumber, key: &ChainKey, run_id: &str) {
        let row = Unindexed {
            version: i64::MAX,
            deleted_namespace_id: key.namespace.to_string(),
            deleted_run_id: run_id.to_owned(),
        };
        let change = Change::Delete { namespace: key.namespace, run_id: run_id.to_owned() };
        self.mark(run, &row, change);
    }

    fn mark(&mut self, run: RunNumber, row: &Unindexed, change: Change) {
        self.indexing.done.remove(&run);
        self.indexing.sent.insert(run, row.version);
        self.batch.put(Table::Queue, keys::unindexed(self.id, run), record::seal(row));
        self.batch.hold(self.batch.seq(), Out::Index { run, version: row.version, change });
    }

    /// The index has these on disk.
    pub(super) fn indexed(&mut self, runs: Vec<(RunNumber, i64)>) {
        for (run, version) in runs {
            if let Some(Refill::Telling(left)) = &mut self.indexing.refilling
                && version == REFILLED
            {
                *left = left.saturating_sub(1);
            }
            if self.indexing.sent.get(&run) == Some(&version) {
                self.indexing.sent.remove(&run);
                if self.indexing.done.is_empty() {
                    self.indexing.done_pause = Pause::begin(self.now, DELETE_AFTER);
                }
                self.indexing.done.insert(run);
            }
        }
        self.end_refill();
    }

    /// The index could not take these now: they are read and told again.
    pub(super) fn not_indexed(&mut self, runs: Vec<(RunNumber, i64)>) {
        self.indexing.pause = Pause::begin(self.now, PAUSE);
        for (run, version) in runs {
            if self.indexing.sent.get(&run) == Some(&version) {
                self.indexing.left.push_back((run, version));
            } else {
                // A newer version is on its way.
                self.indexed(vec![(run, version)]);
            }
        }
    }

    /// Reads all runs for an index that was lost.
    pub(super) fn refill_index(&mut self) {
        if (self.settings.refill_index)() {
            self.read_all_runs(keys::kind(self.id, b'X'));
        }
    }

    fn read_all_runs(&mut self, range: Range) {
        self.indexing.refilling = Some(Refill::Reading { from: range.clone(), again: false });
        self.read(vec![page(Table::State, range, PAGE_ROWS)], Reading::AllRuns);
    }

    pub(super) fn all_runs_read(&mut self, pages: Result<Vec<Page>, StoreError>) {
        let Ok(Some(page)) = pages.map(|pages| pages.into_iter().next()) else {
            tracing::error!(shard = self.id.0, "runs cannot be read for the visibility index");
            self.indexing.pause = Pause::begin(self.now, PAUSE);
            if let Some(Refill::Reading { again, .. }) = &mut self.indexing.refilling {
                *again = true;
            }
            return;
        };
        for (key, _) in &page.rows {
            let Some(run) = keys::parse_run(key) else { continue };
            if !self.indexing.sent.contains_key(&run) {
                self.indexing.left.push_back((run, REFILLED));
            }
        }
        match page.rows.last() {
            Some((last, _)) if page.more => {
                self.read_all_runs(Range { from: keys::after(last), to: keys::kind(self.id, b'X').to });
            }
            _ => {
                let left = self.indexing.left.iter().filter(|(_, version)| *version == REFILLED).count();
                let told = self.indexing.sent.values().filter(|version| **version == REFILLED).count();
                self.indexing.refilling = Some(Refill::Telling(left + told));
                self.end_refill();
            }
        }
        self.index_left();
    }

    fn end_refill(&mut self) {
        if let Some(Refill::Telling(0)) = self.indexing.refilling {
            self.indexing.refilling = None;
            self.actions.push(Action::Refilled);
        }
    }

    /// Deletes rows that the index has, along with whatever else is written.
    pub(super) fn forget_indexed(&mut self) {
        let due = self.indexing.done.len() >= DELETE_AT || self.indexing.done_pause.is_over(self.now);
        if due || self.batch.has_writes() {
            for run in std::mem::take(&mut self.indexing.done) {
                self.batch.delete(Table::Queue, keys::unindexed(self.id, run));
            }
        }
    }

    /// Tells the index of what it has not heard, some runs at a time.
    pub(super) fn index_left(&mut self) {
        if self.indexing.reading || !self.indexing.pause.is_over(self.now) {
            return;
        }
        if let Some(Refill::Reading { from, again: true }) = &self.indexing.refilling {
            return self.read_all_runs(from.clone());
        }
        let mut runs = Vec::new();
        let mut scans = Vec::new();
        while runs.len() < RUNS_AT_ONCE
            && let Some((run, version)) = self.indexing.left.pop_front()
        {
            if self.indexing.sent.get(&run).is_some_and(|sent| *sent > version) {
                self.indexed(vec![(run, version)]);
                continue;
            }
            self.indexing.sent.insert(run, version);
            runs.push((run, version));
            scans.push(page(Table::Queue, Range::one(keys::unindexed(self.id, run)), 1));
            scans.push(page(Table::State, Range::one(keys::execution(self.id, run)), 1));
            scans.push(page(Table::State, Range::one(keys::fixed(self.id, run)), 1));
            scans.push(page(Table::State, Range::one(keys::item(self.id, run, &ItemKey::Properties)), 1));
        }
        if !runs.is_empty() {
            self.indexing.reading = true;
            self.read(scans, Reading::Unindexed { runs });
        }
    }

    pub(super) fn unindexed_read(&mut self, runs: Vec<(RunNumber, i64)>, pages: Result<Vec<Page>, StoreError>) {
        self.indexing.reading = false;
        let pages = match pages {
            Ok(pages) => pages,
            Err(error) => {
                tracing::error!(shard = self.id.0, %error, "runs cannot be read for the visibility index");
                self.indexing.left.extend(runs);
                self.indexing.pause = Pause::begin(self.now, PAUSE);
                return;
            }
        };
        for ((run, version), rows) in runs.into_iter().zip(pages.chunks(4)) {
            if self.indexing.sent.get(&run) != Some(&version) {
                // Changed meanwhile: the newer state is on its way.
                self.indexed(vec![(run, version)]);
                continue;
            }
            match read_change(rows) {
                Some(change) => self.actions.push(Action::Index { run, version, change }),
                None => self.indexed(vec![(run, version)]),
            }
        }
        self.index_left();
    }
}

/// A run that is damaged has nothing to show.
fn read_change(rows: &[Page]) -> Option<Change> {
    fn row<M: prost::Message + Default>(page: &Page) -> Option<M> {
        let (key, value) = page.rows.first()?;
        record::open(key, value.clone()).ok()
    }
    let [unindexed, execution, fixed, properties] = rows else { return None };
    if let Some(deleted) = row::<Unindexed>(unindexed).filter(|row| !row.deleted_run_id.is_empty()) {
        let namespace = NamespaceId(uuid::Uuid::parse_str(&deleted.deleted_namespace_id).ok()?);
        return Some(Change::Delete { namespace, run_id: deleted.deleted_run_id });
    }
    let (execution, fixed) = (row::<Execution>(execution)?, row::<Fixed>(fixed)?);
    let key = super::loading::chain_key(&fixed).ok()?;
    Some(Change::Upsert(describe(&key, &fixed, &execution, &row::<Properties>(properties).unwrap_or_default())))
}

/// What lists show of a run.
fn describe(key: &ChainKey, fixed: &Fixed, execution: &Execution, properties: &Properties) -> Record {
    let parent = fixed.parent.clone().unwrap_or_default();
    let open = matches!(execution.status(), Status::Running | Status::Paused);
    Record {
        namespace: key.namespace,
        workflow_id: fixed.workflow_id.clone(),
        run_id: fixed.run_id.clone(),
        workflow_type: fixed.workflow_type.clone(),
        task_queue: fixed.task_queue.clone(),
        status: execution.status,
        start_time: Timestamp::from_nanos(fixed.started_at),
        execution_time: Timestamp::from_nanos(fixed.execution_at),
        close_time: Timestamp::from_nanos(if open { 0 } else { execution.closed_at }),
        history_length: execution.next_event_id - 1,
        history_bytes: execution.history_bytes,
        state_transitions: execution.state_transitions,
        parent_workflow_id: parent.workflow_id,
        parent_run_id: parent.run_id,
        root_workflow_id: fixed.root_workflow_id.clone(),
        root_run_id: fixed.root_run_id.clone(),
        memo: properties.memo.clone(),
        search_attributes: properties.search_attributes.clone(),
        version: execution.state_transitions,
    }
}
