//! Where each value of a configuration comes from.
//!
//! The engine says which expression of which template wrote which bytes of the YAML. What the variables of such an
//! expression held is known from the reports that follow every `{% set %}` (see `statements.rs`) and from the arguments.
//! An expression passes a variable on if its value is the variable's; then the origin is that variable's own, which is
//! found the same way. If no variable of an expression has a value, the value is the expression's default. Everything
//! else is computed there, and the origin is the line of the expression.

use std::collections::BTreeMap;
use std::fmt;

use minijinja::{Environment, OutputSpanKind};
use serde_json::Value;

use super::blame::{own, template_line};
use super::layout::leaves;
use super::render::Rendering;
use super::source::Source;
use super::yaml;

/// A line of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateLine {
    /// The template: relative to its project, or `builtin/PROJECT/FILE` of another one.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// An argument of this name was given.
    Argument(String),
    /// A template set the variable that holds it.
    Set(TemplateLine),
    /// Nothing set it: the default of the expression that wrote it.
    Default(TemplateLine),
    /// It stands in the template as it is.
    Written(TemplateLine),
    /// An expression made it out of other values.
    Computed {
        /// The expression's line.
        place: TemplateLine,
        /// The variables it read.
        from: Vec<String>,
    },
    /// It could not be followed.
    Unknown,
}

impl fmt::Display for TemplateLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(name) => write!(f, "argument --{}", name.replace('_', "-")),
            Self::Set(place) | Self::Written(place) => write!(f, "{place}"),
            Self::Default(place) => write!(f, "default in {place}"),
            Self::Computed { place, from } if from.is_empty() => write!(f, "computed in {place}"),
            Self::Computed { place, from } => write!(f, "computed in {place} from {}", from.join(", ")),
            Self::Unknown => write!(f, "not traced"),
        }
    }
}

impl Origin {
    /// Returns the kind in one word, for reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Argument(_) => "argument",
            Self::Set(_) => "set",
            Self::Default(_) => "default",
            Self::Written(_) => "written",
            Self::Computed { .. } => "computed",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the template's line, unless an argument was given.
    pub fn place(&self) -> Option<&TemplateLine> {
        match self {
            Self::Set(place) | Self::Default(place) | Self::Written(place) | Self::Computed { place, .. } => {
                Some(place)
            }
            Self::Argument(_) | Self::Unknown => None,
        }
    }
}

/// One value of a rendered configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedValue {
    /// Its keys, joined by dots: `rope_parameters.rope_theta`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// What is known about the variables at the end of a rendering.
struct Tracer<'a> {
    source: &'a Source,
    given: &'a BTreeMap<String, Value>,
    /// Name, value and origin of every value that a `set` gave, in order.
    sets: Vec<(String, Value, Origin)>,
}

/// Returns every value of a rendering, in the YAML's order.
pub(super) fn trace(rendering: &Rendering, source: &Source, given: &BTreeMap<String, Value>) -> Vec<TracedValue> {
    let mut tracer = Tracer { source, given, sets: Vec::new() };
    for (statement, value) in &rendering.log.records {
        let Some(set) = rendering.log.statements.get(*statement) else { continue };
        // A value without a JSON form (a macro, a range) is passed on to nothing.
        let Ok(value) = serde_json::to_value(value) else { continue };
        let place = TemplateLine { file: own(source, &set.template).to_owned(), line: set.line };
        let origin = match tracer.origin(&set.expression, &value, place) {
            Origin::Default(place) | Origin::Written(place) => Origin::Set(place),
            origin => origin,
        };
        tracer.sets.push((set.name.clone(), value, origin));
    }
    let mut traced: Vec<TracedValue> = Vec::new();
    for leaf in leaves(&rendering.yaml) {
        if let Some(name) = leaf.path.first().filter(|name| rendering.replaced.contains(*name)) {
            if traced.iter().all(|known| known.key != *name) {
                let value = rendering.value.get(name).cloned().unwrap_or_default();
                traced.push(TracedValue { key: name.clone(), value, origin: Origin::Argument(name.clone()) });
            }
            continue;
        }
        let found = leaf.path.iter().try_fold(&rendering.value, |value, key| value.get(key));
        let Some(value) = found else { continue };
        let origin = tracer.of_text(rendering, leaf.value, value);
        traced.push(TracedValue { key: leaf.path.join("."), value: value.clone(), origin });
    }
    // What the layout did not show, such as keys inside an expression that writes them.
    for (key, value) in rendering.value.as_object().into_iter().flatten() {
        let inner = format!("{key}.");
        if !traced.iter().any(|known| known.key == *key || known.key.starts_with(&inner)) {
            let at = rendering.yaml.find(key.as_str());
            let place = at.and_then(|at| template_line(&rendering.yaml, &rendering.spans, at));
            let origin = place.map_or(Origin::Unknown, |(file, line)| Origin::Computed {
                place: TemplateLine { file: own(source, file).to_owned(), line },
                from: Vec::new(),
            });
            traced.push(TracedValue { key: key.clone(), value: value.clone(), origin });
        }
    }
    traced
}

