//! The construction: render, resolve, allocate if asked to, and write the output folder.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::output;
use crate::checkpoint::CheckpointError;
pub use crate::device::Device;
use crate::device::DeviceError;
use crate::kicktest::KickTest;
use crate::model::{CausalLm, InitialWeights, ModelError};
use crate::project::{ProjectConfig, ProjectError};
use crate::sealed::Sealed;
use crate::spec::{DType, ModelConfig, ModelSpec, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// Why a model could not be constructed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConstructError {
    /// The project.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The output folder or its weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Options that contradict each other, or what is there already.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The option or folder.
        origin: String,
        /// What to do.
        advice: String,
    },
}

/// A construction to be run; made by [`ProjectConfig::construct`].
#[derive(Clone, Debug)]
pub struct Construct {
    config: ProjectConfig,
    device: Device,
    dtype: Option<DType>,
    seed: u64,
    output: Option<PathBuf>,
    save: bool,
    refresh: bool,
    force: bool,
    max_shard_size: u64,
}

/// A constructed model: its configuration and table always, its tensors unless it is on meta.
#[derive(Clone, Debug)]
pub struct Construction {
    /// Project and configuration, such as `llama 4M`.
    pub title: String,
    /// The configuration.
    pub config: ModelConfig,
    /// Names, shapes and types of all parameters.
    pub table: TensorTable,
    /// Where it was constructed.
    pub device: Device,
    /// The model, if it was allocated.
    pub model: Option<Sealed<CausalLm>>,
    /// The output folder, if one was written or found as asked for.
    pub output: Option<PathBuf>,
    /// The weights' files in it, if they were saved.
    pub weights: Vec<String>,
    /// Seed of the initialisation and of random batches.
    pub seed: u64,
    /// The tokenizer's files.
    pub tokenizer: Sealed<TokenizerFiles>,
}

impl ProjectConfig {
    /// Starts a construction on the meta device: nothing is allocated unless a real device is asked for.
    pub fn construct(&self) -> Construct {
        Construct {
            config: self.clone(),
            device: Device::Meta,
            dtype: None,
            seed: 42,
            output: None,
            save: false,
            refresh: false,
            force: false,
            max_shard_size: crate::checkpoint::DEFAULT_MAX_SHARD_SIZE,
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
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Seed of the initialisation (default 42).
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

    /// Replaces an output folder that exists.
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// Lets [`refresh`](Self::refresh) remove a folder that holds weights or checkpoints.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Closes a shard before it exceeds this many bytes.
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = bytes;
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`ConstructError`]; an output folder appears whole or not at all.
    pub fn build(&self) -> Result<Construction, ConstructError> {
        let mut config = self.config.render()?;
        config.dtype = self.dtype.unwrap_or(DType::F32);
        let table = ModelSpec::resolve(&config).table(config.dtype);
        if self.save && self.device == Device::Meta {
            return Err(ConstructError::Refused {
                what: "the meta device holds no weights that could be saved".to_owned(),
                origin: "--save-checkpoint".to_owned(),
                advice: "add --device cpu".to_owned(),
            });
        }
        if self.save && self.output.is_none() {
            return Err(ConstructError::Refused {
                what: "there is no folder to save the weights into".to_owned(),
                origin: "save_checkpoint".to_owned(),
                advice: "name one with output_dir".to_owned(),
            });
        }
        let model = match self.device {
            Device::Meta => None,
            device => {
                let weights = InitialWeights::new(&table, self.seed);
                let model = CausalLm::build(&config, Box::new(weights), config.dtype, &device.open()?, true)?;
                Some(Sealed::new(model))
            }
        };
        let mut construction = Construction {
            title: format!("{} {}", self.config.project().name(), self.config.name()),
            config,
            table,
            device: self.device,
            model,
            output: None,
            weights: Vec::new(),
            seed: self.seed,
            tokenizer: Sealed::new(self.config.tokenizer()?),
        };
        if let Some(folder) = &self.output {
            let request = output::Request {
                folder,
                tokenizer: self.config.tokenizer()?,
                save: self.save,
                refresh: self.refresh,
                force: self.force,
                max_shard_size: self.max_shard_size,
            };
            construction.weights = output::write(&request, &construction)?;
            construction.output = Some(folder.clone());
        }
        Ok(construction)
    }
}

impl Construction {
    /// Starts a test run: forward, backward and an SGD step on random batches.
    pub fn test(&self) -> KickTest<'_> {
        KickTest::new(self)
    }

    /// Bytes of keys and values that one token adds to a cache, in the model's element type.
    pub fn kv_cache_bytes_per_token(&self) -> u64 {
        let config = &self.config;
        (2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * config.dtype.bytes()) as u64
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({
            "title": self.title,
            "device": self.device.to_string(),
            "dtype": self.config.dtype.torch_name(),
            "parameters": { "total": self.table.parameters(), "trainable": self.table.parameters() },
            "bytes": self.table.bytes(),
            "tensors": self.table.stored().count(),
            "kv_cache_bytes_per_token": self.kv_cache_bytes_per_token(),
            "output": self.output,
            "weights": self.weights,
        })
    }
}
