//! Finds the line of the template that is at fault, or that wrote something.

use minijinja::{Error, ErrorKind, OutputSpan, OutputSpanKind};

use super::error::{ProjectError, unknown};
use super::render::{FUEL, Log, MAX_TEXT};
use super::source::{BUILTIN, Source};

/// Returns an engine's error as ours: the innermost template and line, and which templates included it.
pub(super) fn blame(error: &Error, source: &Source, rendered: &str, log: &mut Log) -> ProjectError {
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

/// Returns what was undefined: the expression itself, or what stands before a filter that refused it.
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

/// Returns one line of at most 100 characters.
pub(super) fn short(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= 100 { text } else { text.chars().take(99).chain(['…']).collect() }
}

/// Returns a template's name so that a person can find it.
pub(super) fn locate(source: &Source, template: &str) -> String {
    if template.starts_with(BUILTIN) { template.to_owned() } else { source.locate(template) }
}

/// Returns a template's name without the prefix of its own project.
pub(super) fn own<'a>(source: &Source, template: &'a str) -> &'a str {
    template.strip_prefix(source.prefix().as_str()).unwrap_or(template)
}

/// Returns which template, and which line of it, wrote a line of the YAML.
pub(super) fn written_at<'a>(yaml: &str, spans: &'a [OutputSpan], line: usize) -> Option<(&'a str, usize)> {
    let begin: usize = yaml.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let begin = begin + yaml[begin..].len() - yaml[begin..].trim_start().len();
    template_line(yaml, spans, begin)
}

/// Returns which template, and which line of it, wrote the byte at `at`.
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
