//! The view of a finalization: every file of the new folder with its origin.

use crate::display::numbers::binary_bytes;
use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::finalize::{Finalization, FinalizePlan, PlannedFile};
use crate::gguf::GgufPlan;

impl View for FinalizePlan {
    fn view(&self) -> MimeBundle {
        whole(self, "Would finalize")
    }
}

impl View for Finalization {
    fn view(&self) -> MimeBundle {
        let verb = if self.dry_run { "Would finalize" } else { "Finalized" };
        let files = whole(&self.plan, verb);
        let all = match &self.quantization {
            Some(quantization) => files.followed_by(&quantization.table().bundle()),
            None => files,
        };
        all.with("application/vnd.chandlery.finalization+json", self.report())
    }
}

/// The files, and below them the tokens where some are added.
fn whole(plan: &FinalizePlan, verb: &str) -> MimeBundle {
    let files = table(plan, verb).typed_bundle("finalize_plan");
    match plan.tokens.as_ref().filter(|tokens| !tokens.is_empty() || !tokens.notes().is_empty()) {
        Some(tokens) => {
            let tied = plan.config.get("tie_word_embeddings").and_then(serde_json::Value::as_bool);
            files.followed_by(&crate::display::conversions::tokens::table(tokens, tied).bundle())
        }
        None => files,
    }
}

fn table(plan: &FinalizePlan, verb: &str) -> TableView {
    let title = format!("{verb} {} into {}", plan.checkpoint.display(), plan.destination.display());
    let mut view = TableView::new(title, &[("file", Align::Left), ("origin", Align::Left)]);
    for (path, file) in folded(&plan.files) {
        let (mark, note) = match &file.link_to {
            Some(target) => (Mark::Muted, format!("→ {target}")),
            None => (Mark::None, file.origin.clone()),
        };
        view.row(mark, [path.into(), note.into()]);
    }
    view.note(format!("{} tensors, {}", plan.table.len(), binary_bytes(plan.table.bytes())));
    plan.gguf.iter().flat_map(GgufPlan::exceptions_in_words).for_each(|note| view.note(note));
    view.note(format!("weights: {}", plan.choice.in_words()));
    plan.changes
        .losses_in_words()
        .into_iter()
        .for_each(|losses| view.note(format!("! in the destination it {losses}")));
    for warning in &plan.warnings {
        view.note(format!("! {warning}"));
    }
    view
}

/// Adjacent files in one folder of sources with one origin become one row. The files of a checkpoint stay separate.
fn folded(files: &[PlannedFile]) -> Vec<(String, &PlannedFile)> {
    let room = |file: &PlannedFile| {
        let folder = file.path.split_once('/').map(|(folder, _)| folder.to_owned());
        folder.filter(|folder| folder != "checkpoints")
    };
    let groups = files.chunk_by(|a, b| room(a).is_some() && room(a) == room(b) && a.origin == b.origin);
    let rows = groups.filter_map(|group| {
        let first = group.first()?;
        Some(match (room(first), group.len()) {
            (Some(folder), count) if count > 1 => (format!("{folder}/ ({count} files)"), first),
            _ => (first.path.clone(), first),
        })
    });
    rows.collect()
}
