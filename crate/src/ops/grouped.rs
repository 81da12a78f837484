//! What experts compute: gated feed-forwards of consecutive groups of rows, each with matrices of its own, and the weighted
//! sum of what became of a token's rows.

use std::sync::Arc;

use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::collect::accumulate_grad;
use super::cuda;
use super::embedding::embedding;
use super::gate::{GateActivation, GatedBackward, gated};
use super::precomputed_op::PrecomputedOp;

/// The matrices of one gated feed-forward: gate and up `[inner, hidden]`, down `[hidden, inner]`.
#[derive(Clone, Debug)]
pub struct GatedMatrices {
    /// What the activation reads.
    pub gate: Tensor,
    /// What the gate multiplies.
    pub up: Tensor,
    /// Back to the hidden width.
    pub down: Tensor,
}

/// down(activation(gate x) · up x) of x `[rows, hidden]` with the matrices of each row's group. `sizes` are the groups' numbers
/// of rows.
///
/// On a GPU each product of all groups is one launch. Gradients of variables go to the running
/// [`collected`](super::collected); without one, backward is an error.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn grouped_gated(
    x: &Tensor,
    sizes: &[usize],
    groups: &[GatedMatrices],
    activation: GateActivation,
) -> Result<Tensor> {
    let (x, groups, sizes) = (x.contiguous()?, Arc::new(groups.to_vec()), sizes.to_vec());
    let both = products(&x.detach(), &sizes, &inner(&groups))?;
    let hidden = move |both: &Tensor| gated(&both.get(0)?, &both.get(1)?, activation);
    let y = products(&hidden(&both)?, &sizes, &outer(&groups))?.squeeze(0)?;
    if !x.track_op() {
        return Ok(y);
    }
    let backward = move |arguments: &[&Tensor], g: &Tensor| {
        let (inner, outer) = (inner(&groups), outer(&groups));
        let Some(x) = arguments.first() else { candle_core::bail!("grouped-gated lacks its operand") };
        let g = g.contiguous()?.unsqueeze(0)?;
        deliver(&outer, &g, || hidden(&both), &sizes)?;
        let of_hidden = products_backward_rows(&g, &sizes, &outer)?;
        let of_both = both.get(0)?.apply_op3_no_bwd(&both.get(1)?, &of_hidden, &GatedBackward(activation))?;
        let of_both = of_both.reshape(both.shape())?;
        deliver(&inner, &of_both, || Ok(x.detach()), &sizes)?;
        Ok(vec![Some(products_backward_rows(&of_both, &sizes, &inner)?)])
    };
    x.apply_op1(PrecomputedOp::new("grouped-gated", &y, Box::new(backward))?)
}

fn inner(groups: &[GatedMatrices]) -> Vec<Vec<&Tensor>> {
    groups.iter().map(|group| vec![&group.gate, &group.up]).collect()
}

fn outer(groups: &[GatedMatrices]) -> Vec<Vec<&Tensor>> {
    groups.iter().map(|group| vec![&group.down]).collect()
}

/// Gives the gradients of the matrices that are variables to the running collection.
fn deliver(matrices: &[Vec<&Tensor>], g: &Tensor, x: impl FnOnce() -> Result<Tensor>, sizes: &[usize]) -> Result<()> {
    if !matrices.iter().flatten().any(|matrix| matrix.is_variable()) {
        return Ok(());
    }
    let gradients = products_backward_matrices(g, &x()?, sizes)?;
    for (matrix, gradient) in matrices.iter().flatten().zip(gradients.into_iter().flatten()) {
        if matrix.is_variable() && accumulate_grad(matrix, gradient)?.is_some() {
            candle_core::bail!("this backward pass must run in `collected`")
        }
    }
    Ok(())
}

/// Returns the rows of each group alone: candle reads the whole storage of a window.
fn cut(x: &Tensor, sizes: &[usize]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let part = |&size: &usize| {
        let part = x.narrow(0, start, size)?.force_contiguous();
        start += size;
        part
    };
    sizes.iter().map(part).collect()
}

/// x `[rows, inputs]` → `[parts, rows, outputs]`: x Wᵀ with each matrix of the row's group.
fn products(x: &Tensor, sizes: &[usize], matrices: &[Vec<&Tensor>]) -> Result<Tensor> {
    if on_gpu(x, matrices) {
        return cuda::products(x, sizes, matrices);
    }
    let rows = cut(x, sizes)?;
    let part = |part: usize| {
        let products = rows.iter().zip(matrices).map(|(rows, group)| rows.matmul(&group[part].detach().t()?));
        Tensor::cat(&products.collect::<Result<Vec<_>>>()?, 0)
    };
    Tensor::stack(&(0..matrices.first().map_or(0, Vec::len)).map(part).collect::<Result<Vec<_>>>()?, 0)
}

/// The gradient of [`products`] → that of x.
fn products_backward_rows(g: &Tensor, sizes: &[usize], matrices: &[Vec<&Tensor>]) -> Result<Tensor> {
    if on_gpu(g, matrices) {
        return cuda::products_backward_rows(g, sizes, matrices);
    }
    let mut sum: Option<Tensor> = None;
    for part in 0..g.dim(0)? {
        let rows = cut(&g.get(part)?, sizes)?;
        let products = rows.iter().zip(matrices).map(|(rows, group)| rows.matmul(&group[part].detach()));
        let of_part = Tensor::cat(&products.collect::<Result<Vec<_>>>()?, 0)?;
        sum = Some(sum.map_or(Ok(of_part.clone()), |sum| sum + &of_part)?);
    }
    sum.map_or_else(|| candle_core::bail!("groups of rows without matrices"), Ok)
}

