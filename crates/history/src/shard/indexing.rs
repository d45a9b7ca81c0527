//! What the visibility index is told: each run that changed in a way that lists show, after the commit.
//!
//! A `V` row is written with the change and deleted once the index has it on disk, some commits later. So the index may
//! be behind, and hears of everything in the end: what a crash left is read when the shard opens. A run that changes
//! again before the index heard of it is written there once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use mainspring_api::v1::enums::WorkflowExecutionStatus as Status;
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

use super::{
    Action, ChainKey, Shard,
    batch::Out,
    loading::{Reading, page},
};

/// Runs read at once when a shard opens.
const RUNS_AT_ONCE: usize = 100;
/// How long runs wait whose rows could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Rows that the index has are deleted with other writes, or by themselves when so many wait or the first waits so long.
const DELETE_AT: usize = 256;
const DELETE_AFTER: Duration = Duration::from_secs(2);

/// The runs that the index has yet to hear of.
#[derive(Default)]
pub(super) struct Indexing {
    /// The newest version of each that was sent.
    sent: BTreeMap<RunNumber, i64>,
    /// Left over from before the shard opened.
    left: VecDeque<(RunNumber, Unindexed)>,
    /// Those could not be read: not to be tried again before. `None` while they are read.
    left_at: Option<Timestamp>,
    /// Known to the index; their rows can go.
    done: BTreeSet<RunNumber>,
    done_since: Timestamp,
}

impl Indexing {
    /// A row of an earlier process.
    pub(super) fn leave(&mut self, run: RunNumber, row: Unindexed) {
        self.left.push_back((run, row));
    }

    /// When rows are to be deleted even if nothing else is written.
    pub(super) fn next(&self) -> Timestamp {
        let delete = if self.done.is_empty() { Timestamp::MAX } else { self.done_since + DELETE_AFTER };
        self.left_at.unwrap_or(Timestamp::MAX).min(delete)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.left.is_empty()
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
        self.mark(run, &row, Change::Upsert(Box::new(record)));
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
            if self.indexing.sent.get(&run) == Some(&version) {
                self.indexing.sent.remove(&run);
                if self.indexing.done.is_empty() {
                    self.indexing.done_since = self.clock;
                }
                self.indexing.done.insert(run);
            }
        }
    }

    /// Deletes rows that the index has, along with whatever else is written.
    pub(super) fn forget_indexed(&mut self) {
        let due = self.indexing.done.len() >= DELETE_AT || self.indexing.done_since + DELETE_AFTER <= self.clock;
        if due || self.batch.has_writes() {
            for run in std::mem::take(&mut self.indexing.done) {
                self.batch.delete(Table::Queue, keys::unindexed(self.id, run));
            }
        }
    }

    /// Tells the index of what an earlier process left, some runs at a time.
    pub(super) fn index_left(&mut self) {
        let mut runs = Vec::new();
        let mut scans = Vec::new();
        while runs.len() < RUNS_AT_ONCE
            && let Some((run, row)) = self.indexing.left.pop_front()
        {
            self.indexing.sent.insert(run, row.version);
            if !row.deleted_run_id.is_empty() {
                if let Ok(namespace) = uuid::Uuid::parse_str(&row.deleted_namespace_id) {
                    let namespace = mainspring_api::ids::NamespaceId(namespace);
                    let change = Change::Delete { namespace, run_id: row.deleted_run_id };
                    self.actions.push(Action::Index { run, version: row.version, change });
                }
                continue;
            }
            for row in [
                keys::execution(self.id, run),
                keys::fixed(self.id, run),
                keys::item(self.id, run, &ItemKey::Properties),
            ] {
                scans.push(page(Table::State, Range::one(row), 1));
            }
            runs.push((run, row.version));
        }
        if !runs.is_empty() {
            self.read(scans, Reading::Unindexed { runs });
        }
    }

    /// Goes on with what could not be read.
    pub(super) fn index_again(&mut self) {
        if self.indexing.left_at.take_if(|at| *at <= self.clock).is_some() {
            self.index_left();
        }
    }

    pub(super) fn unindexed_read(&mut self, runs: Vec<(RunNumber, i64)>, pages: Result<Vec<Page>, StoreError>) {
        let pages = match pages {
            Ok(pages) => pages,
            Err(error) => {
                tracing::error!(shard = self.id.0, %error, "runs cannot be read for the visibility index");
                for (run, version) in runs {
                    if self.indexing.sent.get(&run) == Some(&version) {
                        self.indexing.leave(run, Unindexed { version, ..Unindexed::default() });
                    }
                }
                self.indexing.left_at = Some(self.clock + READ_AGAIN);
                return;
            }
        };
        for ((run, version), rows) in runs.into_iter().zip(pages.chunks(3)) {
            // Changed meanwhile: the newer state is on its way.
            if self.indexing.sent.get(&run) != Some(&version) {
                continue;
            }
            match read_record(rows) {
                Some(record) => {
                    let change = Change::Upsert(Box::new(record));
                    self.actions.push(Action::Index { run, version, change });
                }
                None => self.indexed(vec![(run, version)]),
            }
        }
        self.index_left();
    }
}

/// A run that is gone or damaged has nothing to show.
fn read_record(rows: &[Page]) -> Option<Record> {
    fn row<M: prost::Message + Default>(page: &Page) -> Option<M> {
        let (key, value) = page.rows.first()?;
        record::open(key, value.clone()).ok()
    }
    let [execution, fixed, properties] = rows else { return None };
    let (execution, fixed) = (row::<Execution>(execution)?, row::<Fixed>(fixed)?);
    let key = super::loading::chain_key(&fixed).ok()?;
    Some(describe(&key, &fixed, &execution, &row::<Properties>(properties).unwrap_or_default()))
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

#[derive(Clone, Debug)]
pub enum Change {
    Upsert(Box<Record>),
    Delete { namespace: mainspring_api::ids::NamespaceId, run_id: String },
}
#[derive(Clone, Debug)]
pub struct Record {
    pub namespace: mainspring_api::ids::NamespaceId,
    pub workflow_id: String,
    pub run_id: String,
    pub workflow_type: String,
    pub task_queue: String,
    pub status: i32,
    pub start_time: Timestamp,
    pub execution_time: Timestamp,
    pub close_time: Timestamp,
    pub history_length: i64,
    pub history_bytes: i64,
    pub state_transitions: i64,
    pub parent_workflow_id: String,
    pub parent_run_id: String,
    pub root_workflow_id: String,
    pub root_run_id: String,
    pub memo: BTreeMap<String, mainspring_api::v1::Payload>,
    pub search_attributes: BTreeMap<String, mainspring_api::v1::Payload>,
    pub version: i64,
}
