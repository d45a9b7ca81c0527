//! `#[activities]` on an `impl` block: each method is an activity that works on the shared value.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, ImplItem, ImplItemFn, ItemImpl, Signature, Type, spanned::Spanned};

use crate::{
    activity::{StandIns, is_cfg, is_doc, made, stand_ins},
    options::Options,
    signature::Contract,
};

pub(crate) fn expand(block: &ItemImpl) -> syn::Result<TokenStream> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(path, "activities are methods of a type, not of a trait"));
    }
    let mut methods = Vec::new();
    for item in &block.items {
        match item {
            ImplItem::Fn(method) => methods.push(Method::of(method)?),
            other => {
                let message = "only activities are in this block; put the rest into another one";
                return Err(syn::Error::new_spanned(other, message));
            }
        }
    }
    let owner = &block.self_ty;
    let attributes = &block.attrs;
    let (impl_generics, _, where_clause) = block.generics.split_for_impl();
    let calls = methods.iter().map(Method::call);
    let stand_ins = methods.iter().map(Method::stand_ins);
    let bodies = methods.iter().map(Method::body);
    let definitions = methods.iter().map(|method| method.definition(owner)).collect::<syn::Result<Vec<_>>>()?;
    Ok(quote! {
        #(#attributes)*
        impl #impl_generics #owner #where_clause {
            #(#calls)*
            #(#bodies)*
            #(#stand_ins)*
        }

        impl #impl_generics ::mainspring::__rt::Activities for #owner #where_clause {
            fn definitions(
                self: ::std::sync::Arc<Self>,
            ) -> ::std::vec::Vec<::mainspring::__rt::ActivityDef> {
                ::std::vec![#(#definitions),*]
            }
        }
    })
}

/// One activity of the block.
struct Method<'a> {
    source: &'a ImplItemFn,
    /// Without `#[activity]`.
    attributes: Vec<&'a Attribute>,
    options: Options,
    contract: Contract,
    activity_type: String,
    body_name: Ident,
}

impl<'a> Method<'a> {
    fn of(source: &'a ImplItemFn) -> syn::Result<Method<'a>> {
        let receiver = source.sig.receiver().filter(|receiver| {
            receiver.reference.is_some() && receiver.mutability.is_none() && receiver.colon_token.is_none()
        });
        if receiver.is_none() {
            let message = "an activity of a shared value takes `&self` first: many of them run at a time";
            return Err(syn::Error::new_spanned(&source.sig, message));
        }
        let mut options = Options::default();
        let (own, attributes): (Vec<_>, Vec<_>) =
            source.attrs.iter().partition(|attribute| attribute.path().is_ident("activity"));
        for attribute in own {
            if !matches!(attribute.meta, syn::Meta::Path(_)) {
                attribute.parse_nested_meta(|meta| options.take(&meta))?;
            }
        }
        let contract = Contract::of(&source.sig)?;
        let name = &source.sig.ident;
        let activity_type = options.name.as_ref().map_or_else(|| name.to_string(), syn::LitStr::value);
        let body_name = format_ident!("{name}_body", span = name.span());
        Ok(Method { source, attributes, options, contract, activity_type, body_name })
    }

    /// The function that describes the call.
    fn call(&self) -> TokenStream {
        let docs = self.attributes.iter().filter(|attribute| is_doc(attribute) || is_cfg(attribute));
        let (visibility, name) = (&self.source.vis, &self.source.sig.ident);
        let (parameters, names, output) = (self.contract.parameters(), &self.contract.names, &self.contract.output);
        let (setters, activity_type) = (&self.options.setters, &self.activity_type);
        quote! {
            #(#docs)*
            #[allow(dead_code)]
            #visibility fn #name(#parameters) -> ::mainspring::__rt::ActivityCall<#output> {
                ::mainspring::__rt::ActivityCall::new(#activity_type)#(.arg(#names))*#(#setters)*
            }
        }
    }

    /// Definitions that do something else, for tests.
    fn stand_ins(&self) -> TokenStream {
        let cfgs: Vec<&Attribute> = self.attributes.iter().copied().filter(|attribute| is_cfg(attribute)).collect();
        let (activity_type, name) = (&self.activity_type, &self.source.sig.ident);
        stand_ins(&StandIns {
            visibility: &self.source.vis,
            prefix: &format!("{name}_"),
            activity_type: &quote!(#activity_type),
            span: name.span(),
            contract: &self.contract,
            cfgs: &cfgs,
        })
    }

    /// The method as it was written, under a name of its own.
    fn body(&self) -> TokenStream {
        let (attributes, visibility) = (&self.attributes, &self.source.vis);
        let signature = Signature { ident: self.body_name.clone(), ..self.source.sig.clone() };
        let block = &self.source.block;
        quote! {
            #(#attributes)*
            #visibility #signature #block
        }
    }

    fn definition(&self, owner: &Type) -> syn::Result<TokenStream> {
        let decoded = self.contract.decoded();
        let body_name = &self.body_name;
        let call = quote_spanned!(self.contract.returns.span()=> <#owner>::#body_name(&shared, #decoded));
        let activity_type = &self.activity_type;
        let shared = quote!(let shared = ::std::sync::Arc::clone(&shared););
        let made =
            made(&self.options, &self.source.sig, &quote!(#activity_type), &call, &self.contract.returns, &shared)?;
        let cfgs = self.attributes.iter().filter(|attribute| is_cfg(attribute));
        Ok(quote! {#(#cfgs)* {
            let shared = ::std::sync::Arc::clone(&self);
            #made
        }})
    }
}
