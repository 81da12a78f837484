//! Products with weights that are kept in a narrower type than the one that they are computed in.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::dots::{TILE_ROWS, dots_f32, dots_f64};
use super::element::{Wide, Window, made, product, slice};
use super::linear::{linear, sizes};
use super::rows::per_task;

/// Weights that are widened at a time: they fit into the second-level cache of a core.
const BLOCK: usize = 1 << 17;

/// Up to this many rows of x, the rows of W are multiplied with them without packing; for more, a matrix product that
/// packs both is faster.
const FEW: usize = 512;

/// x Wᵀ + b over the last dimension, as [`linear`](super::linear()), for x in float32 or float64 and W in any type that is
/// not wider: its rows are widened block by block, without a widened copy of W. Nothing gets a gradient.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn mixed_linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return linear(x, &weight.to_dtype(x.dtype())?, bias);
    }
    let y = x.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &MixedLinear)?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(&bias.to_dtype(y.dtype())?))
}

struct MixedLinear;

impl CustomOp2 for MixedLinear {
    fn name(&self) -> &'static str {
        "mixed-linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((_, rows, outputs, inputs), x, _, shape) = sizes(l1, l2)?;
        let weight = Narrow::of(s2, l2, self.name())?;
        let (sizes, elements) = ((rows, outputs, inputs), x.start_offset()..x.start_offset() + rows * inputs);
        match s1 {
            CpuStorage::F32(x) => Ok(made(weight.product(sizes, &x[elements])?, shape)),
            CpuStorage::F64(x) => Ok(made(weight.product(sizes, &x[elements])?, shape)),
            _ => Err(candle_core::Error::UnsupportedDTypeForOp(s1.dtype(), self.name()).bt()),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        candle_core::bail!("{}: the operands are on a GPU", self.name())
    }
}

/// The elements of a weight.
#[derive(Clone, Copy)]
pub(crate) enum Narrow<'a> {
    BFloat(&'a [bf16]),
    Half(&'a [f16]),
    Float(&'a [f32]),
}

/// The type that elements of a [`Narrow`] weight are widened to.
pub(crate) trait Widened: Wide {
    fn widen(weight: &Narrow<'_>, range: Range<usize>, out: &mut [Self]);
    /// Returns the elements themselves, if they have this type.
    fn own<'a>(weight: &Narrow<'a>) -> Option<&'a [Self]>;
    /// y = x Wᵀ for rows of width `inputs`; see [`dots`](super::dots).
    fn dots(x: &[Self], weight: &[Self], inputs: usize, y: &mut [Self]);
}

impl Widened for f32 {
    fn widen(weight: &Narrow<'_>, range: Range<usize>, out: &mut [f32]) {
        match weight {
            Narrow::BFloat(values) => {
                // Exact, and without a branch, so that the compiler can use vector registers.
                let wide = |value: &bf16| f32::from_bits(u32::from(value.to_bits()) << 16);
                out.iter_mut().zip(&values[range]).for_each(|(out, value)| *out = wide(value));
            }
            Narrow::Half(values) => values[range].convert_to_f32_slice(out),
            Narrow::Float(values) => out.copy_from_slice(&values[range]),
        }
    }

    fn own<'a>(weight: &Narrow<'a>) -> Option<&'a [f32]> {
        if let Narrow::Float(values) = weight { Some(values) } else { None }
    }

    fn dots(x: &[f32], weight: &[f32], inputs: usize, y: &mut [f32]) {
        dots_f32(x, weight, inputs, y);
    }
}

impl Widened for f64 {
    fn widen(weight: &Narrow<'_>, range: Range<usize>, out: &mut [f64]) {
        const PART: usize = 256;
        let mut part = [0f32; PART];
        for (index, out) in out.chunks_mut(PART).enumerate() {
            let start = range.start + index * PART;
            let part = &mut part[..out.len()];
            f32::widen(weight, start..start + part.len(), part);
            out.iter_mut().zip(part).for_each(|(out, value)| *out = f64::from(*value));
        }
    }

    fn own<'a>(_: &Narrow<'a>) -> Option<&'a [f64]> {
        None
    }

    fn dots(x: &[f64], weight: &[f64], inputs: usize, y: &mut [f64]) {
        dots_f64(x, weight, inputs, y);
    }
}

impl<'a> Narrow<'a> {
    fn of(storage: &'a CpuStorage, layout: &Layout, op: &'static str) -> Result<Self> {
        match storage {
            CpuStorage::BF16(_) => slice(storage, layout, op).map(Self::BFloat),
            CpuStorage::F16(_) => slice(storage, layout, op).map(Self::Half),
            CpuStorage::F32(_) => slice(storage, layout, op).map(Self::Float),
            _ => Err(candle_core::Error::UnsupportedDTypeForOp(storage.dtype(), op).bt()),
        }
    }

