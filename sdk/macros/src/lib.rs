//! The attribute macros of the crate `mainspring`. They expand to paths of `::mainspring::__rt` only, so that nothing
//! else has to be in the user's `Cargo.toml`.
//!
//! - `activity`, `activities`: the two macros. `options`: what stands in their brackets; `signature`: arguments and result.

mod activities;
mod activity;
mod duration;
mod options;
mod signature;
#[cfg(test)]
mod tests;

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
/// function as it was written, `charge::with(|cents, card| ..)`, a stand-in for tests, and `charge::NAME`.
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
/// methods as they were written are `train_body` and so on.
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
