//! The auxiliary loss that spreads tokens over experts (Shazeer et al. 2017, Fedus et al. 2021): α E Σ_e F_e P_e, where F_e is how
//! often a token uses expert e, and P_e is the mean of its probability, both over the tokens of all layers with as many experts.
//!
//! It is not part of the loss that a step returns: its gradient is added to that of the routers' logits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CudaStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

/// How often experts were used in a training step, by layer.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct LoadBalance(Arc<Mutex<HashMap<usize, Uses>>>);

/// Uses of each expert of a layer, and tokens.
#[derive(Clone, Debug)]
struct Uses {
    counts: Vec<usize>,
    tokens: usize,
}

impl LoadBalance {
    /// Returns logits `[tokens, experts]` as they are, whose gradients have that of the loss as well, and notes how often the
    /// layer's experts are used.
    pub(in crate::model) fn watch(
        &self,
        logits: &Tensor,
        layer: usize,
        counts: &[usize],
        coefficient: f64,
    ) -> Result<Tensor> {
        let uses = Uses { counts: counts.to_vec(), tokens: logits.dim(0)? };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(layer, uses);
        logits.contiguous()?.apply_op1(Watched { balance: self.clone(), coefficient })
    }

    /// F of each of `experts` experts, and over how many tokens, counted once for each layer.
    fn frequencies(&self, experts: usize) -> (Vec<f64>, usize) {
        let layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sums, mut tokens) = (vec![0usize; experts], 0);
        for uses in layers.values().filter(|uses| uses.counts.len() == experts) {
            sums.iter_mut().zip(&uses.counts).for_each(|(sum, count)| *sum += count);
            tokens += uses.tokens;
        }
        (sums.into_iter().map(|sum| sum as f64 / tokens.max(1) as f64).collect(), tokens)
    }
}

struct Watched {
    balance: LoadBalance,
    coefficient: f64,
}

impl CustomOp1 for Watched {
    fn name(&self) -> &'static str {
        "load-balance"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }

    /// By then every layer has noted its uses. With p = softmax(logits) of a token, the loss's gradient is
    /// α E / T · p (F − Σ p F).
    fn bwd(&self, logits: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let logits = logits.detach();
        let experts = logits.dim(1)?;
        let (frequencies, tokens) = self.balance.frequencies(experts);
        let frequencies = Tensor::from_vec(frequencies, (1, experts), logits.device())?.to_dtype(logits.dtype())?;
        let p = candle_nn::ops::softmax(&logits, D::Minus1)?;
        let mean = p.broadcast_mul(&frequencies)?.sum_keepdim(D::Minus1)?;
        let own = p.mul(&frequencies.broadcast_sub(&mean)?)?;
        let factor = self.coefficient * experts as f64 / tokens.max(1) as f64;
        Ok(Some((g + (own * factor)?)?))
    }
}
