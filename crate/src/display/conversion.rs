//! What a conversion shows: the remapping, the logits' differences, the proof, and a summary of all three.

use std::collections::BTreeMap;

use serde_json::json;

use super::numbers::{binary_bytes, shape, thousands};
use super::table::{Align, Cell, Mark, TableView, bar};
use super::{Html, MimeBundle, View};
use crate::convert::{Conversion, LogitDiff, Proof, RemapPlan, RemapStep};
use crate::spec::{ParamPath, Side};

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
            html.raw(format!("<span style=\"{style}\">")).text(piece).raw("</span>");
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
            ("", Align::Left),
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
        let nothing = || Cell::from("");
        for name in &self.missing {
            view.row(
                Mark::Bad,
                [name.to_string().into(), "missing in the source".into(), nothing(), nothing(), nothing(), nothing()],
            );
        }
        for name in &self.unused {
            view.row(
                Mark::Bad,
                [
                    name.to_string().into(),
                    "unused: no place in the model".into(),
                    nothing(),
                    nothing(),
                    nothing(),
                    nothing(),
                ],
            );
        }
        for one in &self.mismatched {
            let shapes = format!("{} but the model needs {}", shape(&one.found), shape(&one.expected));
            view.row(
                Mark::Bad,
                [one.from.to_string().into(), "another shape".into(), nothing(), shapes.into(), nothing(), nothing()],
            );
        }
        for (name, reason) in &self.skipped {
            view.row(
                Mark::Muted,
                [
                    name.to_string().into(),
                    format!("skipped: {reason}").into(),
                    nothing(),
                    nothing(),
                    nothing(),
                    nothing(),
                ],
            );
        }
        view.note(format!(
            "{} matched, {} missing, {} unused, {} of another shape, {} skipped",
            self.tensors(),
            self.missing.len(),
            self.unused.len(),
            self.mismatched.len(),
            self.skipped.len()
        ));
        view.bundle()
    }
}

/// Two digits and an exponent; nothing but `0` for equality.
fn small(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

impl View for LogitDiff {
    fn view(&self) -> MimeBundle {
        let columns = [
            ("position", Align::Right),
            ("token", Align::Left),
            ("max |Δ|", Align::Right),
            ("", Align::Left),
            ("mean |Δ|", Align::Right),
            ("KL (nats)", Align::Right),
            ("top-1", Align::Left),
        ];
        let verdict = if self.passed() { "agree" } else { "DIFFER" };
        let title = format!("Logits of {} and {} {verdict}", self.names.0, self.names.1);
        let mut view = TableView::new(title, &columns).limit(16);
        let several = self.positions.iter().any(|position| position.row > 0);
        for position in &self.positions {
            let place =
                if several { format!("{}:{}", position.row, position.position) } else { position.position.to_string() };
            let agree = position.top1.0 == position.top1.1;
            let top = if agree {
                position.top1.0.to_string()
            } else {
                format!("{} ≠ {}", position.top1.0, position.top1.1)
            };
            let within = position.max_abs <= self.tolerance;
            // A logarithmic bar: full at the tolerance, empty at a millionth of it.
            let share = 1.0 + f64::from(position.max_abs / self.tolerance).log10() / 6.0;
            view.row(
                if within && agree { Mark::None } else { Mark::Bad },
                [
                    place.into(),
                    position.token.clone().unwrap_or_default().into(),
                    small(f64::from(position.max_abs)).into(),
                    Cell::rich("", bar(share)),
                    small(f64::from(position.mean_abs)).into(),
                    small(position.kl).into(),
                    top.into(),
                ],
            );
        }
        view.note(format!(
            "{} positions: max |Δ| {} (tolerance {:.0e}), mean |Δ| {}, mean KL {} nats, top-1 agreement {:.1}%",
            self.positions.len(),
            small(f64::from(self.max_abs())),
            self.tolerance,
            small(f64::from(self.mean_abs())),
            small(self.mean_kl()),
            self.top1_agreement() * 100.0
        ));
        if let Some(layer) = self.first_divergent_layer() {
            view.note(format!("the residual streams part at layer {layer}"));
        }
        let typed = json!({
            "kind": "logit_diff",
            "max_abs": self.max_abs(),
            "mean_abs": self.mean_abs(),
            "mean_kl": self.mean_kl(),
            "top1_agreement": self.top1_agreement(),
            "passed": self.passed(),
            "first_divergent_layer": self.first_divergent_layer(),
        });
        view.bundle().with("application/vnd.chandlery.logits+json", typed)
    }
}

impl View for Proof {
    fn view(&self) -> MimeBundle {
        let mut view = TableView::new(self.sentence(), &[("differs", Align::Left)]).limit(20);
        if !self.cast {
            for name in &self.different {
                view.row(Mark::Bad, [name.to_string().into()]);
            }
        }
        view.bundle()
    }
}

impl Proof {
    /// One sentence that says what the comparison found.
    pub fn sentence(&self) -> String {
        if self.cast {
            return format!("{} tensors written, {} of them cast to another type", self.tensors, self.different.len());
        }
        format!("{} of {} tensors are bit-identical", self.bit_identical, self.tensors)
    }
}

impl Conversion {
    /// How each tensor was renamed.
    pub fn remapping(&self) -> &RemapPlan {
        &self.plan
    }

    /// The logits' comparison, if one was made.
    pub fn logit_diff(&self) -> Option<&LogitDiff> {
        self.logits.as_deref()
    }

    /// The bit-by-bit comparison, if one was made.
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_deref()
    }
}

impl View for Conversion {
    fn view(&self) -> MimeBundle {
        let verb = match (self.dry_run, self.passed()) {
            (true, _) => "Would convert",
            (false, true) => "Converted",
            (false, false) => "NOT converted:",
        };
        let side = match self.to {
            Side::Native => "native",
            Side::HuggingFace => "Hugging Face",
        };
        let mut lines = vec![
            format!("{verb} {} to {side} names in {}", self.source.display(), self.destination.display()),
            format!("{} tensors, {}", thousands(self.plan.tensors() as u64), binary_bytes(self.table.bytes())),
        ];
        lines.extend(self.proof.as_deref().map(Proof::sentence));
        if let Some(logits) = &self.logits {
            lines.push(format!(
                "logits {}: max |Δ| {} (tolerance {:.0e}), top-1 agreement {:.1}%",
                if logits.passed() { "agree with the reference forward" } else { "DIFFER from the reference forward" },
                small(f64::from(logits.max_abs())),
                logits.tolerance,
                logits.top1_agreement() * 100.0
            ));
            if let Some(layer) = logits.first_divergent_layer() {
                lines.push(format!("the residual streams part at layer {layer}"));
            }
        }
        if !self.passed() {
            lines.push("nothing was written: validation failed".to_owned());
        }
        let mut html = Html::new();
        for (index, line) in lines.iter().enumerate() {
            html.raw(if index == 0 { "<div style=\"font-weight:bold\">" } else { "<div>" }).text(line).raw("</div>");
        }
        let plan = self.plan.view();
        html.raw("<details><summary>Remapping</summary>")
            .raw(plan.get("text/html").and_then(|html| html.as_str()).unwrap_or(""));
        html.raw("</details>");
        if let Some(logits) = &self.logits {
            let view = logits.view();
            html.raw("<details><summary>Logits by position</summary>");
            html.raw(view.get("text/html").and_then(|html| html.as_str()).unwrap_or("")).raw("</details>");
        }
        MimeBundle::text(lines.join("\n"))
            .with_html(html.finish())
            .with("application/vnd.chandlery.conversion+json", self.report())
    }
}
