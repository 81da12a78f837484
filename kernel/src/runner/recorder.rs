//! A front that records what cells show as notebook outputs.

use serde_json::{Map, Value, json};

use super::notebook::{Notebook, lines};
use super::transcript::Transcript;
use crate::engine::{Event, Stream};
use crate::session::{Front, Publication};
use chandlery::display::MimeBundle;

/// How many consecutive outputs of text keep the order in which they were written.
const TURNS: usize = 80;

/// The outputs of every cell of one run. Updates reach displays of earlier cells, so all stay here until the end.
pub(super) struct Recorder {
    cells: Vec<Vec<Recorded>>,
    current: usize,
    clear_at_next: bool,
    max_output: usize,
    turns: Turns,
}

/// The text since the last output of another kind, each stream for itself.
struct Turns {
    stdout: Transcript,
    stderr: Transcript,
    bytes: usize,
    /// Whether it is recorded like that.
    merged: bool,
}

impl Turns {
    fn new(limit: usize) -> Self {
        Self { stdout: Transcript::new(limit), stderr: Transcript::new(limit), bytes: 0, merged: false }
    }
}

enum Recorded {
    Text { stream: Stream, text: Transcript },
    Display { data: MimeBundle, id: Option<String> },
    Result { data: MimeBundle, number: u32 },
    Error { name: String, value: String, traceback: Vec<String> },
}

impl Recorder {
    /// Creates a recorder for a number of cells, each keeping a number of bytes of either stream.
    pub(super) fn new(cells: usize, max_output: usize) -> Self {
        let cells = (0..cells).map(|_| Vec::new()).collect();
        Self { cells, current: 0, clear_at_next: false, max_output, turns: Turns::new(max_output) }
    }

    /// Begins a cell.
    pub(super) fn start_cell(&mut self, index: usize) {
        self.current = index;
        self.clear_at_next = false;
    }

    /// Sets the reason of the current cell's error, if only the runner knows it.
    pub(super) fn rename_error(&mut self, new_name: &str, new_value: &str) {
        for recorded in &mut self.cells[self.current] {
            if let Recorded::Error { name, value, traceback } = recorded {
                traceback.push(format!("{new_name}: {new_value}"));
                (*name, *value) = (new_name.to_owned(), new_value.to_owned());
            }
        }
    }

    /// Returns the rows of the test tables that the current cell shows.
    pub(super) fn tests(&self) -> Vec<Value> {
        let tables = self.cells[self.current].iter().filter_map(|recorded| match recorded {
            Recorded::Display { data, .. } => data.get("application/vnd.chandlery.table+json"),
            _ => None,
        });
        let tables = tables.filter(|table| table["kind"] == "tests");
        tables.filter_map(|table| table["rows"].as_array()).flatten().cloned().collect()
    }

    /// Writes the outputs into the notebook's code cells from an index on, except those whose tags prevent it.
    pub(super) fn write_to(&self, notebook: &mut Notebook, from: usize) {
        for (index, outputs) in self.cells.iter().enumerate().skip(from) {
            if notebook.kind(index) != "code" || notebook.has_tag(index, "skip-execution") {
                continue;
            }
            if notebook.has_tag(index, "remove-output") {
                notebook.set_outputs(index, Vec::new());
            } else {
                notebook.set_outputs(index, outputs.iter().map(Recorded::to_output).collect());
            }
        }
    }

    fn add(&mut self, recorded: Recorded) {
        let outputs = &mut self.cells[self.current];
        if std::mem::take(&mut self.clear_at_next) {
            outputs.clear();
        }
        outputs.push(recorded);
    }

    /// Appends text to the output before it if that is of the same stream, so that both streams keep their order. If they alternate
    /// endlessly, or write more than is kept, each has one output.
    fn write(&mut self, stream: Stream, text: &str) {
        let outputs = &mut self.cells[self.current];
        if std::mem::take(&mut self.clear_at_next) {
            outputs.clear();
        }
        let start = outputs.iter().rposition(|output| !matches!(output, Recorded::Text { .. })).map_or(0, |at| at + 1);
        if outputs.len() == start {
            self.turns = Turns::new(self.max_output);
        }
        let same = |output: &Recorded| matches!(output, Recorded::Text { stream: other, .. } if *other == stream);
        if !self.turns.merged {
            let whole = if stream == Stream::Stdout { &mut self.turns.stdout } else { &mut self.turns.stderr };
            whole.push(text);
            self.turns.bytes += text.len();
            let taken = outputs.len() - start + usize::from(!outputs.last().is_some_and(same));
            if taken > TURNS || taken > 1 && self.turns.bytes > self.max_output {
                outputs.truncate(start);
                let turns = std::mem::replace(&mut self.turns, Turns::new(self.max_output));
                self.turns.merged = true;
                outputs.push(Recorded::Text { stream: Stream::Stdout, text: turns.stdout });
                outputs.push(Recorded::Text { stream: Stream::Stderr, text: turns.stderr });
                return;
            }
        }
        let joins = match self.turns.merged {
            true => outputs[start..].iter().position(same).map(|at| start + at),
            false => outputs.len().checked_sub(1).filter(|last| *last >= start && same(&outputs[*last])),
        };
        let at = joins.unwrap_or_else(|| {
            outputs.push(Recorded::Text { stream, text: Transcript::new(self.max_output) });
            outputs.len() - 1
        });
        if let Recorded::Text { text: transcript, .. } = &mut outputs[at] {
            transcript.push(text);
        }
    }

    fn update(&mut self, data: &MimeBundle, id: &str) {
        for recorded in self.cells.iter_mut().flatten() {
            if let Recorded::Display { data: shown, id: Some(given) } = recorded
                && given == id
            {
                *shown = data.clone();
            }
        }
    }

