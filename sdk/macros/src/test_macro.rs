//! `#[test]`: a test that gets a server of its own.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{ItemFn, Signature};

pub(crate) fn expand(options: &TokenStream, function: &ItemFn) -> syn::Result<TokenStream> {
    if !options.is_empty() {
        return Err(syn::Error::new_spanned(options, "there are no options; see `TestServer::options`"));
    }
    let ItemFn { attrs, vis, sig, block } = function;
    if sig.asyncness.is_none() || sig.inputs.len() != 1 || sig.receiver().is_some() {
        let message = "a test takes its server: write `async fn name(t: TestServer)`";
        return Err(syn::Error::new_spanned(sig, message));
    }
    let (name, returns) = (&sig.ident, &sig.output);
    let body = Signature { ident: format_ident!("body", span = name.span()), ..sig.clone() };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #returns {
            #body #block
            ::mainspring::__rt::run_test(body)
        }
    })
}
