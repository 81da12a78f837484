//! Compiles a cell, and compiles it again without what stood in its way, as long as that is not the cell itself.

mod corrections;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::rustc::Compiled;
use crate::engine::Outcome;
use crate::engine::direct::explain::diagnostics::{CellPosition, Diagnostics};
use crate::engine::direct::explain::outcome::{self, CompileReport, error};
use crate::engine::direct::explain::rendered::Rendering;
use crate::engine::direct::generate::codegen::{CellUnit, Choice, Generated, Loss, Purpose};
use crate::engine::direct::generate::fields::MovedFields;
use crate::engine::direct::generate::source::StoredVariable;
use crate::engine::direct::read::macros::Calls;
use crate::engine::direct::read::split::Split;
use crate::engine::direct::session::items::{At, Items};
use crate::engine::direct::session::unknown::Unknown;
use crate::engine::direct::session::variables::Variables;
use crate::engine::direct::{CompiledCell, DirectEngine};

/// How often a cell is compiled at most.
const MAX_COMPILES: usize = 12;

/// A cell, and what it is compiled with.
pub(crate) struct Attempt<'a> {
    pub(crate) code: &'a str,
    pub(crate) number: u32,
    pub(crate) purpose: Purpose,
    pub(crate) parsed: &'a mut Split,
    /// How its macro calls are read.
    pub(crate) calls: &'a mut Calls,
    pub(crate) lints: &'a [String],
    /// The definitions in force, including the cell's own.
    pub(crate) items: Items,
    pub(crate) variables: Variables,
    /// The names that the cell redefines.
    pub(crate) changed: BTreeSet<String>,
    /// Run the cell in one piece instead of statement by statement.
    pub(crate) whole: bool,
}

/// Why a cell was not compiled.
pub(crate) enum Stop {
    /// It has this outcome already.
    Outcome(Outcome),
    /// The compiler refuses it.
    Refused(CompileReport),
    /// Its macro calls must be read in another way.
    Reread,
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

/// The state between two compiles.
pub(crate) struct Progress<'a> {
    pub(crate) attempt: Attempt<'a>,
    pub(crate) choice: Choice,
    dropped: BTreeMap<StoredVariable, Loss>,
    fields: MovedFields,
    reasons: BTreeMap<String, (Loss, String)>,
    notices: Vec<(Vec<String>, String)>,
    own: BTreeSet<At>,
    removed: BTreeSet<At>,
    trimmed: BTreeSet<CellPosition>,
    outdated: Vec<(String, String)>,
    /// Definitions have changed since types were last compared.
    redefined: bool,
    /// The cell is compiled with another identity for its types.
    renewed: bool,
    /// The report of the first attempt that lacked something: it is better than that of a later one.
    undisplayed: Option<CompileReport>,
    narrow: Option<CompileReport>,
    /// The report from before the types of numbers were changed.
    pub(crate) mistyped: Option<CompileReport>,
}

impl DirectEngine {
    /// Compiles a cell, again if needed: without the variables that it cannot store, and without earlier definitions that
    /// conflict with its own.
    pub(crate) fn compile(&mut self, attempt: Attempt<'_>) -> Result<CompiledCell, Stop> {
        let own: BTreeSet<At> = attempt.parsed.definitions.iter().map(|own| own.at).collect();
        let redefined = !own.is_empty();
        let mut choice = Choice { hidden: self.hidden.clone(), ..Choice::default() };
        if !attempt.changed.is_empty() {
            choice.checked = attempt.items.dependents(&attempt.changed);
        }
        let mut progress = Progress {
            attempt,
            choice,
            dropped: BTreeMap::new(),
            fields: MovedFields::new(),
            reasons: BTreeMap::new(),
            notices: Vec::new(),
            own,
            removed: BTreeSet::new(),
            trimmed: BTreeSet::new(),
            outdated: Vec::new(),
            redefined,
            renewed: false,
            undisplayed: None,
            narrow: None,
            mistyped: None,
        };
        let runs = matches!(progress.attempt.purpose, Purpose::Run(_));
        progress.choice.staged = runs && !progress.attempt.whole && progress.unit(&self.unknown).can_stage();
        for _ in 0..MAX_COMPILES {
            let is_other = progress.outdate(&self.items).is_other;
            if is_other
                && runs
                && !std::mem::replace(&mut progress.renewed, true)
                && let Ok(compiler) = &mut self.compiler
            {
                compiler.renew();
            }
            if let Some(ready) = self.attempt(&mut progress)? {
                return Ok(ready);
            }
        }
        Err(error("CompileError", "the cell moves variables in a way that is not understood", Vec::new()).into())
    }

