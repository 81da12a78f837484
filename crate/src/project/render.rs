//! From templates to YAML: what is read is inside the project or built in, and neither time nor size is without limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use minijinja::filters::tojson;
use minijinja::value::{Enumerator, Kwargs, Object};
use minijinja::{
    Environment, Error, ErrorKind, Output, OutputSpan, OutputSpanKind, State, UndefinedBehavior, Value as Jinja,
};
use serde_json::Value;

use super::error::{ProjectError, unknown};
use super::source::{BUILTIN, Source, join};
use super::statements::{REPORT, Statement, reporting};
use super::yaml;

/// Steps of the template engine. A definition takes a few hundred.
const FUEL: u64 = 1_000_000;
/// Bytes of YAML, and of any text in a variable.
const MAX_TEXT: usize = 1 << 20;
/// Values that `set` gave which are remembered; a configuration sets a few dozen.
const MAX_RECORDS: usize = 2_000;

/// What came out, and what is known about how.
pub(super) struct Rendering {
    pub(super) yaml: String,
    pub(super) value: Value,
    /// Which template wrote which bytes of the YAML.
    pub(super) spans: Vec<OutputSpan>,
    pub(super) log: Log,
}

/// What happened during a rendering.
#[derive(Default)]
pub(super) struct Log {
    /// Templates by name: as written, and as rendered (every `set` reports).
    pub(super) sources: HashMap<String, (String, String)>,
    pub(super) statements: Vec<Statement>,
    /// Which statement gave which value, in order.
    pub(super) records: Vec<(usize, Jinja)>,
    /// Why a template could not be had.
    refusal: Option<ProjectError>,
    /// The last template that was not there.
    missing: Option<String>,
}

type SharedLog = Arc<Mutex<Log>>;

fn open(log: &SharedLog) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The template context: remembers which arguments were read.
#[derive(Debug)]
struct Tracked {
    values: BTreeMap<String, Value>,
    read: Mutex<BTreeSet<String>>,
}

