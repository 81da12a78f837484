//! The `direct` engine: one rustc and one link per cell, run in a worker that holds the toolkit and the variables.

mod assist;
mod check;
pub(crate) mod compile;
mod dependencies;
mod directives;
mod engine;
mod explain;
mod generate;
mod read;
mod run;
mod session;
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chandlery::diagnostic::{Diagnose, Diagnostic};

use super::{Cell, Event, Outcome, Output, Stream};
use crate::language::{BODY, Language};
use crate::toolkit::{Toolkit, ToolkitError};
use assist::answers::Names;
use compile::compile_loop::{Attempt, Stop};
use compile::rustc::{Compiled, Compiler};
use dependencies::Dependencies;
pub use dependencies::{Cleaned, DependencyCache, KeptSet};
use directives::{Settings, Spent};
use explain::diagnostics::Diagnostics;
use explain::outcome::{CompileReport, Sources, error};
use explain::rendered::Rendering;
use generate::codegen::{Loss, Purpose};
use read::files::FileFolders;
use read::macros::{Calls, Macros};
use read::split::{Split, split};
use read::syntax::SyntaxError;
use run::busy::Busy;
use run::process::Worker;
use session::items::Items;
use session::unknown::Unknown;
use session::variables::Variables;

/// A compiled cell.
pub(crate) struct CompiledCell {
    library: PathBuf,
    unit: String,
    /// The variables that it does not store, with the reasons.
    dropped: Vec<(String, Loss, String)>,
    /// The compiler's warnings.
    warnings: String,
    /// Earlier definitions that it drops: their names, and the notice to show.
    notices: Vec<(Vec<String>, String)>,
    /// Variables whose type gets another meaning, with the reasons.
    outdated: Vec<(String, String)>,
    /// The definitions in force after it.
    items: Items,
    /// The place of its body among the closures of its function, if that matters to later cells.
    place: Option<u32>,
}

/// Why Rust cells cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum NoCompiler {
    /// Something that compiling needs is missing.
    Toolkit(#[from] ToolkitError),
    /// There is no folder to compile them in.
    Folder(std::io::Error),
    /// The engine has ended.
    ShutDown,
}

impl Diagnose for NoCompiler {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Toolkit(error) => error.diagnostic(),
            Self::Folder(error) => Diagnostic::new(format!("there is no folder to compile cells in: {error}"))
                .advise("set TMPDIR to a folder with free space"),
            Self::ShutDown => Diagnostic::new("the engine was shut down").advise("restart the kernel"),
        }
    }
}

impl NoCompiler {
    fn outcome(&self) -> Outcome {
        let diagnostic = self.diagnostic();
        error("NoCompiler", &diagnostic.to_string(), Vec::new()).with_diagnostic(diagnostic)
    }
}

/// Runs Rust cells and magics.
pub struct DirectEngine {
    program: PathBuf,
    folder: Option<PathBuf>,
    /// What `file!()` returns in cells.
    notebook: Option<String>,
    worker: Option<Worker>,
    compiler: Result<Compiler, NoCompiler>,
    items: Items,
    variables: Variables,
    sources: Sources,
    toolkit_types: HashMap<String, String>,
    busy: Arc<Busy>,
    names: Arc<Names>,
    settings: Settings,
    dependencies: Dependencies,
    /// The time spent by the cell that runs, or ran last.
    spent: Spent,
    /// The code of the last compile error.
    last_error: Option<String>,
    /// Names that would be defined by checked cells that do not compile.
    unknown: Unknown,
    /// The names of the prelude that the user's imports bring as well.
    hidden: BTreeSet<String>,
    /// How macro calls turned out to be read.
    macros: Macros,
    /// Why the last checked cell could not be checked completely.
    blocked: Vec<String>,
}

