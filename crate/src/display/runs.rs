//! What a finalization shows.

use super::numbers::binary_bytes;
use super::table::{Align, Mark, TableView};
use super::{MimeBundle, View};
use crate::finalize::Finalization;

impl View for Finalization {
    fn view(&self) -> MimeBundle {
        let verb = if self.dry_run { "Would finalize" } else { "Finalized" };
        let title = format!("{verb} {} into {}", self.checkpoint.display(), self.destination.display());
        let mut view = TableView::new(title, &[("file", Align::Left), ("link to", Align::Left)]);
        for (path, target) in &self.files {
            let mark = if target.is_some() { Mark::Muted } else { Mark::None };
            view.row(mark, [path.clone().into(), target.clone().unwrap_or_default().into()]);
        }
        view.note(format!("{} tensors, {}", self.table.len(), binary_bytes(self.table.bytes())));
        for warning in &self.warnings {
            view.note(format!("! {warning}"));
        }
        view.bundle().with("application/vnd.chandlery.finalization+json", self.report())
    }
}
