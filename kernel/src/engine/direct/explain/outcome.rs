//! Turns endings into outcomes: a kind, one line, and a traceback that names cell and line.

use std::collections::HashMap;

use chandlery::cell::{Ending, SourcePosition};
use chandlery::diagnostic::Diagnose;
use unicode_width::UnicodeWidthStr;

use crate::engine::Outcome;
use crate::engine::direct::dependencies::Tokio;
use crate::engine::direct::generate::source::Lines;
use crate::engine::direct::read::attributes::Refused;
use crate::engine::direct::read::syntax::SyntaxError;

/// Text that must be readable has no color: no color is readable in every theme on the backgrounds that front ends use for errors.
const BOLD: &str = "\u{1b}[1m";
const BLUE: &str = "\u{1b}[34m";
const PLAIN: &str = "\u{1b}[0m";

/// Returns an error outcome.
pub(crate) fn error(name: &str, value: &str, mut traceback: Vec<String>) -> Outcome {
    traceback.insert(0, format!("{BOLD}{name}{PLAIN}: {value}"));
    Outcome::Error { name: name.to_owned(), value: value.to_owned(), traceback, diagnostic: None, interrupted: false }
}

/// Returns the outcome of a line that cannot be run.
pub(crate) fn misused(problem: &dyn Diagnose, place: Vec<String>) -> Outcome {
    let diagnostic = problem.diagnostic();
    error("UsageError", &diagnostic.to_string(), place).with_diagnostic(diagnostic)
}

/// Returns the outcome of a cell that the user stopped.
pub(crate) fn interrupted(how: &str) -> Outcome {
    error("Interrupted", &format!("interrupted {how}"), Vec::new()).into_interrupt()
}

/// The compiler's errors about a cell.
#[derive(Debug)]
pub(crate) struct CompileReport {
    /// The code of the first one, such as `E0382`.
    pub(crate) code: Option<String>,
    /// What the first one says, and where.
    pub(crate) value: String,
    /// All of them, as lines.
    pub(crate) traceback: Vec<String>,
}

impl CompileReport {
    /// Adds notes, such as why names are gone.
    pub(crate) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.traceback.extend(notes.into_iter().map(|note| format!("{BOLD}note{PLAIN}: {note}")));
        self
    }

    pub(crate) fn outcome(self) -> Outcome {
        let name = match self.code {
            Some(code) => format!("CompileError[{code}]"),
            None => "CompileError".to_owned(),
        };
        Outcome::Error { name, value: self.value, traceback: self.traceback, diagnostic: None, interrupted: false }
    }
}

/// Removes the folder in which the standard library was compiled from text.
fn shortened(text: &str) -> String {
    let mut parts = text.split("/rustc/");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |out, part| out + part.split_once('/').map_or(part, |(_, path)| path))
}

/// The text of every cell, and the line maps of every compiled unit.
#[derive(Default)]
pub(crate) struct Sources {
    cells: HashMap<u32, String>,
    units: HashMap<String, Lines>,
    /// How much of tokio the notebook has, for advice.
    pub(crate) tokio: Option<Tokio>,
}

impl Sources {
    pub(crate) fn add(&mut self, cell: u32, code: &str) {
        self.cells.insert(cell, code.to_owned());
    }

    /// Returns the number of the last cell.
    pub(crate) fn last(&self) -> u32 {
        self.cells.keys().copied().max().unwrap_or(0)
    }

    /// Returns a line of a cell.
    pub(crate) fn line(&self, cell: u32, line: usize) -> Option<&str> {
        self.cells.get(&cell)?.lines().nth(line.checked_sub(1)?)
    }

    pub(crate) fn add_unit(&mut self, file: &str, lines: Lines) {
        self.units.insert(file.to_owned(), lines);
    }

    pub(crate) fn syntax_error(&self, cell: u32, problem: &SyntaxError) -> Outcome {
        let SyntaxError { message, line, column, .. } = problem;
        let value = format!("{message} (cell {cell}:{line}:{column})");
        let mut traceback = vec![format!("  {BLUE}-->{PLAIN} cell {cell}:{line}:{column}")];
        traceback.extend(self.excerpt(cell, *line, Some(*column)));
        error("CompileError", &value, traceback)
    }

    /// Returns the outcome of a cell with an inner attribute that no cell can have.
    pub(crate) fn refused(&self, cell: u32, Refused { line, column, message }: &Refused) -> Outcome {
        let place = SyntaxError { message: message.clone(), line: *line, column: *column, is_final: true };
        self.syntax_error(cell, &place)
    }

