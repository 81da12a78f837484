//! Running cells for any front end: counting, history, silent cells, and the order of output.
//!
//! A [`Session`] does not know sockets: the Jupyter kernel and the headless runner execute cells through the same code.

mod history;
mod history_file;
mod question;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::{Assist, Cell, Engine, Event, Interrupter, Outcome, Output, Stream};
use chandlery::diagnostic::Diagnostic;
use chandlery::display::MimeBundle;

pub use history::{Entry, History};
pub(crate) use question::subject;

/// A cell to run, as a front end asks for it.
#[derive(Clone, Debug)]
pub struct CellRequest {
    /// The source text.
    pub code: String,
    /// Show nothing and do not count.
    pub silent: bool,
    /// Count it and keep it in the history. A silent request never does.
    pub store_history: bool,
}

impl CellRequest {
    /// Creates a request that shows its output, counts and is remembered.
    pub fn new(code: impl Into<String>) -> Self {
        Self { code: code.into(), silent: false, store_history: true }
    }
}

/// What a session shows while a cell runs, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Publication {
    /// The cell starts under this number.
    Started {
        /// Its source.
        code: String,
        /// Its execution count.
        number: u32,
    },
    /// The cell shows something.
    Shown {
        /// What.
        event: Event,
        /// The cell's execution count.
        number: u32,
    },
    /// The cell failed; always the last publication.
    Failed {
        /// The error's kind.
        name: String,
        /// One line that says what happened.
        value: String,
        /// The lines to print.
        traceback: Vec<String>,
        /// What the error says, as fields, if it has any.
        diagnostic: Option<Box<Diagnostic>>,
    },
}

/// Where a session's publications go.
pub trait Front {
    /// Shows something.
    fn publish(&mut self, publication: Publication);
    /// Asks the user for a line; `None` where nobody can be asked.
    fn input(&mut self, prompt: &str, password: bool) -> Option<String>;
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// The execution count to reply with.
    pub number: u32,
    /// Whether the cell ran to its end.
    pub outcome: Outcome,
    /// What the front end shows in its pager: the answer to `?name`.
    pub page: Option<MimeBundle>,
}

/// One engine with its counter and its history.
pub struct Session {
    engine: Box<dyn Engine>,
    count: u32,
    history: Arc<Mutex<History>>,
}

impl Session {
    /// Creates a session whose first counted cell is number 1.
    pub fn new(engine: Box<dyn Engine>) -> Self {
        Self::with_history(engine, History::default())
    }

    /// Creates a session with a history, such as one that is kept in a file.
    pub fn with_history(engine: Box<dyn Engine>, history: History) -> Self {
        Self { engine, count: 0, history: Arc::new(Mutex::new(history)) }
    }

    /// Runs one cell to its end. Every publication has been made when this returns.
    pub fn execute(&mut self, request: &CellRequest, front: &mut dyn Front) -> Execution {
        let counted = request.store_history && !request.silent && !request.code.trim().is_empty();
        if counted {
            self.count += 1;
        }
        let number = self.count;
        let subject = subject(&request.code);
        // From the moment the cell is reported as started, it may be interrupted.
        if subject.is_none() && !request.code.trim().is_empty() {
            self.engine.arm();
        }
        if !request.silent {
            front.publish(Publication::Started { code: request.code.clone(), number });
        }
        if request.code.trim().is_empty() {
            return Execution { number, outcome: Outcome::Ok, page: None };
        }

        let cell = Cell { code: request.code.clone(), number };
        let mut output = Showing { front, silent: request.silent, number, result: None };
        let (outcome, page) = match subject {
            Some(subject) => (Outcome::Ok, self.page(subject, &mut output)),
            None => (run(self.engine.as_mut(), &cell, &mut output), None),
        };
        let result = output.result;

        if let (Outcome::Error { name, value, traceback, diagnostic, .. }, false) = (&outcome, request.silent) {
            front.publish(Publication::Failed {
                name: name.clone(),
                value: value.clone(),
                traceback: traceback.clone(),
                diagnostic: diagnostic.clone(),
            });
        }
        if counted {
            let mut history = self.history.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            history.push(number, &request.code, result);
        }
        Execution { number, outcome, page }
    }

    /// Checks one cell without running it. What a cell that `may_fail` would have defined is missing afterwards. The cell is
    /// counted, so that its errors have the same number as in a run, and not remembered.
    pub fn check(&mut self, code: &str, may_fail: bool, front: &mut dyn Front) -> Execution {
        self.count += 1;
        let number = self.count;
        if subject(code).is_some() {
            return Execution { number, outcome: Outcome::Ok, page: None };
        }
        self.engine.arm();
        let cell = Cell { code: code.to_owned(), number };
        let mut output = Showing { front, silent: false, number, result: None };
        let checks = |engine: &mut dyn Engine| engine.check(&cell, may_fail, &mut output);
        Execution { number, outcome: guarded(self.engine.as_mut(), number, checks), page: None }
    }

