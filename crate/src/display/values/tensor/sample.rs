//! Samples of a tensor's numbers: a model's weights are never copied to the host whole.

use candle_core::{DType, Device, Result, Tensor};

/// The most numbers that statistics are made of.
const STATISTICS: usize = 1 << 20;
/// The most rows and columns of a picture.
const PICTURE: (usize, usize) = (48, 64);

/// The numbers that were read.
pub(super) struct Numbers {
    pub values: Vec<f64>,
    /// False if they are all of the tensor's numbers.
    pub sampled: bool,
}

/// All numbers, or a million of them at even distances.
pub(super) fn numbers(tensor: &Tensor) -> Result<Numbers> {
    let sampled = tensor.elem_count() > STATISTICS;
    let part = if sampled { evenly(tensor, STATISTICS)? } else { tensor.flatten_all()? };
    Ok(Numbers { values: on_host(&part)?, sampled })
}

fn on_host(part: &Tensor) -> Result<Vec<f64>> {
    part.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()
}

/// Whether the numbers can be read. candle has no arithmetic for types below eight bits, and its way from eight bits to 64
/// may never end (float8 0.7).
pub(super) fn is_readable(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, F64, I16, I32, I64, U8, U32};
    matches!(dtype, U8 | U32 | I16 | I32 | I64 | BF16 | F16 | F32 | F64)
}

fn evenly(tensor: &Tensor, most: usize) -> Result<Tensor> {
    // In the order of memory a transposed tensor is contiguous too, so nothing is copied to make it flat.
    let mut order: Vec<usize> = (0..tensor.rank()).collect();
    order.sort_by_key(|dim| std::cmp::Reverse(tensor.stride()[*dim]));
    let ordered = tensor.permute(order)?;
    if ordered.is_contiguous() {
        let row = ordered.dims().last().copied().unwrap_or(1);
        let step = step(tensor.elem_count().div_ceil(most), row);
        let count = tensor.elem_count() / step;
        let flat = ordered.flatten_all()?.narrow(0, 0, count * step)?;
        return flat.reshape((count, step))?.narrow(1, 0, 1)?.contiguous();
    }
    // A view with gaps: the middle of it.
    let mut part = tensor.clone();
    while part.elem_count() > most {
        let (dim, size) = part.dims().iter().copied().enumerate().max_by_key(|(_, size)| *size).unwrap_or((0, 1));
        let kept = (size * most / part.elem_count()).max(1);
        part = part.narrow(dim, (size - kept) / 2, kept)?;
    }
    part.contiguous()
}

/// A step of at least `least` that does not fall on the same columns of every row.
fn step(least: usize, row: usize) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (least..).find(|step| row < 2 || divisor(*step, row) == 1).unwrap_or(least)
}

/// Numbers of a matrix at even distances.
pub(super) struct Grid {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
    /// The matrix they are of: which one where the tensor has several, and its size.
    pub slice: String,
    /// Whether each number of the matrix is there.
    pub whole: bool,
}

impl Grid {
    /// The greatest size of a finite number.
    pub(super) fn most(&self) -> f64 {
        let finite = self.values.iter().copied().filter(|value| value.is_finite());
        finite.fold(0.0, |most: f64, value| most.max(value.abs()))
    }

    /// A picture of one color shows nothing.
    pub(super) fn is_varied(&self) -> bool {
        self.values.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// The last two dimensions, at the first index of all others. `None` if that is too little for a picture.
pub(super) fn grid(tensor: &Tensor) -> Result<Option<Grid>> {
    let mut matrix = tensor.clone();
    while matrix.rank() > 2 {
        if matrix.dim(0)? == 0 {
            return Ok(None);
        }
        matrix = matrix.get(0)?;
    }
    let Ok((height, width)) = matrix.dims2() else { return Ok(None) };
    if height < 2 || width < 2 || height * width < 16 {
        return Ok(None);
    }
    let before = "0, ".repeat(tensor.rank() - 2);
    let (rows, columns) = (height.min(PICTURE.0), width.min(PICTURE.1));
    let picked = pick(&pick(&matrix, 0, rows)?, 1, columns)?;
    let slice =
        if before.is_empty() { format!("{height} × {width}") } else { format!("[{before}:, :], {height} × {width}") };
    let whole = (rows, columns) == (height, width);
    Ok(Some(Grid { rows, columns, values: on_host(&picked)?, slice, whole }))
}

fn pick(matrix: &Tensor, dim: usize, count: usize) -> Result<Tensor> {
    let size = matrix.dim(dim)?;
    if size == count {
        return Ok(matrix.clone());
    }
    let lines: Result<Vec<Tensor>> = (0..count).map(|index| matrix.narrow(dim, index * size / count, 1)).collect();
    Tensor::cat(&lines?, dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_any_layout_is_small_and_spread() {
        let tensor = Tensor::arange(0f32, 3_000_000.0, &Device::Cpu).unwrap().reshape((1500, 2000)).unwrap();
        let gaps = tensor.narrow(1, 0, 1900).unwrap();
        for layout in [tensor.clone(), tensor.t().unwrap(), gaps] {
            let found = numbers(&layout).unwrap();
            assert!(found.sampled && (400_000..=STATISTICS).contains(&found.values.len()), "{}", found.values.len());
            let mean = found.values.iter().sum::<f64>() / found.values.len() as f64;
            assert!((mean / 1.5e6 - 1.0).abs() < 0.05, "{mean}");
        }
        // 2,000 columns and a step of 3: every column is met.
        assert_eq!(step(2, 2000), 3);
    }

    #[test]
    fn a_grid_is_the_first_matrix() {
        let tensor = Tensor::arange(0f32, 2400.0, &Device::Cpu).unwrap().reshape((2, 3, 400)).unwrap();
        let grid = grid(&tensor).unwrap().unwrap();
        assert_eq!((grid.rows, grid.columns, grid.slice.as_str(), grid.whole), (3, 64, "[0, :, :], 3 × 400", false));
        assert_eq!((grid.values[0], grid.values[63], grid.values[64]), (0.0, 393.0, 400.0));
        assert!(super::grid(&Tensor::zeros((0, 4, 4), DType::F32, &Device::Cpu).unwrap()).unwrap().is_none());
    }
}
