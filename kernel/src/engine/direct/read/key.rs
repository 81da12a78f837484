//! Identifies definitions that replace each other.

use std::collections::BTreeSet;

use quote::ToTokens;
use syn::Item;

use super::names::plain;

/// Identifies a definition. A later definition with the same key replaces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DefinitionKey {
    Type(String),
    Value(String),
    Macro(String),
    /// A macro call that expands to items of these names, as far as they are known.
    Call(BTreeSet<String>),
    /// An import, by its tokens.
    Use(String),
    /// An impl, by what stands before its braces; inherent impls also by the names they define.
    Impl(String, BTreeSet<String>),
}

impl DefinitionKey {
    /// Returns the key of an item.
    pub(crate) fn of(item: &Item) -> Self {
        let named = plain;
        match item {
            Item::Struct(item) => Self::Type(named(&item.ident)),
            Item::Enum(item) => Self::Type(named(&item.ident)),
            Item::Union(item) => Self::Type(named(&item.ident)),
            Item::Type(item) => Self::Type(named(&item.ident)),
            Item::Trait(item) => Self::Type(named(&item.ident)),
            Item::TraitAlias(item) => Self::Type(named(&item.ident)),
            Item::Mod(item) => Self::Type(named(&item.ident)),
            Item::Fn(item) => Self::Value(named(&item.sig.ident)),
            Item::Const(item) => Self::Value(named(&item.ident)),
            Item::Static(item) => Self::Value(named(&item.ident)),
            Item::Macro(item) => match &item.ident {
                Some(name) => Self::Macro(named(name)),
                None => Self::Call(BTreeSet::new()),
            },
            Item::Impl(item) => {
                let generics = &item.generics;
                let of =
                    item.trait_.as_ref().map(|(not, path, _)| format!("{} {}", not.is_some(), path.to_token_stream()));
                let head = format!(
                    "{} {:?} {} {}",
                    generics.to_token_stream(),
                    of,
                    item.self_ty.to_token_stream(),
                    generics.where_clause.to_token_stream()
                );
                let members = item.items.iter().filter_map(|member| match member {
                    syn::ImplItem::Fn(member) => Some(plain(&member.sig.ident)),
                    syn::ImplItem::Const(member) => Some(plain(&member.ident)),
                    _ => None,
                });
                Self::Impl(head, if of.is_some() { BTreeSet::new() } else { members.collect() })
            }
            other => Self::Use(other.to_token_stream().to_string()),
        }
    }
}
