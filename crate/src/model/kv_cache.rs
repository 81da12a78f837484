//! What layers keep of the tokens seen so far.

use candle_core::{Result, Tensor};

/// For each layer, keys and values of all tokens, or a state that does not grow.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    past_len: usize,
    layers: Vec<Option<Kept>>,
}

#[derive(Clone, Debug)]
enum Kept {
    /// Each `[batch, kv_heads, seen, head_dim]`, keys already rotated.
    KeysAndValues(Tensor, Tensor),
    /// What linear attention goes on from.
    State(Vec<Tensor>),
}

impl KvCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tokens seen so far.
    pub fn past_len(&self) -> usize {
        self.past_len
    }

    /// Counts tokens that all layers have seen.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.past_len += tokens;
    }

    /// Appends the new tokens' keys and values of a layer and returns all of them.
    pub(super) fn extend(&mut self, layer: usize, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        let all = match self.place(layer).take() {
            Some(Kept::KeysAndValues(old_keys, old_values)) => {
                (Tensor::cat(&[old_keys, keys], 2)?, Tensor::cat(&[old_values, values], 2)?)
            }
            Some(Kept::State(_)) | None => (keys, values),
        };
        *self.place(layer) = Some(Kept::KeysAndValues(all.0.clone(), all.1.clone()));
        Ok(all)
    }

    /// Returns the state of a layer, if it has one.
    pub(super) fn state(&mut self, layer: usize) -> Option<&[Tensor]> {
        match self.place(layer) {
            Some(Kept::State(state)) => Some(state),
            Some(Kept::KeysAndValues(..)) | None => None,
        }
    }

    /// Replaces the state of a layer.
    pub(super) fn set_state(&mut self, layer: usize, state: Vec<Tensor>) {
        *self.place(layer) = Some(Kept::State(state));
    }

    fn place(&mut self, layer: usize) -> &mut Option<Kept> {
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, None);
        }
        &mut self.layers[layer]
    }
}