impl Object for Tracked {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let name = key.as_str()?;
        let value = self.values.get(name)?;
        self.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(name.to_owned());
        Some(Jinja::from(minijinja::value::Serde(value)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// Renders the template `name` of a project with `given`, and parses the YAML. Returns the arguments that were read, too.
pub(super) fn render(
    source: &Source,
    name: &str,
    given: &BTreeMap<String, Value>,
) -> Result<(Rendering, BTreeSet<String>), ProjectError> {
    let log = SharedLog::default();
    let environment = environment(source.clone(), &log);
    let context = Arc::new(Tracked { values: given.clone(), read: Mutex::default() });
    let rendered = environment.get_template(name).and_then(|template| {
        // Once with a bound on the output, then once more for the spans, which know none.
        let bounded = Bounded(MAX_TEXT);
        template.render_captured_to(Jinja::from_dyn_object(context.clone()), bounded)?;
        open(&log).records.clear();
        template.render_with_spans(Jinja::from_dyn_object(context.clone()))
    });
    drop(environment);
    let mut log = std::mem::take(&mut *open(&log));
    let (yaml, spans) = rendered.map_err(|error| blame(&error, source, name, &mut log))?;
    let value = yaml::parse(&yaml).map_err(|error| {
        let place = error.line.and_then(|line| written_at(&yaml, &spans, line));
        let place = place.map_or_else(
            || source.locate(own(source, name)),
            |(file, line)| {
                let text = log.sources.get(file).map_or("", |(text, _)| text);
                line_of(&locate(source, file), text, Some(line))
            },
        );
        let rendered = error.line.and_then(|line| yaml.lines().nth(line - 1)).map(str::trim).unwrap_or("");
        let rendered =
            if rendered.is_empty() { String::new() } else { format!(", in the rendered line `{}`", short(rendered)) };
        ProjectError::Template {
            reason: format!("the YAML is wrong: {}{rendered}", error.reason),
            place,
            advice: "correct the template; what it renders to must be YAML".to_owned(),
        }
    })?;
    if !value.is_object() {
        return Err(ProjectError::Template {
            reason: format!("the YAML is `{}`, not a mapping of keys to values", short(&value.to_string())),
            place: source.locate(own(source, name)),
            advice: "write `key: value` lines, or include a template that does".to_owned(),
        });
    }
    let read = context.read.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    Ok((Rendering { yaml, value, spans, log }, read))
}

fn environment(source: Source, log: &SharedLog) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    environment.set_path_join_callback(|name, including| join(name, including).into());
    let shared = Arc::clone(log);
    environment.set_loader(move |name| {
        let mut log = open(&shared);
        match source.template(name) {
            Ok(Some(text)) => {
                let (with_reports, statements) = reporting(name, &text, log.statements.len());
                // Should the rewriting ever break a template, it is rendered as it was written.
                let intact = Environment::new().template_from_named_str(name, &with_reports).is_ok();
                let rendered = if intact { with_reports } else { text.clone() };
                if intact {
                    log.statements.extend(statements);
                }
                log.sources.insert(name.to_owned(), (text, rendered.clone()));
                Ok(Some(rendered))
            }
            Ok(None) => {
                log.missing = Some(name.to_owned());
                Ok(None)
            }
            Err(refusal) => {
                let error = Error::new(ErrorKind::InvalidOperation, "the template cannot be read");
                log.refusal = Some(refusal);
                Err(error)
            }
        }
    });
    let shared = Arc::clone(log);
    environment.add_function(REPORT, move |state: &State, statement: usize| -> Result<(), Error> {
        let mut log = open(&shared);
        let name = log.statements.get(statement).map(|set| set.name.clone());
        if let Some(value) = name.and_then(|name| state.lookup(&name)) {
            limited(&value)?;
            if log.records.len() < MAX_RECORDS {
                log.records.push((statement, value));
            }
        }
        Ok(())
    });
    // The engine's own turns what is undefined into null, so that a misspelt name would pass.
    environment.add_filter("tojson", |value: Jinja, indent: Option<Jinja>, options: Kwargs| {
        if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { tojson(&value, indent, options) }
    });
    environment.set_formatter(|output: &mut Output, state: &mut State, value: &Jinja| {
        limited(value)?;
        minijinja::escape_formatter(output, state, value)
    });
    environment
}

/// Text that doubles with every `set` is stopped before it fills the memory.
fn limited(value: &Jinja) -> Result<(), Error> {
    match value.len() {
        Some(length) if length > MAX_TEXT => Err(too_much()),
        _ => Ok(()),
    }
}

fn too_much() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("more than {MAX_TEXT} bytes of text"))
}

