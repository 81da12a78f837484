//! What a test run and a finalization show.

use super::numbers::{binary_bytes, thousands};
use super::table::{Align, Mark, TableView};
use super::{MimeBundle, View};
use crate::finalize::Finalization;
use crate::kicktest::KickTestReport;

impl View for KickTestReport {
    fn view(&self) -> MimeBundle {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        let columns =
            [("step", Align::Right), ("loss", Align::Right), ("ms", Align::Right), ("tokens/s", Align::Right)];
        let title = format!(
            "Test of {} on {} {verdict}: batch {} × {}, SGD lr {}",
            self.title, self.device, self.batch.0, self.batch.1, self.lr
        );
        let mut view = TableView::new(title, &columns).limit(50);
        let tokens = (self.batch.0 * self.batch.1) as f64;
        for step in &self.steps {
            let seconds = step.duration.as_secs_f64();
            view.row(
                if step.loss.is_finite() { Mark::None } else { Mark::Bad },
                [
                    step.step.to_string().into(),
                    format!("{:.4}", step.loss).into(),
                    format!("{:.1}", seconds * 1e3).into(),
                    thousands((tokens / seconds.max(1e-9)) as u64).into(),
                ],
            );
        }
        let peak = self.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), binary_bytes);
        view.note(format!(
            "median {:.1} ms a step, {} tokens/s, peak memory {peak}",
            self.median_step().as_secs_f64() * 1e3,
            thousands(self.tokens_per_second() as u64)
        ));
        if self.without_gradient.is_empty() {
            view.note(format!("all {} parameters received a gradient", self.tensors));
        }
        for path in &self.without_gradient {
            view.note(format!("! no finite gradient: {path}"));
        }
        view.bundle().with("application/vnd.chandlery.kicktest+json", self.report())
    }
}

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
