//! `#[workflow]` on a function, on a struct, and on the struct's `impl` block.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    ImplItem, ItemImpl, ItemStruct, LitStr, Signature, Type, Visibility, meta::ParseNestedMeta, parse_quote, parse2,
    spanned::Spanned,
};

use crate::{
    activity::{Function, is_doc},
    handlers::Handler,
    scan,
    signature::{Contract, Parameters},
};

/// The options of a workflow.
#[derive(Default)]
pub(crate) struct Options {
    name: Option<LitStr>,
    setters: Vec<TokenStream>,
}

impl Options {
    /// Takes one entry, as `syn` finds them.
    pub(crate) fn take(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        const UNKNOWN: &str = "there is no such option; there are: name, panics = \"fail\", fail_on_nondeterminism";
        let Some(ident) = meta.path.get_ident() else { return Err(meta.error(UNKNOWN)) };
        match ident.to_string().as_str() {
            "name" => self.name = Some(meta.value()?.parse()?),
            "panics" => {
                let what: LitStr = meta.value()?.parse()?;
                if what.value() != "fail" {
                    return Err(syn::Error::new(what.span(), "the only choice is \"fail\"; by default the task fails"));
                }
                self.setters.push(quote!(.fail_on_panic()));
            }
            "fail_on_nondeterminism" => self.setters.push(quote!(.fail_on_nondeterminism())),
            _ => return Err(meta.error(UNKNOWN)),
        }
        Ok(())
    }
}

pub(crate) fn expand(options: &Options, item: TokenStream) -> syn::Result<TokenStream> {
    if let Ok(block) = parse2::<ItemImpl>(item.clone()) {
        return of_impl(options, block);
    }
    if let Ok(item) = parse2::<ItemStruct>(item.clone()) {
        return Ok(of_struct(options, &item));
    }
    of_function(options, parse2::<Function>(item)?)
}

