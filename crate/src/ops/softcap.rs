//! The soft cap of Gemma 2 (arXiv:2408.00118, section 2): scores and logits that saturate smoothly.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::cuda;
use super::element::{Element, Wide, by_element, made, slice};

/// cap · tanh(x / cap), element by element: about x where x is small beside `cap`, and never beyond ±`cap`.
///
/// # Errors
/// A cap that is not a positive number, or candle's error.
pub fn softcap(x: &Tensor, cap: f64) -> Result<Tensor> {
    if !(cap > 0.0 && cap.is_finite()) {
        candle_core::bail!("invalid soft cap `{cap}`: it must be a positive number");
    }
    if !x.device().is_cpu() && !cuda::serves(x) {
        return composed(x, cap);
    }
    x.contiguous()?.apply_op1(Softcap(cap))
}

/// Composes the same of candle's differentiable operations.
fn composed(x: &Tensor, cap: f64) -> Result<Tensor> {
    (x / cap)?.tanh()? * cap
}

struct Softcap(f64);

impl CustomOp1 for Softcap {
    fn name(&self) -> &'static str {
        "softcap"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(storage, self.name(), T => {
            let x = slice::<T>(storage, layout, self.name())?;
            Ok(made(forward(x, self.0), layout.shape()))
        })
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::softcap((storage, layout), self.0)
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        y.apply_op2_no_bwd(&g.contiguous()?, &SoftcapBackward(self.0)).map(Some)
    }
}

/// (y, gradient of y) → gradient of x: g · (1 − (y / cap)²).
struct SoftcapBackward(f64);

impl CustomOp2 for SoftcapBackward {
    fn name(&self) -> &'static str {
        "softcap-backward"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(s1, self.name(), T => {
            let (y, g) = (slice::<T>(s1, l1, self.name())?, slice::<T>(s2, l2, self.name())?);
            Ok(made(backward(y, g, self.0), l1.shape()))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::softcap_backward((s1, l1), (s2, l2), self.0)
    }
}

const BLOCK: usize = 4096;

fn forward<T: Element>(x: &[T], cap: f64) -> Vec<T> {
    let (cap, inverse) = (T::Wide::of(cap), T::Wide::of(1.0 / cap));
    let mut y = vec![T::default(); x.len()];
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = T::narrow(cap * (x.wide() * inverse).tanh()));
    });
    y
}

fn backward<T: Element>(y: &[T], g: &[T], cap: f64) -> Vec<T> {
    let inverse = T::Wide::of(1.0 / cap);
    let mut gradient = vec![T::default(); y.len()];
    let blocks = gradient.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).zip(g.par_chunks(BLOCK));
    blocks.for_each(|((gradient, y), g)| {
        for ((gradient, y), g) in gradient.iter_mut().zip(y).zip(g) {
            let tanh = y.wide() * inverse;
            *gradient = T::narrow(g.wide() * (T::Wide::ONE - tanh * tanh));
        }
    });
    gradient
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::check::{Inputs, agree};

    #[test]
    fn soft_caps_agree_with_candle_and_finite_differences() {
        for cap in [0.7, 30.0] {
            let inputs = Inputs::new(&[("x", &[2, 3, 19])]);
            agree(&inputs, |v| softcap(&v[0], cap), |v| composed(&v[0], cap));
        }
    }

    #[test]
    fn large_values_stop_at_the_cap() {
        let x = Tensor::new(&[-1e30f32, -3.0, 0.0, 1e-6, f32::INFINITY], &Device::Cpu).unwrap();
        let y = softcap(&x, 30.0).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((y[0], y[2], y[4]), (-30.0, 0.0, 30.0));
        assert!((y[3] - 1e-6).abs() < 1e-12, "{}", y[3]);
        for cap in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(softcap(&x, cap).is_err(), "{cap}");
        }
    }
}
