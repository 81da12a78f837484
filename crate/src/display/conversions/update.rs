//! The view of an update: the steps, the fields and the parameters that change.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::display::numbers::{binary_bytes, thousands};
use crate::display::table::{Align, Mark, TableView};
use crate::display::{MimeBundle, View};
use crate::update::{UpdatePlan, Updated};

impl View for UpdatePlan {
    fn view(&self) -> MimeBundle {
        table(self, true).typed_bundle("update_plan")
    }
}

impl View for Updated {
    fn view(&self) -> MimeBundle {
        table(&self.plan, self.dry_run).bundle().with("application/vnd.chandlery.update+json", self.report())
    }
}

fn table(plan: &UpdatePlan, dry_run: bool) -> TableView {
    let verb = if dry_run { "Would update" } else { "Updated" };
    let title = format!(
        "{verb} {} into {}: {} {} → {}",
        plan.checkpoint.display(),
        plan.destination.display(),
        plan.architecture,
        plan.from,
        plan.to
    );
    let mut view = TableView::new(title, &[("", Align::Left), ("before", Align::Left), ("after", Align::Left)]);
    for (field, old, new) in plan.fields.iter() {
        let mark = match (old.is_null(), new.is_null()) {
            (_, true) => Mark::Removed,
            (true, false) => Mark::Good,
            (false, false) => Mark::Changed,
        };
        view.row(mark, [format!("config.json {field}").into(), short(old).into(), short(new).into()]);
    }
    // Layers that change alike are one row.
    let mut folded: BTreeMap<(String, String), usize> = BTreeMap::new();
    for way in plan.renames.iter().filter(|way| way.from != way.to) {
        *folded.entry((way.from.folded().0, way.to.folded().0)).or_default() += 1;
    }
    for ((from, to), count) in folded {
        let times = if count > 1 { format!("parameter ×{count}") } else { "parameter".to_owned() };
        view.row(Mark::None, [times.into(), from.into(), to.into()]);
    }
    for (names, what, mark) in [
        (&plan.dropped, "dropped: the new version has none", Mark::Muted),
        (&plan.unexpected, "left out: the model does not have it", Mark::Bad),
    ] {
        for name in names {
            view.row(mark, ["parameter".into(), name.to_string().into(), what.into()]);
        }
    }
    for name in &plan.missing {
        view.row(Mark::Bad, ["parameter".into(), "missing in the source".into(), name.to_string().into()]);
    }
    if plan.steps.is_empty() {
        view.note("no steps: the folder has this version already; its stamps and sources are written again");
    }
    for step in &plan.steps {
        view.note(step.clone());
    }
    view.note(format!(
        "{} tensors, {}, {} renamed",
        thousands(plan.table.len() as u64),
        binary_bytes(plan.table.bytes()),
        thousands(plan.renamed() as u64)
    ));
    view.note(format!("weights: {}", plan.choice.in_words()));
    if dry_run {
        view.note(format!("files: {}", plan.changes.writes.join(", ")));
    }
    plan.changes
        .losses_in_words()
        .into_iter()
        .for_each(|losses| view.note(format!("! in the destination it {losses}")));
    for warning in &plan.warnings {
        view.note(format!("! {warning}"));
    }
    view
}

/// A value on one line; objects and long lists are cut.
fn short(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
}
