//! The workflows of the README, with the official Rust SDK.

use std::time::Duration;

use temporalio_common::{RetryPolicy, search_attributes::SearchAttributeKey};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, ApplicationFailure, CancellableFuture,
    ChildWorkflowOptions, LocalActivityOptions, SyncWorkflowContext, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

const KEYWORD: SearchAttributeKey<String> = SearchAttributeKey::keyword("InteropKeyword");

pub struct Acts;

#[activities]
impl Acts {
    #[activity(name = "greet")]
    pub async fn greet(_cx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("hello {name}"))
    }

    #[activity(name = "flaky")]
    pub async fn flaky(cx: ActivityContext, fails: u32) -> Result<u32, ActivityError> {
        match cx.info().attempt {
            attempt if attempt <= fails => Err(ApplicationFailure::new(format!("attempt {attempt}")).into()),
            attempt => Ok(attempt),
        }
    }

    #[activity(name = "refuse")]
    pub async fn refuse(_cx: ActivityContext) -> Result<(), ActivityError> {
        Err(ApplicationFailure::non_retryable("never").into())
    }

    #[activity(name = "hold")]
    pub async fn hold(cx: ActivityContext) -> Result<(), ActivityError> {
        while !cx.is_cancelled() {
            cx.record_heartbeat(()).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(ActivityError::cancelled())
    }

    #[activity(name = "describe")]
    pub async fn describe(_cx: ActivityContext, count: u32, sku: String, gift: bool) -> Result<String, ActivityError> {
        Ok(format!("{count} {sku} {gift}"))
    }
}

fn ten_seconds() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(10))
}

fn holding(kind: ActivityCancellationType, token: Option<WorkflowCancellationToken>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(60))
        .heartbeat_timeout(Duration::from_secs(1))
        .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
        .cancellation_type(kind)
        .maybe_cancellation_token(token)
        .build()
}

/// A workflow without state: its type, its arguments, what it returns, what it does.
macro_rules! workflow {
    ($kind:ident = $name:literal($cx:ident $(, $arg:ident: $of:ty)?) -> $returns:ty $body:block) => {
        #[workflow]
        #[derive(Default)]
        pub struct $kind;

        #[workflow_methods]
        impl $kind {
            #[run(name = $name)]
            pub async fn run($cx: &mut WorkflowContext<Self> $(, $arg: $of)?) -> WorkflowResult<$returns> $body
        }
    };
}

workflow!(Activity = "activity"(cx) -> String {
    Ok(cx.execute_activity(Acts::greet, "Ada".to_owned(), ten_seconds()).await?)
});

workflow!(ActivityRetry = "activity_retry"(cx) -> u32 {
    let policy = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(10))
        .backoff_coefficient(1.5)
        .maximum_interval(Duration::from_secs(1))
        .maximum_attempts(5)
        .non_retryable_error_types(["Refused"])
        .build();
    let timeouts = temporalio_sdk::ActivityCloseTimeouts::ScheduleAndStartToClose {
        start_to_close: Duration::from_secs(10),
        schedule_to_close: Duration::from_secs(60),
    };
    let options = ActivityOptions::with_close_timeouts(timeouts)
        .activity_id("flaky-1".to_owned())
        .schedule_to_start_timeout(Duration::from_secs(30))
        .retry_policy(policy)
        .build();
    Ok(cx.execute_activity(Acts::flaky, 2u32, options).await?)
});

workflow!(ActivityByName = "activity_by_name"(cx) -> String {
    Ok(cx.execute_activity(Acts::describe, (3, "sku-7".to_owned(), true), ten_seconds()).await?)
});

workflow!(Failure = "failure"(cx) -> () {
    Ok(cx.execute_activity(Acts::refuse, (), ten_seconds()).await?)
});

#[workflow]
#[derive(Default)]
pub struct CancelTypes {
    go: bool,
}

#[workflow_methods]
impl CancelTypes {
    #[run(name = "cancel_types")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let kinds = [
            ActivityCancellationType::TryCancel,
            ActivityCancellationType::WaitCancellationCompleted,
            ActivityCancellationType::Abandon,
        ];
        let token = WorkflowCancellationToken::new();
        let held: Vec<_> = kinds
            .into_iter()
            .map(|kind| cx.execute_activity(Acts::hold, (), holding(kind, Some(token.clone()))))
            .collect();
        cx.wait_condition(|this| this.go).await?;
        token.cancel();
        for held in held {
            drop(held.await);
        }
        Ok("cancelled".to_owned())
    }

    #[signal]
    pub fn go(&mut self, _cx: &mut SyncWorkflowContext<Self>, _word: String) {
        self.go = true;
    }
}

workflow!(LocalActivity = "local_activity"(cx) -> String {
    let options = || LocalActivityOptions::builder().start_to_close_timeout(Duration::from_secs(10)).build();
    let a = cx.execute_local_activity(Acts::greet, "a".to_owned(), options()).await?;
    let b = cx.execute_local_activity(Acts::greet, "b".to_owned(), options()).await?;
    cx.timer(Duration::from_millis(20)).await;
    Ok(format!("{a} {b}"))
});