impl Tracer<'_> {
    /// Returns the origin of the value that stands at `range` of the YAML.
    fn of_text(&self, rendering: &Rendering, range: std::ops::Range<usize>, value: &Value) -> Origin {
        let blank = |text: &str| text.trim().is_empty() || text.trim_start().starts_with('#');
        let mut written = None;
        let mut expressions = Vec::new();
        for span in &rendering.spans {
            let output = span.output_range();
            let (begin, end) = (output.start.max(range.start), output.end.min(range.end));
            let Some(text) = rendering.yaml.get(begin..end.max(begin)) else { continue };
            match span.kind() {
                _ if text.is_empty() => {}
                OutputSpanKind::Expression => expressions.push(span),
                _ if blank(text) => {}
                _ => {
                    let at = begin + text.len() - text.trim_start().len();
                    written = written.or_else(|| template_line(&rendering.yaml, &rendering.spans, at));
                }
            }
        }
        let place = |file: &str, line| TemplateLine { file: own(self.source, file).to_owned(), line };
        match (written, expressions.as_slice()) {
            (None, []) => {
                // A key without a value: the line of the key.
                let found = template_line(&rendering.yaml, &rendering.spans, range.start.saturating_sub(1));
                found.map_or(Origin::Unknown, |(file, line)| Origin::Written(place(file, line)))
            }
            (Some((file, line)), []) => Origin::Written(place(file, line)),
            (None, [span]) => {
                let place = place(span.name(), span.line());
                let text = rendering.log.sources.get(span.name()).and_then(|(_, text)| text.get(span.source_range()));
                // A part of a longer text, such as several keys at once, passes nothing on as a whole.
                let whole = span.output_range().start >= range.start && span.output_range().end <= range.end;
                let same = || yaml::parse(&rendering.yaml[span.output_range()]).is_ok_and(|part| part == *value);
                match text {
                    Some(expression) if whole && same() => self.origin(expression, value, place),
                    _ => Origin::Computed { place, from: Vec::new() },
                }
            }
            (_, [span, ..]) => Origin::Computed { place: place(span.name(), span.line()), from: Vec::new() },
        }
    }

    /// Returns the origin of `value`, which the expression at `place` gave.
    fn origin(&self, expression: &str, value: &Value, place: TemplateLine) -> Origin {
        let environment = Environment::new();
        let variables = environment.compile_expression(expression).map(|compiled| compiled.undeclared_variables(false));
        let Ok(variables) = variables else { return Origin::Computed { place, from: Vec::new() } };
        let mut variables: Vec<String> = variables.into_iter().collect();
        variables.sort();
        let mut defined = Vec::new();
        let mut passed: Vec<Origin> = Vec::new();
        for name in &variables {
            let sets = self
                .sets
                .iter()
                .rev()
                .filter(|(set, ..)| set == name)
                .map(|(_, value, origin)| (value, origin.clone()));
            let argument = self.given.get(name).map(|value| (value, Origin::Argument(name.clone())));
            let mut candidates = sets.chain(argument).peekable();
            if candidates.peek().is_some() {
                defined.push(name.clone());
            }
            if let Some((_, origin)) = candidates.find(|(held, _)| *held == value)
                && !passed.contains(&origin)
            {
                passed.push(origin);
            }
        }
        match (passed.as_slice(), defined.is_empty()) {
            ([origin], _) => origin.clone(),
            ([], true) if variables.is_empty() => Origin::Written(place),
            ([], true) => Origin::Default(place),
            _ => Origin::Computed { place, from: defined },
        }
    }
}
