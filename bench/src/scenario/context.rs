//! What a scenario acts in: a server, a namespace, names that no other run uses.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use mainspring_api::v1::workflowservice::{GetSystemInfoRequest, TerminateWorkflowExecutionRequest};
use tonic::Status;

use crate::args::{RunOptions, Server, Sizes};
use crate::figures::meter::Meter;
use crate::figures::report::Report;
use crate::load::{Seen, Until, closed_loop};
use crate::locked;
use crate::requests::{self, IDENTITY, execution, payloads};
use crate::rpc::Pool;
use crate::worker::behavior::Behavior;
use crate::worker::{Config, Worker};

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) calls: Pool,
    pub(crate) polls: Pool,
    pub(crate) address: String,
    pub(crate) namespace: String,
    pub(crate) server_version: String,
    pub(crate) pid: Option<u32>,
    dir: Option<PathBuf>,
    /// In every name, so that runs on one server do not meet.
    pub(crate) nonce: String,
    pub(crate) parallel: usize,
    pub(crate) sizes: Sizes,
}

impl Context {
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn connect(server: &Server, options: &RunOptions, parallel: usize) -> Result<Context> {
        let calls = Pool::connect(&server.address, options.connections).await?;
        let info = calls.call(GetSystemInfoRequest::default()).await?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
        Ok(Context {
            calls,
            polls: Pool::connect(&server.address, options.connections).await?,
            address: server.address.clone(),
            namespace: options.namespace.clone(),
            server_version: info.server_version,
            pid: server.pid,
            dir: server.dir.clone(),
            nonce: format!("{:x}", now & 0xff_ffff_ffff_ffff),
            parallel,
            sizes: options.sizes.clone(),
        })
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter::start(self.pid, self.dir.clone())
    }

    /// A name with the run's own word in it.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{what}-{}", self.nonce)
    }

    pub(crate) fn worker(&self, queue: &str, behavior: Behavior) -> Worker {
        Worker::spawn(self.worker_config(queue, behavior), &self.polls, &self.calls)
    }

    pub(crate) fn worker_config(&self, queue: &str, behavior: Behavior) -> Config {
        Config {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            pollers: self.sizes.pollers,
            sticky: self.sizes.sticky,
            eager: self.sizes.eager,
            payload: self.sizes.payload,
            behavior,
            think: Duration::ZERO,
            activity_seconds: 60,
        }
    }

    /// Starts a workflow; returns its run id.
    ///
    /// # Errors
    /// What the server answers.
    pub(crate) async fn start(&self, queue: &str, kind: &str, id: &str) -> Result<String, Status> {
        let mut request = requests::start(&self.namespace, queue, kind, id);
        request.input = Some(payloads(self.sizes.payload));
        Ok(self.calls.call(request).await?.run_id)
    }

    /// Starts a workflow and waits until it is closed.
    ///
    /// # Errors
    /// What the server answers.
    pub(crate) async fn run_to_close(&self, queue: &str, kind: &str, id: &str) -> Result<(), Status> {
        let run_id = self.start(queue, kind, id).await?;
        requests::wait_closed(&self.calls, &self.namespace, id, &run_id).await
    }

    /// Starts `count` workflows named `prefix-0` and so on; returns their run ids.
    ///
    /// # Errors
    /// When one cannot be started.
    pub(crate) async fn start_many(&self, queue: &str, kind: &str, prefix: &str, count: u64) -> Result<Vec<String>> {
        let run_ids = Arc::new(Mutex::new(vec![String::new(); count as usize]));
        let (context, out) = (self.clone(), run_ids.clone());
        let [queue, kind, prefix] = [queue, kind, prefix].map(str::to_owned);
        let seen = closed_loop(Until::Count(count), 16, move |i| {
            let (context, out) = (context.clone(), out.clone());
            let [queue, kind, id] = [queue.clone(), kind.clone(), format!("{prefix}-{i}")];
            async move {
                let run_id = context.start(&queue, &kind, &id).await?;
                locked(&out)[i as usize] = run_id;
                Ok(())
            }
        })
        .await;
        if let Some(error) = seen.first_error {
            bail!("{} starts failed: {error}", seen.errors);
        }
        Ok(std::mem::take(&mut *locked(&run_ids)))
    }

    /// Ends what a scenario left open, as far as it goes.
    pub(crate) async fn terminate_many(&self, prefix: &str, count: u64) {
        let (context, prefix) = (self.clone(), prefix.to_owned());
        closed_loop(Until::Count(count), 8, move |i| {
            let (context, id) = (context.clone(), format!("{prefix}-{i}"));
            async move {
                context.terminate(&id).await;
                Ok(())
            }
        })
        .await;
    }

    pub(crate) async fn terminate(&self, id: &str) {
        let request = TerminateWorkflowExecutionRequest {
            namespace: self.namespace.clone(),
            workflow_execution: execution(id, ""),
            identity: IDENTITY.to_owned(),
            ..Default::default()
        };
        // It may have closed meanwhile.
        let _ = self.calls.call(request).await;
    }

    /// Seconds of a closed loop: those given, or a usual stretch unless it counts.
    pub(crate) fn until(&self, quick: u64, full_seconds: f64) -> Until {
        let sizes = &self.sizes;
        match sizes.count {
            Some(count) => Until::Count(count),
            None if sizes.quick && sizes.secs.is_none() => Until::Count(quick),
            None => Until::either(sizes.secs.or(Some(full_seconds)), quick),
        }
    }
}

/// The report of a loop that was metered.
pub(crate) fn finish(meter: &Meter, scenario: &str, parallel: usize, seen: Seen) -> Report {
    let mut report = meter.finish(scenario, seen.count(), &seen.latencies);
    report.parallel = parallel;
    report.blame(seen.errors, seen.first_error);
    report
}
