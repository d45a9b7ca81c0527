//! Workflows on a worker, from the start to the result.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use std::time::Duration;

use mainspring::{payload::ToPayload, prelude::*, workflow::WorkflowDef};
use rig::{PATIENCE, Rig, unique};

#[activity(start_to_close = "10s")]
async fn compose(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

/// The smallest whole program.
#[tokio::test]
async fn hello() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("hello");
    let greet = WorkflowDef::new("greet", |cx, args| {
        let name: String = args.get(0)?;
        Ok(async move {
            cx.sleep(Duration::from_millis(50)).await?;
            Ok(cx.run(compose(name)).await?.to_payload()?)
        })
    });
    let worker = Worker::builder(&client, &queue).register(greet).register(compose::def()).spawn().unwrap();
    let call = Call::named("greet").arg("Temporal").returns::<String>().id(&queue).queue(&queue);
    let handle = client.start(call).await.unwrap();
    let result = tokio::time::timeout(PATIENCE, handle.result()).await.unwrap().unwrap();
    assert_eq!(result, "Hello, Temporal!");
    worker.stop().await.unwrap();
}
