//! The `direct` engine: one rustc and one link per cell, run in a worker that holds the toolkit and the variables.

mod assist;
mod attempts;
mod attributes;
mod body;
mod busy;
mod check;
mod codegen;
mod compile;
mod content;
mod definition;
mod dependencies;
mod diagnostics;
mod directives;
mod ending;
mod ends;
pub(crate) mod folder;
mod imports;
mod items;
mod key;
mod macros;
mod names;
mod outcome;
mod paths;
mod process;
mod rendered;
mod serving;
mod source;
mod split;
mod statics;
mod subject;
mod syntax;
mod text;
mod typecheck;
mod types;
mod unknown;
mod variables;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Assist, Cell, Engine, Event, Interrupter, Outcome, Output, Stream};
use crate::language::{BODY, Language};
use crate::toolkit::{Toolkit, ToolkitError};
use assist::Names;
use attempts::Attempt;
use busy::Busy;
use codegen::Purpose;
use compile::{Compiled, Compiler};
use dependencies::Dependencies;
pub(crate) use dependencies::runtime;
pub use dependencies::{Cleaned, Kept, KeptSet};
use diagnostics::Diagnostics;
use directives::{Settings, Spent};
use items::Items;
use outcome::{Sources, error};
use process::Worker;
use rendered::Rendering;
use split::split;
use syntax::SyntaxError;
use unknown::Unknown;
use variables::Variables;

/// A compiled cell.
struct Ready {
    library: PathBuf,
    unit: String,
    /// The variables it does not store, with the reasons.
    dropped: Vec<(String, String)>,
    /// What the compiler warns of.
    warnings: String,
    /// Earlier definitions that are dropped: their names, and what to say.
    notices: Vec<(Vec<String>, String)>,
    /// The definitions in force from now on.
    items: Items,
    /// The place of its body among the closures of its function, if that matters to later cells.
    place: Option<u32>,
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
    dependencies: Dependencies,
    /// By the cell that runs, or ran last.
    spent: Spent,
    /// The code of the last compile error.
    last_error: Option<String>,
    /// When cells are checked: names that cells would define that do not compile.
    unknown: Unknown,
    /// Why the last checked cell could not be checked to its end.
    blocked: Vec<String>,
}