    /// x `[rows, inputs]` → `[rows, outputs]`. Blocks have one size, so that the result does not depend on the threads.
    pub(super) fn product<T: Widened>(
        &self,
        (rows, outputs, inputs): (usize, usize, usize),
        x: &[T],
    ) -> Result<Vec<T>> {
        let count = (BLOCK / inputs.max(1)).next_multiple_of(TILE_ROWS).clamp(1, outputs.max(1));
        // For a matrix product, x is one of candle's tensors.
        let storage = (rows > FEW).then(|| T::storage(x.to_vec()));
        let own = T::own(self);
        let block = |index: usize| {
            let first = index * count;
            let count = count.min(outputs - first);
            let elements = first * inputs..(first + count) * inputs;
            let mut part = vec![T::ZERO; if storage.is_some() { 0 } else { rows * count }];
            if let (Some(own), None) = (own, &storage) {
                T::dots(x, &own[elements], inputs, &mut part);
                return Ok(part);
            }
            with_buffer(count * inputs, |buffer: &mut Vec<T>| {
                T::widen(self, elements, buffer);
                let Some(x) = &storage else {
                    T::dots(x, buffer, inputs, &mut part);
                    return Ok(part);
                };
                let weight = T::storage(std::mem::take(buffer));
                let sides = (Window::new(x, 0, (inputs, 1)), Window::new(&weight, 0, (1, inputs)));
                let part = product::<T>((rows, count, inputs), sides.0, sides.1);
                *buffer = T::widened(weight).unwrap_or_default();
                part
            })
        };
        let parts: Vec<Vec<T>> = (0..outputs.div_ceil(count)).into_par_iter().map(block).collect::<Result<_>>()?;
        let mut y = vec![T::ZERO; rows * outputs];
        y.par_chunks_mut(outputs.max(1)).with_min_len(per_task(outputs)).enumerate().for_each(|(row, y)| {
            for (y, part) in y.chunks_mut(count).zip(&parts) {
                y.copy_from_slice(&part[row * y.len()..][..y.len()]);
            }
        });
        Ok(y)
    }
}

/// Runs `work` with a buffer of its thread, of `len` elements.
fn with_buffer<T: Wide, R>(len: usize, work: impl FnOnce(&mut Vec<T>) -> R) -> R {
    thread_local! {
        static BUFFERS: RefCell<[Option<CpuStorage>; 2]> = const { RefCell::new([None, None]) };
    }
    // Products may give this thread another block while it waits, so the buffer is taken, not borrowed.
    let place = usize::from(size_of::<T>() == size_of::<f64>());
    let kept = BUFFERS.with_borrow_mut(|buffers| buffers[place].take());
    let mut buffer = kept.and_then(T::widened).unwrap_or_default();
    buffer.resize(len, T::ZERO);
    let result = work(&mut buffer);
    BUFFERS.with_borrow_mut(|buffers| buffers[place] = Some(T::storage(buffer)));
    result
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn numbers(shape: (usize, usize), seed: usize) -> Tensor {
        let value = |place: usize| ((place * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
        Tensor::from_vec((0..shape.0 * shape.1).map(value).collect(), shape, &Device::Cpu).unwrap()
    }

    /// Sums in float64, one after another.
    fn plain(x: &Tensor, weight: &Tensor) -> Vec<f64> {
        let rows = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        let (x, weight) = (rows(x), rows(&weight.to_dtype(DType::F32).unwrap()));
        let dot = |x: &Vec<f64>, w: &Vec<f64>| x.iter().zip(w).map(|(x, w)| x * w).sum();
        x.iter().flat_map(|x| weight.iter().map(move |w| dot(x, w))).collect()
    }

    #[test]
    fn products_are_those_of_plain_sums_in_every_type() {
        // Several blocks with a shorter last one, and an odd width.
        for (tokens, outputs, inputs) in [(1, 3, 5), (5, 700, 301), (40, 130, 2048), (600, 9, 70)] {
            let x = numbers((tokens, inputs), 1);
            for dtype in [DType::BF16, DType::F16, DType::F32] {
                let weight = numbers((outputs, inputs), 2).to_dtype(dtype).unwrap();
                let expected = plain(&x, &weight);
                for (compute, tolerance) in [(DType::F32, 1e-3), (DType::F64, 1e-9)] {
                    let y = mixed_linear(&x.to_dtype(compute).unwrap(), &weight, None).unwrap();
                    assert_eq!((y.dims(), y.dtype()), (&[tokens, outputs][..], compute));
                    let y = y.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                    let worst = y.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(worst < tolerance, "{dtype:?} in {compute:?}: {worst:e}");
                }
            }
        }
    }

    #[test]
    fn a_bias_is_added_and_numbers_beyond_floats_stay_what_they_are() {
        let x = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[1f32, 1.0], [f32::INFINITY, 0.0], [f32::NAN, 0.0]], &Device::Cpu).unwrap();
        let bias = Tensor::new(&[10f32, 0.0, 0.0], &Device::Cpu).unwrap();
        let y = mixed_linear(&x, &weight.to_dtype(DType::BF16).unwrap(), Some(&bias)).unwrap();
        let y = y.to_vec2::<f32>().unwrap();
        assert_eq!(y[0][..2], [13.0, f32::INFINITY]);
        assert!(y[0][2].is_nan());
    }
}
