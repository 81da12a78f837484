//! Forward, backward and SGD on random batches, with what a person wants to know afterwards.

use std::time::{Duration, Instant};

use candle_core::{DType as CandleType, Tensor};
use rand::Rng;
use serde_json::{Value, json};

use crate::construct::Construction;
use crate::display::{LossCurve, Updating};
use crate::interrupt::{self, Interrupted};
use crate::model::{Batch, CausalLm, ModelError, next_token_loss};
use crate::spec::ParamPath;

/// Why a test run could not be made. A run that was made and found faults is a [`KickTestReport`] that did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KickTestError {
    /// The model has no tensors, or the batch does not fit it.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The option.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// The computation.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// One step of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRecord {
    /// Counted from 1.
    pub step: usize,
    /// Mean cross entropy before the step, in nats per token.
    pub loss: f32,
    /// Wall time of batch, forward, backward and update.
    pub duration: Duration,
}

/// What a test run found.
#[derive(Clone, Debug)]
pub struct KickTestReport {
    /// Project and configuration.
    pub title: String,
    /// The device's name.
    pub device: String,
    /// Rows and tokens per row of each batch.
    pub batch: (usize, usize),
    /// Learning rate of plain SGD.
    pub lr: f64,
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Parameters whose gradient was missing or not finite in some step.
    pub without_gradient: Vec<ParamPath>,
    /// Number of trained parameters' tensors.
    pub tensors: usize,
    /// Largest resident memory of the process during the run, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

/// A test run to be made; see [`Construction::test`].
pub struct KickTest<'a> {
    construction: &'a Construction,
    steps: usize,
    batch_size: usize,
    sequence_length: usize,
    lr: f64,
    seed: u64,
    repeat_batch: bool,
}

impl<'a> KickTest<'a> {
    pub(crate) fn new(construction: &'a Construction) -> Self {
        let seed = construction.seed;
        Self { construction, steps: 1, batch_size: 2, sequence_length: 512, lr: 0.01, seed, repeat_batch: false }
    }

