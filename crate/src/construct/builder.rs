//! The construction: render, resolve, allocate if asked to, and write the output folder.

use std::path::{Path, PathBuf};

use super::{ConstructError, Construction, LoadReport, output};
use crate::Setting;
use crate::checkpoint::{Checkpoint, FolderChanges, SaveOptions, WeightsFormat};
pub use crate::device::Device;
use crate::device::DeviceError;
use crate::memory;
use crate::model::{CausalLm, InitialWeights, LayeredWeights, ModelError, Weights, ZeroWeights};
use crate::naming::Families;
use crate::project::ProjectConfig;
use crate::sealed::Sealed;
use crate::spec::{DType, ModelConfig, ModelSpec, Scheme, TensorRow, TensorTable};

/// A construction to be run; made by [`ProjectConfig::construct`].
#[derive(Clone, Debug)]
#[must_use = "a construction does nothing until it is built"]
pub struct Construct {
    config: ProjectConfig,
    device: Device,
    dtype: Option<DType>,
    seed: u64,
    output: Option<PathBuf>,
    save: bool,
    refresh: bool,
    force: bool,
    load: Option<PathBuf>,
    families: Sealed<Families>,
    strict: bool,
    allow_missing: bool,
    no_init: bool,
    saving: SaveOptions,
    batch: (usize, Option<usize>),
}

impl ProjectConfig {
    /// Starts a construction on the meta device: nothing is allocated unless a real device is asked for.
    pub fn construct(&self) -> Construct {
        Construct {
            config: self.clone(),
            device: Device::Meta,
            dtype: None,
            seed: 42,
            output: self.output_dir(),
            save: false,
            refresh: false,
            force: false,
            load: None,
            families: Sealed::default(),
            strict: false,
            allow_missing: false,
            no_init: false,
            saving: SaveOptions::default(),
            batch: (2, None),
        }
    }
}

impl Construct {
    /// Where to put the tensors: `meta`, `cpu` or `cuda:N`.
    ///
    /// # Errors
    /// [`DeviceError`] for any other word.
    pub fn device(mut self, name: &str) -> Result<Self, DeviceError> {
        self.device = Device::parse(name)?;
        Ok(self)
    }

    /// As [`device`](Self::device), with a device that was read already.
    pub fn on(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Element type of the parameters; float32 unless given.
    pub fn dtype(mut self, dtype: impl Setting<DType>) -> Self {
        self.dtype = dtype.into_setting();
        self
    }

    /// Seed of the initialization (default 42).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Writes configuration and tokenizer into this folder.
    pub fn output_dir(self, folder: impl AsRef<Path>) -> Self {
        self.output_path(folder.as_ref())
    }

    fn output_path(mut self, folder: &Path) -> Self {
        self.output = Some(folder.to_owned());
        self
    }

    /// Saves the weights into the output folder, too. Needs a real device.
    pub fn save_checkpoint(mut self, save: bool) -> Self {
        self.save = save;
        self
    }

    /// Writes configuration, tokenizer and sources of an output folder that exists again. What was edited there, and
    /// weights that no longer belong to them, are an error that names them, unless [`force`](Self::force) gives them
    /// up.
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// Lets [`refresh`](Self::refresh) write over edited files and remove weights and checkpoints, and lets a folder
    /// that holds other things get a model. Whatever else is there stays.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Sets how the weights are divided into files.
    pub fn save_options(mut self, options: SaveOptions) -> Self {
        self.saving = options;
        self
    }

    /// Closes a file of weights before it exceeds this many bytes (default: 5 GB).
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.saving.max_shard_size = bytes;
        self
    }

    /// Saves the weights in this format (default: safetensors).
    pub fn format(mut self, format: WeightsFormat) -> Self {
        self.saving.format = format;
        self
    }

    /// Loads the weights of a file, a folder, a checkpoint or a model folder over the initial values. Parameters that
    /// it lacks keep these, and [`Construction::load`] says which they are. Needs a real device.
    pub fn load_from_checkpoint(self, path: impl AsRef<Path>) -> Self {
        self.load_path(path.as_ref())
    }

