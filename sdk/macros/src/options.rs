//! What stands in the brackets of `#[activity(..)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Expr, ExprArray, Lit, LitStr, meta::ParseNestedMeta, spanned::Spanned};

use crate::duration;

/// The options of one activity.
#[derive(Default)]
pub(crate) struct Options {
    /// Its type, if it is not the function's name.
    pub(crate) name: Option<LitStr>,
    /// Where `blocking` was written.
    pub(crate) blocking: Option<Span>,
    /// Where `abort_on_cancel` was written.
    pub(crate) abort_on_cancel: Option<Span>,
    /// Calls of the setters of `ActivityCall`, in the order written.
    pub(crate) setters: Vec<TokenStream>,
}

impl Options {
    /// Takes one entry, as `syn` finds them.
    pub(crate) fn take(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let Some(ident) = meta.path.get_ident() else { return Err(meta.error(UNKNOWN)) };
        match ident.to_string().as_str() {
            "name" => self.name = Some(meta.value()?.parse()?),
            "blocking" => self.blocking = Some(ident.span()),
            "abort_on_cancel" => self.abort_on_cancel = Some(ident.span()),
            "start_to_close" | "schedule_to_close" | "schedule_to_start" | "heartbeat" => {
                let span = written_duration(&meta.value()?.parse()?)?;
                self.setters.push(quote!(.#ident(#span)));
            }
            "queue" | "summary" => {
                let text: LitStr = meta.value()?.parse()?;
                self.setters.push(quote!(.#ident(#text)));
            }
            "retry" => {
                let policy = retry(meta)?;
                self.setters.push(quote!(.retry(#policy)));
            }
            _ => return Err(meta.error(UNKNOWN)),
        }
        Ok(())
    }
}

const UNKNOWN: &str = "there is no such option; there are: name, start_to_close, schedule_to_close, schedule_to_start, \
                       heartbeat, retry(..), queue, summary, blocking, abort_on_cancel";

/// `retry(max_attempts = 5, initial = "1s", backoff = 2.0, max_interval = "1m", non_retryable = ["CardDeclined"])`
fn retry(meta: &ParseNestedMeta<'_>) -> syn::Result<TokenStream> {
    let mut policy = quote!(::mainspring::__rt::RetryPolicy::new());
    meta.parse_nested_meta(|entry| {
        let unknown = "there is no such option; there are: max_attempts, initial, backoff, max_interval, non_retryable";
        let Some(ident) = entry.path.get_ident().cloned() else { return Err(entry.error(unknown)) };
        let value = entry.value()?;
        let setter = match ident.to_string().as_str() {
            "max_attempts" | "backoff" => {
                let number: Lit = value.parse()?;
                quote!(.#ident(#number))
            }
            "initial" | "max_interval" => {
                let span = written_duration(&value.parse()?)?;
                quote!(.#ident(#span))
            }
            "non_retryable" => {
                let kinds: ExprArray = value.parse()?;
                for kind in &kinds.elems {
                    if !matches!(kind, Expr::Lit(kind) if matches!(kind.lit, Lit::Str(_))) {
                        return Err(syn::Error::new(kind.span(), "write the failure's type as a text"));
                    }
                }
                quote!(.non_retryable(#kinds))
            }
            _ => return Err(entry.error(unknown)),
        };
        policy.extend(setter);
        Ok(())
    })?;
    Ok(policy)
}

fn written_duration(text: &LitStr) -> syn::Result<TokenStream> {
    let span = duration::parse(&text.value()).map_err(|why| syn::Error::new(text.span(), why))?;
    let (secs, nanos) = (span.as_secs(), span.subsec_nanos());
    Ok(quote!(::core::time::Duration::new(#secs, #nanos)))
}
