//! Weights of a model in memory into files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use candle_core::{DType as CandleType, Device as CandleDevice, Tensor};

use crate::checkpoint::{
    AtomicFolder, CheckpointError, DestinationState, FolderChanges, SaveOptions, ShardPlan, TensorSource,
    WEIGHTS_NAMES, WrittenFiles,
};
use crate::model::CausalLm;
use crate::spec::{ParamPath, TensorRow, TensorTable};

/// Writes the weights of a model into a folder, in the sharded layout of Hugging Face: one file if it fits, else
/// numbered ones and an index. The folder is made if it is not there; one that holds weights already is left alone.
///
/// ```no_run
/// use chandlery::{SaveOptions, project, save_checkpoint};
/// let built = project("llama")?.config("4M")?.construct().device("cpu")?.build()?;
/// if let Some(model) = &built.model {
///     save_checkpoint("checkpoint-1", model, SaveOptions::default())?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CheckpointError::DestinationExists`] if weights are there, or the file system's refusal; nothing is left behind.
pub fn save_checkpoint(
    path: impl AsRef<Path>,
    model: &CausalLm,
    options: SaveOptions,
) -> Result<WrittenFiles, CheckpointError> {
    save_into(path.as_ref(), model, options)
}

fn save_into(folder: &Path, model: &CausalLm, options: SaveOptions) -> Result<WrittenFiles, CheckpointError> {
    if !folder.exists() {
        let stage = AtomicFolder::create(folder)?;
        let written = write_weights(stage.path(), model, options)?;
        stage.commit()?;
        return Ok(written);
    }
    if let Some(found) = WEIGHTS_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        return Err(CheckpointError::DestinationExists {
            path: found,
            advice: "save into a new folder, or remove these weights first".to_owned(),
        });
    }
    // Beside other files, which stay.
    let changes = FolderChanges::new(folder, &DestinationState::at(folder)?, weight_files(model.table(), options), &[]);
    let stage = changes.stage(folder)?;
    let written = write_weights(stage.path(), model, options)?;
    stage.commit()?;
    Ok(written)
}

/// Returns the names of the files that hold the weights of a model with this table.
pub(super) fn weight_files(table: &TensorTable, options: SaveOptions) -> Vec<String> {
    shards(table, options).file_names()
}

fn shards(table: &TensorTable, options: SaveOptions) -> ShardPlan {
    ShardPlan::with_format(table.rows().iter().cloned(), options.max_shard_size, options.format)
}

/// Writes the files themselves.
pub(super) fn write_weights(
    folder: &Path,
    model: &CausalLm,
    options: SaveOptions,
) -> Result<WrittenFiles, CheckpointError> {
    let tensors = InMemory(model.parameters().tensors().into_iter().collect());
    shards(model.table(), options).write(folder, &tensors)
}

/// Tensors of a model in memory.
struct InMemory(BTreeMap<ParamPath, Tensor>);

impl TensorSource for InMemory {
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        for row in rows {
            let missing = || CheckpointError::NoTensor { tensor: row.path.to_string(), path: path.to_owned() };
            let tensor = self.0.get(&row.path).ok_or_else(missing)?;
            // Its values, and their bytes in a buffer that grows.
            if !crate::memory::is_obtainable((row.bytes() as usize).saturating_mul(4)) {
                return Err(CheckpointError::io("fetching a tensor", path)(ErrorKind::OutOfMemory.into()));
            }
            let bytes = bytes_of(tensor).map_err(|error| {
                CheckpointError::io("fetching a tensor", path)(std::io::Error::other(error.to_string()))
            })?;
            out.write_all(&bytes).map_err(CheckpointError::io("writing", path))?;
            crate::interrupt::check()?;
        }
        Ok(())
    }
}

/// Little-endian bytes of a float tensor, from any device.
fn bytes_of(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?.to_device(&CandleDevice::Cpu)?;
    Ok(match flat.dtype() {
        // Numbers of a quantized part, as they were read.
        CandleType::U8 => flat.to_vec1::<u8>()?,
        CandleType::BF16 => flat.to_vec1::<half::bf16>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        CandleType::F16 => flat.to_vec1::<half::f16>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        CandleType::F64 => flat.to_vec1::<f64>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => flat.to_dtype(CandleType::F32)?.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
    })
}
