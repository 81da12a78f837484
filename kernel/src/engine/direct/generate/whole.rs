//! Cells that run in one piece: one closure around all statements.

use std::collections::BTreeMap;

use super::body::{Additions, InsertSide, Ours};
use super::codegen::{CellUnit, ERROR, Loss, RESULT};
use super::source::{Source, StoredVariable};
use crate::engine::direct::read::names::written;
use crate::engine::direct::session::known::{Known, TypeSource};

const SOME: &str = "::core::option::Option::Some";
const NONE: &str = "::core::option::Option::None";

impl CellUnit<'_> {
    /// Returns the variables that it stores.
    pub(crate) fn made(&self) -> Vec<&str> {
        let made = self.split.made().into_iter().map(|(name, _)| name);
        made.filter(|name| !self.dropped.contains_key(&StoredVariable::made(name))).collect()
    }

    /// Writes the user's statements between the variables that are taken and those that are stored.
    pub(crate) fn work(&self, taken: &[(&str, &Known)], source: &mut Source) {
        let reassigned = self.reassigned();
        let mut made = self.made();
        for (name, _) in &reassigned {
            if !made.contains(name) && !self.dropped.contains_key(&StoredVariable::made(name)) {
                made.push(name);
            }
        }
        for name in &made {
            source.ours(&format!("let mut __new_{name} = {NONE};"));
        }
        let marks = self.marks();
        if !marks.is_empty() {
            source.ours("let __at = ::core::cell::Cell::new(0_usize);");
        }
        let awaits = self.split.awaits || self.split.main.is_some_and(|call| call.waits);
        source.ours(&match awaits {
            false => format!("let __done = __store.body(|| -> {RESULT}<(), {ERROR}> {{"),
            true => "let __done = __store.body(|| ::chandlery::cell::wait(async {".to_owned(),
        });
        for (name, known) in &reassigned {
            source.ours(&uninitialized(name, known));
        }
        let mut additions = self.edits();
        self.located(&mut additions);
        for (name, statement) in &marks {
            let mark = format!("__at.set({}); // {name}", statement + 1);
            let end = self.split.statements[*statement].range.end;
            additions.add(*statement, end, InsertSide::Follows, vec![Ours::plain(mark)]);
        }
        if let Some(call) = self.split.main {
            additions.add(usize::MAX, self.code.len(), InsertSide::Follows, vec![Ours::plain(call.text())]);
        }
        self.body(additions, source);
        // What holds a borrow until it is dropped goes first.
        for (name, _) in self.split.made().into_iter().rev() {
            if self.dropped.get(&StoredVariable::made(name)) == Some(&Loss::Guards) {
                source.ours(&format!("::core::mem::drop({});", written(name)));
            }
        }
        for name in &made {
            let kept = StoredVariable::made(name);
            let lines = format!("{}__new_{name} = {SOME}({});", self.completes(&kept), written(name));
            source.keeps(kept, &lines);
        }
        source.ours(&match awaits {
            false => format!("{RESULT}::Ok(())\n}});"),
            true => format!("{RESULT}::<(), {ERROR}>::Ok(())\n}}));"),
        });
        for (name, _) in taken.iter().filter(|(name, _)| !self.dropped.contains_key(&StoredVariable::taken(name))) {
            let kept = StoredVariable::taken(name);
            let lines = self.completes(&kept) + &self.stores(&kept, "put", &written(name));
            source.keeps(kept, &lines);
        }
        for (name, statement) in &marks {
            // The name means something else now, which is not stored.
            let unless = if made.contains(name) { "!__done && " } else { "" };
            source.ours(&format!("if {unless}__at.get() > {statement} {{ __store.shadow(\"{name}\"); }}"));
        }
        source.ours("let _ = __done;");
    }

    /// Stores the variables that the cell made.
    pub(crate) fn keep(&self, source: &mut Source) {
        let mut made = self.made();
        made.extend(self.reassigned().into_iter().map(|(name, _)| name));
        made.sort_unstable();
        made.dedup();
        for name in made.into_iter().filter(|name| !self.dropped.contains_key(&StoredVariable::made(name))) {
            let kept = StoredVariable::made(name);
            let lines = match self.fields.contains_key(&kept) {
                false => format!("__store.keep_made(\"{name}\", __new_{name});"),
                true => format!("if let {SOME}(__new) = __new_{name} {{ {} }}", self.stores(&kept, "keep", "__new")),
            };
            source.keeps(kept, &lines);
        }
    }

    /// Remembers the addresses of variables from which fields are moved later.
    pub(crate) fn located(&self, additions: &mut Additions) {
        for (index, statement) in self.split.statements.iter().enumerate() {
            for binding in statement.binds.iter().filter(|binding| self.loses_fields(&binding.name, true)) {
                if !binding.mutable {
                    additions.add(index, binding.at, InsertSide::Edits, vec![Ours::plain("mut ")]);
                }
                let line = self.locates(&binding.name);
                additions.add(index, statement.range.end, InsertSide::Follows, vec![Ours::plain(line)]);
            }
        }
    }

    /// Returns the statements that give names of stored variables another meaning, by name.
    fn marks(&self) -> BTreeMap<&str, usize> {
        let mut marks = BTreeMap::new();
        for (index, statement) in self.split.statements.iter().enumerate() {
            for binding in statement.binds.iter().filter(|binding| self.variables.has(&binding.name)) {
                marks.entry(binding.name.as_str()).or_insert(index);
            }
        }
        marks
    }
}

/// Declares a variable without a value.
fn uninitialized(name: &str, known: &Known) -> String {
    let name_text = written(name);
    match &known.how {
        TypeSource::Named(annotation) => format!("let mut {name_text}: {annotation};"),
        TypeSource::Witness { .. } => format!("let mut {name_text}; if false {{ {name_text} = __like_{name}.any(); }}"),
        TypeSource::CellLocal(made) => {
            format!("let mut {name_text}; if false {{ {name_text} = {}.any(); }}", made.like(name))
        }
    }
}
