//! The signature of an activity: the context if there is one, the arguments, the result.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{FnArg, GenericArgument, Pat, PathArguments, ReturnType, Signature, Type, spanned::Spanned};

/// What a call takes and gives.
pub(crate) struct Contract {
    /// True when the first argument is the context.
    pub(crate) takes_context: bool,
    pub(crate) names: Vec<Ident>,
    pub(crate) types: Vec<Type>,
    /// The type of the result when it is `Ok`.
    pub(crate) output: TokenStream,
    /// The whole type that the body returns.
    pub(crate) returns: Type,
}

impl Contract {
    /// Of an activity; a receiver is left out.
    pub(crate) fn of(signature: &Signature) -> syn::Result<Contract> {
        Contract::with(signature, "Activity", "an activity")
    }

    /// Of something whose context has this type; a receiver is left out.
    pub(crate) fn with(signature: &Signature, context: &str, what: &str) -> syn::Result<Contract> {
        let Parameters { takes_context, names, types } = Parameters::of(signature, context, what)?;
        let ReturnType::Type(_, returns) = &signature.output else {
            let message = format!("{what} returns a `Result`, such as `Result<()>`");
            return Err(syn::Error::new(signature.ident.span(), message));
        };
        let returns = returns.as_ref().clone();
        let output = output(&returns);
        Ok(Contract { takes_context, names, types, output, returns })
    }
    /// The arguments of the body in a definition: the context, if it takes one, then `args.get::<T>(n)?`.
    pub(crate) fn decoded(&self) -> TokenStream {
        let context = self.takes_context.then(|| quote!(cx,));
        let types = &self.types;
        let positions = 0..types.len();
        quote!(#context #(args.get::<#types>(#positions)?),*)
    }

    /// `a: A, b: B`
    pub(crate) fn parameters(&self) -> TokenStream {
        let (names, types) = (&self.names, &self.types);
        quote!(#(#names: #types),*)
    }
}

/// What a function takes.
pub(crate) struct Parameters {
    pub(crate) takes_context: bool,
    pub(crate) names: Vec<Ident>,
    pub(crate) types: Vec<Type>,
}

impl Parameters {
    /// Of a function whose context has this type; a receiver is left out.
    pub(crate) fn of(signature: &Signature, context: &str, what: &str) -> syn::Result<Parameters> {
        if let Some(parameter) = signature.generics.params.first() {
            let message = format!("{what} has no type parameters of its own: others find it by its name alone");
            return Err(syn::Error::new_spanned(parameter, message));
        }
        let mut arguments = signature.inputs.iter().filter_map(|input| match input {
            FnArg::Receiver(_) => None,
            FnArg::Typed(argument) => Some(argument),
        });
        let (mut names, mut types, mut takes_context) = (Vec::new(), Vec::new(), false);
        if let Some(first) = arguments.clone().next() {
            takes_context = is_named(&first.ty, context);
        }
        if takes_context {
            arguments.next();
        }
        for (position, argument) in arguments.enumerate() {
            owned(&argument.ty)?;
            if is_named(&argument.ty, context) {
                return Err(syn::Error::new_spanned(&argument.ty, "the context comes first"));
            }
            names.push(match argument.pat.as_ref() {
                Pat::Ident(pattern) => pattern.ident.clone(),
                _ => format_ident!("argument_{}", position + 1),
            });
            types.push(argument.ty.as_ref().clone());
        }
        Ok(Parameters { takes_context, names, types })
    }
}

/// What is in `Result<..>` when it is written so, else whatever the type says.
fn output(returns: &Type) -> TokenStream {
    if let Type::Path(path) = returns
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(output)) = arguments.args.first()
    {
        return quote!(#output);
    }
    quote_spanned!(returns.span()=> <#returns as ::mainspring::__rt::Outcome>::Output)
}

pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

/// Arguments come from payloads, so nobody is there to borrow from.
fn owned(ty: &Type) -> syn::Result<()> {
    match ty {
        Type::Reference(reference) => {
            let hint = match reference.elem.as_ref() {
                inner if is_named(inner, "str") => "`String`".to_owned(),
                Type::Slice(_) => "a `Vec`".to_owned(),
                inner => format!("`{}`", quote!(#inner)),
            };
            Err(syn::Error::new_spanned(ty, format!("arguments are owned: take {hint} here")))
        }
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(ty, "arguments have exact types: others have to write them")),
        _ => Ok(()),
    }
}
