//! The source for a cell that is type-checked and not run: its code is unreachable, and the code that
//! runs reports types.

use super::codegen::{CellUnit, ERROR, RESULT};
use super::fields::forgets;
use super::source::{Source, StoredVariable};
use crate::engine::direct::read::names::written;
use crate::engine::direct::session::known::{Known, TypeSource};

const STORE: &str = "let __store: &mut ::chandlery::cell::Store = ::chandlery::cell::any();";

impl CellUnit<'_> {
    /// Writes the cell's code in a closure that is never called. The types of the variables it would store are its return type.
    pub(crate) fn check(&self, taken: &[(&str, &Known)], source: &mut Source) {
        let made = self.made();
        source.ours(&format!("let __like = ::chandlery::cell::like(|| -> {RESULT}<_, {ERROR}> {{\n{STORE}"));
        stand_ins(self, taken, source);
        self.work(taken, source);
        for name in &made {
            source.keeps(
                StoredVariable::made(name),
                &format!("let __new_{name} = ::chandlery::cell::stored(__new_{name});"),
            );
        }
        let types = made.iter().rev().fold("()".to_owned(), |rest, name| format!("(__new_{name}, {rest})"));
        source.ours(&format!("Ok({types})\n}});"));
        // The variables that it moves come first: a cell like `let x = f(x);` makes one of the same name.
        for (name, _) in taken.iter().filter(|(name, _)| self.dropped.contains_key(&StoredVariable::taken(name))) {
            source.ours(&format!("__store.remove(\"{name}\");"));
        }
        for name in &made {
            source.ours(&format!(
                "let (__type, __like) = __like.split(); __store.declare(\"{name}\", __type.type_name(), None);"
            ));
        }
    }

    /// Writes the cell's value in a branch that is never taken. Not in a closure, which could not return a borrow from
    /// its own variables.
    pub(crate) fn ask(&self, taken: &[(&str, &Known)], source: &mut Source) {
        source.ours("let __like = ::chandlery::cell::Like::open();\nif __store.refused() {");
        stand_ins(self, taken, source);
        let (before, after) = match self.split.awaits {
            false => ("__like.settle(&(".to_owned(), "));"),
            true => (format!("__like.settle_later(|| async {{ {RESULT}::<_, {ERROR}>::Ok("), ") });"),
        };
        source.ours(&before);
        self.body(self.edits(), source);
        source.ours(after);
        source.ours("return Ok(());\n}\n::chandlery::cell::show::name(__like.type_name());\nOk(())");
    }
}

/// Writes the variables, without values.
fn stand_ins(unit: &CellUnit<'_>, taken: &[(&str, &Known)], source: &mut Source) {
    for (name, known) in taken {
        let mutable = if known.mutable || unit.loses_fields(name, false) { "mut " } else { "" };
        let text = written(name);
        source.ours(&match &known.how {
            TypeSource::Named(annotation) if unit.choice.retyped.contains_key(*name) => {
                let kind = &unit.choice.retyped[*name];
                format!("let {mutable}{text}: {kind} = ::chandlery::cell::any::<{annotation}>() as {kind};")
            }
            TypeSource::Named(annotation) => format!("let {mutable}{text}: {annotation} = ::chandlery::cell::any();"),
            TypeSource::Witness { .. } => format!("let {mutable}{text} = __like_{name}.any();"),
            TypeSource::CellLocal(made) => format!("let {mutable}{text} = {}.any();", made.like(name)),
        });
        source.ours(&forgets(&text, &known.moved));
    }
}
