//! Signals, queries and updates: calls to workflows that stay open.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use mainspring_api::temporal::api::update::v1::{Input, Meta, Request as UpdateRequest, WaitPolicy};
use mainspring_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage,
    query::WorkflowQuery,
    workflowservice::{QueryWorkflowRequest, SignalWorkflowExecutionRequest, UpdateWorkflowExecutionRequest},
};
use tonic::Status;

use crate::figures::report::Report;
use crate::load::{Until, closed_loop};
use crate::requests::{IDENTITY, execution, payloads};
use crate::scenario::context::{Context, finish};
use crate::worker::Worker;
use crate::worker::behavior::Behavior;

const USUAL_SECONDS: f64 = 4.0;
const STALL: Duration = Duration::from_secs(20);

/// Workflows that stay open, and their worker.
pub(super) struct Serving {
    context: Context,
    prefix: String,
    run_ids: Arc<Vec<String>>,
    worker: Worker,
}

impl Serving {
    /// Starts `count` of them and waits until each took its first task.
    ///
    /// # Errors
    /// When one did not.
    pub(super) async fn start(context: &Context, what: &str, count: u64) -> Result<Serving> {
        let prefix = context.name(what);
        let worker = context.worker(&prefix, Behavior::Serve);
        let run_ids = context.start_many(&prefix, what, &prefix, count).await?;
        if !worker.tally.wait_until(STALL, |tally| tally.workflow_tasks() >= count).await {
            bail!("the workflows did not get their first tasks: {:?}", worker.tally.first_error());
        }
        Ok(Serving { context: context.clone(), prefix, run_ids: Arc::new(run_ids), worker })
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    fn count(&self) -> u64 {
        self.run_ids.len() as u64
    }

    async fn end(self) {
        self.context.terminate_many(&self.prefix, self.count()).await;
    }

    pub(super) fn signal(&self, i: u64) -> impl Future<Output = Result<(), Status>> + Send + use<> {
        let request = SignalWorkflowExecutionRequest {
            namespace: self.context.namespace.clone(),
            workflow_execution: execution(&format!("{}-{}", self.prefix, i % self.count()), ""),
            signal_name: "s".to_owned(),
            input: Some(payloads(self.context.sizes.payload)),
            identity: IDENTITY.to_owned(),
            request_id: format!("{}-{i}", self.prefix),
            ..Default::default()
        };
        let calls = self.context.calls.clone();
        async move { calls.call(request).await.map(drop) }
    }

    pub(super) fn query(&self, i: u64) -> impl Future<Output = Result<(), Status>> + Send + use<> {
        let request = QueryWorkflowRequest {
            namespace: self.context.namespace.clone(),
            execution: execution(&format!("{}-{}", self.prefix, i % self.count()), ""),
            query: Some(WorkflowQuery {
                query_type: "q".to_owned(),
                query_args: Some(payloads(self.context.sizes.payload)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let calls = self.context.calls.clone();
        async move { calls.call(request).await.map(drop) }
    }

    fn update(&self, i: u64) -> impl Future<Output = Result<(), Status>> + Send + use<> {
        let place = i % self.count();
        let request = UpdateWorkflowExecutionRequest {
            namespace: self.context.namespace.clone(),
            workflow_execution: execution(&format!("{}-{place}", self.prefix), &self.run_ids[place as usize]),
            wait_policy: Some(WaitPolicy { lifecycle_stage: UpdateWorkflowExecutionLifecycleStage::Completed as i32 }),
            request: Some(UpdateRequest {
                meta: Some(Meta { update_id: format!("update-{i}"), identity: IDENTITY.to_owned() }),
                input: Some(Input {
                    name: "u".to_owned(),
                    args: Some(payloads(self.context.sizes.payload)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let calls = self.context.calls.clone();
        async move {
            let answer = calls.call(request).await?;
            answer.outcome.map(drop).ok_or_else(|| Status::internal("the update was answered without an outcome"))
        }
    }
}

pub(crate) async fn signal(context: &Context) -> Result<Report> {
    let workflows = context.sizes.pick(context.sizes.workflows, 2, 100);
    let serving = Arc::new(Serving::start(context, "signal", workflows).await?);
    let meter = context.meter();
    let one = serving.clone();
    let seen = closed_loop(context.until(100, USUAL_SECONDS), context.parallel, move |i| one.signal(i)).await;
    let mut report = finish(&meter, "signal", context.parallel, seen);
    report.add("workflows", workflows as f64);
    close(serving, report).await
}

pub(crate) async fn query(context: &Context) -> Result<Report> {
    let workflows = context.sizes.pick(context.sizes.workflows, 1, 1);
    let serving = Arc::new(Serving::start(context, "query", workflows).await?);
    let one = serving.clone();
    let operation = move |i| one.query(i);
    closed_loop(Until::Count(20), context.parallel, operation.clone()).await;
    let meter = context.meter();
    let seen = closed_loop(context.until(50, USUAL_SECONDS), context.parallel, operation.clone()).await;
    drop(operation);
    let mut report = finish(&meter, "query", context.parallel, seen);
    report.add("workflows", workflows as f64);
    close(serving, report).await
}

pub(crate) async fn update(context: &Context) -> Result<Report> {
    // A Temporal server takes at most 10 updates in flight and 2,000 in all on one workflow.
    let workflows = context.sizes.pick(context.sizes.workflows, 2, 64);
    let serving = Arc::new(Serving::start(context, "update", workflows).await?);
    let meter = context.meter();
    let one = serving.clone();
    let seen = closed_loop(context.until(50, USUAL_SECONDS), context.parallel, move |i| one.update(i)).await;
    let report = if seen.is_unimplemented {
        Report::skipped("update", "UNIMPLEMENTED")
    } else {
        let mut report = finish(&meter, "update", context.parallel, seen);
        report.add("workflows", workflows as f64);
        report
    };
    close(serving, report).await
}

async fn close(serving: Arc<Serving>, mut report: Report) -> Result<Report> {
    if report.skipped.is_none() {
        serving.worker().tally.blame(&mut report);
    }
    if let Ok(serving) = Arc::try_unwrap(serving) {
        serving.end().await;
    }
    Ok(report)
}
