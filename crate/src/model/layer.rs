//! One decoder layer, and the ways a node's children become modules.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::attention::{Attention, Context};
use super::feedforward::GatedFeedForward;
use super::kv_cache::KvCache;
use super::linear::Linear;
use super::norm::RmsNorm;
use crate::spec::{Leaf, Node, Part, Placement};

/// The child of this name.
pub(super) fn child<'a>(node: &'a Node, name: &str) -> Result<&'a Node> {
    match node.children.iter().find(|child| child.name == name) {
        Some(child) => Ok(child),
        None => candle_core::bail!("`{}` has no part `{name}`", node.name),
    }
}

/// The leaf of this name and the builder below it.
pub(super) fn leaf<'a, 'v>(node: &'a Node, name: &str, vb: &VarBuilder<'v>) -> Result<(&'a Leaf, VarBuilder<'v>)> {
    match &child(node, name)?.part {
        Part::Leaf(leaf) => Ok((leaf, vb.pp(name))),
        _ => candle_core::bail!("`{}.{name}` has no parameters of its own", node.name),
    }
}

pub(super) fn linear(node: &Node, name: &str, vb: &VarBuilder) -> Result<Linear> {
    let (leaf, vb) = leaf(node, name, vb)?;
    Linear::load(leaf, &vb)
}

pub(super) fn norm(node: &Node, name: &str, vb: &VarBuilder) -> Result<RmsNorm> {
    let (leaf, vb) = leaf(node, name, vb)?;
    RmsNorm::load(leaf, &vb)
}

/// x + attention(norm1 x), then + feedforward(norm2 x).
#[derive(Clone, Debug)]
pub(super) struct Layer {
    norm1: RmsNorm,
    attention: Attention,
    norm2: RmsNorm,
    feedforward: GatedFeedForward,
    placement: Placement,
}

impl Layer {
    pub(super) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Layer { placement } = node.part else { candle_core::bail!("`{}` is not a layer", node.name) };
        Ok(Self {
            norm1: norm(node, "norm1", vb)?,
            attention: Attention::load(child(node, "attention")?, &vb.pp("attention"))?,
            norm2: norm(node, "norm2", vb)?,
            feedforward: GatedFeedForward::load(child(node, "feedforward")?, &vb.pp("feedforward"))?,
            placement,
        })
    }

    pub(super) fn forward(
        &self,
        x: &Tensor,
        context: &Context<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Result<Tensor> {
        match self.placement {
            Placement::PreNorm => {
                let x = (x + self.attention.forward(&self.norm1.forward(x)?, context, cache)?)?;
                &x + self.feedforward.forward(&self.norm2.forward(&x)?)?
            }
        }
    }
}
