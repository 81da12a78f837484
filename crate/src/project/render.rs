//! Renders templates to YAML: reads only files of the project and built-in ones, with limits on time and size.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use minijinja::filters::tojson;
use minijinja::value::{Enumerator, Kwargs, Object};
use minijinja::{Environment, Error, ErrorKind, Output, OutputSpan, State, UndefinedBehavior, Value as Jinja};
use serde_json::Value;

use super::blame::{blame, line_of, locate, own, short, written_at};
use super::error::ProjectError;
use super::source::{Source, join};
use super::statements::{REPORT, Statement, reporting};
use super::{layout, yaml};

/// Steps of the template engine. A definition takes a few hundred.
pub(super) const FUEL: u64 = 1_000_000;
/// Bytes of YAML, and of any text in a variable.
pub(super) const MAX_TEXT: usize = 1 << 20;
/// Values that `set` gave which are remembered; a configuration sets a few dozen.
const MAX_RECORDS: usize = 2_000;

/// A rendered text, and how it came about.
pub(super) struct Rendering {
    /// What the templates wrote.
    pub(super) yaml: String,
    /// The same with the values of arguments that replaced some of it.
    pub(super) shown: String,
    /// The keys whose values were replaced.
    pub(super) replaced: Vec<String>,
    pub(super) value: Value,
    /// Which template wrote which bytes of the YAML.
    pub(super) spans: Vec<OutputSpan>,
    pub(super) log: Log,
}

impl Rendering {
    /// Puts a value in the place of what the templates wrote for `key`. False if they wrote no such key.
    pub(super) fn replace(&mut self, key: &str, value: &Value) -> bool {
        let Some(place) = self.value.get_mut(key) else { return false };
        let Some(shown) = layout::replaced(&self.shown, key, value) else { return false };
        *place = value.clone();
        self.shown = shown;
        self.replaced.push(key.to_owned());
        yaml::parse(&self.shown).is_ok_and(|read| read == self.value)
    }
}

impl Rendering {
    /// As [`replace`](Self::replace), or adds the key where the templates wrote none.
    pub(super) fn put(&mut self, key: &str, value: &Value) {
        if !self.replace(key, value)
            && let Value::Object(fields) = &mut self.value
        {
            fields.insert(key.to_owned(), value.clone());
            self.shown = format!("{}\n{key}: {value}\n", self.shown.trim_end());
            self.replaced.push(key.to_owned());
        }
    }
}

/// What happened during a rendering.
#[derive(Default)]
pub(super) struct Log {
    /// Templates by name: as written, and as rendered (every `set` reports).
    pub(super) sources: HashMap<String, (String, String)>,
    pub(super) statements: Vec<Statement>,
    /// Which statement gave which value, in order.
    pub(super) records: Vec<(usize, Jinja)>,
    /// Why a template could not be read.
    pub(super) refusal: Option<ProjectError>,
    /// The last template that was missing.
    pub(super) missing: Option<String>,
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
    Ok((Rendering { shown: yaml.clone(), yaml, replaced: Vec::new(), value, spans, log }, read))
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
    // The engine's own formatter turns undefined values into null, so a misspelled name would pass.
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

/// Accepts a number of bytes and refuses more.
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
