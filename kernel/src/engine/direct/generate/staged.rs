//! Cells that run statement by statement: the effects of the statements before one that fails are kept.
//!
//! Each statement runs in a closure that catches its panic and its `?`; the variables live outside of the closures. Not
//! every cell compiles like this, such as one that borrows from a temporary of its own statement. It runs in one piece.

use std::collections::BTreeSet;

use super::body::{InsertSide, Ours};
use super::codegen::{CellUnit, ERROR, Loss, RESULT};
use super::source::{Source, StoredVariable};
use crate::engine::direct::read::names::written;
use crate::engine::direct::read::split::{Role, Statement};
use crate::engine::direct::session::known::Known;
use crate::worker::ENTRY;

const PASSED: &str = "::chandlery::cell::Passed";
const SOME: &str = "::core::option::Option::Some";

impl CellUnit<'_> {
    /// Returns whether the cell can run statement by statement, and whether that makes a difference.
    pub(crate) fn can_stage(&self) -> bool {
        let statements = &self.split.statements;
        // A variable that is assigned later, or that a macro makes, does not have a value in its `let`.
        let bare = |statement: &Statement| match statement.role {
            Role::Let { .. } | Role::Place => false,
            Role::Open => true,
            Role::Work => !statement.binds.is_empty(),
        };
        // Nothing after the last statement can fail.
        let makes = statements.iter().rev().skip(1).any(|statement| !statement.binds.is_empty());
        makes && !statements.iter().any(bare) && self.reassigned().is_empty()
    }

    /// Writes the statements, each in its own closure.
    pub(crate) fn stages(&self, taken: &[(&str, &Known)], source: &mut Source) {
        let statements = &self.split.statements;
        let mut additions = self.edits();
        self.located(&mut additions);
        let last = statements.len().saturating_sub(1);
        let settled = self.place().is_some();
        if settled {
            for (name, _) in self.split.made() {
                source.ours(&format!("let __kind_{name} = ::chandlery::cell::Like::open();"));
                source.ours(&format!("__store.makes(&__kind_{name}, \"{ENTRY}\");"));
            }
            source.ours("if __store.refused() { return; }");
        }
        self.take(taken, source);
        let mut made: Vec<&str> = Vec::new();
        for (index, statement) in statements.iter().enumerate() {
            let fails = |has_value: bool| {
                // An uninitialized variable would be dropped too late: its type may borrow from a variable that is stored.
                let mut lines = vec![Ours::plain(if has_value {
                    " => { let _ = ::core::mem::ManuallyDrop::new(__none);"
                } else {
                    " => {"
                })];
                lines.extend(self.saves(taken, &made, Some(index)));
                lines.push(Ours::plain("return; } }"));
                lines
            };
            let (before, after) = closure(statement.awaits);
            let range = &statement.range;
            match &statement.role {
                Role::Let { value, kind, diverges } => {
                    let kind = kind.as_deref().unwrap_or("_");
                    // A brace must not come before an `else`.
                    let (open, close) = if diverges.is_some() { ("(", ")") } else { ("", "") };
                    let opens = format!("{open}match {}", before(kind));
                    additions.add(index, value.start, InsertSide::Opens, vec![Ours::plain(opens)]);
                    let mut closes = vec![Ours::plain(format!("){after} {{ {SOME}(__value) => __value, __none"))];
                    closes.extend(fails(true));
                    closes.push(Ours::plain(close));
                    additions.add(index, value.end, InsertSide::Closes, closes);
                    if let Some(block) = diverges {
                        let opens = format!("match {}{{ ", before("()"));
                        additions.add(index, block.start, InsertSide::Opens, vec![Ours::plain(opens)]);
                        let mut closes = vec![Ours::plain(format!(";\n}}){after} {{ _"))];
                        closes.extend(fails(false));
                        additions.add(index, block.end, InsertSide::Closes, closes);
                    }
                }
                Role::Place => {}
                Role::Work | Role::Open => {
                    let opens = if index == last { "let _ = " } else { "match " };
                    let opens = format!("{opens}{}{{ ", before("()"));
                    additions.add(index, range.start, InsertSide::Opens, vec![Ours::plain(opens)]);
                    let mut closes = vec![Ours::plain(format!(";\n}}){after}"))];
                    if index == last {
                        closes.push(Ours::plain(";"));
                    } else {
                        closes.push(Ours::plain(format!("{{ {SOME}(()) => {{}} _")));
                        closes.extend(fails(false));
                    }
                    additions.add(index, range.end, InsertSide::Closes, closes);
                }
            }
            for binding in &statement.binds {
                made.retain(|name| *name != binding.name);
                made.push(&binding.name);
                let is_last =
                    !statements[index + 1..].iter().any(|later| later.binds.iter().any(|b| b.name == binding.name));
                if settled && is_last {
                    let text = format!("__kind_{}.settle(&{});", binding.name, written(&binding.name));
                    additions.add(index, range.end, InsertSide::Follows, vec![Ours::plain(text)]);
                }
            }
        }
        additions.add(statements.len(), self.code.len(), InsertSide::Follows, self.saves(taken, &made, None));
        self.body(additions, source);
    }

    /// Stores all variables, as they are when a statement failed or at the end of the cell.
    fn saves(&self, taken: &[(&str, &Known)], made: &[&str], failed: Option<usize>) -> Vec<Ours> {
        let mut lines = Vec::new();
        // Variables that hold a borrow until they are dropped come first.
        for name in made.iter().rev() {
            if self.dropped.get(&StoredVariable::made(name).when(failed)) == Some(&Loss::Guards) {
                lines.push(Ours::plain(format!("::core::mem::drop({});", written(name))));
            }
        }
        for name in made {
            let kept = StoredVariable::made(name).when(failed);
            lines.push(match self.dropped.contains_key(&kept) {
                true => Ours::plain(format!("__store.shadow(\"{name}\");")),
                false => {
                    let lines = self.completes(&kept) + &self.stores(&kept, "keep", &written(name));
                    Ours::Keeps(kept, lines)
                }
            });
        }
        let shadowed: BTreeSet<&str> = made.iter().copied().collect();
        for (name, _) in taken.iter().filter(|(name, _)| !shadowed.contains(name)) {
            let kept = StoredVariable::taken(name).when(failed);
            if !self.dropped.contains_key(&kept) {
                let text = self.completes(&kept) + &self.stores(&kept, "put", &written(name));
                lines.push(Ours::Keeps(kept, text));
            }
        }
        lines
    }
}

/// Returns the text before and after a value of a type in a stage.
fn closure(awaits: bool) -> (impl Fn(&str) -> String, &'static str) {
    let before = move |kind: &str| match awaits {
        false => format!("__store.stage(|| -> {RESULT}<{PASSED}<{kind}>, {ERROR}> {{ {RESULT}::Ok({PASSED}("),
        true => format!(
            "__store.stage(|| ::chandlery::cell::wait(async {{ {RESULT}::<{PASSED}<{kind}>, {ERROR}>::Ok({PASSED}("
        ),
    };
    (before, if awaits { ") }))" } else { ") })" })
}
