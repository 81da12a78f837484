//! A constructed model.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Estimate, LoadReport};
use crate::checkpoint::FolderChanges;
use crate::device::Device;
use crate::model::CausalLm;
use crate::ops::AttentionImplementation;
use crate::sealed::Sealed;
use crate::spec::{ModelConfig, ModelSpec, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// A constructed model: its configuration and table always, its tensors unless it is on meta.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Construction {
    /// Project and configuration, such as `llama 4M`.
    pub title: String,
    /// The configuration.
    pub config: Sealed<ModelConfig>,
    /// Names, shapes and types of all parameters.
    pub table: TensorTable,
    /// Where it was constructed.
    pub device: Device,
    /// How a test run computes attention, unless it is told otherwise.
    pub attention: AttentionImplementation,
    /// The model, if it was allocated.
    pub model: Option<Sealed<CausalLm>>,
    /// The output folder, if one was written or found as asked for.
    pub output: Option<PathBuf>,
    /// What writing it changed there.
    pub changes: Sealed<FolderChanges>,
    /// The weights' files in it, if they were saved.
    pub weights: Vec<String>,
    /// Seed of the initialization and of random batches.
    pub seed: u64,
    /// The tokenizer's files.
    pub tokenizer: Sealed<TokenizerFiles>,
    /// What was loaded from a checkpoint, and what was not, if one was named.
    pub load: Option<Sealed<LoadReport>>,
    /// False if parameters that no checkpoint gave are zero instead of drawn.
    pub initialized: bool,
    /// Rows and tokens of the batch that estimates are about.
    pub batch: (usize, usize),
}

impl Construction {
    /// Memory and work, before anything is allocated.
    pub fn estimate(&self) -> Estimate {
        self.estimate_of(self.batch.0, self.batch.1)
    }

    /// As [`estimate`](Self::estimate), for another batch.
    pub fn estimate_of(&self, batch_size: usize, sequence_length: usize) -> Estimate {
        let config = &self.config;
        let spec = ModelSpec::resolve(config);
        let sizes = (config.hidden_size, config.max_position_embeddings);
        Estimate::new(&spec, &self.table, sizes, config.dtype, (batch_size, sequence_length))
    }

    /// Returns what a person must know: newer checkpoints that could not be loaded, and what was replaced in the output
    /// folder.
    pub fn warnings(&self) -> Vec<String> {
        let load = self.load.iter().flat_map(|load| load.choice.warnings());
        load.chain(self.changes.losses_in_words().map(|losses| format!("the output folder changed: it {losses}")))
            .collect()
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let estimate = self.estimate();
        json!({
            "title": self.title,
            "device": self.device.to_string(),
            "dtype": self.config.dtype.torch_name(),
            "parameters": {
                "total": self.table.parameters(),
                "trainable": self.table.trainable(),
                "active": estimate.active_parameters,
            },
            "bytes": self.table.bytes(),
            "tensors": self.table.stored().count(),
            "kv_cache_bytes_per_token": estimate.kv_cache_per_token,
            "estimate": estimate.report(),
            "initialized": self.initialized,
            "load": self.load.as_ref().map(|load| load.report()),
            "output": self.output,
            "changes": self.changes.report(),
            "warnings": self.warnings(),
            "weights": self.weights,
            "left_out": crate::export::left_out(&self.config),
        })
    }
}