    /// Adds families of Hugging Face folders to load from.
    pub fn families(mut self, families: Families) -> Self {
        self.families = Sealed::new(families);
        self
    }

    fn load_path(mut self, path: &Path) -> Self {
        self.load = Some(path.to_owned());
        self
    }

    /// Makes parameters that the checkpoint lacks, and tensors that the model has no place for, an error.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Allocates zeros instead of drawing initial values. With a checkpoint to load, a parameter that it lacks is then
    /// an error, unless [`allow_missing`](Self::allow_missing) lets it stay zero.
    pub fn no_init_weights(mut self, no_init: bool) -> Self {
        self.no_init = no_init;
        self
    }

    /// Lets parameters that the checkpoint lacks stay zero with [`no_init_weights`](Self::no_init_weights).
    pub fn allow_missing(mut self, allow: bool) -> Self {
        self.allow_missing = allow;
        self
    }

    /// The batch that [`Construction::estimate`] is about: rows and tokens of a row (default: 2, and 512 or the whole
    /// context if that is shorter).
    pub fn estimate_for(mut self, batch_size: usize, sequence_length: Option<usize>) -> Self {
        self.batch = (batch_size, sequence_length);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`ConstructError`]; an output folder appears whole or not at all, and one that is there is changed whole or not
    /// at all.
    pub fn build(&self) -> Result<Construction, ConstructError> {
        let mut config = self.config.render()?;
        config.dtype = self.dtype.unwrap_or(config.dtype);
        let table = ModelSpec::resolve(&config).table(config.dtype);
        let context = config.max_position_embeddings;
        let tokens = self.batch.1.unwrap_or(context.min(512));
        self.check_options(context)?;
        let tokenizer = self.config.tokenizer()?;
        let load = self.load.as_deref().map(|path| self.opened(path, &table, &config)).transpose()?;
        // Obstacles are reported before minutes are spent on initializing and reading.
        let output = match &self.output {
            Some(folder) => {
                let request = output::OutputRequest {
                    folder,
                    save: self.save.then_some(self.saving),
                    refresh: self.refresh,
                    force: self.force,
                };
                let load = load.as_ref().map(|(_, report)| report);
                let model = output::Model { config: &config, table: &table, tokenizer: &tokenizer, load };
                Some((output::Output::decide(&request, &model)?, request))
            }
            None => None,
        };
        let model = match self.device {
            Device::Meta => None,
            device => Some(Sealed::new(self.allocate(&config, &table, device, load.as_ref())?)),
        };
        let mut construction = Construction {
            title: format!("{} {}", self.config.project().name(), self.config.name()),
            config: Sealed::new(config),
            table,
            device: self.device,
            attention: self.config.attn_implementation().and_then(|name| name.parse().ok()).unwrap_or_default(),
            model,
            output: None,
            changes: Sealed::new(FolderChanges::default()),
            weights: Vec::new(),
            seed: self.seed,
            tokenizer: Sealed::new(tokenizer),
            load: load.map(|(_, report)| Sealed::new(report)),
            initialized: !self.no_init,
            batch: (self.batch.0, tokens),
        };
        if let Some((output, request)) = output {
            construction.weights = output.write(&request, &construction)?;
            construction.output = Some(request.folder.to_owned());
            construction.changes = Sealed::new(output.changes);
        }
        Ok(construction)
    }

