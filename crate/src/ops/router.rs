//! The choice of experts and their weights by the kernels of a GPU.

use candle_core::{DType, Result, Tensor};

use super::cuda;
use super::precomputed_op::PrecomputedOp;
use crate::spec::{RouterForm, RouterScore};

/// Which experts the tokens use, chosen on a GPU.
#[derive(Clone, Debug)]
pub struct Routes {
    form: RouterForm,
    chosen: Tensor,
    weights: Tensor,
}

impl Routes {
    /// Chooses by logits `[tokens, experts]` and, if there is one, a correction `[experts]` of what they are judged by. `None` where
    /// the device does not have a kernel for the form.
    ///
    /// # Errors
    /// candle's error, if shapes or devices do not match.
    pub fn choose(logits: &Tensor, correction: Option<&Tensor>, form: &RouterForm) -> Result<Option<Self>> {
        let known = match form.score {
            RouterScore::Softmax => true,
            RouterScore::Sigmoid => !form.softmax_after_topk,
            RouterScore::SparseMixer => false,
        };
        let fits = form.groups.0 <= 1 && form.experts <= 1024 && (1..=32.min(form.experts)).contains(&form.active);
        if !known || !fits || logits.dtype() != DType::F32 || !cuda::serves(logits) {
            return Ok(None);
        }
        if logits.dim(1)? != form.experts {
            candle_core::bail!("logits {:?} are not of {} experts", logits.dims(), form.experts)
        }
        let correction = correction.map(|correction| correction.detach().to_dtype(DType::F32)?.contiguous());
        let correction = correction.transpose()?;
        let (chosen, weights) = cuda::choose_experts(&logits.detach().contiguous()?, correction.as_ref(), form)?;
        Ok(Some(Self { form: *form, chosen, weights }))
    }

    /// Returns the experts of each token, one token after the other. Waits for the GPU.
    ///
    /// # Errors
    /// candle's error, if the device fails.
    pub fn experts(&self) -> Result<Vec<u32>> {
        self.chosen.flatten_all()?.to_vec1()
    }

    /// Returns the weights `[tokens, active]` of the experts as a function of the logits that they were chosen by.
    ///
    /// # Errors
    /// candle's error, if the device fails.
    pub fn weights(self, logits: &Tensor) -> Result<Tensor> {
        if !logits.track_op() {
            return Ok(self.weights);
        }
        let (value, logits) = (self.weights.clone(), logits.contiguous()?);
        let backward = move |arguments: &[&Tensor], g: &Tensor| {
            let Some(logits) = arguments.first() else { candle_core::bail!("the router lacks its logits") };
            let of_logits = cuda::router_backward(&logits.detach(), &self.chosen, &g.contiguous()?, &self.form)?;
            Ok(vec![Some(of_logits)])
        };
        logits.apply_op1(PrecomputedOp::new("route-to-experts", &value, Box::new(backward))?)
    }
}
