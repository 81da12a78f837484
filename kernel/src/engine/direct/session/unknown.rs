//! Names that are unknown while cells are checked, because the cell that would define them does not compile.
//!
//! A later cell gets such a name by an import that fails. The compiler reports that failure, which is left out, and is
//! silent about everything that follows from it; other errors in the cell are found.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::direct::generate::codegen::CellUnit;
use crate::engine::direct::generate::source::Source;
use crate::engine::direct::read::definition::Definition;
use crate::engine::direct::read::split::split;

/// Names, and the cells that would define them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unknown(BTreeMap<String, u32>);

impl Unknown {
    /// Adds names that a cell would define.
    pub(crate) fn add(&mut self, names: &BTreeSet<String>, cell: u32) {
        self.0.extend(names.iter().map(|name| (name.clone(), cell)));
    }

    /// Removes names that are defined.
    pub(crate) fn remove(&mut self, names: &BTreeSet<String>) {
        self.0.retain(|name, _| !names.contains(name));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the explanation for a name.
    pub(crate) fn explain(&self, name: &str) -> Option<String> {
        let cell = self.0.get(name)?;
        Some(format!("`{name}` is not known: cell {cell} would define it, and is not known to compile"))
    }
}

impl CellUnit<'_> {
    /// Imports the unknown names that the cell and its definitions mention.
    pub(crate) fn bring_unknown(&self, source: &mut Source) {
        if self.unknown.0.is_empty() {
            return;
        }
        let definitions = self.definitions();
        let mut mentions = self.mentions();
        mentions.extend(definitions.iter().flat_map(|item| item.mentions()).cloned());
        let mut own: BTreeSet<String> = definitions.iter().flat_map(|item| item.names()).map(str::to_owned).collect();
        own.extend(self.split.definitions.iter().flat_map(|item| item.imports().map(str::to_owned)));
        let names = self.unknown.0.iter().filter(|(name, _)| mentions.contains(*name) && !own.contains(*name));
        for (name, cell) in names {
            source.unknown(name, &format!("#[allow(unused_imports)] use __cell_{cell}::{name};"));
        }
    }
}

/// Returns the names that a piece of Rust would define.
pub(crate) fn defined(code: &str) -> BTreeSet<String> {
    let Ok(parsed) = split(code, 0) else { return written(code) };
    let variables = parsed.made().into_iter().map(|(name, _)| name.to_owned());
    let items = parsed.definitions.iter().flat_map(Definition::names).map(str::to_owned);
    variables.chain(items).chain(parsed.definitions.iter().flat_map(|item| item.imports().map(str::to_owned))).collect()
}

/// Returns the names after words such as `let` and `fn` in a text that cannot be parsed.
fn written(code: &str) -> BTreeSet<String> {
    const BEFORE: &[&str] =
        &["let", "mut", "fn", "struct", "enum", "union", "trait", "type", "mod", "const", "static", "macro_rules"];
    let words: Vec<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
    let pairs = words.windows(2).filter(|pair| BEFORE.contains(&pair[0]) && !BEFORE.contains(&pair[1]));
    pairs.map(|pair| pair[1].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cell_would_define() {
        let names = |code: &str| defined(code).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(names("use a::{b, c as d, e::*};\nlet (x, mut y) = f(z);\nstruct S;\nfn g() {}"), "S b d g x y");
        assert_eq!(names("let mut a = f(;\nfn g() { let b = 1 }\nstruct S"), "S a b g");
    }
}
