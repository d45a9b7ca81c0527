//! What filters can ask about: the system's columns and search attributes, and those of the namespace.

use crate::attribute::Kind;

use super::FilterError;

/// A column of the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// WorkflowId
    WorkflowId,
    /// RunId
    RunId,
    /// WorkflowType
    WorkflowType,
    /// TaskQueue
    TaskQueue,
    /// ExecutionStatus, compared by its number on the wire.
    Status,
    /// StartTime
    StartTime,
    /// ExecutionTime
    ExecutionTime,
    /// CloseTime; absent while the run is open.
    CloseTime,
    /// ExecutionDuration, nanoseconds from execution time to close time; absent while the run is open.
    Duration,
    /// HistoryLength; absent while the run is open, as are the next two.
    HistoryLength,
    /// HistorySizeBytes
    HistoryBytes,
    /// StateTransitionCount
    StateTransitions,
    /// ParentWorkflowId; absent without a parent.
    ParentWorkflowId,
    /// ParentRunId; absent without a parent.
    ParentRunId,
    /// RootWorkflowId
    RootWorkflowId,
    /// RootRunId
    RootRunId,
    /// TemporalNamespaceDivision; absent in ordinary workflows.
    Division,
    /// Any other search attribute: the system's and the namespace's.
    Attribute {
        /// Its name.
        name: String,
        /// Its type; a value of another type is not there.
        kind: Kind,
    },
}

/// The prefix of the system's names, which may be left out or added.
const RESERVED_PREFIX: &str = "Temporal";

/// What schedules call their workflow's id.
const SCHEDULE_ID: &str = "ScheduleId";

/// The attribute that hides a workflow from ordinary lists.
pub(crate) const DIVISION: &str = "TemporalNamespaceDivision";

const COLUMNS: &[(&str, Column, Kind)] = &[
    ("WorkflowId", Column::WorkflowId, Kind::Keyword),
    ("RunId", Column::RunId, Kind::Keyword),
    ("WorkflowType", Column::WorkflowType, Kind::Keyword),
    ("TaskQueue", Column::TaskQueue, Kind::Keyword),
    ("ExecutionStatus", Column::Status, Kind::Keyword),
    ("StartTime", Column::StartTime, Kind::Datetime),
    ("ExecutionTime", Column::ExecutionTime, Kind::Datetime),
    ("CloseTime", Column::CloseTime, Kind::Datetime),
    ("ExecutionDuration", Column::Duration, Kind::Int),
    ("HistoryLength", Column::HistoryLength, Kind::Int),
    ("HistorySizeBytes", Column::HistoryBytes, Kind::Int),
    ("StateTransitionCount", Column::StateTransitions, Kind::Int),
    ("ParentWorkflowId", Column::ParentWorkflowId, Kind::Keyword),
    ("ParentRunId", Column::ParentRunId, Kind::Keyword),
    ("RootWorkflowId", Column::RootWorkflowId, Kind::Keyword),
    ("RootRunId", Column::RootRunId, Kind::Keyword),
    (DIVISION, Column::Division, Kind::Keyword),
];

/// The system's search attributes that are stored as the namespace's own are.
const PREDEFINED: &[(&str, Kind)] = &[
    ("BatcherNamespace", Kind::Keyword),
    ("BatcherUser", Kind::Keyword),
    ("BinaryChecksums", Kind::KeywordList),
    ("BuildIds", Kind::KeywordList),
    ("TemporalChangeVersion", Kind::KeywordList),
    ("TemporalExternalPayloadCount", Kind::Int),
    ("TemporalExternalPayloadSizeBytes", Kind::Int),
    ("TemporalPauseInfo", Kind::KeywordList),
    ("TemporalReportedProblems", Kind::KeywordList),
    ("TemporalSchedulePaused", Kind::Bool),
    ("TemporalScheduledById", Kind::Keyword),
    ("TemporalScheduledStartTime", Kind::Datetime),
    ("TemporalUsedWorkerDeploymentVersions", Kind::KeywordList),
    ("TemporalWorkerDeployment", Kind::Keyword),
    ("TemporalWorkerDeploymentVersion", Kind::Keyword),
    ("TemporalWorkflowVersioningBehavior", Kind::Keyword),
];

/// The column of that name and its type. The namespace's own attributes hide the system's short names, as in
/// temporalio/temporal v1.32.0 `common/persistence/visibility/store/query/resolve.go`.
pub(super) fn find(name: &str, custom: &dyn Fn(&str) -> Option<Kind>) -> Result<(Column, Kind), FilterError> {
    if let Some(found) = system(name) {
        return Ok(found);
    }
    if let Some(kind) = custom(name) {
        return Ok((Column::Attribute { name: name.to_owned(), kind }, kind));
    }
    let short = name.strip_prefix(RESERVED_PREFIX).unwrap_or(name);
    if short == SCHEDULE_ID {
        return Ok((Column::WorkflowId, Kind::Keyword));
    }
    let found = system(&format!("{RESERVED_PREFIX}{name}")).or_else(|| system(short));
    found.ok_or_else(|| FilterError::unknown_attribute(name))
}

fn system(name: &str) -> Option<(Column, Kind)> {
    if let Some((_, column, kind)) = COLUMNS.iter().find(|(column, ..)| *column == name) {
        return Some((column.clone(), *kind));
    }
    let (name, kind) = PREDEFINED.iter().find(|(predefined, _)| *predefined == name)?;
    Some((Column::Attribute { name: (*name).to_owned(), kind: *kind }, *kind))
}
