//! Which lines of a cell are magics.

/// The leading lines that start with `%`, with their line numbers and without the sign; and the rest of the cell with
/// those lines emptied, so that its line numbers stay.
pub(super) fn leading(code: &str) -> (Vec<(usize, String)>, String) {
    let mut magics = Vec::new();
    let mut rest = String::with_capacity(code.len());
    let mut over = false;
    for (index, line) in code.split_inclusive('\n').enumerate() {
        let trimmed = line.trim();
        match trimmed.strip_prefix('%') {
            Some(magic) if !over => {
                magics.push((index + 1, magic.trim_start_matches('%').trim().to_owned()));
                rest.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
            _ => {
                over |= !trimmed.is_empty() && !trimmed.starts_with("//");
                rest.push_str(line);
            }
        }
    }
    (magics, rest)
}

/// The last word of a magic's line (given without its `%`), and what it may become.
pub(super) fn complete(line: &str) -> (&str, Vec<String>) {
    let typed = line.rsplit(char::is_whitespace).next().unwrap_or("");
    let before = &line[..line.len() - typed.len()];
    // A quote without its end is the word being typed.
    let before = crate::worker::words::split(before).unwrap_or_default();
    (typed, chandlery::command::complete(&before, typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_lines_only() {
        let (magics, rest) = leading("\n// note\n %inspect x\n%vars\nlet y = 7\n% 2;\n");
        assert_eq!(magics, [(3, "inspect x".to_owned()), (4, "vars".to_owned())]);
        assert_eq!(rest, "\n// note\n\n\nlet y = 7\n% 2;\n");
    }
}
