//! What computes inside a branch of a layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::attention::Attention;
use super::context::Context;
use super::dropout::Site;
use super::feed_forward::FeedForward;
use super::kv_cache::KvCache;
use super::linear::Linear;
use crate::spec::{self, Node, Part, Role};

/// The module of a mixer.
#[derive(Clone, Debug)]
pub(super) enum Mixer {
    Attention(Attention),
    FeedForward(FeedForward),
}

impl Mixer {
    pub(super) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Mixer(mixer) = &node.part else { candle_core::bail!("`{}` is not a mixer", node.name) };
        match mixer {
            spec::Mixer::Attention { .. } | spec::Mixer::SingleHeadAttention { .. } => {
                Attention::load(node, mixer, vb).map(Self::Attention)
            }
            spec::Mixer::GatedFeedForward { .. } | spec::Mixer::FeedForward { .. } => {
                FeedForward::load(node, mixer, vb).map(Self::FeedForward)
            }
        }
    }

    /// The role of the norm beside it.
    pub(super) fn norm_role(&self) -> Role {
        match self {
            Mixer::Attention(_) => Role::AttentionNorm,
            Mixer::FeedForward(_) => Role::FeedForwardNorm,
        }
    }

    /// Where dropouts of its result and of the residual stream stand.
    pub(super) fn sites(&self) -> (Site, Site) {
        match self {
            Mixer::Attention(_) => (Site::AttentionOutput, Site::AttentionResidual),
            Mixer::FeedForward(_) => (Site::FeedForwardOutput, Site::FeedForwardResidual),
        }
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        match self {
            Mixer::Attention(attention) => attention.forward(x, context, layer, cache),
            Mixer::FeedForward(feed_forward) => feed_forward.forward(x, context, layer),
        }
    }

    /// The linear maps that can be quantized.
    pub(super) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Mixer::Attention(attention) => attention.linears_mut(),
            Mixer::FeedForward(feed_forward) => feed_forward.linears_mut(),
        }
    }
}
