//! Tensors that move from checkpoint to checkpoint: by kernel copy as they are, or cast in blocks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::{bf16, f16};

use super::writer::TensorSource;
use super::{Checkpoint, CheckpointError};
use crate::interrupt;
use crate::spec::{DType, ParamPath, TensorRow};

/// Between two looks at the interrupt flag, and the size of a cast's buffers.
const BLOCK: u64 = 64 << 20;
const CAST_BLOCK: usize = 8 << 20;

/// A source that takes each tensor from an open checkpoint, perhaps under another name.
pub struct CheckpointCopy<'a> {
    from: &'a Checkpoint,
    names: HashMap<ParamPath, ParamPath>,
    progress: Option<&'a dyn Fn(u64)>,
}

impl<'a> CheckpointCopy<'a> {
    /// Copies from `from`; `names` gives, for each name to write, the name to read. Names not in it stay.
    pub fn new(from: &'a Checkpoint, names: HashMap<ParamPath, ParamPath>) -> Self {
        Self { from, names, progress: None }
    }

    /// Calls `progress` with the number of bytes after each block.
    pub fn on_progress(mut self, progress: &'a dyn Fn(u64)) -> Self {
        self.progress = Some(progress);
        self
    }

    fn advance(&self, bytes: u64) -> Result<(), CheckpointError> {
        if let Some(progress) = self.progress {
            progress(bytes);
        }
        Ok(interrupt::check()?)
    }

    /// Copies a run of bytes that is contiguous in the source.
    fn copy_run(
        &self,
        file: &File,
        from: &Path,
        start: u64,
        len: u64,
        out: &mut &File,
        to: &Path,
    ) -> Result<(), CheckpointError> {
        let mut input = file;
        input.seek(SeekFrom::Start(start)).map_err(CheckpointError::io("reading", from))?;
        let mut left = len;
        while left > 0 {
            let size = left.min(BLOCK);
            // std::io::copy between files asks the kernel (copy_file_range, reflinks where the file system has them).
            let moved = std::io::copy(&mut input.take(size), out).map_err(CheckpointError::io("copying", to))?;
            if moved != size {
                let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(CheckpointError::io("reading a tensor", from)(source));
            }
            left -= size;
            self.advance(size)?;
        }
        Ok(())
    }
}

impl TensorSource for CheckpointCopy<'_> {
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        let mut run: Option<(&File, &Path, u64, u64)> = None;
        for row in rows {
            let name = self.names.get(&row.path).unwrap_or(&row.path);
            let (file, extent) = self.from.place(name)?;
            if extent.dtype == row.dtype {
                run = match run {
                    Some((open, from, start, len)) if std::ptr::eq(open, &file.file) && start + len == extent.start => {
                        Some((open, from, start, len + extent.len))
                    }
                    earlier => {
                        if let Some((open, from, start, len)) = earlier {
                            self.copy_run(open, from, start, len, out, path)?;
                        }
                        Some((&file.file, &file.path, extent.start, extent.len))
                    }
                };
                continue;
            }
            if let Some((open, from, start, len)) = run.take() {
                self.copy_run(open, from, start, len, out, path)?;
            }
            let mut cast = Vec::new();
            let mut blocks = self.from.blocks(name, CAST_BLOCK)?;
            while let Some(block) = blocks.next_block()? {
                cast.clear();
                cast_floats(block, extent.dtype, row.dtype, &mut cast).ok_or_else(|| CheckpointError::Cast {
                    tensor: name.to_string(),
                    dtype: extent.dtype.to_string(),
                    path: file.path.clone(),
                })?;
                out.write_all(&cast).map_err(CheckpointError::io("writing", path))?;
                self.advance(block.len() as u64)?;
            }
        }
        if let Some((open, from, start, len)) = run {
            self.copy_run(open, from, start, len, out, path)?;
        }
        Ok(())
    }
}

/// Appends `bytes`, little-endian floats of type `from`, as type `to`, rounded to nearest even.
/// `None` unless both are floats.
pub(crate) fn cast_floats(bytes: &[u8], from: DType, to: DType, out: &mut Vec<u8>) -> Option<()> {
    if !to.is_weight_float() {
        return None;
    }
    // half's conversions from f64 drop bits before they round, so narrow types are rounded from f32: once for every type
    // but float64 itself.
    fn each<const N: usize>(bytes: &[u8], out: &mut Vec<u8>, to: DType, value: impl Fn([u8; N]) -> f64) {
        for chunk in bytes.chunks_exact(N) {
            let mut raw = [0u8; N];
            raw.copy_from_slice(chunk);
            let value = value(raw);
            match to {
                DType::BF16 => out.extend_from_slice(&bf16::from_f32(value as f32).to_le_bytes()),
                DType::F16 => out.extend_from_slice(&f16::from_f32(value as f32).to_le_bytes()),
                DType::F64 => out.extend_from_slice(&value.to_le_bytes()),
                _ => out.extend_from_slice(&(value as f32).to_le_bytes()),
            }
        }
    }
    out.reserve(bytes.len() / from.bytes() * to.bytes());
    match from {
        DType::F32 => each::<4>(bytes, out, to, |raw| f64::from(f32::from_le_bytes(raw))),
        DType::BF16 => each::<2>(bytes, out, to, |raw| f64::from(bf16::from_le_bytes(raw).to_f32())),
        DType::F16 => each::<2>(bytes, out, to, |raw| f64::from(f16::from_le_bytes(raw).to_f32())),
        DType::F64 => each::<8>(bytes, out, to, f64::from_le_bytes),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_round_to_nearest_even_and_widen_exactly() {
        let mut out = Vec::new();
        cast_floats(&(1.0f32 + 1.0 / 256.0).to_le_bytes(), DType::F32, DType::BF16, &mut out).unwrap();
        assert_eq!(bf16::from_le_bytes([out[0], out[1]]).to_f32(), 1.0); // halfway between 1 and 1.0078125: even wins
        out.clear();
        // One unit of float32 above that tie: upwards.
        cast_floats(&1.003_906_4f32.to_le_bytes(), DType::F32, DType::BF16, &mut out).unwrap();
        assert_eq!(bf16::from_le_bytes([out[0], out[1]]).to_f32(), 1.007_812_5);
        let mut wide = Vec::new();
        cast_floats(&bf16::from_f32(-3.25).to_le_bytes(), DType::BF16, DType::F32, &mut wide).unwrap();
        assert_eq!(wide, (-3.25f32).to_le_bytes());
        assert!(cast_floats(&[0; 8], DType::I64, DType::F32, &mut out).is_none());
    }
}
