//! Finds the subject of a question at a cursor: the word there, otherwise the call whose arguments are being written.

/// Returns the range of the word at `cursor`; `None` inside string literals and comments.
pub(crate) fn word(code: &str, cursor: usize) -> Option<(usize, usize)> {
    let before = code.get(..cursor)?;
    if !matches!(scan(before).1, Inside::Code) {
        return None;
    }
    let start = word_start(before);
    let end = code[cursor..].find(|c| !is_word(c)).map_or(code.len(), |at| cursor + at);
    (start < end).then_some((start, end))
}

/// Returns the position at which to ask about the innermost call around `cursor`: after its parenthesis, or after a macro's name.
pub(crate) fn call(code: &str, cursor: usize) -> Option<usize> {
    let (open, inside) = scan(code.get(..cursor)?);
    if let Inside::Comment = inside {
        return None;
    }
    for (bracket, at) in open.into_iter().rev() {
        match bracket {
            // A block of statements is not an argument.
            '{' => return None,
            '(' | '[' if code[..at].ends_with('!') => return Some(at - 1),
            '(' if code[..at].ends_with(|c| is_word(c) || c == '>') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Returns the typed part of the string literal that `before` ends in, if it ends in one.
pub(crate) fn text(before: &str) -> Option<&str> {
    match scan(before).1 {
        Inside::Text(start) => before.get(start..),
        Inside::Code | Inside::Comment => None,
    }
}

/// Returns the start of the word at the end of a text.
pub(crate) fn word_start(before: &str) -> usize {
    before.rfind(|c| !is_word(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

enum Inside {
    Code,
    /// Inside a string literal whose content starts at this offset.
    Text(usize),
    Comment,
}

/// Returns the brackets that are open at the end of a text, and whether the end is in code, a string or a comment.
fn scan(text: &str) -> (Vec<(char, usize)>, Inside) {
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        // The length of what begins here; `None` if it has no end.
        let (length, kind) = if rest.starts_with("//") {
            (rest.find('\n'), Inside::Comment)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map(|end| end + 2), Inside::Comment)
        } else if let Some(end) = raw_text(rest).filter(|_| !text[..at].ends_with(is_word)) {
            let content = end.len() + 1;
            (rest[content..].find(&end).map(|length| length + content + end.len()), Inside::Text(at + content))
        } else if c == '"' {
            (text_end(rest, '"'), Inside::Text(at + 1))
        } else if c == '\'' {
            (Some(character(rest)), Inside::Text(at + 1))
        } else {
            match c {
                '(' | '[' | '{' => open.push((c, at)),
                ')' | ']' | '}' => drop(open.pop()),
                _ => {}
            }
            (Some(c.len_utf8()), Inside::Code)
        };
        let Some(length) = length else { return (open, kind) };
        at += length;
    }
    (open, Inside::Code)
}

/// Returns the closing delimiter of the raw string that begins here.
fn raw_text(rest: &str) -> Option<String> {
    let marks = rest.strip_prefix('r')?;
    let count = marks.len() - marks.trim_start_matches('#').len();
    marks[count..].starts_with('"').then(|| "\"".to_owned() + &"#".repeat(count))
}

/// Returns the length of the literal that a quote begins, if it is closed.
fn text_end(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + quote.len_utf8())
}

/// Returns the length of a character literal, or of the quote that begins a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => text_end(rest, '\'').filter(|length| *length < 14).unwrap_or(1),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked about at the `|` in a text.
    fn at(marked: &str) -> (Option<&str>, Option<&str>) {
        let cursor = marked.find('|').unwrap();
        let code: &'static str = marked.replacen('|', "", 1).leak();
        (
            word(code, cursor).map(|(start, end)| &code[start..end]),
            call(code, cursor).map(|end| &code[word_start(code[..end].trim_end_matches('('))..end]),
        )
    }

    #[test]
    fn words_in_strings_and_comments_are_not_code() {
        assert_eq!(at("let x = spo|ts.len()").0, Some("spots"));
        assert_eq!(at("größ|e").0, Some("größe"));
        assert_eq!(at("|x").0, Some("x"));
        assert_eq!(at("x |+ y").0, None);
        assert_eq!(at("project(\"lla|ma\")").0, None);
        assert_eq!(at("r#\"a \" b|\"#").0, None);
        assert_eq!(at("let c = '\"'; x|").0, Some("x"));
        assert_eq!(at("fn f<'a>(x: &'a str|)").0, Some("str"));
        assert_eq!(at("// a comm|ent\nx").0, None);
        assert_eq!(at("/* ( */ x|").0, Some("x"));
        assert_eq!(at("bar\"text\"|").0, None);
    }

    #[test]
    fn an_unclosed_string_is_found() {
        assert_eq!(text("read(\"data/f"), Some("data/f"));
        assert_eq!(text("read(r#\"data/\"f"), Some("data/\"f"));
        assert_eq!(text("read(\""), Some(""));
        for none in ["read(\"a\")", "// \"a", "'\"'", "x"] {
            assert_eq!(text(none), None, "{none}");
        }
    }

    #[test]
    fn the_innermost_call_around_the_cursor_is_found() {
        assert_eq!(at("project(|)").1, Some("project("));
        assert_eq!(at("project(\"lla|ma\")?").1, Some("project("));
        assert_eq!(at("f(g(1), \")\", |)").1, Some("f("));
        assert_eq!(at("f(&[1, |])").1, Some("f("));
        assert_eq!(at("a.b(2 * (1 + |))").1, Some("b("));
        assert_eq!(at("f(|x| { |y })").1, Some("f("));
        assert_eq!(at("f(move || { x| })").1, Some("f("));
        assert_eq!(at("println!(\"{}\", |)").1, Some("println"));
        assert_eq!(at("vec![1, |]").1, Some("vec"));
        for none in ["x|", "f()|", "let t = (1, |)", "f({ let y = |", "f(// |", "'(', |", "\\'|"] {
            assert_eq!(at(none).1, None, "{none}");
        }
    }
}
