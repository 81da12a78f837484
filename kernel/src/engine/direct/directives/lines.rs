//! Finds the lines of a cell that may be directives: those before its code, and those where a statement begins.

/// The position of a line among the statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinePlace {
    /// Before all code of the cell, but for comments.
    Leading,
    /// Where a statement or an item may begin.
    Between,
    /// Within a statement, a comment or a string.
    Within,
}

/// Reads a cell line by line. Lines of directives are not read: they are not Rust.
#[derive(Debug, Default)]
pub(super) struct Reader {
    inside: LexicalState,
    depth: usize,
    /// Whether code has begun.
    begun: bool,
    /// The first word of the statement that has begun.
    statement: Option<String>,
    assigns: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LexicalState {
    #[default]
    Code,
    /// Comments nest.
    Comment(usize),
    Text,
    /// A raw string that ends with this many `#`.
    Raw(usize),
}

/// Words whose statement ends with a brace.
const BRACED: &[&str] = &[
    "async",
    "const",
    "else",
    "enum",
    "extern",
    "fn",
    "for",
    "if",
    "impl",
    "loop",
    "macro_rules",
    "match",
    "mod",
    "pub",
    "static",
    "struct",
    "trait",
    "union",
    "unsafe",
    "use",
    "while",
    "{",
    "#",
    "'",
];

impl Reader {
    /// Returns the position of the next line.
    pub(super) fn place(&self) -> LinePlace {
        match self.inside {
            LexicalState::Code if !self.begun => LinePlace::Leading,
            LexicalState::Code if self.depth == 0 && self.statement.is_none() => LinePlace::Between,
            _ => LinePlace::Within,
        }
    }

    /// Returns the line without leading comments. A comment may have begun on an earlier line.
    pub(super) fn after_comments<'a>(&self, line: &'a str) -> &'a str {
        let mut rest = line.trim_start();
        if self.inside != LexicalState::Code {
            return rest;
        }
        while let Some(after) = rest.strip_prefix("/*").and_then(|comment| comment.split_once("*/")) {
            rest = after.1.trim_start();
        }
        rest
    }

    /// Reads a line of code.
    pub(super) fn read(&mut self, line: &str) {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let length = match self.inside {
                LexicalState::Comment(depth) => self.comment(rest, c, depth),
                LexicalState::Text => self.text(rest, c),
                LexicalState::Raw(marks) => self.raw(rest, c, marks),
                LexicalState::Code if rest.starts_with("//") => return,
                LexicalState::Code => self.code(rest, c),
            };
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    fn comment(&mut self, rest: &str, c: char, depth: usize) -> usize {
        let (length, depth) = match () {
            () if rest.starts_with("/*") => (2, depth + 1),
            () if rest.starts_with("*/") => (2, depth - 1),
            () => (c.len_utf8(), depth),
        };
        self.inside = if depth == 0 { LexicalState::Code } else { LexicalState::Comment(depth) };
        length
    }

    fn text(&mut self, rest: &str, c: char) -> usize {
        match c {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '"' => {
                self.inside = LexicalState::Code;
                1
            }
            c => c.len_utf8(),
        }
    }

    fn raw(&mut self, rest: &str, c: char, marks: usize) -> usize {
        let end = rest
            .strip_prefix('"')
            .filter(|after| after.bytes().take(marks).filter(|byte| *byte == b'#').count() == marks);
        if end.is_some() {
            self.inside = LexicalState::Code;
            return 1 + marks;
        }
        c.len_utf8()
    }

    fn code(&mut self, rest: &str, c: char) -> usize {
        if c.is_whitespace() {
            return c.len_utf8();
        }
        if rest.starts_with("/*") {
            self.inside = LexicalState::Comment(1);
            return 2;
        }
        self.begun = true;
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if c == ';' && self.depth == 0 {
            self.statement = None;
            return 1;
        }
        if self.statement.is_none() {
            let first = if word > 0 { &rest[..word] } else { &rest[..c.len_utf8()] };
            self.assigns = !BRACED.contains(&first);
            self.statement = Some(first.to_owned());
        } else if self.statement.as_deref().is_some_and(|first| ["const", "static", "pub"].contains(&first))
            && self.depth == 0
        {
            // `const X: T = T { .. };` and `const fn f() {}`.
            self.assigns |= c == '=';
        }
        if let Some(text) = begins_text(rest) {
            self.inside = text.1;
            return text.0;
        }
        if word > 0 {
            return word;
        }
        match c {
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' => self.depth = self.depth.saturating_sub(1),
            '}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 && !self.assigns {
                    self.statement = None;
                }
            }
            '\'' => return character(rest),
            _ => {}
        }
        c.len_utf8()
    }
}

/// Returns the length of the opening delimiter of a string, and the state after it.
fn begins_text(rest: &str) -> Option<(usize, LexicalState)> {
    let marks = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - marks.len();
    if prefix <= 1 && marks.starts_with('"') {
        return Some((prefix + 1, LexicalState::Text));
    }
    let raw = marks.strip_prefix('r').filter(|_| prefix <= 1)?;
    let count = raw.len() - raw.trim_start_matches('#').len();
    raw[count..].starts_with('"').then_some((prefix + 1 + count + 1, LexicalState::Raw(count)))
}

/// Returns the length of a character literal, or of the quote that begins a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest.char_indices().skip(1);
    match (inside.next(), inside.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            rest[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the position of the first line that begins with `:`.
    fn place(code: &str) -> LinePlace {
        let mut reader = Reader::default();
        for line in code.split_inclusive('\n') {
            if reader.after_comments(line).starts_with(':') && reader.inside == LexicalState::Code {
                return reader.place();
            }
            reader.read(line);
        }
        reader.place()
    }

    #[test]
    fn only_lines_between_statements_may_be_directives() {
        for leading in [":x", "// a\n\n:x", "/* a\n /* b */ c */\n:x", "/* a */ :x"] {
            assert_eq!(place(leading), LinePlace::Leading, "{leading}");
        }
        for between in [
            "use std::fmt;\n:x",
            "fn f() -> &'static str { \"}\" }\n:x",
            "let s = r#\"\n\"; \"#;\n:x",
            "if a { b } else { c }\n:x",
            "struct S { a: char }\n// ;\n:x",
            "let c = '\\'';\nlet d = '{';\n:x",
            "const fn f() {}\n:x",
        ] {
            assert_eq!(place(between), LinePlace::Between, "{between}");
        }
        for within in [
            "let x\n:x",
            "let y = match a { _ => 1 }\n:x",
            "fn f() {\n:x",
            "f(\n:x",
            "let s = \"\n\nabc",
            "/* a\n",
            "1\n:x",
        ] {
            assert_eq!(place(within), LinePlace::Within, "{within}");
        }
    }
}
