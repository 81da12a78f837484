//! The user's statements, with the generated lines between them.

use super::codegen::{CellUnit, Purpose};
use super::content::announce;
use super::source::{Source, StoredVariable};
use crate::engine::direct::read::edits::place_of;

/// A generated line between the user's lines.
#[derive(Clone, Debug)]
pub(crate) enum Ours {
    /// A line that only calls the user's text.
    Plain(String),
    /// A line that moves a variable into the store.
    Keeps(StoredVariable, String),
}

impl Ours {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    fn write(&self, source: &mut Source) {
        match self {
            Self::Plain(text) => source.ours(text),
            Self::Keeps(kept, text) => source.keeps(kept.clone(), text),
        }
    }
}

/// The order of insertions at the same offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InsertSide {
    /// Opens something that follows.
    Opens,
    /// Opens the value that is shown, inside of the former.
    OpensValue,
    Edits,
    ClosesValue,
    /// Closes something before it.
    Closes,
    /// Follows the statement.
    Follows,
}

/// The insertions into a cell's statements: by statement, by offset in the cell.
#[derive(Default)]
pub(crate) struct Additions(Vec<(usize, usize, InsertSide, Vec<Ours>)>);

impl Additions {
    pub(crate) fn add(&mut self, statement: usize, at: usize, side: InsertSide, lines: Vec<Ours>) {
        self.0.push((statement, at, side, lines));
    }
}

impl CellUnit<'_> {
    /// The code after the cell's value that shows it.
    fn show(&self) -> String {
        // Looking for the method takes the compiler time, so it is only called on values that may have it.
        let unless = if self.definitions().iter().any(|item| item.mentions().contains("evcxr_display")) {
            format!("if (&&&Own(__shown)).is_there() || {{ {}; is_missing(&__shown.evcxr_display()) }}", announce())
        } else {
            String::new()
        };
        format!(") {{ __shown => {{ use ::chandlery::cell::show::*; {unless} {{ (&&&&&Shown(__shown)).show(); }} }} }}")
    }

    /// The edits that every cell has.
    pub(crate) fn edits(&self) -> Additions {
        let mut additions = Additions::default();
        for (index, statement) in self.split.statements.iter().enumerate() {
            for edit in statement.edits.iter().filter(|edit| self.has_ticks() || !edit.is_tick) {
                additions.add(index, edit.at, InsertSide::Edits, vec![Ours::plain(edit.text.as_str())]);
            }
            if self.split.tail.as_ref() == Some(&statement.range) && self.purpose != Purpose::Type {
                additions.add(index, statement.range.start, InsertSide::OpensValue, vec![Ours::plain("match &(")]);
                additions.add(index, statement.range.end, InsertSide::ClosesValue, vec![Ours::plain(self.show())]);
            }
        }
        additions
    }

    /// Writes the statements at their positions in the cell, with definitions blanked out.
    pub(crate) fn body(&self, mut additions: Additions, source: &mut Source) {
        let mut text = self.code.to_owned();
        for definition in &self.split.definitions {
            let blank: String =
                self.code[definition.range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            // Blanks may take fewer bytes than the text they replace; more follow to keep later offsets.
            let padding = " ".repeat(definition.range.len() - blank.len());
            text.replace_range(definition.range.clone(), &(blank + &padding));
        }
        additions.0.sort_by_key(|(statement, at, side, _)| (*statement, *at, *side));
        let place = (self.cell, 1, 0);
        let mut from = 0;
        for (_, at, _, lines) in additions.0 {
            if from < at {
                source.cell(&text[from..at], place_of(&text, place, from));
            }
            lines.iter().for_each(|line| line.write(source));
            from = at;
        }
        if from < text.len() {
            source.cell(&text[from..], place_of(&text, place, from));
        }
    }
}
