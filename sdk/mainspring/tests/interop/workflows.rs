//! The workflows of `tests/interop`, with this SDK.

use mainspring::{Call, RetryPolicy, SearchAttributes, Signal, prelude::*, workflow::WorkflowDef};

#[activity(start_to_close = "10s")]
pub(crate) async fn greet(name: String) -> Result<String> {
    Ok(format!("hello {name}"))
}

#[activity(start_to_close = "10s")]
pub(crate) async fn flaky(cx: Activity, fails: i32) -> Result<i32> {
    match cx.info().attempt {
        attempt if attempt <= fails => Err(Error::application("Flaky", format!("attempt {attempt}"))),
        attempt => Ok(attempt),
    }
}

#[activity(start_to_close = "10s")]
pub(crate) async fn refuse() -> Result<()> {
    Err(Error::application("Refused", "never").details("because").details(7).non_retryable())
}

#[activity(start_to_close = "60s", heartbeat = "1s", retry(max_attempts = 1))]
pub(crate) async fn hold(cx: Activity) -> Result<()> {
    while !cx.is_cancelled() {
        cx.heartbeat(&());
        tokio::time::sleep(millis(50)).await;
    }
    Err(Error::cancelled())
}

#[activity(start_to_close = "10s")]
pub(crate) async fn describe(count: u32, sku: String, gift: bool) -> Result<String> {
    Ok(format!("{count} {sku} {gift}"))
}

#[workflow]
async fn activity(cx: Ctx) -> Result<String> {
    cx.run(greet("Ada".to_owned())).await
}

#[workflow]
async fn activity_retry(cx: Ctx) -> Result<i32> {
    let policy = RetryPolicy::default().initial(millis(10)).backoff(1.5).max_interval(secs(1)).max_attempts(5);
    let call = flaky(2).id("flaky-1").schedule_to_close(secs(60)).schedule_to_start(secs(30));
    cx.run(call.retry(policy.non_retryable(["Refused"]))).await
}

#[workflow]
async fn activity_by_name(cx: Ctx) -> Result<String> {
    let call = Call::named("describe").arg(3).arg("sku-7").arg(true);
    cx.run(call.returns::<String>().start_to_close(secs(10))).await
}

#[workflow]
async fn failure(cx: Ctx) -> Result<()> {
    cx.run(refuse()).await
}

#[workflow]
async fn cancel_types(cx: Ctx) -> Result<String> {
    let scope = cx.scope();
    let kinds = [CancelKind::TryCancel, CancelKind::WaitCompleted, CancelKind::Abandon];
    let held = join_all(kinds.map(|kind| scope.cx().run(hold().cancel(kind))));
    cx.signals::<String>("go").next().await;
    scope.cancel("enough");
    held.await;
    Ok("cancelled".to_owned())
}

#[workflow]
async fn local_activity(cx: Ctx) -> Result<String> {
    let a = cx.run_local(greet("a".to_owned())).await?;
    let b = cx.run_local(greet("b".to_owned())).await?;
    cx.sleep(millis(20)).await?;
    Ok(format!("{a} {b}"))
}

#[workflow]
async fn timer(cx: Ctx) -> Result<()> {
    cx.sleep(millis(50)).await
}

#[workflow]
async fn deadline(cx: Ctx) -> Result<String> {
    match cx.timeout(millis(100), cx.run(hold())).await {
        Err(Error::Timeout(_)) => cx.run(greet("late".to_owned())).await,
        other => Err(Error::msg(format!("it ended: {other:?}"))),
    }
}

#[workflow]
async fn join(cx: Ctx) -> Result<String> {
    let (a, b) = join!(cx.run(greet("a".to_owned())), cx.run(greet("b".to_owned())));
    Ok(format!("{} {}", a?, b?))
}

#[workflow(name = "join_all")]
async fn join_all_of(cx: Ctx) -> Result<Vec<String>> {
    join_all(["a", "b", "c"].map(|name| cx.run(greet(name.to_owned())))).await.into_iter().collect()
}