    /// Refuses options that contradict each other, before anything is read or allocated.
    fn check_options(&self, context: usize) -> Result<(), ConstructError> {
        let refuse = |what: &str, origin: &str, advice: &str| {
            Err(ConstructError::Refused { what: what.to_owned(), origin: origin.to_owned(), advice: advice.to_owned() })
        };
        let meta = self.device == Device::Meta;
        if self.save && meta {
            return refuse(
                "the meta device holds no weights that could be saved",
                "--save-checkpoint",
                "add --device cpu",
            );
        }
        if self.load.is_some() && meta {
            let what = "the meta device has no memory to load weights into";
            return refuse(what, "--load-from-checkpoint", "add --device cpu");
        }
        if self.save && self.output.is_none() {
            let what = "there is no folder to save the weights into";
            return refuse(what, "save_checkpoint", "name one with output_dir");
        }
        if self.load.is_none() && (self.strict || self.allow_missing) {
            let origin = if self.strict { "--strict" } else { "--allow-missing" };
            return refuse("there is no checkpoint to load", origin, "name one with --load-from-checkpoint");
        }
        if self.strict && self.allow_missing {
            let what = "--strict and --allow-missing contradict each other";
            return refuse(what, "--strict --allow-missing", "leave one of them out");
        }
        let (rows, tokens) = self.batch;
        for (number, most, origin) in [(Some(rows), 1 << 24, "--batch-size"), (tokens, context, "--sequence-length")] {
            if number.is_some_and(|number| number == 0 || number > most) {
                let advice = format!("give a number from 1 to {most}");
                return refuse("the batch does not fit the model", origin, &advice);
            }
        }
        Ok(())
    }

    /// Opens the checkpoint by its headers and checks that it fits, before anything is read or allocated.
    fn opened(
        &self,
        path: &Path,
        table: &TensorTable,
        config: &ModelConfig,
    ) -> Result<(Checkpoint, LoadReport), ConstructError> {
        let checkpoint = Checkpoint::open(path)?;
        if checkpoint.table().rows().iter().any(|row| row.path.last() == Scheme::SCALES) {
            return Err(ConstructError::Refused {
                what: "the checkpoint is quantized: it has quantized values and scales instead of weights".to_owned(),
                origin: path.display().to_string(),
                advice: "load the checkpoint that it was made from".to_owned(),
            });
        }
        let report = match self.families.of_folder(path) {
            Some(family) => LoadReport::of_family(&checkpoint, config, &family)?,
            None => LoadReport::new(&checkpoint, table, config)?,
        };
        report.require_usable()?;
        if self.strict {
            report.require_complete()?;
        }
        if self.no_init && !self.allow_missing && !report.missing.is_empty() {
            let advice = "leave --no-init-weights out to draw what is missing, or add --allow-missing to keep it zero";
            return Err(report.refused(advice));
        }
        Ok((checkpoint, report))
    }

    /// Returns the model with its first values: drawn or zero, under those of a checkpoint.
    fn allocate(
        &self,
        config: &ModelConfig,
        table: &TensorTable,
        device: Device,
        load: Option<&(Checkpoint, LoadReport)>,
    ) -> Result<CausalLm, ConstructError> {
        // One parameter at a time is in memory twice.
        let largest = table.rows().iter().map(TensorRow::bytes).max().unwrap_or(0);
        let needed = table.bytes() + largest;
        let (weights, making) = (memory::in_words(table.bytes()), memory::in_words(needed));
        let what = format!("the weights take {weights} in {} ({making} while they are made)", config.dtype);
        let advice = "use a narrower type (--dtype bfloat16), fewer layers or a smaller width, or free memory; without \
                      --device nothing is allocated, and the whole estimate is printed";
        device.require(needed, &what, advice)?;
        let mut weights: Box<dyn Weights> =
            if self.no_init { Box::new(ZeroWeights) } else { Box::new(InitialWeights::new(table, self.seed)) };
        if let Some((checkpoint, report)) = load {
            weights = Box::new(LayeredWeights::new(report.weights(checkpoint), weights));
        }
        let built = CausalLm::build(config, weights, config.dtype, &device.open()?, true);
        built.map_err(|error| match error {
            ModelError::NoMemory { path, .. } => ConstructError::Refused {
                what: format!("memory ran out at `{path}`: {what}"),
                origin: format!("--device {device}"),
                advice: advice.to_owned(),
            },
            other => other.into(),
        })
    }
}