    /// Number of steps (default 1).
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Rows of each batch (default 2).
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows;
        self
    }

    /// Tokens per row (default 512).
    pub fn sequence_length(mut self, tokens: usize) -> Self {
        self.sequence_length = tokens;
        self
    }

    /// Learning rate of plain SGD (default 0.01).
    pub fn lr(mut self, lr: f64) -> Self {
        self.lr = lr;
        self
    }

    /// Seed of the random batches (default: the construction's).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Feeds the first batch again and again, so that the loss must fall. Fresh random tokens teach nothing.
    pub fn repeat_batch(mut self, repeat: bool) -> Self {
        self.repeat_batch = repeat;
        self
    }

    /// Runs it, drawing the loss live where a notebook listens.
    ///
    /// # Errors
    /// [`KickTestError`] for a model without tensors, a batch that does not fit, the device's refusal or an interrupt.
    pub fn run(&self) -> Result<KickTestReport, KickTestError> {
        let model = self.check()?;
        reset_peak_memory();
        let variables = model.parameters().variables();
        let mut report = KickTestReport {
            title: self.construction.title.clone(),
            device: self.construction.device.to_string(),
            batch: (self.batch_size, self.sequence_length),
            lr: self.lr,
            steps: Vec::with_capacity(self.steps),
            without_gradient: Vec::new(),
            tensors: variables.len(),
            peak_memory_bytes: None,
        };
        let mut random = crate::model::random_stream(self.seed, "kicktest batches");
        let mut batch = self.draw(&mut random, model)?;
        let mut curve = LossCurve::new(&self.construction.title, self.steps);
        let mut display = Updating::new();
        let meter = crate::progress::terminal_steps("testing", self.steps as u64);
        for step in 1..=self.steps {
            interrupt::check()?;
            let started = Instant::now();
            if step > 1 && !self.repeat_batch {
                batch = self.draw(&mut random, model)?;
            }
            let labels: Vec<Vec<i64>> =
                batch.input_ids.iter().map(|row| row.iter().map(|&id| i64::from(id)).collect()).collect();
            let loss = next_token_loss(&model.forward(&batch)?, &labels)?;
            let gradients = loss.backward().map_err(ModelError::from)?;
            interrupt::check()?;
            let value =
                loss.to_dtype(CandleType::F32).and_then(|loss| loss.to_scalar::<f32>()).map_err(ModelError::from)?;
            for (path, var) in &variables {
                let gradient = gradients.get(var.as_tensor());
                // Finite norms: one NaN or infinity anywhere makes the sum so.
                let finite =
                    gradient.map(square_norm).transpose().map_err(ModelError::from)?.is_some_and(f32::is_finite);
                if !finite && !report.without_gradient.contains(path) {
                    report.without_gradient.push(path.clone());
                }
                if let Some(gradient) = gradient {
                    let update = (gradient * self.lr).and_then(|scaled| var.as_tensor().sub(&scaled));
                    update.and_then(|updated| var.set(&updated)).map_err(ModelError::from)?;
                }
            }
            let record = StepRecord { step, loss: value, duration: started.elapsed() };
            report.steps.push(record);
            curve.push(record.step, record.loss);
            meter.say(format!("loss {value:.4}"));
            meter.advance(1);
            if self.steps > 1 {
                display.update(|| curve.bundle());
            }
        }
        meter.finish();
        if self.steps > 1 {
            display.finish(&curve.bundle());
        }
        report.peak_memory_bytes = peak_memory();
        Ok(report)
    }

    fn check(&self) -> Result<&'a CausalLm, KickTestError> {
        let refuse = |what: String, origin: &str, advice: &str| {
            Err(KickTestError::Refused { what, origin: origin.to_owned(), advice: advice.to_owned() })
        };
        let Some(model) = &self.construction.model else {
            return refuse(
                "the model is on the meta device: it has no tensors to compute with".to_owned(),
                "--device",
                "construct it with --device cpu",
            );
        };
        for (name, value) in [("--steps", self.steps), ("--batch-size", self.batch_size)] {
            if value == 0 {
                return refuse("zero is not enough".to_owned(), name, "give a number from 1");
            }
        }
        let longest = self.construction.config.max_position_embeddings;
        if self.sequence_length < 2 || self.sequence_length > longest {
            let what = format!("{} tokens per row do not fit the model", self.sequence_length);
            return refuse(what, "--sequence-length", &format!("give a number from 2 to {longest}"));
        }
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return refuse(format!("{} is no learning rate", self.lr), "--lr", "give a number from 0");
        }
        Ok(model)
    }

    fn draw(&self, random: &mut impl Rng, model: &CausalLm) -> Result<Batch, ModelError> {
        let vocab = model.config().vocab_size as u32;
        Batch::new(
            (0..self.batch_size)
                .map(|_| (0..self.sequence_length).map(|_| random.random_range(0..vocab)).collect())
                .collect(),
        )
    }
}

fn square_norm(tensor: &Tensor) -> candle_core::Result<f32> {
    tensor.to_dtype(CandleType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()
}

impl KickTestReport {
    /// True if every loss is finite and every parameter received a finite gradient in every step.
    pub fn passed(&self) -> bool {
        self.without_gradient.is_empty() && self.steps.iter().all(|step| step.loss.is_finite())
    }

    /// The losses in order.
    pub fn losses(&self) -> Vec<f32> {
        self.steps.iter().map(|step| step.loss).collect()
    }

    /// Median wall time of a step.
    pub fn median_step(&self) -> Duration {
        let mut durations: Vec<Duration> = self.steps.iter().map(|step| step.duration).collect();
        durations.sort();
        durations.get(durations.len() / 2).copied().unwrap_or_default()
    }

    /// Tokens per second at the median step.
    pub fn tokens_per_second(&self) -> f64 {
        (self.batch.0 * self.batch.1) as f64 / self.median_step().as_secs_f64().max(1e-9)
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({
            "passed": self.passed(),
            "title": self.title,
            "device": self.device,
            "batch_size": self.batch.0,
            "sequence_length": self.batch.1,
            "lr": self.lr,
            "losses": self.losses(),
            "step_ms": self.steps.iter().map(|step| step.duration.as_secs_f64() * 1e3).collect::<Vec<_>>(),
            "tokens_per_second": self.tokens_per_second(),
            "peak_memory_bytes": self.peak_memory_bytes,
            "tensors": self.tensors,
            "without_gradient": self.without_gradient,
        })
    }
}

/// Asks Linux to forget the largest resident size so far; elsewhere the peak is that of the whole process.
fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
