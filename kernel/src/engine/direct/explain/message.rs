//! The compiler's messages as it writes them, in JSON.

use serde::Deserialize;

use super::diagnostics::CellPosition;
use super::rendered::Rendering;

/// One message of `rustc --error-format=json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Diagnostic {
    pub(crate) message: String,
    pub(crate) code: Option<Code>,
    pub(crate) level: String,
    pub(crate) spans: Vec<Span>,
    pub(crate) children: Vec<Note>,
    pub(super) rendered: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Note {
    pub(crate) message: String,
    pub(crate) level: String,
    pub(crate) spans: Vec<Span>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Code {
    pub(crate) code: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) file_name: String,
    pub(crate) line_start: usize,
    pub(crate) column_start: usize,
    #[serde(default)]
    pub(crate) line_end: usize,
    #[serde(default)]
    pub(crate) column_end: usize,
    pub(crate) is_primary: bool,
    #[serde(default)]
    pub(crate) label: Option<String>,
    #[serde(default)]
    pub(crate) suggested_replacement: Option<String>,
    #[serde(default)]
    expansion: Option<Box<Expansion>>,
}

/// The macro call that a span comes from.
#[derive(Debug, Deserialize)]
pub(crate) struct Expansion {
    span: Span,
}

impl Diagnostic {
    /// Returns the position of the text it is about. For the expansion of a macro, that is the macro call.
    pub(super) fn place(&self, at: &Rendering<'_>) -> Option<CellPosition> {
        let mut primary = self.spans.iter().filter(|span| span.is_primary).map(Span::outermost);
        primary.find_map(|span| {
            let (cell, line) = at.lines.cell(span.line_start).filter(|_| span.file_name == at.file)?;
            Some((cell, line, span.column_start))
        })
    }
}

impl Span {
    /// Returns the span itself, or the outermost macro call it comes from. The `include!` of the cell's source does not count.
    pub(crate) fn outermost(&self) -> &Self {
        let mut span = self;
        while let Some(expansion) = &span.expansion {
            if expansion.span.expansion.is_none()
                && expansion.span.file_name != span.file_name
                && expansion.span.file_name.starts_with('r')
            {
                break;
            }
            span = &expansion.span;
        }
        span
    }
}
