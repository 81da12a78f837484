//! Two settings side by side: the same batches, from the same weights.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::{DType as CandleType, Device, Tensor};
use serde_json::{Value, json};

use super::error::SmokeTestError;
use super::step::{self, Observer, StepPlan};
use super::{CompareSettings, Settings};
use crate::construct::Construction;
use crate::dataset::LabeledBatch;
use crate::model::{CausalLm, ModelError, Weights, candle_dtype};
use crate::spec::{DType, ParamPath};

/// The largest differences that count as equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of losses, relative to the first.
    pub loss: f64,
    /// Of gradients: the norm of the difference, relative to the gradient's own norm.
    pub gradient: f64,
}

impl Tolerance {
    /// By the coarser of the two element types. Each is some hundred roundings of the type, for sums that are made in
    /// another order through many layers; a wrong formula differs by far more.
    pub fn of(dtype: DType) -> Self {
        let (loss, gradient) = match dtype {
            DType::F64 => (1e-12, 1e-10),
            DType::F32 => (1e-5, 1e-4),
            DType::F16 => (2e-3, 2e-2),
            _ => (1e-2, 8e-2),
        };
        Self { loss, gradient }
    }
}

/// A step under both settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparedStep {
    /// Counted from 1.
    pub step: usize,
    /// The loss under the first and the second setting.
    pub losses: (f32, f32),
    /// The largest relative difference of a gradient.
    pub gradient_difference: f64,
    /// Forward, backward and update under the second setting.
    pub second: Duration,
}

/// A parameter's gradient under both settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedParameter {
    /// The parameter.
    pub path: ParamPath,
    /// Norm of its gradient under the first setting, in the step with the largest difference.
    pub norm: f64,
    /// The largest relative difference over the steps.
    pub difference: f64,
}

/// What comparing two settings found.
///
/// Before each step the second model gets the weights of the first, so every step compares one forward and backward
/// pass and its update from equal weights, not the drift of two runs. The difference of a gradient is relative to its
/// norm, or to a thousandth of the typical norm (root mean square over the parameters) if that is larger: a gradient
/// that is zero but for rounding, such as that of a key's bias, has no digits to agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The first setting.
    pub first: Settings,
    /// The second.
    pub second: Settings,
    /// What the second changes.
    pub changes: CompareSettings,
    /// What counts as equal.
    pub tolerance: Tolerance,
    /// Every step.
    pub steps: Vec<ComparedStep>,
    /// Every parameter in the model's order.
    pub parameters: Vec<ComparedParameter>,
}

impl Comparison {
    /// Returns true if losses and gradients agree within the tolerance.
    pub fn agrees(&self) -> bool {
        !self.steps.is_empty()
            && self.steps.iter().all(|step| self.step_agrees(step))
            && self.parameters.iter().all(|parameter| self.parameter_agrees(parameter))
    }

    /// Returns true if the losses of a step agree.
    pub fn step_agrees(&self, step: &ComparedStep) -> bool {
        step.loss_difference() <= self.tolerance.loss && step.gradient_difference <= self.tolerance.gradient
    }

    /// Returns true if the gradients of a parameter agree.
    pub fn parameter_agrees(&self, parameter: &ComparedParameter) -> bool {
        parameter.difference <= self.tolerance.gradient
    }

    pub(super) fn report(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
                "step": step.step,
                "losses": [step.losses.0, step.losses.1],
                "loss_difference": step.loss_difference(),
                "gradient_difference": step.gradient_difference,
                "second_ms": step.second.as_secs_f64() * 1e3,
            })
        });
        let parameters = self.parameters.iter().map(
            |parameter| json!({ "path": parameter.path, "norm": parameter.norm, "difference": parameter.difference }),
        );
        json!({
            "agrees": self.agrees(),
            "first": self.first.to_string(),
            "second": self.changes.to_string(),
            "tolerance": { "loss": self.tolerance.loss, "gradient": self.tolerance.gradient },
            "steps": steps.collect::<Vec<_>>(),
            "parameters": parameters.collect::<Vec<_>>(),
        })
    }
}

