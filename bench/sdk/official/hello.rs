//! The smallest whole program with the official Rust SDK.
use std::time::Duration;

use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowGetResultOptions, WorkflowStartOptions,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

#[workflow]
#[derive(Default)]
struct Greet;

#[workflow_methods]
impl Greet {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        Ok(ctx.execute_activity(Activities::compose, name, options).await?)
    }
}

struct Activities;

#[activities]
impl Activities {
    #[activity]
    async fn compose(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let target = ConnectionOptions::new("http://127.0.0.1:7233".parse::<Url>()?).build();
    let client = Client::new(Connection::connect(target).await?, ClientOptions::new("default").build())?;
    let options = WorkerOptions::new("hello").register_workflow::<Greet>()?.register_activities(Activities).build();
    let mut worker = Worker::new(&runtime, client.clone(), options)?;
    let stop = worker.shutdown_handle();
    let start = async move {
        let options = WorkflowStartOptions::new("hello", "hello-1").build();
        let handle = client.start_workflow(Greet::run, "Temporal".to_owned(), options).await?;
        println!("{}", handle.get_result(WorkflowGetResultOptions::default()).await?);
        stop();
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let (worked, started) = tokio::join!(worker.run(), start);
    started?;
    worked?;
    Ok(())
}
