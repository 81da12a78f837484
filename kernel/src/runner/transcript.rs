//! The text of a stream as a terminal would finally show it: rewritten lines in their last state, with the middle of
//! very long text left out.

use std::collections::VecDeque;

/// How much text of one stream a cell keeps by default.
pub(super) const LIMIT: usize = 1 << 20;

/// Text that is still being written. Its memory is bounded by its limit.
pub(super) struct Transcript {
    limit: usize,
    head: String,
    /// The last lines, once the head is full.
    tail: VecDeque<String>,
    tail_bytes: usize,
    left_lines: usize,
    left_bytes: usize,
    line: Vec<char>,
    cursor: usize,
    /// The last character was a carriage return: the next character rewrites the line, unless it is a newline.
    returned: bool,
}

impl Transcript {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            head: String::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            left_lines: 0,
            left_bytes: 0,
            line: Vec::new(),
            cursor: 0,
            returned: false,
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '\n' => self.end_line(),
                '\r' => (self.cursor, self.returned) = (0, true),
                _ => self.write(c),
            }
        }
    }

    fn write(&mut self, c: char) {
        // The old text stays where the new text is shorter, as in a terminal. Escape sequences do not take space
        // there, so a line with one is replaced.
        if std::mem::take(&mut self.returned) && (c == '\u{1b}' || self.line.contains(&'\u{1b}')) {
            self.line.clear();
        }
        if self.cursor < self.line.len() {
            self.line[self.cursor] = c;
        } else if self.line.len() < self.limit {
            self.line.push(c);
        } else {
            self.left_bytes += c.len_utf8();
            return;
        }
        self.cursor += 1;
    }

    fn end_line(&mut self) {
        let mut line: String = self.line.drain(..).collect();
        line.push('\n');
        (self.cursor, self.returned) = (0, false);
        if self.tail.is_empty() && self.left_lines == 0 && self.head.len() + line.len() <= self.limit / 2 {
            self.head.push_str(&line);
            return;
        }
        self.tail_bytes += line.len();
        self.tail.push_back(line);
        while self.tail_bytes > self.limit / 2 {
            let Some(gone) = self.tail.pop_front() else { break };
            self.tail_bytes -= gone.len();
            self.left_bytes += gone.len();
            self.left_lines += 1;
        }
    }

    /// Returns the text so far.
    pub(super) fn text(&self) -> String {
        let mut text = self.head.clone();
        if self.left_bytes > 0 {
            let (lines, bytes) = (self.left_lines, self.left_bytes);
            text.push_str(&format!("… {lines} lines ({bytes} bytes) left out; --max-output keeps more …\n"));
        }
        text.extend(self.tail.iter().map(String::as_str));
        text.extend(&self.line);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limit: usize, chunks: &[&str]) -> String {
        let mut transcript = Transcript::new(limit);
        chunks.iter().for_each(|chunk| transcript.push(chunk));
        transcript.text()
    }

    #[test]
    fn a_rewritten_line_is_kept_in_its_last_state() {
        assert_eq!(of(LIMIT, &["1%\r50", "%\r100%\r", "\ndone"]), "100%\ndone");
        assert_eq!(of(LIMIT, &["abcdef\rxy"]), "xycdef", "as in a terminal");
        assert_eq!(of(LIMIT, &["abcdef\r\u{1b}[Kxy"]), "\u{1b}[Kxy");
        assert_eq!(of(LIMIT, &["\u{1b}[31mabc\u{1b}[0m\rxy\n"]), "xy\n");
        assert_eq!(of(LIMIT, &["windows\r\nline\r\n"]), "windows\nline\n");
    }

    #[test]
    fn the_middle_of_long_text_is_left_out_and_counted() {
        let text = (0..1000).map(|n| format!("line {n}\n")).collect::<String>();
        let kept = of(100, &[&text]);
        assert!(kept.starts_with("line 0\n") && kept.ends_with("line 999\n"), "{kept}");
        assert!(kept.len() < 200 && kept.contains("lines (") && kept.contains("--max-output"), "{kept}");
        let all: usize = kept.lines().filter(|line| line.starts_with("line")).count();
        let left: usize = kept.split("… ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(all + left, 1000);
        assert!(of(100, &[&"x".repeat(10_000)]).len() < 200, "one endless line");
    }
}
