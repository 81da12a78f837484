//! Renders the compiler's messages as rustc prints them, but about the cells instead of the generated source: excerpts show the
//! user's own text, and nothing of the generated code around it is shown.

use std::ops::Range;

use annotate_snippets::renderer::{AnsiColor, Renderer, Style};
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin as Location, Patch, Snippet};

use super::message::{Diagnostic, Note, Span};
use crate::engine::direct::generate::source::{Lines, Origin};

/// The context in which messages are rendered.
pub(crate) struct Rendering<'a> {
    /// The compiler's name of the generated source.
    pub(crate) file: &'a str,
    /// The cell that was compiled.
    pub(crate) cell: u32,
    pub(crate) lines: &'a Lines,
    /// The generated source.
    pub(crate) text: &'a str,
    /// Returns a line of a cell as the user wrote it.
    pub(crate) written: &'a dyn Fn(u32, usize) -> Option<&'a str>,
}

/// A range of a cell's text, in bytes.
#[derive(Debug, PartialEq, Eq)]
struct InCell {
    cell: u32,
    range: Range<usize>,
    /// Whether a part of the span is generated.
    cut: bool,
}

/// Text has to be readable in every theme, on the backgrounds for errors and warnings. None of the 16 standard colors is,
/// so text that must be readable has no color.
const RENDERER: Renderer = Renderer::styled()
    .hyperlink(false)
    .term_width(110)
    .error(Style::new().bold())
    .warning(Style::new().bold())
    .info(Style::new().bold())
    .note(Style::new().bold())
    .help(Style::new().bold())
    .emphasis(Style::new().bold())
    .context(Style::new())
    .addition(Style::new().bold())
    .removal(Style::new())
    .line_num(AnsiColor::Blue.on_default());

