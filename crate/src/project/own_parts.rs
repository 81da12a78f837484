//! The folder `parts` of a project: Rust files with the project's own parts, compiled when the project is used.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::ProjectError;
use crate::diagnostic::Diagnostic;

/// The folder's name in a project.
pub const FOLDER: &str = "parts";

/// Compiles a file and registers its parts, or says why it cannot, in the compiler's words.
pub type Compile = fn(&Path, &str) -> Result<(), Diagnostic>;

/// The function that compiles: this library does not contain a compiler.
static COMPILE: OnceLock<Compile> = OnceLock::new();

/// Enables projects with their own parts in this process. The first caller's compiler is used.
pub fn compile_with(compile: Compile) {
    let _ = COMPILE.set(compile);
}

/// Returns whether this process can compile parts.
pub(crate) fn compiles() -> bool {
    COMPILE.get().is_some()
}

/// Returns the Rust files in a folder, by name.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "rs") && path.is_file()).collect();
    files.sort();
    files
}

/// Compiles and registers the parts in a folder.
pub(super) fn load(folder: &Path) -> Result<(), ProjectError> {
    for file in files(folder) {
        let refuse = |what: String, advice: &str| ProjectError::Refused {
            what,
            place: file.display().to_string(),
            advice: advice.to_owned(),
        };
        let text = std::fs::read_to_string(&file)
            .map_err(|error| refuse(format!("the part cannot be read: {error}"), "make it a text file"))?;
        let Some(compile) = COMPILE.get() else {
            let what = "the project has parts of its own, which this program cannot compile".to_owned();
            return Err(refuse(
                what,
                "use the `chandlery` command or its kernel, or `part::register` the part in the program",
            ));
        };
        compile(&file, &text).map_err(|why| {
            let said = why.what.trim_end();
            // The compiler's messages begin on a line of their own.
            let between = if said.contains('\n') { "\n" } else { ": " };
            refuse(
                format!("the part cannot be used{between}{said}"),
                why.advice.as_deref().unwrap_or("correct the file, and run the command again"),
            )
        })?;
    }
    Ok(())
}
