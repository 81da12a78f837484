//! `-e`: opens what was printed in an editor.

use std::ffi::OsString;
use std::process::Command;

use crate::checkpoint::OutputFile;
use crate::command::Failure;
use crate::diagnostic::Diagnostic;

fn refuse(what: &str, place: &str, advice: &str) -> Failure {
    Failure::Failed { name: "EditError".to_owned(), diagnostic: Diagnostic::new(what).at(place).advise(advice) }
}

/// The editor's program and its arguments.
pub(super) fn editor() -> Result<Vec<String>, Failure> {
    if crate::display::in_notebook() {
        return Err(refuse("a notebook has no editor to open", "--edit", "write to a file with -o, and open that"));
    }
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let words = |value: OsString| value.to_string_lossy().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let editor = named("VISUAL").or_else(|| named("EDITOR")).map(words).filter(|words| !words.is_empty());
    editor.ok_or_else(|| {
        let advice = "set EDITOR, for example: export EDITOR=nano; or write to a file with -o";
        refuse("no editor is set", "the environment variables VISUAL and EDITOR", advice)
    })
}

/// Writes `text` to a file among the temporary ones, opens it, and waits for the editor to end.
pub(super) fn open(editor: &[String], name: &str, text: &str) -> Result<(), Failure> {
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect();
    let path = std::env::temp_dir().join(format!("chandlery-{}-{safe}.txt", std::process::id()));
    OutputFile::probe(&path)?.write(format!("{text}\n").as_bytes())?;
    let Some((program, arguments)) = editor.split_first() else { return Ok(()) };
    let ended = Command::new(program).args(arguments).arg(&path).status();
    let place = path.display().to_string();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(refuse(&format!("the editor `{program}` ended with {status}"), &place, "check EDITOR")),
        Err(error) => {
            Err(refuse(&format!("the editor `{program}` cannot be started: {error}"), &place, "check EDITOR"))
        }
    }
}