    fn show(&mut self, event: Event, number: u32) {
        match event {
            Event::Text { stream, text } => self.write(stream, &text),
            Event::Display { data, id } => self.add(Recorded::Display { data, id }),
            Event::Update { data, id } => self.update(&data, &id),
            Event::Clear { wait: true } => self.clear_at_next = true,
            Event::Clear { wait: false } => self.cells[self.current].clear(),
            Event::Result { data } => self.add(Recorded::Result { data, number }),
        }
    }
}

impl Front for Recorder {
    fn publish(&mut self, publication: Publication) {
        match publication {
            Publication::Started { .. } => {}
            Publication::Shown { event, number } => self.show(event, number),
            Publication::Failed { name, value, traceback, .. } => self.add(Recorded::Error { name, value, traceback }),
        }
    }

    fn input(&mut self, _prompt: &str, _password: bool) -> Option<String> {
        None
    }
}

impl Recorded {
    fn to_output(&self) -> Value {
        match self {
            Self::Text { stream, text } => {
                let name = if *stream == Stream::Stdout { "stdout" } else { "stderr" };
                json!({"name": name, "output_type": "stream", "text": lines(&text.text())})
            }
            Self::Display { data, .. } => {
                json!({"data": stored(data), "metadata": {}, "output_type": "display_data"})
            }
            Self::Result { data, number } => json!({
                "data": stored(data), "execution_count": number, "metadata": {}, "output_type": "execute_result",
            }),
            Self::Error { name, value, traceback } => {
                json!({"ename": name, "evalue": value, "output_type": "error", "traceback": traceback})
            }
        }
    }
}

/// Returns a bundle as notebooks store it: texts by line, base64 and JSON unchanged.
fn stored(bundle: &MimeBundle) -> Value {
    let form = |mime: &str, value: &Value| match value {
        Value::String(text) if mime.starts_with("text/") || mime == "image/svg+xml" => lines(text),
        other => other.clone(),
    };
    bundle.forms().iter().map(|(mime, value)| (mime.clone(), form(mime, value))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Publication {
        let event = Event::Text { stream: Stream::Stdout, text: text.to_owned() };
        Publication::Shown { event, number: 1 }
    }

    fn shown(event: Event) -> Publication {
        Publication::Shown { event, number: 1 }
    }

    fn outputs(recorder: &Recorder, cell: usize) -> Vec<Value> {
        recorder.cells[cell].iter().map(Recorded::to_output).collect()
    }

    #[test]
    fn text_merges_and_waiting_clears_wait() {
        let mut recorder = Recorder::new(1, 1000);
        recorder.publish(text("a"));
        recorder.publish(text("b\nc"));
        recorder.publish(shown(Event::Clear { wait: true }));
        assert_eq!(outputs(&recorder, 0)[0]["text"], json!(["ab\n", "c"]));
        recorder.publish(text("d"));
        assert_eq!(outputs(&recorder, 0), [json!({"name": "stdout", "output_type": "stream", "text": ["d"]})]);
    }

    #[test]
    fn the_streams_are_saved_in_the_order_they_were_written() {
        let mut recorder = Recorder::new(1, 1000);
        let event = |stream, text: &str| shown(Event::Text { stream, text: text.to_owned() });
        recorder.publish(event(Stream::Stderr, "e1\n"));
        recorder.publish(event(Stream::Stdout, "1%\r"));
        recorder.publish(event(Stream::Stdout, "99%"));
        recorder.publish(event(Stream::Stderr, "e2\n"));
        recorder.publish(event(Stream::Stderr, "e3\n"));
        recorder.publish(shown(Event::Display { data: MimeBundle::text("d"), id: None }));
        recorder.publish(event(Stream::Stderr, "e4"));
        let texts: Vec<Value> = outputs(&recorder, 0).into_iter().map(|output| output["text"].clone()).collect();
        let expected = [json!(["e1\n"]), json!(["99%"]), json!(["e2\n", "e3\n"]), Value::Null, json!(["e4"])];
        assert_eq!(texts, expected);
    }

    #[test]
    fn streams_that_alternate_endlessly_stay_small() {
        let written = |lines: usize, max_output: usize, line: &str| {
            let mut recorder = Recorder::new(1, max_output);
            for _ in 0..lines {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    recorder.publish(shown(Event::Text { stream, text: line.to_owned() }));
                }
            }
            let outputs = outputs(&recorder, 0);
            let lines: usize = outputs.iter().map(|output| output["text"].as_array().unwrap().len()).sum();
            let bytes: usize = outputs.iter().map(|output| output["text"].to_string().len()).sum();
            (outputs.len(), lines, bytes)
        };
        let (outputs, lines, _) = written(40, 1 << 20, "a\n");
        assert_eq!((outputs, lines), (80, 80));
        let (outputs, lines, _) = written(5000, 1 << 20, "a\n");
        assert_eq!((outputs, lines), (2, 10_000));
        let (outputs, _, bytes) = written(5000, 1000, &("a".repeat(99) + "\n"));
        assert!(outputs == 2 && bytes < 4_000, "{outputs} outputs, {bytes} bytes");
    }

    #[test]
    fn updates_reach_earlier_cells() {
        let mut recorder = Recorder::new(2, 1000);
        recorder.publish(shown(Event::Display { data: MimeBundle::text("0%"), id: Some("p".to_owned()) }));
        recorder.start_cell(1);
        recorder.publish(shown(Event::Update { data: MimeBundle::text("100%"), id: "p".to_owned() }));
        assert_eq!(outputs(&recorder, 0)[0]["data"]["text/plain"], json!(["100%"]));
        assert!(outputs(&recorder, 1).is_empty());
    }
}
