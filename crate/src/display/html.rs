//! HTML is written here and nowhere else: all text is escaped in this one place.

use std::fmt::Write;

/// An HTML fragment under construction.
///
/// ```
/// use chandlery::display::Html;
/// let mut html = Html::new();
/// html.raw("<td>").text("<bar> & \"co\"").raw("</td>");
/// assert_eq!(html.finish(), "<td>&lt;bar&gt; &amp; &quot;co&quot;</td>");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Html(String);

impl Html {
    /// An empty fragment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends text, escaped for element content and quoted attributes.
    pub fn text(&mut self, text: impl std::fmt::Display) -> &mut Self {
        let mut plain = String::new();
        let _ = write!(plain, "{text}");
        for c in plain.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Appends markup as it is. Only for literals of this crate and for fragments made by [`Html`].
    pub fn raw(&mut self, markup: impl AsRef<str>) -> &mut Self {
        self.0.push_str(markup.as_ref());
        self
    }

    /// The fragment.
    pub fn finish(self) -> String {
        self.0
    }
}
