//! Products of consecutive groups of rows, each with matrices of its own, in one launch.
//!
//! A group has some matrices `[outputs, inputs]` ("parts", such as gate and up) that multiply the same rows.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Extent, at, empty, launch, pointer, suffix, tensor, whole, with};

const OP: &str = "grouped-products";

/// Rows and columns of the results that a block computes.
const TILE: usize = 128;

/// Three steps of 64 summed elements of both sides in flight.
const SHARED: usize = 3 * 2 * TILE * 64 * 2;

/// x `[rows, inputs]` → `[parts, rows, outputs]`: x Wᵀ of each row with the matrices of its group. `sizes` are the groups' numbers
/// of rows.
pub(crate) fn products(x: &Tensor, sizes: &[usize], matrices: &[Vec<&Tensor>]) -> Result<Tensor> {
    let ((rows, inputs), dtype) = (x.dims2()?, x.dtype());
    let (parts, outputs) = checked(sizes, matrices, rows, (None, Some(inputs)))?;
    let (table, tiles) = by_rows(x, sizes, matrices)?;
    let device = x.device().as_cuda_device()?;
    let y = empty(device, dtype, parts * rows * outputs)?;
    let blocks = (parts * outputs.div_ceil(TILE), tiles.dim(0)?, 1);
    let mut arguments = vec![whole(&y), at(x, dtype, OP)?, at(&table, DType::I64, OP)?, at(&tiles, DType::I64, OP)?];
    arguments.extend([Argument::Int(parts), Argument::Long(rows), Argument::Int(outputs), Argument::Int(inputs)]);
    launch(device, &format!("grouped_{}", suffix(dtype, OP)?), extent(blocks), &arguments)?;
    Ok(tensor(y, (parts, rows, outputs)))
}

/// The gradient of y `[parts, rows, outputs]` → that of x `[rows, inputs]`.
pub(crate) fn products_backward_rows(g: &Tensor, sizes: &[usize], matrices: &[Vec<&Tensor>]) -> Result<Tensor> {
    let ((parts, rows, outputs), dtype) = (g.dims3()?, g.dtype());
    let (of_group, _) = checked(sizes, matrices, rows, (Some(outputs), None))?;
    if of_group != parts {
        candle_core::bail!("{OP}: {parts} parts of gradients for {of_group} of matrices")
    }
    let inputs = matrices.first().and_then(|group| group.first()).map_or(Ok(0), |matrix| matrix.dim(1))?;
    let (table, tiles) = by_rows(g, sizes, matrices)?;
    let device = g.device().as_cuda_device()?;
    let of_x = empty(device, dtype, rows * inputs)?;
    let blocks = (inputs.div_ceil(TILE), tiles.dim(0)?, 1);
    let mut arguments = vec![whole(&of_x), at(g, dtype, OP)?, at(&table, DType::I64, OP)?, at(&tiles, DType::I64, OP)?];
    arguments.extend([Argument::Int(parts), Argument::Long(rows), Argument::Int(outputs), Argument::Int(inputs)]);
    launch(device, &format!("grouped_backward_rows_{}", suffix(dtype, OP)?), extent(blocks), &arguments)?;
    Ok(tensor(of_x, (rows, inputs)))
}

/// The gradient of y `[parts, rows, outputs]` and x `[rows, inputs]` → those of the matrices of each group.
pub(crate) fn products_backward_matrices(g: &Tensor, x: &Tensor, sizes: &[usize]) -> Result<Vec<Vec<Tensor>>> {
    let ((parts, rows, outputs), (of_x, inputs), dtype) = (g.dims3()?, x.dims2()?, g.dtype());
    if of_x != rows || sizes.iter().sum::<usize>() != rows {
        candle_core::bail!("{OP}: groups of {sizes:?} for {rows} and {of_x} rows")
    }
    let device = g.device().as_cuda_device()?;
    let gradient = || Ok(tensor(empty(device, dtype, outputs * inputs)?, (outputs, inputs)));
    let gradients = sizes.iter().map(|_| (0..parts).map(|_| gradient()).collect()).collect::<Result<Vec<Vec<_>>>>()?;
    let table = addresses(g, gradients.iter().flatten())?;
    let mut first = 0;
    let mut groups = Vec::with_capacity(2 * sizes.len());
    for &size in sizes {
        groups.extend([first, size as i64]);
        first += size as i64;
    }
    let groups = Tensor::from_vec(groups, (sizes.len(), 2), g.device())?;
    let blocks = (inputs.div_ceil(TILE), parts * outputs.div_ceil(TILE), sizes.len());
    let mut arguments = vec![at(&table, DType::I64, OP)?, at(g, dtype, OP)?, at(x, dtype, OP)?];
    arguments.extend([at(&groups, DType::I64, OP)?, Argument::Int(parts), Argument::Long(rows)]);
    arguments.extend([outputs, inputs].map(Argument::Int));
    launch(device, &format!("grouped_backward_matrices_{}", suffix(dtype, OP)?), extent(blocks), &arguments)?;
    Ok(gradients)
}

fn extent(blocks: (usize, usize, usize)) -> Extent {
    Extent { blocks, threads: (128, 1), shared: SHARED }
}

/// Returns the number of matrices of each group, and their outputs.
fn checked(
    sizes: &[usize],
    matrices: &[Vec<&Tensor>],
    rows: usize,
    (outputs, inputs): (Option<usize>, Option<usize>),
) -> Result<(usize, usize)> {
    let (first, parts) = (matrices.first().and_then(|group| group.first()), matrices.first().map_or(0, Vec::len));
    let dims = first.map_or(Ok((0, 0)), |first| first.dims2())?;
    let alike = |matrix: &&Tensor| matrix.dims() == [dims.0, dims.1] && matrix.is_contiguous();
    let fits = sizes.len() == matrices.len()
        && sizes.iter().sum::<usize>() == rows
        && matrices.iter().all(|group| group.len() == parts && group.iter().all(alike))
        && outputs.is_none_or(|outputs| outputs == dims.0)
        && inputs.is_none_or(|inputs| inputs == dims.1);
    if fits {
        return Ok((parts, dims.0));
    }
    candle_core::bail!(
        "{OP}: groups of {sizes:?} of {rows} rows do not fit {} groups of matrices {dims:?}",
        matrices.len()
    )
}

/// Returns the addresses of the matrices on the device of `like`, and the tiles of rows: (group, first row, rows).
fn by_rows(like: &Tensor, sizes: &[usize], matrices: &[Vec<&Tensor>]) -> Result<(Tensor, Tensor)> {
    let (mut first, mut tiles) = (0, Vec::new());
    for (group, &size) in sizes.iter().enumerate() {
        for start in (0..size).step_by(TILE) {
            tiles.extend([group as i64, (first + start) as i64, TILE.min(size - start) as i64]);
        }
        first += size;
    }
    let count = tiles.len() / 3;
    let table = addresses(like, matrices.iter().flatten().copied())?;
    Ok((table, Tensor::from_vec(tiles, (count, 3), like.device())?))
}

fn addresses<'a>(like: &Tensor, matrices: impl Iterator<Item = &'a Tensor>) -> Result<Tensor> {
    let (device, dtype) = (like.device().as_cuda_device()?, like.dtype());
    let address = |matrix: &Tensor| {
        at(matrix, dtype, OP)?;
        with(matrix, |operand| Ok(pointer(operand).on(device)? as i64))
    };
    let addresses = matrices.map(address).collect::<Result<Vec<i64>>>()?;
    let count = addresses.len();
    Tensor::from_vec(addresses, count, like.device())
}
