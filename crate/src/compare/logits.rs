//! Logits of model folders, and how far those of two folders are apart.

use std::path::Path;

use candle_core::{DType as CandleType, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use super::model::Model;
use super::{Compare, CompareError};
use crate::checkpoint::{CheckpointChoice, CheckpointError, OutputFile};
use crate::device::Device;
use crate::model::{Batch, ModelError};
use crate::model_folder::require_streamed_memory;
use crate::naming::Families;
use crate::tokenizer::TokenizerFiles;
use crate::validation::{LayerDiff, LogitDiff, Logits, token_ids};

/// Logits and the residual stream after each layer, in float32, row-major.
struct Observed {
    logits: Vec<f32>,
    layers: Vec<Vec<f32>>,
}

impl Observed {
    fn of(&self, model: &Model) -> Logits<'_> {
        Logits { values: &self.logits, vocab: model.config().vocab_size }
    }
}

impl Compare {
    /// Runs it. Vocabularies of different sizes are compared over the tokens that both have.
    ///
    /// # Errors
    /// [`CompareError`] if a folder cannot be opened or a computation fails.
    pub fn run(&self) -> Result<LogitDiff, CompareError> {
        let families = match &self.families {
            Some(families) => (**families).clone(),
            None => Families::built_in()?,
        };
        let left = Model::open(&self.left, None, &families)?;
        let right = Model::open(&self.right, None, &families)?;
        // A vocabulary that grew is compared over the tokens that both have.
        let vocab = left.config().vocab_size.min(right.config().vocab_size);
        let tokenizer = TokenizerFiles::read(left.folder())?;
        let batch = match &self.batch {
            Some(batch) => batch.clone(),
            None => {
                let longest = left.config().max_position_embeddings.min(right.config().max_position_embeddings);
                Batch::new(vec![token_ids(self.prompt.as_deref(), &tokenizer, vocab, longest)?])?
            }
        };
        let (rows, seq) = batch.dims();
        // One model in memory at a time.
        let (first, second) =
            (observe(&left, &batch, self.device, self.by_layer)?, observe(&right, &batch, self.device, self.by_layer)?);
        let names = (self.left.display().to_string(), self.right.display().to_string());
        let real =
            |row: usize, position: usize| batch.attention_mask.as_ref().is_none_or(|mask| mask[row][position] != 0);
        let (a, b) = (first.of(&left), second.of(&right));
        let mut diff = LogitDiff::new((&names.0, &names.1), a, b, seq, real);
        diff.widen_by_depth(left.config().num_hidden_layers.max(right.config().num_hidden_layers), a);
        diff.checkpoints = vec![left.choice().clone(), right.choice().clone()];
        for (name, model) in [(&names.0, &left), (&names.1, &right)] {
            diff.unread_fields.extend(model.unread_fields().into_iter().map(|field| format!("{name}: {field}")));
        }
        diff.unread_fields.dedup();
        if first.layers.len() == second.layers.len() {
            let pairs = first.layers.iter().zip(&second.layers).enumerate();
            diff.layers = pairs.map(|(layer, (left, right))| LayerDiff::new(layer, left, right, rows * seq)).collect();
        }
        diff.name_tokens(&tokenizer, |row, position| batch.input_ids.get(row)?.get(position).copied());
        Ok(diff)
    }
}

fn observe(model: &Model, batch: &Batch, device: Device, layers: bool) -> Result<Observed, CompareError> {
    let streamed = model.stream(&device.open()?)?;
    if device == Device::Cpu {
        let (rows, seq) = batch.dims();
        require_streamed_memory(model.config(), model.streamed_dtype(), rows * seq)?;
    }
    let mut streams = Vec::new();
    let logits = streamed.forward_observed(batch, &mut |_, stream| {
        if layers {
            streams.push(floats(stream));
        }
    })?;
    let layers = streams.into_iter().collect::<candle_core::Result<_>>().map_err(ModelError::from)?;
    Ok(Observed { logits, layers })
}

fn floats(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(CandleType::F32)?.flatten_all()?.to_vec1()
}

/// Logits of a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelLogits {
    /// The numbers, row-major.
    pub values: Vec<f32>,
    /// `[batch, seq, vocab]`.
    pub shape: [usize; 3],
    /// Which weights of the model were taken, and which newer ones were passed over.
    pub choice: CheckpointChoice,
    /// Fields of config.json that nothing reads.
    pub unread_fields: Vec<String>,
}

/// Logits of a model folder of either side, of one of `families`, or of a GGUF file, computed in float32. The weights
/// are those of the folder `checkpoint`, else those that [`Checkpoint::open`](crate::checkpoint::Checkpoint::open)
/// takes.
///
/// # Errors
/// [`CompareError`] if the folder cannot be opened or the computation fails.
pub fn logits(
    path: &Path,
    checkpoint: Option<&Path>,
    batch: &Batch,
    device: Device,
    families: &Families,
) -> Result<ModelLogits, CompareError> {
    let model = Model::open(path, checkpoint, families)?;
    let observed = observe(&model, batch, device, false)?;
    let (rows, seq) = batch.dims();
    let shape = [rows, seq, model.config().vocab_size];
    let unread_fields = model.unread_fields();
    Ok(ModelLogits { values: observed.logits, shape, choice: model.choice().clone(), unread_fields })
}

/// Writes logits as the tensor `logits` of a safetensors file.
///
/// # Errors
/// [`CheckpointError`] if the file cannot be written.
pub fn write_logits(path: &Path, values: &[f32], shape: [usize; 3]) -> Result<(), CheckpointError> {
    write_logits_to(&OutputFile::probe(path)?, values, shape)
}

/// The same for a file that was probed before the work.
pub(crate) fn write_logits_to(output: &OutputFile, values: &[f32], shape: [usize; 3]) -> Result<(), CheckpointError> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let invalid = |error: safetensors::SafeTensorError| CheckpointError::Header {
        path: output.path().to_owned(),
        reason: error.to_string(),
    };
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).map_err(invalid)?;
    output.write(&safetensors::serialize([("logits", view)], None).map_err(invalid)?)
}
