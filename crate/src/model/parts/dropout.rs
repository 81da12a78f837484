//! Dropout whose masks depend only on seed, layer and place, so that recomputing a layer draws the same masks.

use candle_core::{Device, Result, Tensor};
use rand::Rng;

use crate::model::parameters::initial::stream;
use crate::ops;

/// The place of a dropout in a layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) enum Site {
    Embedding,
    AttentionOutput,
    AttentionResidual,
    UserInside,
    FeedForwardInside,
    FeedForwardOutput,
    FeedForwardResidual,
}

/// The dropouts of one training step.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Dropout {
    pub(in crate::model) seed: u64,
}

impl Dropout {
    /// x with each element zeroed with probability p, the others divided by 1 − p.
    pub(in crate::model) fn apply(self, x: &Tensor, p: f64, layer: usize, site: Site) -> Result<Tensor> {
        if p == 0.0 {
            return Ok(x.clone());
        }
        let mut random = stream(self.seed, &format!("dropout {layer} {site:?}"));
        let kept = (1.0 / (1.0 - p)) as f32;
        let mask: Vec<f32> =
            (0..x.elem_count()).map(|_| if random.random::<f32>() < p as f32 { 0.0 } else { kept }).collect();
        // Drawn on the host, so that CPU and GPU drop the same elements.
        let mask = Tensor::from_vec(mask, x.shape(), &Device::Cpu)?.to_dtype(x.dtype())?.to_device(x.device())?;
        x * mask
    }

    /// Returns the dropout of a layer's attention weights.
    pub(in crate::model) fn of_attention(self, probability: f64, layer: usize) -> ops::Dropout {
        let seed = stream(self.seed, &format!("dropout {layer} attention weights")).random();
        ops::Dropout { probability, seed }
    }
}

/// Applies [`Dropout::apply`] where a step has dropouts, and otherwise returns x.
pub(in crate::model) fn dropped(
    dropout: Option<Dropout>,
    x: Tensor,
    p: f64,
    layer: usize,
    site: Site,
) -> Result<Tensor> {
    match dropout {
        Some(dropout) => dropout.apply(&x, p, layer, site),
        None => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_zeros_is_the_probability_and_the_mean_stays() {
        let x = Tensor::ones((100, 200), candle_core::DType::F32, &Device::Cpu).unwrap();
        let dropout = Dropout { seed: 3 };
        let y = dropout.apply(&x, 0.25, 1, Site::Embedding).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let zeros = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
        assert!((y.iter().sum::<f32>() / y.len() as f32 - 1.0).abs() < 0.03);
        let again = dropout.apply(&x, 0.25, 1, Site::Embedding).unwrap();
        assert_eq!(again.flatten_all().unwrap().to_vec1::<f32>().unwrap(), y);
        let elsewhere = dropout.apply(&x, 0.25, 2, Site::Embedding).unwrap();
        assert_ne!(elsewhere.flatten_all().unwrap().to_vec1::<f32>().unwrap(), y);
    }
}