/// An attribute of a handler where no `#[workflow]` takes it.
pub(crate) fn misplaced(name: &str, item: TokenStream) -> TokenStream {
    let message = format!("`#[{name}]` belongs on a method of an `impl` block with `#[workflow]`");
    let error = syn::Error::new_spanned(&item, message).into_compile_error();
    quote!(#error #item)
}

fn of_function(options: &Options, function: Function) -> syn::Result<TokenStream> {
    let Function { mut attributes, visibility, signature, body } = function;
    let allowed = scan::allowed(&mut attributes);
    let contract = Contract::with(&signature, "Ctx", "a workflow")?;
    if let Some(receiver) = signature.receiver() {
        let message = "a workflow with state is a struct: put `#[workflow]` on the struct and on its `impl` block";
        return Err(syn::Error::new_spanned(receiver, message));
    }
    let name = &signature.ident;
    let workflow_type = options.name.as_ref().map_or_else(|| name.to_string(), LitStr::value);
    let (parameters, names, output) = (contract.parameters(), &contract.names, &contract.output);
    let docs = attributes.iter().filter(|attribute| is_doc(attribute));
    let definition = match &body {
        None => TokenStream::new(),
        Some(body) => {
            is_async(&signature)?;
            if !contract.takes_context {
                return Err(syn::Error::new(name.span(), "a workflow takes its context first: `cx: Ctx`"));
            }
            if !allowed {
                scan::check(body)?;
            }
            let plain = Signature { ident: format_ident!("body", span = name.span()), ..signature.clone() };
            let (types, setters) = (&contract.types, &options.setters);
            let positions = 0..types.len();
            // Where the type of the result is at fault, the error is to point at it.
            let finish = quote_spanned! {contract.returns.span()=>
                ::mainspring::__rt::finish(Self::body(cx, #(#names),*).await)
            };
            let others = attributes.iter().filter(|attribute| !is_doc(attribute));
            quote! {
                #(#others)*
                #visibility #plain #body

                /// The definition, to be registered with a worker.
                #visibility fn def() -> ::mainspring::__rt::WorkflowDef {
                    ::mainspring::__rt::WorkflowDef::new(Self::NAME, |cx, args| {
                        #(let #names = args.get::<#types>(#positions)?;)*
                        let _ = &args;
                        ::core::result::Result::Ok(async move { #finish })
                    })#(#setters)*
                }
            }
        }
    };
    let stand_in = stand_in(&visibility, &contract.names, &contract.types, &contract.returns);
    let about =
        format!(" The workflow `{workflow_type}`: its name, its body, its definition. The function describes calls.");
    Ok(quote! {
        #(#docs)*
        #visibility fn #name(#parameters) -> ::mainspring::__rt::WorkflowCall<#output> {
            ::mainspring::__rt::WorkflowCall::new(#name::NAME)#(.arg(#names))*
        }

        #[doc = #about]
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #visibility enum #name {}

        #[allow(dead_code)]
        impl #name {
            /// The workflow's type.
            #visibility const NAME: &'static str = #workflow_type;

            #definition

            #stand_in
        }
    })
}

/// `with`.
fn stand_in(visibility: &Visibility, names: &[Ident], types: &[Type], returns: &Type) -> TokenStream {
    let positions = 0..types.len();
    quote! {
        /// A definition of the same name that returns at once: for tests of what calls it.
        #visibility fn with(
            instead: impl ::core::ops::Fn(#(#types),*) -> #returns
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static,
        ) -> ::mainspring::__rt::WorkflowDef {
            ::mainspring::__rt::WorkflowDef::new(Self::NAME, move |_cx, args| {
                #(let #names = args.get::<#types>(#positions)?;)*
                let _ = &args;
                let returned = ::mainspring::__rt::finish(instead(#(#names),*));
                ::core::result::Result::Ok(async move { returned })
            })
        }
    }
}

fn of_struct(options: &Options, item: &ItemStruct) -> TokenStream {
    let (name, setters) = (&item.ident, &options.setters);
    let workflow_type = options.name.as_ref().map_or_else(|| name.to_string(), LitStr::value);
    let (impl_generics, type_generics, where_clause) = item.generics.split_for_impl();
    quote! {
        #item

        #[allow(dead_code, unreachable_pub)]
        impl #impl_generics #name #type_generics #where_clause {
            /// The workflow's type.
            pub const NAME: &'static str = #workflow_type;

            #[doc(hidden)]
            fn __with_options(def: ::mainspring::__rt::WorkflowDef) -> ::mainspring::__rt::WorkflowDef {
                def #(#setters)*
            }
        }
    }
}

fn of_impl(options: &Options, mut block: ItemImpl) -> syn::Result<TokenStream> {
    if options.name.is_some() || !options.setters.is_empty() {
        return Err(syn::Error::new_spanned(&block.self_ty, "options go to the struct: `#[workflow(..)] struct ..`"));
    }
    if let Some((_, path, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(path, "a workflow's methods are its type's own, not those of a trait"));
    }
    let owner = block.self_ty.clone();
    let (mut init, mut run, mut handlers, mut rest) = (None, None, Vec::new(), Vec::new());
    let mut found = None;
    for item in std::mem::take(&mut block.items) {
        let ImplItem::Fn(mut method) = item else {
            rest.push(item);
            continue;
        };
        if !scan::allowed(&mut method.attrs)
            && let Err(error) = scan::check(&method.block)
        {
            scan::add(&mut found, error);
        }
        if let Some(handler) = Handler::take(&mut method)? {
            handlers.push(handler);
            continue;
        }
        match method.sig.ident.to_string().as_str() {
            "init" => init = Some(method.sig.clone()),
            "run" => run = Some(method.sig.clone()),
            _ => {}
        }
        rest.push(ImplItem::Fn(method));
    }
    // All methods at once: whoever wrote one of them wrote the others.
    if let Some(error) = found {
        return Err(error);
    }
    let Some(run) = run else {
        return Err(syn::Error::new_spanned(
            &owner,
            "a workflow has a method `async fn run(&self, cx: Ctx) -> Result<..>`",
        ));
    };
    is_async(&run)?;
    shared_self(&run)?;
    let contract = Contract::with(&run, "Ctx", "a workflow")?;
    let (make, parameters) = making(init.as_ref(), &contract)?;
    let (names, types, output) = (&parameters.names, &parameters.types, &contract.output);
    let positions = 0..types.len();
    let run_context = contract.takes_context.then(|| quote!(cx,));
    let run_arguments = if init.is_some() { &[][..] } else { &names[..] };
    let finish = quote_spanned! {contract.returns.span()=>
        ::mainspring::__rt::finish(Self::run(&this, #run_context #(#run_arguments),*).await)
    };
    let calls = handlers.iter().map(Handler::call);
    let bodies = handlers.iter().map(Handler::body);
    let sets = handlers.iter().map(Handler::set);
    let reaches = handlers.iter().map(Handler::reach);
    let attributes = &block.attrs;
    let (impl_generics, _, where_clause) = block.generics.split_for_impl();
    let within = handlers_name(&owner)?;
    let stand_in = stand_in(&parse_quote!(pub), names, types, &contract.returns);
    Ok(quote! {
        #(#attributes)*
        impl #impl_generics #owner #where_clause {
            #(#rest)*
            #(#bodies)*
        }

        #[allow(dead_code, unreachable_pub, private_interfaces)]
        impl #impl_generics #owner #where_clause {
            /// Describes a call of the workflow.
            pub fn start(#(#names: #types),*) -> ::mainspring::__rt::WorkflowCall<#output> {
                ::mainspring::__rt::WorkflowCall::new(Self::NAME)#(.arg(#names))*
            }

            #(#calls)*

            #stand_in

            /// The handlers as they were written, for the workflow itself.
            pub fn handlers(&self) -> #within<'_> {
                #within(self)
            }

            /// The definition, to be registered with a worker.
            pub fn def() -> ::mainspring::__rt::WorkflowDef {
                Self::__with_options(::mainspring::__rt::WorkflowDef::new(Self::NAME, |cx, args| {
                    #(let #names = args.get::<#types>(#positions)?;)*
                    let _ = &args;
                    let this = ::std::rc::Rc::new(#make);
                    #(#sets)*
                    ::core::result::Result::Ok(async move { #finish })
                }))
            }
        }

        /// The handlers of a workflow as they were written.
        #[allow(dead_code, unreachable_pub, private_interfaces)]
        pub struct #within<'a>(&'a #owner);

        #[allow(dead_code, unreachable_pub, private_interfaces)]
        impl<'a> #within<'a> {
            #(#reaches)*
        }
    })
}

/// The expression that makes the state, and the arguments that a start takes.
fn making(init: Option<&Signature>, run: &Contract) -> syn::Result<(TokenStream, Parameters)> {
    let Some(init) = init else {
        let (names, types) = (run.names.clone(), run.types.clone());
        let parameters = Parameters { takes_context: run.takes_context, names, types };
        return Ok((quote!(<Self as ::core::default::Default>::default()), parameters));
    };
    if let Some(extra) = run.names.first() {
        return Err(syn::Error::new(
            extra.span(),
            "the arguments go to `init`, which is there; `run` takes the context only",
        ));
    }
    if let Some(receiver) = init.receiver() {
        return Err(syn::Error::new_spanned(receiver, "`init` makes the state: it takes arguments and gives `Self`"));
    }
    let parameters = Parameters::of(init, "Ctx", "`init`")?;
    let context = parameters.takes_context.then(|| quote!(cx.clone(),));
    let names = &parameters.names;
    Ok((quote!(Self::init(#context #(#names),*)), parameters))
}

fn is_async(signature: &Signature) -> syn::Result<()> {
    match signature.asyncness {
        Some(_) => Ok(()),
        None => Err(syn::Error::new(signature.fn_token.span, "a workflow waits for things: write `async fn`")),
    }
}

/// Handlers run between the awaits of `run`, so nobody can have the state for himself.
pub(crate) fn shared_self(signature: &Signature) -> syn::Result<()> {
    match signature.receiver() {
        Some(receiver) if receiver.reference.is_some() && receiver.mutability.is_none() => Ok(()),
        Some(receiver) => {
            let message = "take `&self`: the workflow and its handlers share the state; what changes goes into a `Var`";
            Err(syn::Error::new_spanned(receiver, message))
        }
        None => Err(syn::Error::new(signature.ident.span(), "take `&self` first")),
    }
}

fn handlers_name(owner: &syn::Type) -> syn::Result<proc_macro2::Ident> {
    if let syn::Type::Path(path) = owner
        && let Some(last) = path.path.segments.last()
        && last.arguments.is_none()
    {
        return Ok(format_ident!("{}Handlers", last.ident));
    }
    Err(syn::Error::new_spanned(owner, "a workflow is a plain struct without type parameters"))
}
