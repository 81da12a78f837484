//! Facts about an item that follow from its syntax.

use std::collections::BTreeSet;

use quote::ToTokens;
use syn::Item;
use syn::spanned::Spanned;

use super::definition::MainCall;
use super::files::{self, Mention};
use super::imports;
use super::key::DefinitionKey;
use super::names::plain;

/// Returns the files and lines that an item names. Those in a macro belong to its calls.
pub(super) fn file_mentions(item: &Item) -> Vec<Mention> {
    match item {
        Item::Macro(item) if item.ident.is_some() => Vec::new(),
        Item::Mod(item) if item.content.is_none() && !item.attrs.iter().any(|own| own.path().is_ident("path")) => {
            vec![Mention::Module { name: plain(&item.ident), start: item.span().byte_range().start }]
        }
        item => files::mentions(item.to_token_stream()),
    }
}

/// Returns the names of an item's own generic parameters.
pub(super) fn parameters(item: &Item) -> BTreeSet<String> {
    let generics = match item {
        Item::Impl(item) => &item.generics,
        Item::Struct(item) => &item.generics,
        Item::Enum(item) => &item.generics,
        Item::Union(item) => &item.generics,
        Item::Type(item) => &item.generics,
        Item::Trait(item) => &item.generics,
        Item::Fn(item) => &item.sig.generics,
        _ => return BTreeSet::new(),
    };
    let names = generics.params.iter().filter_map(|parameter| match parameter {
        syn::GenericParam::Type(parameter) => Some(plain(&parameter.ident)),
        syn::GenericParam::Const(parameter) => Some(plain(&parameter.ident)),
        syn::GenericParam::Lifetime(_) => None,
    });
    names.collect()
}

/// Returns whether the layout of a type can depend on an item: on constants, types and macros.
pub(super) fn shapes(item: &Item) -> bool {
    match item {
        Item::Fn(item) => item.sig.constness.is_some(),
        Item::Static(_) => false,
        Item::Impl(item) => item.items.iter().any(|member| match member {
            syn::ImplItem::Fn(member) => member.sig.constness.is_some(),
            _ => true,
        }),
        _ => true,
    }
}

/// Returns whether a function's body or signature makes types without a name outside of it, judging by its tokens.
pub(super) fn makes_types(item: &Item) -> bool {
    let Item::Fn(function) = item else { return false };
    fn any(tokens: proc_macro2::TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Group(group) => any(group.stream()),
            proc_macro2::TokenTree::Ident(word) => {
                ["impl", "async", "struct", "enum", "union"].iter().any(|known| word == known)
            }
            proc_macro2::TokenTree::Punct(punct) => matches!(punct.as_char(), '|' | '!'),
            proc_macro2::TokenTree::Literal(_) => false,
        })
    }
    any(function.to_token_stream())
}

/// Returns the names that `use name::*` can bring, at any depth.
pub(super) fn offers(item: &Item) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match item {
        Item::Enum(item) => names.extend(item.variants.iter().map(|variant| plain(&variant.ident))),
        Item::Mod(item) => {
            for inner in item.content.iter().flat_map(|(_, items)| items) {
                match DefinitionKey::of(inner) {
                    DefinitionKey::Type(name) | DefinitionKey::Value(name) | DefinitionKey::Macro(name) => {
                        names.insert(name);
                    }
                    DefinitionKey::Call(_) | DefinitionKey::Use(_) | DefinitionKey::Impl(..) => {}
                }
                if let Item::Use(import) = inner {
                    names.extend(imports::names(import));
                }
                names.extend(offers(inner));
            }
        }
        _ => {}
    }
    names
}

pub(super) fn main(item: &Item) -> Option<MainCall> {
    let Item::Fn(function) = item else { return None };
    let plain = function.sig.inputs.is_empty() && function.sig.ident == "main";
    let result = function.sig.output.to_token_stream().to_string().contains("Result");
    // An attribute such as `#[tokio::main]` makes an ordinary function of an asynchronous one.
    let waits = function.sig.asyncness.is_some()
        && function
            .attrs
            .iter()
            .all(|attribute| attribute.path().segments.last().is_none_or(|last| last.ident != "main"));
    plain.then_some(MainCall { waits, fails: result, by_debug: false })
}
