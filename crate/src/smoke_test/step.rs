//! One step: loss, gradients, and what happens to each gradient as it arrives.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use candle_core::{DType as CandleType, Tensor, Var};

use super::Settings;
use crate::dataset::LabeledBatch;
use crate::model::{CausalLm, GradientSink, ModelError, StepOptions};
use crate::ops::sgd_in_place;
use crate::spec::ParamPath;

/// Sees each gradient before the update.
pub(super) type Observer = Arc<dyn Fn(&ParamPath, &Tensor) -> candle_core::Result<()> + Send + Sync>;

/// How a step is run.
#[derive(Clone)]
pub(super) struct StepPlan {
    pub(super) settings: Settings,
    pub(super) lr: f64,
    /// Measures every gradient's norm and waits for the device around each update. Costs time, so timed steps do
    /// without.
    pub(super) check: bool,
    /// False leaves the weights as they are.
    pub(super) update: bool,
    pub(super) dropout_seed: u64,
    pub(super) observer: Option<Observer>,
}

/// What a step did.
pub(super) struct StepOutcome {
    pub(super) loss: f32,
    /// Euclidean norms in the order of arrival, if the step was checked.
    pub(super) norms: Vec<(ParamPath, f32)>,
    pub(super) without_gradient: Vec<ParamPath>,
    /// Forward, backward and update, without the checks.
    pub(super) computing: Duration,
    /// The part of it that updated the weights, where that could be told apart.
    pub(super) updating: Option<Duration>,
}

impl StepOutcome {
    /// Parameters whose gradient is NaN or infinite, in the order of arrival.
    pub(super) fn broken(&self) -> Vec<ParamPath> {
        self.norms.iter().filter(|(_, norm)| !norm.is_finite()).map(|(path, _)| path.clone()).collect()
    }
}

#[derive(Default)]
struct Seen {
    paths: HashSet<ParamPath>,
    norms: Vec<(ParamPath, f32)>,
    checking: Duration,
    updating: Duration,
    /// The first gradient was NaN or infinite: the weights are left alone, so that the cause can be found.
    poisoned: bool,
}

/// Runs a step of plain SGD.
///
/// # Errors
/// [`ModelError`] for a batch that does not fit, the device's refusal or an interrupt.
pub(super) fn run(model: &CausalLm, data: &LabeledBatch, plan: &StepPlan) -> Result<StepOutcome, ModelError> {
    run_pass(model, plan, |options, sink| model.loss_and_gradients(&data.batch, &data.labels, options, sink))
}

fn run_pass(
    model: &CausalLm,
    plan: &StepPlan,
    pass: impl FnOnce(&StepOptions, GradientSink) -> Result<f32, ModelError>,
) -> Result<StepOutcome, ModelError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let sink = {
        let (seen, plan) = (seen.clone(), plan.clone());
        Arc::new(move |path: &ParamPath, var: &Var, gradient: Tensor| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            take(&mut seen, &plan, path, var, &gradient)
        })
    };
    let options = StepOptions {
        attention: plan.settings.attention,
        gradient_checkpointing: plan.settings.gradient_checkpointing,
        fuse_optimizer: plan.settings.fuse_optim_with_backward,
        dropout_seed: Some(plan.dropout_seed),
    };
    let began = Instant::now();
    let loss = pass(&options, sink)?;
    model.device().synchronize()?;
    let elapsed = began.elapsed();
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let all = model.parameters().variables();
    let told_apart = plan.check || model.device().is_cpu();
    Ok(StepOutcome {
        loss,
        without_gradient: all.into_iter().map(|(path, _)| path).filter(|path| !seen.paths.contains(path)).collect(),
        norms: seen.norms,
        computing: elapsed.saturating_sub(seen.checking),
        updating: told_apart.then_some(seen.updating),
    })
}

fn take(seen: &mut Seen, plan: &StepPlan, path: &ParamPath, var: &Var, gradient: &Tensor) -> candle_core::Result<()> {
    let device = gradient.device();
    let first = seen.paths.is_empty();
    if plan.check || first || plan.observer.is_some() {
        // A GPU works asynchronously: pending work is the step's time, not the check's.
        device.synchronize()?;
    }
    let began = Instant::now();
    seen.paths.insert(path.clone());
    if let Some(observer) = &plan.observer {
        observer(path, gradient)?;
    }
    let mut update = plan.update && !seen.poisoned;
    if plan.check {
        let norm = norm(gradient)?;
        update &= norm.is_finite();
        seen.norms.push((path.clone(), norm));
    } else if first && !norm(gradient)?.is_finite() {
        (seen.poisoned, update) = (true, false);
    }
    seen.checking += began.elapsed();
    if update {
        let began = Instant::now();
        sgd_in_place(var, gradient, plan.lr)?;
        if plan.check {
            device.synchronize()?;
        }
        seen.updating += began.elapsed();
    }
    Ok(())
}

/// Euclidean norm, summed in float32 over blocks, so that its own memory stays small beside a vocabulary's gradient.
pub(super) fn norm(tensor: &Tensor) -> candle_core::Result<f32> {
    const BLOCK: usize = 16 << 20;
    let flat = tensor.flatten_all()?;
    let count = flat.elem_count();
    let mut squares = 0.0f64;
    for first in (0..count).step_by(BLOCK) {
        let block = flat.narrow(0, first, BLOCK.min(count - first))?.to_dtype(CandleType::F32)?;
        squares += f64::from(block.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(squares.sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Block, Collator};
    use crate::project::project;

    #[test]
    fn a_parameter_without_a_gradient_is_noted_others_learn() {
        let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
        let built = config.construct().device("cpu").unwrap().build().unwrap();
        let model = built.model.as_ref().unwrap();
        let collator = Collator { sequence_length: 8, packed: None, pad: 0, eos: None };
        let data = collator
            .collate(&[Block { input_ids: (3..11).collect(), document_starts: None, context: Vec::new() }])
            .unwrap();
        let plan = StepPlan {
            settings: Settings::default(),
            lr: 0.5,
            check: true,
            update: true,
            dropout_seed: 1,
            observer: None,
        };
        let norms = || -> Vec<(ParamPath, f32)> {
            let variables = model.parameters().variables().into_iter();
            variables.map(|(path, var)| (path, norm(var.as_tensor()).unwrap())).collect()
        };
        let before = norms();
        let forgotten = "causal_lm.layer_stack.layers.0.attention.value_linear.weight";
        let outcome = run_pass(model, &plan, |options, sink| {
            let filtered: GradientSink =
                Arc::new(
                    move |path, var, gradient| {
                        if path.as_str() == forgotten { Ok(()) } else { sink(path, var, gradient) }
                    },
                );
            model.loss_and_gradients(&data.batch, &data.labels, options, filtered)
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.without_gradient, [ParamPath::from(forgotten)]);
        assert_eq!(outcome.norms.len(), before.len() - 1);
        for ((path, before), (_, after)) in before.iter().zip(norms()) {
            assert_eq!(*before == after, path.as_str() == forgotten, "{path}: {before} and {after}");
        }
    }
}