workflow!(Timer = "timer"(cx) -> () {
    cx.timer(Duration::from_millis(50)).await;
    Ok(())
});

workflow!(Deadline = "deadline"(cx) -> String {
    let mut held = cx.execute_activity(Acts::hold, (), holding(ActivityCancellationType::TryCancel, None));
    let mut timer = cx.timer(Duration::from_millis(100));
    temporalio_sdk::workflows::select! {
        _ = timer => {}
        _ = held => {}
    }
    held.cancel();
    Ok(cx.execute_activity(Acts::greet, "late".to_owned(), ten_seconds()).await?)
});

workflow!(Join = "join"(cx) -> String {
    let a = cx.execute_activity(Acts::greet, "a".to_owned(), ten_seconds());
    let b = cx.execute_activity(Acts::greet, "b".to_owned(), ten_seconds());
    let (a, b) = temporalio_sdk::workflows::join!(a, b);
    Ok(format!("{} {}", a?, b?))
});

workflow!(JoinAll = "join_all"(cx) -> Vec<String> {
    let all = ["a", "b", "c"].map(|name| cx.execute_activity(Acts::greet, name.to_owned(), ten_seconds()));
    let all = temporalio_sdk::workflows::join_all(all).await;
    Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?)
});

workflow!(Race = "race"(cx) -> String {
    let mut fast = cx.execute_activity(Acts::greet, "fast".to_owned(), ten_seconds());
    let mut slow = cx.timer(Duration::from_secs(60));
    temporalio_sdk::workflows::select! {
        _ = fast => {}
        _ = slow => {}
    }
    slow.cancel();
    Ok(cx.execute_activity(Acts::greet, "after".to_owned(), ten_seconds()).await?)
});

workflow!(Branch = "branch"(cx) -> String {
    let other = cx.clone();
    let branch = async move {
        other.execute_activity(Acts::greet, "a".to_owned(), ten_seconds()).await?;
        other.execute_activity(Acts::greet, "b".to_owned(), ten_seconds()).await
    };
    let (_, b) = temporalio_sdk::workflows::join!(cx.timer(Duration::from_millis(300)), branch);
    Ok(b?)
});

workflow!(Scope = "scope"(cx) -> String {
    let long = cx.timer(Duration::from_secs(3600));
    cx.timer(Duration::from_millis(20)).await;
    long.cancel();
    long.await;
    Ok(cx.execute_activity(Acts::greet, "after".to_owned(), ten_seconds()).await?)
});

workflow!(CleanUp = "clean_up"(cx) -> () {
    let held = holding(ActivityCancellationType::WaitCancellationCompleted, None);
    let held = cx.execute_activity(Acts::hold, (), held).await;
    let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(10))
        .cancellation_token(WorkflowCancellationToken::new())
        .build();
    cx.execute_activity(Acts::greet, "clean-up".to_owned(), options).await?;
    match held {
        Err(ActivityExecutionError::Cancelled(_)) => Err(temporalio_sdk::WorkflowTermination::cancelled()),
        other => Ok(other?),
    }
});

workflow!(Cancelled = "cancelled"(cx) -> () {
    cx.timer(Duration::from_secs(3600)).await;
    Err(temporalio_sdk::WorkflowTermination::cancelled())
});

workflow!(Given = "given"(_cx, name: String) -> String {
    Ok(name)
});

#[workflow]
#[derive(Default)]
pub struct Waiter {
    said: Option<String>,
}

#[workflow_methods]
impl Waiter {
    #[run(name = "waiter")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<Option<String>> {
        cx.wait_condition(|this| this.said.is_some()).await?;
        Ok(cx.state(|this| this.said.clone()))
    }

    #[signal]
    pub fn go(&mut self, _cx: &mut SyncWorkflowContext<Self>, word: String) {
        self.said = Some(word);
    }
}

workflow!(Child = "child"(cx) -> String {
    let options = ChildWorkflowOptions::workflow_id(format!("{}-child", cx.workflow_id()));
    Ok(cx.start_child_workflow(Given::run, "Ada".to_owned(), options).await?.result().await?)
});

workflow!(ChildSignalled = "child_signalled"(cx) -> Option<String> {
    let options = ChildWorkflowOptions::workflow_id(format!("{}-child", cx.workflow_id()));
    let child = cx.start_child_workflow(Waiter::run, (), options).await?;
    child.signal(Waiter::go, "up".to_owned(), Default::default()).await?;
    Ok(child.result().await?)
});

workflow!(SignalOther = "signal_other"(cx, other: String) -> () {
    Ok(cx.external_workflow(other, None).signal(Waiter::go, "up".to_owned(), Default::default()).await?)
});

workflow!(CancelOther = "cancel_other"(cx, other: String) -> () {
    Ok(cx.external_workflow(other, None).cancel(None).await?)
});

#[workflow]
#[derive(Default)]
pub struct Signals {
    words: Vec<String>,
}

#[workflow_methods]
impl Signals {
    #[run(name = "signals")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        cx.wait_condition(|this| this.words.len() == 2).await?;
        Ok(cx.state(|this| this.words.join(" ")))
    }

    #[signal]
    pub fn go(&mut self, _cx: &mut SyncWorkflowContext<Self>, word: String) {
        self.words.push(word);
    }
}

