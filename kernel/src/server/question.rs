//! `?name` as a cell: what is known about a name, for the front end's pager.

/// What a cell asks about, if it is a question. Rust has no expression that begins with a question mark; one that ends
/// with it is code.
pub(super) fn subject(code: &str) -> Option<&str> {
    let subject = code.trim().strip_prefix('?')?.trim_start_matches('?').trim();
    let name =
        !subject.is_empty() && subject.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '!' | '.'));
    (name || subject.starts_with('%') && !subject.contains('\n')).then_some(subject)
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn questions_begin_with_their_mark() {
        assert_eq!(subject("?model"), Some("model"));
        assert_eq!(subject(" ?? std::fs::read \n"), Some("std::fs::read"));
        assert_eq!(subject("?%inspect"), Some("%inspect"));
        for code in ["loaded?", "?", "? a b", "a\n?b", "let x = y?;"] {
            assert_eq!(subject(code), None, "{code}");
        }
    }
}
