//! The compiler's rendered messages, rewritten: the cells' lines and numbers in place of the generated source, and
//! nothing of what the kernel wrote around the cell.

use super::source::{Lines, Origin};

/// What a rendered message is about.
pub(super) struct Rendering<'a> {
    /// The name by which the compiler calls the generated source.
    pub(super) file: &'a str,
    /// The cell that was compiled.
    pub(super) cell: u32,
    pub(super) lines: &'a Lines,
    /// The generated source.
    pub(super) text: &'a str,
    /// A line of a cell as the user wrote it.
    pub(super) written: &'a dyn Fn(u32, usize) -> Option<&'a str>,
}

/// Which lines of a message are being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// An excerpt of the generated source.
    Generated,
    /// A line that the kernel wrote, with what is noted under it.
    Ours,
    /// An excerpt of another file.
    Elsewhere,
}

impl Rendering<'_> {
    /// The lines to print.
    pub(super) fn render(&self, message: &str) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let mut place = Place::Generated;
        let mut last = None;
        let mut shown = self.cell;
        for line in message.trim_end().lines() {
            let plain = plain(line);
            let start = plain.trim_start();
            if let Some(target) = start.strip_prefix("--> ").or_else(|| start.strip_prefix("::: ")) {
                place =
                    if target.starts_with(&format!("{}:", self.file)) { Place::Generated } else { Place::Elsewhere };
                last = None;
                match self.place(target) {
                    Some(cell) => shown = cell,
                    None if place == Place::Generated => {
                        let before = line.split_once(self.file).map_or(line, |(before, _)| before);
                        out.push(format!("{before}cell {}", self.cell));
                        continue;
                    }
                    // The file that includes the generated one.
                    None if is_root(target) => continue,
                    None => {}
                }
                out.push(self.places(line));
                continue;
            }
            let numbered = gutter(line);
            if let (Some((at, digits)), true) = (numbered, place != Place::Elsewhere) {
                let row = line[at..at + digits].parse().unwrap_or(0);
                let Origin::Cell { cell, line: number } = *self.lines.origin(row) else {
                    place = Place::Ours;
                    continue;
                };
                place = Place::Generated;
                let edited = !rest_of_gutter(&line[at + digits..]).starts_with('|');
                // A suggestion can reach from the user's text into ours.
                if (last == Some((cell, number)) && !edited) || (edited && plain.contains("::chandlery::cell::")) {
                    continue;
                }
                if cell != shown {
                    out.push(format!("{:digits$}::: cell {cell}:{number}", ""));
                    shown = cell;
                }
                last = Some((cell, number));
                let text = self.as_written(&line[at + digits..], row, (cell, number));
                out.push(format!("{}{number:<digits$}{}", &line[..at], self.places(&text)));
                continue;
            }
            // A line under an excerpt starts with a bar; anything else leaves the excerpt.
            let bar = start.starts_with('|');
            if !bar && !start.starts_with("...") && place == Place::Ours {
                place = Place::Generated;
            }
            if start.starts_with("help:") || start.starts_with("note:") {
                place = Place::Generated;
                last = None;
            }
            let bare = plain.trim() == "|";
            if (place == Place::Ours && !bare) || is_noise(start) {
                continue;
            }
            let repeats = out.last().is_some_and(|before| {
                let before = self::plain(before);
                (bare || start == "...") && matches!(before.trim(), "|" | "...")
            });
            if !repeats {
                out.push(self.places(line));
            }
        }
        while out.last().is_some_and(|line| matches!(self::plain(line).trim(), "|" | "...")) {
            out.pop();
        }
        out
    }

    /// The cell of a place in the generated source.
    fn place(&self, target: &str) -> Option<u32> {
        let row = target.strip_prefix(self.file)?.strip_prefix(':')?;
        let row: String = row.chars().take_while(char::is_ascii_digit).collect();
        self.lines.cell(row.parse().ok()?).map(|(cell, _)| cell)
    }

    /// The text with every place in the generated source as cell and line, and short paths of the standard library.
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
            // `{closure@u1.rs:10:5: 10:8}`: the end is in the generated source as well.
            let end = rest.strip_prefix(':').map(number).and_then(|(column, rest)| {
                let (row, after) = number(rest.strip_prefix(": ")?);
                let (_, line) = self.lines.cell(row)?;
                Some(format!(":{column}: {line}{after}"))
            });
            out.push_str(end.as_deref().unwrap_or(rest));
        }
        out
    }

    /// What stands after a line number: the cell's own line where the compiler saw it with parts blanked out.
    fn as_written(&self, rest: &str, row: usize, (cell, line): (u32, usize)) -> String {
        let as_it_is = || rest.to_owned();
        let Some((before, shown)) = rest.split_once("| ").or_else(|| rest.split_once("|\u{1b}[0m ")) else {
            return as_it_is();
        };
        let bar = &rest[..rest.len() - shown.len()];
        let Some(generated) = self.text.lines().nth(row - 1) else { return as_it_is() };
        let Some(written) = (self.written)(cell, line) else { return as_it_is() };
        if before.contains(char::is_alphanumeric) && !before.contains('\u{1b}') || generated == written {
            return as_it_is();
        }
        // The compiler leaves out what all lines of an excerpt are indented by.
        let Some(indent) = generated.trim_end().strip_suffix(shown.trim_end()) else { return as_it_is() };
        let written: String = written.chars().skip(indent.chars().count()).collect();
        if written.trim().is_empty() || written.contains('\t') { as_it_is() } else { format!("{bar}{written}") }
    }
}

