//! What the compiler's messages say, with cell and line instead of generated source.

use std::collections::BTreeSet;
use std::ops::Range;

use super::message::{Diagnostic, Note, Span};
use super::outcome::CompileReport;
use super::rendered::{Rendering, plain};
use crate::engine::direct::generate::fields::field_of;
use crate::engine::direct::generate::source::{Lines, Origin, StoredVariable};

/// Cell, line and column, counted from 1.
pub(crate) type CellPosition = (u32, usize, usize);

/// Errors and warnings of one compile.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// Output of the compiler that is not a message, such as when it crashes.
    other: String,
}

/// Errors about moves and borrows, which generated lines can cause when they store variables.
const OWNERSHIP: &[&str] = &[
    "E0310", "E0373", "E0381", "E0382", "E0499", "E0502", "E0503", "E0505", "E0506", "E0507", "E0521", "E0597",
    "E0621", "E0700", "E0712", "E0713", "E0716",
];

/// Errors about two definitions that cannot both stand.
const CONFLICTS: &[&str] = &["E0119", "E0201", "E0252", "E0254", "E0255", "E0260", "E0428", "E0592"];

/// Errors about names that are not defined in scope.
const NAMES: &[&str] = &[
    "E0404", "E0405", "E0408", "E0411", "E0412", "E0422", "E0423", "E0424", "E0425", "E0432", "E0433", "E0531",
    "E0532", "E0573", "E0574", "E0575", "E0576",
];

/// Lints about the use or name of a variable that do not matter for the variables of a notebook.
const UNUSED: &[&str] = &["unused_variables", "unused_mut", "unused_assignments", "non_snake_case"];

impl Diagnostics {
    pub(crate) fn parse(output: &str) -> Self {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let mut other = String::new();
        for line in output.lines() {
            match serde_json::from_str::<Diagnostic>(line) {
                Ok(message)
                    if message.level.starts_with("error") && !message.message.starts_with("aborting due to") =>
                {
                    errors.push(message);
                }
                Ok(message) if message.level == "warning" => warnings.push(message),
                Ok(_) => {}
                Err(_) => {
                    other.push_str(line);
                    other.push('\n');
                }
            }
        }
        Self { errors, warnings, other }
    }

    /// Returns the variables that cannot be stored according to an error, and whether that is because they were moved
    /// (otherwise they borrow). Other errors are handled once these are solved.
    pub(crate) fn not_storable(&self, lines: &Lines, also_borrowed: bool) -> Option<Vec<(StoredVariable, bool)>> {
        let mut names = Vec::new();
        // Variables that something else borrows; that is left out first.
        let mut borrowed = Vec::new();
        let mut seen = BTreeSet::new();
        for error in &self.errors {
            let code = error.code.as_ref().map_or("", |code| code.code.as_str());
            if !OWNERSHIP.contains(&code) {
                continue;
            }
            let kept = |primary: bool| {
                let own = error.spans.iter().filter(move |span| span.is_primary == primary);
                let notes = error.children.iter().flat_map(|note| &note.spans).filter(move |_| !primary);
                own.chain(notes).filter_map(|span| match lines.origin(span.line_start) {
                    Origin::Variable(kept) => Some(kept.clone()),
                    _ => None,
                })
            };
            let moved = code == "E0382" || code == "E0381";
            // A move is reported at the generated line; a borrow where it is made, with the generated line as a secondary span.
            let found: Vec<StoredVariable> = if moved { kept(true).collect() } else { kept(false).collect() };
            // A variable that is moved while borrowed can be stored once the borrow is left out.
            let direct = !found.is_empty() || code != "E0505";
            let found = if found.is_empty() { kept(true).chain(kept(false)).collect() } else { found };
            let found = found.into_iter().filter(|name| seen.insert(name.clone())).map(|name| (name, moved));
            if direct { names.extend(found) } else { borrowed.extend(found) }
        }
        if names.is_empty() && also_borrowed {
            names = borrowed;
        }
        (!names.is_empty()).then_some(names)
    }