impl DirectEngine {
    /// An engine whose worker is this program (the `chandlery` command). The worker starts with the first cell.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let compiler = Toolkit::locate().map_err(|error: ToolkitError| error.to_string());
        let compiler = compiler.and_then(|toolkit| {
            Compiler::new(toolkit).map_err(|error| format!("no folder to compile cells in: {error}"))
        });
        let program = program.into();
        let rustc = compiler.as_ref().ok().map(|compiler| compiler.rustc().to_owned());
        let names = Arc::new(Names::with(Language::new(&program, rustc)));
        Self {
            program,
            folder: None,
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
            blocked: Vec::new(),
        }
    }

    /// Keeps built dependencies in this folder, instead of the user's cache.
    pub fn keep_dependencies_in(&mut self, folder: impl Into<PathBuf>) {
        self.dependencies.cache = folder.into();
    }

    /// The language process, which completes and inspects; for those who want to know how it is.
    pub fn language(&self) -> Option<&Language> {
        self.names.language()
    }

    /// What earlier cells left in scope, as source.
    fn scope(&self) -> String {
        let items = self.items.texts().map(str::to_owned);
        let variables = self.variables.iter().map(|(name, known)| known.declaration(name));
        let items = items.fold(assist::PRELUDE.to_owned(), |scope, part| scope + &part + "\n");
        variables.fold(items + BODY, |scope, part| scope + &part + "\n")
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
        match self.ready(cell, output) {
            Outcome::Ok => self.perform(cell, output),
            failed => failed,
        }
    }

    /// Sees to it that there is a worker for a cell.
    fn ready(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.sources.add(cell.number, &cell.code);
        self.bury_between(cell.number, output);
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
            return error("NoCompiler", problem, Vec::new());
        }
        let apart = match attributes::apart(code) {
            Ok(apart) => apart,
            Err(refused) => return self.sources.refused(number, &refused),
        };
        let code = apart.code.as_str();
        let mut parsed = match split(code, number) {
            Ok(parsed) => parsed,
            Err(problem) => return self.syntax_error(code, number, &problem),
        };
        let with_macros = self.items.with(&parsed.definitions);
        parsed.define(code, number, &|name| with_macros.makes_items(name));
        let expression = parsed.tail.is_some() && parsed.statements.len() == 1 && parsed.definitions.is_empty();
        if purpose == Purpose::Type && !expression {
            let place = self.sources.place_of(number, code.lines().count());
            return error("UsageError", "only a variable or an expression has a type", place);
        }
        if parsed.statements.is_empty() && parsed.definitions.is_empty() {
            return Outcome::Ok; // nothing but comments
        }
        let outdated = self.outdated(&self.items.changed_types(&parsed.definitions));
        let changed = self.items.changed(&parsed.definitions);
        let items = self.items.with(&parsed.definitions);
        let mut variables = self.variables.clone();
        for (name, why) in &outdated {
            variables.lose(name, why.clone());
        }
        let attempt =
            Attempt { code, number, purpose, parsed: &mut parsed, lints: &apart.lints, items, variables, changed };
        self.spent.split += begun.elapsed();
        let ready = match self.compile(attempt) {
            Ok(compiled) => compiled,
            Err(outcome) => return outcome,
        };
        self.items = ready.items.clone();
        self.forget(outdated, output);
        for (names, why) in &ready.notices {
            serving::say(output, why);
            names.iter().for_each(|name| self.variables.explain(name, why.clone()));
        }
        if !ready.warnings.is_empty() {
            output.event(Event::Text { stream: Stream::Stderr, text: ready.warnings.clone() });
        }
        let unit = ready.unit.clone();
        let result = self.run(code, number, &parsed, ready, output);
        if let Ok(compiler) = &self.compiler {
            compiler.clean(&unit);
        }
        result
    }

    /// What the compiler says about a text that cannot be parsed; it says it better than the parser.
    fn syntax_error(&mut self, code: &str, number: u32, problem: &SyntaxError) -> Outcome {
        let Ok(compiler) = &mut self.compiler else { return self.sources.syntax_error(number, problem) };
        let mut source = source::Source::default();
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
            outcome::compile_error(found.report(&at), Vec::new())
        } else {
            self.sources.syntax_error(number, problem)
        }
    }

    /// The variables whose type is redefined, with the reason to give.
    fn outdated(&self, changed: &BTreeSet<String>) -> Vec<(String, String)> {
        if changed.is_empty() {
            return Vec::new();
        }
        let holds = |type_name: &str| {
            let mut words = type_name.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            words.find_map(|word| word.strip_prefix("cell::").filter(|name| changed.contains(*name)).map(str::to_owned))
        };
        let all = self.variables.iter().filter_map(|(name, known)| {
            // A type that is inferred does not show in the name what a closure in it holds.
            let inferred =
                || known.mentions().iter().find(|name| known.is_inferred() && changed.contains(*name)).cloned();
            Some((name.to_owned(), holds(&known.type_name).or_else(inferred)?))
        });
        all.map(|(name, kind)| {
            let why = format!("`{name}` was dropped: its type `{kind}` was defined anew");
            (name, why)
        })
        .collect()
    }
}

impl Engine for DirectEngine {
    fn arm(&mut self) {
        self.busy.announce();
    }

    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.busy.begin();
        let outcome = self.cell(cell, output);
        if let Outcome::Error { name, .. } = &outcome {
            let code = name.strip_prefix("CompileError[").and_then(|code| code.strip_suffix(']'));
            self.last_error = code.map(str::to_owned).or(self.last_error.take());
        }
        self.busy.end();
        let variables = self.variables.iter().map(|(name, known)| (name, known.type_name.as_str()));
        self.names.set(variables, self.items.names(), self.scope());
        self.names.set_worker(self.process());
        outcome
    }

    fn between(&mut self, output: &mut dyn Output) {
        self.overhear(output);
    }

    fn check(&mut self, cell: &Cell, may_fail: bool, output: &mut dyn Output) -> Outcome {
        self.busy.begin();
        let outcome = self.check_cell(cell, may_fail, output);
        self.busy.end();
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

    fn end(&mut self, limit: Duration, output: &mut dyn Output) -> Outcome {
        let outcome = self.drop_variables(limit, output);
        self.shutdown();
        outcome
    }

    fn shutdown(&mut self) {
        if let Some(language) = self.names.language() {
            language.stop();
        }
        self.worker = None;
        self.compiler = Err("the engine was shut down".to_owned());
    }
}
