//! Keys and values of the tokens seen so far.

use candle_core::{Result, Tensor};

/// One (keys, values) pair per layer, each `[batch, kv_heads, seen, head_dim]`, keys already rotated.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    layers: Vec<Option<(Tensor, Tensor)>>,
}

impl KvCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens seen so far.
    pub fn past_len(&self) -> usize {
        self.layers.first().and_then(Option::as_ref).and_then(|(keys, _)| keys.dim(2).ok()).unwrap_or(0)
    }

    /// Appends the new tokens' keys and values of a layer and returns all of them.
    pub(super) fn extend(&mut self, layer: usize, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, None);
        }
        let all = match self.layers[layer].take() {
            None => (keys, values),
            Some((old_keys, old_values)) => {
                (Tensor::cat(&[old_keys, keys], 2)?, Tensor::cat(&[old_values, values], 2)?)
            }
        };
        self.layers[layer] = Some(all.clone());
        Ok(all)
    }
}
