//! What the macros say when they are misused.

use syn::parse::Parser;

use crate::{activities, activity, options::Options};

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
