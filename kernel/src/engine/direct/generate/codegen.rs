//! The source that is compiled for a cell: the user's text, unchanged in line and column, inside a few calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fields::{MovedFields, forgets, takes_rest};
use super::source::{Lines, Source, StoredVariable};
use crate::engine::direct::read::definition::Definition;
use crate::engine::direct::read::names::written;
use crate::engine::direct::read::split::{Split, Statement};
use crate::engine::direct::session::items::{At, Items};
use crate::engine::direct::session::known::{CellLocalType, Known, TypeSource};
use crate::engine::direct::session::literals::Retyped;
use crate::engine::direct::session::unknown::Unknown;
use crate::engine::direct::session::variables::Variables;
use crate::worker::ENTRY;

/// The names of `chandlery::prelude`.
pub(crate) const PRELUDE: &[&str] = &[
    "Construction",
    "Conversion",
    "Curve",
    "DType",
    "Inspection",
    "MimeBundle",
    "Progress",
    "Updating",
    "View",
    "compare",
    "convert",
    "dataset",
    "emit",
    "finalize",
    "inspect",
    "progress",
    "project",
    "show",
    "update",
];

/// A cell ready to compile.
pub(crate) struct Generated {
    pub(crate) text: String,
    pub(crate) lines: Lines,
}

/// A cell and what it is compiled with.
pub(crate) struct CellUnit<'a> {
    pub(crate) code: &'a str,
    pub(crate) cell: u32,
    pub(crate) split: &'a Split,
    pub(crate) items: &'a Items,
    pub(crate) variables: &'a Variables,
    /// Variables that are not stored, because an earlier attempt showed that they cannot be.
    pub(crate) dropped: &'a BTreeMap<StoredVariable, Loss>,
    /// Fields that are moved out of variables that are stored without them.
    pub(crate) fields: &'a MovedFields,
    pub(crate) choice: &'a Choice,
    /// Attributes for all of the cell's own code.
    pub(crate) lints: &'a [String],
    pub(crate) purpose: Purpose,
    /// Names that would be defined by cells that do not compile.
    pub(crate) unknown: &'a Unknown,
}

/// The way in which a cell is compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Statement by statement, so that completed statements keep their effect after a failure.
    pub(crate) staged: bool,
    /// With all definitions in force, not only with those whose names it mentions.
    pub(crate) all: bool,
    /// Earlier definitions that are compiled although nothing needs them, because the cell redefines what they depend on.
    pub(crate) checked: BTreeSet<At>,
    /// The prelude's names that the user's own imports bring as well.
    pub(crate) hidden: BTreeSet<String>,
    /// Number variables that have another type from this cell on.
    pub(crate) retyped: Retyped,
}

/// Why a variable cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The cell moved it away.
    Moved,
    /// It borrows.
    Borrows,
    /// It borrows until it is dropped, like a guard.
    Guards,
}

/// What a cell is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run, at opt-level 0 unless another is given.
    Run(Option<char>),
    /// To find its errors and the types of its variables.
    Check,
    /// To find the type of its value.
    Type,
}

const STORE: &str = "__store: &mut ::chandlery::cell::Store";
pub(crate) const ERROR: &str = "::chandlery::cell::CellError";
pub(crate) const RESULT: &str = "::core::result::Result";
/// Returns an expression with the type that `value` has after some statements.
fn like(statements: &str, value: &str, later: bool) -> String {
    if later {
        format!("::chandlery::cell::like_later(|| async {{\n{statements}\n; {RESULT}::<_, {ERROR}>::Ok({value}) }});")
    } else {
        format!("::chandlery::cell::like(|| -> {RESULT}<_, {ERROR}> {{\n{statements}\n; Ok({value}) }});")
    }
}

fn infer(name: &str, text: &str, later: bool, source: &mut Source) {
    source.witness(&[name.to_owned()], &format!("let __like_{name} = {}", like(text, &written(name), later)));
}

/// Returns the cells whose bodies made the types of these variables, by position.
fn makers(taken: &[(&str, &Known)]) -> BTreeMap<u32, (Arc<CellLocalType>, BTreeSet<String>)> {
    let mut makers = BTreeMap::new();
    taken.iter().for_each(|(name, known)| known.makers(name, &mut makers));
    makers
}