/// The gradient of [`products`] and x → those of the matrices.
fn products_backward_matrices(g: &Tensor, x: &Tensor, sizes: &[usize]) -> Result<Vec<Vec<Tensor>>> {
    if cuda::serves_groups([x].into_iter()) && cuda::serves_groups([g].into_iter()) {
        return cuda::products_backward_matrices(g, x, sizes);
    }
    let x = cut(x, sizes)?;
    let g = (0..g.dim(0)?).map(|part| cut(&g.get(part)?, sizes)).collect::<Result<Vec<_>>>()?;
    let of = |(group, x): (usize, &Tensor)| g.iter().map(|g| g[group].t()?.matmul(x)).collect();
    x.iter().enumerate().map(of).collect()
}

fn on_gpu(x: &Tensor, matrices: &[Vec<&Tensor>]) -> bool {
    cuda::serves_groups(matrices.iter().flatten().copied().chain([x]))
}

/// Returns of each token the rows of x `[tokens · active, h]` that are in its slots, weighted and summed: slots (u32,
/// `[tokens · active]`, each row once) and weights `[tokens, active]` → `[tokens, h]`.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn combine_rows(x: &Tensor, slots: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let ((rows, hidden), (tokens, active)) = (x.dims2()?, weights.dims2()?);
    if rows != tokens * active || slots.elem_count() != rows {
        let (lhs, rhs) = (x.shape().clone(), weights.shape().clone());
        return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op: "combine-rows" }.bt());
    }
    if cuda::serves(x) {
        return x.contiguous()?.apply_op2(&weights.contiguous()?, Combine { slots: slots.contiguous()? });
    }
    let y = embedding(x, slots)?.reshape((tokens, active, hidden))?.broadcast_mul(&weights.unsqueeze(2)?)?;
    if active == 1 { y.squeeze(1) } else { y.sum(1) }
}

struct Combine {
    slots: Tensor,
}

impl CustomOp2 for Combine {
    fn name(&self) -> &'static str {
        "combine-rows"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{}: the operands are on the CPU", self.name())
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::combine((s1, l1), &self.slots, (s2, l2))
    }

    fn bwd(&self, x: &Tensor, weights: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x_detached, weights_detached) = (x.detach(), weights.detach());
        let (of_x, of_weights) = cuda::combine_backward(&x_detached, &self.slots, &weights_detached, &g.contiguous()?)?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weights, of_weights)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::ops::check::{Inputs, agree, values};
    use crate::ops::{by_parts, collected, gated_linear, linear};

    #[test]
    fn groups_have_the_values_and_gradients_of_each_alone() {
        let shapes: [(&str, &[usize]); 7] = [
            ("x", &[6, 4]),
            ("gate 0", &[5, 4]),
            ("up 0", &[5, 4]),
            ("down 0", &[4, 5]),
            ("gate 1", &[5, 4]),
            ("up 1", &[5, 4]),
            ("down 1", &[4, 5]),
        ];
        let v = Inputs::new(&shapes).variables(DType::F64);
        let group = |m: &[Tensor]| GatedMatrices { gate: m[0].clone(), up: m[1].clone(), down: m[2].clone() };
        let (groups, sizes): (Vec<_>, _) = (v[1..].chunks(3).map(group).collect(), [4, 2]);
        let run = |compute: &dyn Fn(&Tensor) -> Result<Tensor>| {
            let (y, (store, mut found)) = {
                let y = compute(&(&v[0] * 2.0).unwrap()).unwrap();
                let loss = (&y * &v[0]).unwrap().sum_all().unwrap();
                (y, collected(|| loss.backward()).unwrap())
            };
            let of = |v: &Tensor| values(&found.remove(v).or_else(|| store.get(v).cloned()).unwrap());
            (values(&y), v.iter().map(of).collect::<Vec<_>>())
        };
        let found = run(&|x| grouped_gated(x, &sizes, &groups, GateActivation::Silu));
        let alone = run(&|x| {
            by_parts(x, &sizes, |part, rows| {
                let GatedMatrices { gate, up, down } = &groups[part];
                linear(&gated_linear(rows, gate, up, GateActivation::Silu)?, down, None)
            })
        });
        crate::ops::check::close(&found.0, &alone.0, 1e-12, "values");
        for (of, expected) in found.1.iter().zip(&alone.1) {
            crate::ops::check::close(of, expected, 1e-12, "gradients");
        }
    }

    #[test]
    fn variables_need_a_collection() {
        let x = Var::ones((2, 8), DType::F32, &candle_core::Device::Cpu).unwrap();
        let matrix = || Var::ones((8, 8), DType::F32, &candle_core::Device::Cpu).unwrap().into_inner();
        let groups = [GatedMatrices { gate: matrix(), up: matrix(), down: matrix() }];
        let y = grouped_gated(x.as_tensor(), &[2], &groups, GateActivation::Relu).unwrap();
        assert!(y.backward().unwrap_err().to_string().contains("collected"));
    }

    #[test]
    fn weighted_rows_agree_with_candle_and_finite_differences() {
        let inputs = Inputs::new(&[("x", &[6, 4]), ("weights", &[3, 2])]);
        let slots = |v: &[Tensor]| Tensor::new(&[3u32, 0, 5, 1, 2, 4], v[0].device());
        agree(
            &inputs,
            |v| combine_rows(&v[0], &slots(v)?, &v[1]),
            |v| v[0].index_select(&slots(v)?, 0)?.reshape((3, 2, 4))?.broadcast_mul(&v[1].unsqueeze(2)?)?.sum(1),
        );
    }
}
