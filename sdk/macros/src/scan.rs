//! What does not replay in the code of a workflow, found by its name. A lint, not a proof: helpers elsewhere are covered
//! by clippy, by the lanes having no runtime, and by replay itself.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::Attribute;

/// Paths that do not replay, and what to write instead.
const FORBIDDEN: &[(&[&str], &str)] = &[
    (&["SystemTime", "now"], "the clock differs on replay; use `cx.now()`"),
    (&["Instant", "now"], "the clock differs on replay; use `cx.now()`"),
    (&["Utc", "now"], "the clock differs on replay; use `cx.now()`"),
    (&["Local", "now"], "the clock differs on replay; use `cx.now()`"),
    (&["thread", "sleep"], "it blocks the workflow's thread; use `cx.sleep(..)`"),
    (&["thread", "spawn"], "threads do not replay; use `cx.spawn(..)` for a branch, or an activity"),
    (&["std", "thread"], "threads do not replay; use `cx.spawn(..)` for a branch, or an activity"),
    (&["tokio", "time"], "Tokio's timers do not replay; use `cx.sleep(..)` or `cx.timeout(..)`"),
    (&["tokio", "spawn"], "Tokio's tasks do not replay; use `cx.spawn(..)`"),
    (&["tokio", "select"], "its choice is random; use `race!`"),
    (&["tokio", "join"], "it polls in changing order; use `join!` of `mainspring`"),
    (&["tokio", "sync"], "Tokio does not replay; use `mainspring::workflow::sync`"),
    (&["tokio"], "Tokio does not replay; use the context, or an activity"),
    (&["rand"], "random numbers differ on replay; use `cx.rng()`"),
    (&["fastrand"], "random numbers differ on replay; use `cx.rng()`"),
    (&["thread_rng"], "random numbers differ on replay; use `cx.rng()`"),
    (&["Uuid", "new_v4"], "random ids differ on replay; use `cx.uuid()`"),
    (&["Uuid", "now_v7"], "random ids differ on replay; use `cx.uuid()`"),
    (&["std", "env"], "the environment differs between workers; pass it as an argument, or read it in an activity"),
    (&["std", "fs"], "files differ between workers; read and write them in an activity"),
    (&["std", "net"], "sockets do not replay; use an activity"),
    (&["std", "process"], "processes do not replay; use an activity"),
    (&["reqwest"], "requests do not replay; make them in an activity"),
    (&["HashMap"], "its order differs on replay; use `mainspring::workflow::Map` or a `BTreeMap`"),
    (&["HashSet"], "its order differs on replay; use `mainspring::workflow::Set` or a `BTreeSet`"),
];

/// Refuses code with something in it that does not replay.
pub(crate) fn check(code: &impl ToTokens) -> syn::Result<()> {
    let mut found: Option<syn::Error> = None;
    look(code.to_token_stream(), &mut found);
    match found {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Takes `#[allow_nondeterminism]` out of the attributes; true when it was there.
pub(crate) fn allowed(attributes: &mut Vec<Attribute>) -> bool {
    let before = attributes.len();
    attributes.retain(|attribute| !attribute.path().is_ident("allow_nondeterminism"));
    attributes.len() < before
}

fn look(code: TokenStream, found: &mut Option<syn::Error>) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        match token {
            TokenTree::Group(group) => look(group.stream(), found),
            TokenTree::Ident(ident) if ident == "let" => dropped(&tokens[index..], found),
            TokenTree::Ident(_) if !after_dot(&tokens, index) => {
                let path = path_at(&tokens[index..]);
                let names: Vec<String> = path.iter().map(|(name, _)| name.clone()).collect();
                // The rest of the path is part of it.
                let last = index + path.last().map_or(0, |(_, offset)| *offset);
                if let Some(why) = forbidden(&names) {
                    let written = names.join("::");
                    let message = format!("`{written}` does not belong in a workflow: {why}");
                    add(found, syn::Error::new_spanned(stream(&tokens[index..=last]), message));
                }
                index = last;
            }
            _ => {}
        }
        index += 1;
    }
}

