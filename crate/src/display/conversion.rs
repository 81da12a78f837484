//! What a conversion shows: a summary, the proof, and the remapping and the logits inside.

use super::numbers::{binary_bytes, small, thousands};
use super::table::{Align, Mark, TableView};
use super::{Html, MimeBundle, View};
use crate::convert::{Conversion, LogitDiff, Proof, RemapPlan};
use crate::spec::Side;

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
            format!("{} tensors, {}", thousands(self.plan.steps.len() as u64), binary_bytes(self.table.bytes())),
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
