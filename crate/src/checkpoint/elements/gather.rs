//! Elements in another order: transposes, permutations and columns side by side, as boxes of indices that are walked in
//! the source and in the written tensor at once.

use crate::checkpoint::elements::cast::cast_floats;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::spec::{DType, ParamPath};

/// Source bytes held at a time in addition to the piece that is made.
const BLOCK: usize = 1 << 20;

/// A box of indices of one source tensor, and where its elements go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexBox {
    /// The source tensor.
    pub tensor: ParamPath,
    /// The sizes of the box.
    pub sizes: Vec<usize>,
    /// Which elements of the source it takes.
    pub from: Strides,
    /// Which elements of the piece they become.
    pub to: Strides,
}

/// A walk through the elements of a row-major tensor: index i lies at `start` + Σ i·`steps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strides {
    /// The first element.
    pub start: usize,
    /// Elements from one index to the next, for each size of the box.
    pub steps: Vec<usize>,
}

/// One direction of a box: how many, and how far apart on both sides.
#[derive(Clone, Copy)]
struct Axis {
    count: usize,
    from: usize,
    to: usize,
}

impl Strides {
    /// One more than the last element reached.
    fn end(&self, sizes: &[usize]) -> usize {
        self.start + 1 + sizes.iter().zip(&self.steps).map(|(size, step)| (size - 1) * step).sum::<usize>()
    }
}

/// Makes a piece of `elements` elements of type `dtype`. In memory are the piece and one block of the source.
pub(in crate::checkpoint) fn gather(
    checkpoint: &Checkpoint,
    elements: usize,
    boxes: &[IndexBox],
    dtype: DType,
) -> Result<Vec<u8>, CheckpointError> {
    let mut piece = vec![0; elements * dtype.bytes()];
    for part in boxes.iter().filter(|part| !part.sizes.contains(&0)) {
        let (file, extent) = checkpoint.place(&part.tensor)?;
        let stored = extent.shape.iter().product::<usize>();
        if part.from.end(&part.sizes) > stored || part.to.end(&part.sizes) > elements {
            return Err(CheckpointError::Part { tensor: part.tensor.to_string(), path: file.path.clone() });
        }
        let mut axes: Vec<Axis> = part
            .sizes
            .iter()
            .zip(part.from.steps.iter().zip(&part.to.steps))
            .map(|(&count, (&from, &to))| Axis { count, from, to })
            .filter(|axis| axis.count > 1)
            .collect();
        // The longest step of the source is outermost, so that a few of them are one stretch of the file.
        axes.sort_by_key(|axis| std::cmp::Reverse(axis.from));
        let outer = if axes.is_empty() { Axis { count: 1, from: 1, to: 1 } } else { axes.remove(0) };
        let span = 1 + axes.iter().map(|axis| (axis.count - 1) * axis.from).sum::<usize>();
        let at_once = (BLOCK / extent.dtype.bytes() / outer.from).clamp(1, outer.count);
        let width = extent.dtype.bytes() as u64;
        let mut cast = Vec::new();
        for first in (0..outer.count).step_by(at_once) {
            let count = at_once.min(outer.count - first);
            let start = (part.from.start + first * outer.from) as u64 * width;
            let len = ((count - 1) * outer.from + span) as u64 * width;
            let mut blocks = checkpoint.blocks_within(&part.tensor, start, len, len as usize)?;
            let Some(mut block) = blocks.next_block()? else { continue };
            if extent.dtype != dtype {
                cast.clear();
                cast_floats(block, extent.dtype, dtype, &mut cast)
                    .map_err(|fault| fault.of(&part.tensor, (extent.dtype, dtype), &file.path))?;
                block = &cast;
            }
            let mut axes = axes.clone();
            axes.push(Axis { count, ..outer });
            // Neighbors in the piece are innermost: scattered writes cost more than scattered reads.
            axes.sort_by_key(|axis| std::cmp::Reverse(axis.to));
            let target = part.to.start + first * outer.to;
            match dtype.bytes() {
                1 => scatter::<1>(block, &axes, target, &mut piece),
                2 => scatter::<2>(block, &axes, target, &mut piece),
                4 => scatter::<4>(block, &axes, target, &mut piece),
                _ => scatter::<8>(block, &axes, target, &mut piece),
            }
        }
    }
    Ok(piece)
}

/// Moves the elements of a block, each `WIDTH` bytes, to their places from `target` on.
fn scatter<const WIDTH: usize>(block: &[u8], axes: &[Axis], mut target: usize, piece: &mut [u8]) {
    let Some((inner, outer)) = axes.split_last() else { return };
    let mut source = 0;
    let mut index = vec![0; outer.len()];
    loop {
        if (inner.from, inner.to) == (1, 1) {
            let bytes = inner.count * WIDTH;
            piece[target * WIDTH..][..bytes].copy_from_slice(&block[source * WIDTH..][..bytes]);
        } else {
            for step in 0..inner.count {
                let (from, to) = ((source + step * inner.from) * WIDTH, (target + step * inner.to) * WIDTH);
                piece[to..to + WIDTH].copy_from_slice(&block[from..from + WIDTH]);
            }
        }
        // The next index of the outer directions, the last one first.
        let mut place = outer.len();
        loop {
            if place == 0 {
                return;
            }
            place -= 1;
            let axis = outer[place];
            index[place] += 1;
            source += axis.from;
            target += axis.to;
            if index[place] < axis.count {
                break;
            }
            index[place] = 0;
            source -= axis.count * axis.from;
            target -= axis.count * axis.to;
        }
    }
}
