//! One decoder layer, and the ways a node's children become modules.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::attention::Attention;
use super::context::Context;
use super::dropout::{Site, dropped};
use super::feed_forward::FeedForward;
use super::kv_cache::KvCache;
use super::linear::Linear;
use super::norm::Norm;
use crate::spec::{Leaf, Node, NormPlacement, Part, Role};

/// The first child that is such a part, and the builder below it.
pub(super) fn child<'a, 'v>(
    node: &'a Node,
    is: impl Fn(&Part) -> bool,
    vb: &VarBuilder<'v>,
) -> Result<(&'a Node, VarBuilder<'v>)> {
    match node.children.iter().find(|child| is(&child.part)) {
        Some(child) => Ok((child, vb.pp(&child.name))),
        None => candle_core::bail!("`{}` lacks a part", node.name),
    }
}

/// The leaf of this role and the builder below it, if the node has one.
pub(super) fn leaf_if_any<'a, 'v>(
    node: &'a Node,
    role: Role,
    vb: &VarBuilder<'v>,
) -> Option<(&'a Leaf, VarBuilder<'v>)> {
    let child = node.child(role)?;
    let Part::Leaf(leaf) = &child.part else { return None };
    Some((leaf, vb.pp(&child.name)))
}

/// The leaf of this role and the builder below it.
pub(super) fn leaf<'a, 'v>(node: &'a Node, role: Role, vb: &VarBuilder<'v>) -> Result<(&'a Leaf, VarBuilder<'v>)> {
    match leaf_if_any(node, role, vb) {
        Some(found) => Ok(found),
        None => candle_core::bail!("`{}` has no parameters for {role:?}", node.name),
    }
}

pub(super) fn linear(node: &Node, role: Role, vb: &VarBuilder) -> Result<Linear> {
    let (leaf, vb) = leaf(node, role, vb)?;
    Linear::load(leaf, &vb)
}

pub(super) fn norm(node: &Node, role: Role, vb: &VarBuilder) -> Result<Norm> {
    let (leaf, vb) = leaf(node, role, vb)?;
    Norm::load(leaf, &vb)
}

/// The norm of this role, if the node has one.
pub(super) fn norm_if_any(node: &Node, role: Role, vb: &VarBuilder) -> Result<Option<Norm>> {
    leaf_if_any(node, role, vb).map(|(leaf, vb)| Norm::load(leaf, &vb)).transpose()
}

/// Attention, then the feed-forward part if there is one, each added to the residual stream x:
/// r(x) + D(f(norm x)), norm(r(x) + D(f(x))) or norm(α r(x) + D(f(x))), by placement.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    norm1: Norm,
    attention: Attention,
    feedforward: Option<(Norm, FeedForward)>,
    placement: NormPlacement,
    residual_scale: f64,
    dropout: f64,
    residual_dropout: f64,
}

impl Layer {
    pub(super) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Layer { placement, residual_scale, dropout, residual_dropout } = node.part else {
            candle_core::bail!("`{}` is not a layer", node.name)
        };
        let norm1 = norm(node, Role::AttentionNorm, vb)?;
        let (attention, inside) = child(node, Attention::is, vb)?;
        let attention = Attention::load(attention, &inside)?;
        let feedforward = match norm_if_any(node, Role::FeedForwardNorm, vb)? {
            Some(norm2) => {
                let (feedforward, inside) = child(node, FeedForward::is, vb)?;
                Some((norm2, FeedForward::load(feedforward, &inside)?))
            }
            None => None,
        };
        Ok(Self { norm1, attention, feedforward, placement, residual_scale, dropout, residual_dropout })
    }

    /// The linear maps that can be quantized.
    pub(super) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut linears = self.attention.linears_mut();
        linears.extend(self.feedforward.iter_mut().flat_map(|(_, feedforward)| feedforward.linears_mut()));
        linears
    }

    /// x `[batch, seq, hidden]` → the same shape; `index` is the layer's number.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        index: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let sites = (Site::AttentionOutput, Site::AttentionResidual);
        let x =
            self.residual(x, &self.norm1, context, index, sites, |x| self.attention.forward(x, context, index, cache))?;
        let Some((norm2, feedforward)) = &self.feedforward else { return Ok(x) };
        let sites = (Site::FeedForwardOutput, Site::FeedForwardResidual);
        self.residual(&x, norm2, context, index, sites, |x| feedforward.forward(x, context, index))
    }

    fn residual(
        &self,
        x: &Tensor,
        norm: &Norm,
        context: &Context,
        index: usize,
        (output, residual): (Site, Site),
        inside: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let dropped = |x: Tensor, p: f64, site: Site| dropped(context.dropout, x, p, index, site);
        let kept = dropped(x.clone(), self.residual_dropout, residual)?;
        match self.placement {
            NormPlacement::Pre => &kept + dropped(inside(&norm.forward(x)?)?, self.dropout, output)?,
            NormPlacement::Post | NormPlacement::DeepNet { .. } => {
                let kept = if self.residual_scale == 1.0 { kept } else { (kept * self.residual_scale)? };
                norm.forward(&(&kept + dropped(inside(x)?, self.dropout, output)?)?)
            }
        }
    }
}
