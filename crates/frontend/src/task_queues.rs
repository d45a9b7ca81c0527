//! DescribeTaskQueue and ListTaskQueuePartitions: who polls a queue, and how much waits in it.

use std::collections::BTreeMap;

use mainspring_api::{
    ids::QueueKind,
    time::{duration, timestamp},
    v1::{
        enums::{BuildIdTaskReachability, DescribeTaskQueueMode, RateLimitSource, TaskQueueKind, TaskQueueType},
        taskqueue::{
            PollerInfo, TaskQueue, TaskQueuePartitionMetadata, TaskQueueStats, TaskQueueStatus, TaskQueueTypeInfo,
            TaskQueueVersionInfo, TaskQueueVersioningInfo,
        },
        workflowservice::{
            DescribeTaskQueueRequest, DescribeTaskQueueResponse, ListTaskQueuePartitionsRequest,
            ListTaskQueuePartitionsResponse, describe_task_queue_response::EffectiveRateLimit,
        },
    },
};
use mainspring_history::Namespace;
use mainspring_matching::{Description, QueueName, Seen};
use mainspring_rt::Timestamp;
use tonic::Status;

use crate::{
    Frontend,
    error::{self, About, invalid},
    validate,
};

/// What stands for no limit, in tasks per second: `matching.defaultTaskDispatchRPS` of old.
const UNLIMITED: f64 = 100_000.0;
/// How the API calls workers without versions.
const UNVERSIONED: &str = "__unversioned__";
/// The priority of tasks that have none.
const PRIORITY_DEFAULT: u8 = 3;

impl Frontend {
    pub(crate) async fn describe_task_queue(
        &self,
        request: DescribeTaskQueueRequest,
    ) -> Result<DescribeTaskQueueResponse, Status> {
        let namespace = self.namespace(&request.namespace)?;
        let queue = validate::described_queue(request.task_queue.clone(), &self.shared.limits)?;
        let sticky = queue.kind == TaskQueueKind::Sticky as i32;
        #[expect(deprecated, reason = "the official command line asks so")]
        if request.api_mode == DescribeTaskQueueMode::Enhanced as i32 {
            return self.describe_by_version(&namespace, &queue, &request).await;
        }
        if sticky && request.report_stats {
            return Err(invalid("DescribeTaskQueue stats are only supported for the root partition"));
        }
        let described = self.queue(&namespace, &queue.name, kind(request.task_queue_type)).await?;
        Ok(self.response(&described, sticky, &request))
    }

    #[expect(deprecated, reason = "old tools ask for the status")]
    fn response(
        &self,
        described: &Description,
        sticky: bool,
        request: &DescribeTaskQueueRequest,
    ) -> DescribeTaskQueueResponse {
        let now = self.shared.rt.now();
        let versioning = || TaskQueueVersioningInfo { current_version: UNVERSIONED.to_owned(), ..Default::default() };
        DescribeTaskQueueResponse {
            pollers: described.pollers.iter().map(poller).collect(),
            stats: request.report_stats.then(|| stats(described, now)),
            stats_by_priority_key: if request.report_stats { by_priority(described, now) } else { BTreeMap::new() },
            versioning_info: (!sticky).then(versioning),
            effective_rate_limit: Some(effective_rate_limit(described)),
            task_queue_status: request.include_task_queue_status.then(|| TaskQueueStatus {
                backlog_count_hint: count(described.stats.backlog_count),
                rate_per_second: described.rate.unwrap_or(UNLIMITED),
                ..TaskQueueStatus::default()
            }),
            ..DescribeTaskQueueResponse::default()
        }
    }

    /// The mode of old, by build ids; all workers are in the one without a name.
    #[expect(deprecated, reason = "the official command line asks so")]
    async fn describe_by_version(
        &self,
        namespace: &Namespace,
        queue: &TaskQueue,
        request: &DescribeTaskQueueRequest,
    ) -> Result<DescribeTaskQueueResponse, Status> {
        if queue.kind == TaskQueueKind::Sticky as i32 {
            return Err(invalid(
                "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal queue.",
            ));
        }
        let mut kinds = request.task_queue_types.clone();
        if kinds.is_empty() {
            kinds = vec![TaskQueueType::Workflow as i32, TaskQueueType::Activity as i32];
        }
        let now = self.shared.rt.now();
        let mut types_info = BTreeMap::new();
        for asked in kinds {
            let described = self.queue(namespace, &queue.name, kind(asked)).await?;
            let pollers = described.pollers.iter().filter(|_| request.report_pollers).map(poller).collect();
            let stats = request.report_stats.then(|| stats(&described, now));
            types_info.insert(asked, TaskQueueTypeInfo { pollers, stats });
        }
        let reachability = match request.report_task_reachability {
            true => BuildIdTaskReachability::Reachable,
            false => BuildIdTaskReachability::Unspecified,
        };
        let unversioned = TaskQueueVersionInfo { types_info, task_reachability: reachability as i32 };
        let chosen = request.versions.clone().unwrap_or_default();
        let mut versions_info: BTreeMap<_, _> =
            chosen.build_ids.into_iter().map(|build_id| (build_id, TaskQueueVersionInfo::default())).collect();
        if versions_info.is_empty() || chosen.unversioned || chosen.all_active {
            versions_info.insert(String::new(), unversioned);
        }
        Ok(DescribeTaskQueueResponse { versions_info, ..DescribeTaskQueueResponse::default() })
    }

