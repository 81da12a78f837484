//! Stochastic gradient descent in place.

use candle_core::{CpuStorage, CudaStorage, Error, InplaceOp2, Layout, Result, Tensor, Var};
use rayon::prelude::*;

use super::cuda;
use super::element::{Element, Wide, by_element, slice};

/// variable ← variable − lr · gradient, in one pass and without a copy. Sums in float32 for half-precision types.
///
/// # Errors
/// candle's, if shapes, element types or devices differ.
pub fn sgd_in_place(variable: &Var, gradient: &Tensor, lr: f64) -> Result<()> {
    if variable.shape() != gradient.shape() {
        let (lhs, rhs) = (variable.shape().clone(), gradient.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "sgd" }.bt());
    }
    if !variable.device().is_cpu() && !cuda::serves(variable) {
        return variable.set(&(variable.as_tensor().detach() - (gradient * lr)?)?);
    }
    variable.as_tensor().inplace_op2(&gradient.contiguous()?, &Sgd { lr })
}

struct Sgd {
    lr: f64,
}

impl InplaceOp2 for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let Some((start, end)) = l1.contiguous_offsets() else {
            return Err(Error::RequiresContiguous { op: self.name() }.bt());
        };
        by_element!(s2, self.name(), T => {
            let gradient = slice::<T>(s2, l2, self.name())?;
            let Some(weight) = T::values_mut(s1) else {
                candle_core::bail!("sgd: the gradient's element type is not the variable's")
            };
            let lr = <T as Element>::Wide::of(self.lr);
            const BLOCK: usize = 16 * 1024;
            weight[start..end].par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).for_each(|(weight, gradient)| {
                weight.iter_mut().zip(gradient).for_each(|(w, g)| *w = T::narrow(w.wide() - lr * g.wide()));
            });
            Ok(())
        })
    }

    fn cuda_fwd(&self, s1: &mut CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<()> {
        cuda::sgd((s1, l1), (s2, l2), self.lr)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn a_step_goes_against_the_gradient_in_every_type() {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
            let tensor = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let variable = Var::from_tensor(&tensor(&[1.0, 2.0, -4.0])).unwrap();
            sgd_in_place(&variable, &tensor(&[2.0, 0.0, -8.0]), 0.25).unwrap();
            let after = variable.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            assert_eq!(after, [0.5, 2.0, -2.0]);
        }
    }

    #[test]
    fn a_gradient_of_another_shape_is_an_error() {
        let variable = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
        assert!(sgd_in_place(&variable, &Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap(), 0.1).is_err());
    }
}
