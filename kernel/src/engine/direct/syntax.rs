//! Texts that are no Rust, and whether more lines could make them so.

/// Why a cell could not be parsed.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    /// More lines could make it valid.
    pub(super) incomplete: bool,
}

impl SyntaxError {
    /// What the parser says of a text.
    pub(super) fn new(code: &str, error: &syn::Error) -> Self {
        let start = error.span().start();
        let message = error.to_string();
        // An error at the very end of the text is reported where the text begins.
        let end = error.span().end();
        let at_end = (start == end && start.column == 0) || code.trim_end().lines().count() < start.line;
        let incomplete = unbalanced(code)
            || message.contains("unexpected end of input")
            || (at_end && message.starts_with("expected"));
        Self { message, line: start.line, column: start.column + 1, incomplete }
    }
}

/// Whether brackets, a string or a comment are still open.
fn unbalanced(code: &str) -> bool {
    let mut open = 0_i32;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open -= 1,
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut before = ' ';
                if !chars.any(|c| std::mem::replace(&mut before, c) == '*' && c == '/') {
                    return true;
                }
            }
            '"' => {
                let mut escaped = false;
                let closed = chars.any(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                if !closed {
                    return true;
                }
            }
            '\'' => {
                // A character literal, or a lifetime.
                let mut ahead = chars.clone();
                if let (Some(first), Some(second)) = (ahead.next(), ahead.next()) {
                    if first == '\\' {
                        chars.next();
                        chars.next();
                        chars.by_ref().take_while(|c| *c != '\'').for_each(drop);
                    } else if second == '\'' {
                        chars.next();
                        chars.next();
                    }
                }
            }
            _ => {}
        }
        if open < 0 {
            return false;
        }
    }
    open > 0
}

#[cfg(test)]
mod tests {
    use super::super::split::split;

    #[test]
    fn incomplete_and_invalid() {
        let incomplete = |code: &str| split(code, 1).err().map(|error| error.incomplete);
        assert_eq!(incomplete("fn f() {"), Some(true));
        assert_eq!(incomplete("let x = \"abc"), Some(true));
        assert_eq!(incomplete("let x ="), Some(true));
        assert_eq!(incomplete("let x = 1"), Some(true));
        assert_eq!(incomplete("let = 1;"), Some(false));
        assert_eq!(incomplete("f())"), Some(false));
        assert_eq!(incomplete("x.iter()"), None);
    }
}
