//! `compare A B` and `logits MODEL`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::shared::{CheckpointArgs, DeviceArgs, FamilyArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::checkpoint::{CheckpointChoice, OutputFile};
use crate::compare::CompareError;
use crate::display::{MimeBundle, View};
use crate::model::Batch;
use crate::validation::LogitDiff;

/// `chandlery compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Model folder
    #[arg(value_name = "A", value_parser = values::path)]
    left: PathBuf,
    /// Model folder
    #[arg(value_name = "B", value_parser = values::path, required_unless_present = "reference")]
    right: Option<PathBuf>,
    /// Text to compare on
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// JSON token ids to compare on
    #[arg(long, value_name = "FILE", value_parser = values::path, conflicts_with = "prompt")]
    input_ids: Option<PathBuf>,
    /// safetensors with NAME.input_ids and NAME.logits
    #[arg(long, value_name = "FILE", value_parser = values::path, conflicts_with = "right")]
    reference: Option<PathBuf>,
    /// Also compare the residual stream after each layer
    #[arg(long)]
    by_layer: bool,
    #[command(flatten)]
    families: FamilyArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// `chandlery logits`.
#[derive(Debug, Args)]
pub(super) struct LogitsArgs {
    /// Model folder
    #[arg(value_name = "MODEL", value_parser = values::path)]
    model: PathBuf,
    #[command(flatten)]
    weights: CheckpointArgs,
    /// JSON: list of lists of ids, or an object with input_ids, attention_mask, position_ids
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    input_ids: PathBuf,
    /// safetensors file to write; `-` is standard output
    #[arg(short, long, value_name = "FILE", value_parser = values::path)]
    output: PathBuf,
    #[command(flatten)]
    families: FamilyArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Run for CompareArgs {
    fn result_type(&self) -> Option<&'static str> {
        // Of a file of reference logits there is a report for each of its cases.
        self.reference.is_none().then_some("chandlery::validation::LogitDiff")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let (device, families) = (self.device.device(), self.families.families()?);
        let right = match (&self.right, &self.reference) {
            (_, Some(file)) => {
                let diffs = crate::compare::compare_with_reference(&self.left, file, device, &families)?;
                return Ok(reference_outcome(&diffs));
            }
            (Some(right), None) => right,
            (None, None) => {
                return Err(Failure::usage("compare needs a second model", "give B or --reference"));
            }
        };
        let batch = self.input_ids.as_deref().map(read_batch).transpose()?;
        let diff = crate::compare(&self.left, right)
            .prompt(self.prompt.clone())
            .batch(batch)
            .by_layer(self.by_layer)
            .device(device)
            .families(families)
            .run()?;
        Ok(Outcome::new(diff.view(), report(&diff)).with_passed(diff.passed()).keeping(self, diff))
    }
}

fn report(diff: &LogitDiff) -> Value {
    json!({
        "passed": diff.passed(),
        "names": [diff.names.0, diff.names.1],
        "checkpoints": diff.checkpoints.iter().map(|choice| &choice.path).collect::<Vec<_>>(),
        "choices": diff.checkpoints.iter().map(CheckpointChoice::report).collect::<Vec<_>>(),
        "warnings": diff.checkpoints.iter().flat_map(CheckpointChoice::warnings).collect::<Vec<_>>(),
        "unread_fields": diff.unread_fields,
        "positions": diff.positions.len(),
        "max_abs_diff": diff.max_abs(),
        "mean_abs_diff": diff.mean_abs(),
        "mean_kl": diff.mean_kl(),
        "top1_agreement": diff.top1_agreement(),
        "tolerance": diff.tolerance_report(),
        "columns": diff.columns,
        "layers": diff.layer_report(),
        "first_divergent_layer": diff.first_divergent_layer(),
    })
}

/// One line and one table per case of a reference file.
fn reference_outcome(diffs: &[LogitDiff]) -> Outcome {
    let passed = diffs.iter().all(LogitDiff::passed);
    let views: Vec<MimeBundle> = diffs.iter().map(View::view).collect();
    let text: Vec<&str> = views.iter().map(MimeBundle::plain).collect();
    let html: String = views.iter().filter_map(|view| view.get("text/html")?.as_str()).collect();
    let json = json!({ "passed": passed, "cases": diffs.iter().map(report).collect::<Vec<_>>() });
    Outcome::new(MimeBundle::text(text.join("\n\n")).with_html(html), json).with_passed(passed)
}

impl Run for LogitsArgs {
    fn result_type(&self) -> Option<&'static str> {
        None
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (model, output) = (&self.model, &self.output);
        let file = OutputFile::probe(output)?;
        if file.is_stdout() && (context.leading.json || crate::display::in_notebook()) {
            let what = "`-o -` writes the file to standard output, where a report is written, too";
            return Err(Failure::usage(what, "name a file"));
        }
        let batch = read_batch(&self.input_ids)?;
        let families = self.families.families()?;
        let checkpoint = self.weights.checkpoint.as_deref();
        let computed = crate::compare::logits(model, checkpoint, &batch, self.device.device(), &families)?;
        let (shape, choice) = (computed.shape, &computed.choice);
        crate::compare::write_logits_to(&file, &computed.values, shape)?;
        let mut lines = vec![format!("Logits {shape:?} of {} in {}", model.display(), output.display())];
        lines.push(format!("weights: {}", choice.in_words()));
        lines.extend(choice.warnings().into_iter().map(|warning| format!("! {warning}")));
        let unread = &computed.unread_fields;
        let nothing_reads =
            (!unread.is_empty()).then(|| format!("nothing reads these fields of config.json: {}", unread.join(", ")));
        lines.extend(nothing_reads.iter().map(|text| format!("! {text}")));
        if file.is_stdout() {
            nothing_reads.iter().for_each(|text| drop(writeln!(std::io::stderr(), "warning: {text}")));
            choice.warnings().iter().for_each(|warning| drop(writeln!(std::io::stderr(), "warning: {warning}")));
        }
        // Standard output holds the file and nothing else.
        let view = MimeBundle::text(if file.is_stdout() { String::new() } else { lines.join("\n") });
        let json = json!({
            "passed": true,
            "model": model,
            "checkpoint": choice.path,
            "choice": choice.report(),
            "warnings": choice.warnings(),
            "unread_fields": unread,
            "output": output,
            "shape": shape,
        });
        Ok(Outcome::new(view, json))
    }
}

fn read_batch(file: &Path) -> Result<Batch, Failure> {
    let fault = |what: String| CompareError::File {
        what,
        path: file.to_owned(),
        advice: "name a JSON file such as [[1, 2, 3]]".to_owned(),
    };
    let text =
        std::fs::read_to_string(file).map_err(|error| fault(format!("the token ids cannot be read: {error}")))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| fault(format!("this is not JSON: {error}")))?;
    Ok(Batch::from_json(&json, &file.display().to_string())?)
}
