//! The differences of two configurations: `+` only the second has the field, `-` only the first has it, `~` the values
//! differ.

use serde_json::Value;

use crate::compare::ConfigDiff;
use crate::display::numbers::thousands;
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{MimeBundle, View};

impl View for ConfigDiff {
    fn view(&self) -> MimeBundle {
        table(self).typed_bundle("config_diff")
    }
}

pub(in crate::display) fn table(diff: &ConfigDiff) -> TableView {
    let (first, second) = (&diff.names.0, &diff.names.1);
    let columns = [("field", Align::Left), (first.as_str(), Align::Left), (second.as_str(), Align::Left)];
    let title = match diff.changed.len() {
        0 => "Configurations agree".to_owned(),
        1 => "Configurations differ in 1 field".to_owned(),
        count => format!("Configurations differ in {} fields", thousands(count as u64)),
    };
    let mut view = TableView::new(title, &columns);
    for one in diff.changed.iter() {
        let mark = match (&one.before, &one.after) {
            (None, _) => Mark::Good,
            (_, None) => Mark::Removed,
            _ => Mark::Changed,
        };
        view.row(mark, [one.field.as_str().into(), cell(one.before.as_ref()), cell(one.after.as_ref())]);
    }
    view.note(match diff.same {
        1 => "1 field is the same".to_owned(),
        same => format!("{} fields are the same", thousands(same as u64)),
    });
    view
}

/// Its JSON on one line; long values are cut.
fn cell(value: Option<&Value>) -> Cell {
    let Some(value) = value else { return Cell::default() };
    let text = value.to_string();
    let short = match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    Cell::from(short).valued(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_marked_by_letter() {
        let (before, after) = (json!({"a": 1, "b": "x", "c": true}), json!({"b": "y", "c": true, "d": 2}));
        let text = ConfigDiff::new(("A".to_owned(), "B".to_owned()), &before, &after).view().plain().to_owned();
        assert_eq!(
            text,
            "Configurations differ in 3 fields\n  field  A    B\n  ─────  ───  ───\n- a      1\n~ b      \"x\"  \"y\"\n+ d           2\n1 field is the same"
        );
    }
}
