//! What a worker does with an activity: its type says so.

use std::{sync::Arc, sync::atomic::Ordering};

use mainspring_api::v1::{
    common::WorkflowExecution,
    workflowservice::{
        PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatByIdResponse,
        RecordActivityTaskHeartbeatRequest, RecordActivityTaskHeartbeatResponse, RespondActivityTaskCanceledRequest,
        RespondActivityTaskCanceledResponse, RespondActivityTaskCompletedByIdRequest,
        RespondActivityTaskCompletedByIdResponse, RespondActivityTaskCompletedRequest,
        RespondActivityTaskCompletedResponse, RespondActivityTaskFailedRequest, RespondActivityTaskFailedResponse,
    },
};
use tonic::{Code, Status};

use crate::{
    commands::{failure, fatal_failure, payloads},
    ledger::ActivityEnd,
    network::{Check, no_check},
    worker::Worker,
    world::{NAMESPACES, Sim},
};

/// Heartbeats of an activity that sends some.
const BEATS: u32 = 3;

/// What the server says to workers that come too late.
const TOO_LATE: &[Code] = &[Code::NotFound];

impl Worker {
    pub(crate) async fn work_on_activity(&self, namespace: usize, task: PollActivityTaskQueueResponse) {
        let sim = &self.sim;
        if task.attempt > 1 {
            sim.saw("activity retried");
        }
        if sim.strikes(sim.plan.faults.worker_idles) {
            return sim.saw("worker idled");
        }
        let kind = task.activity_type.clone().unwrap_or_default().name;
        match (kind.as_str(), task.attempt) {
            ("fail1", ..=1) | ("fail2", ..=2) | ("fail9", _) => self.fail(namespace, &task, false).await,
            ("fatal", _) => self.fail(namespace, &task, true).await,
            ("hang", _) | ("hang1", ..=1) => {}
            ("byid" | "byid0", _) => self.leave_to_others(namespace, &task),
            ("beat", _) if self.beat(namespace, &task, BEATS).await.is_none() => {}
            ("waits", _) => match self.beat(namespace, &task, 2 * BEATS).await {
                Some(true) => self.cancel(namespace, &task).await,
                Some(false) => self.complete_activity(namespace, &task).await,
                None => {}
            },
            _ => self.complete_activity(namespace, &task).await,
        }
    }