#[workflow]
#[derive(Default)]
pub struct Query {
    said: Option<String>,
}

#[workflow_methods]
impl Query {
    #[run(name = "query")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<Option<String>> {
        cx.wait_condition(|this| this.said.is_some()).await?;
        Ok(cx.state(|this| this.said.clone()))
    }

    #[signal]
    pub fn go(&mut self, _cx: &mut SyncWorkflowContext<Self>, word: String) {
        self.said = Some(word);
    }

    #[query]
    pub fn status(&self, _cx: &WorkflowContextView) -> String {
        if self.said.is_none() { "waiting" } else { "done" }.to_owned()
    }
}

#[workflow]
#[derive(Default)]
pub struct Update {
    name: Option<String>,
}

#[workflow_methods]
impl Update {
    #[run(name = "update")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<Option<String>> {
        cx.wait_condition(|this| this.name.is_some()).await?;
        Ok(cx.state(|this| this.name.clone()))
    }

    #[update_validator(rename)]
    fn check(&self, _cx: &WorkflowContextView, name: &String) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if name.is_empty() { Err("a name is needed".into()) } else { Ok(()) }
    }

    #[update]
    pub async fn rename(
        cx: &mut WorkflowContext<Self>,
        name: String,
    ) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let name = cx.execute_activity(Acts::greet, name, ten_seconds()).await?;
        cx.state_mut(|this| this.name = Some(name.clone()));
        Ok(name)
    }
}

#[workflow]
#[derive(Default)]
pub struct MessagesFirst {
    done: u32,
}

#[workflow_methods]
impl MessagesFirst {
    #[run(name = "messages_first")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        cx.timer(Duration::from_millis(20)).await;
        cx.wait_condition(|this| this.done == 2).await?;
        Ok(cx.state(|this| this.done))
    }

    #[signal]
    pub async fn add(cx: &mut WorkflowContext<Self>, name: String) {
        drop(cx.execute_activity(Acts::greet, name, ten_seconds()).await);
        cx.state_mut(|this| this.done += 1);
    }
}

#[workflow]
#[derive(Default)]
pub struct Concurrent {
    done: u32,
}

#[workflow_methods]
impl Concurrent {
    #[run(name = "concurrent")]
    pub async fn run(cx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        cx.timer(Duration::from_secs(1)).await;
        cx.timer(Duration::from_millis(20)).await;
        cx.wait_condition(|this| this.done == 2).await?;
        Ok(cx.state(|this| this.done))
    }

    #[signal]
    pub async fn add(cx: &mut WorkflowContext<Self>, name: String) {
        drop(cx.execute_activity(Acts::greet, name.clone(), ten_seconds()).await);
        drop(cx.execute_activity(Acts::greet, name, ten_seconds()).await);
        cx.state_mut(|this| this.done += 1);
    }

    #[update]
    pub async fn put(
        cx: &mut WorkflowContext<Self>,
        name: String,
    ) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let described = cx.execute_activity(Acts::describe, (1, name, false), ten_seconds()).await?;
        cx.state_mut(|this| this.done += 1);
        Ok(described)
    }
}

workflow!(ContinueAsNew = "continue_as_new"(cx, left: u32) -> String {
    if left > 0 {
        cx.timer(Duration::from_millis(20)).await;
        cx.continue_as_new(left - 1, Default::default())?;
    }
    Ok("done".to_owned())
});

workflow!(Patched = "patched"(cx) -> String {
    let name = if cx.patched("v2") { "new" } else { "old" };
    Ok(cx.execute_activity(Acts::greet, name.to_owned(), ten_seconds()).await?)
});

workflow!(DeprecatePatch = "deprecate_patch"(cx) -> String {
    cx.deprecate_patch("v2");
    Ok(cx.execute_activity(Acts::greet, "new".to_owned(), ten_seconds()).await?)
});

workflow!(SearchAttributes = "search_attributes"(cx) -> () {
    cx.upsert_search_attributes([KEYWORD.value_set("seen".to_owned())]);
    cx.timer(Duration::from_millis(20)).await;
    Ok(())
});

workflow!(Memo = "memo"(cx) -> () {
    cx.upsert_memo([("note", Some(temporalio_sdk::MemoValue::new("seen".to_owned())))])?;
    cx.timer(Duration::from_millis(20)).await;
    Ok(())
});

/// Gives `$to`, the options of a worker or of a replayer, every workflow above.
macro_rules! register_all {
    ($to:expr) => {
        register_all!($to, Activity ActivityRetry ActivityByName Failure CancelTypes LocalActivity Timer Deadline Join
            JoinAll Race Branch Scope CleanUp Cancelled Given Waiter Child ChildSignalled SignalOther CancelOther Signals
            Query Update MessagesFirst Concurrent ContinueAsNew Patched DeprecatePatch SearchAttributes Memo)
    };
    ($to:expr, $($kind:ident)+) => {
        $to$(.register_workflow::<$crate::workflows::$kind>()?)+
    };
}
pub(crate) use register_all;
