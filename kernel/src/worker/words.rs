//! Splitting a magic's line into words, as a shell would.
//!
//! Not by the crate `shlex`: there `#` begins a comment, so that `%convert in #out` would lose a word without an error, and
//! a quote without its end is not named.

/// Why a line is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// A quote without its end.
    #[error("missing closing {quote} in: %{line}")]
    Quote {
        /// The quote.
        quote: char,
        /// The line, without its `%`.
        line: String,
    },
    /// `--as` is the last word.
    #[error("--as needs the name of a variable")]
    NoName,
    /// The name behind `--as` is not an identifier.
    #[error("--as {0}: not a name that a variable can have")]
    Name(String),
}

/// Splits at whitespace outside quotes. `\` escapes the next character, also in double quotes; single quotes keep all.
///
/// # Errors
/// [`WordsError::Quote`].
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            quote @ ('\'' | '"') => {
                let text = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err(WordsError::Quote { quote, line: line.to_owned() }),
                        Some(c) if c == quote => break,
                        Some('\\') if quote == '"' => text.extend(chars.next()),
                        Some(c) => text.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Removes `--as NAME` (or `--as=NAME`) from the words and returns the name.
///
/// # Errors
/// [`WordsError::NoName`] or [`WordsError::Name`].
pub fn take_as(words: &mut Vec<String>) -> Result<Option<String>, WordsError> {
    let Some(at) = words.iter().position(|word| word == "--as" || word.starts_with("--as=")) else {
        return Ok(None);
    };
    let name = match words.remove(at).strip_prefix("--as=") {
        Some(name) => name.to_owned(),
        None if at < words.len() => words.remove(at),
        None => return Err(WordsError::NoName),
    };
    match syn::parse_str::<syn::Ident>(&name) {
        Ok(_) => Ok(Some(name)),
        Err(_) => Err(WordsError::Name(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes() {
        let words = split(r#"convert "my model" 'a\b' c\ d "" x"y"z"#).unwrap();
        assert_eq!(words, ["convert", "my model", r"a\b", "c d", "", "xyz"]);
        assert!(split("inspect 'x").is_err());
    }

    #[test]
    fn the_variable_is_taken_out() {
        let mut words = split("convert a b --as c --dry-run").unwrap();
        assert_eq!(take_as(&mut words), Ok(Some("c".into())));
        assert_eq!(words, ["convert", "a", "b", "--dry-run"]);
        assert!(take_as(&mut split("x --as fn").unwrap()).is_err());
        assert!(take_as(&mut split("x --as").unwrap()).is_err());
    }
}
