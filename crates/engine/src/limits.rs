//! Every ceiling, with its unit, its default and the upstream setting it answers to.

use std::time::Duration;

/// The ceilings in force for a namespace.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one payload field; more is refused. `limit.blobSize.error`
    pub blob_bytes_max: usize,
    /// Bytes of one id or name. `limit.maxIDLength`
    pub id_bytes_max: usize,
    /// Events of a run before it is terminated. `limit.historyCount.error`
    pub history_events_max: i64,
    /// Bytes of history before a run is terminated. `limit.historySize.error`
    pub history_bytes_max: i64,
    /// Events from which continue-as-new is suggested. `limit.historyCount.suggestContinueAsNew`
    pub suggest_continue_events: i64,
    /// Bytes from which continue-as-new is suggested. `limit.historySize.suggestContinueAsNew`
    pub suggest_continue_bytes: i64,
    /// Activities open at once. `limit.numPendingActivities.error`
    pub pending_activities_max: usize,
    /// Children open at once. `limit.numPendingChildExecutions.error`
    pub pending_children_max: usize,
    /// Signals to others on their way at once. `limit.numPendingSignals.error`
    pub pending_signals_max: usize,
    /// Cancel requests to others on their way at once. `limit.numPendingCancelRequests.error`
    pub pending_cancels_max: usize,
    /// Signals a run takes. `history.maximumSignalsPerExecution`
    pub signals_max: i64,
    /// Updates of a run under way at once. `history.maxInFlightUpdates`
    pub updates_in_flight_max: usize,
    /// Bytes of a run's updates that no worker has answered. `history.maxInFlightUpdatePayloads`
    pub updates_bytes_max: usize,
    /// Updates a run takes. `history.maxTotalUpdates`
    pub updates_max: usize,
    /// Events held back while a workflow task runs. `history.maximumBufferedEventsBatch`
    pub buffered_events_max: usize,
    /// Bytes held back while a workflow task runs. `history.maximumBufferedEventsSizeInBytes`
    pub buffered_bytes_max: usize,
    /// Workflow task timeout when none is given. `history.defaultWorkflowTaskTimeout`
    pub task_timeout_default: Duration,
    /// Workflow task timeout at most. `history.maxWorkflowTaskTimeout`
    pub task_timeout_max: Duration,
    /// Longest pause that a failing workflow task's timeout adds. `history.workflowTaskRetryMaxInterval`
    pub task_retry_interval_max: Duration,
    /// How long a workflow task may go on heartbeating without a command. `history.workflowTaskHeartbeatTimeout`
    pub task_heartbeat_max: Duration,
    /// Shortest time from one run's start to that of the run that it continues as. `history.continueAsNewMinInterval`
    pub continue_interval_min: Duration,
    /// Bytes of a failure kept between attempts. `limit.mutableStateActivityFailureSize.error`
    pub retained_failure_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            blob_bytes_max: 2 << 20,
            id_bytes_max: 1000,
            history_events_max: 51_200,
            history_bytes_max: 50 << 20,
            suggest_continue_events: 4_096,
            suggest_continue_bytes: 4 << 20,
            pending_activities_max: 2_000,
            pending_children_max: 2_000,
            pending_signals_max: 2_000,
            pending_cancels_max: 2_000,
            signals_max: 10_000,
            updates_in_flight_max: 10,
            updates_bytes_max: 20 << 20,
            updates_max: 2_000,
            buffered_events_max: 100,
            buffered_bytes_max: 2 << 20,
            task_timeout_default: Duration::from_secs(10),
            task_timeout_max: Duration::from_secs(120),
            task_retry_interval_max: Duration::from_secs(600),
            task_heartbeat_max: Duration::from_secs(1_800),
            continue_interval_min: Duration::from_secs(1),
            retained_failure_bytes_max: 4 << 10,
        }
    }
}

/// Start requests of earlier runs that a run still knows; the original knows those of the newest run alone.
pub const KNOWN_REQUESTS_MAX: usize = 10;

/// Request ids of other workflows' signals that a run takes over from the one it follows.
pub const KNOWN_SIGNALS_MAX: usize = 1_000;

/// Spans above a century are cut to it, as the original does.
pub const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);
