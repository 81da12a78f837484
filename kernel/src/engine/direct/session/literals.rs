//! Variables that are a plain number: in a program, the type of `let n = 1;` follows from later uses. A cell
//! compiles without them, as `i32` or `f64`; when a later cell uses the variable as another type of number, it is converted.

use std::collections::BTreeMap;

use syn::Lit;

use crate::engine::direct::compile::compile_loop::Progress;
use crate::engine::direct::explain::diagnostics::Diagnostics;
use crate::engine::direct::explain::rendered::Rendering;
use crate::engine::direct::read::split::{Role, Split};

const INTEGERS: &[&str] = &["i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize"];
const FLOATS: &[&str] = &["f32", "f64"];

/// The types that number variables have from a cell on, by name.
pub(crate) type Retyped = BTreeMap<String, String>;

/// Returns whether a cell leaves the number type of a variable open: a literal without a type, not used elsewhere in the cell.
pub(crate) fn is_open(code: &str, cell: &Split, name: &str) -> bool {
    let mut statements = cell.statements.iter().filter(|statement| statement.mentions.contains(name));
    let (Some(made), None) = (statements.next(), statements.next()) else { return false };
    let Role::Let { value, kind: None, diverges: None } = &made.role else { return false };
    let text = code[value.clone()].trim().trim_start_matches('-');
    made.binds.len() == 1
        && made.binds[0].name == name
        && match syn::parse_str::<Lit>(text) {
            Ok(Lit::Int(number)) => number.suffix().is_empty(),
            Ok(Lit::Float(number)) => number.suffix().is_empty(),
            _ => false,
        }
}

/// Returns the number type that a message asks for instead of another: `usize` for `i32` in "cannot add `i32` to `usize`".
fn wanted<'a>(message: &'a str, from: &str) -> Option<&'a str> {
    let types = if INTEGERS.contains(&from) { INTEGERS } else { FLOATS };
    let named = || message.split('`').skip(1).step_by(2);
    if !named().any(|name| name == from) {
        return None;
    }
    if message.contains("cannot be indexed by") {
        return Some("usize").filter(|_| types == INTEGERS);
    }
    let mut others = named().filter(|name| *name != from && types.contains(name));
    others.next().filter(|_| others.next().is_none())
}

impl Progress<'_> {
    /// Gives number variables with an open type the type that the cell uses them as.
    pub(crate) fn with_numbers(&mut self, found: &Diagnostics, at: &Rendering<'_>) -> bool {
        let mut again = false;
        for (place, messages) in found.mismatches(at) {
            let offset = self.offset(place);
            let statements = &self.attempt.parsed.statements;
            let Some(own) = statements.iter().find(|statement| statement.range.contains(&offset)) else { continue };
            for (name, known) in self.attempt.variables.iter() {
                let from = known.type_name.as_str();
                // A mutable variable may hold a result by now, which `f32` would round.
                let may_round = known.mutable && FLOATS.contains(&from);
                let is_open = known.is_open_number && !may_round && !self.choice.retyped.contains_key(name);
                if !is_open || !own.mentions.contains(name) {
                    continue;
                }
                if let Some(to) = messages.iter().find_map(|message| wanted(message, from)) {
                    self.choice.retyped.insert(name.to_owned(), to.to_owned());
                    again = true;
                }
            }
        }
        if again {
            self.mistyped.get_or_insert_with(|| found.report(at));
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::read::split::split;

    #[test]
    fn only_literals_without_a_type_are_open() {
        let open = |code: &str| is_open(code, &split(code, 1).unwrap(), "n");
        assert!(open("let n = 1;") && open("let mut n = -1_000;") && open("let n = 0.5; let m = 2;"));
        for code in [
            "let n = 1u8;",
            "let n: i32 = 1;",
            "let n = 1; f(n);",
            "let n = 1; let m: u8 = n;",
            "let n = f(1);",
            "let (n, m) = (1, 2);",
        ] {
            assert!(!open(code), "{code}");
        }
    }

    #[test]
    fn the_other_number_of_a_message_is_wanted() {
        assert_eq!(wanted("cannot add `i32` to `usize`", "i32"), Some("usize"));
        assert_eq!(wanted("expected `u64`, found `i32`", "i32"), Some("u64"));
        assert_eq!(wanted("cannot multiply `f32` by `f64`", "f64"), Some("f32"));
        assert_eq!(wanted("the type `[u8]` cannot be indexed by `i32`", "i32"), Some("usize"));
        assert_eq!(wanted("cannot add `f64` to `i32`", "i32"), None);
        assert_eq!(wanted("expected `String`, found `i32`", "i32"), None);
    }
}
