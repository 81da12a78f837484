//! A toy engine: a language of one command per line, for tests of everything in front of an engine.
//!
//! | line | effect |
//! |---|---|
//! | `print TEXT`, `write TEXT`, `eprint TEXT` | a line on stdout, text without a newline, a line on stderr |
//! | `show TEXT`, `show@ID TEXT`, `update@ID TEXT` | a display, one with an id, its update |
//! | `clear`, `clear wait` | clears the outputs |
//! | `sleep MILLISECONDS` | waits; stops when interrupted |
//! | `ask PROMPT`, `secret PROMPT` | asks, and prints the answer |
//! | `set NAME VALUE` | a variable |
//! | `fail MESSAGE`, `panic MESSAGE` | an error, a fault of the engine |
//! | anything else | on the last line: the cell's result |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Assist, Cell, Completeness, Completions, Engine, Event, Interrupter, Outcome, Output, Stream, VariableSummary,
};
use chandlery::diagnostic::Diagnostic;
use chandlery::display::MimeBundle;

/// The toy engine.
#[derive(Default)]
pub struct Echo {
    interrupted: Arc<AtomicBool>,
    /// Whether a cell was announced.
    armed: bool,
    assist: Arc<EchoAssist>,
}

impl Echo {
    /// Creates an engine.
    pub fn new() -> Self {
        Self::default()
    }

    fn line(&self, line: &str, output: &mut dyn Output) -> Result<(), (&'static str, String)> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (command, id) = command.split_once('@').map_or((command, None), |(c, id)| (c, Some(id.to_owned())));
        let text = |stream, text: String| Event::Text { stream, text };
        match (command, id) {
            ("print", _) => output.event(text(Stream::Stdout, format!("{rest}\n"))),
            ("write", _) => output.event(text(Stream::Stdout, rest.to_owned())),
            ("eprint", _) => output.event(text(Stream::Stderr, format!("{rest}\n"))),
            ("show", id) => output.event(Event::Display { data: bundle(rest), id }),
            ("update", Some(id)) => output.event(Event::Update { data: bundle(rest), id }),
            ("clear", _) => output.event(Event::Clear { wait: rest == "wait" }),
            ("sleep", _) => return self.sleep(rest.parse().unwrap_or(0)),
            ("set", _) => self.assist.set(rest),
            ("ask" | "secret", _) => match output.input(rest, command == "secret") {
                Some(answer) => output.event(text(Stream::Stdout, format!("{answer}\n"))),
                None => return Err(("NoInput", "nobody can be asked".to_owned())),
            },
            ("fail", _) => return Err(("Failed", rest.to_owned())),
            ("panic", _) => panic!("{rest}"),
            _ => {}
        }
        Ok(())
    }

    fn sleep(&self, milliseconds: u64) -> Result<(), (&'static str, String)> {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end {
            if self.interrupted.load(Ordering::SeqCst) {
                return Err(("Interrupted", "interrupted".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

const COMMANDS: &[&str] =
    &["ask", "clear", "eprint", "fail", "panic", "print", "secret", "set", "show", "sleep", "update", "write"];

fn is_command(line: &str) -> bool {
    line.split([' ', '@']).next().is_some_and(|word| COMMANDS.contains(&word))
}

fn bundle(text: &str) -> MimeBundle {
    MimeBundle::text(text).with_html(format!("<b>{text}</b>"))
}

impl Engine for Echo {
    fn arm(&mut self) {
        self.interrupted.store(false, Ordering::SeqCst);
        self.armed = true;
    }

    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        if !std::mem::take(&mut self.armed) {
            self.interrupted.store(false, Ordering::SeqCst);
        }
        for (index, line) in cell.code.lines().enumerate() {
            if let Err((name, value)) = self.line(line, output) {
                let traceback = vec![
                    format!("\u{1b}[31m{name}\u{1b}[0m: {value}"),
                    format!("  --> cell {}, line {}: {line}", cell.number, index + 1),
                ];
                let says = Diagnostic::new(value.as_str()).at(format_args!("cell {}, line {}", cell.number, index + 1));
                let interrupted = self.interrupted.load(Ordering::SeqCst);
                let (name, diagnostic) = (name.to_owned(), Some(Box::new(says)));
                return Outcome::Error { name, value, traceback, diagnostic, interrupted };
            }
        }
        if let Some(last) = cell.code.lines().last().filter(|line| !line.trim().is_empty() && !is_command(line)) {
            output.event(Event::Result { data: MimeBundle::text(last) });
        }
        Outcome::Ok
    }

    fn interrupter(&self) -> Interrupter {
        let interrupted = Arc::clone(&self.interrupted);
        Arc::new(move || interrupted.store(true, Ordering::SeqCst))
    }

    fn assist(&self) -> Arc<dyn Assist> {
        Arc::clone(&self.assist) as Arc<dyn Assist>
    }

    fn process(&self) -> Option<u32> {
        Some(std::process::id())
    }

    fn shutdown(&mut self) {}
}

#[derive(Default)]
struct EchoAssist {
    variables: Mutex<BTreeMap<String, String>>,
}

impl EchoAssist {
    fn set(&self, line: &str) {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables.insert(name.to_owned(), value.to_owned());
    }
}

impl Assist for EchoAssist {
    fn complete(&self, code: &str, cursor: usize) -> Completions {
        let start = code[..cursor].rfind([' ', '\n']).map_or(0, |space| space + 1);
        let word = &code[start..cursor];
        let matches = COMMANDS.iter().filter(|command| command.starts_with(word)).map(|&c| c.to_owned()).collect();
        Completions { matches, start, end: cursor, ..Completions::default() }
    }

    fn inspect(&self, code: &str, cursor: usize) -> Option<MimeBundle> {
        let start = code[..cursor].rfind([' ', '\n']).map_or(0, |space| space + 1);
        let word = code[start..].split([' ', '\n']).next()?;
        COMMANDS.contains(&word).then(|| MimeBundle::text(format!("`{word}` is a command of the echo engine")))
    }

    fn is_complete(&self, code: &str) -> Completeness {
        match code.trim_end() {
            code if code.ends_with('\\') => Completeness::Incomplete("    ".to_owned()),
            code if code.ends_with(')') => Completeness::Invalid,
            _ => Completeness::Complete,
        }
    }

    fn variables(&self) -> Vec<VariableSummary> {
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = |(name, value): (&String, &String)| VariableSummary {
            name: name.clone(),
            type_name: "text".to_owned(),
            value: Some(value.clone()),
        };
        variables.iter().map(summary).collect()
    }
}
