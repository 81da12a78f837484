//! The user's statements, with what goes between them.

use super::codegen::{Purpose, Unit};
use super::source::Source;

impl Unit<'_> {
    /// What shows the cell's value, behind it.
    fn show(&self) -> String {
        // Looking for the method costs the compiler time, so only what may have it is asked.
        let unless = if self.definitions().iter().any(|item| item.mentions().contains("evcxr_display")) {
            "if (&&&Own(__shown)).is_there() || is_missing(&__shown.evcxr_display())"
        } else {
            ""
        };
        format!(") {{ __shown => {{ use ::chandlery::cell::show::*; {unless} {{ (&&&&&Shown(__shown)).show(); }} }} }}")
    }

    /// The statements, where they stand in the cell, with definitions blanked out.
    pub(super) fn body(&self, source: &mut Source) {
        let mut text = self.code.to_owned();
        for definition in &self.split.definitions {
            let blank: String =
                self.code[definition.range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            // Blanks may take fewer bytes than the text they replace; they follow it to keep later offsets.
            let padding = " ".repeat(definition.range.len() - blank.len());
            text.replace_range(definition.range.clone(), &(blank + &padding));
        }
        // What goes between the user's words, by offset.
        let mut insertions: Vec<(usize, &str)> =
            self.split.statements.iter().flat_map(|statement| statement.insertions.iter().copied()).collect();
        let show = self.show();
        if let (Some(tail), false) = (&self.split.tail, self.purpose == Purpose::Type) {
            insertions.push((tail.start, "match &("));
            insertions.push((tail.end, &show));
        }
        insertions.sort_by_key(|(at, _)| *at);
        insertions.extend(self.split.main.map(|call| (text.len(), call)));
        let mut from = 0;
        for (at, ours) in insertions.into_iter().chain([(text.len(), "")]) {
            if from < at {
                let before = &text[..from];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or("").chars().count();
                source.cell(&text[from..at], (self.cell, line, column));
            }
            if !ours.is_empty() {
                source.ours(ours);
            }
            from = at;
        }
    }
}
