//! Updates of workflows on a worker: validated, done, refused, and replayed by the next worker.

#[allow(dead_code, reason = "other tests use the rest")]
mod rig;

use mainspring::{Replayer, VerifyReplay, prelude::*};
use rig::{PATIENCE, Rig, unique};

#[activity(start_to_close = "10s")]
async fn compose(name: String) -> Result<String> {
    Ok(format!("Hello, {name}!"))
}

#[derive(Default)]
#[workflow]
struct Names {
    names: Var<Vec<String>>,
    closed: Var<bool>,
}

#[workflow]
impl Names {
    async fn run(&self, cx: Ctx) -> Result<Vec<String>> {
        self.closed.until(|closed| *closed).await;
        cx.handlers_finished().await;
        Ok(self.names.get())
    }

    #[update(validate = short)]
    async fn add(&self, cx: Ctx, name: String) -> Result<usize> {
        let name = cx.run(compose(name)).await?;
        Ok(self.names.update(|names| {
            names.push(name);
            names.len()
        }))
    }

    fn short(&self, name: &str) -> Result<()> {
        match name.len() {
            0..=5 => Ok(()),
            _ => Err(Error::application("TooLong", format!("{name:?} is too long"))),
        }
    }

    #[update(name = "close-it")]
    fn close(&self) -> Vec<String> {
        self.closed.set(true);
        self.names.get()
    }

    #[update]
    async fn fail(&self) -> Result<()> {
        Err(Error::application("Broken", "as asked"))
    }
}

#[tokio::test]
async fn updates_are_validated_done_and_replayed() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let queue = unique("updates");
    let build = || {
        let worker = Worker::builder(&client, &queue).register(Names::def()).register(compose::def());
        worker.verify_replay(VerifyReplay::Always).spawn().unwrap()
    };
    let worker = build();
    let handle = client.start(Names::start().id(&queue).queue(&queue)).await.unwrap();
    let patient = tokio::time::timeout(PATIENCE, async {
        assert_eq!(handle.update(Names::add("ann".to_owned())).await.unwrap(), 1);
        let refused = handle.update(Names::add("nebuchadnezzar".to_owned())).await.unwrap_err();
        assert!(format!("{refused:?}").contains("is too long"), "{refused:?}");
        let unknown = handle.update(Update::named("colour").returns::<String>()).await.unwrap_err();
        assert!(format!("{unknown:?}").contains("no update \"colour\""), "{unknown:?}");
        let failed = handle.update(Names::fail()).await.unwrap_err();
        assert!(format!("{failed:?}").contains("as asked"), "{failed:?}");
        worker.stop().await.unwrap();
        let worker = build();
        assert_eq!(handle.update(Names::add("bob".to_owned())).await.unwrap(), 2);
        assert_eq!(handle.update(Names::close()).await.unwrap(), ["Hello, ann!", "Hello, bob!"]);
        assert_eq!(handle.result().await.unwrap(), ["Hello, ann!", "Hello, bob!"]);
        worker.stop().await.unwrap();
    });
    patient.await.expect("it ends");
    Replayer::new().register(Names::def()).replay_workflow(&client, &queue).await.unwrap();
}
