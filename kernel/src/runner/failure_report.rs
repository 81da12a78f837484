//! The report on cells: one line each, and the report of a failure.

use std::path::Path;

use super::ansi;
use super::notebook::Notebook;

/// A failed cell.
pub(super) struct Failure<'a> {
    pub(super) path: &'a Path,
    pub(super) notebook: &'a Notebook,
    pub(super) index: usize,
    pub(super) number: u32,
    pub(super) code: &'a str,
    pub(super) traceback: &'a [String],
}

impl Failure<'_> {
    /// Returns the cell, the line, and the error as the notebook shows it.
    pub(super) fn tell(&self) -> String {
        let plain: Vec<String> = self.traceback.iter().map(|line| ansi::strip(line)).collect();
        let id = self.notebook.id(self.index).unwrap_or("without id");
        let mut told = format!("\n{}: cell {} (id {id}, In [{}])", self.path.display(), self.index + 1, self.number);
        let line = failing_line(&plain, self.number);
        if let Some((line, source)) = line.and_then(|line| Some((line, self.code.lines().nth(line.checked_sub(1)?)?))) {
            told.push_str(&format!(", line {line}: {}", source.trim()));
        }
        told.push('\n');
        for line in plain {
            told.push_str(&line);
            told.push('\n');
        }
        told
    }
}

/// Returns the first line of code of a cell, for a progress line.
pub(super) fn first_line(code: &str) -> String {
    let line = code.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("//")).unwrap_or("");
    match line.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

/// Returns the line that a traceback names for a cell, in one of the forms of engines: `cell 3, line 7` or `cell 3:7`.
fn failing_line(traceback: &[String], number: u32) -> Option<usize> {
    [format!("cell {number}, line "), format!("cell {number}:"), format!("cell {number} line ")].iter().find_map(
        |mark| {
            let text = traceback.iter().find(|line| line.contains(mark.as_str()))?;
            let after = text.split_once(mark.as_str())?.1;
            after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_line_is_read_from_either_form() {
        let traceback = |line: &str| vec!["error[E0382]".to_owned(), line.to_owned()];
        assert_eq!(failing_line(&traceback(" --> cell 3, line 7: x"), 3), Some(7));
        assert_eq!(failing_line(&traceback(" --> cell 3:12:5"), 3), Some(12));
        assert_eq!(failing_line(&traceback(" --> cell 4:12:5"), 3), None);
    }

    #[test]
    fn progress_shows_the_first_line_of_code() {
        assert_eq!(first_line("// why\n\n  let a = 1;\nlet b = 2;"), "let a = 1;");
        assert_eq!(first_line(&"é".repeat(80)).chars().count(), 61);
    }
}
