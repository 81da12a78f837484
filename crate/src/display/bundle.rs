//! A value's renderings by MIME type. `text/plain` is always among them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::sealed::Sealed;

/// One output in several forms; a front end shows the richest it understands.
///
/// `text/plain` is always present, so a terminal, a `git diff` or a test can read every output. Textual forms are JSON
/// strings, `image/png` is base64 text, and `application/…+json` forms are JSON values, as in the Jupyter protocol.
///
/// ```
/// use chandlery::display::MimeBundle;
/// let bundle = MimeBundle::text("4 layers").with_html("<b>4 layers</b>");
/// assert_eq!(bundle.plain(), "4 layers");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MimeBundle {
    /// Sealed, because cells hold bundles and would otherwise compile the code that drops a JSON tree.
    forms: Sealed<Map<String, Value>>,
}

impl MimeBundle {
    /// A bundle whose only form is `text/plain`.
    pub fn text(plain: impl Into<String>) -> Self {
        Self::of_text(plain.into())
    }

    // Generic functions are compiled again in every cell that uses them, so the work is in functions that are not generic.
    fn of_text(plain: String) -> Self {
        let mut forms = Map::new();
        forms.insert("text/plain".to_owned(), Value::String(plain));
        Self { forms: Sealed::new(forms) }
    }

    fn set(mut self, mime: &str, value: Value) -> Self {
        self.forms.insert(mime.to_owned(), value);
        self
    }

    /// Adds or replaces one form.
    pub fn with(self, mime: &str, value: impl Into<Value>) -> Self {
        self.set(mime, value.into())
    }

    /// Adds `text/html`. Long tables in it, made by [`TableView`](super::TableView), can be sorted and filtered where the
    /// page runs scripts.
    pub fn with_html(self, html: impl Into<String>) -> Self {
        self.set("text/html", Value::String(super::table::with_sorting(html.into())))
    }

    /// Adds a line below the text and the HTML.
    pub fn with_note(self, note: &str) -> Self {
        let plain = format!("{}\n{note}", self.plain());
        let html = self.get("text/html").and_then(Value::as_str).map(|html| {
            let mut more = super::Html::new();
            more.raw(html).raw("<div style=\"opacity:0.75;margin-top:0.2em\">").text(note).raw("</div>");
            more.finish()
        });
        let noted = self.with("text/plain", plain);
        match html {
            Some(html) => noted.with_html(html),
            None => noted,
        }
    }

    /// Appends another bundle's text and HTML below its own. Its other forms stay as they are.
    pub fn followed_by(self, other: &MimeBundle) -> Self {
        let plain = format!("{}\n\n{}", self.plain(), other.plain());
        let html = self.markup() + &other.markup();
        self.with("text/plain", plain).with_html(html)
    }

    /// Its HTML, or its text as HTML.
    pub(super) fn markup(&self) -> String {
        if let Some(html) = self.get("text/html").and_then(Value::as_str) {
            return html.to_owned();
        }
        let mut html = super::Html::new();
        html.raw("<pre style=\"margin:0.2em 0\">").text(self.plain()).raw("</pre>");
        html.finish()
    }

    /// The form that programs read, if it has one.
    pub(super) fn typed(&self) -> Option<&Value> {
        self.forms.iter().find(|(mime, _)| mime.starts_with("application/vnd.chandlery.")).map(|(_, value)| value)
    }

    /// Adds `image/png` from the bytes of a PNG file.
    pub fn with_png(self, png: &[u8]) -> Self {
        use base64::Engine;
        self.with("image/png", base64::engine::general_purpose::STANDARD.encode(png))
    }

    /// The `text/plain` form.
    pub fn plain(&self) -> &str {
        self.forms.get("text/plain").and_then(Value::as_str).unwrap_or("")
    }

    /// One form, if present.
    pub fn get(&self, mime: &str) -> Option<&Value> {
        self.forms.get(mime)
    }

    /// All forms, `text/plain` first.
    pub fn forms(&self) -> &Map<String, Value> {
        &self.forms
    }
}

/// A value with a rendering of its own. It is shown when it ends a cell, and by [`emit`](super::emit).
pub trait View {
    /// Renders the value in every form it has.
    fn view(&self) -> MimeBundle;
}

impl View for MimeBundle {
    fn view(&self) -> MimeBundle {
        self.clone()
    }
}

/// A value that is present shows itself; a missing one says so.
impl<T: View> View for Option<T> {
    fn view(&self) -> MimeBundle {
        self.as_ref().map_or_else(|| MimeBundle::text("None"), View::view)
    }
}

impl<T: View + ?Sized> View for &T {
    fn view(&self) -> MimeBundle {
        (**self).view()
    }
}
