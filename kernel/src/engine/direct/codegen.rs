//! The source that is compiled for a cell: the user's text, unchanged in line and column, inside a few calls.

use std::collections::BTreeSet;

use super::items::{Definition, Items};
use super::source::{Kept, Lines, Source};
use super::split::Split;
use super::variables::{Known, Variables};
use crate::worker::ENTRY;

/// A cell ready to compile.
pub(super) struct Generated {
    pub(super) text: String,
    pub(super) lines: Lines,
}

/// A cell and what it is compiled with.
pub(super) struct Unit<'a> {
    pub(super) code: &'a str,
    pub(super) cell: u32,
    pub(super) split: &'a Split,
    pub(super) items: &'a Items,
    pub(super) variables: &'a Variables,
    /// Variables that are not put into the store afterwards, because an earlier try showed that they cannot be.
    pub(super) dropped: &'a BTreeSet<Kept>,
}

const ERROR: &str = "::chandlery::cell::CellError";

impl Unit<'_> {
    /// The stored variables that the cell needs: mentioned before a `let` of the same name makes them anew.
    pub(super) fn taken(&self) -> Vec<(&str, &Known)> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for statement in &self.split.statements {
            let used = if statement.binds.is_empty() { &statement.mentions } else { &statement.uses };
            taken.extend(used.iter().map(String::as_str).filter(|name| !made.contains(name)));
            made.extend(statement.binds.iter().map(|binding| binding.name.as_str()));
        }
        self.variables.iter().filter(|(name, _)| taken.contains(name)).collect()
    }

    /// The variables that the cell makes, each name once, with whether the last one is mutable.
    pub(super) fn made(&self) -> Vec<(&str, bool)> {
        let mut made: Vec<(&str, bool)> = Vec::new();
        for binding in self.split.statements.iter().flat_map(|statement| &statement.binds) {
            made.retain(|(name, _)| *name != binding.name);
            made.push((&binding.name, binding.mutable));
        }
        made
    }

    /// Writes the source.
    pub(super) fn generate(&self) -> Generated {
        let taken = self.taken();
        let made: Vec<&str> = self
            .made()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !self.dropped.contains(&Kept::made(name)))
            .collect();
        let mut source = Source::default();
        for definition in self.definitions() {
            source.cell(&definition.text, definition.at);
        }
        source.ours(&format!("#[unsafe(no_mangle)] pub fn {ENTRY}(__store: &mut ::chandlery::cell::Store) {{"));
        for (name, known) in &taken {
            source.ours(&match known.witness() {
                None => format!("let __key_{name} = __store.key::<{}>(\"{name}\");", known.annotation()),
                Some(statements) => format!(
                    "let __key_{name} = __store.key_like(\"{name}\", || -> ::core::result::Result<_, {ERROR}> {{\n\
                     {statements}\n; Ok({name}) }});"
                ),
            });
        }
        if !taken.is_empty() {
            source.ours("if __store.refused() { return; }");
        }
        for (name, known) in &taken {
            let mutable = if known.mutable { "mut " } else { "" };
            source.ours(&format!("let {mutable}{name} = __store.take(__key_{name});"));
        }
        for name in &made {
            source.ours(&format!("let mut __new_{name} = None;"));
        }
        source.ours(&format!("__store.body(|| -> ::core::result::Result<(), {ERROR}> {{"));
        self.body(&mut source);
        for name in &made {
            source.keeps(Kept::made(name), &format!("__new_{name} = Some({name});"));
        }
        source.ours("Ok(())\n});");
        for (name, _) in taken.iter().filter(|(name, _)| !self.dropped.contains(&Kept::taken(name))) {
            source.keeps(Kept::taken(name), &format!("__store.put(\"{name}\", {name});"));
        }
        for name in &made {
            source.keeps(Kept::made(name), &format!("__store.keep(\"{name}\", __new_{name});"));
        }
        source.ours("}");
        let (text, lines) = source.finish();
        Generated { text, lines }
    }

    /// The names in the cell's statements and in the types of the variables it takes.
    pub(super) fn mentions(&self) -> BTreeSet<String> {
        let statements = self.split.statements.iter().flat_map(|statement| &statement.mentions);
        let taken = self.taken();
        let types = taken.iter().flat_map(|(_, known)| known.mentions());
        statements.chain(types).cloned().collect()
    }

    fn definitions(&self) -> Vec<&Definition> {
        let mut mentions = self.mentions();
        // The cell's own definitions are checked even if nothing uses them yet.
        for own in &self.split.definitions {
            mentions.extend(own.name().map(str::to_owned));
            mentions.extend(own.mentions().iter().cloned());
        }
        let mut needed = self.items.needed(&mentions);
        let missing = self.split.definitions.iter().filter(|own| !needed.iter().any(|item| item.at == own.at));
        let missing: Vec<&Definition> = missing.collect();
        needed.extend(missing);
        needed
    }

    /// The statements, where they stand in the cell, with definitions blanked out.
    fn body(&self, source: &mut Source) {
        let mut text = self.code.to_owned();
        for definition in &self.split.definitions {
            let blank: String =
                self.code[definition.range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            // Blanks may take fewer bytes than the text they replace; they follow it to keep later offsets.
            let padding = " ".repeat(definition.range.len() - blank.len());
            text.replace_range(definition.range.clone(), &(blank + &padding));
        }
        let Some(tail) = &self.split.tail else {
            source.cell(&text, (self.cell, 1, 0));
            return;
        };
        let before = &text[..tail.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        source.cell(before, (self.cell, 1, 0));
        source.ours("match &(");
        source.cell(&text[tail.clone()], (self.cell, line, column));
        // Looking for the method costs the compiler time, so only what may have it is asked.
        let unless = if self.definitions().iter().any(|item| item.mentions().contains("evcxr_display")) {
            "if (&&&Own(__shown)).is_there() || is_missing(&__shown.evcxr_display())"
        } else {
            ""
        };
        source.ours(&format!(
            ") {{ __shown => {{ use ::chandlery::cell::show::*; {unless} {{ (&&&&&Shown(__shown)).show(); }} }} }}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;

    fn generate(code: &str, variables: &Variables) -> Generated {
        let split = split(code, 2).unwrap();
        let items = Items::default().with(&split.definitions);
        let dropped = BTreeSet::new();
        Unit { code, cell: 2, split: &split, items: &items, variables, dropped: &dropped }.generate()
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
        assert!(generated.text.contains("__new_a = Some(a);"));
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