impl ComparedStep {
    /// Relative to the first loss; infinite if one is not finite.
    pub fn loss_difference(&self) -> f64 {
        let (first, second) = (f64::from(self.losses.0), f64::from(self.losses.1));
        let difference = (first - second).abs() / first.abs().max(1e-9);
        if difference.is_finite() { difference } else { f64::INFINITY }
    }
}

/// The first model's gradients of the running step.
type FirstGradients = Arc<Mutex<HashMap<ParamPath, Tensor>>>;
/// Norm of the first gradient and norm of the difference, by parameter.
type GradientDifferences = Arc<Mutex<HashMap<ParamPath, (f64, f64)>>>;

/// The second model and what was found so far.
pub(super) struct Second {
    model: CausalLm,
    kept: FirstGradients,
    comparison: Comparison,
}

impl Second {
    /// A copy of `model` on the device and in the type that `changes` asks for.
    pub(super) fn new(
        construction: &Construction,
        model: &CausalLm,
        first: Settings,
        changes: CompareSettings,
    ) -> Result<Self, SmokeTestError> {
        let dtype = changes.dtype.unwrap_or(construction.config.dtype);
        let device = match changes.device {
            Some(device) if device != construction.device => device.open()?,
            _ => model.device().clone(),
        };
        let weights = Copied(model.parameters().tensors().into_iter().collect());
        let mut copy = CausalLm::build(model.config(), Box::new(weights), dtype, &device, true)?;
        if let Some(recipe) = first.qat_recipe {
            copy = copy.with_fake_quant(recipe)?;
        }
        let coarser = if Tolerance::of(dtype).gradient > Tolerance::of(construction.config.dtype).gradient {
            dtype
        } else {
            construction.config.dtype
        };
        let comparison = Comparison {
            first,
            second: changes.applied(&first),
            changes,
            tolerance: Tolerance::of(coarser),
            steps: Vec::new(),
            parameters: Vec::new(),
        };
        Ok(Self { model: copy, kept: FirstGradients::default(), comparison })
    }

