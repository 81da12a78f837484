//! From the name of a type in the running program to the path that a cell can write.

use std::collections::HashMap;

use quote::{ToTokens, quote};
use syn::{GenericArgument, Path, PathArguments, Type};

use super::items::Items;
use crate::engine::direct::read::depth::with_room;

/// Types of the standard library whose internal path differs from their public path, or that are worth annotating.
const STANDARD: &[(&str, &str)] = &[
    ("alloc::string::String", "::std::string::String"),
    ("alloc::vec::Vec", "::std::vec::Vec"),
    ("alloc::boxed::Box", "::std::boxed::Box"),
    ("alloc::rc::Rc", "::std::rc::Rc"),
    ("alloc::sync::Arc", "::std::sync::Arc"),
    ("alloc::borrow::Cow", "::std::borrow::Cow"),
    ("alloc::collections::btree::map::BTreeMap", "::std::collections::BTreeMap"),
    ("alloc::collections::btree::set::BTreeSet", "::std::collections::BTreeSet"),
    ("alloc::collections::vec_deque::VecDeque", "::std::collections::VecDeque"),
    ("alloc::collections::binary_heap::BinaryHeap", "::std::collections::BinaryHeap"),
    ("std::collections::hash::map::HashMap", "::std::collections::HashMap"),
    ("std::collections::hash::set::HashSet", "::std::collections::HashSet"),
    ("core::option::Option", "::core::option::Option"),
    ("core::result::Result", "::core::result::Result"),
    ("core::cell::RefCell", "::core::cell::RefCell"),
    ("core::cell::Cell", "::core::cell::Cell"),
    ("core::ops::range::Range", "::core::ops::Range"),
    ("core::ops::range::RangeInclusive", "::core::ops::RangeInclusive"),
    ("core::time::Duration", "::core::time::Duration"),
    ("core::num::error::ParseIntError", "::core::num::ParseIntError"),
    ("std::time::Instant", "::std::time::Instant"),
    ("std::time::SystemTime", "::std::time::SystemTime"),
    ("std::path::PathBuf", "::std::path::PathBuf"),
    ("std::ffi::os_str::OsString", "::std::ffi::OsString"),
    ("std::fs::File", "::std::fs::File"),
    ("std::fs::Metadata", "::std::fs::Metadata"),
    ("std::io::error::Error", "::std::io::Error"),
    ("std::sync::poison::mutex::Mutex", "::std::sync::Mutex"),
    ("std::sync::poison::rwlock::RwLock", "::std::sync::RwLock"),
    ("std::thread::join_handle::JoinHandle", "::std::thread::JoinHandle"),
];

const PRIMITIVES: &[&str] = &[
    "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    "f32", "f64",
];

/// Writes types as cells can name them.
pub(crate) struct Namer<'a> {
    /// The toolkit's own table.
    pub(crate) toolkit: &'a HashMap<String, String>,
    /// Types defined in cells.
    pub(crate) items: &'a Items,
}

impl Namer<'_> {
    /// Returns the annotation for a type with this name, if every part of it can be named for certain.
    pub(crate) fn annotation(&self, type_name: &str) -> Option<String> {
        let named = || {
            let parsed = syn::parse_str::<Type>(type_name).ok()?;
            Some(self.name(&parsed)?.to_token_stream().to_string())
        };
        with_room(type_name, named).ok()?
    }

    fn name(&self, shape: &Type) -> Option<Type> {
        match shape {
            Type::Path(path) if path.qself.is_none() => self.path(&path.path),
            Type::Tuple(tuple) => {
                let parts = tuple.elems.iter().map(|part| self.name(part)).collect::<Option<Vec<_>>>()?;
                Some(syn::parse_quote!((#(#parts,)*)))
            }
            Type::Array(array) => {
                let (element, length) = (self.name(&array.elem)?, &array.len);
                Some(syn::parse_quote!([#element; #length]))
            }
            Type::Slice(slice) => {
                let element = self.name(&slice.elem)?;
                Some(syn::parse_quote!([#element]))
            }
            Type::Reference(reference) => {
                let (target, mutable) = (self.name(&reference.elem)?, &reference.mutability);
                Some(syn::parse_quote!(&'static #mutable #target))
            }
            _ => None,
        }
    }

    fn path(&self, path: &Path) -> Option<Type> {
        let plain: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let (last, before) = path.segments.iter().collect::<Vec<_>>().split_last().map(|(l, b)| (*l, b.to_vec()))?;
        if before.iter().any(|segment| !segment.arguments.is_none()) {
            return None;
        }
        let plain = plain.join("::");
        let public = if PRIMITIVES.contains(&plain.as_str()) {
            plain
        } else if let Some((_, public)) = STANDARD.iter().find(|(internal, _)| *internal == plain) {
            (*public).to_owned()
        } else if let Some(public) = self.toolkit.get(&plain) {
            public.clone()
        } else {
            let name = plain.strip_prefix("cell::").filter(|name| self.items.has_type(name))?;
            format!("crate::{name}")
        };
        let public: Path = syn::parse_str(&public).ok()?;
        match &last.arguments {
            PathArguments::None => Some(syn::parse_quote!(#public)),
            PathArguments::AngleBracketed(arguments) => {
                let arguments = arguments.args.iter().map(|argument| match argument {
                    GenericArgument::Type(argument) => self.name(argument).map(|named| quote!(#named)),
                    GenericArgument::Const(value) => Some(quote!(#value)),
                    _ => None,
                });
                let arguments = arguments.collect::<Option<Vec<_>>>()?;
                Some(syn::parse_quote!(#public<#(#arguments),*>))
            }
            PathArguments::Parenthesized(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::read::split::split;

    #[test]
    fn nameable_and_not() {
        let items = Items::default().with(&split("struct Point;", 1).unwrap().definitions);
        let toolkit = HashMap::from([("chandlery::a::b::C".to_owned(), "::chandlery::C".to_owned())]);
        let namer = Namer { toolkit: &toolkit, items: &items };
        let name = |text: &str| namer.annotation(text).map(|named| named.replace(' ', ""));
        assert_eq!(name("i32").as_deref(), Some("i32"));
        assert_eq!(name("alloc::vec::Vec<(&str, [u8; 4])>").as_deref(), Some("::std::vec::Vec<(&'staticstr,[u8;4],)>"));
        assert_eq!(name("core::option::Option<cell::Point>").as_deref(), Some("::core::option::Option<crate::Point>"));
        assert_eq!(name("chandlery::a::b::C").as_deref(), Some("::chandlery::C"));
        assert_eq!(name("()").as_deref(), Some("()"));
        assert_eq!(name("cell::Other"), None);
        assert_eq!(name("core::iter::adapters::map::Map<x::Y, cell::f::{{closure}}>"), None);
        assert_eq!(name("alloc::boxed::Box<dyn core::fmt::Debug>"), None);
    }
}
