//! The loop.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use super::batches::{Batches, vocabulary};
use super::ceiling::matmul_rate;
use super::compare::Second;
use super::error::SmokeTestError;
use super::report::{GradientRecord, SmokeTestReport, StepRecord};
use super::step::{self, StepOutcome, StepPlan};
use super::{SmokeTest, fault, memory};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::SaveOptions;
use crate::construct::save_checkpoint;
use crate::dataset::LabeledBatch;
use crate::interrupt;
use crate::model::{CausalLm, ModelError};
use crate::progress::{Progress, begin_curve};
use crate::sealed::Sealed;
use crate::spec::ParamPath;

/// Runs the test on its model.
///
/// # Errors
/// As [`SmokeTest::run`].
pub(super) fn run(test: &SmokeTest<'_>, model: &CausalLm) -> Result<SmokeTestReport, SmokeTestError> {
    let construction = test.construction;
    let mut batches = batches(test)?;
    let mut second = match test.compare {
        Some(changes) => Some(Second::new(construction, model, test.settings, changes)?),
        None => None,
    };
    let estimate = construction.estimate_of(test.batch_size, test.sequence_length);
    let watch = memory::Watch::start(construction.device);
    let mut report = SmokeTestReport {
        title: construction.title.clone(),
        device: construction.device.to_string(),
        dtype: construction.config.dtype,
        batch: (test.batch_size, test.sequence_length),
        lr: test.lr,
        seed: test.seed,
        settings: test.settings,
        data: batches.description(),
        passes: None,
        planned: test.steps,
        steps: Sealed::default(),
        gradients: Sealed::default(),
        without_gradient: Sealed::default(),
        dead_experts: Sealed::default(),
        fault: None,
        tensors: model.parameters().variables().len(),
        peak_memory_bytes: None,
        host_peak_memory_bytes: None,
        device_peak_memory_bytes: None,
        flops_per_token: estimate.training_flops_per_token as f64,
        matmul_rate: None,
        comparison: None,
        checkpoint: None,
    };
    let mut data: Option<LabeledBatch> = None;
    let mut curve = (test.steps > 1).then(|| begin_curve(&construction.title, test.steps));
    let meter = Progress::on_terminal("testing", test.steps as u64);
    for number in 1..=test.steps {
        interrupt::check()?;
        let began = Instant::now();
        let fresh = if test.repeat_batch { data.take() } else { None };
        let batch = data.insert(match fresh {
            Some(same) => same,
            None => batches.draw()?,
        });
        let drawing = began.elapsed();
        let plan = StepPlan {
            settings: test.settings,
            lr: test.lr,
            check: number == 1 || number == test.steps,
            update: true,
            dropout_seed: test.seed.wrapping_add(number as u64),
            observer: second.as_ref().map(Second::observer),
        };
        let mut outcome = step::run(model, batch, &plan)?;
        report.steps.push(StepRecord {
            step: number,
            loss: outcome.loss,
            duration: drawing + outcome.computing,
            data: drawing,
            update: outcome.updating,
            checked: plan.check,
        });
        if let Some(curve) = &mut curve {
            curve.push(number, outcome.loss);
        }
        note(&mut report, &outcome, model);
        report.fault = find_fault(model, batch, number, &plan, &mut outcome)?;
        if report.fault.is_some() {
            break;
        }
        if let Some(second) = &mut second {
            second.step(model, batch, number, outcome.loss, &plan)?;
        }
        meter.say(format!("loss {:.4}", outcome.loss));
        meter.inc(1);
    }
    meter.finish();
    if let Some(curve) = curve {
        curve.finish();
    }
    report.passes = batches.passes();
    report.comparison = second.map(|second| Sealed::new(second.finish()));
    (report.host_peak_memory_bytes, report.device_peak_memory_bytes) = watch.peaks();
    report.peak_memory_bytes = report.device_peak_memory_bytes.or(report.host_peak_memory_bytes);
    if let (Some((folder, options)), None) = (&test.save, &report.fault) {
        save(folder, model, *options)?;
        report.checkpoint = Some(folder.clone());
    }
    report.matmul_rate = matmul_rate(model.device(), construction.config.dtype).ok();
    Ok(report)
}

fn save(folder: &Path, model: &CausalLm, options: SaveOptions) -> Result<(), SmokeTestError> {
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(CheckpointError::io("creating", parent))?;
    }
    save_checkpoint(folder, model, options)?;
    Ok(())
}

fn batches(test: &SmokeTest<'_>) -> Result<Batches, SmokeTestError> {
    let (rows, length) = (test.batch_size, test.sequence_length);
    Ok(match &test.dataset {
        Some(config) => {
            let needed = rows * if test.repeat_batch { 1 } else { test.steps };
            let dataset = config.load_enough(&test.construction.tokenizer, length, needed)?;
            Batches::of(dataset, rows, length, test.packed)
        }
        None => Batches::random(test.seed, vocabulary(test.construction)?, rows, length, test.packed),
    })
}

/// Adds what a step says about gradients.
fn note(report: &mut SmokeTestReport, outcome: &StepOutcome, model: &CausalLm) {
    let is_expert =
        |path: &ParamPath| model.table().get(path).and_then(|row| row.role).is_some_and(crate::spec::Role::is_expert);
    let (unused, others): (Vec<&ParamPath>, Vec<&ParamPath>) =
        outcome.without_gradient.iter().partition(|path| is_expert(path));
    for path in others {
        if !report.without_gradient.contains(path) {
            report.without_gradient.push(path.clone());
        }
    }
    // An expert is dead if no step sent a token to it. Its parameters are two segments below it.
    let mut unused: Vec<ParamPath> = unused.into_iter().map(|path| path.parent().parent()).collect();
    unused.dedup();
    if report.steps.len() == 1 {
        report.dead_experts = Sealed::new(unused);
    } else {
        let unused: std::collections::HashSet<&ParamPath> = unused.iter().collect();
        report.dead_experts.retain(|expert| unused.contains(expert));
    }
    if !outcome.norms.is_empty() {
        let places: HashMap<&ParamPath, usize> =
            model.table().rows().iter().enumerate().map(|(place, row)| (&row.path, place)).collect();
        let record = |(path, norm): &(ParamPath, f32)| GradientRecord {
            path: path.clone(),
            norm: *norm,
            place: places.get(path).copied().unwrap_or(usize::MAX),
        };
        let mut gradients: Vec<GradientRecord> = outcome.norms.iter().map(record).collect();
        gradients.sort_by(|a, b| a.path.cmp(&b.path));
        report.gradients = Sealed::new(gradients);
    }
}

/// Computes a step that went wrong again, with checks. The weights are still those that it began with, because a step
/// whose first gradient is not finite does not update them.
fn find_fault(
    model: &CausalLm,
    batch: &LabeledBatch,
    number: usize,
    plan: &StepPlan,
    outcome: &mut StepOutcome,
) -> Result<Option<fault::Fault>, ModelError> {
    if !plan.check && !outcome.loss.is_finite() {
        let again = StepPlan { check: true, update: false, observer: None, ..plan.clone() };
        outcome.norms = step::run(model, batch, &again)?.norms;
    }
    fault::locate(model, batch, number, &plan.settings, outcome)
}