    /// Keeps the first model's gradients for [`step`](Self::step).
    pub(super) fn observer(&self) -> Observer {
        let kept = self.kept.clone();
        Arc::new(move |path, gradient| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), gradient.detach());
            Ok(())
        })
    }

    /// Runs the same step on the second model, and then gives it the weights of `first`, which made its own update.
    pub(super) fn step(
        &mut self,
        first: &CausalLm,
        data: &LabeledBatch,
        number: usize,
        loss: f32,
        plan: &StepPlan,
    ) -> Result<(), ModelError> {
        let found = GradientDifferences::default();
        let (kept, noted) = (self.kept.clone(), found.clone());
        let observer: Observer = Arc::new(move |path, gradient| {
            let first = kept.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
            let compared = match first {
                Some(first) => norms(&first, gradient)?,
                None => (0.0, f64::INFINITY),
            };
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), compared);
            Ok(())
        });
        let plan =
            StepPlan { settings: self.comparison.second, check: false, observer: Some(observer), ..plan.clone() };
        let outcome = step::run(&self.model, data, &plan)?;
        let mut found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        // Gradients that only the first model had.
        for (path, _) in self.kept.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            found.insert(path, (0.0, f64::INFINITY));
        }
        let worst = self.note(&found);
        self.comparison.steps.push(ComparedStep {
            step: number,
            losses: (loss, outcome.loss),
            gradient_difference: worst,
            second: outcome.computing,
        });
        self.follow(first)
    }

    /// Makes the differences relative, keeps each parameter's largest, and returns the largest of all.
    fn note(&mut self, found: &HashMap<ParamPath, (f64, f64)>) -> f64 {
        let squares: f64 = found.values().map(|(norm, _)| norm * norm).sum();
        let typical = (squares / found.len().max(1) as f64).sqrt();
        let mut worst = 0.0f64;
        for (path, _) in self.model.parameters().variables() {
            let Some(&(norm, apart)) = found.get(&path) else { continue };
            let relative = apart / norm.max(typical * 1e-3).max(f64::MIN_POSITIVE);
            let difference = if relative.is_finite() { relative } else { f64::INFINITY };
            worst = worst.max(difference);
            match self.comparison.parameters.iter_mut().find(|known| known.path == path) {
                Some(known) if known.difference >= difference => {}
                Some(known) => (known.norm, known.difference) = (norm, difference),
                None => self.comparison.parameters.push(ComparedParameter { path, norm, difference }),
            }
        }
        worst
    }

    fn follow(&self, first: &CausalLm) -> Result<(), ModelError> {
        let weights: HashMap<ParamPath, Tensor> = first.parameters().tensors().into_iter().collect();
        for (path, var) in self.model.parameters().variables() {
            if let Some(tensor) = weights.get(&path) {
                var.set(&tensor.detach().to_device(var.device())?.to_dtype(var.dtype())?)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Comparison {
        self.comparison
    }
}

/// Norm of `first` and norm of the difference, in float64 on the device of `second`.
fn norms(first: &Tensor, second: &Tensor) -> candle_core::Result<(f64, f64)> {
    let wide = |tensor: &Tensor| tensor.to_device(second.device())?.to_dtype(CandleType::F64);
    let (first, second) = (wide(first)?, wide(second)?);
    let norm = |tensor: &Tensor| Ok::<f64, candle_core::Error>(tensor.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt());
    Ok((norm(&first)?, norm(&(first - second)?)?))
}

/// Copies of another model's parameters.
struct Copied(HashMap<ParamPath, Tensor>);

impl Weights for Copied {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        let Some(tensor) = self.0.get(path).filter(|tensor| tensor.dims() == shape) else {
            return Err(ModelError::Shape {
                path: path.to_string(),
                expected: shape.to_vec(),
                found: self.0.get(path).map_or_else(Vec::new, |tensor| tensor.dims().to_vec()),
                origin: "the first model".to_owned(),
            });
        };
        Ok(tensor.detach().to_device(device)?.to_dtype(candle_dtype(dtype))?.copy()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Block, Collator};
    use crate::project::project;

    /// Compares one step after `plant` changed the second model.
    fn compared(plant: impl Fn(&CausalLm)) -> Comparison {
        let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 2).unwrap();
        let built = config.construct().device("cpu").unwrap().build().unwrap();
        let model = built.model.as_ref().unwrap();
        let collator = Collator { sequence_length: 12, packed: None, pad: 0, eos: None };
        let data = collator
            .collate(&[Block { input_ids: (3..15).collect(), document_starts: None, context: Vec::new() }])
            .unwrap();
        let changes = CompareSettings { gradient_checkpointing: Some(true), ..CompareSettings::default() };
        let mut second = Second::new(&built, model, Settings::default(), changes).unwrap();
        let plan = StepPlan {
            settings: Settings::default(),
            lr: 0.1,
            check: false,
            update: true,
            dropout_seed: 1,
            observer: Some(second.observer()),
        };
        plant(&second.model);
        for number in 1..=2 {
            let outcome = step::run(model, &data, &plan).unwrap();
            second.step(model, &data, number, outcome.loss, &plan).unwrap();
        }
        second.finish()
    }

    #[test]
    fn a_planted_difference_fails_only_its_own_step() {
        assert!(compared(|_| {}).agrees());
        let planted = compared(|model| {
            let (_, var) = &model.parameters().variables()[3];
            var.set(&(var.as_tensor().detach() * 1.5).unwrap()).unwrap();
        });
        assert!(!planted.agrees());
        assert!(
            !planted.step_agrees(&planted.steps[0]) && planted.step_agrees(&planted.steps[1]),
            "{:?}",
            planted.steps
        );
        assert!(planted.parameters.iter().any(|parameter| !planted.parameter_agrees(parameter)));
    }

    #[test]
    fn a_gradient_that_one_of_both_lacks_is_an_infinite_difference() {
        let config = project("llama").unwrap().config("4M").unwrap().set("num_hidden_layers", 1).unwrap();
        let built = config.construct().device("cpu").unwrap().build().unwrap();
        let model = built.model.as_ref().unwrap();
        let changes = CompareSettings { gradient_checkpointing: Some(true), ..CompareSettings::default() };
        let mut second = Second::new(&built, model, Settings::default(), changes).unwrap();
        let path = model.parameters().variables()[0].0.clone();
        let worst = second.note(&HashMap::from([(path, (1.0, f64::INFINITY))]));
        assert!(worst.is_infinite() && !second.comparison.parameter_agrees(&second.comparison.parameters[0]));
    }
}
