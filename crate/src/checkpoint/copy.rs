//! Tensors that move from checkpoint to checkpoint: by kernel copy as they are, or cast in blocks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::cast::cast_floats;
use super::weave::{Strand, cast_values, weave};
use super::writer::TensorSource;
use super::{Checkpoint, CheckpointError};
use crate::interrupt;
use crate::spec::{DType, ParamPath, TensorRow};

/// Between two looks at the interrupt flag, and the size of a cast's buffers.
const BLOCK: u64 = 64 << 20;
const CAST_BLOCK: usize = 8 << 20;

/// What a written tensor is made of. Its pieces follow each other along the first dimension.
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
    /// Elements of source tensors in another order: a transpose, a permutation, columns side by side. Together the
    /// strands reach every element of the piece once.
    Woven {
        /// How many elements the piece has.
        elements: usize,
        /// Where they come from.
        strands: Vec<Strand>,
    },
}

/// A source that makes each tensor of pieces of an open checkpoint.
pub struct CheckpointCopy<'a> {
    from: &'a Checkpoint,
    pieces: HashMap<ParamPath, Vec<Piece>>,
    progress: Option<&'a dyn Fn(u64)>,
}

/// Bytes of one source file that lie together and are written as they are.
struct Run<'a> {
    file: &'a File,
    path: &'a Path,
    start: u64,
    len: u64,
}

impl<'a> CheckpointCopy<'a> {
    /// Copies from `from`; `pieces` says what each tensor to write is made of. One that it does not name is the source's
    /// tensor of the same name.
    pub fn new(from: &'a Checkpoint, pieces: HashMap<ParamPath, Vec<Piece>>) -> Self {
        Self { from, pieces, progress: None }
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

    fn copy_run(&self, run: Option<Run<'_>>, out: &mut &File, to: &Path) -> Result<(), CheckpointError> {
        let Some(Run { file: mut input, path: from, start, len }) = run else { return Ok(()) };
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

    /// Writes the bytes `start..start + len` of a tensor of another element type.
    fn cast_run(
        &self,
        tensor: &ParamPath,
        (start, len): (u64, u64),
        dtype: DType,
        out: &mut &File,
        to: &Path,
    ) -> Result<(), CheckpointError> {
        let (file, extent) = self.from.place(tensor)?;
        let mut cast = Vec::new();
        let mut blocks = self.from.blocks_within(tensor, start, len, CAST_BLOCK)?;
        while let Some(block) = blocks.next_block()? {
            cast.clear();
            cast_floats(block, extent.dtype, dtype, &mut cast).ok_or_else(|| CheckpointError::Cast {
                tensor: tensor.to_string(),
                dtype: extent.dtype.to_string(),
                path: file.path.clone(),
            })?;
            out.write_all(&cast).map_err(CheckpointError::io("writing", to))?;
            self.advance(block.len() as u64)?;
        }
        Ok(())
    }
}

impl TensorSource for CheckpointCopy<'_> {
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        // What lies together in the source and is wanted together is copied at once.
        let mut run: Option<Run<'_>> = None;
        for row in rows {
            let whole = [Piece::Tensor(row.path.clone())];
            for piece in self.pieces.get(&row.path).map_or(&whole[..], Vec::as_slice) {
                let (tensor, part) = match piece {
                    Piece::Tensor(tensor) => (tensor, None),
                    Piece::Rows { tensor, start, count } => (tensor, Some((*start, *count))),
                    Piece::Values(values) => {
                        self.copy_run(run.take(), out, path)?;
                        let cast = cast_values(values, row, path)?;
                        out.write_all(&cast).map_err(CheckpointError::io("writing", path))?;
                        self.advance(cast.len() as u64)?;
                        continue;
                    }
                    Piece::Woven { elements, strands } => {
                        self.copy_run(run.take(), out, path)?;
                        let woven = weave(self.from, *elements, strands, row.dtype)?;
                        out.write_all(&woven).map_err(CheckpointError::io("writing", path))?;
                        self.advance(woven.len() as u64)?;
                        continue;
                    }
                };
                let (file, extent) = self.from.place(tensor)?;
                let (offset, len) = match part {
                    None => (0, extent.len),
                    Some((start, count)) => {
                        let row_bytes = extent.row_bytes();
                        (start as u64 * row_bytes, count as u64 * row_bytes)
                    }
                };
                if extent.dtype != row.dtype {
                    self.copy_run(run.take(), out, path)?;
                    self.cast_run(tensor, (offset, len), row.dtype, out, path)?;
                    continue;
                }
                let start = extent.start + offset;
                run = match run {
                    Some(open) if std::ptr::eq(open.file, &file.file) && open.start + open.len == start => {
                        Some(Run { len: open.len + len, ..open })
                    }
                    earlier => {
                        self.copy_run(earlier, out, path)?;
                        Some(Run { file: &file.file, path: &file.path, start, len })
                    }
                };
            }
        }
        self.copy_run(run, out, path)
    }
}