    /// Returns the fields that were moved out of variables that could be stored otherwise. Empty if anything other than
    /// moves is wrong.
    pub(crate) fn moved_fields(&self, lines: &Lines) -> Vec<(StoredVariable, String)> {
        let code = |error: &Diagnostic| error.code.as_ref().map_or("", |code| code.code.as_str()).to_owned();
        if !self.errors.iter().all(|error| code(error) == "E0382") {
            return Vec::new();
        }
        let moved = |error: &Diagnostic| {
            let at = error.spans.iter().find(|span| span.is_primary)?;
            let Origin::Variable(kept) = lines.origin(at.line_start) else { return None };
            let labels = error.spans.iter().filter_map(|span| span.label.as_deref());
            let notes = error.children.iter().map(|note| note.message.as_str());
            let (variable, field) = labels.chain(notes).find_map(field_of)?;
            (variable == kept.name).then(|| (kept.clone(), field.to_owned()))
        };
        self.errors.iter().filter_map(moved).collect()
    }

    /// Returns where the cell uses a value as another type than it has, with the labels of the compiler.
    pub(crate) fn mismatches(&self, at: &Rendering<'_>) -> Vec<((usize, usize), Vec<&str>)> {
        let code =
            |error: &&Diagnostic| error.code.as_ref().is_some_and(|code| ["E0277", "E0308"].contains(&&*code.code));
        let said = |error: &'_ Diagnostic| {
            let (cell, line, column) = error.place(at)?;
            (cell == at.cell).then_some((line, column))
        };
        let errors = self.errors.iter().filter(code);
        let places = errors.filter_map(|error| {
            let labels = error.spans.iter().filter_map(|span| span.label.as_deref());
            Some((said(error)?, labels.chain([error.message.as_str()]).collect()))
        });
        places.collect()
    }

    /// Returns the positions of errors in definitions of earlier cells, with the error's message, or `None` for a definition that only
    /// conflicts with one of the cell's own.
    pub(crate) fn in_earlier_cells(&self, at: &Rendering<'_>) -> Vec<(CellPosition, Option<&str>)> {
        let mut places = Vec::new();
        for error in &self.errors {
            let Some(place) = error.place(at) else { continue };
            let code = error.code.as_ref().map_or("", |code| code.code.as_str());
            if CONFLICTS.contains(&code) {
                // Either of the two may come first in the source.
                let both = error.spans.iter().map(Span::outermost).filter(|span| span.file_name == at.file);
                let both = both.filter_map(|span| {
                    at.lines.cell(span.line_start).map(|(cell, line)| (cell, line, span.column_start))
                });
                places.extend(both.filter(|(cell, ..)| *cell != at.cell).map(|place| (place, None)));
            } else if place.0 != at.cell {
                places.push((place, Some(error.message.as_str())));
            }
        }
        places
    }

    /// Returns whether every error is about a name that is not found.
    pub(crate) fn lacks_names(&self) -> bool {
        self.errors.iter().all(|error| error.code.as_ref().is_some_and(|code| NAMES.contains(&code.code.as_str())))
    }

    /// Returns the names that two glob imports bring. For some, the compiler only warns and takes the first.
    pub(crate) fn ambiguous(&self) -> BTreeSet<String> {
        let is = |message: &&Diagnostic, code: &str| message.code.as_ref().is_some_and(|own| own.code == code);
        let errors = self.errors.iter().filter(|error| is(error, "E0659") || is(error, "ambiguous_glob_imports"));
        let warnings = self.warnings.iter().filter(|warning| is(warning, "ambiguous_glob_imports"));
        errors.chain(warnings).filter_map(|message| message.message.split('`').nth(1)).map(str::to_owned).collect()
    }

    /// Returns the positions in the cell of values that are borrowed for longer than they live; line and column from 1.
    pub(crate) fn borrowed_too_long(&self, at: &Rendering<'_>) -> Vec<(usize, usize)> {
        let errors = self.errors.iter().filter(|error| error.code.as_ref().is_some_and(|code| code.code == "E0597"));
        let own = errors.filter_map(|error| error.place(at)).filter(|(cell, ..)| *cell == at.cell);
        own.map(|(_, line, column)| (line, column)).collect()
    }

    /// Returns whether the cell's value has the type `!`, such as a block that ends in a panic, and cannot be shown.
    pub(crate) fn has_never_value(&self) -> bool {
        self.errors.iter().any(|error| error.message.contains("the trait bound `!: "))
    }

    /// Returns the variables whose drop at the end of their scope keeps others borrowed.
    pub(crate) fn guards(&self) -> BTreeSet<String> {
        let errors = self.errors.iter().filter(|error| error.code.as_ref().is_some_and(|code| code.code == "E0505"));
        let labels = errors.flat_map(|error| &error.spans).filter_map(|span| span.label.as_deref());
        let dropped = labels.filter(|label| label.starts_with("borrow might be used here, when `"));
        dropped.filter_map(|label| label.split('`').nth(1)).map(str::to_owned).collect()
    }

    /// Returns all positions of errors in the cell itself; line and column from 1.
    pub(crate) fn own_places(&self, at: &Rendering<'_>) -> Vec<(usize, usize)> {
        let spans = self.errors.iter().flat_map(|error| &error.spans).map(Span::outermost);
        let own = spans.filter(|span| span.file_name == at.file).filter_map(|span| {
            let (cell, line) = at.lines.cell(span.line_start)?;
            (cell == at.cell).then_some((line, span.column_start))
        });
        own.collect()
    }

    /// Returns whether there is an error in the cell itself.
    pub(crate) fn is_own(&self, at: &Rendering<'_>) -> bool {
        self.errors.iter().filter_map(|error| error.place(at)).any(|(cell, ..)| cell == at.cell)
    }

    /// Returns errors in the statements that are repeated to infer types, with the variables of those types.
    pub(crate) fn in_witnesses<'a>(&'a self, lines: &'a Lines) -> impl Iterator<Item = (Vec<String>, &'a str)> {
        self.errors.iter().filter_map(|error| {
            let mut primary = error.spans.iter().filter(|span| span.is_primary);
            let names = primary.find_map(|span| match lines.origin(span.outermost().line_start) {
                Origin::Witness(names) => Some(names.clone()),
                _ => None,
            })?;
            Some((names, error.message.as_str()))
        })
    }

    /// Returns the position of each `?` of the cell whose error does not implement `Display`: line and column, or `None` if
    /// the `?` is generated.
    pub(crate) fn undisplayed(&self, at: &Rendering<'_>) -> Vec<Option<(usize, usize)>> {
        let undisplayed = self.errors.iter().filter(|error| {
            let ours = |note: &Note| note.message.contains("`CellError`");
            error.message.starts_with("`?` couldn't convert the error")
                && error.message.contains("fmt::Display` is not satisfied")
                && error.children.iter().any(ours)
        });
        let places = undisplayed.map(|error| error.place(at));
        places
            .filter(|place| place.is_none_or(|(cell, ..)| cell == at.cell))
            .map(|place| place.map(|(_, line, column)| (line, column)))
            .collect()
    }

    /// Returns whether an error is about showing an error with `Debug`, which the user's error does not implement.
    pub(crate) fn lacks_debug(&self) -> bool {
        let rendered = self.errors.iter().filter_map(|error| error.rendered.as_deref());
        rendered.map(plain).any(|text| text.contains("cell::ByDebug<") || text.contains("bound in `by_debug`"))
    }

    /// Returns the names in errors that an earlier cell would have defined, and whether there are no other errors.
    pub(crate) fn unknown<'a>(&'a self, lines: &'a Lines) -> (BTreeSet<&'a str>, bool) {
        let mut names = BTreeSet::new();
        let mut only = true;
        for error in &self.errors {
            let name = error.spans.iter().filter(|span| span.is_primary).find_map(|span| {
                match lines.origin(span.outermost().line_start) {
                    Origin::Unknown(name) => Some(name.as_str()),
                    _ => None,
                }
            });
            only &= name.is_some();
            names.extend(name);
        }
        (names, only)
    }

    /// Returns whether all errors are syntax errors, which have no code, and at least one is in the user's text.
    pub(crate) fn is_syntax(&self, at: &Rendering<'_>) -> bool {
        self.errors.iter().all(|error| error.code.is_none())
            && self.errors.iter().any(|error| error.place(at).is_some())
    }

    /// Returns the names that were not found.
    pub(crate) fn unknown_names(&self) -> impl Iterator<Item = &str> {
        let unknown = self
            .errors
            .iter()
            .filter(|e| e.code.as_ref().is_some_and(|code| matches!(code.code.as_str(), "E0425" | "E0423")));
        unknown.filter_map(|error| error.message.split('`').nth(1))
    }

    /// Returns the errors as they are shown to the user.
    pub(crate) fn report(&self, at: &Rendering<'_>) -> CompileReport {
        // Errors at generated lines follow from those at the user's lines.
        let users = |error: &&Diagnostic| error.place(at).is_some();
        let mut errors: Vec<&Diagnostic> = self.errors.iter().filter(users).collect();
        if errors.is_empty() {
            errors = self.errors.iter().collect();
        }
        let Some(first) = errors.first() else {
            let text = self.other.trim();
            let value = if text.is_empty() { "the compiler ended without a message" } else { text };
            let traceback = value.lines().map(str::to_owned).collect();
            return CompileReport { code: None, value: value.to_owned(), traceback };
        };
        let code = first.code.as_ref().map(|code| code.code.clone());
        let place = first.place(at).map(|(cell, line, column)| format!(" (cell {cell}:{line}:{column})"));
        let value = format!("{}{}", first.message, place.unwrap_or_default());
        let mut seen = BTreeSet::new();
        let rendered = errors.iter().map(|error| at.render(error)).filter(|lines| seen.insert(lines.clone()));
        let rendered: Vec<Vec<String>> = rendered.collect();
        CompileReport { code, value, traceback: rendered.join(&String::new()) }
    }

    /// Returns the compiler's warnings about the cell's own text. `tops` are the patterns of its top-level `let`s:
    /// later cells may use those variables, even if this one does not.
    pub(crate) fn warnings(&self, at: &Rendering<'_>, tops: &[Range<(usize, usize)>]) -> String {
        let own = |warning: &&Diagnostic| {
            let lint = warning.code.as_ref().map_or("", |code| code.code.as_str());
            warning.place(at).is_some_and(|(cell, line, column)| {
                let kept = UNUSED.contains(&lint) && tops.iter().any(|top| top.contains(&(line, column)));
                cell == at.cell && !kept
            })
        };
        let rendered = self.warnings.iter().filter(own).map(|warning| at.render(warning).join("\n") + "\n");
        rendered.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::generate::source::Source;

    fn lines() -> Lines {
        let mut source = Source::default();
        source.ours("a\nb\nc\nd\ne\nf\ng\nh\ni");
        source.cell("let x: u8 = 1u16;", (3, 2, 0));
        source.keeps(StoredVariable::taken("x"), "keep");
        source.finish().1
    }

    #[test]
    fn a_moved_variable_is_recognized() {
        let error = |code: &str, line: usize| {
            format!(
                r#"{{"message":"m","code":{{"code":"{code}"}},"level":"error","rendered":null,"children":[],
                "spans":[{{"file_name":"u1.rs","line_start":{line},"column_start":1,"is_primary":true}}]}}"#
            )
            .replace('\n', "")
        };
        let parse = |text: String| Diagnostics::parse(&text).not_storable(&lines(), true);
        assert_eq!(parse(error("E0382", 11)), Some(vec![(StoredVariable::taken("x"), true)]));
        assert_eq!(parse(error("E0308", 11)), None);
        assert_eq!(parse(error("E0382", 10)), None);
    }
}
