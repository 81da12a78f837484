//! The view of a rendered configuration: its YAML, with the origin of each value.

use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::project::{Origin, Project, ProjectConfig, Trace};

/// Origins stand to the right of this column unless a value is longer.
const MARGIN: usize = 40;

impl View for Trace {
    fn view(&self) -> MimeBundle {
        traced(self)
    }
}

fn traced(trace: &Trace) -> MimeBundle {
    trace.table().typed_bundle("configuration").with("text/plain", trace.text())
}

impl Trace {
    fn heading(&self) -> String {
        let note = self.note.as_ref().map_or_else(String::new, |note| format!(" - {note}"));
        match &self.folder {
            Some(folder) => format!("{} ({}){note}", self.title, folder.display()),
            None => format!("{} (built in){note}", self.title),
        }
    }

    /// The YAML with the origins as comments. It means the same as without them.
    fn text(&self) -> String {
        let mut rest = self.values.iter().peekable();
        let mut text = format!("# {}\n", self.heading());
        for line in self.yaml.lines() {
            let trimmed = line.trim_start();
            let last = rest.peek().and_then(|next| next.key.rsplit('.').next());
            let here = last.is_some_and(|key| {
                let bare = trimmed.trim_start_matches(['"', '\'']);
                bare.strip_prefix(key).is_some_and(|after| after.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
            });
            if !here {
                text.push_str(&format!("{line}\n"));
                continue;
            }
            let origin = rest.next().map(|next| next.origin.to_string()).unwrap_or_default();
            text.push_str(&format!("{line:<MARGIN$}  # {origin}\n"));
        }
        // Shown only if it means the same: a comment inside of a long text would be part of it, for example.
        let same = |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).ok();
        if rest.peek().is_none() && same(&text).is_some() && same(&text) == same(&self.yaml) {
            return text.trim_end().to_owned();
        }
        format!("# {}\n{}\n\n{}", self.heading(), self.yaml.trim_end(), self.table().text())
    }

    fn table(&self) -> TableView {
        let columns = [("key", Align::Left), ("value", Align::Left), ("from", Align::Left)];
        let mut table = TableView::new(self.heading(), &columns);
        for traced in self.values.iter() {
            let mark = match traced.origin {
                Origin::Argument(_) => Mark::Good,
                Origin::Default(_) => Mark::Muted,
                _ => Mark::None,
            };
            let mut value = traced.value.to_string();
            if value.chars().count() > 80 {
                value = value.chars().take(79).chain(['…']).collect();
            }
            table.row(mark, [traced.key.as_str().into(), value.into(), traced.origin.to_string().into()]);
        }
        table.note("+ given as argument, · left at its default");
        table
    }
}

impl View for Project {
    fn view(&self) -> MimeBundle {
        let place = self.folder().map_or_else(|| "built in".to_owned(), |folder| folder.display().to_string());
        let title = format!("Project {} ({place}): {}", self.name(), self.description());
        let columns = [("argument", Align::Left), ("type", Align::Left), ("about", Align::Left)];
        let mut table = TableView::new(title, &columns);
        for argument in self.arguments() {
            let kind = match argument.choices.as_slice() {
                [] => format!("{:?}", argument.kind).to_lowercase(),
                choices => choices.join(" | "),
            };
            table.row(Mark::None, [argument.name.as_str().into(), kind.into(), argument.help.as_str().into()]);
        }
        table.note(format!("configurations: {} (default: {})", self.configs().join(", "), self.default_config()));
        if let Some(note) = self.note() {
            table.note(note);
        }
        table.typed_bundle("project")
    }
}

/// The values it renders to with the arguments given so far, or why it does not.
impl View for ProjectConfig {
    fn view(&self) -> MimeBundle {
        match self.trace() {
            Ok(trace) => traced(&trace),
            Err(error) => MimeBundle::text(format!("{} {}: {error}", self.project().name(), self.name())),
        }
    }
}
