//! What the index knows of a run.

use std::collections::BTreeMap;

use mainspring_api::{
    ids::NamespaceId,
    v1::{Payload, enums::WorkflowExecutionStatus},
};
use mainspring_rt::Timestamp;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The namespace it runs in.
    pub namespace: NamespaceId,
    /// Its workflow id.
    pub workflow_id: String,
    /// Its run id, with the namespace the key of the record.
    pub run_id: String,
    /// The workflow's type.
    pub workflow_type: String,
    /// The task queue of its workflow tasks.
    pub task_queue: String,
    /// The wire's number of its status.
    pub status: i32,
    /// When it was started.
    pub start_time: Timestamp,
    /// When its first workflow task was or will be due.
    pub execution_time: Timestamp,
    /// When it was closed; [`Timestamp::ZERO`] while it is open. Ignored while the status is Running or Paused.
    pub close_time: Timestamp,
    /// Events in its history, from 0. Filters see this and the next two once it is closed.
    pub history_length: i64,
    /// Bytes of its history, from 0.
    pub history_bytes: i64,
    /// Transitions of its state, from 0.
    pub state_transitions: i64,
    /// The workflow that started it as a child; empty for none.
    pub parent_workflow_id: String,
    /// The run that started it as a child; empty for none.
    pub parent_run_id: String,
    /// The first of its line of parents; itself without one. Empty stands for itself.
    pub root_workflow_id: String,
    /// The run of that first one.
    pub root_run_id: String,
    /// Its memo.
    pub memo: BTreeMap<String, Payload>,
    /// Its search attributes under their public names. One without a type in its metadata is listed, never found.
    pub search_attributes: BTreeMap<String, Payload>,
    /// Rises with each change of the run.
    pub version: i64,
}

impl Record {
    /// Not closed: so says the status, whatever the close time.
    pub(crate) fn is_open(&self) -> bool {
        [WorkflowExecutionStatus::Running as i32, WorkflowExecutionStatus::Paused as i32].contains(&self.status)
    }

    /// True when it has no parent's line but its own.
    pub(crate) fn is_root(&self) -> bool {
        self.root_run_id.is_empty() || (self.root_run_id == self.run_id && self.root_workflow_id == self.workflow_id)
    }
}

/// One change of the index.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every change is the large one")]
pub enum Change {
    /// The run as it stands; ignored if the index has it in a newer version. The workflow's id and type and the start
    /// of a run do not change, so they may not depend on the version.
    Upsert(Record),
    /// The run is gone.
    Delete {
        /// The namespace it ran in.
        namespace: NamespaceId,
        /// Its run id.
        run_id: String,
    },
    /// Everything up to here is in the index with this batch; see [`crate::Reader::position`].
    Position {
        /// Whose position it is: there may be several sources.
        name: String,
        /// From 0 to 2^63 - 1, of the source's own meaning.
        value: u64,
    },
}
