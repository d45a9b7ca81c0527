//! Workflows that reach into another namespace: signals both ways, cancellation, children.
//!
//! On `TEST_SERVER` this needs what the original calls `system.enableCrossNamespaceCommands`.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use it")]
mod rig;

use std::time::Duration;

use mainspring::{
    VerifyReplay,
    codec::{Aes256Gcm, KeyRing},
    prelude::*,
    worker::RunningWorker,
};
use mainspring_api::v1::workflowservice::{ListWorkflowExecutionsRequest, RegisterNamespaceRequest};
use rig::{PATIENCE, Rig, unique};

/// Where a workflow is.
type Place = (String, String);

#[workflow]
async fn pings(cx: Ctx, to: Place) -> Result<String> {
    let (namespace, workflow_id) = to;
    let own: Place = (cx.info().namespace.clone(), cx.info().workflow_id.clone());
    let other = cx.workflow(workflow_id).namespace(namespace);
    other.signal(Signal::named("ping").arg(own)).await?;
    let answer = cx.signals::<String>("pong").next().await;
    other.cancel("enough").await?;
    Ok(answer)
}

#[workflow]
async fn pongs(cx: Ctx) -> Result<()> {
    let (namespace, workflow_id) = cx.signals::<Place>("ping").next().await;
    let answer = format!("pong from {}", cx.info().namespace);
    cx.workflow(workflow_id).namespace(namespace).signal(Signal::named("pong").arg(answer)).await?;
    cx.cancelled().await;
    Err(Error::cancelled())
}

#[workflow]
async fn parent(cx: Ctx, namespace: String, queue: String) -> Result<String> {
    let id = format!("{}-child", cx.info().workflow_id);
    cx.run_child(child("a secret".to_owned()).id(id).namespace(namespace).queue(queue)).await
}

#[workflow]
async fn child(cx: Ctx, word: String) -> Result<String> {
    Ok(format!("{word}, kept in {}", cx.info().namespace))
}

#[workflow]
async fn reaches_for_nobody(cx: Ctx, namespace: String) -> Result<(String, String)> {
    let nobody = cx.workflow("nobody").namespace(namespace);
    let signalled = nobody.signal(Signal::named("ping")).await.unwrap_err();
    let cancelled = nobody.cancel("no").await.unwrap_err();
    Ok((signalled.to_string(), cancelled.to_string()))
}

/// Two namespaces with a worker each, whose payloads are bound to the workflow that they are for.
struct Bench {
    here: Client,
    there: Client,
    queue: String,
    workers: Vec<RunningWorker>,
    _rig: Rig,
}

impl Bench {
    async fn new() -> Bench {
        let rig = Rig::start().await;
        let ring = KeyRing::new("k", &[7; 32]).unwrap();
        let converter = DataConverter::json().codec(Aes256Gcm::new(ring).bound_to_workflow()).encrypt_failures();
        let connect = || Connect::to(&rig.address).converter(converter.clone());
        let here = Client::connect(connect()).await.unwrap();
        let name = unique("there");
        register(&here, &name).await;
        let there = Client::connect(connect().namespace(&name)).await.unwrap();
        let queue = unique("namespaces");
        let worker = |client: &Client| {
            Worker::builder(client, &queue)
                .register(pings::def())
                .register(pongs::def())
                .register(parent::def())
                .register(child::def())
                .register(reaches_for_nobody::def())
                .verify_replay(VerifyReplay::Always)
                .spawn()
                .unwrap()
        };
        let workers = vec![worker(&here), worker(&there)];
        Bench { here, there, queue, workers, _rig: rig }
    }

    async fn end(self) {
        for worker in self.workers {
            worker.stop().await.unwrap();
        }
    }
}

/// Makes a namespace, and waits until all of the server knows it.
async fn register(client: &Client, name: &str) {
    let request = RegisterNamespaceRequest {
        namespace: name.to_owned(),
        workflow_execution_retention_period: Some(mainspring_api::time::duration(Duration::from_secs(24 * 3600))),
        ..RegisterNamespaceRequest::default()
    };
    client.rpc().call(&request).await.unwrap();
    let known = async {
        let namespace = name.to_owned();
        let request = ListWorkflowExecutionsRequest { namespace, ..ListWorkflowExecutionsRequest::default() };
        while client.rpc().call(&request).await.is_err() {}
    };
    tokio::time::timeout(PATIENCE, known).await.expect("the namespace is known in time");
}

#[tokio::test]
async fn workflows_signal_each_other_and_cancel_across_namespaces() {
    let bench = Bench::new().await;
    let pong = bench.there.start(pongs().id(unique("pong")).queue(&bench.queue)).await.unwrap();
    let to = (bench.there.namespace().to_owned(), pong.id().to_owned());
    let ping = bench.here.start(pings(to).id(unique("ping")).queue(&bench.queue)).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, ping.result()).await.expect("it ends").unwrap();
    assert_eq!(answer, format!("pong from {}", bench.there.namespace()));
    let stopped = tokio::time::timeout(PATIENCE, pong.result()).await.expect("it is cancelled").unwrap_err();
    assert!(stopped.failure().is_some_and(Error::is_cancelled), "{stopped}");
    bench.end().await;
}

#[tokio::test]
async fn a_child_runs_in_another_namespace() {
    let bench = Bench::new().await;
    let call = parent(bench.there.namespace().to_owned(), bench.queue.clone());
    let parent = bench.here.start(call.id(unique("parent")).queue(&bench.queue)).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, parent.result()).await.expect("it ends").unwrap();
    assert_eq!(answer, format!("a secret, kept in {}", bench.there.namespace()));
    bench.end().await;
}

#[tokio::test]
async fn a_workflow_that_is_not_there_is_an_error_of_the_operation() {
    let bench = Bench::new().await;
    let call = reaches_for_nobody(bench.there.namespace().to_owned());
    let handle = bench.here.start(call.id(unique("reaches")).queue(&bench.queue)).await.unwrap();
    let (signalled, cancelled) = tokio::time::timeout(PATIENCE, handle.result()).await.expect("it ends").unwrap();
    for said in [signalled, cancelled] {
        assert!(said.contains("EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND"), "{said}");
    }
    bench.end().await;
}

/// Ours makes it an error of the operation. The original does not take the workflow task, which then fails with its words.
#[tokio::test]
async fn a_namespace_that_is_not_there_is_named() {
    let bench = Bench::new().await;
    let call = reaches_for_nobody("there-is-no-such-namespace".to_owned());
    let handle = bench.here.start(call.id(unique("reaches")).queue(&bench.queue)).await.unwrap();
    let told = async {
        let words = ["SignalExternalWorkflowExecutionFailed", "WorkflowTaskFailed"];
        loop {
            let history = format!("{:?}", handle.history().collect().await.unwrap());
            assert!(!history.contains("WorkflowTaskTimedOut"), "nobody hears of it: {history}");
            if words.iter().any(|word| history.contains(word)) {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("somebody hears of it");
    // It may have ended by itself.
    drop(handle.terminate("seen").await);
    bench.end().await;
}