impl Rendering<'_> {
    /// Returns the lines to print.
    pub(crate) fn render(&self, message: &Diagnostic) -> Vec<String> {
        let level = if message.level == "warning" { Level::WARNING } else { Level::ERROR };
        let mut title = level.primary_title(self.places(&message.message));
        if let Some(code) = message.code.as_ref().filter(|code| code.code.starts_with('E')) {
            title = title.id(&code.code);
        }
        let texts = self.texts(message);
        let mut first = self.excerpts(Group::with_title(title), &message.spans, &texts);
        let mut others = Vec::new();
        for note in message.children.iter().filter(|note| !is_noise(&note.message)) {
            let level = if note.level == "help" { Level::HELP } else { Level::NOTE };
            let text = self.places(&note.message);
            let edits = self.edits(note);
            if !edits.is_empty() {
                let group = Group::with_title(level.secondary_title(text));
                others.push(edits.into_iter().fold(group, |group, (cell, patches)| {
                    group.element(Snippet::source(texts.of(cell)).path(format!("cell {cell}")).patches(patches))
                }));
            } else if note.spans.iter().all(|span| span.suggested_replacement.is_some() || self.is_hidden(span)) {
                first = first.element(level.message(text));
            } else {
                others.push(self.excerpts(Group::with_title(level.secondary_title(text)), &note.spans, &texts));
            }
        }
        others.insert(0, first);
        let mut lines: Vec<String> = RENDERER.render(&others).lines().map(str::to_owned).collect();
        while lines.last().is_some_and(|line| plain(line).trim() == "|") {
            lines.pop();
        }
        lines
    }

    /// Returns a group with the cells' text at these spans, and the positions of spans elsewhere.
    fn excerpts<'t>(&self, mut group: Group<'t>, spans: &[Span], texts: &'t Texts) -> Group<'t> {
        let mut cells: Vec<(u32, Vec<Annotation<'t>>)> = Vec::new();
        // The cell that the message is about comes first.
        let (primary, secondary): (Vec<&Span>, Vec<&Span>) = spans.iter().partition(|span| span.is_primary);
        let mut elsewhere = Vec::new();
        for span in primary.into_iter().chain(secondary) {
            let outermost = span.outermost();
            let label = span.label.as_deref().filter(|label| !label.is_empty());
            let Some(InCell { cell, range, cut }) = self.in_cell(outermost) else {
                if span.is_primary && !self.is_generated(outermost) {
                    elsewhere.push(outermost);
                }
                continue;
            };
            // A part of a span without a label is not worth showing.
            if cut && !span.is_primary && label.is_none() {
                continue;
            }
            let kind = if span.is_primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let limit = texts.of(cell).len();
            let annotation =
                kind.span(range.start.min(limit)..range.end.min(limit)).label(label.map(|label| self.places(label)));
            match cells.iter_mut().find(|(other, _)| *other == cell) {
                Some((_, annotations)) => annotations.push(annotation),
                None => cells.push((cell, vec![annotation])),
            }
        }
        if cells.is_empty() && elsewhere.is_empty() {
            return group.element(Location::path(format!("cell {}", self.cell)));
        }
        for (cell, annotations) in cells {
            let snippet = Snippet::source(texts.of(cell)).path(format!("cell {cell}"));
            group = group.element(snippet.annotations(annotations));
        }
        for span in elsewhere {
            let place = Location::path(shorten(&span.file_name));
            group = group.element(place.line(span.line_start).char_column(span.column_start));
        }
        group
    }

    /// Returns the suggested replacements of a note, by cell, each suggestion separately. Empty if a part would be
    /// in generated code.
    fn edits<'n>(&self, note: &'n Note) -> Vec<(u32, Vec<Patch<'n>>)> {
        let mut edits: Vec<(u32, Vec<(Range<usize>, &'n str)>)> = Vec::new();
        for span in &note.spans {
            let Some(replacement) = span.suggested_replacement.as_deref() else { continue };
            let place = self.in_cell(span).filter(|place| !place.cut && !replacement.contains("::chandlery::cell::"));
            let Some(InCell { cell, range, .. }) = place else { return Vec::new() };
            let overlaps = |other: &Range<usize>| range.start <= other.end && other.start <= range.end;
            match edits.last_mut() {
                Some((last, edits)) if *last == cell && !edits.iter().any(|(other, _)| overlaps(other)) => {
                    edits.push((range, replacement));
                }
                _ => edits.push((cell, vec![(range, replacement)])),
            }
        }
        let patches = |(range, replacement)| Patch::new(range, replacement);
        edits.into_iter().map(|(cell, edits)| (cell, edits.into_iter().map(patches).collect())).collect()
    }

    /// Returns the text of every cell that a message is about.
    fn texts(&self, message: &Diagnostic) -> Texts {
        let spans = message.spans.iter().chain(message.children.iter().flat_map(|note| &note.spans));
        let mut texts = Vec::new();
        for place in spans.flat_map(|span| [self.in_cell(span.outermost()), self.in_cell(span)]).flatten() {
            if texts.iter().all(|(cell, _)| *cell != place.cell) {
                texts.push((place.cell, self.text_of(place.cell)));
            }
        }
        Texts(texts)
    }

    fn text_of(&self, cell: u32) -> String {
        (1..).map_while(|line| (self.written)(cell, line)).map(|line| format!("{line}\n")).collect()
    }

    fn is_generated(&self, span: &Span) -> bool {
        span.file_name == self.file || is_root(&span.file_name)
    }

    /// Returns whether no part of a span can be shown.
    fn is_hidden(&self, span: &Span) -> bool {
        let span = span.outermost();
        self.is_generated(span) && self.in_cell(span).is_none()
    }

    /// Returns the part of a span that the user wrote.
    fn in_cell(&self, span: &Span) -> Option<InCell> {
        if span.file_name != self.file {
            return None;
        }
        let own = |row: usize| match *self.lines.origin(row) {
            Origin::Cell { cell, line } => Some((cell, line)),
            _ => None,
        };
        let mut rows = (span.line_start..=span.line_end).filter_map(|row| Some((row, own(row)?)));
        let (first, (cell, line)) = rows.next()?;
        let start = match first == span.line_start {
            true => self.offset(cell, line, first, span.column_start),
            false => self.offset(cell, line, first, 1 + indent(self.row(first))),
        };
        let (last, line) = match rows.rfind(|(_, (other, _))| *other == cell) {
            Some((last, (_, line))) => (last, line),
            None => (first, line),
        };
        let end = match last == span.line_end {
            true => self.offset(cell, line, last, span.column_end),
            false => self.offset(cell, line, last, 1 + self.row(last).trim_end().chars().count()),
        };
        let cut = first != span.line_start || last != span.line_end;
        Some(InCell { cell, range: start..end.max(start), cut })
    }

    fn row(&self, row: usize) -> &str {
        self.text.lines().nth(row.saturating_sub(1)).unwrap_or("")
    }

    /// Returns the byte offset in a cell's text of a column (from 1) of a generated line. The user's text keeps its columns
    /// there, with blanks before it. There can be more blanks where they replace characters of several bytes.
    fn offset(&self, cell: u32, line: usize, row: usize, column: usize) -> usize {
        let before: usize = (1..line).filter_map(|line| (self.written)(cell, line)).map(|line| line.len() + 1).sum();
        let written = (self.written)(cell, line).unwrap_or("");
        let generated = self.row(row);
        let rest = |text: &str, column: usize| text.chars().skip(column).collect::<String>();
        let indent = indent(generated);
        let text = rest(generated, indent);
        let shift = (0..=indent).find(|shift| rest(written, indent - shift).starts_with(text.trim_end()));
        let column = column.saturating_sub(1 + shift.unwrap_or(0));
        before + written.chars().take(column).map(char::len_utf8).sum::<usize>()
    }

    /// Replaces positions in generated source by cell and line, and shortens paths of the standard library.
    fn places(&self, text: &str) -> String {
        let text = shorten(text);
        let file = format!("{}:", self.file);
        let mut parts = text.split(&file);
        let mut out = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let (row, rest) = number(part);
            let Some((cell, line)) = self.lines.cell(row) else {
                out.push_str(&format!(
                    "cell {}{}",
                    self.cell,
                    rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit())
                ));
                continue;
            };
            out.push_str(&format!("cell {cell}:{line}"));
            // In `{closure@u1.rs:10:5: 10:8}` the end is in the generated source as well.
            let end = rest.strip_prefix(':').map(number).and_then(|(column, rest)| {
                let (row, after) = number(rest.strip_prefix(": ")?);
                let (_, line) = self.lines.cell(row)?;
                Some(format!(":{column}: {line}{after}"))
            });
            out.push_str(end.as_deref().unwrap_or(rest));
        }
        out
    }
}