    /// What is known of a queue; a kind that this server has no queues for has nothing in it.
    async fn queue(&self, namespace: &Namespace, name: &str, kind: Option<QueueKind>) -> Result<Description, Status> {
        let Some(kind) = kind else { return Ok(Description::default()) };
        let queue = QueueName { namespace: namespace.id, name: name.into(), kind };
        let described = self.shared.history.describe_queue(&queue).await;
        described.map_err(|error| error::status(error, &About::default()))
    }

    /// A queue is never cut into parts here.
    pub(crate) async fn list_task_queue_partitions(
        &self,
        request: ListTaskQueuePartitionsRequest,
    ) -> Result<ListTaskQueuePartitionsResponse, Status> {
        self.namespace(&request.namespace)?;
        let queue = validate::described_queue(request.task_queue, &self.shared.limits)?;
        let only = vec![TaskQueuePartitionMetadata { key: queue.name, owner_host_name: String::new() }];
        Ok(ListTaskQueuePartitionsResponse {
            activity_task_queue_partitions: only.clone(),
            workflow_task_queue_partitions: only,
        })
    }
}

fn kind(asked: i32) -> Option<QueueKind> {
    match TaskQueueType::try_from(asked) {
        Ok(TaskQueueType::Unspecified | TaskQueueType::Workflow) => Some(QueueKind::Workflow),
        Ok(TaskQueueType::Activity) => Some(QueueKind::Activity),
        Ok(TaskQueueType::Nexus) | Err(_) => None,
    }
}

fn poller(seen: &Seen) -> PollerInfo {
    PollerInfo {
        last_access_time: Some(timestamp(seen.last_access)),
        identity: seen.identity.to_string(),
        rate_per_second: seen.rate.unwrap_or(UNLIMITED),
        ..PollerInfo::default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a rate need not be exact")]
fn stats(described: &Description, now: Timestamp) -> TaskQueueStats {
    let stats = &described.stats;
    TaskQueueStats {
        approximate_backlog_count: count(stats.backlog_count),
        approximate_backlog_age: Some(age(stats.oldest, now)),
        tasks_add_rate: stats.added_per_second as f32,
        tasks_dispatch_rate: stats.dispatched_per_second as f32,
        rate_limiting_active: stats.rate_limited,
    }
}

/// Rates are known for the whole queue only.
fn by_priority(described: &Description, now: Timestamp) -> BTreeMap<i32, TaskQueueStats> {
    let mut levels: BTreeMap<_, _> = described
        .stats
        .levels
        .iter()
        .map(|(level, of_level)| (*level, (of_level.count, Some(of_level.oldest))))
        .collect();
    if levels.is_empty() {
        levels.insert(PRIORITY_DEFAULT, (0, None));
    }
    let of_level = |(level, (tasks, oldest))| {
        let stats = TaskQueueStats {
            approximate_backlog_count: count(tasks),
            approximate_backlog_age: Some(age(oldest, now)),
            ..TaskQueueStats::default()
        };
        (i32::from(level), stats)
    };
    levels.into_iter().map(of_level).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a rate need not be exact")]
fn effective_rate_limit(described: &Description) -> EffectiveRateLimit {
    let source = if described.rate.is_some() { RateLimitSource::Worker } else { RateLimitSource::System };
    EffectiveRateLimit {
        requests_per_second: described.rate.unwrap_or(UNLIMITED) as f32,
        rate_limit_source: source as i32,
    }
}

fn count(tasks: usize) -> i64 {
    i64::try_from(tasks).unwrap_or(i64::MAX)
}

fn age(oldest: Option<Timestamp>, now: Timestamp) -> prost_types::Duration {
    duration(oldest.map_or(std::time::Duration::ZERO, |oldest| now.since(oldest)))
}

#[cfg(test)]
mod tests {
    use mainspring_matching::{Level, Stats};

    use super::*;

    #[test]
    fn the_backlog_is_told_by_priority_and_the_rate_by_its_source() {
        let now = Timestamp::from_millis(5_000);
        let levels = BTreeMap::from([(2, Level { count: 4, oldest: Timestamp::from_millis(2_000) })]);
        let stats = Stats { backlog_count: 4, levels, ..Stats::default() };
        let described = Description { stats, rate: Some(7.5), ..Description::default() };
        let told = by_priority(&described, now);
        assert_eq!(told[&2].approximate_backlog_count, 4);
        assert_eq!(told[&2].approximate_backlog_age.map(|age| age.seconds), Some(3));
        assert_eq!(effective_rate_limit(&described).rate_limit_source(), RateLimitSource::Worker);
        let idle = by_priority(&Description::default(), now);
        assert_eq!(idle.keys().copied().collect::<Vec<_>>(), [3], "the default is always told");
    }

    #[test]
    fn no_type_is_the_workflow_type() {
        assert_eq!(kind(0), Some(QueueKind::Workflow));
        assert_eq!(kind(TaskQueueType::Activity as i32), Some(QueueKind::Activity));
        assert_eq!(kind(TaskQueueType::Nexus as i32), None);
    }
}