/// Takes so many bytes and refuses more.
struct Bounded(usize);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| std::io::Error::other("too much"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An engine's error as ours: the innermost template and line, and which templates included it.
fn blame(error: &Error, source: &Source, rendered: &str, log: &mut Log) -> ProjectError {
    let mut chain = vec![error];
    while let Some(inner) = chain.last().and_then(|error| std::error::Error::source(*error)) {
        let Some(inner) = inner.downcast_ref::<Error>() else { break };
        chain.push(inner);
    }
    // Errors of our own loader carry no place; that of the statement that asked is on an outer one.
    let placed = chain.iter().rev().find(|error| error.name().is_some() && error.line().is_some());
    let innermost = chain.last().copied().unwrap_or(error);
    let mut place = match placed.and_then(|error| error.name().zip(error.line())) {
        Some((name, line)) => {
            let text = log.sources.get(name).map_or("", |(text, _)| text);
            line_of(&locate(source, name), text, Some(line))
        }
        None => source.locate(own(source, rendered)),
    };
    let outer = chain.iter().filter(|error| error.kind() == ErrorKind::BadInclude);
    let outer = outer.filter_map(|error| Some(format!("{}:{}", error.name()?, error.line()?)));
    let mut outer: Vec<String> = outer.collect();
    outer.reverse();
    outer.dedup();
    outer.truncate(3);
    if !outer.is_empty() {
        place.push_str(&format!(", included from {}", outer.join(", ")));
    }
    let (reason, advice) = match innermost.kind() {
        _ if log.refusal.is_some() => {
            return match log.refusal.take() {
                Some(ProjectError::Refused { what, advice, .. }) => {
                    ProjectError::Template { reason: what, place, advice }
                }
                Some(other) => other,
                None => ProjectError::Template { reason: String::new(), place, advice: String::new() },
            };
        }
        ErrorKind::TemplateNotFound => {
            let name = log.missing.take().unwrap_or_default();
            return unknown("template", own(source, &name), &place, &source.templates());
        }
        ErrorKind::OutOfFuel => (
            format!("it does not end within {FUEL} steps"),
            "end the loop earlier, or write its result into the template",
        ),
        ErrorKind::WriteFailure => (
            format!("it renders to more than {MAX_TEXT} bytes"),
            "end the loop earlier; a configuration has a few hundred lines",
        ),
        ErrorKind::UndefinedError => {
            let reason = match innermost.range().zip(innermost.template_source()) {
                Some((range, text)) => format!("`{}` is undefined", short(undefined_part(text, range))),
                None => "an undefined value".to_owned(),
            };
            (reason, "set it before that line, or give it a default: {{ name | default(1) }}")
        }
        kind => {
            let detail = innermost.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
            (detail, "correct the template at that line")
        }
    };
    ProjectError::Template { reason, place, advice: advice.to_owned() }
}

/// What was undefined: the expression itself, or what stands before a filter that refused it.
fn undefined_part(text: &str, range: std::ops::Range<usize>) -> &str {
    let before = text.get(..range.start).unwrap_or_default().trim_end();
    match before.strip_suffix('|') {
        Some(piped) => piped.rsplit_once(['{', '=']).map_or(piped, |(_, expression)| expression).trim(),
        None => text.get(range).unwrap_or_default(),
    }
}

/// `file:line: text of the line`, as far as it is known.
pub(super) fn line_of(file: &str, text: &str, line: Option<usize>) -> String {
    let Some(line) = line.filter(|line| *line > 0) else { return file.to_owned() };
    match text.lines().nth(line - 1).map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => format!("{file}:{line}: {}", short(text)),
        None => format!("{file}:{line}"),
    }
}

/// One line of at most 100 characters.
fn short(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= 100 { text } else { text.chars().take(99).chain(['…']).collect() }
}

/// A template's name as a person can find it.
pub(super) fn locate(source: &Source, template: &str) -> String {
    if template.starts_with(BUILTIN) { template.to_owned() } else { source.locate(template) }
}

/// A template's name without the prefix of its own project.
pub(super) fn own<'a>(source: &Source, template: &'a str) -> &'a str {
    template.strip_prefix(source.prefix().as_str()).unwrap_or(template)
}

/// Which template, and which line of it, wrote a line of the YAML.
fn written_at<'a>(yaml: &str, spans: &'a [OutputSpan], line: usize) -> Option<(&'a str, usize)> {
    let begin: usize = yaml.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let begin = begin + yaml[begin..].len() - yaml[begin..].trim_start().len();
    template_line(yaml, spans, begin)
}

/// Which template, and which line of it, wrote the byte at `at`.
pub(super) fn template_line<'a>(yaml: &str, spans: &'a [OutputSpan], at: usize) -> Option<(&'a str, usize)> {
    let span = spans.iter().find(|span| span.output_range().contains(&at)).or(spans.last())?;
    let into = match span.kind() {
        // Raw text is its own source, line by line.
        OutputSpanKind::Raw => {
            let begin = span.output_range().start;
            yaml.get(begin..at.max(begin)).map_or(0, |text| text.matches('\n').count())
        }
        _ => 0,
    };
    Some((span.name(), span.line() + into))
}