    /// Compiles once. Returns `None` if there is a reason to try again.
    fn attempt(&mut self, progress: &mut Progress<'_>) -> Result<Option<CompiledCell>, Stop> {
        let begun = Instant::now();
        let unit = progress.unit(&self.unknown);
        let place = if progress.choice.staged { None } else { unit.place() };
        let Generated { text, lines } = unit.generate();
        let number = progress.attempt.number;
        let level = match progress.attempt.purpose {
            Purpose::Run(level) => level,
            Purpose::Check | Purpose::Type => None,
        };
        let compiler = self.compiler.as_mut().map_err(|problem| problem.outcome())?;
        self.spent.split += begun.elapsed();
        let compiled = compiler.compile(&text, level, &self.busy, &mut self.spent);
        let compiled = compiled.map_err(|problem| error("CompileError", &format!("rustc: {problem}"), Vec::new()))?;
        let sources = &self.sources;
        let written = |cell, line| sources.line(cell, line);
        let (messages, file) = match compiled {
            Compiled::Library(library, file, messages) => {
                if progress.outdate(&self.items).any {
                    compiler.clean(&file);
                    return Ok(None);
                }
                let mut warnings = String::new();
                if !messages.is_empty() {
                    let found = Diagnostics::parse(&messages);
                    if progress.without_ambiguous(&found) {
                        compiler.clean(&file);
                        return Ok(None);
                    }
                    let at = Rendering { file: &file, cell: number, lines: &lines, text: &text, written: &written };
                    let statements = &progress.attempt.parsed.statements;
                    let tops: Vec<_> = statements.iter().filter_map(|s| s.pattern.clone()).collect();
                    warnings = found.warnings(&at, &tops);
                }
                self.sources.add_unit(&file, lines);
                self.hidden.clone_from(&progress.choice.hidden);
                let dropped = std::mem::take(&mut progress.reasons);
                return Ok(Some(CompiledCell {
                    library,
                    unit: file,
                    dropped: dropped.into_iter().map(|(name, (loss, why))| (name, loss, why)).collect(),
                    warnings,
                    notices: std::mem::take(&mut progress.notices),
                    outdated: std::mem::take(&mut progress.outdated),
                    items: progress.attempt.items.clone(),
                    place,
                }));
            }
            Compiled::Stopped => {
                return Err(outcome::interrupted("while compiling; no variable was changed").into());
            }
            Compiled::Died(how) => {
                compiler.warm();
                let how = format!("{how}; no variable was changed");
                return Err(error("CompilerDied", &how, Vec::new()).into());
            }
            Compiled::Errors(messages, file) => (messages, file),
        };
        compiler.clean(&file);
        let found = Diagnostics::parse(&messages);
        let at = Rendering { file: &file, cell: number, lines: &lines, text: &text, written: &written };
        if progress.without_earlier_definitions(&found, &at)
            || progress.without_inferred(&found, &lines)
            || progress.without_borrowers(&found, &at)
            || progress.without_guards(&found)
            || progress.without_moved_fields(&found, &lines)
            || progress.without_unstorable(&found, &lines)
            || progress.without_ambiguous(&found)
        {
            return Ok(None);
        }
        if progress.other_calls(&found, &at) {
            return Err(Stop::Reread);
        }
        if found.has_never_value() && progress.attempt.parsed.tail.take().is_some() {
            return Ok(None);
        }
        // An error without `Display` is shown with `Debug`. If it has neither, the compiler's first report is the right one.
        let places = found.undisplayed(&at);
        if progress.attempt.parsed.show_by_debug(progress.attempt.code, &places) {
            progress.undisplayed = Some(found.report(&at));
            return Ok(None);
        }
        if progress.with_numbers(&found, &at) {
            return Ok(None);
        }
        if progress.otherwise(&found, &at, &self.unknown) {
            return Ok(None);
        }
        compiler.warm();
        let (unknown, nothing_else) = found.unknown(&lines);
        let unknown: Vec<String> = unknown.into_iter().filter_map(|name| self.unknown.explain(name)).collect();
        if nothing_else && !unknown.is_empty() {
            self.blocked = unknown;
            return Err(Outcome::Ok.into());
        }
        Err(progress.refused(&found, &at, unknown))
    }
}

impl Progress<'_> {
    fn unit<'a>(&'a self, unknown: &'a Unknown) -> CellUnit<'a> {
        CellUnit {
            code: self.attempt.code,
            cell: self.attempt.number,
            split: self.attempt.parsed,
            items: &self.attempt.items,
            variables: &self.attempt.variables,
            dropped: &self.dropped,
            fields: &self.fields,
            choice: &self.choice,
            lints: self.attempt.lints,
            purpose: self.attempt.purpose,
            unknown,
        }
    }

    /// Returns the offset of a line and column of the cell, both counted from 1.
    pub(crate) fn offset(&self, (line, column): (usize, usize)) -> usize {
        let code = self.attempt.code;
        let start: usize = code.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let inside: usize = code.get(start..).unwrap_or("").chars().take(column - 1).map(char::len_utf8).sum();
        start + inside
    }

    /// Switches to another way to compile the cell, if one is left.
    fn otherwise(&mut self, found: &Diagnostics, at: &Rendering<'_>, unknown: &Unknown) -> bool {
        let only_names = found.lacks_names();
        let more = !self.choice.all && {
            let unit = self.unit(unknown);
            unit.definitions().len() < self.attempt.items.all().len()
        };
        let whole = self.choice.staged && !only_names;
        if more {
            self.narrow = Some(found.report(at));
            self.choice.all = true;
        }
        if whole {
            self.run_whole();
        }
        more || whole
    }

    /// Switches to running the cell in one piece.
    fn run_whole(&mut self) {
        self.choice.staged = false;
        self.dropped.clear();
        self.fields.clear();
        self.reasons.clear();
    }

    /// Returns the outcome of a cell that does not compile.
    fn refused(&mut self, found: &Diagnostics, at: &Rendering<'_>, unknown: Vec<String>) -> Stop {
        let undisplayed = self.undisplayed.take().filter(|_| found.lacks_debug());
        // With all definitions in force, definitions of other cells may be the ones that do not compile.
        let narrow = self.narrow.take().filter(|_| !found.is_own(at));
        let report = self.mistyped.take().or(undisplayed).or(narrow).unwrap_or_else(|| found.report(at));
        let gone = found.unknown_names().filter_map(|name| {
            let lost = self.notices.iter().find(|(names, _)| names.iter().any(|lost| lost == name));
            lost.map(|(_, why)| why.as_str()).or_else(|| self.attempt.variables.why_gone(name)).map(str::to_owned)
        });
        let mut notes: Vec<String> = gone.chain(unknown).collect();
        notes.dedup();
        Stop::Refused(report.with_notes(notes))
    }
}
