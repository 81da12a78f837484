//! The display protocol of evcxr: a value prints `EVCXR_BEGIN_CONTENT` with a MIME type, the content, `EVCXR_END_CONTENT`.
//!
//! Crates that render in evcxr's notebooks, such as plotters, print such blocks to standard output.

use chandlery::display::MimeBundle;
use serde_json::Value;

use crate::engine::{Event, Stream};

const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &str = "EVCXR_END_CONTENT";

/// The MIME type of a marker that is not shown: the value of the cell's last expression is about to print its blocks.
const ANNOUNCED: &str = "application/x-chandlery-value";

/// Returns the code that a cell runs before the value of its last expression prints its blocks.
pub(crate) fn announce() -> String {
    format!(r#"::chandlery::display::emit(&::chandlery::display::MimeBundle::text("").with("{ANNOUNCED}", true))"#)
}

/// Standard output on its way to the front end: blocks become displays, the rest stays text.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Text that may be the start of a marker, or a block that is not complete.
    held: String,
    /// Complete adjacent blocks, which are forms of one output, as in evcxr.
    shown: Vec<(String, String)>,
    /// Whether the next output is the cell's value.
    value: bool,
}

impl Contents {
    /// Adds text, and passes on what is not part of an incomplete block.
    pub(crate) fn push(&mut self, text: &str, pass: &mut dyn FnMut(Event)) {
        self.held.push_str(text);
        loop {
            let Some(at) = self.held.find(BEGIN) else {
                let certain = self.held.len() - partial(&self.held);
                return self.text(certain, pass);
            };
            let Some(block) = block(&self.held[at..]) else {
                return self.text(at, pass);
            };
            let (mime, content, end) = (block.mime.to_owned(), block.content.to_owned(), at + block.end);
            self.text(at, pass);
            self.held.drain(..end - at);
            if self.shown.iter().any(|(other, _)| *other == mime) {
                self.show(pass);
            }
            self.shown.push((mime, content));
        }
    }

    /// Passes on everything but an incomplete block, when something else is about to be shown or after a pause.
    pub(crate) fn settle(&mut self, pass: &mut dyn FnMut(Event)) {
        self.show(pass);
        if !self.held.contains(BEGIN) {
            self.text(self.held.len(), pass);
        }
    }

    /// Returns whether this display only announces the cell's value and must not be shown.
    pub(crate) fn is_announced(&mut self, display: &MimeBundle) -> bool {
        let announced = display.get(ANNOUNCED).is_some();
        self.value |= announced;
        announced
    }

    /// Passes on everything; a block without an end is text.
    pub(crate) fn finish(&mut self, pass: &mut dyn FnMut(Event)) {
        self.show(pass);
        self.text(self.held.len(), pass);
        self.value = false;
    }

    /// Returns whether [`settle`](Self::settle) would pass something on.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.shown.is_empty() || (!self.held.is_empty() && !self.held.contains(BEGIN))
    }

    fn text(&mut self, length: usize, pass: &mut dyn FnMut(Event)) {
        if length > 0 {
            self.show(pass);
            pass(Event::Text { stream: Stream::Stdout, text: self.held.drain(..length).collect() });
        }
    }

    fn show(&mut self, pass: &mut dyn FnMut(Event)) {
        if !self.shown.is_empty() {
            let data = bundle(std::mem::take(&mut self.shown));
            pass(match std::mem::take(&mut self.value) {
                true => Event::Result { data },
                false => Event::Display { data, id: None },
            });
        }
    }
}

/// Returns how many bytes at the end may be the start of a marker.
fn partial(text: &str) -> usize {
    (1..BEGIN.len()).rev().find(|length| text.ends_with(&BEGIN[..*length])).unwrap_or(0)
}

struct Block<'a> {
    mime: &'a str,
    content: &'a str,
    end: usize,
}

/// Returns the block at the start of the text, if it is complete. Its end is marked by a line.
fn block(text: &str) -> Option<Block<'_>> {
    let (heading, _) = text.split_once('\n')?;
    let body = heading.len() + 1;
    let mut line_starts = body;
    for line in text[body..].split_inclusive('\n') {
        // The newline must have arrived: it is printed with the marker and is part of the block.
        if line.ends_with('\n') && line.trim_end() == END {
            let content = text[body..line_starts].strip_suffix('\n').unwrap_or("");
            return Some(Block { mime: heading[BEGIN.len()..].trim(), content, end: line_starts + line.len() });
        }
        line_starts += line.len();
    }
    None
}

