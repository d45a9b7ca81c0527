//! Workflows that learn at run time what they are sent and what they are found by.

#[allow(dead_code, reason = "other tests use it")]
mod rig;

use std::{cell::RefCell, rc::Rc};

use mainspring::{ToPayload, VerifyReplay, prelude::*};
use mainspring_api::{temporal::api::operatorservice::v1::AddSearchAttributesRequest, v1::enums::IndexedValueType};
use rig::{PATIENCE, Rig, unique};

/// Takes messages of every name but one, and tells what came.
#[workflow]
async fn takes_all(cx: Ctx) -> Result<Vec<String>> {
    let seen: Rc<RefCell<Vec<String>>> = Rc::default();
    let (signalled, asked, updated) = (seen.clone(), seen.clone(), seen.clone());
    cx.on_any_signal(move |_, name, args| {
        signalled.borrow_mut().push(format!("signal {name} {}", args.get::<u32>(0)?));
        Ok(None)
    });
    cx.on_any_query(move |name, _| Ok(format!("{name}: {}", asked.borrow().len()).to_payload()?));
    cx.on_any_update(move |cx, name, args| {
        let (name, number, updated) = (name.to_owned(), args.get::<u32>(0)?, updated.clone());
        Ok(Box::pin(async move {
            cx.sleep(millis(1)).await?;
            updated.borrow_mut().push(format!("update {name} {number}"));
            Ok((number + 1).to_payload()?)
        }))
    });
    cx.signals::<()>("end").next().await;
    cx.handlers_finished().await;
    Ok(seen.take())
}

#[tokio::test]
async fn messages_of_every_name_are_handled() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("dynamic");
    let worker = Worker::builder(&client, &queue).register(takes_all::def()).verify_replay(VerifyReplay::Always);
    let worker = worker.spawn().unwrap();
    let handle = client.start(takes_all().id(&queue).queue(&queue)).await.unwrap();
    handle.signal(Signal::named("one").arg(1)).await.unwrap();
    let answer: u32 = handle.update(Update::named("two").arg(2).returns()).await.unwrap();
    assert_eq!(answer, 3);
    assert_eq!(handle.query(Query::named("how many").returns::<String>()).await.unwrap(), "how many: 2");
    handle.signal(Signal::named("end")).await.unwrap();
    let seen = tokio::time::timeout(PATIENCE, handle.result()).await.expect("it ends").unwrap();
    assert_eq!(seen, ["signal one 1", "update two 2"]);
    worker.stop().await.unwrap();
}

#[workflow]
async fn renames(cx: Ctx, to: String) -> Result<Option<String>> {
    cx.upsert_search_attributes(SearchAttributes::new().keyword("Customer", &to).int("Orders", 2));
    cx.sleep(millis(1)).await?;
    cx.upsert_search_attributes(SearchAttributes::new().unset("Orders"));
    Ok(cx.search_attributes().get("Customer")?)
}

#[tokio::test]
async fn search_attributes_are_set_and_found() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let request = AddSearchAttributesRequest {
        namespace: client.namespace().to_owned(),
        search_attributes: [("Customer", IndexedValueType::Keyword), ("Orders", IndexedValueType::Int)]
            .map(|(name, kind)| (name.to_owned(), kind as i32))
            .into(),
    };
    // On a server that is used again they are there.
    drop(client.rpc().call(&request).await);
    let queue = unique("attributes");
    let worker = Worker::builder(&client, &queue).register(renames::def()).verify_replay(VerifyReplay::Always);
    let worker = worker.spawn().unwrap();
    let name = unique("customer");
    let call = || {
        let first = SearchAttributes::new().keyword("Customer", "nobody");
        renames(name.clone()).id(&queue).queue(&queue).search_attributes(first)
    };
    // Other servers take a moment until they know them.
    let handle = async {
        loop {
            if let Ok(handle) = client.start(call()).await {
                return handle;
            }
        }
    };
    let handle = tokio::time::timeout(PATIENCE, handle).await.expect("the attributes are known in time");
    let last = tokio::time::timeout(PATIENCE, handle.result()).await.expect("it ends").unwrap();
    assert_eq!(last, Some(name.clone()));
    let found = async {
        loop {
            let found = client.list(format!("Customer = '{name}' AND Orders IS NULL")).collect().await.unwrap();
            if let [execution] = found.as_slice() {
                return execution.workflow_id.clone();
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await.expect("it is found in time");
    assert_eq!(found, queue);
    worker.stop().await.unwrap();
}