/// A number at the start, and what follows.
fn number(text: &str) -> (usize, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..digits].parse().unwrap_or(0), &text[digits..])
}

/// Whether a place is in the file that includes the generated source.
fn is_root(target: &str) -> bool {
    target.strip_prefix('r').is_some_and(|rest| number(rest).1.starts_with(".rs:"))
}

/// Notes that mean nothing to somebody who did not start the compiler.
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

/// The standard library's paths without the folders of the machine.
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

/// The text without colours.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
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
    let rest = rest_of_gutter(&line[at + digits..]);
    (digits > 0 && rest.starts_with(['|', '+', '-', '~', '/', '\\'])).then_some((at, digits))
}

/// What stands after a line number, colours and blanks.
fn rest_of_gutter(line: &str) -> &str {
    let mut rest = line;
    loop {
        if let Some(after) = rest.strip_prefix('\u{1b}') {
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        } else if let Some(after) = rest.strip_prefix(' ') {
            rest = after;
        } else {
            return rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{Kept, Source};
    use super::*;

    fn render(message: &str) -> String {
        let mut source = Source::default();
        source.ours("a\nb\nc\nd\ne\nf\ng\nh\ni");
        source.cell("          let x: u8 = 1u16;", (3, 2, 0));
        source.keeps(Kept::taken("x"), "keep");
        source.cell("x + 1", (4, 1, 0));
        let (text, lines) = source.finish();
        let written = |cell, _| Some(if cell == 3 { "struct P; let x: u8 = 1u16;" } else { "x + 1" });
        Rendering { file: "u1.rs", cell: 4, lines: &lines, text: &text, written: &written }.render(message).join("\n")
    }

    #[test]
    fn places_and_numbers_are_the_cells() {
        assert_eq!(render("  --> u1.rs:10:5"), "  --> cell 3:2:5");
        let shown = render(
            "  --> u1.rs:12:1\n   |\n10 |           let x: u8 = 1u16;\n   |                       ---- here\n12 | x + 1\n   | ^",
        );
        assert_eq!(
            shown,
            "  --> cell 4:1:1\n   |\n  ::: cell 3:2\n2  | struct P; let x: u8 = 1u16;\n   |                       ---- here\n  ::: cell 4:1\n1  | x + 1\n   | ^"
        );
        assert_eq!(render("{closure@u1.rs:10:5: 10:8}"), "{closure@cell 3:2:5: 2:8}");
        assert_eq!(
            render("\u{1b}[1m12\u{1b}[0m \u{1b}[1m|\u{1b}[0m x"),
            "  ::: cell 4:1\n\u{1b}[1m1 \u{1b}[0m \u{1b}[1m|\u{1b}[0m x".trim_start_matches("  ::: cell 4:1\n")
        );
    }

    #[test]
    fn what_the_kernel_wrote_is_left_out() {
        let shown = render(
            "error: e\n  --> u1.rs:12:1\n   |\n 1 | ours\n   | ---- because of this\n...\n12 | x + 1\n   | ^\n11 | keep\n   | -- and this\n   = note: n",
        );
        assert_eq!(shown, "error: e\n  --> cell 4:1:1\n   |\n1  | x + 1\n   | ^\n   = note: n");
    }

    #[test]
    fn other_files_keep_their_numbers() {
        let message = "note: n\n  --> /home/x/.rustup/toolchains/t/lib/rustlib/src/rust/library/core/src/option.rs:10:1\n   |\n10 | enum Option";
        assert_eq!(render(message), "note: n\n  --> library/core/src/option.rs:10:1\n   |\n10 | enum Option");
    }
}
