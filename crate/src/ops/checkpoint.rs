//! Gradient checkpointing: a segment's inner values are computed again during backward instead of being kept.

use candle_core::backprop::GradStore;
use candle_core::{CustomOp1, Layout, Result, Shape, Tensor, Var};

use super::collect::offer_all;
use super::precomputed_op::PrecomputedOp;

/// Computes `segment(x)` and keeps only the result. Backward runs the segment again with x as a leaf, passes the gradient
/// on to x, and gives the gradients of everything else in the segment to `sink`: candle's own store does not get them.
/// If the pass runs in [`collected`](super::collected), they go there and `sink` is not called.
///
/// # Errors
/// The error of the segment.
pub fn checkpointed(
    x: &Tensor,
    segment: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    sink: impl Fn(GradStore) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let value = segment(&x.detach())?.detach();
    let backward = move |arguments: &[&Tensor], g: &Tensor| {
        let [x] = arguments else { candle_core::bail!("a checkpointed segment has one argument") };
        let leaf = Var::from_tensor(&x.detach())?;
        let mut gradients = backward_from(&segment(leaf.as_tensor())?, g)?;
        let of_x = gradients.remove(leaf.as_tensor());
        if let Some(rest) = offer_all(gradients)? {
            sink(rest)?;
        }
        Ok(vec![of_x])
    };
    x.apply_op1(PrecomputedOp::new("checkpointed", &value, Box::new(backward))?)
}

/// Runs backward from `y` with the gradient `g`; candle itself starts only from ones.
///
/// # Errors
/// candle's error.
pub fn backward_from(y: &Tensor, g: &Tensor) -> Result<GradStore> {
    y.apply_op1(Seed(g.detach()))?.backward()
}

/// A scalar whose gradient with respect to its argument is the tensor inside.
struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, storage: &candle_core::CpuStorage, _: &Layout) -> Result<(candle_core::CpuStorage, Shape)> {
        use candle_core::backend::{BackendDevice, BackendStorage};
        let shape = Shape::from(());
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn cuda_fwd(&self, storage: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::{BackendDevice, BackendStorage};
        let shape = Shape::from(());
        Ok((storage.device().zeros_impl(&shape, storage.dtype())?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::{collected, linear, rms_norm};

    fn variables() -> (Var, Var, Var) {
        let var = |from: f32, shape: (usize, usize)| {
            let values = (0..shape.0 * shape.1).map(|i| ((from + i as f32) * 0.7).sin()).collect();
            Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
        };
        let norm = Var::ones(6, DType::F32, &Device::Cpu).unwrap();
        (var(0.0, (4, 6)), var(3.0, (6, 6)), norm)
    }

    fn segment(weight: Tensor, norm: Tensor) -> impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static {
        move |x| linear(&rms_norm(x, &norm, 1e-6)?, &weight, None)?.sqr()
    }

    #[test]
    fn a_checkpointed_segment_has_the_gradients_of_a_plain_one() {
        let (x, weight, norm) = variables();
        let run = segment(weight.as_tensor().clone(), norm.as_tensor().clone());
        let plain = run(&run(&x).unwrap()).unwrap();
        let expected = plain.sum_all().unwrap().backward().unwrap();
        let found = Arc::new(Mutex::new(Vec::new()));
        let kept = |x: &Tensor| {
            let found = found.clone();
            checkpointed(x, segment(weight.as_tensor().clone(), norm.as_tensor().clone()), move |gradients| {
                found.lock().unwrap().push(gradients);
                Ok(())
            })
        };
        let y = kept(&kept(&x).unwrap()).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), plain.to_vec2::<f32>().unwrap());
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(values(gradients.get(&x).unwrap()), values(expected.get(&x).unwrap()));
        let found = found.lock().unwrap();
        assert_eq!(found.len(), 2);
        for var in [&weight, &norm] {
            let sum = (found[0].get(var).unwrap() + found[1].get(var).unwrap()).unwrap();
            assert_eq!(values(&sum), values(expected.get(var).unwrap()));
        }
    }

    #[test]
    fn collected_gradients_are_those_of_the_store() {
        let (x, weight, norm) = variables();
        let run = segment(weight.as_tensor().clone(), norm.as_tensor().clone());
        let y = run(&run(&x).unwrap()).unwrap().sum_all().unwrap();
        let expected = y.backward().unwrap();
        let (store, mut gradients) = collected(|| y.backward()).unwrap();
        for var in [&x, &weight, &norm] {
            assert!(store.get(var).is_none());
            assert_eq!(values(&gradients.remove(var).unwrap()), values(expected.get(var).unwrap()));
        }
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }
}
