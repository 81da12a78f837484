//! The view of a test run: the verdict first, then steps, gradients by layer, and a comparison if one was made.

use std::collections::BTreeMap;
use std::time::Duration;

use polars::prelude::{Column, DataFrame, PolarsResult};

use crate::display::numbers::{binary_bytes, real, short_count, small, thousands};
use crate::display::plots::curve::number;
use crate::display::table::{Align, Cell, Mark, TableView, bar};
use crate::display::{Curve, MimeBundle, View};
use crate::smoke_test::{Comparison, SmokeTestReport, StepRecord};
use crate::spec::ParamPath;

impl View for SmokeTestReport {
    fn view(&self) -> MimeBundle {
        let mut tables = vec![steps(self)];
        tables.extend(gradients(self));
        if let Some(comparison) = &self.comparison {
            tables.extend([compared_steps(comparison), compared_parameters(comparison)]);
        }
        let text: Vec<String> = tables.iter().map(TableView::text).collect();
        let html: String = tables.iter().map(TableView::html).collect();
        let bundle = MimeBundle::text(text.join("\n\n")).with_html(html);
        bundle.with("application/vnd.chandlery.smoke-test+json", self.report())
    }
}

impl SmokeTestReport {
    /// One row per step: `step`, `loss`, and in milliseconds `ms`, `data_ms`, `forward_backward_ms`, `update_ms`.
    ///
    /// # Errors
    /// polars' own, which cannot occur for columns of equal length.
    pub fn frame(&self) -> PolarsResult<DataFrame> {
        let ms = |part: &dyn Fn(&StepRecord) -> Option<Duration>| -> Vec<Option<f64>> {
            self.steps.iter().map(|step| Some(part(step)?.as_secs_f64() * 1e3)).collect()
        };
        DataFrame::new(
            self.steps.len(),
            vec![
                Column::new("step".into(), self.steps.iter().map(|step| step.step as u64).collect::<Vec<_>>()),
                Column::new("loss".into(), self.losses()),
                Column::new("ms".into(), ms(&|step| Some(step.duration))),
                Column::new("data_ms".into(), ms(&|step| Some(step.data))),
                Column::new("forward_backward_ms".into(), ms(&|step| Some(step.forward_backward()))),
                Column::new("update_ms".into(), ms(&|step| step.update)),
            ],
        )
    }

    /// Tokens a second by step.
    pub fn speed_curve(&self) -> Curve {
        let mut curve = Curve::new(format!("{}: tokens/s", self.title)).axes("step", "tokens/s");
        let tokens = (self.batch.0 * self.batch.1) as f64;
        for step in self.steps.iter() {
            curve.push("tokens/s", step.step as f64, tokens / step.duration.as_secs_f64().max(1e-9));
        }
        curve
    }

    /// One row per parameter: `name` and the `norm` of its gradient in the last checked step.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn gradient_frame(&self) -> PolarsResult<DataFrame> {
        let names: Vec<String> = self.gradients.iter().map(|gradient| gradient.path.to_string()).collect();
        let norms: Vec<f32> = self.gradients.iter().map(|gradient| gradient.norm).collect();
        DataFrame::new(names.len(), vec![Column::new("name".into(), names), Column::new("norm".into(), norms)])
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

fn steps(report: &SmokeTestReport) -> TableView {
    let failures = report.failures();
    let verdict = if failures.is_empty() { "passed".to_owned() } else { format!("FAILED: {}", failures.join("; ")) };
    let title = format!("Test of {} on {} {verdict}", report.title, report.device);
    let columns = [
        ("step", Align::Right),
        ("loss", Align::Right),
        ("whole", Align::Right),
        ("data", Align::Right),
        ("forward + backward", Align::Right),
        ("update", Align::Right),
        ("tokens/s", Align::Right),
    ];
    let mut view = TableView::new(title, &columns).limit(50);
    (2..6).for_each(|column| view.below(column, "ms"));
    let tokens = (report.batch.0 * report.batch.1) as f64;
    for step in report.steps.iter() {
        let mark = if step.loss.is_finite() { Mark::None } else { Mark::Bad };
        view.row(mark, step_cells(step, tokens));
    }
    view.note(format!(
        "batch {} × {}, SGD lr {}, {}, {}",
        report.batch.0,
        report.batch.1,
        number(report.lr),
        report.dtype,
        report.settings
    ));
    let passes = report.passes.map_or_else(String::new, |passes| format!(", gone through {passes:.2} times"));
    view.note(format!("data: {}{passes}", report.data));
    let first = match report.steps.as_slice() {
        [first, _, ..] => format!(", first step {} ms", ms(first.duration)),
        _ => String::new(),
    };
    view.note(format!(
        "median {} ms a step{first}, {} tokens/s",
        ms(report.median_step()),
        thousands(report.tokens_per_second() as u64)
    ));
    if let (Some(share), Some(rate)) = (report.utilization(), report.matmul_rate) {
        view.note(format!(
            "{} FLOP per token: {:.0} % of the {:.3} TFLOP/s that matrix products of {} reach here",
            short_count(report.flops_per_token as u64),
            share * 100.0,
            rate / 1e12,
            report.dtype
        ));
    }
    let memory = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), binary_bytes);
    view.note(match report.device_peak_memory_bytes {
        Some(device) => {
            format!(
                "peak memory {} on the device, {} on the host",
                binary_bytes(device),
                memory(report.host_peak_memory_bytes)
            )
        }
        None => format!("peak memory {}", memory(report.peak_memory_bytes)),
    });
    if report.comparison.is_some() {
        view.note("peak memory counts both of the compared models");
    }
    if report.without_gradient.is_empty() && !report.steps.is_empty() {
        let others = if report.dead_experts.is_empty() { "" } else { " but those of experts without a token" };
        view.note(format!("all {} parameters{others} received a gradient", report.tensors));
    }
    if let Some(dead) = report.dead_experts_in_words() {
        view.note(format!("! {dead}"));
    }
    if let Some(folder) = &report.checkpoint {
        view.note(format!("the weights after these steps are in {}", folder.display()));
    }
    for failure in failures {
        view.note(format!("! {failure}"));
    }
    view
}

