//! A front that writes what cells show as notebook outputs.

use serde_json::{Map, Value, json};

use super::notebook::{Notebook, lines};
use super::transcript::Transcript;
use crate::engine::{Event, Stream};
use crate::server::{Front, Publication};
use chandlery::display::MimeBundle;

/// The outputs of every cell of one run. Updates reach displays of earlier cells, so all stay here until the end.
pub(super) struct Recorder {
    cells: Vec<Vec<Recorded>>,
    current: usize,
    clear_at_next: bool,
    max_output: usize,
}

enum Recorded {
    Text { stream: Stream, text: Transcript },
    Display { data: MimeBundle, id: Option<String> },
    Result { data: MimeBundle, number: u32 },
    Error { name: String, value: String, traceback: Vec<String> },
}

impl Recorder {
    /// For so many cells, each keeping so many bytes of either stream.
    pub(super) fn new(cells: usize, max_output: usize) -> Self {
        Self { cells: (0..cells).map(|_| Vec::new()).collect(), current: 0, clear_at_next: false, max_output }
    }

    /// What comes next belongs to this cell.
    pub(super) fn start_cell(&mut self, index: usize) {
        self.current = index;
        self.clear_at_next = false;
    }

    /// Gives the current cell's error the reason that only the runner knows.
    pub(super) fn rename_error(&mut self, new_name: &str, new_value: &str) {
        for recorded in &mut self.cells[self.current] {
            if let Recorded::Error { name, value, traceback } = recorded {
                traceback.push(format!("{new_name}: {new_value}"));
                (*name, *value) = (new_name.to_owned(), new_value.to_owned());
            }
        }
    }

    /// Puts the outputs into the notebook's code cells from an index on, but for those whose tags say otherwise.
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

    /// Text joins what its stream wrote since the last other output, standard output first: which of the two pipes is
    /// read first is chance, and must not show in the file.
    fn write(&mut self, stream: Stream, text: &str) {
        let outputs = &mut self.cells[self.current];
        if std::mem::take(&mut self.clear_at_next) {
            outputs.clear();
        }
        let start = outputs.iter().rposition(|output| !matches!(output, Recorded::Text { .. })).map_or(0, |at| at + 1);
        let same = |output: &Recorded| matches!(output, Recorded::Text { stream: other, .. } if *other == stream);
        let at = outputs[start..].iter().position(same).map_or_else(
            || {
                let at = if stream == Stream::Stdout { start } else { outputs.len() };
                outputs.insert(at, Recorded::Text { stream, text: Transcript::new(self.max_output) });
                at
            },
            |at| start + at,
        );
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
            Publication::Failed { name, value, traceback } => self.add(Recorded::Error { name, value, traceback }),
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

/// A bundle as notebooks store it: texts by line, base64 and JSON as they are.
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
    fn the_streams_are_saved_one_after_the_other_whichever_came_first() {
        let mut recorder = Recorder::new(1, 1000);
        let event = |stream, text: &str| shown(Event::Text { stream, text: text.to_owned() });
        recorder.publish(event(Stream::Stderr, "e1\n"));
        recorder.publish(event(Stream::Stdout, "1%\r"));
        recorder.publish(event(Stream::Stderr, "e2\n"));
        recorder.publish(event(Stream::Stdout, "99%"));
        recorder.publish(shown(Event::Display { data: MimeBundle::text("d"), id: None }));
        recorder.publish(event(Stream::Stderr, "e3"));
        let texts: Vec<Value> = outputs(&recorder, 0).into_iter().map(|output| output["text"].clone()).collect();
        assert_eq!(texts, [json!(["99%"]), json!(["e1\n", "e2\n"]), Value::Null, json!(["e3"])]);
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
