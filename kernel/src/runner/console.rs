//! The report of a run: the lines of the notebooks in order, and on a terminal the running cells.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A message from the run of one notebook.
pub(super) enum Note {
    /// Lines of the report, while no cell runs.
    Text(String),
    /// A cell starts.
    Running(String),
    /// The notebook is finished.
    Finished,
}

/// Reports what happens in one notebook.
#[derive(Clone)]
pub(super) struct Teller {
    index: usize,
    notes: Sender<(usize, Note)>,
}

impl Teller {
    pub(super) fn new(index: usize, notes: Sender<(usize, Note)>) -> Self {
        Self { index, notes }
    }

    /// A line of the report.
    pub(super) fn line(&self, line: &str) {
        self.tell(Note::Text(format!("{line}\n")));
    }

    /// A cell starts.
    pub(super) fn running(&self, what: String) {
        self.tell(Note::Running(what));
    }

    fn tell(&self, note: Note) {
        // Nobody listens once the report could not be written; the run saves its notebook anyway.
        let _ = self.notes.send((self.index, note));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.tell(Note::Finished);
    }
}

/// How often the line of the running cells is rewritten.
const REDRAW: Duration = Duration::from_millis(500);

/// Writes the messages of tellers until all of them are gone.
///
/// # Errors
/// The first failure to write.
pub(super) fn print(notes: &Receiver<(usize, Note)>, report: &mut dyn Write, live: bool) -> std::io::Result<()> {
    let mut console = Console { report, live, next: 0, held: BTreeMap::new(), running: BTreeMap::new(), drawn: false };
    let mut written = Ok(());
    loop {
        let done = match notes.recv_timeout(REDRAW) {
            Ok((index, note)) => console.take(index, note),
            Err(RecvTimeoutError::Timeout) => console.draw(),
            Err(RecvTimeoutError::Disconnected) => return written.and(console.clear()),
        };
        // The run continues if its report cannot be written, because its notebooks matter more.
        written = written.and(done);
    }
}

struct Console<'a> {
    report: &'a mut dyn Write,
    live: bool,
    /// The notebook whose lines are written immediately.
    next: usize,
    /// The lines of later notebooks, and whether they are finished.
    held: BTreeMap<usize, (String, bool)>,
    running: BTreeMap<usize, (String, Instant)>,
    drawn: bool,
}

impl Console<'_> {
    fn take(&mut self, index: usize, note: Note) -> std::io::Result<()> {
        match note {
            Note::Running(what) => {
                self.running.insert(index, (what, Instant::now()));
                return self.draw();
            }
            Note::Text(text) if index == self.next => {
                self.running.remove(&index);
                self.clear()?;
                self.report.write_all(text.as_bytes())?;
                return self.draw();
            }
            Note::Text(text) => {
                self.running.remove(&index);
                self.held.entry(index).or_default().0.push_str(&text);
            }
            Note::Finished => {
                self.running.remove(&index);
                self.held.entry(index).or_default().1 = true;
            }
        }
        self.release()
    }

    /// Writes the lines of notebooks whose turn has come.
    fn release(&mut self) -> std::io::Result<()> {
        while let Some((text, finished)) = self.held.get_mut(&self.next) {
            let (text, finished) = (std::mem::take(text), *finished);
            if !text.is_empty() {
                self.clear()?;
                self.report.write_all(text.as_bytes())?;
            }
            if !finished {
                break;
            }
            self.held.remove(&self.next);
            self.next += 1;
        }
        self.draw()
    }

    /// The running cells on one line, with the seconds they have taken; only on a terminal.
    fn draw(&mut self) -> std::io::Result<()> {
        if !self.live {
            return Ok(());
        }
        self.clear()?;
        let cells: Vec<String> =
            self.running.values().map(|(what, since)| format!("{:>4} s  {what}", since.elapsed().as_secs())).collect();
        if cells.is_empty() {
            return Ok(());
        }
        let line: String = cells.join("  |  ").chars().take(100).collect();
        self.drawn = true;
        write!(self.report, "{line}")?;
        self.report.flush()
    }

    fn clear(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.drawn) {
            write!(self.report, "\r\u{1b}[K")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_in_the_order_of_the_notebooks() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (first, second) = (Teller::new(0, sender.clone()), Teller::new(1, sender));
        second.line("b1");
        first.line("a1");
        second.line("b2");
        drop(second);
        first.line("a2");
        drop(first);
        let mut report = Vec::new();
        print(&receiver, &mut report, false).unwrap();
        assert_eq!(String::from_utf8(report).unwrap(), "a1\na2\nb1\nb2\n");
    }

    #[test]
    fn a_terminal_shows_the_running_cell_and_clears_it_at_the_end() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let teller = Teller::new(0, sender);
        teller.running("[1/2] let a = 1;".to_owned());
        teller.line("[1/2]   0.10 s  let a = 1;");
        drop(teller);
        let mut report = Vec::new();
        print(&receiver, &mut report, true).unwrap();
        let report = String::from_utf8(report).unwrap();
        assert_eq!(report, "   0 s  [1/2] let a = 1;\r\u{1b}[K[1/2]   0.10 s  let a = 1;\n");
    }
}
