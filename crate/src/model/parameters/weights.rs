//! Where a model's parameters come from: a checkpoint, an initialization, or nowhere (shapes only).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use candle_core::{DType as CandleType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::checkpoint::{Checkpoint, Piece, Pieces, TensorData};
use crate::model::ModelError;
use crate::model::parameters::blocks::dequantized;
use crate::model::parameters::values::Values;
use crate::spec::{DType, ParamPath, TensorRow, TensorTable};

/// The parameters of one model, in the order its construction asked for them.
#[derive(Clone, Debug, Default)]
pub struct ParameterSet(Arc<Mutex<Vec<Parameter>>>);

/// A name, its value, and the variable behind the value if it is trained.
type Parameter = (ParamPath, Tensor, Option<Var>);

impl ParameterSet {
    fn add(&self, name: &str, tensor: &Tensor, var: Option<Var>) {
        let mut entries = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.push((ParamPath::from(name), tensor.clone(), var));
    }

    /// Returns names and values.
    pub fn tensors(&self) -> Vec<(ParamPath, Tensor)> {
        let entries = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.iter().map(|(path, tensor, _)| (path.clone(), tensor.clone())).collect()
    }

    /// Returns names and variables of the parameters that can be trained.
    pub fn variables(&self) -> Vec<(ParamPath, Var)> {
        let entries = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.iter().filter_map(|(path, _, var)| Some((path.clone(), var.clone()?))).collect()
    }
}

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

type Fault = Arc<Mutex<Option<ModelError>>>;

/// Implements candle's interface for parameter sources on ours; records the requests, and the first error unchanged.
struct Recorder<'a> {
    weights: Box<dyn Weights + 'a>,
    table: &'a TensorTable,
    dtype: DType,
    trainable: bool,
    /// Whether weights that may be narrow are read in their narrow type.
    narrow: bool,
    parameters: ParameterSet,
    fault: Fault,
}

/// A module that widens a parameter while it computes requests it in this type, and may get it in bfloat16 or float16.
pub(in crate::model) const MAY_BE_NARROW: CandleType = CandleType::BF16;

impl SimpleBackend for Recorder<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        wanted: CandleType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let path = ParamPath::from(name);
        let row = self.table.get(&path);
        let dtype = row.map_or(self.dtype, |row| row.dtype);
        let made = if self.narrow && wanted == MAY_BE_NARROW {
            self.weights.narrow(&path, shape.dims(), dtype, device)
        } else {
            self.weights.tensor(&path, shape.dims(), dtype, device)
        };
        let tensor = match made {
            Ok(tensor) => tensor,
            Err(error) => {
                let text = error.to_string();
                *self.fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error);
                candle_core::bail!("{text}")
            }
        };
        let trainable = self.trainable && row.is_none_or(|row| row.trainable);
        let var = if trainable { Some(Var::from_tensor(&tensor)?) } else { None };
        let tensor = var.as_ref().map_or(tensor, |var| var.as_tensor().clone());
        self.parameters.add(name, &tensor, var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: CandleType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("`{name}` was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Runs `load` with a builder over `weights`; returns its result and the parameters that it requested. `table` knows each
/// parameter's type and whether it is trained.
pub(in crate::model) fn load_with<'a, T>(
    weights: Box<dyn Weights + 'a>,
    table: &'a TensorTable,
    dtype: DType,
    device: &Device,
    trainable: bool,
    load: impl FnOnce(&VarBuilder) -> candle_core::Result<T>,
) -> Result<(T, ParameterSet), ModelError> {
    let parameters = ParameterSet::default();
    let fault = Fault::default();
    let recorder = Recorder {
        weights,
        table,
        dtype,
        trainable,
        narrow: false,
        parameters: parameters.clone(),
        fault: fault.clone(),
    };
    let vb = VarBuilder::from_backend(Box::new(recorder), candle_dtype(dtype), device.clone());
    Ok((own_fault(load(&vb), &fault)?, parameters))
}

/// As [`load_with`] for a part of a model that is dropped after it computed in float32: linear weights stay as narrow as
/// they are stored.
pub(in crate::model) fn load_part<T>(
    weights: &dyn Weights,
    table: &TensorTable,
    device: &Device,
    load: impl FnOnce(&VarBuilder) -> candle_core::Result<T>,
) -> Result<T, ModelError> {
    let fault = Fault::default();
    let recorder = Recorder {
        weights: Box::new(Borrowed(weights)),
        table,
        dtype: DType::F32,
        trainable: false,
        narrow: true,
        parameters: ParameterSet::default(),
        fault: fault.clone(),
    };
    let vb = VarBuilder::from_backend(Box::new(recorder), CandleType::F32, device.clone());
    own_fault(load(&vb), &fault)
}

/// candle's errors carry only text; the user should see the source's own error.
fn own_fault<T>(made: candle_core::Result<T>, fault: &Fault) -> Result<T, ModelError> {
    made.map_err(|error| {
        let own = fault.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        own.unwrap_or(ModelError::from(error))
    })
}

/// Borrowed weights.
struct Borrowed<'a>(&'a dyn Weights);

impl Weights for Borrowed<'_> {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.0.tensor(path, shape, dtype, device)
    }

    fn narrow(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        self.0.narrow(path, shape, dtype, device)
    }
}