/// The cells by number, as the user wrote them.
struct Texts(Vec<(u32, String)>);

impl Texts {
    fn of(&self, cell: u32) -> &str {
        self.0.iter().find(|(other, _)| *other == cell).map_or("", |(_, text)| text)
    }
}

fn indent(text: &str) -> usize {
    text.chars().take_while(|c| c.is_whitespace()).count()
}

/// Splits a number off the start of a text.
fn number(text: &str) -> (usize, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..digits].parse().unwrap_or(0), &text[digits..])
}

/// Returns whether a file is the one that includes the generated source.
fn is_root(file: &str) -> bool {
    file.strip_prefix('r').is_some_and(|rest| number(rest).1 == ".rs")
}

/// Notes that are only useful to the person who ran the compiler.
fn is_noise(line: &str) -> bool {
    [
        "the full name for the type has been written to",
        "consider using `--verbose` to print",
        "this compiler was built on",
        "to the crate attributes to enable",
        "required for `CellError` to implement",
        "`#[warn(",
    ]
    .iter()
    .any(|noise| line.contains(noise))
}

/// Removes the folders of the build machine from paths of the standard library.
fn shorten(text: &str) -> String {
    for marker in ["/lib/rustlib/src/rust/", "/rustc/"] {
        let Some(at) = text.find(marker) else { continue };
        let start = text[..at].rfind([' ', '(', '@']).map_or(0, |space| space + 1);
        let rest = &text[at + marker.len()..];
        let rest = if marker == "/rustc/" { rest.split_once('/').map_or(rest, |(_, rest)| rest) } else { rest };
        return format!("{}{rest}", &text[..start]);
    }
    text.to_owned()
}