fn stream(tokens: &[TokenTree]) -> TokenStream {
    tokens.iter().cloned().collect()
}

/// The path that begins here, each segment with its place.
fn path_at(tokens: &[TokenTree]) -> Vec<(String, usize)> {
    let mut path = Vec::new();
    let mut index = 0;
    while let Some(TokenTree::Ident(ident)) = tokens.get(index) {
        path.push((ident.to_string(), index));
        let colons = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        if !(colons(index + 1) && colons(index + 2)) {
            break;
        }
        index += 3;
    }
    path
}

fn forbidden(path: &[String]) -> Option<&'static str> {
    let rule = FORBIDDEN.iter().find(|(rule, _)| {
        let crates = matches!(rule[0], "tokio" | "rand" | "fastrand" | "reqwest" | "std");
        // Crates are named at the beginning and are followed by something; types may have a path before them.
        let places = if crates { 0..1 } else { 0..path.len() };
        places.into_iter().any(|start| {
            let here = &path[start..];
            here.len() >= rule.len()
                && (!crates || path.len() > 1)
                && here.iter().zip(rule.iter()).all(|(found, wanted)| found == wanted)
        })
    })?;
    Some(rule.1)
}

fn after_dot(tokens: &[TokenTree], index: usize) -> bool {
    index > 0 && matches!(&tokens[index - 1], TokenTree::Punct(punct) if punct.as_char() == '.')
}

/// `let _ = cx.sleep(..)` begins an operation and cancels it in the same breath.
fn dropped(tokens: &[TokenTree], found: &mut Option<syn::Error>) {
    let [_, TokenTree::Ident(underscore), TokenTree::Punct(equals), value @ ..] = tokens else { return };
    let is_cx = matches!(value.first(), Some(TokenTree::Ident(cx)) if cx == "cx");
    if underscore != "_" || equals.as_char() != '=' || !is_cx {
        return;
    }
    let ends = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';');
    let value = &value[..value.iter().position(ends).unwrap_or(value.len())];
    let goes_on = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "await" || ident == "detach");
    let awaited = value.iter().any(goes_on);
    let begins = value.iter().skip(1).take(2).any(|token| {
        matches!(token, TokenTree::Ident(ident) if matches!(ident.to_string().as_str(), "run" | "run_local" | "sleep"))
    });
    if begins && !awaited {
        let message = "this begins the operation and drops it at once, which cancels it: await it, or call `.detach()`";
        add(found, syn::Error::new_spanned(stream(value), message));
    }
}

/// Keeps one more error beside those found before.
pub(crate) fn add(found: &mut Option<syn::Error>, error: syn::Error) {
    match found {
        Some(before) => before.combine(error),
        None => *found = Some(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(code: &str) -> Option<String> {
        let code: TokenStream = code.parse().unwrap();
        check(&code).err().map(|error| error.to_string())
    }

    #[test]
    fn what_does_not_replay_is_named_with_what_does() {
        for (code, hint) in [
            ("let t = std::time::Instant::now();", "cx.now()"),
            ("tokio::time::sleep(d).await;", "cx.sleep"),
            ("race! { a = tokio::time::sleep(d) => 1 }", "cx.sleep"),
            ("let m: HashMap<u8, u8> = HashMap::new();", "workflow::Map"),
            ("let n = rand::random::<u8>();", "cx.rng()"),
            ("let _ = cx.sleep(d);", ".detach()"),
        ] {
            let said = says(code).unwrap_or_default();
            assert!(said.contains(hint), "{code}: {said}");
        }
    }

    #[test]
    fn what_replays_is_let_pass() {
        for code in [
            "let d = std::time::Duration::from_secs(1); cx.sleep(d).await",
            "let tokio = 1; order.rand + tokio",
            "let _ = cx.sleep(d).await;",
            "let _ = cx.run(a).detach();",
        ] {
            assert_eq!(says(code), None, "{code}");
        }
    }
}
