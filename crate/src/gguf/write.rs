//! Writing a planned file: one block of rows in memory at a time, quantized on all cores.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::GgufError;
use super::names::interleaved;
use super::plan::{GgufPlan, GgufTensor};
use super::storage::encode;
use crate::checkpoint::{Checkpoint, CheckpointError, Piece, Pieces, gguf_header};
use crate::interrupt;
use crate::spec::{DType, ParamPath, TensorRow};

/// Numbers of the rows in memory at a time, unless one row or one head has more.
const BLOCK: usize = 4 << 20;

/// The largest number that a 16-bit float holds, and so a block's scale.
const LARGEST_F16: f32 = 65504.0;

/// The name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufWritten {
    /// Bytes of the file.
    pub bytes: u64,
    /// Tensors with NaN or infinite values, which the file holds as they are.
    pub not_finite: Vec<String>,
}

impl GgufPlan {
    /// Writes the file, which must not exist. `pieces` says what tensors of `from`, by their names there, are made of
    /// where not of themselves. `progress` gets the bytes of data as they are written.
    ///
    /// # Errors
    /// [`GgufError::Values`] for values that the type cannot hold, and what reading or writing fails with.
    pub fn write(
        &self,
        from: &Checkpoint,
        pieces: &HashMap<ParamPath, Vec<Piece>>,
        path: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<GgufWritten, GgufError> {
        let rows: Vec<TensorRow> = self.tensors().iter().map(|tensor| tensor.row.clone()).collect();
        let Some((header, places)) = gguf_header(self.metadata(), &rows) else {
            let what = "an element type that GGUF files do not hold".to_owned();
            return Err(GgufError::Beyond { what, origin: from.path().to_owned() });
        };
        let made_of_piece = |piece: &Piece| match piece {
            Piece::Tensor(name) => pieces.get(name).cloned().unwrap_or_else(|| vec![piece.clone()]),
            gathered => vec![gathered.clone()],
        };
        let made_of = |tensor: &GgufTensor| tensor.origin.iter().flat_map(made_of_piece).collect();
        let pieces = self.tensors().iter().map(|tensor| (tensor.row.path.clone(), made_of(tensor))).collect();
        let pieces = Pieces::new(from, pieces);
        let open = File::options().write(true).create_new(true).open(path);
        let mut file = open.map_err(CheckpointError::io("creating", path))?;
        file.write_all(&header).map_err(CheckpointError::io("writing", path))?;
        let mut written = GgufWritten { bytes: header.len() as u64, not_finite: Vec::new() };
        for (tensor, padded) in self.tensors().iter().zip(places) {
            interrupt::check().map_err(CheckpointError::from)?;
            let mut tensor = Tensor::new(tensor, from.path());
            let mut fault = None;
            // As float32, in the shape that the source gives it.
            let row = TensorRow { dtype: DType::F32, ..tensor.planned.row.clone() };
            pieces.planned(&row, &mut |bytes| {
                let floats = bytes.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw));
                tensor.waiting.extend(floats);
                while tensor.waiting.len() >= tensor.block {
                    let rest = tensor.waiting.split_off(tensor.block);
                    let block = std::mem::replace(&mut tensor.waiting, rest);
                    match tensor.encoded(&block) {
                        Ok(bytes) => tensor.append(&mut file, &bytes, path, progress)?,
                        Err(error) => {
                            fault = Some(error);
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            })?;
            if let Some(fault) = fault {
                return Err(fault);
            }
            let last = std::mem::take(&mut tensor.waiting);
            let bytes = tensor.encoded(&last)?;
            tensor.append(&mut file, &bytes, path, progress)?;
            let padding = vec![0; (padded - tensor.written) as usize];
            file.write_all(&padding).map_err(CheckpointError::io("writing", path))?;
            written.bytes += padded;
            if tensor.not_finite {
                written.not_finite.push(tensor.planned.row.path.to_string());
            }
        }
        file.sync_all().map_err(CheckpointError::io("syncing", path))?;
        Ok(written)
    }
}

/// A tensor on its way into the file.
struct Tensor<'a> {
    planned: &'a GgufTensor,
    origin: &'a Path,
    /// Numbers of a row.
    width: usize,
    /// Numbers encoded at a time: whole rows, and whole heads where rows change places.
    block: usize,
    /// What was read and is not encoded.
    waiting: Vec<f32>,
    /// Bytes written.
    written: u64,
    not_finite: bool,
}

impl<'a> Tensor<'a> {
    fn new(planned: &'a GgufTensor, origin: &'a Path) -> Self {
        let shape = &planned.row.shape;
        // A bias of interleaved heads has rows of one number.
        let width =
            if planned.heads.is_some() && shape.len() == 1 { 1 } else { shape.last().map_or(1, |&width| width) };
        let unit = planned.heads.unwrap_or(1) * width.max(1);
        let block = (BLOCK / unit).max(1) * unit;
        Self { planned, origin, width, block, waiting: Vec::new(), written: 0, not_finite: false }
    }

    fn append(
        &mut self,
        file: &mut File,
        bytes: &[u8],
        path: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<(), CheckpointError> {
        file.write_all(bytes).map_err(CheckpointError::io("writing", path))?;
        self.written += bytes.len() as u64;
        progress(bytes.len() as u64);
        Ok(interrupt::check()?)
    }

    fn encoded(&mut self, values: &[f32]) -> Result<Vec<u8>, GgufError> {
        self.check(values)?;
        let ordered = self.planned.heads.map(|head_dim| interleaved(values, head_dim, self.width));
        let bytes = encode(ordered.as_deref().unwrap_or(values), self.planned.row.dtype);
        bytes.map_err(|error| GgufError::Source(crate::model::ModelError::from(error).into()))
    }

    fn check(&mut self, values: &[f32]) -> Result<(), GgufError> {
        let fault = |what: String, advice| GgufError::Values {
            tensor: self.planned.native.as_ref().unwrap_or(&self.planned.row.path).to_string(),
            what,
            advice,
            origin: self.origin.to_owned(),
        };
        let dtype = self.planned.row.dtype;
        let finite = values.iter().all(|value| value.is_finite());
        if !finite && matches!(dtype, DType::Block(_)) {
            let count = values.iter().filter(|value| !value.is_finite()).count();
            let which = if count == 1 { "a value that is".to_owned() } else { format!("{count} values that are") };
            let what = format!("has {which} NaN or infinite, which {dtype} cannot hold");
            return Err(fault(what, "repair the weights, or use --gguf-type f32, which keeps them as they are"));
        }
        let narrow = matches!(dtype, DType::F16 | DType::Block(_));
        if narrow && let Some(value) = values.iter().find(|value| value.is_finite() && value.abs() > LARGEST_F16) {
            let what = format!("holds {value:e}, beyond the 65504 that {dtype} can hold");
            return Err(fault(what, "use --gguf-type bf16 or f32"));
        }
        // The smallest number that is rounded to infinity.
        let limit = f32::from_bits(0x7f7f_8000);
        if dtype == DType::BF16
            && let Some(value) = values.iter().find(|value| value.is_finite() && value.abs() >= limit)
        {
            return Err(fault(format!("holds {value:e}, which is infinite as {dtype}"), "use --gguf-type f32"));
        }
        self.not_finite |= !finite;
        Ok(())
    }
}
