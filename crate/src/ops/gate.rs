//! Gated activations: SwiGLU and its relatives.

use candle_core::{CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::cuda;
use super::element::{Element, Wide, by_element, made, slice};

/// The function that opens the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateActivation {
    /// x · σ(x).
    Silu,
    /// max(x, 0).
    Relu,
    /// x · Φ(x), by the error function.
    Gelu,
    /// x · Φ(x), approximated by ½(1 + tanh(√(2/π)(x + 0.044715 x³))).
    GeluTanh,
}

/// activation(gate) · up, element by element, of tensors of one shape.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn gated(gate: &Tensor, up: &Tensor, activation: GateActivation) -> Result<Tensor> {
    if !gate.device().is_cpu() && !cuda::serves(gate) {
        return composed(gate, up, activation);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, Gated(activation))
}

/// Composes the same of candle's differentiable operations.
fn composed(gate: &Tensor, up: &Tensor, activation: GateActivation) -> Result<Tensor> {
    let open = match activation {
        GateActivation::Silu => gate.silu()?,
        GateActivation::Relu => gate.relu()?,
        // Not candle's `gelu_erf` and `gelu`, whose backwards have constants of a few digits.
        GateActivation::Gelu => (gate * (((gate * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?)?,
        GateActivation::GeluTanh => {
            let inner = ((gate + (gate.sqr()? * gate)? * 0.044_715)? * (2.0 / std::f64::consts::PI).sqrt())?;
            (gate * ((inner.tanh()? + 1.0)? * 0.5)?)?
        }
    };
    open * up
}

struct Gated(GateActivation);

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = l1.shape();
        if shape != l2.shape() {
            let (lhs, rhs) = (shape.clone(), l2.shape().clone());
            return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op: self.name() }.bt());
        }
        by_element!(s1, self.name(), T => {
            let (gate, up) = (slice::<T>(s1, l1, self.name())?, slice::<T>(s2, l2, self.name())?);
            Ok(made(self.0.forward(gate, up), shape))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::gated((s1, l1), (s2, l2), self.0.number())
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let both = gate.apply_op3_no_bwd(up, &g.contiguous()?, &GatedBackward(self.0))?;
        Ok((Some(both.get(0)?.reshape(gate.shape())?), Some(both.get(1)?.reshape(up.shape())?)))
    }
}

/// (gate, up, gradient of y) → `[2, elements]`: the gradients of gate and of up.
pub(super) struct GatedBackward(pub(super) GateActivation);

impl CustomOp3 for GatedBackward {
    fn name(&self) -> &'static str {
        "gated-backward"
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
        by_element!(s1, self.name(), T => {
            let (gate, up) = (slice::<T>(s1, l1, self.name())?, slice::<T>(s2, l2, self.name())?);
            let g = slice::<T>(s3, l3, self.name())?;
            Ok(made(self.0.backward(gate, up, g), (2, gate.len())))
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
        cuda::gated_backward((s1, l1), (s2, l2), (s3, l3), self.0.number())
    }
}

const BLOCK: usize = 4096;

impl GateActivation {
    /// Their numbers in `rows.cu`.
    pub(super) fn number(self) -> i32 {
        match self {
            GateActivation::Silu => 0,
            GateActivation::Relu => 1,
            GateActivation::Gelu => 2,
            GateActivation::GeluTanh => 3,
        }
    }

    fn forward<T: Element>(self, gate: &[T], up: &[T]) -> Vec<T> {
        let mut y = vec![T::default(); gate.len()];
        let blocks = y.par_chunks_mut(BLOCK).zip(gate.par_chunks(BLOCK)).zip(up.par_chunks(BLOCK));
        blocks.for_each(|((y, gate), up)| {
            let each = y.iter_mut().zip(gate).zip(up);
            // One loop for each activation: the choice is made outside, so that the loops become vector code.
            match self {
                Self::Silu => each.for_each(|((y, a), b)| *y = T::narrow(silu(a.wide()).0 * b.wide())),
                Self::Relu => each.for_each(|((y, a), b)| *y = T::narrow(relu(a.wide()).0 * b.wide())),
                Self::Gelu => each.for_each(|((y, a), b)| *y = T::narrow(gelu(a.wide()).0 * b.wide())),
                Self::GeluTanh => each.for_each(|((y, a), b)| *y = T::narrow(gelu_tanh(a.wide()).0 * b.wide())),
            }
        });
        y
    }

    fn backward<T: Element>(self, gate: &[T], up: &[T], g: &[T]) -> Vec<T> {
        let mut gradients = vec![T::default(); 2 * gate.len()];
        let (of_gate, of_up) = gradients.split_at_mut(gate.len());
        let out = of_gate.par_chunks_mut(BLOCK).zip(of_up.par_chunks_mut(BLOCK));
        let blocks = out.zip(gate.par_chunks(BLOCK)).zip(up.par_chunks(BLOCK)).zip(g.par_chunks(BLOCK));
        blocks.for_each(|((((of_gate, of_up), gate), up), g)| {
            let block = (of_gate, of_up, gate, up, g);
            match self {
                Self::Silu => gradients_of(block, silu),
                Self::Relu => gradients_of(block, relu),
                Self::Gelu => gradients_of(block, gelu),
                Self::GeluTanh => gradients_of(block, gelu_tanh),
            }
        });
        gradients
    }
}

type Block<'a, T> = (&'a mut [T], &'a mut [T], &'a [T], &'a [T], &'a [T]);

#[inline(always)]
fn gradients_of<T: Element>((of_gate, of_up, gate, up, g): Block<'_, T>, both: impl Fn(T::Wide) -> (T::Wide, T::Wide)) {
    for ((((of_gate, of_up), a), b), g) in of_gate.iter_mut().zip(of_up).zip(gate).zip(up).zip(g) {
        let (value, slope) = both(a.wide());
        *of_gate = T::narrow(g.wide() * b.wide() * slope);
        *of_up = T::narrow(g.wide() * value);
    }
}

/// Value and derivative.
#[inline(always)]
fn silu<W: Wide>(x: W) -> (W, W) {
    let sigmoid = W::ONE / (W::ONE + (-x).exp());
    (x * sigmoid, sigmoid * (W::ONE + x * (W::ONE - sigmoid)))
}

#[inline(always)]
fn relu<W: Wide>(x: W) -> (W, W) {
    if x > W::ZERO { (x, W::ONE) } else { (W::ZERO, W::ZERO) }
}

#[inline(always)]
fn gelu<W: Wide>(x: W) -> (W, W) {
    let half = W::of(0.5);
    let normal = half * (W::ONE + (x * W::of(std::f64::consts::FRAC_1_SQRT_2)).erf());
    let density =
        (-(x * x) * half).exp() * W::of(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    (x * normal, normal + x * density)
}

#[inline(always)]
fn gelu_tanh<W: Wide>(x: W) -> (W, W) {
    let (root, cubic) = (W::of((2.0 / std::f64::consts::PI).sqrt()), W::of(0.044_715));
    // ½(1 + tanh u) = σ(2u).
    let normal = W::ONE / (W::ONE + (-(W::of(2.0) * root * (x + cubic * x * x * x))).exp());
    let slope = W::of(2.0) * root * (W::ONE + W::of(3.0) * cubic * x * x);
    (x * normal, normal + x * normal * (W::ONE - normal) * slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Inputs, agree};

    #[test]
    fn every_gate_agrees_with_candle_and_finite_differences() {
        for activation in [GateActivation::Silu, GateActivation::Relu, GateActivation::Gelu, GateActivation::GeluTanh] {
            let inputs = Inputs::new(&[("gate", &[2, 3, 19]), ("up", &[2, 3, 19])]);
            agree(&inputs, |v| gated(&v[0], &v[1], activation), |v| composed(&v[0], &v[1], activation));
        }
    }
}
