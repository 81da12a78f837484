//! The compiler's messages, with cell and line instead of generated source.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::source::{Kept, Lines, Origin};

/// One message of `rustc --error-format=json`.
#[derive(Debug, Deserialize)]
pub(super) struct Diagnostic {
    message: String,
    code: Option<Code>,
    level: String,
    spans: Vec<Span>,
    children: Vec<Note>,
    rendered: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Note {
    spans: Vec<Span>,
}

#[derive(Debug, Deserialize)]
struct Code {
    code: String,
}

#[derive(Debug, Deserialize)]
struct Span {
    file_name: String,
    line_start: usize,
    column_start: usize,
    is_primary: bool,
}

/// Errors of one compile.
#[derive(Debug)]
pub(super) struct Diagnostics {
    errors: Vec<Diagnostic>,
    /// What the compiler wrote that is no message, as when it crashes.
    other: String,
}

/// Errors about moves and borrows, which our own lines can cause when they put variables into the store.
const OWNERSHIP: &[&str] = &[
    "E0310", "E0373", "E0381", "E0382", "E0499", "E0502", "E0503", "E0505", "E0506", "E0507", "E0521", "E0597",
    "E0621", "E0700", "E0712", "E0713", "E0716",
];

impl Diagnostics {
    pub(super) fn parse(output: &str) -> Self {
        let mut errors = Vec::new();
        let mut other = String::new();
        for line in output.lines() {
            match serde_json::from_str::<Diagnostic>(line) {
                Ok(message)
                    if message.level.starts_with("error") && !message.message.starts_with("aborting due to") =>
                {
                    errors.push(message);
                }
                Ok(_) => {}
                Err(_) => {
                    other.push_str(line);
                    other.push('\n');
                }
            }
        }
        Self { errors, other }
    }

    /// If every error says that a variable cannot be put into the store (it was moved, or it borrows), those variables
    /// with the reason.
    pub(super) fn not_storable(&self, lines: &Lines) -> Option<Vec<(Kept, bool)>> {
        let mut names = Vec::new();
        let mut seen = BTreeSet::new();
        for error in &self.errors {
            let code = error.code.as_ref().map(|code| code.code.as_str())?;
            if !OWNERSHIP.contains(&code) {
                return None;
            }
            let kept = |primary: bool| {
                let own = error.spans.iter().filter(move |span| span.is_primary == primary);
                let notes = error.children.iter().flat_map(|note| &note.spans).filter(move |_| !primary);
                own.chain(notes).filter_map(|span| match lines.origin(span.line_start) {
                    Origin::Kept(kept) => Some(kept.clone()),
                    _ => None,
                })
            };
            let moved = code == "E0382" || code == "E0381";
            // A move is reported at our line; a borrow where it is made, with our line as the place it must last until.
            let found: Vec<Kept> = if moved { kept(true).collect() } else { kept(false).collect() };
            let found = if found.is_empty() { kept(true).chain(kept(false)).collect() } else { found };
            if found.is_empty() {
                return None;
            }
            names.extend(found.into_iter().filter(|name| seen.insert(name.clone())).map(|name| (name, moved)));
        }
        (!names.is_empty()).then_some(names)
    }

    /// The names that were not found, to explain what happened to them.
    pub(super) fn unknown_names(&self) -> impl Iterator<Item = &str> {
        let unknown = self
            .errors
            .iter()
            .filter(|e| e.code.as_ref().is_some_and(|code| matches!(code.code.as_str(), "E0425" | "E0423")));
        unknown.filter_map(|error| error.message.split('`').nth(1))
    }