    /// Sends heartbeats until a cancel request is heard. `None` when the activity is over for the server.
    async fn beat(&self, namespace: usize, task: &PollActivityTaskQueueResponse, beats: u32) -> Option<bool> {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: task.task_token.clone(),
            details: payloads("beat"),
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        };
        for _ in 0..beats {
            let answer: Result<RecordActivityTaskHeartbeatResponse, Status> =
                self.sim.ask("RecordActivityTaskHeartbeat", &request, &no_check()).await;
            match answer {
                Ok(answer) if answer.cancel_requested => return Some(true),
                Ok(_) => self.sim.saw("activity heartbeat"),
                Err(status) => {
                    self.sim.refused("a heartbeat", &status, TOO_LATE);
                    return None;
                }
            }
            self.sim.pause(100, 2_500).await;
        }
        Some(false)
    }

    async fn complete_activity(&self, namespace: usize, task: &PollActivityTaskQueueResponse) {
        let sim = &self.sim;
        let result = format!("result-{}", sim.new_id());
        let request = RespondActivityTaskCompletedRequest {
            task_token: task.task_token.clone(),
            result: payloads(&result),
            identity: self.name(),
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        };
        let check = ended(namespace, task);
        let answer: Result<RespondActivityTaskCompletedResponse, Status> =
            sim.ask("RespondActivityTaskCompleted", &request, &check).await;
        match answer {
            Ok(_) => {
                let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
                sim.ledger().activities.push(ActivityEnd { run_id, result });
            }
            Err(status) => sim.refused("an activity's completion", &status, TOO_LATE),
        }
    }

    async fn fail(&self, namespace: usize, task: &PollActivityTaskQueueResponse, fatal: bool) {
        let request = RespondActivityTaskFailedRequest {
            task_token: task.task_token.clone(),
            failure: Some(if fatal { fatal_failure("fatal") } else { failure("try again") }),
            identity: self.name(),
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        };
        let answer: Result<RespondActivityTaskFailedResponse, Status> =
            self.sim.ask("RespondActivityTaskFailed", &request, &no_check()).await;
        if let Err(status) = answer {
            self.sim.refused("an activity's failure", &status, TOO_LATE);
        }
    }

    async fn cancel(&self, namespace: usize, task: &PollActivityTaskQueueResponse) {
        let request = RespondActivityTaskCanceledRequest {
            task_token: task.task_token.clone(),
            identity: self.name(),
            namespace: NAMESPACES[namespace].to_owned(),
            ..Default::default()
        };
        let check = ended(namespace, task);
        let answer: Result<RespondActivityTaskCanceledResponse, Status> =
            self.sim.ask("RespondActivityTaskCanceled", &request, &check).await;
        if let Err(status) = answer {
            self.sim.refused("an activity's cancellation", &status, TOO_LATE);
        }
    }

    /// The worker's part is over; somebody completes the activity by its id.
    fn leave_to_others(&self, namespace: usize, task: &PollActivityTaskQueueResponse) {
        let execution = task.workflow_execution.clone().unwrap_or_default();
        let run_id = if self.sim.random().one_in(2) { execution.run_id.clone() } else { String::new() };
        let execution = WorkflowExecution { run_id, ..execution };
        let (sim, activity_id) = (self.sim.clone(), task.activity_id.clone());
        sim.clients_busy.fetch_add(1, Ordering::Relaxed);
        self.sim.spawn(async move {
            sim.pause(0, 5_000).await;
            sim.complete_by_id(namespace, execution, activity_id).await;
            sim.clients_busy.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Sim {
    async fn complete_by_id(&self, namespace: usize, execution: WorkflowExecution, activity_id: String) {
        let WorkflowExecution { workflow_id, run_id } = execution;
        if self.random().one_in(2) {
            let request = RecordActivityTaskHeartbeatByIdRequest {
                namespace: NAMESPACES[namespace].to_owned(),
                workflow_id: workflow_id.clone(),
                run_id: run_id.clone(),
                activity_id: activity_id.clone(),
                ..Default::default()
            };
            let answer: Result<RecordActivityTaskHeartbeatByIdResponse, Status> =
                self.ask("RecordActivityTaskHeartbeatById", &request, &no_check()).await;
            if let Err(status) = answer {
                return self.refused("a heartbeat by id", &status, TOO_LATE);
            }
        }
        let result = format!("by-id-{}", self.new_id());
        let request = RespondActivityTaskCompletedByIdRequest {
            namespace: NAMESPACES[namespace].to_owned(),
            workflow_id,
            run_id: run_id.clone(),
            activity_id,
            result: payloads(&result),
            identity: "somebody".to_owned(),
            ..Default::default()
        };
        let answer: Result<RespondActivityTaskCompletedByIdResponse, Status> =
            self.ask("RespondActivityTaskCompletedById", &request, &no_check()).await;
        match answer {
            Ok(_) => {
                self.saw("activity completed by id");
                if !run_id.is_empty() {
                    self.ledger().activities.push(ActivityEnd { run_id, result });
                }
            }
            Err(status) => self.refused("a completion by id", &status, TOO_LATE),
        }
    }
}

fn ended(namespace: usize, task: &PollActivityTaskQueueResponse) -> Check {
    let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
    let activity_id = task.activity_id.clone();
    Arc::new(move |sim, answer| match answer {
        Ok(_) => sim.check_activity_ended(namespace, &run_id, &activity_id),
        Err(_) => Ok(()),
    })
}
