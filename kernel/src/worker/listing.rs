//! The table of variables.

use chandlery::cell::{Store, short_type_name};
use chandlery::display::{Align, Mark, MimeBundle, TableView};

/// Returns a table of every variable: its type, value, and the cell that made it.
pub(super) fn variables(store: &Store, cells: &[(String, u32)]) -> MimeBundle {
    let variables = store.variables();
    if variables.is_empty() {
        return MimeBundle::text("no variables");
    }
    let columns = [("name", Align::Left), ("type", Align::Left), ("value", Align::Left), ("cell", Align::Right)];
    let count = variables.len();
    let title = format!("{count} variable{}", if count == 1 { "" } else { "s" });
    let mut table = TableView::new(title, &columns);
    for variable in variables {
        let cell = cells.iter().find(|(name, _)| *name == variable.name).map(|(_, cell)| cell.to_string());
        let kind = short_type_name(&variable.type_name);
        table.row(
            Mark::None,
            [variable.name.into(), kind.into(), variable.summary.into(), cell.unwrap_or_default().into()],
        );
    }
    table.bundle()
}