/// Removes colors from text.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::generate::source::{Source, StoredVariable};

    /// A generated line, a line of cell 3 after its definition, another generated line, and the last line of cell 4.
    fn render(message: &str) -> String {
        let mut source = Source::default();
        source.ours("ours");
        source.cell("let x: u8 = 1u16;", (3, 2, 10));
        source.keeps(StoredVariable::taken("x"), "keep");
        source.ours("match &(");
        source.cell("é.x + 1", (4, 1, 9));
        source.ours(")");
        let (text, lines) = source.finish();
        let written = |cell, line| match (cell, line) {
            (3, 1) => Some("// 漢字"),
            (3, 2) => Some("struct P; let x: u8 = 1u16;"),
            (4, 1) => Some("f(\"漢字\");\té.x + 1"),
            _ => None,
        };
        let at = Rendering { file: "u1.rs", cell: 4, lines: &lines, text: &text, written: &written };
        let lines: Vec<String> = at.render(&serde_json::from_str(message).unwrap());
        lines.iter().map(|line| plain(line).trim_end().to_owned() + "\n").collect()
    }

    fn span(file: &str, start: (usize, usize), end: (usize, usize), label: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "file_name": file, "line_start": start.0, "column_start": start.1, "line_end": end.0, "column_end": end.1,
            "is_primary": label.is_none_or(|label| label.starts_with('!')), "label": label,
        })
    }

    fn error(spans: &[serde_json::Value], children: serde_json::Value) -> String {
        serde_json::json!({
            "message": "m of {closure@u1.rs:2:5: 2:8}", "code": {"code": "E0599"}, "level": "error",
            "spans": spans, "children": children, "rendered": null,
        })
        .to_string()
    }

    #[test]
    fn carets_are_below_the_users_own_columns() {
        // The method, what it is called on together with our bracket, and a place in another cell.
        let spans = [
            span("u1.rs", (5, 12), (5, 13), Some("!not found")),
            span("u1.rs", (4, 7), (5, 12), Some("")),
            span("u1.rs", (2, 18), (2, 20), Some("because of this")),
        ];
        assert_eq!(
            render(&error(&spans, serde_json::json!([]))),
            "error[E0599]: m of {closure@cell 3:2:5: 2:8}\n --> cell 4:1:12\n  |\n1 | f(\"漢字\");    é.x + 1\n  |                 ^ !not found\n  |\n ::: cell 3:2:18\n  |\n2 | struct P; let x: u8 = 1u16;\n  |                  -- because of this\n"
        );
    }

    #[test]
    fn generated_code_is_left_out() {
        let suggestion = |line: usize, text: &str| {
            let mut span = span("u1.rs", (line, 1), (line, 1), None);
            span["suggested_replacement"] = text.into();
            serde_json::json!({"message": "write it so", "level": "help", "spans": [span]})
        };
        let children = serde_json::json!([
            {"message": "`#[warn(x)]` on by default", "level": "note", "spans": []},
            {"message": "for a reason", "level": "note", "spans": []},
            suggestion(3, "clone"),
        ]);
        let shown = render(&error(&[span("u1.rs", (3, 1), (3, 5), None)], children));
        assert_eq!(
            shown,
            "error[E0599]: m of {closure@cell 3:2:5: 2:8}\n--> cell 4\n = note: for a reason\n = help: write it so\n"
        );
    }

    #[test]
    fn suggestions_are_edits_of_the_users_text() {
        let mut edit = span("u1.rs", (5, 16), (5, 17), None);
        edit["suggested_replacement"] = "2".into();
        let children = serde_json::json!([{"message": "write 2", "level": "help", "spans": [edit]}]);
        let shown = render(&error(&[span("u1.rs", (5, 16), (5, 17), None)], children));
        assert!(shown.contains("help: write 2\n"), "{shown}");
        assert!(shown.contains("f(\"漢字\");    é.x + 2\n"), "{shown}");
    }

    #[test]
    fn other_files_keep_their_positions() {
        let file = "/home/x/.rustup/toolchains/t/lib/rustlib/src/rust/library/core/src/option.rs";
        let children =
            serde_json::json!([{"message": "n", "level": "note", "spans": [span(file, (10, 1), (10, 2), None)]}]);
        let shown = render(&error(&[span("u1.rs", (2, 11), (2, 14), None)], children));
        assert!(shown.contains("note: n\n --> library/core/src/option.rs:10:1\n"), "{shown}");
    }
}
