//! Token ids to vectors.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::spec::Leaf;

/// A lookup table `[vocab, dim]`.
#[derive(Clone, Debug)]
pub(super) struct Embedding {
    pub(super) weight: Tensor,
}

impl Embedding {
    pub(super) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        match leaf.params().into_iter().next() {
            Some(param) => Ok(Self { weight: vb.get(param.shape, param.name)? }),
            None => candle_core::bail!("an embedding has no weight"),
        }
    }

    /// ids `[batch, seq]` → `[batch, seq, dim]`.
    pub(super) fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, seq) = ids.dims2()?;
        self.weight.index_select(&ids.flatten_all()?, 0)?.reshape((batch, seq, ()))
    }
}
