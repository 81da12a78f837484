//! Continuing a prompt.

use candle_core::{D, DType};

use super::{Batch, CausalLm, KvCache, ModelError};

impl CausalLm {
    /// Up to `count` tokens after `prompt`, each the most probable one; stops after any of `stop`.
    ///
    /// # Errors
    /// [`ModelError`] for an empty prompt, ids beyond the vocabulary, an interrupt, or an error of the device.
    pub fn generate_greedy(&self, prompt: &[u32], count: usize, stop: &[u32]) -> Result<Vec<u32>, ModelError> {
        let mut cache = KvCache::new();
        let mut next = prompt.to_vec();
        let mut generated = Vec::with_capacity(count);
        while generated.len() < count {
            crate::interrupt::check()?;
            if self.outgrows(cache.past_len(), cache.past_len() + next.len()) {
                (cache, next) = (KvCache::new(), [prompt, &generated].concat());
            }
            let logits = if self.caches() {
                self.forward_cached(&Batch::new(vec![next])?, &mut cache)?
            } else {
                self.forward(&Batch::new(vec![[prompt, &generated].concat()])?)?
            };
            let last = logits.dim(1)? - 1;
            let token =
                logits.narrow(1, last, 1)?.to_dtype(DType::F32)?.argmax(D::Minus1)?.flatten_all()?.to_vec1::<u32>()?;
            let token = token.first().copied().unwrap_or_default();
            generated.push(token);
            if stop.contains(&token) {
                break;
            }
            next = vec![token];
        }
        Ok(generated)
    }
}
