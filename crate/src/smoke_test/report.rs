//! What a test run found.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Comparison, Fault, Settings};
use crate::sealed::Sealed;
use crate::spec::{DType, ParamPath, Recipe};

/// One step of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Counted from 1.
    pub step: usize,
    /// Mean cross entropy before the step, in nats per token.
    pub loss: f32,
    /// Wall time of batch, forward, backward and update; the checks' own time is left out.
    pub duration: Duration,
    /// The part of it that made the batch.
    pub data: Duration,
    /// The part of it that updated the weights, where it can be told apart: on the host always, on a GPU in checked
    /// steps, which wait for the device.
    pub update: Option<Duration>,
    /// True if every gradient was measured: in the first and the last step.
    pub checked: bool,
}

impl StepRecord {
    /// Forward and backward, with the update where that cannot be told apart.
    pub fn forward_backward(&self) -> Duration {
        self.duration.saturating_sub(self.data).saturating_sub(self.update.unwrap_or_default())
    }
}

/// The size of a parameter's gradient in the last checked step.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientRecord {
    /// The parameter.
    pub path: ParamPath,
    /// Euclidean norm.
    pub norm: f32,
    /// Where the parameter stands among all, in the order of a forward pass.
    pub place: usize,
}

/// What a test run found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SmokeTestReport {
    /// Project and configuration.
    pub title: String,
    /// The device's name.
    pub device: String,
    /// Element type of the parameters.
    pub dtype: DType,
    /// Rows and tokens per row of each batch.
    pub batch: (usize, usize),
    /// Learning rate of plain SGD.
    pub lr: f64,
    /// Seed of random batches and of dropout.
    pub seed: u64,
    /// How the steps were computed.
    pub settings: Settings,
    /// What the batches held, in a line.
    pub data: String,
    /// How often the dataset was gone through, if it was one.
    pub passes: Option<f64>,
    /// Steps asked for; a fault ends the run earlier.
    pub planned: usize,
    /// Every step.
    pub steps: Sealed<Vec<StepRecord>>,
    /// Gradients in the last checked step, by name in natural order.
    pub gradients: Sealed<Vec<GradientRecord>>,
    /// Parameters that received no gradient in some step.
    pub without_gradient: Sealed<Vec<ParamPath>>,
    /// Experts that received no token in any step.
    pub dead_experts: Sealed<Vec<ParamPath>>,
    /// The first NaN or infinity.
    pub fault: Option<Fault>,
    /// Number of trained parameters' tensors.
    pub tensors: usize,
    /// Peak memory where the model is: of the GPU, or of the process.
    pub peak_memory_bytes: Option<u64>,
    /// Largest resident memory of the process during the run, where the system tells.
    pub host_peak_memory_bytes: Option<u64>,
    /// Largest use of the GPU's memory during the run.
    pub device_peak_memory_bytes: Option<u64>,
    /// Floating-point operations of forward and backward per token, estimated
    /// ([`Estimate::training_flops_per_token`](crate::construct::Estimate::training_flops_per_token)).
    pub flops_per_token: f64,
    /// Measured floating-point operations per second of a large matrix product in the model's type on its device.
    pub matmul_rate: Option<f64>,
    /// The comparison with other settings, if one was asked for.
    pub comparison: Option<Sealed<Comparison>>,
    /// Where the weights were saved after the last step, if they were.
    pub checkpoint: Option<PathBuf>,
}

impl SmokeTestReport {
    /// Returns true if everything was finite, every parameter received a gradient, and compared settings agree.
    pub fn passed(&self) -> bool {
        self.failures().is_empty()
    }

