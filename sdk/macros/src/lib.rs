//! The attribute macros of the crate `mainspring`. They expand to paths of `::mainspring::__rt` only, so that nothing
//! else has to be in the user's `Cargo.toml`.
//!
//! - `activity`, `activities`: activities. `workflow`, `handlers`: workflows and what they are sent; `scan`: what does
//!   not replay in their code.
//! - `test_macro`: tests with a server of their own.
//! - `options`: what stands in their brackets; `signature`: arguments and result.

mod activities;
mod activity;
mod duration;
mod handlers;
mod options;
mod scan;
mod signature;
mod test_macro;
#[cfg(test)]
mod tests;
mod workflow;

use proc_macro::TokenStream;
use syn::{ItemImpl, meta, parse_macro_input};

/// Makes a function an activity.
///
/// ```ignore
/// #[activity(start_to_close = "30s", retry(max_attempts = 5, non_retryable = ["CardDeclined"]))]
/// async fn charge(cx: Activity, amount_cents: u64, card: Card) -> Result<Receipt> { .. }
/// ```
///
/// The function then describes a call, `charge(5, card)`, which a workflow runs; the context, if it takes one, comes
/// first and is left out there. Beside it there are `charge::def()`, to be registered with a worker, `charge::body`, the
/// function as it was written, and `charge::NAME`; for tests, `charge::with(|cents, card| ..)` and `charge::with_async(..)`
/// are definitions that do something else.
///
/// Options, each a default that a call may override: `start_to_close`, `schedule_to_close`, `schedule_to_start`,
/// `heartbeat` (durations such as `"30s"` or `"1h30m"`), `retry(max_attempts, initial, backoff, max_interval,
/// non_retryable)`, `queue`, `summary`; and of the definition: `name`, the activity's type if it is not the function's
/// name; `abort_on_cancel`, which drops the future instead of telling it; `blocking`, which every `fn` without `async` is.
///
/// Without a body, `async fn price(sku: String) -> Result<u64>;`, it describes calls of an activity that others run.
#[proc_macro_attribute]
pub fn activity(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut taken = options::Options::default();
    let parser = meta::parser(|meta| taken.take(&meta));
    parse_macro_input!(options with parser);
    let function = parse_macro_input!(item as activity::Function);
    activity::expand(&taken, function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes each method of an `impl` block an activity that works on a shared value: a client, credentials, a device.
///
/// ```ignore
/// #[activities]
/// impl Gpu {
///     async fn train(&self, cx: Activity, job: Job) -> Result<Model> { .. }
///
///     #[activity(name = "evaluate_v2", start_to_close = "1h")]
///     fn evaluate(&self, model: Model) -> Result<Score> { .. }
/// }
/// ```
///
/// `Gpu::train(job)` then describes a call, and `Worker::builder(..).activities(Gpu::open()?)` runs all of them. The
/// methods as they were written are `train_body` and so on; `Gpu::train_with(|job| ..)` and `Gpu::train_with_async(..)` are
/// definitions for tests that do something else.
#[proc_macro_attribute]
pub fn activities(options: TokenStream, item: TokenStream) -> TokenStream {
    if !options.is_empty() {
        let options = proc_macro2::TokenStream::from(options);
        let message = "options go to the methods: #[activity(..)]";
        return syn::Error::new_spanned(options, message).into_compile_error().into();
    }
    let block = parse_macro_input!(item as ItemImpl);
    activities::expand(&block).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function, or a struct with its `impl` block, a workflow.
///
/// ```ignore
/// #[workflow]
/// async fn greet(cx: Ctx, name: String) -> Result<String> { .. }
///
/// #[workflow(name = "Order")]
/// pub struct Order { request: Request, approved: Var<Option<String>> }
///
/// #[workflow]
/// impl Order {
///     fn init(request: Request) -> Self { .. }
///     async fn run(&self, cx: Ctx) -> Result<Receipt> { .. }
///     #[signal] fn approve(&self, by: String) { .. }
///     #[query] fn status(&self) -> Status { .. }
///     #[update(validate = address_ok)] async fn change_address(&self, cx: Ctx, to: Address) -> Result<()> { .. }
/// }
/// ```
///
/// `greet("Ann".into())` and `Order::start(request)` then describe calls, `Order::approve("ann".into())` a signal, and so
/// on; `greet::def()` and `Order::def()` are registered with a worker. The handlers as they were written are reached
/// inside as `self.handlers().approve(..)`. `greet::with(|name| ..)` and `Order::with(|request| ..)` are definitions for tests
/// that return at once. Without `init`, the struct's `Default` is taken and `run` gets the arguments.
///
/// Options: `name`, the workflow's type if it is not the function's or the struct's name; `panics = "fail"`, by which a
/// panic fails the workflow instead of its task; `fail_on_nondeterminism`, likewise.
///
/// The body is looked through for what does not replay: clocks, threads, Tokio, random numbers, files, `HashMap`.
/// `#[allow_nondeterminism]` on a function or method lets it pass.
#[proc_macro_attribute]
pub fn workflow(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut taken = workflow::Options::default();
    let parser = meta::parser(|meta| taken.take(&meta));
    parse_macro_input!(options with parser);
    workflow::expand(&taken, item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an `async fn` a test that gets a server of its own, whose clock skips. Needs the feature `testing`.
///
/// ```ignore
/// #[mainspring::test]
/// async fn it_works(t: TestServer) -> Result<()> { .. }
/// ```
///
/// It runs on one thread; the server and its workers have threads of their own. Other attributes, such as `#[ignore]` and
/// `#[should_panic]`, go to the test.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as syn::ItemFn);
    test_macro::expand(&options.into(), &function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a method of a workflow handle a signal; see [`macro@workflow`].
#[proc_macro_attribute]
pub fn signal(_: TokenStream, item: TokenStream) -> TokenStream {
    workflow::misplaced("signal", item.into()).into()
}

/// Makes a method of a workflow answer a query; see [`macro@workflow`].
#[proc_macro_attribute]
pub fn query(_: TokenStream, item: TokenStream) -> TokenStream {
    workflow::misplaced("query", item.into()).into()
}

/// Makes a method of a workflow handle an update; see [`macro@workflow`].
#[proc_macro_attribute]
pub fn update(_: TokenStream, item: TokenStream) -> TokenStream {
    workflow::misplaced("update", item.into()).into()
}
