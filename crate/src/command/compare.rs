//! `compare A B` and `logits MODEL`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::{Failure, KeptValue, Outcome, flag, flag_value, given, option, path, set, values};
use crate::checkpoint::{CheckpointChoice, OutputFile};
use crate::compare::CompareError;
use crate::device::Device;
use crate::display::{MimeBundle, View};
use crate::model::Batch;
use crate::validation::LogitDiff;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::validation::LogitDiff";

pub(super) fn definition() -> Command {
    Command::new("compare")
        .about("Compare the logits of two model folders, or of one with a file of reference logits")
        .arg(path("A", "Model folder"))
        .arg(path("B", "Model folder").required(false).required_unless_present("reference"))
        .arg(option("prompt", "TEXT", "Text to compare on"))
        .arg(
            option("input-ids", "FILE", "JSON token ids to compare on")
                .value_parser(values::path())
                .conflicts_with("prompt"),
        )
        .arg(
            option("reference", "FILE", "safetensors with NAME.input_ids and NAME.logits")
                .value_parser(values::path())
                .conflicts_with("B"),
        )
        .arg(flag("by-layer", "Compare the residual stream after each layer, too"))
        .arg(values::converter_path())
        .arg(values::allow_unknown_fields())
        .args(values::ties())
        .arg(option("device", "DEVICE", "Where to compute (default: cpu)").value_parser(values::device()))
}

pub(super) fn logits_definition() -> Command {
    Command::new("logits")
        .about("Write the float32 logits of a model folder for given token ids")
        .arg(path("MODEL", "Model folder"))
        .arg(values::checkpoint())
        .arg(
            option(
                "input-ids",
                "FILE",
                "JSON: list of lists of ids, or an object with input_ids, attention_mask, position_ids",
            )
            .value_parser(values::path())
            .required(true),
        )
        .arg(
            flag_value('o', "output", "FILE", "safetensors file to write; `-` is standard output")
                .value_parser(values::path())
                .required(true),
        )
        .arg(values::converter_path())
        .arg(values::allow_unknown_fields())
        .args(values::ties())
        .arg(option("device", "DEVICE", "Where to compute (default: cpu)").value_parser(values::device()))
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let device = given::<Device>(matches, "device").unwrap_or(Device::Cpu);
    let left = given::<PathBuf>(matches, "A").unwrap_or_default();
    let families = values::families(matches)?;
    if let Some(file) = given::<PathBuf>(matches, "reference") {
        return Ok(reference_outcome(crate::compare::compare_with_reference(&left, &file, device, &families)?));
    }
    let batch = given::<PathBuf>(matches, "input-ids").map(|file| read_batch(&file)).transpose()?;
    let diff = crate::compare(left, given::<PathBuf>(matches, "B").unwrap_or_default())
        .prompt(given::<String>(matches, "prompt"))
        .batch(batch)
        .by_layer(set(matches, "by-layer"))
        .device(device)
        .families(families)
        .run()?;
    Ok(Outcome {
        view: diff.view(),
        json: report(&diff),
        passed: diff.passed(),
        value: Some(KeptValue { value: Box::new(diff), type_path: KEEPS }),
    })
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
fn reference_outcome(diffs: Vec<LogitDiff>) -> Outcome {
    let passed = diffs.iter().all(LogitDiff::passed);
    let views: Vec<MimeBundle> = diffs.iter().map(View::view).collect();
    let text: Vec<&str> = views.iter().map(MimeBundle::plain).collect();
    let html: String = views.iter().filter_map(|view| view.get("text/html")?.as_str()).collect();
    Outcome {
        view: MimeBundle::text(text.join("\n\n")).with_html(html),
        json: json!({ "passed": passed, "cases": diffs.iter().map(report).collect::<Vec<_>>() }),
        passed,
        value: None,
    }
}

pub(super) fn run_logits(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let device = given::<Device>(matches, "device").unwrap_or(Device::Cpu);
    let model = given::<PathBuf>(matches, "MODEL").unwrap_or_default();
    let output = given::<PathBuf>(matches, "output").unwrap_or_default();
    let file = OutputFile::probe(&output)?;
    if file.is_stdout() && (set(matches, "json") || crate::display::in_notebook()) {
        let text = "`-o -` writes the file to standard output, where a report is written, too: name a file".to_owned();
        return Err(Failure::Usage { text, help: false });
    }
    let batch = read_batch(&given::<PathBuf>(matches, "input-ids").unwrap_or_default())?;
    let families = values::families(matches)?;
    let checkpoint = given::<PathBuf>(matches, "checkpoint");
    let computed = crate::compare::logits(&model, checkpoint.as_deref(), &batch, device, &families)?;
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
    Ok(Outcome {
        // Standard output holds the file and nothing else.
        view: MimeBundle::text(if file.is_stdout() { String::new() } else { lines.join("\n") }),
        json: json!({
            "passed": true,
            "model": model,
            "checkpoint": choice.path,
            "choice": choice.report(),
            "warnings": choice.warnings(),
            "unread_fields": unread,
            "output": output,
            "shape": shape,
        }),
        passed: true,
        value: None,
    })
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
