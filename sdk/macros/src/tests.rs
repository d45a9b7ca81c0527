//! What the macros say when they are misused.

use syn::parse::Parser;

use crate::{activities, activity, options::Options, workflow};

/// The error of `#[activity(options)] item`; empty when there is none.
fn activity_error(options: &str, item: &str) -> String {
    let mut taken = Options::default();
    let parser = syn::meta::parser(|meta| taken.take(&meta));
    if let Err(error) = parser.parse_str(options) {
        return error.to_string();
    }
    let function = match syn::parse_str::<activity::Function>(item) {
        Ok(function) => function,
        Err(error) => return error.to_string(),
    };
    activity::expand(&taken, function).err().map(|error| error.to_string()).unwrap_or_default()
}

fn activities_error(item: &str) -> String {
    let block = syn::parse_str(item).expect("an impl block");
    activities::expand(&block).err().map(|error| error.to_string()).unwrap_or_default()
}

#[track_caller]
fn says(error: &str, wanted: &str) {
    assert!(error.contains(wanted), "it says {error:?}");
}

const PLAIN: &str = "async fn a(n: u64) -> Result<()> { Ok(()) }";

#[test]
fn what_is_right_has_no_error() {
    assert_eq!(activity_error("", PLAIN), "");
    assert_eq!(activity_error("name = \"A\", start_to_close = \"1h30m\", abort_on_cancel", PLAIN), "");
    assert_eq!(activity_error("", "pub(crate) fn a(cx: Activity) -> Result<(), E> { Ok(()) }"), "");
    assert_eq!(activity_error("", "/// Docs.\nasync fn a(n: u64) -> Result<u64>;"), "");
    assert_eq!(activities_error("impl<T: Send> Gpu<T> { #[activity(name = \"b\")] fn a(&self) -> Result<()> {} }"), "");
}

#[test]
fn options_are_checked() {
    says(&activity_error("start_to_close = \"30\"", PLAIN), "\"30\" is no duration; write it like \"500ms\"");
    says(&activity_error("timeout = \"30s\"", PLAIN), "there is no such option; there are: name, start_to_close");
    says(&activity_error("retry(attempts = 3)", PLAIN), "there are: max_attempts, initial");
    says(&activity_error("retry(non_retryable = [A])", PLAIN), "write the failure's type as a text");
    says(&activity_error("blocking", PLAIN), "an `async fn` must not block");
    let blocking = "fn a() -> Result<()> { Ok(()) }";
    says(&activity_error("abort_on_cancel", blocking), "a thread cannot be dropped");
}

#[test]
fn signatures_are_checked() {
    says(&activity_error("", "async fn a(name: &str) -> Result<()> {}"), "arguments are owned: take `String` here");
    says(&activity_error("", "async fn a(rows: &[u8]) -> Result<()> {}"), "take a `Vec` here");
    says(&activity_error("", "async fn a(card: &Card) -> Result<()> {}"), "take `Card` here");
    says(&activity_error("", "async fn a(n: impl Into<u64>) -> Result<()> {}"), "arguments have exact types");
    says(&activity_error("", "async fn a<T>(n: T) -> Result<()> {}"), "no type parameters of its own");
    says(&activity_error("", "async fn a(n: u64, cx: Activity) -> Result<()> {}"), "the context comes first");
    says(&activity_error("", "async fn a() {}"), "an activity returns a `Result`");
    says(&activity_error("", "async fn a(&self) -> Result<()> {}"), "`impl` block with `#[activities]`");
}

#[test]
fn blocks_are_checked() {
    says(&activities_error("impl Gpu { async fn a(self) -> Result<()> {} }"), "takes `&self` first");
    says(&activities_error("impl Gpu { async fn a(&mut self) -> Result<()> {} }"), "takes `&self` first");
    says(&activities_error("impl Gpu { const A: u8 = 1; }"), "only activities are in this block");
    says(&activities_error("impl Trait for Gpu { fn a(&self) -> Result<()> {} }"), "not of a trait");
    says(&activities_error("impl Gpu { #[activity(nme = \"b\")] fn a(&self) -> Result<()> {} }"), "no such option");
}

