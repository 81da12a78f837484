//! Where a model's parameters come from: a checkpoint, an initialization, or nowhere (shapes only).

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType as CandleType, Device, Tensor};

use crate::checkpoint::{Checkpoint, Piece, Pieces, TensorData};
use crate::model::ModelError;
use crate::model::parameters::blocks::dequantized;
use crate::model::parameters::values::Values;
use crate::spec::{DType, ParamPath, TensorRow};

/// A source of parameters by their native names.
pub trait Weights: Send + Sync {
    /// Returns the parameter, of exactly this shape, on `device` as `dtype`. Element types that are not floats, those of quantized
    /// parts, are returned as bytes (u8), with the bytes of a row as the last dimension.
    ///
    /// # Errors
    /// [`ModelError`] if it is missing, of another shape, or cannot be read.
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError>;

    /// Like [`tensor`](Self::tensor), but in bfloat16 or float16 if its values have that type: half the memory, the same numbers.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    fn narrow(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.tensor(path, shape, dtype, device)
    }

    /// Like [`narrow`](Self::narrow), for some rows (first dimension) only; `None` if they cannot be read without the others.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    fn rows(
        &self,
        path: &ParamPath,
        shape: &[usize],
        rows: Range<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>, ModelError> {
        let _ = (path, shape, rows, dtype, device);
        Ok(None)
    }
}

/// Parameters made of pieces of a checkpoint.
pub struct PieceWeights<'a> {
    pieces: Pieces<'a>,
    rows: HashMap<ParamPath, TensorRow>,
    rounding: Option<DType>,
}

impl<'a> PieceWeights<'a> {
    /// The parameters of `rows`, each with its shape and its type in the checkpoint, made of `pieces`. Each value is
    /// rounded to `rounding` first, if given.
    pub fn new(
        checkpoint: &'a Checkpoint,
        rows: impl IntoIterator<Item = TensorRow>,
        mut pieces: HashMap<ParamPath, Vec<Piece>>,
        rounding: Option<DType>,
    ) -> Self {
        // What is stored is rounded, not the sum with a constant.
        for piece in pieces.values_mut().flatten() {
            if let Piece::Shifted { rounded, .. } = piece {
                *rounded = rounded.or(rounding);
            }
        }
        let rows = rows.into_iter().map(|row| (row.path.clone(), row)).collect();
        Self { pieces: Pieces::new(checkpoint, pieces).for_computing(), rows, rounding }
    }
}

/// Checks that there is memory for a parameter, for the bytes that it is read from, and for a copy that is trained. This is
/// checked before it is allocated, because a failed allocation would end the process.
///
/// # Errors
/// [`ModelError::NoMemory`].
pub(in crate::model) fn require_room(
    path: &ParamPath,
    shape: &[usize],
    raw: DType,
    dtype: DType,
) -> Result<(), ModelError> {
    // Numbers in blocks are read as float32.
    let width = |dtype: DType| if matches!(dtype, DType::Block(_)) { 4 } else { dtype.bytes() };
    let elements = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let bytes = elements.and_then(|elements| elements.checked_mul(width(raw).max(width(dtype)) + width(dtype)));
    // Leaves room for small allocations.
    const SLACK: usize = 64 << 20;
    match bytes {
        Some(bytes) if crate::memory::is_obtainable(bytes.saturating_add(SLACK)) => Ok(()),
        _ => Err(ModelError::NoMemory { path: path.to_string(), bytes: bytes.unwrap_or(usize::MAX) }),
    }
}

impl PieceWeights<'_> {
    /// Returns the parameter's row in the checkpoint, if its shape is the expected one.
    fn row(&self, path: &ParamPath, shape: &[usize], dtype: DType) -> Result<TensorRow, ModelError> {
        crate::interrupt::check()?;
        let own = || TensorRow::stored(path.clone(), shape.to_vec(), dtype);
        let row = self.rows.get(path).cloned().unwrap_or_else(own);
        if row.shape != shape {
            return Err(ModelError::Shape {
                path: self.pieces.stored_name(path).to_string(),
                expected: shape.to_vec(),
                found: row.shape,
                origin: self.pieces.origin().display().to_string(),
            });
        }
        Ok(row)
    }

    /// In the narrowest type that holds rounded values of this type.
    fn rounded(&self, tensor: Tensor, dtype: DType) -> candle_core::Result<Tensor> {
        let tensor = match self.rounding {
            Some(rounding) => tensor.to_dtype(candle_dtype(rounding))?,
            None => tensor,
        };
        let halves = matches!(tensor.dtype(), CandleType::BF16 | CandleType::F16);
        if halves { Ok(tensor) } else { tensor.to_dtype(candle_dtype(dtype)) }
    }
}

