//! `model test`

use clap::Args;

use super::ModelArgs;
use crate::command::{Failure, Outcome, values};
use crate::construct::Device;
use crate::dataset::{DatasetConfig, dataset};
use crate::display::{View, below_load};
use crate::ops::AttentionImplementation;
use crate::project::ProjectConfig;
use crate::smoke_test::CompareSettings;
use crate::spec::Recipe;

/// The flags that only `test` reads.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of test")]
pub(super) struct TestArgs {
    /// Number of steps (default: 1)
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Learning rate of plain SGD (default: 0.01)
    #[arg(long, value_name = "LR", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Feed the first batch in every step, so that the loss must fall
    #[arg(long)]
    repeat_batch: bool,
    /// Feed a dataset project: a folder with dataset.yaml, or classics
    #[arg(long, value_name = "DIR|NAME")]
    dataset_project: Option<String>,
    /// Configuration of the dataset project
    #[arg(long, value_name = "CONFIG")]
    dataset_config: Option<String>,
    /// Separate the documents of a row (default: if the data says where they start)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    packed: Option<bool>,
    /// eager, sdpa, flash_attention_2 or flex_attention (default: sdpa)
    #[arg(long, value_name = "NAME", value_parser = values::attention)]
    attn_implementation: Option<AttentionImplementation>,
    /// Recompute layers in the backward pass instead of keeping their activations
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Update each parameter as soon as its gradient is complete
    #[arg(long)]
    fuse_optim_with_backward: bool,
    /// Quantization-aware training: round in the forward pass what `finalize --quantize` rounds
    #[arg(long, value_name = "RECIPE", value_parser = values::recipe)]
    qat_recipe: Option<Recipe>,
    /// Compare with a run of other settings, such as attn-implementation=eager,device=cpu; both must agree
    #[arg(long, value_name = "SETTINGS", value_parser = values::compared)]
    compare: Option<CompareSettings>,
}

impl TestArgs {
    fn data(&self) -> Result<Option<DatasetConfig>, Failure> {
        match (&self.dataset_project, &self.dataset_config) {
            (Some(project), name) => {
                let project = dataset(project)?;
                Ok(Some(project.config(name.as_deref().unwrap_or(project.default_config()))?))
            }
            (None, Some(_)) => Err(Failure::usage("--dataset-config needs --dataset-project", "give both")),
            (None, None) => Ok(None),
        }
    }
}

impl ModelArgs {
    pub(super) fn test(&self, config: &ProjectConfig) -> Result<Outcome, Failure> {
        let data = self.test.data()?;
        // The weights are saved after the steps, not as the construction made them.
        let mut builder = self.builder(config, self.device.unwrap_or(Device::Cpu))?.save_checkpoint(false);
        if self.output_dir.is_some() || self.save_checkpoint {
            builder = builder.output_dir(self.output(config)?);
        }
        let construction = builder.build()?;
        let mut test = construction
            .test()
            .repeat_batch(self.test.repeat_batch)
            .gradient_checkpointing(self.test.gradient_checkpointing)
            .fuse_optim_with_backward(self.test.fuse_optim_with_backward)
            .packed(self.test.packed)
            .dataset(data)
            .compare(self.test.compare)
            .qat_recipe(self.test.qat_recipe);
        if let Some(rows) = self.batch_size {
            test = test.batch_size(rows);
        }
        if let Some(tokens) = self.sequence_length {
            test = test.sequence_length(tokens);
        }
        if let Some(steps) = self.test.steps {
            test = test.steps(steps);
        }
        if let Some(lr) = self.test.lr {
            test = test.lr(lr);
        }
        if let Some(attention) = self.test.attn_implementation {
            test = test.attention(attention);
        }
        if let (true, Some(output)) = (self.save_checkpoint, &construction.output) {
            let steps = self.test.steps.unwrap_or(1);
            test = test.save_checkpoint(output.join(format!("checkpoints/checkpoint-{steps}")), self.save_options());
        }
        let report = test.run()?;
        let (mut view, mut json) = (report.view(), report.report());
        if let Some(load) = &construction.load {
            view = below_load(load, construction.initialized, view);
            json["load"] = load.report();
        }
        Ok(Outcome::new(view, json).with_passed(report.passed()).keeping(self, report))
    }
}