#[workflow]
async fn race(cx: Ctx) -> Result<String> {
    race! {
        fast = cx.run(greet("fast".to_owned())) => fast?,
        slow = cx.sleep(secs(60)) => return Err(Error::msg(format!("it slept: {slow:?}"))),
    };
    cx.run(greet("after".to_owned())).await
}

#[workflow]
async fn branch(cx: Ctx) -> Result<String> {
    let other = cx.clone();
    let branch = cx.spawn(async move {
        other.run(greet("a".to_owned())).await?;
        other.run(greet("b".to_owned())).await
    });
    cx.sleep(millis(300)).await?;
    branch.await
}

#[workflow]
async fn scope(cx: Ctx) -> Result<String> {
    let scope = cx.scope();
    let long = scope.cx().sleep(hours(1));
    cx.sleep(millis(20)).await?;
    scope.cancel("enough");
    match long.await {
        Err(Error::Cancelled(_)) => cx.run(greet("after".to_owned())).await,
        other => Err(Error::msg(format!("it slept: {other:?}"))),
    }
}

#[workflow]
async fn clean_up(cx: Ctx) -> Result<()> {
    let held = cx.run(hold().cancel(CancelKind::WaitCompleted)).await;
    cx.shielded().run(greet("clean-up".to_owned())).await?;
    held
}

#[workflow]
async fn cancelled(cx: Ctx) -> Result<()> {
    cx.sleep(hours(1)).await
}

#[workflow]
async fn given(_cx: Ctx, name: String) -> Result<String> {
    Ok(name)
}

#[workflow]
async fn waiter(cx: Ctx) -> Result<String> {
    let mut words = cx.signals::<String>("go");
    race! {
        word = words.next() => Ok(word),
        _ = cx.cancelled() => Err(Error::cancelled()),
    }
}

#[workflow]
async fn child(cx: Ctx) -> Result<String> {
    cx.run_child(given("Ada".to_owned()).id(format!("{}-child", cx.info().workflow_id))).await
}

#[workflow]
async fn child_signalled(cx: Ctx) -> Result<String> {
    let child = cx.start_child(waiter().id(format!("{}-child", cx.info().workflow_id))).await?;
    child.signal(Signal::named("go").arg("up")).await?;
    child.result().await
}

#[workflow]
async fn signal_other(cx: Ctx, other: String) -> Result<()> {
    cx.workflow(other).signal(Signal::named("go").arg("up")).await
}

#[workflow]
async fn cancel_other(cx: Ctx, other: String) -> Result<()> {
    cx.workflow(other).cancel("").await
}

#[workflow]
async fn signals(cx: Ctx) -> Result<String> {
    let mut words = cx.signals::<String>("go");
    Ok(format!("{} {}", words.next().await, words.next().await))
}

#[derive(Default)]
#[workflow(name = "query")]
struct Query {
    said: Var<Option<String>>,
}

#[workflow]
impl Query {
    async fn run(&self, _cx: Ctx) -> Result<String> {
        Ok(self.said.some().await)
    }

    #[signal]
    fn go(&self, word: String) {
        self.said.set(Some(word));
    }

    #[query]
    fn status(&self) -> &'static str {
        if self.said.with(Option::is_some) { "done" } else { "waiting" }
    }
}

#[derive(Default)]
#[workflow(name = "update")]
struct Update {
    name: Var<Option<String>>,
}

#[workflow]
impl Update {
    async fn run(&self, _cx: Ctx) -> Result<String> {
        Ok(self.name.some().await)
    }

    #[update(validate = not_empty)]
    async fn rename(&self, cx: Ctx, name: String) -> Result<String> {
        let name = cx.run(greet(name)).await?;
        self.name.set(Some(name.clone()));
        Ok(name)
    }

    #[expect(clippy::ptr_arg, reason = "it sees what the update gets")]
    fn not_empty(&self, name: &String) -> Result<()> {
        if name.is_empty() { Err(Error::application("Invalid", "a name is needed")) } else { Ok(()) }
    }
}

#[derive(Default)]
#[workflow(name = "messages_first")]
struct MessagesFirst {
    done: Var<u32>,
}