    /// Returns why it did not pass, the most informative reason first; empty if it passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(fault) = &self.fault {
            failures.push(fault.to_string());
        } else if let Some(step) = self.steps.iter().find(|step| !step.loss.is_finite()) {
            failures.push(format!("step {}: the loss is {}", step.step, step.loss));
        } else if let Some(gradient) = self.gradients.iter().find(|gradient| !gradient.norm.is_finite()) {
            failures.push(format!("the gradient of {} is not finite", gradient.path));
        }
        if !self.without_gradient.is_empty() {
            let names: Vec<String> = self.without_gradient.iter().take(5).map(ToString::to_string).collect();
            let more = self.without_gradient.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            failures.push(format!(
                "{} of {} parameters received no gradient: {}{more}",
                self.without_gradient.len(),
                self.tensors,
                names.join(", ")
            ));
        }
        if let Some(comparison) = self.comparison.as_ref().filter(|comparison| !comparison.agrees()) {
            failures.push(format!("{} does not agree with {}", comparison.changes, comparison.first));
        }
        failures
    }

    /// Returns a line that names experts without a token, if there are any.
    pub fn dead_experts_in_words(&self) -> Option<String> {
        let (count, steps) = (self.dead_experts.len(), self.steps.len());
        let names: Vec<String> = self.dead_experts.iter().take(5).map(ToString::to_string).collect();
        let more = count.saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let experts = if count == 1 { "expert" } else { "experts" };
        let steps = if steps == 1 { "the step".to_owned() } else { format!("any of {steps} steps") };
        (count > 0).then(|| format!("{count} {experts} received no token in {steps}: {}{more}", names.join(", ")))
    }

    /// Returns the losses in order.
    pub fn losses(&self) -> Vec<f32> {
        self.steps.iter().map(|step| step.loss).collect()
    }

    /// Returns the steps that the median is of: without the first, which warms up, and without checked ones, where
    /// others are.
    fn timed(&self) -> Vec<&StepRecord> {
        let plain: Vec<&StepRecord> = self.steps.iter().filter(|step| step.step > 1 && !step.checked).collect();
        let warm: Vec<&StepRecord> = self.steps.iter().filter(|step| step.step > 1).collect();
        [plain, warm].into_iter().find(|steps| !steps.is_empty()).unwrap_or_else(|| self.steps.iter().collect())
    }

    /// Median wall time of a step, the first one apart.
    pub fn median_step(&self) -> Duration {
        let mut durations: Vec<Duration> = self.timed().iter().map(|step| step.duration).collect();
        durations.sort();
        let at = |index: usize| durations.get(index).copied().unwrap_or_default();
        (at(durations.len().saturating_sub(1) / 2) + at(durations.len() / 2)) / 2
    }

    /// Tokens per second at the median step.
    pub fn tokens_per_second(&self) -> f64 {
        (self.batch.0 * self.batch.1) as f64 / self.median_step().as_secs_f64().max(1e-9)
    }

    /// Returns the share of the device's matrix product rate that the median step reaches (1 would be all of it).
    pub fn utilization(&self) -> Option<f64> {
        Some(self.tokens_per_second() * self.flops_per_token / self.matmul_rate?)
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let steps = self.steps.iter().map(|step| {
            json!({
                "step": step.step,
                "loss": step.loss,
                "ms": ms(step.duration),
                "data_ms": ms(step.data),
                "forward_backward_ms": ms(step.forward_backward()),
                "update_ms": step.update.map(ms),
                "checked": step.checked,
            })
        });
        json!({
            "passed": self.passed(),
            "failures": self.failures(),
            "title": self.title,
            "device": self.device,
            "dtype": self.dtype.torch_name(),
            "batch_size": self.batch.0,
            "sequence_length": self.batch.1,
            "lr": self.lr,
            "seed": self.seed,
            "settings": {
                "attn_implementation": self.settings.attention.to_string(),
                "gradient_checkpointing": self.settings.gradient_checkpointing,
                "fuse_optim_with_backward": self.settings.fuse_optim_with_backward,
                "qat_recipe": self.settings.qat_recipe.map(Recipe::name),
            },
            "data": self.data,
            "passes": self.passes,
            "losses": self.losses(),
            "step_ms": ms(self.median_step()),
            "first_step_ms": self.steps.first().map(|step| ms(step.duration)),
            "steps": steps.collect::<Vec<_>>(),
            "tokens_per_second": self.tokens_per_second(),
            "flops_per_token": self.flops_per_token,
            "matmul_flops_per_second": self.matmul_rate,
            "utilization": self.utilization(),
            "peak_memory_bytes": self.peak_memory_bytes,
            "host_peak_memory_bytes": self.host_peak_memory_bytes,
            "device_peak_memory_bytes": self.device_peak_memory_bytes,
            "tensors": self.tensors,
            "gradients": self.gradients.iter().map(|gradient| json!({ "path": gradient.path, "norm": gradient.norm })).collect::<Vec<_>>(),
            "without_gradient": *self.without_gradient,
            "dead_experts": *self.dead_experts,
            "fault": self.fault,
            "checkpoint": self.checkpoint,
            "comparison": self.comparison.as_ref().map(|comparison| comparison.report()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, ms: u64, checked: bool) -> StepRecord {
        let duration = Duration::from_millis(ms);
        StepRecord { step, loss: 1.0, duration, data: Duration::ZERO, update: None, checked }
    }

    fn report(steps: Vec<StepRecord>) -> SmokeTestReport {
        SmokeTestReport {
            title: "llama 4M".to_owned(),
            device: "cpu".to_owned(),
            dtype: DType::F32,
            batch: (2, 50),
            lr: 0.01,
            seed: 42,
            settings: Settings::default(),
            data: String::new(),
            passes: None,
            planned: steps.len(),
            steps: Sealed::new(steps),
            gradients: Sealed::default(),
            without_gradient: Sealed::default(),
            dead_experts: Sealed::default(),
            fault: None,
            tensors: 3,
            peak_memory_bytes: None,
            host_peak_memory_bytes: None,
            device_peak_memory_bytes: None,
            flops_per_token: 5e6,
            matmul_rate: Some(1e10),
            comparison: None,
            checkpoint: None,
        }
    }

    #[test]
    fn the_median_is_of_warm_steps_without_checks() {
        let four = [step(1, 900, true), step(2, 100, false), step(3, 104, false), step(4, 500, true)];
        assert_eq!(report(four[..1].to_vec()).median_step().as_millis(), 900);
        assert_eq!(report(vec![four[0], step(2, 300, true)]).median_step().as_millis(), 300);
        let report = report(four[..3].iter().copied().chain([four[3]]).collect());
        assert_eq!(report.median_step().as_millis(), 102);
        assert!((report.tokens_per_second() - 100.0 / 0.102).abs() < 1e-6);
        assert!((report.utilization().unwrap() - 100.0 / 0.102 * 5e6 / 1e10).abs() < 1e-9);
    }

    #[test]
    fn a_parameter_without_gradient_fails_the_test_and_is_named() {
        let mut report = report(vec![step(1, 1, true)]);
        assert!(report.passed());
        report.without_gradient.push(ParamPath::from("lm_head.weight"));
        assert_eq!(report.failures(), ["1 of 3 parameters received no gradient: lm_head.weight"]);
        assert_eq!(report.report()["passed"], false);
    }
}
