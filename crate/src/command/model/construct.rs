//! `model construct`

use std::path::PathBuf;

use super::ModelArgs;
use crate::checkpoint::SaveOptions;
use crate::command::{Failure, Outcome};
use crate::construct::{Construct, ConstructError, Device};
use crate::display::View;
use crate::naming::Families;
use crate::project::ProjectConfig;

/// Rows of the batch that `model test` runs, too.
const DEFAULT_ROWS: usize = 2;

impl ModelArgs {
    /// What the flags that `construct` and `test` share ask for.
    pub(super) fn builder(&self, config: &ProjectConfig, device: Device) -> Result<Construct, Failure> {
        let mut builder = config.construct().on(device).save_checkpoint(self.save_checkpoint);
        builder = builder.refresh(self.refresh_model).force(self.force).dtype(self.dtype);
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        builder = builder.save_options(self.save_options());
        if let Some(path) = &self.load_from_checkpoint {
            builder = builder.load_from_checkpoint(path);
        }
        let paths = &self.converters.converter_path;
        if !paths.is_empty() {
            builder = builder.families(Families::with_paths(paths.clone()).map_err(ConstructError::from)?);
        }
        builder = builder.strict(self.strict).allow_missing(self.allow_missing);
        Ok(builder.no_init_weights(self.no_init_weights))
    }

    /// How weights are saved.
    pub(super) fn save_options(&self) -> SaveOptions {
        self.shards.options(self.format.format)
    }

    /// The output folder: the one that is named, or one of the model's name.
    pub(super) fn output(&self, config: &ProjectConfig) -> Result<PathBuf, Failure> {
        match &self.output_dir {
            Some(folder) => Ok(folder.clone()),
            None => Ok(PathBuf::from("output_models").join(config.model_name()?)),
        }
    }

    pub(super) fn construct(&self, config: &ProjectConfig) -> Result<Outcome, Failure> {
        let output = self.output(config)?;
        let mut builder = self.builder(config, self.device.unwrap_or(Device::Meta))?.output_dir(output);
        if self.batch_size.is_some() || self.sequence_length.is_some() {
            builder = builder.estimate_for(self.batch_size.unwrap_or(DEFAULT_ROWS), self.sequence_length);
        }
        let construction = builder.build()?;
        Ok(Outcome::new(construction.view(), construction.report()).keeping(self, construction))
    }
}
