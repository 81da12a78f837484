//! Variables with fields that were moved out: the other fields are stored.
//!
//! The compiler tracks which fields of a variable are initialized, and treats a value as whole only when all of them
//! are. To store it, the moved fields get back the bits that they had, which are never read: code that
//! takes such a variable out forgets those fields first, and code that drops it drops only the others.

use std::collections::{BTreeMap, BTreeSet};

use super::codegen::{CellUnit, Purpose};
use super::source::StoredVariable;
use crate::engine::direct::read::names::written;

/// The fields that were moved out of each variable before it is stored: `a`, or `a.0` for a field of a field.
pub(crate) type MovedFields = BTreeMap<StoredVariable, BTreeSet<String>>;

impl CellUnit<'_> {
    /// Returns whether fields of a variable are gone at one of the positions where it is stored.
    pub(crate) fn loses_fields(&self, name: &str, made: bool) -> bool {
        self.fields.keys().any(|kept| kept.name == name && kept.made == made)
    }

    /// Writes the line that remembers the address of a variable, before anything is moved out of it.
    pub(crate) fn locates(&self, name: &str) -> String {
        match self.purpose {
            Purpose::Check | Purpose::Type => String::new(),
            Purpose::Run(_) => format!("let __at_{name} = &raw const {};", written(name)),
        }
    }

    /// Makes a variable whole again for the compiler.
    pub(crate) fn completes(&self, kept: &StoredVariable) -> String {
        let (name, variable) = (&kept.name, written(&kept.name));
        let bits = |field: &String| match self.purpose {
            Purpose::Check | Purpose::Type => format!("{variable}.{field} = ::chandlery::cell::any();"),
            Purpose::Run(_) => {
                format!("{variable}.{field} = unsafe {{ ::core::ptr::read(&raw const (*__at_{name}).{field}) }};")
            }
        };
        self.fields.get(kept).into_iter().flatten().map(bits).collect()
    }

    /// Stores a variable. `how` is the store's method for a whole variable.
    pub(crate) fn stores(&self, kept: &StoredVariable, how: &str, value: &str) -> String {
        let name = &kept.name;
        // The value that was taken was of another type.
        let how = if self.choice.retyped.contains_key(name) { "keep" } else { how };
        match self.fields.get(kept) {
            None => format!("__store.{how}(\"{name}\", {value});"),
            Some(fields) => {
                let names = fields.iter().map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(", ");
                format!(
                    "__store.{how}_rest(\"{name}\", {value}, &[{names}], |__rest| {{ {} }});",
                    forgets("__rest", fields)
                )
            }
        }
    }
}

/// Returns the expression that takes the rest of a variable out of the store. Its moved fields are
/// [forgotten](forgets) next.
pub(crate) fn takes_rest(name: &str) -> String {
    format!("unsafe {{ __store.take_rest(__key_{name}) }}")
}

/// Writes the lines that tell the compiler that fields of a variable are gone.
pub(crate) fn forgets(variable: &str, fields: &BTreeSet<String>) -> String {
    fields.iter().map(|field| format!("::core::mem::forget({variable}.{field});")).collect()
}

/// Returns the variable and the field that a message calls moved: for `p.a.0`, the field `a.0` of `p`.
pub(crate) fn field_of(message: &str) -> Option<(&str, &str)> {
    let place = message.strip_prefix("partial move occurs because `")?.split('`').next()?;
    let (variable, field) = place.split_once('.')?;
    let is_name = |name: &str| {
        let name = name.strip_prefix("r#").unwrap_or(name);
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    (is_name(variable) && field.split('.').all(is_name)).then_some((variable.trim_start_matches("r#"), field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_of_variables_are_fields() {
        let field = |place: &str| {
            let message = format!("partial move occurs because `{place}` has type `String`, which does not implement");
            field_of(&message).map(|(variable, field)| (variable.to_owned(), field.to_owned()))
        };
        assert_eq!(field("p.a.0"), Some(("p".to_owned(), "a.0".to_owned())));
        assert_eq!(field("r#type.r#fn"), Some(("type".to_owned(), "r#fn".to_owned())));
        assert_eq!([field("*p"), field("(p as Some).0"), field("p[..].a"), field("p")], [None, None, None, None]);
        assert_eq!(field_of("partial move occurs because value has type `String`"), None);
    }
}
