//! Variables of which some fields were moved away: the others stay.
//!
//! The compiler knows which fields of a variable are there and which are not, and takes a value for whole only when all
//! are. So that it can be stored, the fields that are gone get back the bits that they had, which nobody reads: whoever
//! takes such a variable out forgets those fields first, and whoever drops it drops the others alone.

use std::collections::{BTreeMap, BTreeSet};

use super::codegen::{CellUnit, Purpose};
use super::source::StoredVariable;
use crate::engine::direct::read::names::written;

/// The fields that were moved away from each variable on its way into the store: `a`, or `a.0` for a field of a field.
pub(crate) type MovedFields = BTreeMap<StoredVariable, BTreeSet<String>>;

impl CellUnit<'_> {
    /// Whether some fields of a variable are gone at one of the places where it is stored.
    pub(crate) fn loses_fields(&self, name: &str, made: bool) -> bool {
        self.fields.keys().any(|kept| kept.name == name && kept.made == made)
    }

    /// The line that remembers where a variable is; before anything is moved out of it.
    pub(crate) fn locates(&self, name: &str) -> String {
        match self.purpose {
            Purpose::Check | Purpose::Type => String::new(),
            Purpose::Run(_) => format!("let __at_{name} = &raw const {};", written(name)),
        }
    }

    /// Makes a variable whole again, as far as the compiler looks.
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

    /// Stores a variable; `how` is the store's method for a whole one.
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

/// The expression that takes what is left of a variable out of the store. Its fields that are gone are
/// [forgotten](forgets) next.
pub(crate) fn takes_rest(name: &str) -> String {
    format!("unsafe {{ __store.take_rest(__key_{name}) }}")
}

/// The lines that tell the compiler that fields of a variable are gone.
pub(crate) fn forgets(variable: &str, fields: &BTreeSet<String>) -> String {
    fields.iter().map(|field| format!("::core::mem::forget({variable}.{field});")).collect()
}

/// The field that a message calls moved, of a variable: of `p.a.0`, the field `a.0` of `p`.
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
