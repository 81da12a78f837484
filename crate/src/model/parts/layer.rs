//! One decoder layer, and how a node's children become modules.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::dropout::{Site, dropped};
use crate::model::parts::linear::Linear;
use crate::model::parts::mixer::Mixer;
use crate::model::parts::norm::Norm;
use crate::spec::{self, Leaf, Node, NormPosition, Part, Role, Scheme};

/// Returns the first child that is such a part, and the builder below it.
pub(in crate::model) fn child<'a, 'v>(
    node: &'a Node,
    is: impl Fn(&Part) -> bool,
    vb: &VarBuilder<'v>,
) -> Result<(&'a Node, VarBuilder<'v>)> {
    match node.children.iter().find(|child| is(&child.part)) {
        Some(child) => Ok((child, vb.pp(&child.name))),
        None => candle_core::bail!("`{}` lacks a part", node.name),
    }
}

/// Returns the leaf of this role and the builder below it, if the node has one.
pub(in crate::model) fn leaf_if_any<'a, 'v>(
    node: &'a Node,
    role: Role,
    vb: &VarBuilder<'v>,
) -> Option<(&'a Leaf, VarBuilder<'v>)> {
    let child = node.child(role)?;
    let Part::Leaf(leaf) = &child.part else { return None };
    Some((leaf, vb.pp(&child.name)))
}

/// Returns the leaf of this role and the builder below it.
pub(in crate::model) fn leaf<'a, 'v>(
    node: &'a Node,
    role: Role,
    vb: &VarBuilder<'v>,
) -> Result<(&'a Leaf, VarBuilder<'v>)> {
    match leaf_if_any(node, role, vb) {
        Some(found) => Ok(found),
        None => candle_core::bail!("`{}` has no parameters for {role:?}", node.name),
    }
}

pub(in crate::model) fn linear(node: &Node, role: Role, vb: &VarBuilder) -> Result<Linear> {
    let (leaf, vb) = leaf(node, role, vb)?;
    Linear::load(leaf, &vb)
}

pub(in crate::model) fn norm(node: &Node, role: Role, vb: &VarBuilder) -> Result<Norm> {
    let (leaf, vb) = leaf(node, role, vb)?;
    Norm::load(leaf, &vb)
}

/// Returns the norm of this role, if the node has one.
pub(in crate::model) fn norm_if_any(node: &Node, role: Role, vb: &VarBuilder) -> Result<Option<Norm>> {
    leaf_if_any(node, role, vb).map(|(leaf, vb)| Norm::load(leaf, &vb)).transpose()
}

/// The branches in order, each added to the residual stream.
#[derive(Clone, Debug)]
pub(in crate::model) struct Layer {
    branches: Vec<Branch>,
}

/// A mixer f with its norm: r(x) · α + D(f(norm x)), or norm(r(x) · α + D(f x)), with dropouts r and D.
#[derive(Clone, Debug)]
struct Branch {
    norm: Norm,
    mixer: Mixer,
    form: spec::Branch,
}

impl Layer {
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let branches = node.children.iter().map(|branch| Branch::load(branch, vb));
        Ok(Self { branches: branches.collect::<Result<_>>()? })
    }

    /// Rounds the linear layers that can be quantized in every forward pass from now on.
    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        self.branches.iter_mut().for_each(|branch| branch.mixer.round(scheme));
    }

    /// Multiplies linear layers as those with narrow weights from now on, so that a model gives the same numbers in every
    /// type that it is stored in.
    pub(in crate::model) fn stream(&mut self) {
        self.branches.iter_mut().for_each(|branch| branch.mixer.stream());
    }

    /// x `[batch, seq, hidden]` → the same shape; `index` is the layer's number.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        index: usize,
        mut cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for branch in &self.branches {
            x = branch.forward(&x, context, index, cache.as_deref_mut())?;
        }
        Ok(x)
    }
}

impl Branch {
    fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Branch(form) = node.part else { candle_core::bail!("`{}` is not a branch of a layer", node.name) };
        let (mixer, inside) = child(node, |part| matches!(part, Part::Mixer(_)), vb)?;
        let mixer = Mixer::load(mixer, &inside)?;
        Ok(Self { norm: norm(node, mixer.norm_role(), vb)?, mixer, form })
    }

    fn forward(&self, x: &Tensor, context: &Context, layer: usize, cache: Option<&mut KvCache>) -> Result<Tensor> {
        let dropped = |x: Tensor, p: f64, site: Site| dropped(context.dropout, x, p, layer, site);
        let (output, residual) = self.mixer.sites();
        let mut kept = dropped(x.clone(), self.form.residual_dropout, residual)?;
        if self.form.residual_scale != 1.0 {
            kept = (kept * self.form.residual_scale)?;
        }
        let mixed = |x: &Tensor| dropped(self.mixer.forward(x, context, layer, cache)?, self.form.dropout, output);
        match self.form.norm {
            NormPosition::Input => &kept + mixed(&self.norm.forward(x)?)?,
            NormPosition::Sum => self.norm.forward(&(&kept + mixed(x)?)?),
        }
    }
}
