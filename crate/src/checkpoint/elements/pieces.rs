//! What written tensors are made of, and the bytes that come of it.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::checkpoint::elements::cast::{CastFault, cast_floats};
use crate::checkpoint::elements::gather::{IndexBox, gather};
use crate::checkpoint::header::WeightsFile;
use crate::checkpoint::{Checkpoint, CheckpointError, TensorData};
use crate::interrupt;
use crate::spec::{DType, ParamPath, TensorRow};

/// Bytes read at a time where they are only inspected.
const BLOCK: usize = 1 << 20;

/// A piece of a written tensor. Pieces follow each other along the first dimension.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// All of a source tensor.
    Tensor(ParamPath),
    /// Some rows (first dimension) of a source tensor.
    Rows {
        /// The source tensor.
        tensor: ParamPath,
        /// The first row taken.
        start: usize,
        /// How many.
        count: usize,
    },
    /// Numbers made here, row-major; they become the written tensor's element type.
    Values(Vec<f32>),
    /// A source tensor with a constant added to each of its elements.
    Shifted {
        /// The source tensor.
        tensor: ParamPath,
        /// What is added.
        by: f64,
        /// The element type that the elements are rounded to first, as a cast rounds.
        rounded: Option<DType>,
    },
    /// Elements of source tensors in another order: a transpose, a permutation, columns side by side. The boxes reach every
    /// element of the piece once at most; those that none reaches are zeros.
    Gathered {
        /// How many elements the piece has.
        elements: usize,
        /// Where they come from.
        boxes: Vec<IndexBox>,
    },
}

impl Piece {
    /// Returns the source tensors that it is taken from.
    pub fn tensors(&self) -> Vec<&ParamPath> {
        match self {
            Piece::Tensor(tensor) | Piece::Rows { tensor, .. } | Piece::Shifted { tensor, .. } => vec![tensor],
            Piece::Values(_) => Vec::new(),
            Piece::Gathered { boxes, .. } => boxes.iter().map(|part| &part.tensor).collect(),
        }
    }
}

/// The pieces of every tensor to write, over the checkpoint that they come from.
pub(crate) struct Pieces<'a> {
    from: &'a Checkpoint,
    pieces: HashMap<ParamPath, Vec<Piece>>,
    /// Whether sums with constants must be exact: those that are written, not those that are computed with.
    exact: bool,
}

/// A part of a written tensor.
pub(in crate::checkpoint) enum Stretch<'a> {
    /// Bytes of a source file, cast if the tensor's element type is another.
    Stored { file: &'a WeightsFile, start: u64, len: u64, dtype: DType },
    /// Bytes made here, in the tensor's element type.
    Made(Vec<u8>),
}

impl Stretch<'_> {
    /// Returns how many elements of a tensor of type `made` it holds.
    fn elements(&self, made: DType) -> u64 {
        match self {
            Self::Stored { len, dtype, .. } => len / dtype.bytes() as u64,
            Self::Made(bytes) => (bytes.len() / made.bytes()) as u64,
        }
    }

    /// `count` of its elements, from `first` on.
    fn part(self, first: u64, count: u64, made: DType) -> Self {
        match self {
            Self::Stored { file, start, dtype, .. } => {
                let width = dtype.bytes() as u64;
                Self::Stored { file, start: start + first * width, len: count * width, dtype }
            }
            Self::Made(bytes) => {
                let width = made.bytes();
                Self::Made(bytes[first as usize * width..][..count as usize * width].to_vec())
            }
        }
    }
}

impl<'a> Pieces<'a> {
    /// A tensor that `pieces` does not name is the source's tensor of the same name.
    pub(crate) fn new(from: &'a Checkpoint, pieces: HashMap<ParamPath, Vec<Piece>>) -> Self {
        Self { from, pieces, exact: true }
    }

    /// The same to compute with: sums with constants are rounded to the type that they are asked for in.
    pub(crate) fn for_computing(self) -> Self {
        Self { exact: false, ..self }
    }

    /// Returns whether a constant is added to the elements of this tensor.
    pub(crate) fn adds_to(&self, path: &ParamPath) -> bool {
        let shifted = |piece: &Piece| matches!(piece, Piece::Shifted { .. });
        self.pieces.get(path).is_some_and(|pieces| pieces.iter().any(shifted))
    }