    /// Returns what is known about a name; if nothing is, the cell prints that.
    fn page(&self, subject: &str, output: &mut dyn Output) -> Option<MimeBundle> {
        let found = self.engine.assist().inspect(subject, subject.len());
        if found.is_none() {
            output.event(Event::Text { stream: Stream::Stdout, text: format!("`{subject}` is not known\n") });
        }
        found
    }

    /// Returns the value of an expression, run as a cell that is silent, not counted and cannot ask for input; `None` if
    /// the code does not have a value.
    ///
    /// # Errors
    ///
    /// How it failed, always an [`Outcome::Error`].
    pub fn evaluate(&mut self, code: &str) -> Result<Option<MimeBundle>, Outcome> {
        if code.trim().is_empty() {
            return Ok(None);
        }
        // Number 0 is not a cell: later errors still refer to the text of the cell before.
        let mut value = Value::default();
        match run(self.engine.as_mut(), &Cell { code: code.to_owned(), number: 0 }, &mut value) {
            Outcome::Ok => Ok(value.0),
            failed => Err(failed),
        }
    }

    /// Shows output since the end of the last cell, under that cell's number.
    pub fn between(&mut self, front: &mut dyn Front) {
        let number = self.count;
        self.engine.between(&mut Showing { front, silent: false, number, result: None });
    }

    /// Sets the number of the next counted cell, unless the count is higher already.
    pub fn count_from(&mut self, number: u32) {
        self.count = self.count.max(number.saturating_sub(1));
    }

    /// Returns the process that runs the cells, if it is running.
    pub fn process(&self) -> Option<u32> {
        self.engine.process()
    }

    /// Returns the history, which is shared so that it can be read while a cell runs.
    pub fn history(&self) -> Arc<Mutex<History>> {
        Arc::clone(&self.history)
    }

    /// Returns a function that stops the running cell.
    pub fn interrupter(&self) -> Interrupter {
        self.engine.interrupter()
    }

    /// Returns a handle that answers completion and inspection while a cell runs.
    pub fn assist(&self) -> Arc<dyn Assist> {
        self.engine.assist()
    }

    /// Drops all variables, as a program does at its end, and ends every process that the engine started. The output
    /// belongs to the last cell. Drops that take longer than the limit are ended, which is reported.
    pub fn end(&mut self, limit: Duration, front: &mut dyn Front) -> Outcome {
        let number = self.count;
        let mut output = Showing { front, silent: false, number, result: None };
        let outcome = guarded(self.engine.as_mut(), number, |engine| engine.end(limit, &mut output));
        if let Outcome::Error { traceback, .. } = &outcome {
            output.event(Event::Text { stream: Stream::Stderr, text: traceback.join("\n") + "\n" });
        }
        outcome
    }

    /// Ends every process that the engine started, without dropping variables.
    pub fn shutdown(&mut self) {
        self.engine.shutdown();
    }
}

/// A panic inside an engine is a bug, but it must not leave a front end waiting forever.
fn guarded(engine: &mut dyn Engine, number: u32, work: impl FnOnce(&mut dyn Engine) -> Outcome) -> Outcome {
    let attempt = std::panic::AssertUnwindSafe(|| work(engine));
    std::panic::catch_unwind(attempt).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Outcome::Error {
            name: "KernelFault".to_owned(),
            value: format!("the kernel failed while it ran this cell: {message}"),
            traceback: vec![
                format!("KernelFault: the kernel failed while it ran cell {number}: {message}"),
                "This is a bug in Chandlery, not in the cell. Restart the kernel before you continue.".to_owned(),
            ],
            diagnostic: None,
            interrupted: false,
        }
    })
}

fn run(engine: &mut dyn Engine, cell: &Cell, output: &mut dyn Output) -> Outcome {
    guarded(engine, cell.number, |engine| engine.execute(cell, output))
}

/// Passes an engine's events on, unless the request is silent, and remembers the result's text for the history.
struct Showing<'a> {
    front: &'a mut dyn Front,
    silent: bool,
    number: u32,
    result: Option<String>,
}

impl Output for Showing<'_> {
    fn event(&mut self, event: Event) {
        if let Event::Result { data } = &event {
            self.result = Some(data.plain().to_owned());
        }
        if !self.silent {
            self.front.publish(Publication::Shown { event, number: self.number });
        }
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        self.front.input(prompt, password)
    }
}

/// Keeps only the result of an expression.
#[derive(Default)]
struct Value(Option<MimeBundle>);

impl Output for Value {
    fn event(&mut self, event: Event) {
        if let Event::Result { data } = event {
            self.0 = Some(data);
        }
    }

    fn input(&mut self, _prompt: &str, _password: bool) -> Option<String> {
        None
    }
}