#[workflow]
impl MessagesFirst {
    async fn run(&self, cx: Ctx) -> Result<u32> {
        cx.sleep(millis(20)).await?;
        self.done.wait(|done| *done == 2).await;
        Ok(self.done.get())
    }

    #[signal]
    async fn add(&self, cx: Ctx, name: String) -> Result<()> {
        cx.run(greet(name)).await?;
        self.done.update(|done| *done += 1);
        Ok(())
    }
}

#[derive(Default)]
#[workflow(name = "concurrent")]
struct Concurrent {
    done: Var<u32>,
}

#[workflow]
impl Concurrent {
    async fn run(&self, cx: Ctx) -> Result<u32> {
        cx.sleep(secs(1)).await?;
        cx.sleep(millis(20)).await?;
        self.done.wait(|done| *done == 2).await;
        Ok(self.done.get())
    }

    #[signal]
    async fn add(&self, cx: Ctx, name: String) -> Result<()> {
        cx.run(greet(name.clone())).await?;
        cx.run(greet(name)).await?;
        self.done.update(|done| *done += 1);
        Ok(())
    }

    #[update]
    async fn put(&self, cx: Ctx, name: String) -> Result<String> {
        let described = cx.run(describe(1, name, false)).await?;
        self.done.update(|done| *done += 1);
        Ok(described)
    }
}

#[workflow]
async fn continue_as_new(cx: Ctx, left: u32) -> Result<String> {
    if left == 0 {
        return Ok("done".to_owned());
    }
    cx.sleep(millis(20)).await?;
    Err(cx.continue_as_new(continue_as_new(left - 1)))
}

#[workflow]
async fn patched(cx: Ctx) -> Result<String> {
    let name = if cx.patched("v2") { "new" } else { "old" };
    cx.run(greet(name.to_owned())).await
}

#[workflow]
async fn deprecate_patch(cx: Ctx) -> Result<String> {
    cx.deprecate_patch("v2");
    cx.run(greet("new".to_owned())).await
}

#[workflow]
async fn version(cx: Ctx) -> Result<String> {
    let name = if cx.version("v2", 1..=2) == 2 { "new" } else { "old" };
    cx.run(greet(name.to_owned())).await
}

#[workflow]
async fn side_effect(cx: Ctx) -> Result<String> {
    let name = cx.side_effect(|| "once".to_owned())?;
    cx.run(greet(name)).await
}

#[workflow]
async fn mutable_side_effect(cx: Ctx) -> Result<String> {
    cx.mutable_side_effect("limit", || "7".to_owned())?;
    cx.mutable_side_effect("limit", || "7".to_owned())?;
    let limit = cx.mutable_side_effect("limit", || "8".to_owned())?;
    cx.run(greet(limit)).await
}

#[workflow]
async fn search_attributes(cx: Ctx) -> Result<()> {
    cx.upsert_search_attributes(SearchAttributes::new().keyword("InteropKeyword", "seen"));
    cx.sleep(millis(20)).await
}

#[workflow]
async fn memo(cx: Ctx) -> Result<()> {
    cx.set_memo("note", "seen")?;
    cx.sleep(millis(20)).await
}

pub(crate) fn workflows() -> Vec<WorkflowDef> {
    vec![
        activity::def(),
        activity_retry::def(),
        activity_by_name::def(),
        failure::def(),
        cancel_types::def(),
        local_activity::def(),
        timer::def(),
        deadline::def(),
        join::def(),
        join_all_of::def(),
        race::def(),
        branch::def(),
        scope::def(),
        clean_up::def(),
        cancelled::def(),
        given::def(),
        waiter::def(),
        child::def(),
        child_signalled::def(),
        signal_other::def(),
        cancel_other::def(),
        signals::def(),
        Query::def(),
        Update::def(),
        MessagesFirst::def(),
        Concurrent::def(),
        continue_as_new::def(),
        patched::def(),
        deprecate_patch::def(),
        version::def(),
        side_effect::def(),
        mutable_side_effect::def(),
        search_attributes::def(),
        memo::def(),
    ]
}
