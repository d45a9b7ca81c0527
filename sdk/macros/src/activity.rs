//! `#[activity]` on a function: a function that describes the call, and a type of the same name with the rest.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Block, ItemFn, Meta, Signature, TraitItemFn, Visibility, parse::Parse, parse::ParseStream,
    spanned::Spanned,
};

use crate::{options::Options, signature::Contract};

/// A function with a body, or without one for code that others run.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Option<Block>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let ahead = input.fork();
        if let Ok(ItemFn { attrs, vis, sig, block }) = input.parse() {
            return Ok(Function { attributes: attrs, visibility: vis, signature: sig, body: Some(*block) });
        }
        let mut attributes = ahead.call(Attribute::parse_outer)?;
        let visibility = ahead.parse()?;
        let function: TraitItemFn = ahead.parse()?;
        attributes.extend(function.attrs);
        // The two attempts are over the same tokens; the first one may have stopped anywhere.
        input.step(|cursor| {
            let mut rest = *cursor;
            while let Some((_, next)) = rest.token_tree() {
                rest = next;
            }
            Ok(((), rest))
        })?;
        Ok(Function { attributes, visibility, signature: function.sig, body: function.default })
    }
}

pub(crate) fn expand(options: &Options, function: Function) -> syn::Result<TokenStream> {
    let Function { attributes, visibility, signature, body } = function;
    let contract = Contract::of(&signature)?;
    if let Some(receiver) = signature.receiver() {
        let message = "a method is an activity in an `impl` block with `#[activities]`";
        return Err(syn::Error::new_spanned(receiver, message));
    }
    let name = &signature.ident;
    let activity_type = options.name.as_ref().map_or_else(|| name.to_string(), syn::LitStr::value);
    let docs: Vec<&Attribute> = attributes.iter().filter(|attribute| is_doc(attribute)).collect();
    let cfgs: Vec<&Attribute> = attributes.iter().filter(|attribute| is_cfg(attribute)).collect();
    let (parameters, names, output) = (contract.parameters(), &contract.names, &contract.output);
    let setters = &options.setters;
    let defined = body.is_some().then(|| quote!(.defined_by(#name::def)));
    let stand_ins = stand_ins(&StandIns {
        visibility: &visibility,
        prefix: "",
        activity_type: &quote!(Self::NAME),
        span: name.span(),
        contract: &contract,
        cfgs: &[],
    });
    let definition = match body {
        Some(body) => definition(options, &visibility, &attributes, &signature, &contract, &body)?,
        None => TokenStream::new(),
    };
    let about =
        format!(" The activity `{activity_type}`: its name, its body, its definition. The function describes calls.");
    Ok(quote! {
        #(#cfgs)*
        #(#docs)*
        #visibility fn #name(#parameters) -> ::mainspring::__rt::ActivityCall<#output> {
            ::mainspring::__rt::ActivityCall::new(#name::NAME)#(.arg(#names))*#(#setters)*#defined
        }

        #(#cfgs)*
        #[doc = #about]
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #visibility enum #name {}

        #(#cfgs)*
        #[allow(dead_code)]
        impl #name {
            /// The activity's type.
            #visibility const NAME: &'static str = #activity_type;

            #definition

            #stand_ins
        }
    })
}

/// `body` and `def`.
fn definition(
    options: &Options,
    visibility: &Visibility,
    attributes: &[Attribute],
    signature: &Signature,
    contract: &Contract,
    body: &Block,
) -> syn::Result<TokenStream> {
    let plain = Signature { ident: format_ident!("body", span = signature.ident.span()), ..signature.clone() };
    let (decoded, span) = (contract.decoded(), contract.returns.span());
    let call = quote_spanned!(span=> Self::body(#decoded));
    let made = made(options, signature, &quote!(Self::NAME), &call, &contract.returns, &quote!())?;
    Ok(quote! {
        #(#attributes)*
        #visibility #plain #body

        /// The definition, to be registered with a worker.
        #visibility fn def() -> ::mainspring::__rt::ActivityDef {
            #made
        }
    })
}

/// Which stand-ins are to be made.
pub(crate) struct StandIns<'a> {
    pub(crate) visibility: &'a Visibility,
    /// Before their names: where several activities are in one type.
    pub(crate) prefix: &'a str,
    pub(crate) activity_type: &'a TokenStream,
    pub(crate) span: Span,
    pub(crate) contract: &'a Contract,
    /// What they are left out with.
    pub(crate) cfgs: &'a [&'a Attribute],
}

/// `with` and `with_async`.
pub(crate) fn stand_ins(of: &StandIns<'_>) -> TokenStream {
    let StandIns { visibility, prefix, activity_type, span, contract, cfgs } = *of;
    let with = Ident::new(&format!("{prefix}with"), span);
    let with_async = Ident::new(&format!("{prefix}with_async"), span);
    let (types, names, returns) = (&contract.types, &contract.names, &contract.returns);
    let positions = 0..types.len();
    // Where the type of the result is at fault, the error is to point at it.
    let finished = quote_spanned!(returns.span()=> ::mainspring::__rt::finish(instead(#(#names),*).await));
    quote! {
        #(#cfgs)*
        /// A definition of the same name that does something else: for tests of code that calls it.
        #[allow(dead_code)]
        #visibility fn #with(
            instead: impl ::core::ops::Fn(#(#types),*) -> #returns
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static,
        ) -> ::mainspring::__rt::ActivityDef {
            Self::#with_async(move |#(#names),*| ::core::future::ready(instead(#(#names),*)))
        }

        #(#cfgs)*
        /// A definition of the same name that does something else and may wait: for tests of code that calls it.
        #[allow(dead_code)]
        #visibility fn #with_async<__Future>(
            instead: impl ::core::ops::Fn(#(#types),*) -> __Future
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static,
        ) -> ::mainspring::__rt::ActivityDef
        where
            __Future: ::core::future::Future<Output = #returns> + ::core::marker::Send + 'static,
        {
            let instead = ::std::sync::Arc::new(instead);
            ::mainspring::__rt::ActivityDef::future(#activity_type, move |_cx, args| {
                let instead = ::std::sync::Arc::clone(&instead);
                async move {
                    #(let #names = args.get::<#types>(#positions)?;)*
                    let _ = &args;
                    #finished
                }
            })
        }
    }
}

/// `ActivityDef` of a call of the body, which is awaited when it is a future. `before` is done for each call.
pub(crate) fn made(
    options: &Options,
    signature: &Signature,
    name: &TokenStream,
    call: &TokenStream,
    returns: &syn::Type,
    before: &TokenStream,
) -> syn::Result<TokenStream> {
    let abort = options.abort_on_cancel.map(|span| quote_spanned!(span=> .abort_on_cancel()));
    // Where the type of the result is at fault, the error is to point at it; so `call` has its place too.
    let span = returns.span();
    if signature.asyncness.is_some() {
        if let Some(span) = options.blocking {
            return Err(syn::Error::new(span, "an `async fn` must not block; leave one of the two out"));
        }
        let finish = quote_spanned!(span=> ::mainspring::__rt::finish(#call.await));
        return Ok(quote! {
            ::mainspring::__rt::ActivityDef::future(#name, move |cx, args| {
                #before
                async move {
                    let _ = (&cx, &args);
                    #finish
                }
            })#abort
        });
    }
    if let Some(span) = options.abort_on_cancel {
        return Err(syn::Error::new(span, "a thread cannot be dropped; ask `cx.is_cancelled()` at times instead"));
    }
    let finish = quote_spanned!(span=> ::mainspring::__rt::finish(#call));
    Ok(quote! {
        ::mainspring::__rt::ActivityDef::blocking(#name, move |cx, args| {
            let _ = (&cx, &args);
            #finish
        })
    })
}

pub(crate) fn is_doc(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::NameValue(pair) if pair.path.is_ident("doc"))
}

/// What leaves an item out leaves out all that is made of it.
pub(crate) fn is_cfg(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
}
