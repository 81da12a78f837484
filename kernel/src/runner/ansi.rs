//! ANSI colors in text: removed for files, converted to spans for pages.

use chandlery::display::Html;
use vte::{Params, Parser, Perform};

/// A piece of text between escape sequences.
enum AnsiPiece {
    Text(String),
    /// The parameters of a color sequence, such as 1 and 31.
    Style(Vec<u16>),
}

/// The pieces that the parser of escape sequences finds, in order.
#[derive(Default)]
struct AnsiPieces(Vec<AnsiPiece>);

impl AnsiPieces {
    fn of(text: &str) -> Vec<AnsiPiece> {
        let mut pieces = Self::default();
        Parser::new().advance(&mut pieces, text.as_bytes());
        pieces.0
    }
}

impl Perform for AnsiPieces {
    fn print(&mut self, c: char) {
        match self.0.last_mut() {
            Some(AnsiPiece::Text(text)) => text.push(c),
            _ => self.0.push(AnsiPiece::Text(c.to_string())),
        }
    }

    /// Line ends, tabs and other control characters stay in the text.
    fn execute(&mut self, byte: u8) {
        self.print(char::from(byte));
    }

    fn csi_dispatch(&mut self, parameters: &Params, _intermediates: &[u8], _ignored: bool, action: char) {
        if action == 'm' {
            self.0.push(AnsiPiece::Style(parameters.iter().flatten().copied().collect()));
        }
    }
}

/// Returns the text without escape sequences.
pub(super) fn strip(text: &str) -> String {
    // The crate `strip-ansi-escapes` would remove tabs and carriage returns as well.
    let texts = AnsiPieces::of(text).into_iter().filter_map(|piece| match piece {
        AnsiPiece::Text(text) => Some(text),
        AnsiPiece::Style(_) => None,
    });
    texts.collect()
}

/// Writes text with its colors as spans; the page defines the classes `a1` (bold) to `a97` (bright white).
pub(super) fn write_html(html: &mut Html, text: &str) {
    let mut active: Vec<u16> = Vec::new();
    for piece in AnsiPieces::of(&settled(text)) {
        match piece {
            AnsiPiece::Text(text) if active.is_empty() => {
                html.text(&text);
            }
            AnsiPiece::Text(text) => {
                let classes = active.iter().map(|code| format!("a{code}")).collect::<Vec<_>>().join(" ");
                html.raw(format!("<span class=\"{classes}\">")).text(&text).raw("</span>");
            }
            AnsiPiece::Style(parameters) => restyle(&mut active, &parameters),
        }
    }
}

fn restyle(active: &mut Vec<u16>, parameters: &[u16]) {
    let mut codes = parameters.iter().copied();
    while let Some(code) = codes.next() {
        match code {
            0 => active.clear(),
            1..=4 => active.push(code),
            22 => active.retain(|&a| a > 2),
            30..=37 | 90..=97 => {
                active.retain(|&a| a < 30);
                active.push(code);
            }
            39 => active.retain(|&a| a < 30),
            // Of the 256 colors the first 16 have classes; true colors are left out. Both have parameters.
            38 | 48 => match (codes.next(), codes.next()) {
                (Some(5), Some(n @ 0..=15)) if code == 38 => {
                    active.retain(|&a| a < 30);
                    active.push(if n < 8 { 30 + n } else { 82 + n });
                }
                (Some(2), _) => {
                    codes.nth(1);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// Returns what a terminal shows of lines that were rewritten with carriage returns.
fn settled(text: &str) -> String {
    let line = |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or("").to_owned();
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        let mut html = Html::new();
        write_html(&mut html, text);
        html.finish()
    }

    #[test]
    fn colors_become_spans_and_text_is_escaped() {
        assert_eq!(html("\u{1b}[1;31mE<0>\u{1b}[0m ok"), "<span class=\"a1 a31\">E&lt;0&gt;</span> ok");
        assert_eq!(html("\u{1b}[38;5;9mred\u{1b}[39m"), "<span class=\"a91\">red</span>");
        assert_eq!(html("\u{1b}[38;2;1;2;3mtrue\u{1b}[2K"), "true");
        assert_eq!(html("1%\r50%\r100%\r\ndone\u{1b}"), "100%\ndone");
        assert_eq!(strip("\u{1b}[31ma\u{1b}[0mb\u{1b}[3"), "ab");
    }
}
