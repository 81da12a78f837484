//! The view of a dataset: its size and packing, and the beginnings of its documents.

use crate::dataset::{Dataset, DatasetProject};
use crate::display::numbers::thousands;
use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};

const SHOWN: usize = 10;

impl View for Dataset {
    fn view(&self) -> MimeBundle {
        let columns = [("file", Align::Left), ("row", Align::Right), ("tokens", Align::Right), ("text", Align::Left)];
        let frame = self.frame();
        let number = |count: usize| thousands(count as u64);
        let title = format!(
            "{}: {} documents, {} tokens in {} blocks of at most {}",
            self.title(),
            number(frame.height()),
            thousands(self.tokens()),
            number(self.blocks().len()),
            self.block_length()
        );
        let mut view = TableView::new(title, &columns);
        let cell = |column: &str, index: usize| {
            let value = frame.column(column).ok().and_then(|column| column.get(index).ok());
            value.map_or_else(String::new, |value| value.str_value().into_owned())
        };
        for index in 0..frame.height().min(SHOWN) {
            let row = ["file", "row", "tokens"].map(|column| cell(column, index).into());
            view.row(Mark::None, row.into_iter().chain([beginning(&cell("text", index)).into()]));
        }
        if frame.height() > SHOWN {
            view.note(format!("… and {} more documents", number(frame.height() - SHOWN)));
        }
        view.note(format!("packing {}: {:.1} % of the positions hold tokens", self.packing(), self.density() * 100.0));
        if self.cut_tokens() > 0 {
            view.note(format!("! {} tokens are cut off at the ends of long documents", number(self.cut_tokens())));
        }
        if !self.is_complete() {
            view.note("there are more documents; these were enough for the run");
        }
        view.bundle().with("application/vnd.chandlery.dataset+json", self.report())
    }
}

impl View for DatasetProject {
    fn view(&self) -> MimeBundle {
        let title = format!("Dataset {}: {}", self.name(), self.description());
        let mut view = TableView::new(title, &[("configuration", Align::Left)]);
        for name in self.configs() {
            let mark = if name == self.default_config() { Mark::Strong } else { Mark::None };
            view.row(mark, [name.into()]);
        }
        view.note(format!("default: {}", self.default_config()));
        view.typed_bundle("dataset_project")
    }
}

/// One line of at most 72 characters.
fn beginning(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(72) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
