//! The view of a gradient check: how far each tensor's gradient is from finite differences.

use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::part::GradientCheck;

impl View for GradientCheck {
    fn view(&self) -> MimeBundle {
        let verdict = if self.passed() { "agree with" } else { "differ from" };
        let title = format!("Gradients of {} {verdict} finite differences", self.part);
        let columns = [("tensor", Align::Left), ("entries", Align::Right), ("relative error", Align::Right)];
        let mut view = TableView::new(title, &columns);
        for tensor in &self.tensors {
            let mark = if tensor.agrees() { Mark::Good } else { Mark::Removed };
            let error = Cell::from(format!("{:.1e}", tensor.relative_error)).valued(tensor.relative_error);
            let entries = Cell::from(tensor.entries.to_string()).valued(tensor.entries);
            view.row(mark, [tensor.name.as_str().into(), entries, error]);
        }
        view.note("float64, dropout off; the largest difference over the largest gradient of the tensor");
        view.typed_bundle("gradient_check")
    }
}