    /// Replaces positions in generated source by cell and line.
    pub(crate) fn placed(&self, text: String) -> String {
        let text = if text.lines().any(|line| line.contains(" at /rustc/")) { shortened(&text) } else { text };
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(".rs:") {
            let start = rest[..at].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |before| before + 1);
            let after = &rest[at + 4..];
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let lines = self.units.get(&rest[start..at + 3]);
            match lines.zip(after[..digits].parse().ok()).and_then(|(lines, row)| lines.cell(row)) {
                Some((cell, line)) => out.push_str(&format!("{}cell {cell}:{line}", &rest[..start])),
                None => out.push_str(&rest[..at + 4 + digits]),
            }
            rest = &after[digits..];
        }
        if out.is_empty() { text } else { out + rest }
    }

    /// Returns the outcome of a request. `at` is the cell, and the line if it was a magic (otherwise 0).
    pub(crate) fn outcome(&self, ending: Ending, at: (u32, usize)) -> Outcome {
        match ending {
            Ending::Done => Outcome::Ok,
            Ending::Failed { interrupted: true, .. } => interrupted("while it ran; variables are kept"),
            Ending::Failed { type_name, diagnostic, place, .. } => {
                let failed = error(&type_name, &diagnostic.to_string(), self.place("returned at", place.as_ref(), at));
                failed.with_diagnostic(diagnostic)
            }
            Ending::Panicked { message, place } => {
                let mut traceback = self.place("panicked at", place.as_ref(), at);
                traceback.extend(self.advice(&message).map(|advice| format!("{BLUE}help{PLAIN}: {advice}")));
                error("Panic", &message, traceback)
            }
            Ending::Refused { reasons } => error("Refused", &reasons.join("; "), Vec::new()),
            Ending::HoldsClosures => error("Refused", "its statements can only run in one piece", Vec::new()),
        }
    }

    /// Returns advice about a panic.
    fn advice(&self, message: &str) -> Option<&'static str> {
        let reactor = message.contains("no reactor running") || message.contains("Tokio 1.x runtime");
        match self.tokio {
            _ if !reactor => None,
            Some(Tokio::Runtime) => Some(
                "cells run inside a runtime, and threads of their own do not: pass them a `tokio::runtime::Handle::current()` \
                 and call its `enter` there",
            ),
            Some(Tokio::WithoutRuntime | Tokio::Absent) | None => Some(
                "the notebook's tokio cannot make a runtime: add one by \
                 `:dep tokio = { version = \"1\", features = [\"full\"] }`, and cells run inside it",
            ),
        }
    }

    /// Returns the lines that name a line of a cell and show it.
    pub(crate) fn place_of(&self, cell: u32, line: usize) -> Vec<String> {
        let mut lines = vec![format!("  {BLUE}-->{PLAIN} cell {cell}:{line}")];
        lines.extend(self.excerpt(cell, line, None));
        lines
    }

    fn place(&self, what: &str, place: Option<&SourcePosition>, (cell, line): (u32, usize)) -> Vec<String> {
        if line > 0 {
            let mut lines = vec![format!("{what} cell {cell}:{line}")];
            lines.extend(self.excerpt(cell, line, None));
            return lines;
        }
        let Some(place) = place else { return vec![format!("{what} cell {cell}")] };
        let mapped = self.units.get(&place.file).and_then(|lines| lines.cell(place.line as usize));
        let Some((cell, line)) = mapped else {
            // Library code is named by its path, without the folders of the machine that it was built on.
            let file = place.file.rsplit_once("/src/").map_or(place.file.as_str(), |(_, file)| file);
            return vec![format!("{what} {file}:{}:{}, called from cell {cell}", place.line, place.column)];
        };
        let mut lines = vec![format!("{what} cell {cell}:{line}:{}", place.column)];
        lines.extend(self.excerpt(cell, line, Some(place.column as usize)));
        lines
    }

    /// Returns the source line, with a caret below the column.
    fn excerpt(&self, cell: u32, line: usize, column: Option<usize>) -> Vec<String> {
        let Some(text) = self.line(cell, line) else { return Vec::new() };
        // A tab is four columns wide, as in the compiler's messages, and some characters are two columns wide.
        let shown = |text: &str| text.replace('\t', "    ");
        let mut lines = vec![format!("{BLUE}{line:>4} |{PLAIN} {}", shown(text))];
        lines.extend(column.map(|column| {
            let before: String = text.chars().take(column.saturating_sub(1)).collect();
            format!("     {BLUE}|{PLAIN} {}{BOLD}^{PLAIN}", " ".repeat(shown(&before).width()))
        }));
        lines
    }
}
