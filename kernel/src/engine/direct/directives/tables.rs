//! The table of `%help`.

use chandlery::command;
use chandlery::display::{Align, Mark, MimeBundle, TableView};

use super::list;

/// Every directive and every verb, one line each.
pub(super) fn help() -> MimeBundle {
    let mut table = TableView::new(
        "Lines that start with % (or :) before a cell's Rust code run without compiling",
        &[("directive", Align::Left), ("what it does", Align::Left)],
    );
    for entry in list::ENTRIES {
        table.row(Mark::None, [entry.usage.into(), entry.what.into()]);
    }
    for verb in command::definitions() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        table.row(Mark::None, [format!("%{} …", verb.get_name()).into(), about.into()]);
    }
    table.note("%VERB --help explains a verb; --as NAME keeps its result as a variable. All other lines are Rust.");
    table.bundle()
}
