//! How names are rewritten, and what does not fit.

use std::collections::BTreeMap;

use super::numbers::{shape, thousands};
use super::table::{Align, Cell, Mark, TableView};
use super::{Html, MimeBundle, View};
use crate::convert::{RemapPlan, RemapStep};
use crate::spec::ParamPath;

/// Rules that did the same to many layers, as one row.
fn folded_steps(plan: &RemapPlan) -> Vec<(&RemapStep, usize)> {
    let mut steps: Vec<(&RemapStep, usize)> = Vec::new();
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut ordered: Vec<&RemapStep> = plan.steps.iter().collect();
    ordered.sort_by(|a, b| a.from.cmp(&b.from));
    for step in ordered {
        let place = *places.entry((step.from.folded().0, step.to.folded().0)).or_insert_with(|| {
            steps.push((step, 0));
            steps.len() - 1
        });
        steps[place].1 += 1;
    }
    steps
}

/// One of the two names, its rewritten pieces marked; layer numbers read `*` where rows are folded.
fn name_cell(step: &RemapStep, count: usize, pick: impl Fn(&(String, String)) -> &String, style: &str) -> Cell {
    let fold = |piece: &str| if count > 1 { ParamPath::from(piece).folded().0 } else { piece.to_owned() };
    let mut html = Html::new();
    let mut text = String::new();
    for segment in &step.segments {
        let piece = fold(pick(segment));
        text.push_str(&piece);
        if segment.0 == segment.1 {
            html.text(piece);
        } else {
            html.raw(format!("<b style=\"{style}\">")).text(piece).raw("</b>");
        }
    }
    Cell::rich(text, html)
}

impl View for RemapPlan {
    fn view(&self) -> MimeBundle {
        let columns = [
            ("from", Align::Left),
            ("to", Align::Left),
            ("×", Align::Right),
            ("shape", Align::Left),
            ("dtype", Align::Left),
            ("change", Align::Left),
        ];
        let title = format!("Remapping of {} tensors", thousands(self.tensors() as u64));
        let mut view = TableView::new(title, &columns);
        for (step, count) in folded_steps(self) {
            let dtype = if step.from_dtype == step.to_dtype {
                step.to_dtype.to_string()
            } else {
                format!("{} → {}", step.from_dtype, step.to_dtype)
            };
            view.row(
                Mark::None,
                [
                    name_cell(step, count, |segment| &segment.0, "background-color:rgba(248,81,73,0.18)"),
                    name_cell(step, count, |segment| &segment.1, "background-color:rgba(46,160,67,0.18)"),
                    if count > 1 { format!("×{count}").into() } else { "".into() },
                    match step.from_shape == step.shape {
                        true => shape(&step.shape).into(),
                        false => format!("{} → {}", shape(&step.from_shape), shape(&step.shape)).into(),
                    },
                    dtype.into(),
                    step.change.clone().unwrap_or_default().into(),
                ],
            );
        }
        let mut other = |mark, name: &ParamPath, what: String, shapes: String| {
            view.row(mark, [name.to_string().into(), what.into(), "".into(), shapes.into(), "".into(), "".into()]);
        };
        for name in &self.missing {
            other(Mark::Bad, name, "missing in the source".to_owned(), String::new());
        }
        for name in &self.unused {
            other(Mark::Bad, name, "unused: no place in the model".to_owned(), String::new());
        }
        for one in &self.mismatched {
            let shapes = format!("{} but the model needs {}", shape(&one.found), shape(&one.expected));
            other(Mark::Bad, &one.from, "another shape".to_owned(), shapes);
        }
        for (name, reason) in &self.skipped {
            other(Mark::Muted, name, format!("skipped: {reason}"), String::new());
        }
        view.note(format!(
            "{} matched, {} missing, {} unused, {} of another shape, {} skipped",
            self.tensors(),
            self.missing.len(),
            self.unused.len(),
            self.mismatched.len(),
            self.skipped.len()
        ));
        view.typed_bundle("remapping")
    }
}
