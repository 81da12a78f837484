//! Tensors that move from checkpoint to checkpoint: by kernel copy as they are, or cast in blocks by all cores.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::checkpoint::elements::cast::cast_floats;
use crate::checkpoint::elements::pieces::{Pieces, Stretch};
use crate::checkpoint::header::WeightsFile;
use crate::checkpoint::writer::TensorSource;
use crate::checkpoint::{Checkpoint, CheckpointError, Piece};
use crate::spec::{DType, ParamPath, TensorRow};
use crate::{interrupt, parallel};

/// Bytes between two checks of the interrupt flag.
const BLOCK: u64 = 64 << 20;
/// Bytes that the buffers of a cast may take together, whatever the number of cores.
const CAST_MEMORY: usize = 48 << 20;

/// A source that assembles each tensor from pieces of an open checkpoint.
pub struct CheckpointCopy<'a> {
    pieces: Pieces<'a>,
    progress: &'a dyn Fn(u64),
}

/// A contiguous run of bytes of a source file that is copied unchanged.
struct Run<'a> {
    file: &'a WeightsFile,
    start: u64,
    len: u64,
    to: u64,
}

/// A block that is cast while it is copied.
struct CastBlock<'a> {
    file: &'a WeightsFile,
    start: u64,
    len: usize,
    from: DType,
    dtype: DType,
    to: u64,
    tensor: &'a ParamPath,
}

impl<'a> CheckpointCopy<'a> {
    /// Copies from `from`; `pieces` says what each tensor to write is made of. A tensor that it does not name is the source's
    /// tensor of the same name.
    pub fn new(from: &'a Checkpoint, pieces: HashMap<ParamPath, Vec<Piece>>) -> Self {
        Self { pieces: Pieces::new(from, pieces), progress: &|_| () }
    }

    /// Calls `progress` with the number of bytes written after each block.
    pub fn on_progress(mut self, progress: &'a dyn Fn(u64)) -> Self {
        self.progress = progress;
        self
    }

    fn copy_run(&self, run: &Run<'_>, out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        let (mut input, from): (&File, _) = (&run.file.file, &run.file.path);
        input.seek(SeekFrom::Start(run.start)).map_err(CheckpointError::io("reading", from))?;
        out.seek(SeekFrom::Start(run.to)).map_err(CheckpointError::io("writing", path))?;
        let mut left = run.len;
        while left > 0 {
            let size = left.min(BLOCK);
            // std::io::copy between files asks the kernel (copy_file_range, reflinks where the file system has them).
            let moved = std::io::copy(&mut input.take(size), out).map_err(CheckpointError::io("copying", path))?;
            if moved != size {
                let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(CheckpointError::io("reading a tensor", from)(source));
            }
            left -= size;
            (self.progress)(size);
            interrupt::check()?;
        }
        Ok(())
    }

    /// Every thread reads, casts and writes blocks of its own, so that these three overlap.
    fn cast(&self, blocks: &[CastBlock<'_>], out: &File, path: &Path) -> Result<(), CheckpointError> {
        parallel::for_each(
            blocks,
            || (Vec::new(), Vec::new()),
            |(read, cast): &mut (Vec<u8>, Vec<u8>), block, progress| {
                read.resize(block.len, 0);
                let from = &block.file.path;
                let reading = block.file.file.read_exact_at(read, block.start);
                reading.map_err(CheckpointError::io("reading a tensor", from))?;
                cast.clear();
                cast_floats(read, block.from, block.dtype, cast)
                    .map_err(|fault| fault.of(block.tensor, (block.from, block.dtype), from))?;
                out.write_all_at(cast, block.to).map_err(CheckpointError::io("writing", path))?;
                // The receiver is gone if another thread failed.
                let _ = progress.send(cast.len() as u64);
                Ok(())
            },
            self.progress,
        )
    }
}

impl TensorSource for CheckpointCopy<'_> {
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        let mut to = out.stream_position().map_err(CheckpointError::io("writing", path))?;
        let (mut runs, mut casts): (Vec<Run<'_>>, Vec<CastBlock<'_>>) = (Vec::new(), Vec::new());
        for row in rows {
            let announced = to + row.bytes();
            for stretch in self.pieces.stretches(row)? {
                match stretch {
                    Stretch::Made(bytes) => {
                        out.write_all_at(&bytes, to).map_err(CheckpointError::io("writing", path))?;
                        to += bytes.len() as u64;
                        (self.progress)(bytes.len() as u64);
                    }
                    Stretch::Stored { file, start, len, dtype } if dtype == row.dtype => {
                        // Neighbors in the source that are also neighbors in the destination are copied at once.
                        match runs.last_mut().filter(|run| {
                            std::ptr::eq(run.file, file) && run.start + run.len == start && run.to + run.len == to
                        }) {
                            Some(run) => run.len += len,
                            None => runs.push(Run { file, start, len, to }),
                        }
                        to += len;
                    }
                    Stretch::Stored { file, start, len, dtype } => {
                        let (narrow, wide) = (dtype.bytes() as u64, row.dtype.bytes() as u64);
                        let most = cast_block(dtype, row.dtype) as u64;
                        let mut done = 0;
                        while done < len {
                            let size = most.min(len - done);
                            let block = CastBlock {
                                file,
                                start: start + done,
                                len: size as usize,
                                from: dtype,
                                dtype: row.dtype,
                                to: to + done / narrow * wide,
                                tensor: &row.path,
                            };
                            casts.push(block);
                            done += size;
                        }
                        to += len / narrow * wide;
                    }
                }
            }
            if to != announced {
                let what = format!("the pieces of `{}` do not make its {} bytes", row.path, row.bytes());
                return Err(CheckpointError::io("writing", path)(std::io::Error::other(what)));
            }
        }
        for run in &runs {
            self.copy_run(run, out, path)?;
        }
        self.cast(&casts, out, path)?;
        out.seek(SeekFrom::Start(to)).map_err(CheckpointError::io("writing", path))?;
        Ok(())
    }
}

/// Returns the bytes to read for one block of a cast: whole elements, and not so many that the buffers of all threads take
/// more than
/// [`CAST_MEMORY`].
fn cast_block(from: DType, to: DType) -> usize {
    let element = from.bytes() + to.bytes();
    let elements = (CAST_MEMORY / parallel::threads() / element).clamp(1 << 14, 1 << 20);
    elements * from.bytes()
}
