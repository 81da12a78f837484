//! What layers keep of the tokens seen so far.

use candle_core::{Result, Tensor};

/// For each layer, keys and values of all tokens, a state that does not grow, or both.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    past_len: usize,
    layers: Vec<Kept>,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    /// Each `[batch, kv_heads, seen, head_dim]`, keys already rotated.
    keys_and_values: Option<(Tensor, Tensor)>,
    /// What a recurrent part goes on from.
    state: Option<Vec<Tensor>>,
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
        let place = &mut self.place(layer).keys_and_values;
        let all = match place.take() {
            Some((old_keys, old_values)) => {
                (Tensor::cat(&[old_keys, keys], 2)?, Tensor::cat(&[old_values, values], 2)?)
            }
            None => (keys, values),
        };
        *place = Some(all.clone());
        Ok(all)
    }

    /// Returns the keys and values that a layer has in the cache.
    pub(super) fn kept(&mut self, layer: usize) -> Option<(Tensor, Tensor)> {
        self.place(layer).keys_and_values.clone()
    }

    /// Returns the state of a layer, if it has one.
    pub(super) fn state(&mut self, layer: usize) -> Option<&[Tensor]> {
        self.place(layer).state.as_deref()
    }

    /// Replaces the state of a layer.
    pub(super) fn set_state(&mut self, layer: usize, state: Vec<Tensor>) {
        self.place(layer).state = Some(state);
    }

    fn place(&mut self, layer: usize) -> &mut Kept {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, Kept::default);
        }
        &mut self.layers[layer]
    }
}
