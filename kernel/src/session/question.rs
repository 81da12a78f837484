//! `?name` as a cell, and `%name?`: what is known about a name, for the front end's pager.

/// Returns the subject of a cell that is a question. No Rust expression begins with a question mark; one that ends
/// with it is code.
pub(crate) fn subject(code: &str) -> Option<&str> {
    let code = code.trim();
    if code.starts_with(['%', ':']) && !code.starts_with("::") {
        // No directive ends like this, but a shell command may.
        let subject = code.strip_suffix('?')?.trim_end_matches('?');
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '%' | ':' | '_' | '-');
        return (subject.len() > 1 && subject.chars().all(is_name)).then_some(subject);
    }
    let subject = code.strip_prefix('?')?.trim_start_matches('?').trim();
    let name =
        !subject.is_empty() && subject.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '!' | '.'));
    (name || subject.starts_with(['%', ':']) && !subject.contains('\n')).then_some(subject)
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn questions_begin_with_their_mark() {
        assert_eq!(subject("?model"), Some("model"));
        assert_eq!(subject(" ?? std::fs::read \n"), Some("std::fs::read"));
        assert_eq!(subject("?%inspect"), Some("%inspect"));
        assert_eq!(subject("%convert?"), Some("%convert"));
        assert_eq!(subject("?:dep"), Some(":dep"));
        assert_eq!(subject(":dep??"), Some(":dep"));
        for code in ["%bash ls ?", "%?", "::std?", "loaded?", "?", "? a b", "a\n?b", "let x = y?;"] {
            assert_eq!(subject(code), None, "{code}");
        }
    }
}
