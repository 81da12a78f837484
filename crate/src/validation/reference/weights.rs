//! The tensors of the reference forward: read by the names that Hugging Face files have, a layer at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use half::{bf16, f16};

use super::ReferenceModel;
use super::arithmetic::{Activations, Real, widen};
use crate::checkpoint::{CheckpointError, TensorData};
use crate::interrupt;
use crate::naming::outline::MatrixOutline;
use crate::ops::{Matrix, Numbers, Widened};
use crate::spec::DType;

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// The tensors of one layer, or what else is in memory together.
#[derive(Default)]
pub(super) struct Loaded {
    matrices: HashMap<String, Matrix>,
    vectors: HashMap<String, Vec<f32>>,
}

impl Loaded {
    /// Returns a vector, if it is there.
    pub(super) fn vector(&self, name: &str) -> Option<&[f32]> {
        self.vectors.get(name).map(Vec::as_slice)
    }

    /// x Wᵀ + b for W `[outputs, inputs]`: `count` outputs of the matrix from `first` on, all without a part. `None` if
    /// that matrix does not exist, or its sizes do not fit.
    pub(super) fn project<F: Real + Widened>(
        &self,
        x: &Activations<F>,
        name: &str,
        part: Option<(usize, usize)>,
    ) -> Option<Activations<F>> {
        let matrix = self.matrices.get(&format!("{name}.weight"))?;
        let (first, count) = part.unwrap_or((0, matrix.outputs()));
        let mut y = Activations { data: matrix.product(&x.data, first..first + count)?, width: count };
        if let Some(bias) = self.vector(&format!("{name}.bias")) {
            let bias = bias.get(first..first + count)?;
            for row in y.data.chunks_exact_mut(count.max(1)) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += F::from(*bias));
            }
        }
        Some(y)
    }
}

impl ReferenceModel<'_> {
    /// Reads these tensors; those that the file does not have are left out. Those of `vectors` are numbers in a row, whatever
    /// their shape.
    pub(super) fn load(
        &self,
        names: impl IntoIterator<Item = String>,
        vectors: impl IntoIterator<Item = String>,
    ) -> Result<Loaded, CheckpointError> {
        let mut loaded = Loaded::default();
        let names = names.into_iter().map(|name| (name, false));
        for (name, flat) in names.chain(vectors.into_iter().map(|name| (name, true))) {
            let path = self.stored(&name).into();
            let Some(row) = self.checkpoint.table().get(&path) else { continue };
            let shape = row.shape.clone();
            if shape.len() < 2 || flat {
                let values = self.rounded(widen(&self.checkpoint.read(&path)?));
                loaded.vectors.insert(name, values);
            } else if let Entry::Vacant(entry) = loaded.matrices.entry(name) {
                let mut matrix = self.matrix(entry.key(), (0, shape[0]))?;
                if self.outline.matrices == MatrixOutline::InputsFirst {
                    matrix = matrix.transposed();
                }
                entry.insert(matrix);
            }
        }
        Ok(loaded)
    }

    /// Returns whether the files have a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.checkpoint.table().get(&self.stored(name).into()).is_some()
    }

    /// `count` rows of a matrix from `first` on, as the file has them.
    pub(super) fn matrix(&self, name: &str, (first, count): (usize, usize)) -> Result<Matrix, CheckpointError> {
        interrupt::check()?;
        let path = self.stored(name).into();
        let missing = || CheckpointError::NoTensor { tensor: name.to_owned(), path: self.checkpoint.path().to_owned() };
        let row = self.checkpoint.table().get(&path).ok_or_else(missing)?;
        let width: usize = row.shape.iter().skip(1).product();
        let size = row.dtype.bytes();
        let mut numbers = room_for(self.narrowest(row.dtype), count * width);
        let mut bytes = vec![0; BLOCK.min(count * width * size)];
        let (mut done, end) = (first * width * size, (first + count) * width * size);
        while done < end {
            let block = &mut bytes[..BLOCK.min(end - done)];
            self.checkpoint.read_at(&path, done as u64, block)?;
            done += block.len();
            self.extend(&mut numbers, row.dtype, block);
        }
        Ok(Matrix::new(numbers, width))
    }

    /// One row of a matrix.
    pub(super) fn row(&self, name: &str, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.matrix(name, (index, 1))?.row(0).ok_or_else(|| self.misfit(name))
    }

    /// Returns the error for a tensor that config.json does not lead to.
    pub(super) fn misfit(&self, name: &str) -> CheckpointError {
        CheckpointError::Part { tensor: self.stored(name).to_owned(), path: self.checkpoint.path().to_owned() }
    }

    /// Adds numbers that the file stores as `dtype`, rounded.
    fn extend(&self, numbers: &mut Numbers, dtype: DType, bytes: &[u8]) {
        let pairs = || bytes.as_chunks::<2>().0.iter();
        let wide = || {
            widen(&TensorData { dtype, shape: vec![bytes.len() / dtype.bytes()], bytes: bytes.to_vec() }).into_iter()
        };
        match numbers {
            Numbers::BF16(values) if dtype == DType::BF16 => {
                values.extend(pairs().map(|raw| bf16::from_le_bytes(*raw)));
            }
            Numbers::F16(values) if dtype == DType::F16 => values.extend(pairs().map(|raw| f16::from_le_bytes(*raw))),
            Numbers::BF16(values) => values.extend(wide().map(bf16::from_f32)),
            Numbers::F16(values) => values.extend(wide().map(f16::from_f32)),
            Numbers::F32(values) => values.extend(self.rounded(wide().collect())),
        }
    }

    /// Returns the type that holds a weight of this type after rounding.
    fn narrowest(&self, stored: DType) -> DType {
        let halves = |dtype: &DType| matches!(dtype, DType::BF16 | DType::F16);
        self.rounding.or(Some(stored)).filter(halves).unwrap_or(DType::F32)
    }

    fn rounded(&self, values: Vec<f32>) -> Vec<f32> {
        match self.rounding {
            Some(DType::BF16) => values.into_iter().map(|value| bf16::from_f32(value).to_f32()).collect(),
            Some(DType::F16) => values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect(),
            _ => values,
        }
    }

    /// Returns a name as the file has it: some leave the first word out.
    pub(super) fn stored<'n>(&self, name: &'n str) -> &'n str {
        let short = self.outline.optional_prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix));
        short.filter(|short| self.checkpoint.table().get(&(*short).into()).is_some()).unwrap_or(name)
    }
}

/// No numbers yet, with room for some.
fn room_for(dtype: DType, elements: usize) -> Numbers {
    match dtype {
        DType::BF16 => Numbers::BF16(Vec::with_capacity(elements)),
        DType::F16 => Numbers::F16(Vec::with_capacity(elements)),
        _ => Numbers::F32(Vec::with_capacity(elements)),
    }
}