impl CellUnit<'_> {
    /// Returns the stored variables that the cell needs: those mentioned before a `let` of the same name shadows them.
    pub(crate) fn taken(&self) -> Vec<(&str, &Known)> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for statement in &self.split.statements {
            let used = if statement.binds.is_empty() { &statement.mentions } else { &statement.uses };
            taken.extend(used.iter().map(String::as_str).filter(|name| !made.contains(name)));
            made.extend(statement.binds.iter().map(|binding| binding.name.as_str()));
        }
        let assigned = |name: &str, known: &Known| !known.moved.is_empty() && self.split.assigns(name);
        self.variables.iter().filter(|(name, known)| taken.contains(name) && !assigned(name, known)).collect()
    }

    /// Returns which closure of the cell's function its body is, if the cell may make types that later cells must find there.
    pub(crate) fn place(&self) -> Option<u32> {
        let makes = |statement: &Statement| {
            ["|", "async", "struct ", "enum "].iter().any(|word| self.code[statement.range.clone()].contains(word))
        };
        let mut taken = self.taken();
        taken.extend(self.reassigned());
        let holds = taken.iter().any(|(_, known)| matches!(known.how, TypeSource::CellLocal(_)));
        if self.split.made().is_empty() || !(holds || self.split.statements.iter().any(makes)) {
            return None;
        }
        let makers = makers(&taken);
        let inferred = taken.iter().filter(|(_, known)| matches!(known.how, TypeSource::Witness { .. })).count();
        let live = self.variables.places();
        let after = makers.keys().next_back().map_or(0, |last| last + 1);
        // The witnesses of the variables it takes come before the body, at positions where no maker's body is.
        (after..).find(|place| !live.contains(place) && *place as usize >= makers.len() + inferred)
    }

    /// Returns whether loops check for an interrupt.
    pub(crate) fn has_ticks(&self) -> bool {
        !matches!(self.purpose, Purpose::Run(Some(_)))
    }

    /// Returns the variables that were moved and get a new value here.
    pub(crate) fn reassigned(&self) -> Vec<(&str, &Known)> {
        self.variables.reassigned(self.split)
    }

    /// Writes the source.
    pub(crate) fn generate(&self) -> Generated {
        let mut taken = self.taken();
        taken.extend(self.reassigned());
        let mut source = Source::default();
        self.prelude(&mut source);
        self.bring_unknown(&mut source);
        for definition in self.definitions() {
            if definition.at.0 == self.cell {
                self.lints.iter().for_each(|lint| source.ours(lint));
            }
            definition.emit(self.has_ticks(), &mut source);
        }
        self.lints.iter().for_each(|lint| source.ours(lint));
        source.ours(&match self.purpose {
            Purpose::Run(_) | Purpose::Check => format!("#[unsafe(no_mangle)] pub fn {ENTRY}({STORE}) {{"),
            Purpose::Type => format!(
                "#[unsafe(no_mangle)] pub fn {ENTRY}({STORE}) {{ let _ = __ask(__store); }}\n\
                fn __ask({STORE}) -> {RESULT}<(), {ERROR}> {{"
            ),
        });
        self.types(&taken, &mut source);
        let taken = self.taken();
        match self.purpose {
            Purpose::Run(_) if self.choice.staged => self.stages(&taken, &mut source),
            Purpose::Run(_) => {
                self.take(&taken, &mut source);
                self.work(&taken, &mut source);
                self.keep(&mut source);
            }
            Purpose::Check => self.check(&taken, &mut source),
            Purpose::Type => self.ask(&taken, &mut source),
        }
        source.ours("}");
        let (text, lines) = source.finish();
        Generated { text, lines }
    }

    /// Writes the import of the toolkit's names, without those that the user's imports bring: of two glob imports,
    /// neither takes precedence.
    fn prelude(&self, source: &mut Source) {
        if self.choice.hidden.is_empty() {
            source.ours("use ::chandlery::prelude::*;");
            return;
        }
        let names = PRELUDE.iter().filter(|name| !self.choice.hidden.contains(**name));
        let names = names.copied().collect::<Vec<_>>().join(", ");
        // A glob again: a name that is imported by itself would take precedence over the user's glob imports.
        source.ours(&format!("mod __prelude {{ pub use ::chandlery::prelude::{{{names}}}; }} use __prelude::*;"));
    }

    /// Takes variables out of the store.
    pub(crate) fn take(&self, taken: &[(&str, &Known)], source: &mut Source) {
        for (name, known) in taken {
            source.ours(&match &known.how {
                TypeSource::Named(annotation) => format!("let __key_{name} = __store.key::<{annotation}>(\"{name}\");"),
                TypeSource::Witness { .. } => format!("let __key_{name} = __store.key_of(\"{name}\", &__like_{name});"),
                TypeSource::CellLocal(made) => {
                    format!("let __key_{name} = __store.key_of(\"{name}\", &{});", made.like(name))
                }
            });
            if let Some(kind) = self.choice.retyped.get(*name).filter(|_| known.type_name == "i32") {
                source.ours(&format!("__store.fits::<{kind}>(\"{name}\");"));
            }
        }
        if !taken.is_empty() {
            source.ours("if __store.refused() { return; }");
        }
        for (name, known) in taken {
            let loses = self.loses_fields(name, false);
            let mutable = if known.mutable || loses { "mut " } else { "" };
            let take = match known.moved.is_empty() {
                true => format!("__store.take(__key_{name})"),
                false => takes_rest(name),
            };
            let kind = self.choice.retyped.get(*name).map_or_else(String::new, |kind| format!(" as {kind}"));
            source.ours(&format!("let {mutable}{} = {take}{kind};", written(name)));
            if loses {
                source.ours(&self.locates(name));
            }
            if !known.moved.is_empty() {
                source.ours(&forgets(&written(name), &known.moved));
            }
        }
    }

    /// Writes the types of the variables that the cell takes: a closure for each type that cannot be written, in the
    /// order that [`CellLocalType`] asks for; gaps are filled with closures that do nothing.
    fn types(&self, taken: &[(&str, &Known)], source: &mut Source) {
        let makers = makers(taken);
        let mut inferred = taken.iter().filter_map(|(name, known)| match &known.how {
            TypeSource::Witness { text, later } => Some((*name, text, *later)),
            _ => None,
        });
        let end = self.place().unwrap_or_else(|| makers.keys().next_back().map_or(0, |last| last + 1));
        for place in 0..end {
            if let Some((made, names)) = makers.get(&place) {
                let names: Vec<String> = names.iter().cloned().collect();
                let stand_ins: String = made.outside.iter().map(|(name, known)| known.stand_in(name) + "\n").collect();
                let value =
                    names.iter().rev().fold("()".to_owned(), |rest, name| format!("({}, {rest})", written(name)));
                source.witness(
                    &names,
                    &format!("let __like = {}", like(&format!("{stand_ins}{}", made.text), &value, made.later)),
                );
                for name in &names {
                    source.ours(&format!("let ({}, __like) = __like.split();", made.like(name)));
                }
            } else if let Some((name, text, later)) = inferred.next() {
                infer(name, text, later, source);
            } else {
                source.ours("let _ = || ();");
            }
        }
        for (name, text, later) in inferred {
            infer(name, text, later, source);
        }
    }

    /// Returns the names in the cell's statements and in the types of the variables it takes.
    pub(crate) fn mentions(&self) -> BTreeSet<String> {
        let statements = self.split.statements.iter().flat_map(|statement| &statement.mentions);
        let taken = self.taken();
        let types = taken.iter().flat_map(|(_, known)| known.mentions());
        statements.chain(types).cloned().collect()
    }

    pub(crate) fn definitions(&self) -> Vec<&Definition> {
        let mut mentions = self.mentions();
        // The cell's own definitions are checked even if nothing uses them yet.
        for own in &self.split.definitions {
            mentions.extend(own.names().map(str::to_owned));
            mentions.extend(own.mentions().iter().cloned());
        }
        if self.choice.all {
            return self.items.all();
        }
        let mut needed = self.items.needed(&mentions, &self.choice.checked);
        let missing = self.split.definitions.iter().filter(|own| !needed.iter().any(|item| item.at == own.at));
        let missing: Vec<&Definition> = missing.collect();
        needed.extend(missing);
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::read::split::split;

    fn generate(code: &str, variables: &Variables) -> Generated {
        let split = split(code, 2).unwrap();
        let items = Items::default().with(&split.definitions);
        let dropped = BTreeMap::new();
        CellUnit {
            code,
            cell: 2,
            split: &split,
            items: &items,
            variables,
            dropped: &dropped,
            fields: &MovedFields::default(),
            choice: &Choice::default(),
            lints: &[],
            purpose: Purpose::Run(None),
            unknown: &Unknown::default(),
        }
        .generate()
    }

    #[test]
    fn the_names_of_the_prelude_are_those_of_the_toolkit() {
        let file = syn::parse_file(include_str!("../../../../../crate/src/prelude.rs")).unwrap();
        let imports = file.items.iter().filter_map(|item| match item {
            syn::Item::Use(import) => Some(crate::engine::direct::read::imports::names(import)),
            _ => None,
        });
        let names: BTreeSet<String> = imports.flatten().collect();
        assert_eq!(names, PRELUDE.iter().map(|name| (*name).to_owned()).collect());
    }

    #[test]
    fn text_keeps_line_and_column() {
        let code = "let a = 1; fn é() {}\n\n  let b = a; b";
        let generated = generate(code, &Variables::default());
        let lines: Vec<&str> = generated.text.lines().collect();
        let find = |cell_line: usize, text: &str| {
            let at = lines.iter().position(|line| line.contains(text)).unwrap();
            assert_eq!(generated.lines.cell(at + 1), Some((2, cell_line)), "{text}");
            let column = lines[at].split(text).next().unwrap().chars().count();
            assert_eq!(code.lines().nth(cell_line - 1).unwrap().split(text).next().unwrap().chars().count(), column);
        };
        find(1, "let a = 1;");
        find(1, "fn é() {}");
        find(3, "let b = a;");
        assert!(generated.text.contains("__new_a = ::core::option::Option::Some(a);"));
    }

    #[test]
    fn only_mentioned_variables_are_taken() {
        let mut variables = Variables::default();
        for name in ["a", "b", "c"] {
            variables.insert(name, Known::named("i32", false));
        }
        let text = generate("let c = 2; println!(\"{a}\"); c", &variables).text;
        assert!(text.contains("key::<i32>(\"a\")") && !text.contains("\"b\""));
        assert!(!text.contains("__key_c") && text.contains("__new_c"), "a `let` needs no old value");
    }
}