/// The error of `#[workflow(options)] item`; empty when there is none.
fn workflow_error(options: &str, item: &str) -> String {
    let mut taken = workflow::Options::default();
    let parser = syn::meta::parser(|meta| taken.take(&meta));
    if let Err(error) = parser.parse_str(options) {
        return error.to_string();
    }
    let item = item.parse().expect("tokens");
    workflow::expand(&taken, item).err().map(|error| error.to_string()).unwrap_or_default()
}

const RUN: &str = "async fn run(&self, cx: Ctx) -> Result<()> { Ok(()) }";

fn in_impl(methods: &str) -> String {
    workflow_error("", &format!("impl Order {{ {methods} }}"))
}

#[test]
fn workflows_that_are_right_have_no_error() {
    assert_eq!(workflow_error("", "async fn a(cx: Ctx, n: u64) -> Result<()> { cx.sleep(d).await }"), "");
    assert_eq!(workflow_error("name = \"A\", panics = \"fail\"", "pub struct A { n: Var<u64> }"), "");
    assert_eq!(workflow_error("", "async fn of_others(n: u64) -> Result<u64>;"), "");
    let handlers = "fn init(cx: Ctx, n: u64) -> Self { Self }
        #[signal] fn a(&self, by: String) {}
        #[signal(name = \"b\")] async fn b(&self, cx: Ctx) -> Result<()> { Ok(()) }
        #[query] fn c(&self) -> u64 { 7 }
        #[update(validate = fine)] async fn d(&self, cx: Ctx, n: u64) -> Result<u64> { Ok(n) }
        fn fine(&self, n: &u64) -> Result<()> { Ok(()) }";
    assert_eq!(in_impl(&format!("{RUN} {handlers}")), "");
}

#[test]
fn workflows_that_are_wrong_say_what_to_write() {
    says(&workflow_error("", "fn a(cx: Ctx) -> Result<()> { Ok(()) }"), "write `async fn`");
    says(&workflow_error("", "async fn a(n: u64) -> Result<()> { Ok(()) }"), "takes its context first: `cx: Ctx`");
    says(&workflow_error("", "async fn a(&self, cx: Ctx) -> Result<()> { Ok(()) }"), "put `#[workflow]` on the struct");
    says(&workflow_error("", "async fn a(cx: Ctx, s: &str) -> Result<()> { Ok(()) }"), "take `String` here");
    says(&workflow_error("panics = \"task\"", "struct A;"), "the only choice is");
    says(&workflow_error("speed = 1", "struct A;"), "there are: name");
    says(&in_impl("fn other(&self) {}"), "async fn run(&self, cx: Ctx)");
    says(&in_impl("async fn run(&mut self, cx: Ctx) -> Result<()> { Ok(()) }"), "what changes goes into a `Var`");
    says(&in_impl(&format!("{RUN} #[query] async fn q(&self) -> u64 {{ 7 }}")), "a query answers at once");
    says(&in_impl(&format!("{RUN} #[query] fn q(&self, cx: Ctx) -> u64 {{ 7 }}")), "a query only looks");
    says(&in_impl(&format!("{RUN} #[query] fn q(&self) {{}}")), "write its type");
    says(&in_impl(&format!("{RUN} #[signal] #[query] fn q(&self) -> u64 {{ 7 }}")), "one kind of message");
    says(&in_impl(&format!("{RUN} #[signal(validate = v)] fn s(&self) {{}}")), "there is no such option");
    let both = "fn init() -> Self { Self } async fn run(&self, cx: Ctx, n: u64) -> Result<()> { Ok(()) }";
    says(&in_impl(both), "the arguments go to `init`");
}

#[test]
fn what_does_not_replay_is_refused_where_it_is_written() {
    let body = |body: &str| workflow_error("", &format!("async fn a(cx: Ctx) -> Result<()> {{ {body} }}"));
    says(&body("tokio::time::sleep(d).await; Ok(())"), "use `cx.sleep(..)`");
    says(&body("let t = Instant::now(); Ok(())"), "use `cx.now()`");
    says(&in_impl(&format!("{RUN} #[signal] fn s(&self) {{ let m = HashMap::new(); }}")), "workflow::Map");
    let allowed = "#[allow_nondeterminism] async fn a(cx: Ctx) -> Result<()> { let t = Instant::now(); Ok(()) }";
    assert_eq!(workflow_error("", allowed), "");
}