    /// Returns what the source calls `path`, if that is one tensor there; else `path` itself.
    pub(crate) fn stored_name<'b>(&'b self, path: &'b ParamPath) -> &'b ParamPath {
        match self.pieces.get(path).map(Vec::as_slice) {
            Some([Piece::Tensor(from)]) => from,
            _ => path,
        }
    }

    /// Returns the file or index that they come from.
    pub(crate) fn origin(&self) -> &Path {
        self.from.path()
    }

    /// Returns what a tensor is made of, from its first byte to its last.
    pub(in crate::checkpoint) fn stretches(&self, row: &TensorRow) -> Result<Vec<Stretch<'a>>, CheckpointError> {
        let whole = [Piece::Tensor(row.path.clone())];
        let pieces = self.pieces.get(&row.path).map_or(&whole[..], Vec::as_slice);
        pieces.iter().map(|piece| self.stretch(piece, row)).collect()
    }

    fn stretch(&self, piece: &Piece, row: &TensorRow) -> Result<Stretch<'a>, CheckpointError> {
        let (tensor, part) = match piece {
            Piece::Tensor(tensor) => (tensor, None),
            Piece::Rows { tensor, start, count } => (tensor, Some((*start as u64, *count as u64))),
            Piece::Values(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                let mut made = Vec::new();
                cast_floats(&bytes, DType::F32, row.dtype, &mut made)
                    .map_err(|fault| fault.of(&row.path, (row.dtype, row.dtype), self.from.path()))?;
                return Ok(Stretch::Made(made));
            }
            Piece::Shifted { tensor, by, rounded } => {
                return Ok(Stretch::Made(self.shifted(tensor, *by, *rounded, row)?));
            }
            Piece::Gathered { elements, boxes } => {
                return Ok(Stretch::Made(gather(self.from, *elements, boxes, row.dtype)?));
            }
        };
        let (file, extent) = self.from.place(tensor)?;
        let floats = extent.dtype.is_float() && row.dtype.is_weight_float();
        if extent.dtype != row.dtype && !floats {
            return Err(CastFault::NotFloats.of(tensor, (extent.dtype, row.dtype), &file.path));
        }
        let (offset, len) =
            part.map_or((0, extent.len), |(start, count)| (start * extent.row_bytes(), count * extent.row_bytes()));
        if let Some(computed) = self.from.computed(extent)? {
            let part = &computed[offset as usize..(offset + len) as usize];
            let mut bytes = Vec::with_capacity(part.len() / extent.dtype.bytes() * row.dtype.bytes());
            if extent.dtype == row.dtype {
                bytes.extend_from_slice(part);
            } else {
                cast_floats(part, extent.dtype, row.dtype, &mut bytes)
                    .map_err(|fault| fault.of(tensor, (extent.dtype, row.dtype), &file.path))?;
            }
            return Ok(Stretch::Made(bytes));
        }
        Ok(Stretch::Stored { file, start: extent.start + offset, len, dtype: extent.dtype })
    }

    /// Returns the elements of a tensor with a constant added. Where the written type is at least as wide as the stored
    /// one, what was added can be taken away again, and every bit is as before; else the sum is rounded as a cast rounds.
    fn shifted(
        &self,
        tensor: &ParamPath,
        by: f64,
        rounded: Option<DType>,
        row: &TensorRow,
    ) -> Result<Vec<u8>, CheckpointError> {
        let mut data = self.from.read(tensor)?;
        let stored = data.dtype;
        let fault = |fault: CastFault| fault.of(tensor, (stored, row.dtype), self.from.path());
        if let Some(dtype) = rounded.filter(|dtype| *dtype != stored) {
            let mut bytes = Vec::new();
            cast_floats(&data.bytes, stored, dtype, &mut bytes).map_err(fault)?;
            (data.dtype, data.bytes) = (dtype, bytes);
        }
        let sums = |bytes: &[u8], from: DType, by: f64, to: DType| -> Result<Vec<u8>, CastFault> {
            let mut wide = Vec::with_capacity(bytes.len() / from.bytes().max(1) * 8);
            cast_floats(bytes, from, DType::F64, &mut wide)?;
            for number in wide.as_chunks_mut::<8>().0 {
                *number = (f64::from_le_bytes(*number) + by).to_le_bytes();
            }
            let mut out = Vec::new();
            cast_floats(&wide, DType::F64, to, &mut out)?;
            Ok(out)
        };
        let made = sums(&data.bytes, data.dtype, by, row.dtype).map_err(fault)?;
        if self.exact
            && row.dtype.bytes() >= data.dtype.bytes()
            && sums(&made, row.dtype, -by, data.dtype).map_err(fault)? != data.bytes
        {
            return Err(CheckpointError::Inexact {
                tensor: tensor.to_string(),
                by,
                dtype: row.dtype.to_string(),
                path: self.from.path().to_owned(),
            });
        }
        Ok(made)
    }

    /// Returns a whole tensor, in memory.
    ///
    /// # Errors
    /// What reading fails with, or an interrupt.
    pub(crate) fn read(&self, row: &TensorRow) -> Result<TensorData, CheckpointError> {
        let mut bytes = Vec::with_capacity(row.bytes() as usize);
        self.planned(row, &mut |block| {
            bytes.extend_from_slice(block);
            Ok(true)
        })?;
        Ok(TensorData { dtype: row.dtype, shape: row.shape.clone(), bytes })
    }

    /// Hands the bytes that a tensor is to have to `take`, block by block from first to last, until it says no.
    ///
    /// # Errors
    /// What reading or `take` fails with, or an interrupt.
    pub(crate) fn planned(
        &self,
        row: &TensorRow,
        take: &mut dyn FnMut(&[u8]) -> Result<bool, CheckpointError>,
    ) -> Result<(), CheckpointError> {
        self.hand_over(row, self.stretches(row)?, take)
    }

    /// As [`planned`](Self::planned), of `count` rows (first dimension) from `first` on. False, and nothing is handed over,
    /// if they cannot be read without the others.
    ///
    /// # Errors
    /// As [`planned`](Self::planned).
    pub(crate) fn planned_rows(
        &self,
        row: &TensorRow,
        (first, count): (usize, usize),
        take: &mut dyn FnMut(&[u8]) -> Result<bool, CheckpointError>,
    ) -> Result<bool, CheckpointError> {
        let gathered = |piece: &Piece| matches!(piece, Piece::Gathered { .. });
        if !row.dtype.is_weight_float() || self.pieces.get(&row.path).is_some_and(|pieces| pieces.iter().any(gathered))
        {
            return Ok(false);
        }
        let width = row.elements() / row.shape.first().map_or(1, |&rows| rows.max(1)) as u64;
        let (mut skip, mut left) = (first as u64 * width, count as u64 * width);
        let mut wanted = Vec::new();
        for stretch in self.stretches(row)? {
            let all = stretch.elements(row.dtype);
            let here = left.min(all.saturating_sub(skip));
            if here > 0 {
                wanted.push(stretch.part(skip, here, row.dtype));
                left -= here;
            }
            skip = skip.saturating_sub(all);
        }
        self.hand_over(row, wanted, take)?;
        Ok(true)
    }

    fn hand_over(
        &self,
        row: &TensorRow,
        stretches: Vec<Stretch<'_>>,
        take: &mut dyn FnMut(&[u8]) -> Result<bool, CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let (mut read, mut cast) = (Vec::new(), Vec::new());
        for stretch in stretches {
            let (file, start, len, dtype) = match stretch {
                Stretch::Stored { file, start, len, dtype } => (file, start, len, dtype),
                Stretch::Made(bytes) => {
                    if !take(&bytes)? {
                        return Ok(());
                    }
                    continue;
                }
            };
            let mut done = 0;
            while done < len {
                interrupt::check()?;
                read.resize((len - done).min(BLOCK as u64) as usize, 0);
                let reading = file.file.read_exact_at(&mut read, start + done);
                reading.map_err(CheckpointError::io("reading a tensor", &file.path))?;
                done += read.len() as u64;
                cast.clear();
                let more = if dtype == row.dtype {
                    take(&read)?
                } else {
                    cast_floats(&read, dtype, row.dtype, &mut cast)
                        .map_err(|fault| fault.of(&row.path, (dtype, row.dtype), &file.path))?;
                    take(&cast)?
                };
                if !more {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