fn bundle(forms: Vec<(String, String)>) -> MimeBundle {
    let named = forms.iter().map(|(mime, _)| mime.as_str()).collect::<Vec<_>>().join(", ");
    forms.into_iter().fold(MimeBundle::text(format!("[{named}]")), |bundle, (mime, content)| {
        let is_json = mime == "application/json" || mime.ends_with("+json");
        let parsed = is_json.then(|| serde_json::from_str::<Value>(&content).ok()).flatten();
        // Pictures are base64 text, which may be broken into lines.
        let is_picture = mime.starts_with("image/") && !mime.ends_with("+xml");
        match parsed {
            Some(value) => bundle.with(&mime, value),
            None if is_picture => bundle.with(&mime, content.split_whitespace().collect::<String>()),
            None => bundle.with(&mime, content),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the outputs with adjacent texts joined, and displays as their forms without the placeholder `text/plain`.
    fn outputs(pieces: &[&str]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut fresh = true;
        let mut pass = |event| match event {
            Event::Text { text, .. } if !fresh => found.last_mut().unwrap().push_str(&text),
            Event::Text { text, .. } => {
                found.push(text);
                fresh = false;
            }
            Event::Display { data, .. } => {
                let forms = data.forms().iter().filter(|(_, form)| !form.as_str().unwrap_or("").starts_with('['));
                found.push(forms.map(|(mime, form)| format!("<{mime} {form}>")).collect());
                fresh = true;
            }
            other => panic!("{other:?}"),
        };
        let mut contents = Contents::default();
        pieces.iter().for_each(|piece| contents.push(piece, &mut pass));
        contents.finish(&mut pass);
        found
    }

    #[test]
    fn blocks_are_found_wherever_the_pipe_splits_them() {
        let text = "DONE\nEVCXR_BEGIN_CONTENT text/html\n<b>\n\u{e9}</b>\nEVCXR_END_CONTENT\nafter E";
        let expected = ["DONE\n", "<text/html \"<b>\\n\u{e9}</b>\">", "after E"];
        assert_eq!(outputs(&[text]), expected);
        for (at, _) in text.char_indices() {
            assert_eq!(outputs(&[&text[..at], &text[at..]]), expected, "split at {at}");
        }
        let letters: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(outputs(&letters.iter().map(String::as_str).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn adjacent_blocks_are_forms_of_one_output_unless_a_type_repeats() {
        let block = |mime: &str, text: &str| format!("EVCXR_BEGIN_CONTENT {mime}\n{text}\nEVCXR_END_CONTENT\n");
        let all = block("text/plain", "p") + &block("text/html", "h") + &block("text/html", "i");
        assert_eq!(outputs(&[&all]), ["<text/plain \"p\"><text/html \"h\">", "<text/html \"i\">"]);
    }

    #[test]
    fn json_is_a_value_and_pictures_are_one_line() {
        let json = "EVCXR_BEGIN_CONTENT application/vnd.x+json\n{\"a\":1}\nEVCXR_END_CONTENT\n";
        assert_eq!(outputs(&[json]), ["<application/vnd.x+json {\"a\":1}>"]);
        let picture = "EVCXR_BEGIN_CONTENT image/png\niVBO\nRw0K\nEVCXR_END_CONTENT\n";
        assert_eq!(outputs(&[picture]), ["<image/png \"iVBORw0K\">"]);
    }

    #[test]
    fn a_block_without_an_end_is_text() {
        let text = "EVCXR_BEGIN_CONTENT text/html\n<b>EVCXR_END_CONTENT</b>\n";
        assert_eq!(outputs(&[text]), [text]);
        assert_eq!(outputs(&["EVCXR_BEGIN"]), ["EVCXR_BEGIN"]);
        let empty = "EVCXR_BEGIN_CONTENT text/html\nEVCXR_END_CONTENT\n";
        assert_eq!(outputs(&[empty]), ["<text/html \"\">"]);
    }

    #[test]
    fn what_may_become_a_marker_waits_only_until_it_is_settled() {
        let mut seen = Vec::new();
        let mut contents = Contents::default();
        contents.push("100 % DONE", &mut |event| seen.push(event));
        assert!(contents.is_waiting());
        contents.settle(&mut |event| seen.push(event));
        assert!(!contents.is_waiting());
        assert_eq!(seen.len(), 2);
        contents.push("EVCXR_BEGIN_CONTENT text/html\n<b>", &mut |event| seen.push(event));
        contents.settle(&mut |event| seen.push(event));
        assert!(!contents.is_waiting() && seen.len() == 2, "an open block stays held");
    }
}
