//! A workflow whose every value is encrypted and bound to it, from the start to the result.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[allow(dead_code, reason = "other tests use it")]
mod rig;

use mainspring::{
    VerifyReplay,
    client::Description,
    codec::{Aes256Gcm, KeyRing},
    prelude::*,
};
use rig::{Rig, unique};

/// In every value; nothing of it is to be seen.
const SECRET: &str = "rosebud";

#[activity(start_to_close = "10s")]
async fn echo(value: String) -> Result<String> {
    Ok(value)
}

#[activity(start_to_close = "10s", retry(max_attempts = 1))]
async fn refuse(value: String) -> Result<()> {
    Err(Error::application("Refused", value.clone()).details(value))
}

#[workflow]
async fn child(cx: Ctx, value: String) -> Result<String> {
    cx.run(echo(value)).await
}

#[workflow]
struct Keeper {
    heard: Var<Vec<String>>,
}

#[workflow]
impl Keeper {
    fn init(first: String) -> Self {
        Self { heard: Var::new(vec![first]) }
    }

    async fn run(&self, cx: Ctx) -> Result<Vec<String>> {
        self.heard.until(|heard| heard.len() > 1).await;
        let value = self.heard.get().remove(1);
        let mut seen = self.heard.get();
        seen.push(cx.run(echo(value.clone())).await?);
        seen.push(cx.run_local(echo(value.clone())).await?);
        seen.push(cx.side_effect(|| value.clone())?);
        seen.push(cx.run_child(child(value.clone()).id(format!("{}-child", cx.info().workflow_id))).await?);
        cx.set_memo("value", &value)?;
        let refused = cx.run(refuse(value)).await.unwrap_err();
        let failure = refused.as_application().cloned().unwrap();
        seen.push(failure.detail(0)?);
        seen.push(failure.message);
        Ok(seen)
    }

    #[signal]
    fn tell(&self, value: String) {
        self.heard.update(|heard| heard.push(value));
    }

    #[query]
    fn first(&self) -> String {
        self.heard.get().remove(0)
    }
}

fn converter() -> DataConverter {
    let ring = KeyRing::new("k", &[7; 32]).unwrap();
    DataConverter::json().codec(Aes256Gcm::new(ring).bound_to_workflow()).encrypt_failures()
}

/// Each task is replayed from its history too, so what was written is what is read.
#[tokio::test]
async fn nothing_of_a_workflow_is_in_clear() {
    let rig = Rig::start().await;
    let connect = || Connect::to(&rig.address).converter(converter());
    let client = Client::connect(connect()).await.unwrap();
    let queue = unique("keeper");
    let worker = Worker::builder(&client, &queue)
        .register(Keeper::def())
        .register(child::def())
        .register(echo::def())
        .register(refuse::def())
        .verify_replay(VerifyReplay::Always)
        .spawn()
        .unwrap();
    let call = Keeper::start(SECRET.to_owned()).id(&queue).queue(&queue).summary(SECRET).memo("first", SECRET);
    let handle = client.start(call).await.unwrap();
    assert_eq!(handle.query(Keeper::first()).await.unwrap(), SECRET);
    handle.signal(Keeper::tell(SECRET.to_owned())).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), vec![SECRET; 8]);
    let Description { execution, raw, .. } = handle.describe().await.unwrap();
    assert_eq!(execution.memo::<String>("value").unwrap().as_deref(), Some(SECRET));
    assert!(!format!("{raw:?}").contains(SECRET));
    for id in [queue.clone(), format!("{queue}-child")] {
        let events = client.workflow::<()>(id).history().collect().await.unwrap();
        assert!(events.len() > 5);
        for event in events {
            assert!(!format!("{event:?}").contains(SECRET), "{event:?}");
        }
    }
    let stranger = Client::connect(Connect::to(&rig.address)).await.unwrap();
    let error = stranger.workflow::<Vec<String>>(&queue).result().await.unwrap_err().to_string();
    assert!(error.contains("needs the codec"), "{error}");
    worker.stop().await.unwrap();
}
