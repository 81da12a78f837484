//! The `direct` engine: one rustc and one link per cell, run in a worker that holds the toolkit and the variables.

mod assist;
mod busy;
mod codegen;
mod compile;
mod content;
mod diagnostics;
mod directives;
mod folder;
mod items;
mod names;
mod outcome;
mod process;
mod source;
mod split;
mod text;
mod types;
mod variables;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::{Assist, Cell, Engine, Event, Interrupter, Outcome, Output, Stream};
use crate::toolkit::{Toolkit, ToolkitError};
use crate::worker::frame::Request;
use assist::Names;
use busy::Busy;
use codegen::{Generated, Unit};
use compile::{Compiled, Compiler, Generics};
use diagnostics::Diagnostics;
use directives::{Settings, Spent};
use items::Items;
use outcome::{Sources, error};
use process::{Served, Worker};
use source::Kept;
use split::{Split, split};
use types::Namer;
use variables::{Change, Variables};

/// How often a cell is compiled again without the variables that could not be stored.
const MAX_COMPILES: usize = 4;

/// A compiled cell.
struct Ready {
    library: PathBuf,
    unit: String,
    /// The variables it does not store, with the reasons.
    dropped: Vec<(String, String)>,
}

/// Runs Rust cells and magics.
pub struct DirectEngine {
    program: PathBuf,
    folder: Option<PathBuf>,
    worker: Option<Worker>,
    compiler: Result<Compiler, String>,
    items: Items,
    variables: Variables,
    sources: Sources,
    toolkit_types: HashMap<String, String>,
    busy: Arc<Busy>,
    names: Arc<Names>,
    settings: Settings,
    /// By the cell that runs, or ran last.
    spent: Spent,
    /// The code of the last compile error.
    last_error: Option<String>,
}

