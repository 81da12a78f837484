//! Rotary position embedding, and the exchange of heads and tokens around attention.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp3, D, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::cuda;
use super::element::{Element, Wide, by_element, inside, made, slice};
use super::rows::per_task;

/// Rotates pairs of dimensions, half-split: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin).
/// x `[b, h, s, d]`; cos and sin `[b or 1, s, r / 2]` in float32 or float64, through which no gradient flows. Dimensions
/// beyond the first r stay as they are.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let rotated = 2 * cos.dim(D::Minus1)?;
    if rotated < x.dim(D::Minus1)? {
        let kept = x.narrow(D::Minus1, rotated, x.dim(D::Minus1)? - rotated)?;
        return Tensor::cat(&[rotate(&x.narrow(D::Minus1, 0, rotated)?, cos, sin)?, kept], D::Minus1);
    }
    if !x.device().is_cpu() && !cuda::serves(x) {
        return composed(x, cos, sin);
    }
    let inside = inside(x.dtype());
    let table = |table: &Tensor| table.to_dtype(inside)?.contiguous();
    x.contiguous()?.apply_op3(&table(cos)?, &table(sin)?, Rotate { inverse: false })
}

/// `[a, b, c, d]` → `[a, c, b, d]`, contiguous: tokens of heads to heads of tokens, and back.
///
/// # Errors
/// candle's, for tensors of another rank.
pub fn transpose_heads(x: &Tensor) -> Result<Tensor> {
    if (!x.device().is_cpu() && !cuda::serves(x)) || x.rank() != 4 {
        return x.transpose(1, 2)?.contiguous();
    }
    x.contiguous()?.apply_op1(TransposeHeads)
}

/// Composes the rotation of candle's differentiable operations.
fn composed(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (cos, sin) = (cos.unsqueeze(1)?.to_dtype(x.dtype())?, sin.unsqueeze(1)?.to_dtype(x.dtype())?);
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let turned_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let turned_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    Tensor::cat(&[turned_first, turned_second], D::Minus1)
}

/// The backward of a rotation is the rotation by the opposite angle.
struct Rotate {
    inverse: bool,
}

impl CustomOp3 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, heads, tokens, width) = l1.shape().dims4()?;
        let (tables, _, half) = l2.shape().dims3()?;
        let fits = l2.dims() == [tables, tokens, half] && l3.dims() == l2.dims() && 2 * half == width;
        if !fits || (tables != 1 && tables != batch) {
            let (lhs, rhs) = (l1.shape().clone(), l2.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: self.name() }.bt());
        }
        by_element!(s1, self.name(), T => {
            let x = slice::<T>(s1, l1, self.name())?;
            let cos = slice::<<T as Element>::Wide>(s2, l2, self.name())?;
            let sin = slice::<<T as Element>::Wide>(s3, l3, self.name())?;
            let heads_per_table = if tables == 1 { batch * heads } else { heads };
            Ok(made(turned((x, cos, sin), (tokens, half), heads_per_table, self.inverse), l1.shape()))
        })
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::rotate((s1, l1), (s2, l2), (s3, l3), self.inverse)
    }

    fn bwd(
        &self,
        _: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let back = Rotate { inverse: !self.inverse };
        Ok((Some(g.contiguous()?.apply_op3_no_bwd(cos, sin, &back)?), None, None))
    }
}

fn turned<T: Element>(
    (x, cos, sin): (&[T], &[T::Wide], &[T::Wide]),
    (tokens, half): (usize, usize),
    heads_per_table: usize,
    inverse: bool,
) -> Vec<T> {
    let direction = if inverse { -T::Wide::ONE } else { T::Wide::ONE };
    let mut y = vec![T::default(); x.len()];
    let rows = y.par_chunks_mut(2 * half).zip(x.par_chunks(2 * half)).enumerate();
    rows.with_min_len(per_task(2 * half)).for_each(|(row, (y, x))| {
        let angles = (row / (heads_per_table * tokens) * tokens + row % tokens) * half;
        let (cos, sin) = (&cos[angles..angles + half], &sin[angles..angles + half]);
        let ((y1, y2), (x1, x2)) = (y.split_at_mut(half), x.split_at(half));
        for (((((y1, y2), x1), x2), cos), sin) in y1.iter_mut().zip(y2).zip(x1).zip(x2).zip(cos).zip(sin) {
            let sin = *sin * direction;
            *y1 = T::narrow(x1.wide() * *cos - x2.wide() * sin);
            *y2 = T::narrow(x2.wide() * *cos + x1.wide() * sin);
        }
    });
    y
}

struct TransposeHeads;

impl CustomOp1 for TransposeHeads {
    fn name(&self) -> &'static str {
        "transpose-heads"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (a, b, c, d) = layout.shape().dims4()?;
        by_element!(storage, self.name(), T => {
            let x = slice::<T>(storage, layout, self.name())?;
            let mut y = vec![T::default(); x.len()];
            y.par_chunks_mut(d.max(1)).enumerate().with_min_len(per_task(d)).for_each(|(row, y)| {
                let (outer, c_index, b_index) = (row / (b * c), row / b % c, row % b);
                let from = ((outer * b + b_index) * c + c_index) * d;
                y.copy_from_slice(&x[from..from + d]);
            });
            Ok(made(y, (a, c, b, d)))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::transpose_heads((s1, l1))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(g.contiguous()?.apply_op1_no_bwd(&TransposeHeads)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::check::{Inputs, agree};

    fn tables(batch: usize, dtype: DType) -> (Tensor, Tensor) {
        let angles =
            Tensor::arange(0f64, (batch * 5 * 4) as f64, &Device::Cpu).unwrap().reshape((batch, 5, 4)).unwrap();
        let angles = (angles * 0.37).unwrap();
        let dtype = inside(dtype);
        (angles.cos().unwrap().to_dtype(dtype).unwrap(), angles.sin().unwrap().to_dtype(dtype).unwrap())
    }

    #[test]
    fn rotation_agrees_with_candle_and_finite_differences() {
        for batch in [1, 2] {
            let inputs = Inputs::new(&[("x", &[2, 3, 5, 8])]);
            let with = |f: fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>| {
                move |v: &[Tensor]| {
                    let (cos, sin) = tables(batch, v[0].dtype());
                    f(&v[0], &cos, &sin)
                }
            };
            agree(&inputs, with(rotate), with(composed));
        }
    }

    #[test]
    fn heads_are_exchanged_and_brought_back() {
        let inputs = Inputs::new(&[("x", &[2, 3, 5, 4])]);
        agree(&inputs, |v| transpose_heads(&v[0]), |v| v[0].transpose(1, 2)?.contiguous());
    }

    #[test]
    fn tables_of_another_length_are_refused() {
        let x = Tensor::zeros((1, 1, 6, 8), DType::F32, &Device::Cpu).unwrap();
        let (cos, sin) = tables(1, DType::F32);
        assert!(rotate(&x, &cos, &sin).is_err());
    }
}
