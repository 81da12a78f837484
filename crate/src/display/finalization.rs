//! What a finalization shows: every file of the new folder with its origin.

use super::numbers::binary_bytes;
use super::table::{Align, Mark, TableView};
use super::{MimeBundle, View};
use crate::finalize::{Finalization, FinalizePlan};
use crate::gguf::GgufPlan;

impl View for FinalizePlan {
    fn view(&self) -> MimeBundle {
        table(self, "Would finalize").bundle()
    }
}

impl View for Finalization {
    fn view(&self) -> MimeBundle {
        let verb = if self.dry_run { "Would finalize" } else { "Finalized" };
        table(&self.plan, verb).bundle().with("application/vnd.chandlery.finalization+json", self.report())
    }
}

fn table(plan: &FinalizePlan, verb: &str) -> TableView {
    let title = format!("{verb} {} into {}", plan.checkpoint.display(), plan.destination.display());
    let mut view = TableView::new(title, &[("file", Align::Left), ("", Align::Left)]);
    for file in &plan.files {
        let (mark, note) = match &file.link_to {
            Some(target) => (Mark::Muted, format!("→ {target}")),
            None => (Mark::None, file.origin.clone()),
        };
        view.row(mark, [file.path.clone().into(), note.into()]);
    }
    view.note(format!("{} tensors, {}", plan.table.len(), binary_bytes(plan.table.bytes())));
    plan.gguf.iter().flat_map(GgufPlan::exceptions_in_words).for_each(|note| view.note(note));
    for warning in &plan.warnings {
        view.note(format!("! {warning}"));
    }
    view
}