impl Weights for PieceWeights<'_> {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        let row = self.row(path, shape, dtype)?;
        let cast_at_once = self.rounding.is_none() || self.pieces.adds_to(path);
        if cast_at_once && dtype.is_weight_float() && row.dtype.is_weight_float() {
            require_room(path, shape, row.dtype, dtype)?;
            // Cast while it is read: a number that the model's type cannot hold is an error.
            let row = TensorRow { dtype, ..row };
            let mut values = Values::new(dtype, row.elements() as usize);
            self.pieces.planned(&row, &mut |block| values.extend(block))?;
            return Ok(values.tensor(shape, device)?);
        }
        let tensor = self.narrow(path, shape, dtype, device)?;
        Ok(if dtype.is_weight_float() { tensor.to_dtype(candle_dtype(dtype))? } else { tensor })
    }

    fn narrow(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        let row = self.row(path, shape, dtype)?;
        require_room(path, shape, row.dtype, dtype)?;
        if self.pieces.adds_to(path) && dtype.is_weight_float() && row.dtype.is_weight_float() {
            return self.tensor(path, shape, dtype, device);
        }
        if dtype.is_weight_float() && row.dtype.is_weight_float() {
            let mut values = Values::new(row.dtype, row.elements() as usize);
            self.pieces.planned(&row, &mut |block| values.extend(block))?;
            return Ok(self.rounded(values.tensor(shape, device)?, dtype)?);
        }
        let data = self.pieces.read(&row)?;
        if !dtype.is_weight_float() || data.dtype.is_few_bits() {
            // Numbers of a quantized part are read in their own type, or not at all.
            if data.dtype != dtype {
                let (expected, found) = (dtype.to_string(), data.dtype.to_string());
                let path = self.pieces.stored_name(path).to_string();
                let origin = self.pieces.origin().display().to_string();
                return Err(ModelError::ElementType { path, expected, found, origin });
            }
            return bytes_from(data, device);
        }
        Ok(self.rounded(tensor_from(&data, device)?, dtype)?)
    }

    fn rows(
        &self,
        path: &ParamPath,
        shape: &[usize],
        rows: Range<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>, ModelError> {
        let row = self.row(path, shape, dtype)?;
        if !dtype.is_weight_float() || !row.dtype.is_weight_float() || self.pieces.adds_to(path) {
            return Ok(None);
        }
        let shape = [&[rows.len()], &shape[1..]].concat();
        let mut values = Values::new(row.dtype, shape.iter().product());
        if !self.pieces.planned_rows(&row, (rows.start, rows.len()), &mut |block| values.extend(block))? {
            return Ok(None);
        }
        Ok(Some(self.rounded(values.tensor(&shape, device)?, dtype)?))
    }
}

/// Parameters that a checkpoint has, and the rest from elsewhere.
pub struct LayeredWeights<'a> {
    pieces: PieceWeights<'a>,
    rest: Box<dyn Weights + 'a>,
}

impl<'a> LayeredWeights<'a> {
    /// Reads the parameters that `pieces` has, and asks `rest` for the others.
    pub fn new(pieces: PieceWeights<'a>, rest: Box<dyn Weights + 'a>) -> Self {
        Self { pieces, rest }
    }
}

impl Weights for LayeredWeights<'_> {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        let from: &dyn Weights = if self.pieces.rows.contains_key(path) { &self.pieces } else { &*self.rest };
        from.tensor(path, shape, dtype, device)
    }
}

/// Zeros instead of drawn values.
pub struct ZeroWeights;

impl Weights for ZeroWeights {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        crate::interrupt::check()?;
        require_room(path, shape, dtype, dtype)?;
        if !dtype.is_weight_float() {
            let bytes = vec![0; shape.iter().product::<usize>() * dtype.bytes()];
            return bytes_from(TensorData { dtype, shape: shape.to_vec(), bytes }, device);
        }
        Ok(Tensor::zeros(shape, candle_dtype(dtype), device)?)
    }
}

/// Returns the bytes of a file as they are, `[…, bytes of a row]`.
fn bytes_from(data: TensorData, device: &Device) -> Result<Tensor, ModelError> {
    let mut shape = data.shape;
    if let Some(last) = shape.last_mut() {
        *last *= data.dtype.bytes();
    }
    Ok(Tensor::from_vec(data.bytes, shape, device)?)
}

/// A candle tensor of the bytes of a file; of numbers quantized in blocks, in float32.
///
/// # Errors
/// candle's error, for element types that it does not have.
pub fn tensor_from(data: &TensorData, device: &Device) -> candle_core::Result<Tensor> {
    if let DType::Block(block) = data.dtype {
        return dequantized(&data.bytes, &data.shape, block)?.to_device(device);
    }
    Tensor::from_raw_buffer(&data.bytes, candle_dtype(data.dtype), &data.shape, device)
}

/// Returns the candle type of the same name; types that candle lacks read as bytes.
pub fn candle_dtype(dtype: DType) -> CandleType {
    match dtype {
        DType::F32 => CandleType::F32,
        DType::BF16 => CandleType::BF16,
        DType::F16 => CandleType::F16,
        DType::F64 => CandleType::F64,
        DType::I64 => CandleType::I64,
        DType::I32 => CandleType::I32,
        DType::I16 => CandleType::I16,
        DType::F8E4M3 => CandleType::F8E4M3,
        DType::I8 | DType::U8 | DType::Bool | DType::F8E5M2 | DType::Block(_) => CandleType::U8,
    }
}
