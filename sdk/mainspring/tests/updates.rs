//! Updates of workflows that the test drives.

#[expect(dead_code, reason = "the tests of activities use more of it")]
mod rig;

use mainspring::{Raw, payload::ToPayload, prelude::*};
use rig::{Flow, Rig, unique};

fn add(number: i32) -> mainspring::UpdateCall<i32> {
    Update::named("add").arg(number).returns::<i32>()
}

/// An update is done, or rejected; both are told apart from a call that failed.
#[tokio::test]
async fn updates_are_done_or_rejected() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut flow = Flow::start(&client).await;
    let task = flow.task().await;
    flow.answer_nothing(task).await;

    let handle = flow.handle.clone();
    let updating = tokio::spawn(async move { handle.update(add(5)).await });
    flow.answer_update(Ok(7.to_payload().unwrap())).await;
    assert_eq!(updating.await.unwrap().unwrap(), 7);

    let handle = flow.handle.clone();
    let updating = tokio::spawn(async move { handle.start_update(add(-1)).await.map(|update| update.id().to_owned()) });
    flow.answer_update(Err(Error::application("Negative", "no"))).await;
    match updating.await.unwrap() {
        Err(ClientError::UpdateFailed { name, cause }) => {
            assert_eq!((name.as_str(), cause.as_application().unwrap().kind.as_str()), ("add", "Negative"));
        }
        other => panic!("{other:?}"),
    }
    flow.handle.terminate("done").await.unwrap();
}

/// An update with an id is done once, and its result is there for whoever knows the id.
#[tokio::test]
async fn an_update_is_found_by_its_id() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut flow = Flow::start(&client).await;
    let task = flow.task().await;
    flow.answer_nothing(task).await;
    let handle = flow.handle.clone();
    let starting = tokio::spawn(async move { handle.start_update(add(5).id("u-1")).await });
    flow.answer_update(Ok(7.to_payload().unwrap())).await;
    let update = starting.await.unwrap().unwrap();
    assert_eq!((update.id(), update.result().await.unwrap()), ("u-1", 7));
    assert_eq!(flow.handle.update_handle::<i32>("u-1").result().await.unwrap(), 7);
    assert_eq!(flow.handle.update(add(6).id("u-1")).await.unwrap(), 7);
    flow.handle.terminate("done").await.unwrap();
}

/// A workflow is started with its first update, in one step.
#[tokio::test]
async fn an_update_starts_its_workflow() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("update");
    let call = Call::named("Driven").returns::<Raw>().id(&queue).queue(&queue);
    let refused = client.update_with_start(call.clone(), add(1)).await.unwrap_err();
    assert!(refused.to_string().contains("needs on_conflict"), "{refused}");

    let (starter, start) = (client.clone(), call.clone().on_conflict(OnConflict::UseExisting));
    let starting = tokio::spawn(async move { starter.update_with_start(start, add(5)).await });
    let mut flow = Flow::of(&client, &client.workflow(&queue), &queue);
    flow.answer_update(Ok(7.to_payload().unwrap())).await;
    let (handle, update) = starting.await.unwrap().unwrap();
    assert_eq!(update.result().await.unwrap(), 7);
    let taken = client.update_with_start(call.on_conflict(OnConflict::Fail), add(5)).await.unwrap_err();
    assert!(matches!(taken, ClientError::AlreadyStarted { .. }), "{taken}");
    handle.terminate("done").await.unwrap();
}
