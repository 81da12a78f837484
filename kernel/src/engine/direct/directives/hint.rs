//! Advice on a cell that does not compile because it is not Rust, such as a shell command.

use super::list;
use crate::engine::Outcome;

/// Adds the advice to an error of the compiler.
pub(in crate::engine::direct) fn advise(outcome: &mut Outcome, rust: &str) {
    let Outcome::Error { name, traceback, .. } = outcome else { return };
    if name.starts_with("CompileError")
        && let Some(advice) = advice(rust)
    {
        traceback.push(format!("help: {advice}"));
    }
}

fn advice(rust: &str) -> Option<String> {
    let line = rust.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("//"))?;
    if let Some(command) = line.strip_prefix('!').filter(|rest| rest.starts_with(char::is_alphabetic)) {
        return Some(format!("shell commands begin with %bash here: `%bash {command}`"));
    }
    let end = line.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let is_verb = chandlery::command::definition(name).is_some();
    if !is_verb && list::find(name).is_none() {
        return None;
    }
    match rest.trim() {
        "" | "?" => {
            Some(format!("`%{name}` runs it, and `?%{name}` says what it does: lines that begin with % are not Rust"))
        }
        rest if rest.starts_with(['(', '.', ':', '=', '!', ';']) => None,
        rest => Some(format!("did you mean `%{name} {rest}`? Lines that begin with % are not Rust")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_are_not_rust_get_advice() {
        assert!(advice("!ls -la").unwrap().contains("`%bash ls -la`"));
        assert!(advice("// a\nconvert?").unwrap().contains("`?%convert`"));
        assert!(advice("convert a/b c").unwrap().contains("did you mean `%convert a/b c`?"));
        assert!(advice("vars").unwrap().contains("`%vars`"));
        for none in ["inspect(\"x\")?", "let x = 1;", "time.elapsed()", "time::now()", "", "!(a)"] {
            assert_eq!(advice(none), None, "{none}");
        }
    }
}
