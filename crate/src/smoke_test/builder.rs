//! What to run.

use std::path::{Path, PathBuf};

use super::error::{SmokeTestError, refused};
use super::{CompareSettings, Settings, SmokeTestReport};
use crate::Setting;
use crate::checkpoint::SaveOptions;
use crate::checkpoint::{CheckpointError, WEIGHTS_NAMES};
use crate::construct::Construction;
use crate::dataset::DatasetConfig;
use crate::memory;
use crate::model::CausalLm;
use crate::ops::AttentionImplementation;
use crate::spec::Recipe;

/// A test run to be made; see [`Construction::test`].
#[derive(Clone, Debug)]
#[must_use = "a test does nothing until it is run"]
pub struct SmokeTest<'a> {
    pub(super) construction: &'a Construction,
    pub(super) steps: usize,
    pub(super) batch_size: usize,
    pub(super) sequence_length: usize,
    pub(super) lr: f64,
    pub(super) seed: u64,
    pub(super) repeat_batch: bool,
    pub(super) packed: Option<bool>,
    pub(super) dataset: Option<DatasetConfig>,
    pub(super) settings: Settings,
    pub(super) compare: Option<CompareSettings>,
    pub(super) save: Option<(PathBuf, SaveOptions)>,
}

impl Construction {
    /// Starts a test run: forward, backward and an SGD step on random batches.
    pub fn test(&self) -> SmokeTest<'_> {
        SmokeTest::new(self)
    }
}

impl<'a> SmokeTest<'a> {
    fn new(construction: &'a Construction) -> Self {
        Self {
            construction,
            steps: 1,
            batch_size: 2,
            sequence_length: 512,
            lr: 0.01,
            seed: construction.seed,
            repeat_batch: false,
            packed: None,
            dataset: None,
            settings: Settings { attention: construction.attention, ..Settings::default() },
            compare: None,
            save: None,
        }
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

    /// Seed of the random batches and of dropout (default: the construction's).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Feeds the first batch in every step, so that the loss must fall. A model cannot learn from fresh random tokens.
    pub fn repeat_batch(mut self, repeat: bool) -> Self {
        self.repeat_batch = repeat;
        self
    }

    /// Feeds this dataset instead of random tokens. It starts again when it is used up.
    pub fn dataset(mut self, dataset: impl Setting<DatasetConfig>) -> Self {
        self.dataset = dataset.into_setting();
        self
    }

    /// Keeps the documents of a row apart. `true`: always; where the data has no boundaries, a document starts after
    /// each end of text, and random rows are divided at random. `false`: never. By default, where the data has
    /// boundaries.
    pub fn packed(mut self, packed: impl Setting<bool>) -> Self {
        self.packed = packed.into_setting();
        self
    }

    /// How attention is computed (default sdpa).
    pub fn attention(mut self, attention: AttentionImplementation) -> Self {
        self.settings.attention = attention;
        self
    }

    /// Computes each layer again in backward instead of keeping what it computed.
    pub fn gradient_checkpointing(mut self, on: bool) -> Self {
        self.settings.gradient_checkpointing = on;
        self
    }

    /// Updates each parameter as soon as backward has its gradient.
    pub fn fuse_optim_with_backward(mut self, on: bool) -> Self {
        self.settings.fuse_optim_with_backward = on;
        self
    }

    /// Trains for quantization with this recipe: weights, and inputs if the recipe says so, are rounded in the forward
    /// pass as they will be when they are stored. The weights themselves stay floats.
    pub fn qat_recipe(mut self, recipe: impl Setting<Recipe>) -> Self {
        self.settings.qat_recipe = recipe.into_setting();
        self
    }

    /// Saves the weights after the last step into this folder, which must not hold weights. A run with a fault saves
    /// nothing.
    pub fn save_checkpoint(self, folder: impl AsRef<Path>, options: SaveOptions) -> Self {
        self.save_into(folder.as_ref(), options)
    }

    fn save_into(mut self, folder: &Path, options: SaveOptions) -> Self {
        self.save = Some((folder.to_owned(), options));
        self
    }

    /// Also runs every step with other settings, from the same weights, and compares losses and gradients.
    pub fn compare(mut self, changes: impl Setting<CompareSettings>) -> Self {
        self.compare = changes.into_setting();
        self
    }

    /// Runs it, drawing the loss live where a notebook listens. Stops at the first step with a NaN or an infinity.
    ///
    /// # Errors
    /// [`SmokeTestError`] for a model without tensors, a batch or a dataset that does not fit, the device's refusal or
    /// an interrupt.
    pub fn run(&self) -> Result<SmokeTestReport, SmokeTestError> {
        let model = self.check()?;
        match self.settings.qat_recipe {
            Some(recipe) => super::run::run(self, &model.clone().with_fake_quant(recipe)?),
            None => super::run::run(self, model),
        }
    }

    fn check(&self) -> Result<&'a CausalLm, SmokeTestError> {
        let Some(model) = &self.construction.model else {
            return refused(
                "the model is on the meta device: it has no tensors to compute with",
                "--device",
                "construct it on a real device, with --device cpu or --device cuda",
            );
        };
        for (name, value) in [("--steps", self.steps), ("--batch-size", self.batch_size)] {
            if value == 0 {
                return refused(
                    format!("invalid value 0 for {name}: must be at least 1"),
                    name,
                    "give a number of at least 1",
                );
            }
        }
        let longest = self.construction.config.max_position_embeddings;
        if self.sequence_length < 2 || self.sequence_length > longest {
            let what = format!("{} tokens per row do not fit the model", self.sequence_length);
            return refused(what, "--sequence-length", format!("give a number from 2 to {longest}"));
        }
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return refused(
                format!("invalid learning rate `{}`", self.lr),
                "--lr",
                "give a finite number of at least 0",
            );
        }
        let estimate = self.construction.estimate_of(self.batch_size, self.sequence_length);
        let kept = match self.settings.gradient_checkpointing {
            true => estimate.checkpointed_activations,
            false => estimate.activations,
        };
        let step = memory::in_words(estimate.gradients + kept);
        let advice = "use fewer rows (--batch-size) or tokens (--sequence-length), or --gradient-checkpointing";
        // Activations are estimated to within half.
        let needed = estimate.gradients + kept / 2;
        self.construction.device.require(needed, &format!("a step takes about {step} beside the weights"), advice)?;
        // Checked before minutes are spent on steps.
        if let Some((folder, _)) = &self.save
            && let Some(path) = WEIGHTS_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists())
        {
            let advice = "save into another folder, or remove these weights first".to_owned();
            return Err(CheckpointError::DestinationExists { path, advice }.into());
        }
        Ok(model)
    }
}
