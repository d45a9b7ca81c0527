//! `#[signal]`, `#[query]` and `#[update]` on methods of a workflow.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, ImplItemFn, LitStr, ReturnType, Signature, Type, spanned::Spanned};

use crate::{
    activity::is_doc,
    signature::{Parameters, is_named},
    workflow::shared_self,
};

/// A method that handles messages.
pub(crate) struct Handler {
    kind: Kind,
    name: String,
    method: ImplItemFn,
    parameters: Parameters,
    validate: Option<Ident>,
    body_name: Ident,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signal,
    Query,
    Update,
}

impl Handler {
    /// Takes the method if it is a handler.
    pub(crate) fn take(method: &mut ImplItemFn) -> syn::Result<Option<Handler>> {
        let found = method.attrs.iter().position(|attribute| kind_of(attribute).is_some());
        let Some(index) = found else { return Ok(None) };
        let attribute = method.attrs.remove(index);
        let Some(kind) = kind_of(&attribute) else { return Ok(None) };
        if let Some(second) = method.attrs.iter().find(|attribute| kind_of(attribute).is_some()) {
            return Err(syn::Error::new_spanned(second, "a method handles one kind of message"));
        }
        let (mut name, mut validate) = (method.sig.ident.to_string(), None);
        if !matches!(attribute.meta, syn::Meta::Path(_)) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    name = meta.value()?.parse::<LitStr>()?.value();
                } else if meta.path.is_ident("validate") && kind == Kind::Update {
                    validate = Some(meta.value()?.parse::<Ident>()?);
                } else {
                    return Err(meta.error("there is no such option; there are: name, and for updates validate"));
                }
                Ok(())
            })?;
        }
        shared_self(&method.sig)?;
        let parameters = Parameters::of(&method.sig, "Ctx", "a handler")?;
        if kind == Kind::Query {
            if let Some(keyword) = &method.sig.asyncness {
                return Err(syn::Error::new(keyword.span(), "a query answers at once: it cannot wait for anything"));
            }
            if parameters.takes_context {
                return Err(syn::Error::new_spanned(
                    method.sig.inputs.iter().nth(1),
                    "a query only looks: it gets no context",
                ));
            }
            if matches!(method.sig.output, ReturnType::Default) {
                return Err(syn::Error::new(method.sig.ident.span(), "a query gives an answer: write its type"));
            }
        }
        let body_name = format_ident!("__{}", method.sig.ident);
        Ok(Some(Handler { kind, name, method: method.clone(), parameters, validate, body_name }))
    }

    /// The function that describes the message.
    pub(crate) fn call(&self) -> TokenStream {
        let (name, ident) = (&self.name, &self.method.sig.ident);
        let (names, types) = (&self.parameters.names, &self.parameters.types);
        let docs = self.method.attrs.iter().filter(|attribute| is_doc(attribute));
        let (returned, made) = match self.kind {
            Kind::Signal => (quote!(::mainspring::__rt::SignalCall), quote!(::mainspring::__rt::SignalCall::new)),
            Kind::Query | Kind::Update => {
                let (output, _) = output(&self.method.sig.output);
                let call = if self.kind == Kind::Query { quote!(QueryCall) } else { quote!(UpdateCall) };
                (quote!(::mainspring::__rt::#call<#output>), quote!(::mainspring::__rt::#call::new))
            }
        };
        quote! {
            #(#docs)*
            pub fn #ident(#(#names: #types),*) -> #returned {
                #made(#name)#(.arg(#names))*
            }
        }
    }

    /// The method as it was written, under a name of its own.
    pub(crate) fn body(&self) -> TokenStream {
        let attributes = self.method.attrs.iter().filter(|attribute| !is_doc(attribute));
        let signature = Signature { ident: self.body_name.clone(), ..self.method.sig.clone() };
        let block = &self.method.block;
        quote! {
            #(#attributes)*
            #signature #block
        }
    }

    /// The same, as others of the workflow call it.
    pub(crate) fn reach(&self) -> TokenStream {
        let (signature, body_name, names) = (&self.method.sig, &self.body_name, &self.parameters.names);
        let typed: Vec<&syn::FnArg> =
            signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).collect();
        let (context_type, context) = match typed.first() {
            Some(syn::FnArg::Typed(first)) if self.parameters.takes_context => {
                let ty = &first.ty;
                (quote!(cx: #ty,), quote!(cx,))
            }
            _ => (TokenStream::new(), TokenStream::new()),
        };
        let (types, output, ident, asyncness) =
            (&self.parameters.types, &signature.output, &signature.ident, &signature.asyncness);
        let wait = asyncness.map(|_| quote!(.await));
        let about = format!(" The body of `{ident}`.");
        quote! {
            #[doc = #about]
            pub #asyncness fn #ident(&self, #context_type #(#names: #types),*) #output {
                self.0.#body_name(#context #(#names),*) #wait
            }
        }
    }

    /// The statement that sets the handler in a run.
    pub(crate) fn set(&self) -> TokenStream {
        let (name, body_name) = (&self.name, &self.body_name);
        let (names, types) = (&self.parameters.names, &self.parameters.types);
        let positions: Vec<usize> = (0..types.len()).collect();
        let read = quote! {
            #(let #names = args.get::<#types>(#positions)?;)*
            let _ = (&args, &this);
        };
        let context = self.parameters.takes_context.then(|| quote!(cx,));
        let span = span_of(&self.method.sig.output);
        let call = quote_spanned!(span=> this.#body_name(#context #(#names),*));
        let is_async = self.method.sig.asyncness.is_some();
        let set = match self.kind {
            Kind::Signal => {
                let handled = match is_async {
                    true => quote_spanned!(span=> ::core::option::Option::Some(::std::boxed::Box::pin(async move {
                        ::mainspring::__rt::SignalOutcome::into_result(#call.await)
                    }))),
                    false => quote_spanned!(span=> {
                        ::mainspring::__rt::SignalOutcome::into_result(#call)?;
                        ::core::option::Option::None
                    }),
                };
                quote! {
                    cx.on_signal(#name, move |cx, args| {
                        let this = this.clone();
                        #read
                        let _ = &cx;
                        ::core::result::Result::Ok(#handled)
                    });
                }
            }
            Kind::Query => {
                let answer = finished(&self.method.sig.output, &call);
                quote! {
                    cx.on_query(#name, move |args| {
                        #read
                        #answer
                    });
                }
            }
            Kind::Update => {
                let wait = is_async.then(|| quote_spanned!(span=> .await));
                let answer = finished(&self.method.sig.output, &quote_spanned!(span=> #call #wait));
                let handler = quote! {
                    move |cx: ::mainspring::__rt::Ctx, args: ::mainspring::__rt::RawArgs| {
                        let this = this.clone();
                        #read
                        let run: ::mainspring::__rt::HandlerRun<::mainspring::__rt::Payload> =
                            ::std::boxed::Box::pin(async move {
                                let _ = &cx;
                                #answer
                            });
                        ::core::result::Result::Ok(run)
                    }
                };
                match &self.validate {
                    None => quote!(cx.on_update(#name, #handler);),
                    Some(validate) => quote! {
                        let looking = this.clone();
                        cx.on_validated_update(
                            #name,
                            move |args| {
                                #(let #names = args.get::<#types>(#positions)?;)*
                                let _ = args;
                                looking.#validate(#(&#names),*).map_err(::core::convert::Into::into)
                            },
                            #handler,
                        );
                    },
                }
            }
        };
        quote! {{
            let this = this.clone();
            #set
        }}
    }
}

fn kind_of(attribute: &Attribute) -> Option<Kind> {
    match attribute.path().segments.last()?.ident.to_string().as_str() {
        "signal" => Some(Kind::Signal),
        "query" => Some(Kind::Query),
        "update" => Some(Kind::Update),
        _ => None,
    }
}

/// The payload of what a call gives, which may be a `Result` or a plain value.
fn finished(returned: &ReturnType, call: &TokenStream) -> TokenStream {
    let ((_, is_result), span) = (output(returned), span_of(returned));
    if is_result {
        return quote_spanned!(span=> ::mainspring::__rt::finish(#call));
    }
    quote_spanned!(span=> ::mainspring::__rt::answer(#call))
}

/// Where an error about the type of a result is to point.
fn span_of(returned: &ReturnType) -> Span {
    match returned {
        ReturnType::Default => Span::call_site(),
        ReturnType::Type(_, ty) => ty.span(),
    }
}

/// The type that a caller gets, and whether it is written as a `Result`.
fn output(returned: &ReturnType) -> (TokenStream, bool) {
    let ReturnType::Type(_, ty) = returned else { return (quote!(()), false) };
    if is_named(ty, "Result")
        && let Type::Path(path) = ty.as_ref()
        && let Some(last) = path.path.segments.last()
        && let syn::PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(syn::GenericArgument::Type(inner)) = arguments.args.first()
    {
        return (quote!(#inner), true);
    }
    (quote!(#ty), false)
}
