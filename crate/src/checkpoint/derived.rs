//! Tensors that are computed from stored ones when they are read: views that are not stored row by row, weights that were
//! quantized, weights with an adapter merged into them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::CheckpointError;
use super::header::{Extent, WeightsFile};
use crate::spec::DType;

/// How the bytes of a tensor come about: little endian, row-major.
pub(super) trait Compute: std::fmt::Debug + Send + Sync {
    /// Returns all of them.
    fn compute(&self) -> Result<Vec<u8>, CheckpointError>;
}

/// A tensor with the file that it is read from.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    file: Arc<File>,
    path: PathBuf,
    extent: Extent,
}

impl Stored {
    pub(super) fn new(file: &WeightsFile, extent: &Extent) -> Self {
        Self { file: Arc::clone(&file.file), path: file.path.clone(), extent: extent.clone() }
    }

    /// The same tensor, computed as `extent` is.
    pub(super) fn computed_by(self, extent: &Extent) -> Self {
        Self { extent: extent.clone(), ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.extent.name
    }

    pub(super) fn dtype(&self) -> DType {
        self.extent.dtype
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.extent.shape
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole tensor.
    pub(super) fn read(&self) -> Result<Vec<u8>, CheckpointError> {
        crate::interrupt::check()?;
        if let Some(derived) = &self.extent.derived {
            return derived.compute();
        }
        let mut bytes = vec![0; self.extent.len as usize];
        let reading = self.file.read_exact_at(&mut bytes, self.extent.start);
        reading.map_err(CheckpointError::io("reading a tensor", &self.path))?;
        Ok(bytes)
    }
}

/// The tensor that was computed last. Tensors are read block by block, and each is asked for many times in a row.
#[derive(Debug, Default)]
pub(super) struct LastComputed(Mutex<Option<(Arc<dyn Compute>, Arc<Vec<u8>>)>>);

impl LastComputed {
    /// Returns the bytes of `extent`, if it is computed.
    pub(super) fn bytes(&self, extent: &Extent) -> Result<Option<Arc<Vec<u8>>>, CheckpointError> {
        let Some(derived) = &extent.derived else { return Ok(None) };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last.as_ref().filter(|(other, _)| Arc::ptr_eq(other, derived)) {
            return Ok(Some(Arc::clone(bytes)));
        }
        // One at a time: the one before goes first.
        *last = None;
        let bytes = Arc::new(derived.compute()?);
        *last = Some((Arc::clone(derived), Arc::clone(&bytes)));
        Ok(Some(bytes))
    }
}

/// A view of a run of elements, with a step for each dimension: a transpose, some columns, a value repeated.
#[derive(Debug)]
struct Strided {
    /// The run, as a tensor of one dimension.
    run: Stored,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Returns how many elements of the storage a view reaches across; `None` if that overflows.
pub(super) fn span(shape: &[usize], strides: &[usize]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let reach =
        |span: u64, (&size, &step): (&usize, &usize)| span.checked_add((size as u64 - 1).checked_mul(step as u64)?);
    shape.iter().zip(strides).try_fold(1, reach)
}

impl Compute for Strided {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let source = self.run.read()?;
        let width = self.run.dtype().bytes();
        let elements: usize = self.shape.iter().product();
        let mut out = Vec::with_capacity(elements * width);
        if elements == 0 {
            return Ok(out);
        }
        let Some((&inner, outer)) = self.shape.split_last() else { return Ok(source) };
        let step = self.strides[outer.len()];
        let mut index = vec![0; outer.len()];
        loop {
            let start: usize = index.iter().zip(&self.strides).map(|(index, step)| index * step).sum();
            for at in 0..inner {
                let from = (start + at * step) * width;
                out.extend_from_slice(&source[from..from + width]);
            }
            let Some(place) = (0..outer.len()).rev().find(|&place| index[place] + 1 < outer[place]) else {
                return Ok(out);
            };
            index[place] += 1;
            index[place + 1..].fill(0);
        }
    }
}

/// A view of one file's storage, computed when it is read.
pub(super) fn strided(
    file: &Arc<File>,
    path: &Path,
    run: Extent,
    shape: Vec<usize>,
    strides: Vec<usize>,
) -> Arc<dyn Compute> {
    let run = Stored { file: Arc::clone(file), path: path.to_owned(), extent: run };
    Arc::new(Strided { run, shape, strides })
}
