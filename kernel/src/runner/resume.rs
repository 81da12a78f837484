//! Resuming in the middle: the cell to resume from, and which of those before it run anyway.

use syn::Stmt;
use syn::parse::Parser;

use super::notebook::Notebook;

/// Why a run cannot be resumed from a cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// The number is not that of a cell.
    #[error("`--from {number}` names none of its {of} cells")]
    Number {
        /// The number.
        number: usize,
        /// How many cells there are.
        of: usize,
    },
    /// The id is not that of a cell.
    #[error("no cell has the id `{0}`")]
    Id(String),
}

/// Returns the index of a cell by its number (from 1, of all cells, as in progress lines) or id.
pub(super) fn find(notebook: &Notebook, cell: &str) -> Result<usize, ResumeError> {
    if let Some(index) = (0..notebook.len()).find(|&index| notebook.id(index) == Some(cell)) {
        return Ok(index);
    }
    match cell.parse::<usize>() {
        Ok(number) if (1..=notebook.len()).contains(&number) => Ok(number - 1),
        Ok(number) => Err(ResumeError::Number { number, of: notebook.len() }),
        Err(_) => Err(ResumeError::Id(cell.to_owned())),
    }
}

/// Returns whether a cell before the one resumed from runs as well, with its outputs unchanged: it sets parameters, is tagged
/// `setup`, or only has definitions (functions, types, imports, dependencies), which later cells need and which do nothing.
pub(super) fn prepares(notebook: &Notebook, index: usize) -> bool {
    ["setup", "parameters", "injected-parameters"].iter().any(|tag| notebook.has_tag(index, tag))
        || notebook.code(index).is_some_and(|code| only_defines(&code))
}

fn only_defines(code: &str) -> bool {
    let rust: String =
        code.lines().filter(|line| !line.trim_start().starts_with(":dep ")).collect::<Vec<_>>().join("\n");
    let Ok(statements) = syn::Block::parse_within.parse_str(&rust) else { return false };
    // A macro call in item position, such as `thread_local! { … }`, may do anything, so it does not count.
    !code.trim().is_empty()
        && statements.iter().all(|statement| matches!(statement, Stmt::Item(item) if !matches!(item, syn::Item::Macro(call) if call.ident.is_none())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_distinguished_from_work() {
        for defines in [
            "use std::fmt;\n/// doc\nfn f() -> i32 { 1 }",
            "struct A;",
            ":dep rand = \"1\"\nuse rand::Rng;",
            "macro_rules! m { () => {} }",
        ] {
            assert!(only_defines(defines), "{defines}");
        }
        for works in ["let a = 1;", "fn f() {}\nf();", "%inspect x", "f! { x }", "fn f() {", ""] {
            assert!(!only_defines(works), "{works}");
        }
    }
}