impl DirectEngine {
    /// An engine whose worker is this program (the `chandlery` command). The worker starts with the first cell.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let compiler = Toolkit::locate().map_err(|error: ToolkitError| error.to_string());
        let compiler = compiler.and_then(|toolkit| {
            Compiler::new(toolkit).map_err(|error| format!("no folder to compile cells in: {error}"))
        });
        Self {
            program: program.into(),
            folder: None,
            worker: None,
            compiler,
            items: Items::default(),
            variables: Variables::default(),
            sources: Sources::default(),
            toolkit_types: HashMap::new(),
            busy: Arc::default(),
            names: Arc::default(),
            settings: Settings::default(),
            spent: Spent::default(),
            last_error: None,
        }
    }

    /// The folder in which cells run, instead of this process's own.
    #[must_use]
    pub fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..self }
    }

    /// Why Rust cells cannot run here, if they cannot. Magics run all the same.
    pub fn problem(&self) -> Option<&str> {
        self.compiler.as_ref().err().map(String::as_str)
    }

    /// Starts the worker now rather than with the first cell.
    ///
    /// # Errors
    /// The reason why it did not start.
    pub fn start(&mut self) -> std::io::Result<()> {
        if self.worker.is_none() {
            let worker = Worker::start(&self.program, self.folder.as_deref())?;
            self.toolkit_types = worker.type_paths.iter().cloned().collect();
            self.worker = Some(worker);
        }
        Ok(())
    }

    fn cell(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.sources.add(cell.number, &cell.code);
        if let Err(problem) = self.start() {
            return error("WorkerFailed", &format!("{}: {problem}", self.program.display()), Vec::new());
        }
        self.perform(cell, output)
    }

    /// Compiles Rust code, at an opt-level other than 0 if one is named, and runs it.
    fn rust(&mut self, code: &str, number: u32, level: Option<char>, output: &mut dyn Output) -> Outcome {
        let begun = Instant::now();
        if let Some(problem) = self.problem() {
            return error("NoCompiler", problem, Vec::new());
        }
        let parsed = match split(code, number) {
            Ok(parsed) => parsed,
            Err(problem) => return self.sources.syntax_error(number, &problem),
        };
        let outdated = self.outdated(&self.items.changed_types(&parsed.definitions));
        let items = self.items.with(&parsed.definitions);
        let mut variables = self.variables.clone();
        for (name, why) in &outdated {
            variables.lose(name, why.clone());
        }
        self.spent.split += begun.elapsed();
        let Ready { library, unit, dropped } = match self.compile(code, number, level, &parsed, &items, &variables) {
            Ok(compiled) => compiled,
            Err(outcome) => return outcome,
        };
        self.items = items;
        self.forget(outdated, output);
        let result = self.run(code, number, &parsed, &dropped, library, output);
        if let Ok(compiler) = &self.compiler {
            compiler.clean(&unit);
        }
        result
    }

    /// The variables whose type is redefined, with the reason to give.
    fn outdated(&self, changed: &BTreeSet<String>) -> Vec<(String, String)> {
        let holds = |type_name: &str| {
            let mut words = type_name.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            words.find_map(|word| word.strip_prefix("cell::").filter(|name| changed.contains(*name)).map(str::to_owned))
        };
        let all = self.variables.iter().filter_map(|(name, known)| Some((name.to_owned(), holds(&known.type_name)?)));
        all.map(|(name, kind)| {
            let why = format!("`{name}` was dropped: its type `{kind}` was defined anew");
            (name, why)
        })
        .collect()
    }

    fn forget(&mut self, gone: Vec<(String, String)>, output: &mut dyn Output) {
        if gone.is_empty() {
            return;
        }
        let names = gone.iter().map(|(name, _)| name.clone()).collect();
        for (name, why) in gone {
            output.event(Event::Text { stream: Stream::Stderr, text: format!("{why}\n") });
            self.variables.lose(&name, why);
        }
        self.tell(&Request::Forget { names }, output);
    }

    /// A request whose outcome does not matter to the cell.
    fn tell(&mut self, request: &Request, output: &mut dyn Output) {
        if let Some(worker) = &mut self.worker {
            let _ = worker.serve(request, output, &|| {});
        }
    }

    /// Compiles a cell, if need be again without the variables that it cannot store.
    fn compile(
        &mut self,
        code: &str,
        number: u32,
        level: Option<char>,
        parsed: &Split,
        items: &Items,
        variables: &Variables,
    ) -> Result<Ready, Outcome> {
        let mut dropped: BTreeSet<Kept> = BTreeSet::new();
        let mut reasons = Vec::new();
        for attempt in 1.. {
            let unit = Unit { code, cell: number, split: parsed, items, variables, dropped: &dropped };
            let begun = Instant::now();
            let Generated { text, lines } = unit.generate();
            let generics = Generics::for_names(unit.mentions().iter());
            let compiler = self.compiler.as_mut().map_err(|problem| error("NoCompiler", problem, Vec::new()))?;
            self.spent.split += begun.elapsed();
            let compiled = compiler.compile(&text, generics, level, &self.busy, &mut self.spent);
            let compiled =
                compiled.map_err(|problem| error("CompileError", &format!("rustc: {problem}"), Vec::new()))?;
            let (messages, file) = match compiled {
                Compiled::Library(library, file) => {
                    self.sources.add_unit(&file, lines);
                    return Ok(Ready { library, unit: file, dropped: reasons });
                }
                Compiled::Stopped => return Err(outcome::interrupted("while compiling; no variable was changed")),
                Compiled::Errors(messages, file) => (messages, file),
            };
            compiler.clean(&file);
            let found = Diagnostics::parse(&messages);
            let lost = found.not_storable(&lines).filter(|_| attempt < MAX_COMPILES);
            let lost: Vec<_> = lost.into_iter().flatten().filter(|(kept, _)| !dropped.contains(kept)).collect();
            if lost.is_empty() {
                compiler.warm();
                let notes =
                    found.unknown_names().filter_map(|name| variables.why_gone(name)).map(str::to_owned).collect();
                return Err(outcome::compile_error(found.report(&file, &lines), notes));
            }
            for (kept, moved) in lost {
                let name = &kept.name;
                let why = if moved {
                    format!("`{name}` was moved in cell {number}; clone it there to keep it")
                } else {
                    format!(
                        "`{name}` of cell {number} holds a reference, and references do not outlive their cell: clone what it refers to"
                    )
                };
                reasons.push((name.clone(), why));
                dropped.insert(kept);
            }
        }
        Err(error("CompileError", "the cell moves variables in a way that is not understood", Vec::new()))
    }

    fn run(
        &mut self,
        code: &str,
        number: u32,
        parsed: &Split,
        dropped: &[(String, String)],
        library: PathBuf,
        output: &mut dyn Output,
    ) -> Outcome {
        let none = BTreeSet::new();
        let (items, variables) = (self.items.clone(), self.variables.clone());
        let unit = Unit { code, cell: number, split: parsed, items: &items, variables: &variables, dropped: &none };
        let made = unit.made();
        let change = Change { code, split: parsed, made: &made };
        let outcome = self.request(&Request::Cell { library }, Some(&change), (number, 0), output);
        for (name, why) in dropped {
            if !self.variables.iter().any(|(known, _)| known == name) {
                self.variables.lose(name, why.clone());
            }
        }
        outcome
    }

    /// Sends a request to the worker and takes over what it changed.
    fn request(
        &mut self,
        request: &Request,
        change: Option<&Change<'_>>,
        at: (u32, usize),
        output: &mut dyn Output,
    ) -> Outcome {
        let Some(worker) = &mut self.worker else {
            return error("WorkerDied", "the worker is not running", Vec::new());
        };
        if self.busy.running(worker.id()).is_err() {
            self.busy.rested();
            return outcome::interrupted("before it ran; no variable was changed");
        }
        let served = worker.serve(request, output, &|| self.busy.rested());
        self.busy.rested();
        let (ending, stored) = match served {
            Served::Done { ending, variables, load, run } => {
                self.spent.load += load;
                self.spent.run += run;
                (ending, variables)
            }
            Served::Died(how) => return self.buried(&how, at.0),
        };
        let namer = Namer { toolkit: &self.toolkit_types, items: &self.items };
        let useless = self.variables.update(&stored, change, at.0, &namer);
        if !useless.is_empty() {
            self.tell(&Request::Forget { names: useless }, output);
        }
        self.sources.outcome(ending, at)
    }

    /// The worker died: its variables are lost, definitions stay, and the next cell gets a new worker.
    fn buried(&mut self, how: &str, number: u32) -> Outcome {
        self.worker = None;
        let lost =
            self.variables.clear(Some(&format!("this variable was lost when the worker ended in cell {number}")));
        let lost = match lost.is_empty() {
            true => "no variables were lost".to_owned(),
            false => format!("variables lost: {}", lost.join(", ")),
        };
        if self.busy.asked() > 1 {
            return outcome::interrupted(&format!("by force: the worker was ended; {lost}"));
        }
        let value = format!("{how}; {lost}");
        error("WorkerDied", &value, vec![format!("the worker ended in cell {number}: {how}"), lost])
    }
}

impl Engine for DirectEngine {
    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.busy.begin();
        let outcome = self.cell(cell, output);
        if let Outcome::Error { name, .. } = &outcome {
            let code = name.strip_prefix("CompileError[").and_then(|code| code.strip_suffix(']'));
            self.last_error = code.map(str::to_owned).or(self.last_error.take());
        }
        self.busy.end();
        let variables = self.variables.iter().map(|(name, known)| (name, known.type_name.as_str()));
        self.names.set(variables, self.items.names());
        outcome
    }

    fn interrupter(&self) -> Interrupter {
        let busy = Arc::clone(&self.busy);
        Arc::new(move || busy.interrupt())
    }

    fn assist(&self) -> Arc<dyn Assist> {
        Arc::clone(&self.names) as Arc<dyn Assist>
    }

    fn process(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::id)
    }

    fn shutdown(&mut self) {
        self.worker = None;
        self.compiler = Err("the engine was shut down".to_owned());
    }
}
