//! Explains the words of a directive's line.

use chandlery::display::MimeBundle;

use super::{list, written};

/// Returns the help of the directive, verb or flag at `cursor`, on the line of a directive.
pub(in crate::engine::direct) fn explain(code: &str, cursor: usize) -> Option<MimeBundle> {
    let start = code.get(..cursor)?.rfind('\n').map_or(0, |at| at + 1);
    let end = code[cursor..].find('\n').map_or(code.len(), |at| cursor + at);
    let line = code[start..end].trim_end_matches(['?', ' ']);
    let found = written(line.trim())?;
    if let Some(entry) = list::find(found.name) {
        let also = entry.also.iter().map(|name| format!("`%{name}`")).collect::<Vec<_>>().join(", ");
        let also = if also.is_empty() { also } else { format!("\n\nAlso: {also}") };
        return Some(bundle(entry.usage, &format!("{}{also}", entry.what)));
    }
    if let Some((name, why)) = list::NEEDLESS.iter().find(|(known, _)| *known == found.name) {
        return Some(bundle(&format!("%{name}"), &format!("Has no effect here: {why}")));
    }
    let signs = line.len() - line.trim_start_matches([' ', '\t', '%', ':']).len();
    let (places, words): (Vec<usize>, Vec<String>) =
        words(&line[signs..]).map(|(at, word)| (start + signs + at, word.to_owned())).unzip();
    let at = places.iter().rposition(|place| *place <= cursor).unwrap_or(0);
    let text = chandlery::command::explain(&words, at)?;
    Some(MimeBundle::text(text.clone()).with("text/markdown", format!("```text\n{text}\n```")))
}

/// Returns the words of a line, with their positions.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_whitespace().map(move |word| (word.as_ptr().addr() - line.as_ptr().addr(), word))
}

fn bundle(usage: &str, what: &str) -> MimeBundle {
    MimeBundle::text(format!("{usage}\n\n{}", what.replace('`', "")))
        .with("text/markdown", format!("```text\n{usage}\n```\n\n{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is explained at the `|`.
    fn at(marked: &str) -> Option<String> {
        explain(&marked.replacen('|', "", 1), marked.find('|')?).map(|bundle| bundle.plain().to_owned())
    }

    #[test]
    fn directives_verbs_and_flags_are_explained() {
        assert!(at(":de|p itoa = \"1\"").unwrap().contains("Build and load a crate"));
        assert!(at(":dep ito|a = \"1\"").unwrap().contains("Build and load a crate"));
        assert!(at("%%relea|se\nlet x = 1;").unwrap().contains("opt-level 3"));
        assert!(at("%conv|ert a b --dtype f16").unwrap().contains("Usage: %convert"));
        assert!(at("%convert a b --dt|ype f16").unwrap().starts_with("--dtype"));
        assert!(at("let x = 1;\n%convert a| b").unwrap().contains("Usage: %convert"));
        assert!(at("%convert?|").unwrap().contains("Usage: %convert"));
        assert!(at("%-|p llama model construct").unwrap().starts_with("-p, --project-dir"));
        assert!(at(":sccache|").unwrap().contains("always cached"));
        for none in ["let x = y\n% 2|", "x|", "%no-such|", "::st|d"] {
            assert_eq!(at(none), None, "{none}");
        }
    }
}
