//! The view of a remapping: how names are rewritten, and what does not fit.

use std::collections::BTreeMap;

use crate::display::numbers::{shape, thousands};
use crate::display::table::{Align, Cell, Mark, TableView};
use crate::display::{Html, MimeBundle, View};
use crate::naming::{RemapPlan, RemapStep};
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

/// Both names with the differences marked: the pieces that rules rewrote, without the segments that both sides share.
/// Layer numbers read `*` where rows are folded.
fn name_cells(step: &RemapStep, count: usize) -> [Cell; 2] {
    let fold = |piece: &str| if count > 1 { ParamPath::from(piece).folded().0 } else { piece.to_owned() };
    let (mut from, mut to) = (Name::default(), Name::default());
    for (old, new) in &step.segments {
        let (old, new) = (fold(old), fold(new));
        let sides: [Vec<&str>; 2] = [&old, &new].map(|piece| piece.split_inclusive('.').collect());
        let (kept_old, kept_new) = common(&sides[0], &sides[1]);
        sides[0].iter().zip(kept_old).for_each(|(segment, kept)| from.push(segment, kept));
        sides[1].iter().zip(kept_new).for_each(|(segment, kept)| to.push(segment, kept));
    }
    [from.cell("background-color:rgba(248,81,73,0.18)"), to.cell("background-color:rgba(46,160,67,0.18)")]
}

/// For each segment of either side whether it is of the longest sequence that both have.
fn common(old: &[&str], new: &[&str]) -> (Vec<bool>, Vec<bool>) {
    // The length of that sequence from each pair of places on.
    let mut longest = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            longest[i][j] = if a == b { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut kept_old, mut kept_new) = (vec![false; old.len()], vec![false; new.len()]);
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            (kept_old[i], kept_new[j]) = (true, true);
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    (kept_old, kept_new)
}

/// A name as stretches that stay and stretches that differ.
#[derive(Default)]
struct Name(Vec<(String, bool)>);

impl Name {
    fn push(&mut self, segment: &str, kept: bool) {
        match self.0.last_mut().filter(|last| last.1 == kept) {
            Some(last) => last.0.push_str(segment),
            None => self.0.push((segment.to_owned(), kept)),
        }
    }

    fn cell(&self, style: &str) -> Cell {
        let (mut text, mut html) = (String::new(), Html::new());
        for (stretch, kept) in &self.0 {
            text.push_str(stretch);
            match kept {
                true => html.text(stretch),
                false => html.raw(format!("<b style=\"{style}\">")).text(stretch).raw("</b>"),
            };
        }
        Cell::rich(text, html)
    }
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
        let mut view = TableView::new(title, &columns).sparse();
        for (step, count) in folded_steps(self) {
            let dtype = if step.from_dtype == step.to_dtype {
                step.to_dtype.to_string()
            } else {
                format!("{} → {}", step.from_dtype, step.to_dtype)
            };
            let [from, to] = name_cells(step, count);
            view.row(
                Mark::None,
                [
                    from,
                    to,
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
            other(Mark::Bad, name, "unused: the model does not have it".to_owned(), String::new());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_that_differ_are_marked() {
        let segments = |name: &'static str| name.split_inclusive('.').collect::<Vec<_>>();
        let (old, new) = (segments("model.layers.*.mlp."), segments("causal_lm.layer_stack.layers.*.feedforward."));
        let (kept_old, kept_new) = common(&old, &new);
        assert_eq!(kept_old, [false, true, true, false]);
        assert_eq!(kept_new, [false, false, true, true, false]);
        let mut name = Name::default();
        new.iter().zip(kept_new).for_each(|(segment, kept)| name.push(segment, kept));
        let stretches: Vec<(&str, bool)> = name.0.iter().map(|(stretch, kept)| (stretch.as_str(), *kept)).collect();
        assert_eq!(stretches, [("causal_lm.layer_stack.", false), ("layers.*.", true), ("feedforward.", false)]);
        assert_eq!(common(&["a"], &["a"]), (vec![true], vec![true]));
        assert_eq!(common(&[], &["a"]), (vec![], vec![false]));
    }
}