fn step_cells(step: &StepRecord, tokens: f64) -> [Cell; 7] {
    [
        step.step.to_string().into(),
        format!("{:.4}", step.loss).into(),
        ms(step.duration).into(),
        ms(step.data).into(),
        ms(step.forward_backward()).into(),
        step.update.map_or_else(|| "·".to_owned(), ms).into(),
        thousands((tokens / step.duration.as_secs_f64().max(1e-9)) as u64).into(),
    ]
}

/// Norms by layer, in the order of the forward pass.
fn gradients(report: &SmokeTestReport) -> Option<TableView> {
    // By the place of the first parameter of each layer among all.
    let mut first: BTreeMap<ParamPath, usize> = BTreeMap::new();
    for gradient in report.gradients.iter() {
        let place = first.entry(layer_of(&gradient.path)).or_insert(gradient.place);
        *place = gradient.place.min(*place);
    }
    let mut layers: BTreeMap<(usize, ParamPath), (f64, usize)> = BTreeMap::new();
    for gradient in report.gradients.iter() {
        let layer = layer_of(&gradient.path);
        let sum = layers.entry((first[&layer], layer)).or_default();
        *sum = (sum.0 + f64::from(gradient.norm).powi(2), sum.1 + 1);
    }
    if layers.is_empty() {
        return None;
    }
    let norms = || layers.values().map(|sum| sum.0.sqrt()).filter(|norm| norm.is_finite());
    let most = norms().fold(0.0f64, f64::max);
    let columns =
        [("layer", Align::Left), ("tensors", Align::Right), ("gradient norm", Align::Right), ("", Align::Left)];
    let step = report.steps.iter().rev().find(|step| step.checked).map_or(0, |step| step.step);
    let mut view = TableView::new(format!("Gradients by layer, step {step}"), &columns).limit(120);
    for ((_, layer), (squares, tensors)) in &layers {
        let norm = squares.sqrt();
        let share = if norm.is_finite() && most > 0.0 { norm / most } else { 0.0 };
        let mark = if norm.is_finite() { Mark::None } else { Mark::Bad };
        let blocks = "█".repeat((share * 20.0).ceil() as usize);
        view.row(
            mark,
            [
                layer.to_string().into(),
                tensors.to_string().into(),
                Cell::from(real(norm)).valued(norm),
                Cell::rich(blocks, bar(share)),
            ],
        );
    }
    let total = layers.values().map(|sum| sum.0).sum::<f64>().sqrt();
    view.note(format!("norm of all gradients {}", real(total)));
    let zero = report.gradients.iter().filter(|gradient| gradient.norm == 0.0).count();
    if zero > 0 {
        view.note(format!("{zero} gradients are exactly zero"));
    }
    Some(view)
}

/// `causal_lm.layer_stack.layers.3` of what is in layer 3; else the path without its last segment.
fn layer_of(path: &ParamPath) -> ParamPath {
    path.up_to_layer().unwrap_or_else(|| path.parent())
}

fn agreement(comparison: &Comparison) -> &'static str {
    if comparison.agrees() { "agree" } else { "DO NOT AGREE" }
}

fn compared_steps(comparison: &Comparison) -> TableView {
    let title = format!("{} and {}: {}", comparison.first, comparison.changes, agreement(comparison));
    let columns = [
        ("step", Align::Right),
        ("first loss", Align::Right),
        ("second loss", Align::Right),
        ("difference", Align::Right),
        ("largest gradient difference", Align::Right),
        ("second whole", Align::Right),
    ];
    let mut view = TableView::new(title, &columns).limit(50);
    view.below(5, "ms");
    for step in &comparison.steps {
        let mark = if comparison.step_agrees(step) { Mark::None } else { Mark::Bad };
        view.row(
            mark,
            [
                step.step.to_string().into(),
                format!("{:.6}", step.losses.0).into(),
                format!("{:.6}", step.losses.1).into(),
                small(step.loss_difference()).into(),
                small(step.gradient_difference).into(),
                ms(step.second).into(),
            ],
        );
    }
    view.note(format!(
        "differences are relative; tolerated: losses {:e}, gradients {:e}",
        comparison.tolerance.loss, comparison.tolerance.gradient
    ));
    view
}

fn compared_parameters(comparison: &Comparison) -> TableView {
    let columns = [("parameter", Align::Left), ("gradient norm", Align::Right), ("difference", Align::Right)];
    let mut rows: Vec<_> = comparison.parameters.iter().collect();
    rows.sort_by(|a, b| b.difference.total_cmp(&a.difference));
    let mut view = TableView::new("Gradients of both, the most different first", &columns).limit(20);
    for parameter in rows {
        let mark = if comparison.parameter_agrees(parameter) { Mark::None } else { Mark::Bad };
        view.row(
            mark,
            [parameter.path.to_string().into(), real(parameter.norm).into(), small(parameter.difference).into()],
        );
    }
    view
}
