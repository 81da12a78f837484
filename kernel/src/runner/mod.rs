//! The headless runner: executes notebooks through the same [`Session`] as Jupyter, and saves what they show.

mod ansi;
mod html;
mod junit;
mod notebook;
mod parameters;
mod recorder;
mod watchdog;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::engine::{Engine, Interrupter, Outcome};
use crate::server::{Request, Session};
use notebook::Notebook;
use recorder::Recorder;

pub use notebook::NotebookError;
pub use watchdog::{CtrlC, with_timeout};

/// What to run and what to write.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The notebooks, run in this order, each with an engine of its own.
    pub notebooks: Vec<PathBuf>,
    /// Where to save the executed notebook; for one notebook only.
    pub output: Option<PathBuf>,
    /// Where to save it as a page; for one notebook only.
    pub html: Option<PathBuf>,
    /// Save each notebook over itself.
    pub inplace: bool,
    /// How long one cell may take.
    pub timeout: Option<Duration>,
    /// Go on after failing cells.
    pub allow_errors: bool,
    /// Names and values that override the `let`s of the cell tagged `parameters`.
    pub parameters: Vec<(String, String)>,
    /// Where to write a JUnit report of all notebooks.
    pub junit: Option<PathBuf>,
}

/// Why a run did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The options contradict one another.
    #[error("{0}")]
    Options(&'static str),
    /// A notebook could not be read or written.
    #[error(transparent)]
    Notebook(#[from] NotebookError),
    /// A parameter does not fit the notebook; nothing ran.
    #[error("cannot set the parameters of `{}`: {reason}", path.display())]
    Parameters {
        /// The notebook.
        path: PathBuf,
        /// What is wrong where, and what to do.
        reason: String,
    },
    /// No engine could be started.
    #[error("cannot start the engine for `{}`: {reason}\nrun `chandlery kernel doctor`; it says what is missing", path.display())]
    Engine {
        /// The notebook.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A cell failed. Its story has been told in the report.
    #[error("`{}` failed at cell {cell} of {of}: {name}: {value}", path.display())]
    Cell {
        /// The notebook.
        path: PathBuf,
        /// The cell's place among all cells, from 1.
        cell: usize,
        /// How many cells there are.
        of: usize,
        /// The error's kind.
        name: String,
        /// What happened.
        value: String,
    },
    /// The user stopped the run.
    #[error("stopped by Ctrl-C in `{}`; what ran before is saved", path.display())]
    Stopped {
        /// The notebook.
        path: PathBuf,
    },
    /// The report could not be written.
    #[error("cannot report progress: {0}")]
    Report(#[from] std::io::Error),
}

/// Starts an engine whose cells run in the given folder.
pub type StartEngineIn<'a> = &'a mut dyn FnMut(&Path) -> Result<Box<dyn Engine>, String>;

/// Runs notebooks up to the first failing cell. Progress and the story of a failure go to `report`, one line a cell.
///
/// # Errors
/// [`RunError`]; outputs up to the failure have been saved.
pub fn run(
    options: &Options,
    start: StartEngineIn<'_>,
    report: &mut dyn Write,
    ctrl_c: &CtrlC,
) -> Result<(), RunError> {
    if options.notebooks.len() > 1 && (options.output.is_some() || options.html.is_some()) {
        return Err(RunError::Options(
            "`-o` and `--html` name one file each, so they go with one notebook; use `--inplace` for several",
        ));
    }
    if options.inplace && options.output.is_some() {
        return Err(RunError::Options("`--inplace` and `-o` say two different places; give one"));
    }
    // Cells run in their notebook's folder, so every path is fixed before.
    let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|source| NotebookError::unusable(path, source));
    let output = options.output.as_ref().map(absolute).transpose()?;
    let html = options.html.as_ref().map(absolute).transpose()?;
    let notebooks = options.notebooks.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    // A parameter that one notebook refuses is told before another has run for hours.
    if !options.parameters.is_empty() {
        notebooks.iter().try_for_each(|path| read(path, options).map(drop))?;
    }
    let junit = options.junit.as_ref().map(absolute).transpose()?;
    let mut suites = Vec::new();
    let mut ran = Ok(());
    for (path, given) in notebooks.into_iter().zip(&options.notebooks) {
        let output = if options.inplace { Some(path.clone()) } else { output.clone() };
        let mut suite = junit::Suite::new(given);
        ran = Run { options, path, output, html: html.clone(), ctrl_c }.run(start, report, &mut suite);
        suites.push(suite);
        if ran.is_err() {
            break;
        }
    }
    // Above all a failed run needs its report; the failure is told before a report that cannot be written.
    let written = junit.map_or(Ok(()), |path| junit::write(&path, suites));
    ran.and(written.map_err(RunError::from))
}

/// A notebook with its parameters set.
fn read(path: &Path, options: &Options) -> Result<Notebook, RunError> {
    let mut notebook = Notebook::read(path)?;
    parameters::inject(&mut notebook, &options.parameters)
        .map_err(|reason| RunError::Parameters { path: path.to_owned(), reason })?;
    Ok(notebook)
}

/// Long runs are saved on the way, but not after every quick cell.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// The run of one notebook.
struct Run<'a> {
    options: &'a Options,
    path: PathBuf,
    output: Option<PathBuf>,
    html: Option<PathBuf>,
    ctrl_c: &'a CtrlC,
}

impl Run<'_> {
    fn run(&self, start: StartEngineIn<'_>, report: &mut dyn Write, suite: &mut junit::Suite) -> Result<(), RunError> {
        let mut notebook = read(&self.path, self.options)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let engine = start(folder).map_err(|reason| RunError::Engine { path: self.path.clone(), reason })?;
        let mut session = Session::new(engine);
        let _guard = self.ctrl_c.attach(session.interrupter());

        notebook.clear_outputs();
        let mut recorder = Recorder::new(notebook.len());
        let ran = self.cells(&mut session, &mut notebook, &mut recorder, report, suite);
        session.shutdown();
        recorder.write_to(&mut notebook);
        self.save(&notebook, report)?;
        ran
    }

    fn cells(
        &self,
        session: &mut Session,
        notebook: &mut Notebook,
        recorder: &mut Recorder,
        report: &mut dyn Write,
        suite: &mut junit::Suite,
    ) -> Result<(), RunError> {
        let interrupter = session.interrupter();
        let mut saved = Instant::now();
        for index in 0..notebook.len() {
            let Some(code) = notebook.code(index) else { continue };
            let place = format!("[{}/{}]", index + 1, notebook.len());
            if notebook.has_tag(index, "skip-execution") || code.trim().is_empty() {
                suite.skipped(index + 1, "tagged `skip-execution`, or empty");
                writeln!(report, "{place} skipped  {}", first_line(&code))?;
                continue;
            }
            let began = Instant::now();
            let (number, outcome) = self.cell(session, &interrupter, index, &code, recorder);
            notebook.set_execution_count(index, number);
            let seconds = began.elapsed().as_secs_f64();

            match &outcome {
                Outcome::Error { name, value, traceback } if !self.is_tolerated(notebook, index) => {
                    suite.failed(index + 1, seconds, (name, value), traceback);
                    for later in (index + 1..notebook.len()).filter(|&later| notebook.kind(later) == "code") {
                        suite.skipped(later + 1, "an earlier cell failed");
                    }
                }
                _ => suite.passed(index + 1, seconds),
            }
            match outcome {
                Outcome::Ok => writeln!(report, "{place} {seconds:6.2} s  {}", first_line(&code))?,
                Outcome::Error { name, value, .. } if self.is_tolerated(notebook, index) => {
                    writeln!(report, "{place} {seconds:6.2} s  {}  ({name}: {value}; allowed)", first_line(&code))?;
                }
                Outcome::Error { name, value, traceback } => {
                    writeln!(report, "{place} {seconds:6.2} s  {}  FAILED", first_line(&code))?;
                    self.tell(report, notebook, index, number, &code, &traceback)?;
                    if self.ctrl_c.was_pressed() {
                        return Err(RunError::Stopped { path: self.path.clone() });
                    }
                    let (path, cell, of) = (self.path.clone(), index + 1, notebook.len());
                    return Err(RunError::Cell { path, cell, of, name, value });
                }
            }
            if self.ctrl_c.was_pressed() {
                return Err(RunError::Stopped { path: self.path.clone() });
            }
            if saved.elapsed() > SAVE_EVERY && self.output.is_some() {
                recorder.write_to(notebook);
                self.save(notebook, &mut std::io::sink())?;
                saved = Instant::now();
            }
        }
        Ok(())
    }

    fn cell(
        &self,
        session: &mut Session,
        interrupter: &Interrupter,
        index: usize,
        code: &str,
        recorder: &mut Recorder,
    ) -> (u32, Outcome) {
        recorder.start_cell(index);
        let request = Request::new(code);
        let (execution, timed_out) =
            with_timeout(self.options.timeout, interrupter, || session.execute(&request, recorder));
        match (execution.outcome, timed_out, self.options.timeout) {
            (Outcome::Error { traceback, .. }, true, Some(limit)) => {
                let name = "CellTimeout".to_owned();
                let value = format!("the cell was stopped after {} s (--timeout)", limit.as_secs_f64());
                recorder.rename_error(&name, &value);
                (execution.number, Outcome::Error { name, value, traceback })
            }
            (outcome, ..) => (execution.number, outcome),
        }
    }

    fn is_tolerated(&self, notebook: &Notebook, index: usize) -> bool {
        !self.ctrl_c.was_pressed() && (self.options.allow_errors || notebook.has_tag(index, "raises-exception"))
    }

    /// The story of a failure: where, the line, and the error as the notebook shows it.
    fn tell(
        &self,
        report: &mut dyn Write,
        notebook: &Notebook,
        index: usize,
        number: u32,
        code: &str,
        traceback: &[String],
    ) -> std::io::Result<()> {
        let plain: Vec<String> = traceback.iter().map(|line| ansi::strip(line)).collect();
        writeln!(report)?;
        let id = notebook.id(index).unwrap_or("without id");
        write!(report, "{}: cell {} (id {id}, In [{number}])", self.path.display(), index + 1)?;
        match failing_line(&plain, number).and_then(|line| Some((line, code.lines().nth(line.checked_sub(1)?)?))) {
            Some((line, source)) => writeln!(report, ", line {line}: {}", source.trim())?,
            None => writeln!(report)?,
        }
        for line in plain {
            writeln!(report, "{line}")?;
        }
        writeln!(report)
    }

    fn save(&self, notebook: &Notebook, report: &mut dyn Write) -> Result<(), RunError> {
        if let Some(output) = &self.output {
            notebook.write(output)?;
            writeln!(report, "saved {}", output.display())?;
        }
        if let Some(html) = &self.html {
            notebook::write_atomically(html, html::page(notebook, &title(&self.path)).as_bytes())?;
            writeln!(report, "saved {}", html.display())?;
        }
        Ok(())
    }
}

fn title(path: &Path) -> String {
    path.file_stem().map_or_else(|| "notebook".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The first line of a cell that says something, for one progress line.
fn first_line(code: &str) -> String {
    let line = code.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("//")).unwrap_or("");
    match line.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

/// The line that a traceback names for a cell, in one of the two ways engines write it: `cell 3, line 7` or `cell 3:7`.
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