    /// Kind, one line, and the lines to print.
    pub(super) fn report(&self, file: &str, lines: &Lines) -> (String, String, Vec<String>) {
        let Some(first) = self.errors.first() else {
            let text = self.other.trim();
            let value = if text.is_empty() { "the compiler ended without a message" } else { text };
            return ("CompileError".to_owned(), value.to_owned(), value.lines().map(str::to_owned).collect());
        };
        let name = match &first.code {
            Some(code) => format!("CompileError[{}]", code.code),
            None => "CompileError".to_owned(),
        };
        let place = first.spans.iter().filter(|span| span.is_primary && span.file_name == file).find_map(|span| {
            let (cell, line) = lines.cell(span.line_start)?;
            Some(format!(" (cell {cell}:{line}:{})", span.column_start))
        });
        let value = format!("{}{}", first.message, place.unwrap_or_default());
        let rendered = self.errors.iter().filter_map(|error| error.rendered.as_deref());
        let traceback =
            rendered.flat_map(|text| text.trim_end().lines().map(|line| map_line(line, file, lines))).collect();
        (name, value, traceback)
    }
}

/// Rewrites one line of a rendered message: the place after an arrow, or the line number in the gutter.
fn map_line(line: &str, file: &str, lines: &Lines) -> String {
    if let Some((before, place)) = line.split_once(&format!("{file}:")) {
        let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        let row = number(place);
        let rest = &place[row.len()..];
        return match row.parse().ok().and_then(|row| lines.cell(row)) {
            Some((cell, row)) => format!("{before}cell {cell}:{row}{rest}"),
            None => {
                format!("{before}(generated code){}", rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()))
            }
        };
    }
    // The gutter: perhaps colours, digits, blanks, then `|`, or a sign in a suggestion.
    let Some((start, digits)) = gutter(line) else { return line.to_owned() };
    let end = start + digits;
    let number = line[start..end].parse().ok().and_then(|row| lines.cell(row)).map(|(_, row)| row.to_string());
    format!("{}{:<digits$}{}", &line[..start], number.unwrap_or_default(), &line[end..])
}

/// Start and length of the line number in a rendered line.
fn gutter(line: &str) -> Option<(usize, usize)> {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' => at += 1,
            0x1b => at += line[at..].find('m')? + 1,
            b'0'..=b'9' => break,
            _ => return None,
        }
    }
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = &line[at + digits..];
    loop {
        if let Some(after) = rest.strip_prefix('\u{1b}') {
            rest = &after[after.find('m')? + 1..];
        } else if let Some(after) = rest.strip_prefix(' ') {
            rest = after;
        } else {
            break;
        }
    }
    (digits > 0 && rest.starts_with(['|', '+', '-', '~', '/', '\\'])).then_some((at, digits))
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn lines() -> Lines {
        let mut source = Source::default();
        source.ours("a\nb\nc\nd\ne\nf\ng\nh\ni");
        source.cell("let x: u8 = 1u16;", (3, 2, 0));
        source.keeps(Kept::taken("x"), "keep");
        source.finish().1
    }

    #[test]
    fn rendered_lines_are_mapped() {
        assert_eq!(map_line("  --> u1.rs:10:5", "u1.rs", &lines()), "  --> cell 3:2:5");
        assert_eq!(map_line("10 | let x", "u1.rs", &lines()), "2  | let x");
        assert_eq!(
            map_line("\u{1b}[1m10\u{1b}[0m \u{1b}[1m|\u{1b}[0m let", "u1.rs", &lines()),
            "\u{1b}[1m2 \u{1b}[0m \u{1b}[1m|\u{1b}[0m let"
        );
        assert_eq!(map_line("1 |  ours", "u1.rs", &lines()), "  |  ours");
        assert_eq!(map_line("   | 10 |", "u1.rs", &lines()), "   | 10 |");
    }

    #[test]
    fn a_moved_variable_is_recognised() {
        let error = |code: &str, line: usize| {
            format!(
                r#"{{"message":"m","code":{{"code":"{code}"}},"level":"error","rendered":null,"children":[],
                "spans":[{{"file_name":"u1.rs","line_start":{line},"column_start":1,"is_primary":true}}]}}"#
            )
            .replace('\n', "")
        };
        let parse = |text: String| Diagnostics::parse(&text).not_storable(&lines());
        assert_eq!(parse(error("E0382", 11)), Some(vec![(Kept::taken("x"), true)]));
        assert_eq!(parse(error("E0308", 11)), None);
        assert_eq!(parse(format!("{}\n{}", error("E0382", 11), error("E0382", 10))), None);
    }
}