impl DirectEngine {
    /// Creates an engine whose worker is this program (the `chandlery` command). The worker starts with the first cell.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let compiler = Toolkit::locate().map_err(NoCompiler::from);
        let compiler = compiler.and_then(|toolkit| Compiler::new(toolkit).map_err(NoCompiler::Folder));
        let program = program.into();
        let rustc = compiler.as_ref().ok().map(|compiler| compiler.rustc().to_owned());
        let names = Arc::new(Names::with(Language::new(&program, rustc)));
        Self {
            program,
            folder: None,
            notebook: None,
            worker: None,
            compiler,
            items: Items::default(),
            variables: Variables::default(),
            sources: Sources::default(),
            toolkit_types: HashMap::new(),
            busy: Arc::default(),
            names,
            settings: Settings::default(),
            dependencies: Dependencies::default(),
            spent: Spent::default(),
            last_error: None,
            unknown: Unknown::default(),
            hidden: BTreeSet::new(),
            macros: Macros::default(),
            blocked: Vec::new(),
        }
    }

    /// Keeps built dependencies in this folder, instead of the user's cache.
    pub fn keep_dependencies_in(&mut self, folder: impl Into<PathBuf>) {
        self.dependencies.cache = folder.into();
    }

    /// Returns the language process, which completes and inspects, for callers that want to know its state.
    pub fn language(&self) -> Option<&Language> {
        self.names.language()
    }

    /// Returns what earlier cells left in scope, as source.
    fn scope(&self) -> String {
        let items = self.items.texts().map(str::to_owned);
        let variables = self.variables.iter().map(|(name, known)| known.declaration(name));
        let items = items.fold(assist::answers::PRELUDE.to_owned(), |scope, part| scope + &part + "\n");
        variables.fold(items + BODY, |scope, part| scope + &part + "\n")
    }

    /// Sets the folder in which cells run, instead of this process's own.
    #[must_use]
    pub fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..self }
    }

    /// Sets the notebook's name, which `file!()` returns in cells.
    #[must_use]
    pub fn of_notebook(self, name: impl Into<String>) -> Self {
        Self { notebook: Some(name.into()), ..self }
    }

    /// Returns why Rust cells cannot run here, if they cannot. Magics run anyway.
    pub fn problem(&self) -> Option<&NoCompiler> {
        self.compiler.as_ref().err()
    }

    /// Starts the worker now instead of with the first cell.
    ///
    /// # Errors
    /// The error of starting the process.
    pub fn start(&mut self) -> std::io::Result<()> {
        if self.worker.is_none() {
            let worker = Worker::start(&self.program, self.folder.as_deref())?;
            self.toolkit_types = worker.type_paths.iter().cloned().collect();
            self.worker = Some(worker);
        }
        Ok(())
    }

    fn cell(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        match self.ready(cell, output) {
            Outcome::Ok => self.perform(cell, output),
            failed => failed,
        }
    }

    /// Starts a worker for a cell if there is none.
    fn ready(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.sources.add(cell.number, &cell.code);
        self.reap_worker(cell.number, output);
        let fresh = self.worker.is_none();
        if let Err(problem) = self.start() {
            return error("WorkerFailed", &format!("{}: {problem}", self.program.display()), Vec::new());
        }
        if fresh { self.load_dependencies(cell.number, output) } else { Outcome::Ok }
    }

    /// Compiles Rust code for a purpose, and serves it.
    fn rust(&mut self, code: &str, number: u32, purpose: Purpose, output: &mut dyn Output) -> Outcome {
        let begun = Instant::now();
        if let Some(problem) = self.problem() {
            return problem.outcome();
        }
        let apart = match read::attributes::apart(code) {
            Ok(apart) => apart,
            Err(refused) => return self.sources.refused(number, &refused),
        };
        let code = apart.code.as_str();
        let mut calls = None;
        let mut whole = false;
        loop {
            let (mut parsed, changed) = match self.parse(code, number, &mut calls) {
                Ok(parsed) => parsed,
                Err(problem) if problem.is_final => return self.sources.syntax_error(number, &problem),
                Err(problem) => return self.syntax_error(code, number, &problem),
            };
            let expression = parsed.tail.is_some() && parsed.statements.len() == 1 && parsed.definitions.is_empty();
            if purpose == Purpose::Type && !expression {
                let place = self.sources.place_of(number, code.lines().count());
                return error("UsageError", "only a variable or an expression has a type", place);
            }
            if parsed.statements.is_empty() && parsed.definitions.is_empty() {
                return Outcome::Ok; // nothing but comments
            }
            let calls = calls.get_or_insert_default();
            let items = self.items.with(&parsed.definitions);
            let mut variables = self.variables.clone();
            for (name, why) in &self.shadowed(&parsed, number) {
                variables.lose(name, why.clone());
            }
            let attempt = Attempt {
                code,
                number,
                purpose,
                parsed: &mut parsed,
                calls,
                lints: &apart.lints,
                items,
                variables,
                changed,
                whole,
            };
            self.spent.split += begun.elapsed();
            let ready = match self.compile(attempt) {
                Ok(ready) => ready,
                Err(Stop::Outcome(outcome)) => return outcome,
                Err(Stop::Refused(report)) => return self.refused(report),
                Err(Stop::Reread) => continue,
            };
            self.macros.learn(calls);
            self.enforce(&parsed, &ready, number, output);
            let unit = ready.unit.clone();
            let result = self.run(code, number, &parsed, ready, output);
            if let Ok(compiler) = &self.compiler {
                compiler.clean(&unit);
            }
            match result {
                Some(outcome) => return outcome,
                // It stores closures, whose types only a cell in one piece can tell later cells.
                None => whole = true,
            }
        }
    }

    /// Splits a cell. Also returns the names that it redefines.
    fn parse(
        &self,
        code: &str,
        number: u32,
        calls: &mut Option<Calls>,
    ) -> Result<(Split, BTreeSet<String>), SyntaxError> {
        let mut parsed = split(code, number)?;
        let with_macros = self.items.with(&parsed.definitions);
        let tail = parsed.tail.clone();
        parsed.define(code, number, &|call| {
            let makes_items = call.macro_name().is_some_and(|name| with_macros.makes_items(&name));
            makes_items && tail.as_ref() != Some(&call.range)
        });
        let calls = calls.get_or_insert_with(|| {
            let mut macros = self.macros.clone();
            for item in &parsed.definitions {
                if item.is_macro() {
                    item.names().for_each(|name| macros.forget(name));
                }
            }
            macros.calls(&parsed, &with_macros)
        });
        calls.apply(&mut parsed, code, number);
        self.place(&mut parsed, code, number)?;
        let changed = self.items.changed(&parsed.definitions);
        Ok((parsed, changed))
    }

    /// Rewrites the files that a cell names to paths in the notebook's folder.
    fn place(&self, parsed: &mut Split, code: &str, number: u32) -> Result<(), SyntaxError> {
        let Ok(compiler) = &self.compiler else { return Ok(()) };
        let here = std::env::current_dir().unwrap_or_default();
        let notebook = self.folder.as_ref().map_or(here.clone(), |folder| here.join(folder));
        let name = self.notebook.clone().unwrap_or_else(|| format!("cell {number}"));
        let places = FileFolders { notebook: &notebook, copies: compiler.folder(), name: &name };
        parsed.place(&places).map_err(|(at, problem)| {
            let before = &code[..at];
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            SyntaxError { message: problem, line: before.matches('\n').count() + 1, column, is_final: true }
        })
    }

    /// Returns the variables whose names become a function, a constant or an import in this cell, with the reasons.
    fn shadowed(&self, parsed: &Split, number: u32) -> Vec<(String, String)> {
        let values = parsed.definitions.iter().flat_map(|item| item.values().map(move |name| (name, item.title())));
        let shadowed = values.filter(|(name, _)| self.variables.has(name));
        shadowed
            .map(|(name, title)| {
                (name.to_owned(), format!("`{name}` is no longer a variable: it is `{title}` of cell {number}"))
            })
            .collect()
    }

    /// Forgets variables and definitions, as after `%reset`.
    fn forget_everything(&mut self) {
        self.items = Items::default();
        self.variables.clear(None);
        self.hidden.clear();
        self.macros = Macros::default();
    }

    /// Puts a compiled cell's definitions into force, and shows the notices about what that drops.
    fn enforce(&mut self, parsed: &Split, ready: &CompiledCell, number: u32, output: &mut dyn Output) {
        for item in parsed.definitions.iter().filter(|item| item.is_macro()) {
            item.names().for_each(|name| self.macros.forget(name));
        }
        let mut gone = self.shadowed(parsed, number);
        gone.extend(ready.outdated.iter().cloned());
        self.items = ready.items.clone();
        self.forget(gone, output);
        for (names, why) in &ready.notices {
            run::serving::say(output, why);
            names.iter().for_each(|name| self.variables.explain(name, why.clone()));
        }
        if !ready.warnings.is_empty() {
            output.event(Event::Text { stream: Stream::Stderr, text: ready.warnings.clone() });
        }
    }

    /// Returns the compiler's error about text that cannot be parsed; it is better than the parser's.
    fn syntax_error(&mut self, code: &str, number: u32, problem: &SyntaxError) -> Outcome {
        let Ok(compiler) = &mut self.compiler else { return self.sources.syntax_error(number, problem) };
        let mut source = generate::source::Source::default();
        source.ours("fn cell() {");
        source.cell(code, (number, 1, 0));
        source.ours("}");
        let (text, lines) = source.finish();
        let compiled = compiler.compile(&text, None, &self.busy, &mut self.spent);
        compiler.warm();
        let Ok(Compiled::Errors(messages, file)) = compiled else {
            return self.sources.syntax_error(number, problem);
        };
        compiler.clean(&file);
        let found = Diagnostics::parse(&messages);
        let written = |cell, line| self.sources.line(cell, line);
        let at = Rendering { file: &file, cell: number, lines: &lines, text: &text, written: &written };
        if found.is_syntax(&at) {
            let report = found.report(&at);
            self.refused(report)
        } else {
            self.sources.syntax_error(number, problem)
        }
    }

    /// Returns the outcome of a cell that the compiler refuses, and remembers its code for `%explain`.
    fn refused(&mut self, report: CompileReport) -> Outcome {
        self.last_error = report.code.clone().or(self.last_error.take());
        report.outcome()
    }
}
